// SPDX-License-Identifier: GPL-2.0
/*
 * Commands that the driver cannot queue.
 */

#include <kunit/test.h>
#include <linux/dma-buf.h>
#include <linux/dma-fence.h>
#include <linux/dma-resv.h>
#include <linux/unaligned.h>
#include <linux/uuid.h>
#include <linux/virtio_dma_buf.h>

#include "../virtgpu_drv.h"
#include "virtgpu_kunit_helpers.h"

#define ASSIGN_UUID	VIRTIO_GPU_CMD_RESOURCE_ASSIGN_UUID
#define SUBMIT		VIRTIO_GPU_CMD_SUBMIT_3D
#define TRANSFER	VIRTIO_GPU_CMD_TRANSFER_TO_HOST_3D

static int transfer(struct virtgpu_kunit *k, u32 handle)
{
	struct drm_virtgpu_3d_transfer_to_host arg = {
		.bo_handle = handle,
		.box = { .w = 1, .h = 1, .d = 1 },
	};

	return virtgpu_kunit_ioctl(k->file, DRM_IOCTL_VIRTGPU_TRANSFER_TO_HOST, &arg);
}

static size_t pending_fences(struct virtgpu_kunit *k)
{
	size_t n;

	spin_lock_irq(&k->vgdev->fence_drv.lock);
	n = list_count_nodes(&k->vgdev->fence_drv.fences);
	spin_unlock_irq(&k->vgdev->fence_drv.lock);

	return n;
}

/*
 * A fenced command that the virtqueue does not take leaves nothing behind: no reference to the
 * blob, no lock of its reservation, no fence that is never signaled. The fence of the command
 * before it, which is still pending, stays in place.
 */
static void failed_command_leaves_nothing(struct kunit *test)
{
	struct virtgpu_kunit *k = test->priv;
	u32 handle = virtgpu_kunit_blob_of(k, SIZE, 0, EAGER);
	struct drm_gem_object *obj = &virtgpu_kunit_vram(k, handle)->base.base.base;
	unsigned int refs;

	virtgpu_fake_hold(k->fake, TRANSFER);
	KUNIT_EXPECT_EQ(test, transfer(k, handle), 0);
	KUNIT_ASSERT_TRUE(test, virtgpu_fake_wait_held(k->fake, 1));
	refs = kref_read(&obj->refcount);

	virtgpu_fake_break(k->fake);
	transfer(k, handle);
	virtgpu_fake_unbreak(k->fake);
	KUNIT_EXPECT_EQ(test, kref_read(&obj->refcount), refs);
	KUNIT_EXPECT_FALSE(test, dma_resv_is_locked(obj->resv));
	KUNIT_EXPECT_FALSE(test, dma_resv_test_signaled(obj->resv, DMA_RESV_USAGE_WRITE));
	KUNIT_EXPECT_EQ(test, pending_fences(k), 1);

	virtgpu_fake_release_all(k->fake, 0);
	virtgpu_kunit_settle(k);
	KUNIT_EXPECT_TRUE(test, dma_resv_test_signaled(obj->resv, DMA_RESV_USAGE_WRITE));
	KUNIT_EXPECT_EQ(test, virtgpu_fake_count(k->fake, TRANSFER), 1);
}

/* The driver signals the fence of a submission that the virtqueue does not take with the error. */
static void fence_of_failed_command_is_signaled(struct kunit *test)
{
	struct virtgpu_kunit *k = test->priv;
	struct dma_fence *fence = NULL;

	/* creates the context */
	virtgpu_kunit_blob_of(k, SIZE, 0, EAGER);
	virtgpu_fake_break(k->fake);
	KUNIT_EXPECT_EQ(test, virtgpu_kunit_submit(k, &fence), 0);
	virtgpu_fake_unbreak(k->fake);
	KUNIT_ASSERT_NOT_NULL(test, fence);
	KUNIT_EXPECT_EQ(test, dma_fence_get_status(fence), -EIO);
	dma_fence_put(fence);

	virtgpu_kunit_settle(k);
	KUNIT_EXPECT_EQ(test, virtgpu_fake_count(k->fake, SUBMIT), 0);
}

/* The driver signals the fence of a command that has no response when the device is unplugged. */
static void fence_is_signaled_after_unplug(struct kunit *test)
{
	struct virtgpu_kunit *k = test->priv;
	struct dma_fence *fence = NULL;

	virtgpu_fake_hold(k->fake, SUBMIT);
	KUNIT_ASSERT_EQ(test, virtgpu_kunit_submit(k, &fence), 0);
	KUNIT_EXPECT_TRUE(test, virtgpu_fake_wait_held(k->fake, 1));
	KUNIT_EXPECT_EQ(test, dma_fence_get_status(fence), 0);

	KUNIT_EXPECT_TRUE(test, virtgpu_fake_unplug(k->fake));
	KUNIT_EXPECT_EQ(test, dma_fence_get_status(fence), -ENODEV);
	KUNIT_EXPECT_EQ(test, pending_fences(k), 0);
	dma_fence_put(fence);
}

/*
 * The driver sends UNREF even if the command takes more ring space than the driver has counted on,
 * because there is no memory for an indirect table; here, because the ring has no indirect tables.
 */
static void unref_without_indirect_table_waits(struct kunit *test)
{
	const struct virtgpu_fake_params params = virtgpu_kunit_ring(4);
	struct virtgpu_kunit *k = virtgpu_kunit_init_with(test, &params);
	u32 handle = virtgpu_kunit_blob_of(k, SIZE, 0, EAGER);
	struct virtgpu_kunit_thread *delete;

	/* a submission takes three descriptors, and the driver counts on one */
	virtgpu_fake_hold(k->fake, SUBMIT);
	KUNIT_ASSERT_EQ(test, virtgpu_kunit_submit(k, NULL), 0);
	KUNIT_ASSERT_TRUE(test, virtgpu_fake_wait_held(k->fake, 1));
	k->vgdev->has_indirect = true;
	delete = virtgpu_kunit_delete_start(k, handle);
	KUNIT_EXPECT_TRUE(test, virtgpu_kunit_wait_ring_space(delete));

	virtgpu_fake_release_all(k->fake, 0);
	KUNIT_EXPECT_EQ(test, virtgpu_kunit_result(delete), 0);
	virtgpu_kunit_settle(k);
	KUNIT_EXPECT_EQ(test, virtgpu_fake_resources(k->fake), 0);
	k->vgdev->has_indirect = false;
}

/* An export fails if the driver cannot ask for a UUID, and succeeds when it is tried again. */
static void failed_export_can_be_repeated(struct kunit *test)
{
	struct drm_virtgpu_resource_create rc = {
		.width = PAGE_SIZE, .height = 1, .depth = 1, .array_size = 1, .size = PAGE_SIZE,
	};
	struct virtgpu_fake_params params = virtgpu_fake_defaults;
	struct dma_buf *dma_buf;
	struct virtgpu_kunit *k;
	uuid_t uuid;

	params.features |= BIT_ULL(VIRTIO_GPU_F_RESOURCE_UUID);
	k = virtgpu_kunit_init_with(test, &params);
	KUNIT_ASSERT_EQ(test, virtgpu_kunit_ioctl(k->file, DRM_IOCTL_VIRTGPU_RESOURCE_CREATE, &rc),
			0);
	virtgpu_kunit_settle(k);
	virtgpu_fake_break(k->fake);
	dma_buf = virtgpu_kunit_export(k, rc.bo_handle);
	virtgpu_fake_unbreak(k->fake);
	KUNIT_EXPECT_EQ(test, PTR_ERR_OR_ZERO(dma_buf), -EIO);
	virtgpu_kunit_put_dma_buf(k, dma_buf);

	dma_buf = virtgpu_kunit_export(k, rc.bo_handle);
	KUNIT_EXPECT_EQ(test, PTR_ERR_OR_ZERO(dma_buf), 0);
	virtgpu_kunit_settle(k);
	KUNIT_EXPECT_EQ(test, virtgpu_fake_count(k->fake, ASSIGN_UUID), 1);
	if (!IS_ERR(dma_buf) && virtgpu_fake_count(k->fake, ASSIGN_UUID)) {
		KUNIT_EXPECT_EQ(test, virtio_dma_buf_get_uuid(dma_buf, &uuid), 0);
		KUNIT_EXPECT_EQ(test, get_unaligned_be32(&uuid), rc.res_handle);
	}
	virtgpu_kunit_put_dma_buf(k, dma_buf);
}

static struct kunit_case queue_cases[] = {
	KUNIT_CASE(failed_command_leaves_nothing),
	KUNIT_CASE(fence_of_failed_command_is_signaled),
	KUNIT_CASE(fence_is_signaled_after_unplug),
	KUNIT_CASE(unref_without_indirect_table_waits),
	KUNIT_CASE(failed_export_can_be_repeated),
	{}
};

static struct kunit_suite queue_suite = {
	.name = "virtio_gpu_queue",
	.init = virtgpu_kunit_init,
	.exit = virtgpu_kunit_exit,
	.test_cases = queue_cases,
};

kunit_test_suite(queue_suite);

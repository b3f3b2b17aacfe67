// SPDX-License-Identifier: GPL-2.0
/*
 * Commands that do not make it into the control queue.
 */

#include <kunit/test.h>
#include <linux/dma-buf.h>
#include <linux/dma-resv.h>
#include <linux/fdtable.h>
#include <linux/file.h>
#include <linux/mman.h>
#include <linux/sync_file.h>
#include <linux/unaligned.h>
#include <linux/uuid.h>
#include <linux/virtio_config.h>
#include <linux/virtio_dma_buf.h>
#include <linux/virtio_ring.h>

#include <drm/drm_prime.h>

#include "../virtgpu_drv.h"
#include "virtgpu_kunit_helpers.h"

#define TRANSFER	VIRTIO_GPU_CMD_TRANSFER_TO_HOST_3D

static int transfer(struct file *file, u32 handle)
{
	struct drm_virtgpu_3d_transfer_to_host arg = {
		.bo_handle = handle,
		.box = { .w = 1, .h = 1, .d = 1 },
	};

	return virtgpu_kunit_ioctl(file, DRM_IOCTL_VIRTGPU_TRANSFER_TO_HOST, &arg);
}

static size_t pending_fences(struct virtio_gpu_device *vgdev)
{
	size_t n;

	spin_lock_irq(&vgdev->fence_drv.lock);
	n = list_count_nodes(&vgdev->fence_drv.fences);
	spin_unlock_irq(&vgdev->fence_drv.lock);

	return n;
}

/*
 * A fenced command that the virtqueue does not take leaves nothing behind: neither a reference to
 * the blob, nor a lock of its reservation, nor a fence that nobody signals. Least of all does it
 * leave one in place of the fence of the command before it, which is still under way.
 */
static void failed_command_leaves_nothing(struct kunit *test)
{
	struct virtgpu_fake *f = virtgpu_fake_create(test, &virtgpu_fake_defaults);
	struct virtio_gpu_device *vgdev = virtgpu_fake_vgdev(f);
	struct file *file = virtgpu_kunit_open(f);
	struct drm_virtgpu_resource_create_blob rc;
	struct virtio_gpu_object_vram *vram;
	struct drm_gem_object *obj;
	unsigned int refs;

	rc = virtgpu_kunit_blob(PAGE_SIZE, 0);
	KUNIT_ASSERT_EQ(test, virtgpu_kunit_create_blob(file, &rc), 0);
	vram = virtgpu_kunit_vram(file, rc.bo_handle);
	KUNIT_ASSERT_NOT_NULL(test, vram);
	obj = &vram->base.base.base;
	virtgpu_fake_settle(f);

	virtgpu_fake_hold(f, TRANSFER);
	KUNIT_EXPECT_EQ(test, transfer(file, rc.bo_handle), 0);
	KUNIT_ASSERT_TRUE(test, virtgpu_fake_wait_held(f, 1));
	refs = kref_read(&obj->refcount);

	virtio_break_device(vgdev->vdev);
	transfer(file, rc.bo_handle);
	__virtio_unbreak_device(vgdev->vdev);

	KUNIT_EXPECT_EQ(test, kref_read(&obj->refcount), refs);
	KUNIT_EXPECT_FALSE(test, dma_resv_is_locked(obj->resv));
	KUNIT_EXPECT_FALSE(test, dma_resv_test_signaled(obj->resv, DMA_RESV_USAGE_WRITE));
	KUNIT_EXPECT_EQ(test, pending_fences(vgdev), 1);

	virtgpu_fake_release_all(f, 0);
	virtgpu_fake_settle(f);
	KUNIT_EXPECT_TRUE(test, dma_resv_test_signaled(obj->resv, DMA_RESV_USAGE_WRITE));
	KUNIT_EXPECT_EQ(test, virtgpu_fake_count(f, TRANSFER), 1);

	virtgpu_kunit_close(f, file);
	virtgpu_kunit_expect_clean(f);
}

/* Submit commands, which the host does not look into, with a fence if the caller wants one. */
static int submit(struct kunit *test, struct file *file, struct dma_fence **fence)
{
	struct drm_virtgpu_execbuffer exec = {
		.flags = fence ? VIRTGPU_EXECBUF_FENCE_FD_OUT : 0,
		.size = 4,
		.fence_fd = -1,
	};
	int ret;

	exec.command = kunit_vm_mmap(test, NULL, 0, PAGE_SIZE, PROT_READ | PROT_WRITE,
				     MAP_PRIVATE | MAP_ANONYMOUS, 0);
	KUNIT_ASSERT_TRUE(test, exec.command && !IS_ERR_VALUE((unsigned long)exec.command));
	ret = virtgpu_kunit_ioctl(file, DRM_IOCTL_VIRTGPU_EXECBUFFER, &exec);
	if (ret || !fence)
		return ret;

	KUNIT_ASSERT_GE(test, exec.fence_fd, 0);
	*fence = sync_file_get_fence(exec.fence_fd);
	KUNIT_EXPECT_EQ(test, close_fd(exec.fence_fd), 0);
	KUNIT_ASSERT_NOT_NULL(test, *fence);

	return 0;
}

/*
 * A submission that the virtqueue does not take signals its fence with the error: nobody else is
 * going to.
 */
static void fence_of_a_failed_command_is_signaled(struct kunit *test)
{
	struct virtgpu_fake *f = virtgpu_fake_create(test, &virtgpu_fake_defaults);
	struct virtio_gpu_device *vgdev = virtgpu_fake_vgdev(f);
	struct file *file = virtgpu_kunit_open(f);
	struct drm_virtgpu_resource_create_blob rc = virtgpu_kunit_blob(PAGE_SIZE, 0);
	struct dma_fence *fence = NULL;

	/* for the context */
	KUNIT_ASSERT_EQ(test, virtgpu_kunit_create_blob(file, &rc), 0);
	virtgpu_fake_settle(f);

	virtio_break_device(vgdev->vdev);
	KUNIT_EXPECT_EQ(test, submit(test, file, &fence), 0);
	__virtio_unbreak_device(vgdev->vdev);
	KUNIT_ASSERT_NOT_NULL(test, fence);
	KUNIT_EXPECT_EQ(test, dma_fence_get_status(fence), -EIO);
	dma_fence_put(fence);

	virtgpu_fake_settle(f);
	KUNIT_EXPECT_EQ(test, virtgpu_fake_count(f, VIRTIO_GPU_CMD_SUBMIT_3D), 0);
	virtgpu_kunit_close(f, file);
	virtgpu_kunit_expect_clean(f);
}

/* So it is with the fence of a command that a device has not answered when it is unplugged. */
static void fence_of_an_unanswered_command_is_signaled(struct kunit *test)
{
	struct virtgpu_fake *f = virtgpu_fake_create(test, &virtgpu_fake_defaults);
	struct file *keep = virtgpu_kunit_open(f), *file = virtgpu_kunit_open(f);
	struct dma_fence *fence = NULL;

	virtgpu_fake_hold(f, VIRTIO_GPU_CMD_SUBMIT_3D);
	KUNIT_ASSERT_EQ(test, submit(test, file, &fence), 0);
	KUNIT_EXPECT_TRUE(test, virtgpu_fake_wait_held(f, 1));
	KUNIT_EXPECT_EQ(test, dma_fence_get_status(fence), 0);

	KUNIT_EXPECT_TRUE(test, virtgpu_kunit_unplug(f));
	KUNIT_EXPECT_EQ(test, dma_fence_get_status(fence), -ENODEV);
	KUNIT_EXPECT_EQ(test, pending_fences(virtgpu_fake_vgdev(f)), 0);
	dma_fence_put(fence);

	virtgpu_kunit_close(f, file);
	virtgpu_kunit_expect_clean(f);
	virtgpu_kunit_close(f, keep);
}

struct delete_data {
	struct file *file;
	u32 handle;
};

static long delete_fn(void *data)
{
	struct delete_data *delete = data;

	return virtgpu_kunit_delete(delete->file, delete->handle);
}

/*
 * The host is told to drop a resource even if that takes more room in the ring than was counted on,
 * because there is no memory for an indirect table; here, because the ring does without them.
 */
static void unref_is_not_lost(struct kunit *test)
{
	struct virtgpu_fake_params params = virtgpu_fake_defaults;
	struct drm_virtgpu_resource_create_blob rc = virtgpu_kunit_blob(PAGE_SIZE, 0);
	struct virtgpu_kunit_thread *thread;
	struct delete_data *delete;
	struct virtgpu_fake *f;
	struct file *file;

	delete = kunit_kzalloc(test, sizeof(*delete), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, delete);
	params.vq_num = 4;
	params.features &= ~BIT_ULL(VIRTIO_RING_F_INDIRECT_DESC);
	f = virtgpu_fake_create(test, &params);
	file = virtgpu_kunit_open(f);
	KUNIT_ASSERT_EQ(test, virtgpu_kunit_create_blob(file, &rc), 0);
	virtgpu_fake_settle(f);

	/* a submission takes three slots; the one that is left is said to be enough */
	virtgpu_fake_hold(f, VIRTIO_GPU_CMD_SUBMIT_3D);
	KUNIT_ASSERT_EQ(test, submit(test, file, NULL), 0);
	KUNIT_ASSERT_TRUE(test, virtgpu_fake_wait_held(f, 1));
	virtgpu_fake_vgdev(f)->has_indirect = true;
	delete->file = file;
	delete->handle = rc.bo_handle;
	thread = virtgpu_kunit_thread_run(f, "virtgpu-delete", delete_fn, delete);
	KUNIT_EXPECT_TRUE(test, virtgpu_kunit_thread_wait_asleep(thread));

	virtgpu_fake_release_all(f, 0);
	KUNIT_ASSERT_TRUE(test, virtgpu_kunit_thread_wait(thread));
	KUNIT_EXPECT_EQ(test, virtgpu_kunit_thread_result(thread), 0);
	virtgpu_fake_settle(f);
	KUNIT_EXPECT_EQ(test, virtgpu_fake_count(f, VIRTIO_GPU_CMD_CTX_DETACH_RESOURCE), 1);
	KUNIT_EXPECT_EQ(test, virtgpu_fake_count(f, VIRTIO_GPU_CMD_RESOURCE_UNREF), 1);
	virtgpu_fake_vgdev(f)->has_indirect = false;

	virtgpu_kunit_close(f, file);
	virtgpu_kunit_expect_clean(f);
}

static void put(struct dma_buf *dma_buf)
{
	if (!IS_ERR(dma_buf))
		dma_buf_put(dma_buf);
	flush_delayed_fput();
}

/*
 * An export fails if the host cannot be asked for a UUID, and is as good as any when it is tried
 * again.
 */
static void failed_export_can_be_tried_again(struct kunit *test)
{
	struct drm_virtgpu_resource_create rc = {
		.width = PAGE_SIZE, .height = 1, .depth = 1, .array_size = 1, .size = PAGE_SIZE,
	};
	struct virtgpu_fake_params params = virtgpu_fake_defaults;
	struct virtio_gpu_device *vgdev;
	struct drm_device *drm;
	struct dma_buf *dma_buf;
	struct virtgpu_fake *f;
	struct file *file;
	unsigned int asked;
	uuid_t uuid;

	params.features |= BIT_ULL(VIRTIO_GPU_F_RESOURCE_UUID);
	f = virtgpu_fake_create(test, &params);
	vgdev = virtgpu_fake_vgdev(f);
	drm = virtgpu_fake_drm(f);
	file = virtgpu_kunit_open(f);
	KUNIT_ASSERT_EQ(test, virtgpu_kunit_ioctl(file, DRM_IOCTL_VIRTGPU_RESOURCE_CREATE, &rc), 0);
	virtgpu_fake_settle(f);

	virtio_break_device(vgdev->vdev);
	dma_buf = drm_gem_prime_handle_to_dmabuf(drm, file->private_data, rc.bo_handle, O_RDWR);
	__virtio_unbreak_device(vgdev->vdev);
	KUNIT_EXPECT_EQ(test, PTR_ERR_OR_ZERO(dma_buf), -EIO);
	put(dma_buf);

	dma_buf = drm_gem_prime_handle_to_dmabuf(drm, file->private_data, rc.bo_handle, O_RDWR);
	KUNIT_EXPECT_EQ(test, PTR_ERR_OR_ZERO(dma_buf), 0);
	virtgpu_fake_settle(f);
	asked = virtgpu_fake_count(f, VIRTIO_GPU_CMD_RESOURCE_ASSIGN_UUID);
	KUNIT_EXPECT_EQ(test, asked, 1);
	if (!IS_ERR(dma_buf) && asked) {
		KUNIT_EXPECT_EQ(test, virtio_dma_buf_get_uuid(dma_buf, &uuid), 0);
		KUNIT_EXPECT_EQ(test, get_unaligned_be32(&uuid), rc.res_handle);
	}
	put(dma_buf);

	virtgpu_kunit_close(f, file);
	virtgpu_kunit_expect_clean(f);
}

static struct kunit_case queue_cases[] = {
	KUNIT_CASE(failed_command_leaves_nothing),
	KUNIT_CASE(fence_of_a_failed_command_is_signaled),
	KUNIT_CASE(fence_of_an_unanswered_command_is_signaled),
	KUNIT_CASE(unref_is_not_lost),
	KUNIT_CASE(failed_export_can_be_tried_again),
	{}
};

static struct kunit_suite queue_suite = {
	.name = "virtio_gpu_queue",
	.test_cases = queue_cases,
};

kunit_test_suite(queue_suite);

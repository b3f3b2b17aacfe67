// SPDX-License-Identifier: GPL-2.0
/*
 * Commands that do not make it into the control queue.
 */

#include <kunit/test.h>
#include <linux/dma-resv.h>
#include <linux/fdtable.h>
#include <linux/mman.h>
#include <linux/sync_file.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>

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
	struct drm_virtgpu_execbuffer exec = {
		.flags = VIRTGPU_EXECBUF_FENCE_FD_OUT,
		.size = 4,
		.fence_fd = -1,
	};
	struct dma_fence *fence;

	/* for the context */
	KUNIT_ASSERT_EQ(test, virtgpu_kunit_create_blob(file, &rc), 0);
	virtgpu_fake_settle(f);
	exec.command = kunit_vm_mmap(test, NULL, 0, PAGE_SIZE, PROT_READ | PROT_WRITE,
				     MAP_PRIVATE | MAP_ANONYMOUS, 0);
	KUNIT_ASSERT_TRUE(test, exec.command && !IS_ERR_VALUE((unsigned long)exec.command));

	virtio_break_device(vgdev->vdev);
	KUNIT_EXPECT_EQ(test, virtgpu_kunit_ioctl(file, DRM_IOCTL_VIRTGPU_EXECBUFFER, &exec), 0);
	__virtio_unbreak_device(vgdev->vdev);
	KUNIT_ASSERT_GE(test, exec.fence_fd, 0);
	fence = sync_file_get_fence(exec.fence_fd);
	KUNIT_EXPECT_EQ(test, close_fd(exec.fence_fd), 0);
	KUNIT_ASSERT_NOT_NULL(test, fence);
	KUNIT_EXPECT_EQ(test, dma_fence_get_status(fence), -EIO);
	dma_fence_put(fence);

	virtgpu_fake_settle(f);
	KUNIT_EXPECT_EQ(test, virtgpu_fake_count(f, VIRTIO_GPU_CMD_SUBMIT_3D), 0);
	virtgpu_kunit_close(f, file);
	virtgpu_kunit_expect_clean(f);
}

/*
 * The host is told to drop a resource even if that takes more room in the ring than was counted on,
 * because there is no memory for an indirect table; here, because the ring does without them.
 */
static void unref_is_not_lost(struct kunit *test)
{
	struct virtgpu_fake_params params = virtgpu_fake_defaults;
	struct drm_virtgpu_resource_create_blob rc = virtgpu_kunit_blob(PAGE_SIZE, 0);
	struct virtio_gpu_device *vgdev;
	struct virtgpu_fake *f;
	struct file *file;

	params.vq_num = 2;
	params.features &= ~BIT_ULL(VIRTIO_RING_F_INDIRECT_DESC);
	f = virtgpu_fake_create(test, &params);
	vgdev = virtgpu_fake_vgdev(f);
	file = virtgpu_kunit_open(f);
	KUNIT_ASSERT_EQ(test, virtgpu_kunit_create_blob(file, &rc), 0);
	virtgpu_fake_settle(f);

	/* each command takes the whole ring, though one slot is said to be enough */
	vgdev->has_indirect = true;
	KUNIT_EXPECT_EQ(test, virtgpu_kunit_delete(file, rc.bo_handle), 0);
	virtgpu_fake_settle(f);
	KUNIT_EXPECT_EQ(test, virtgpu_fake_count(f, VIRTIO_GPU_CMD_RESOURCE_UNREF), 1);

	virtgpu_kunit_close(f, file);
	virtgpu_kunit_expect_clean(f);
}

static struct kunit_case queue_cases[] = {
	KUNIT_CASE(failed_command_leaves_nothing),
	KUNIT_CASE(fence_of_a_failed_command_is_signaled),
	KUNIT_CASE(unref_is_not_lost),
	{}
};

static struct kunit_suite queue_suite = {
	.name = "virtio_gpu_queue",
	.test_cases = queue_cases,
};

kunit_test_suite(queue_suite);

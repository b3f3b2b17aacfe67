// SPDX-License-Identifier: GPL-2.0
/*
 * The device goes away while it is used: every wait ends, and everything is freed.
 */

#include <kunit/test.h>
#include <linux/virtio_ring.h>

#include "../virtgpu_drv.h"
#include "virtgpu_kunit_helpers.h"

#define MAP_BLOB	VIRTIO_GPU_CMD_RESOURCE_MAP_BLOB
#define MAPPABLE	VIRTGPU_BLOB_FLAG_USE_MAPPABLE
#define SIZE		(2 * PAGE_SIZE)

struct unplug_test {
	struct virtgpu_fake *f;
	/* the file the test uses, and one that keeps the DRM device after it is closed */
	struct file *file;
	struct file *keep;
};

static struct unplug_test make(struct kunit *test, const struct virtgpu_fake_params *params)
{
	struct unplug_test t;

	t.f = virtgpu_fake_create(test, params);
	t.keep = virtgpu_kunit_open(t.f);
	t.file = virtgpu_kunit_open(t.f);

	return t;
}

static u32 make_blob(struct kunit *test, struct unplug_test *t, u32 flags)
{
	struct drm_virtgpu_resource_create_blob rc = virtgpu_kunit_blob(SIZE, flags);

	KUNIT_ASSERT_EQ(test, virtgpu_kunit_create_blob(t->file, &rc), 0);
	virtgpu_fake_settle(t->f);

	return rc.bo_handle;
}

static bool window_is_empty(struct unplug_test *t)
{
	struct virtio_gpu_device *vgdev = virtgpu_fake_vgdev(t->f);
	bool empty;

	spin_lock(&vgdev->host_visible_lock);
	empty = drm_mm_clean(&vgdev->host_visible_mm);
	spin_unlock(&vgdev->host_visible_lock);

	return empty;
}

static void finish(struct unplug_test *t)
{
	virtgpu_kunit_close(t->f, t->file);
	virtgpu_kunit_expect_clean(t->f);
	virtgpu_kunit_close(t->f, t->keep);
}

/* Blobs that are alive when the device goes are freed with their file: mapped ones, others. */
static void blobs_are_freed(struct kunit *test)
{
	struct unplug_test t = make(test, &virtgpu_fake_defaults);
	struct drm_virtgpu_resource_create_blob guest = {
		.blob_mem = VIRTGPU_BLOB_MEM_GUEST,
		.size = SIZE,
	};

	make_blob(test, &t, MAPPABLE);
	make_blob(test, &t, MAPPABLE);
	make_blob(test, &t, 0);
	KUNIT_ASSERT_EQ(test, virtgpu_kunit_create_blob(t.file, &guest), 0);
	virtgpu_fake_settle(t.f);
	KUNIT_EXPECT_TRUE(test, virtgpu_kunit_unplug(t.f));

	finish(&t);
}

/* Without 3D there is no context to detach them from, and nothing that delays it. */
static void blobs_are_freed_without_3d(struct kunit *test)
{
	struct virtgpu_fake_params params = virtgpu_fake_defaults;
	struct drm_virtgpu_resource_create_blob guest = {
		.blob_mem = VIRTGPU_BLOB_MEM_GUEST,
		.size = SIZE,
	};
	struct unplug_test t;

	params.features &= ~(BIT_ULL(VIRTIO_GPU_F_VIRGL) | BIT_ULL(VIRTIO_GPU_F_CONTEXT_INIT));
	t = make(test, &params);
	KUNIT_ASSERT_EQ(test, virtgpu_kunit_create_blob(t.file, &guest), 0);
	virtgpu_fake_settle(t.f);
	KUNIT_EXPECT_TRUE(test, virtgpu_kunit_unplug(t.f));

	finish(&t);
}

/* So are those whose CREATE_BLOB and MAP_BLOB the host has not answered. */
static void unanswered_blobs_are_freed(struct kunit *test)
{
	struct unplug_test t = make(test, &virtgpu_fake_defaults);

	virtgpu_fake_hold(t.f, VIRTIO_GPU_CMD_RESOURCE_CREATE_BLOB);
	virtgpu_fake_hold(t.f, MAP_BLOB);
	make_blob(test, &t, MAPPABLE);
	KUNIT_EXPECT_TRUE(test, virtgpu_kunit_unplug(t.f));

	finish(&t);
}

/* And those whose last commands it has not answered. */
static void dying_blobs_are_freed(struct kunit *test)
{
	struct unplug_test t = make(test, &virtgpu_fake_defaults);
	u32 handle = make_blob(test, &t, MAPPABLE);

	virtgpu_fake_hold(t.f, VIRTIO_GPU_CMD_RESOURCE_UNREF);
	KUNIT_EXPECT_EQ(test, virtgpu_kunit_delete(t.file, handle), 0);
	virtgpu_fake_settle(t.f);
	KUNIT_EXPECT_TRUE(test, virtgpu_kunit_unplug(t.f));

	finish(&t);
}

/* What mmap() has mapped can be unmapped later. */
static void mapping_outlives_the_device(struct kunit *test)
{
	struct unplug_test t = make(test, &virtgpu_fake_defaults);
	u32 handle = make_blob(test, &t, MAPPABLE);
	struct virtgpu_kunit_mmapper *m;

	m = virtgpu_kunit_mmap_start(t.f, t.file, virtgpu_kunit_offset(t.file, handle), SIZE);
	KUNIT_ASSERT_TRUE(test, virtgpu_kunit_mmap_wait(m));
	KUNIT_EXPECT_EQ(test, virtgpu_kunit_mmap_error(m), 0);
	KUNIT_EXPECT_TRUE(test, virtgpu_kunit_unplug(t.f));
	KUNIT_EXPECT_TRUE(test, virtgpu_kunit_munmap(m));

	finish(&t);
}

/* A new mmap() fails. */
static void mmap_fails_afterwards(struct kunit *test)
{
	struct unplug_test t = make(test, &virtgpu_fake_defaults);
	u32 handle = make_blob(test, &t, MAPPABLE);
	u64 offset = virtgpu_kunit_offset(t.file, handle);

	KUNIT_EXPECT_TRUE(test, virtgpu_kunit_unplug(t.f));
	KUNIT_EXPECT_EQ(test, virtgpu_kunit_mmap(t.f, t.file, offset, SIZE), -ENODEV);

	finish(&t);
}

/* A task that waits for the host in mmap() is told that the device is gone. */
static void mmap_ends(struct kunit *test)
{
	struct unplug_test t = make(test, &virtgpu_fake_defaults);
	struct virtgpu_kunit_mmapper *m;
	u32 handle;

	virtgpu_fake_hold(t.f, MAP_BLOB);
	handle = make_blob(test, &t, MAPPABLE);
	m = virtgpu_kunit_mmap_start(t.f, t.file, virtgpu_kunit_offset(t.file, handle), SIZE);
	KUNIT_ASSERT_TRUE(test, virtgpu_fake_wait_held(t.f, 1));
	KUNIT_ASSERT_TRUE(test, virtgpu_kunit_thread_wait_asleep(m->thread));
	KUNIT_EXPECT_TRUE(test, virtgpu_kunit_unplug(t.f));
	KUNIT_ASSERT_TRUE(test, virtgpu_kunit_mmap_wait(m));
	KUNIT_EXPECT_EQ(test, virtgpu_kunit_mmap_error(m), -ENODEV);
	KUNIT_EXPECT_TRUE(test, window_is_empty(&t));

	finish(&t);
}

/*
 * The host has mapped the blob, but the driver has not yet looked when the device goes. The blob is
 * not mapped then: there is no window.
 */
static void answer_comes_too_late(struct kunit *test)
{
	struct unplug_test t = make(test, &virtgpu_fake_defaults);
	struct virtgpu_kunit_mmapper *m;
	u32 handle;

	virtgpu_fake_mute(t.f, true);
	handle = make_blob(test, &t, MAPPABLE);
	KUNIT_ASSERT_EQ(test, virtgpu_fake_mapped(t.f), 1);
	m = virtgpu_kunit_mmap_start(t.f, t.file, virtgpu_kunit_offset(t.file, handle), SIZE);
	KUNIT_ASSERT_TRUE(test, virtgpu_kunit_thread_wait_asleep(m->thread));
	KUNIT_EXPECT_TRUE(test, virtgpu_kunit_unplug(t.f));
	KUNIT_ASSERT_TRUE(test, virtgpu_kunit_mmap_wait(m));
	KUNIT_EXPECT_EQ(test, virtgpu_kunit_mmap_error(m), -ENODEV);
	KUNIT_EXPECT_TRUE(test, window_is_empty(&t));

	finish(&t);
}

/*
 * An answer that comes when the driver resets the device is still looked at, and what follows from
 * it is done, before the driver lets go of the device.
 */
static void answer_comes_at_the_last_moment(struct kunit *test)
{
	struct unplug_test t = make(test, &virtgpu_fake_defaults);
	struct virtio_gpu_device *vgdev = virtgpu_fake_vgdev(t.f);
	u32 handle;

	virtgpu_fake_hold(t.f, MAP_BLOB);
	handle = make_blob(test, &t, MAPPABLE);
	KUNIT_ASSERT_TRUE(test, virtgpu_fake_wait_held(t.f, 1));
	KUNIT_EXPECT_EQ(test, virtgpu_kunit_delete(t.file, handle), 0);
	virtgpu_fake_settle(t.f);

	virtgpu_fake_answer_at_reset(t.f);
	KUNIT_EXPECT_TRUE(test, virtgpu_kunit_unplug(t.f));
	KUNIT_EXPECT_FALSE(test, work_busy(&vgdev->ctrlq.dequeue_work));
	KUNIT_EXPECT_FALSE(test, work_busy(&vgdev->obj_free_work));
	KUNIT_EXPECT_TRUE(test, window_is_empty(&t));

	finish(&t);
}

/* Such an answer does not count either, even if it is good. */
static void answer_at_the_last_moment_maps_nothing(struct kunit *test)
{
	struct unplug_test t = make(test, &virtgpu_fake_defaults);

	virtgpu_fake_hold(t.f, MAP_BLOB);
	make_blob(test, &t, MAPPABLE);
	KUNIT_ASSERT_TRUE(test, virtgpu_fake_wait_held(t.f, 1));
	virtgpu_fake_answer_at_reset(t.f);
	KUNIT_EXPECT_TRUE(test, virtgpu_kunit_unplug(t.f));
	KUNIT_EXPECT_TRUE(test, window_is_empty(&t));

	finish(&t);
}

/*
 * A command that was queued but not yet made known to the device is not made known later. Without
 * event indices, it is only the driver that can hold back the kick.
 */
static void queue_is_not_kicked_afterwards(struct kunit *test)
{
	struct drm_virtgpu_resource_create_blob rc = virtgpu_kunit_blob(U64_MAX, 0);
	struct virtgpu_fake_params params = virtgpu_fake_defaults;
	struct unplug_test t;
	unsigned int kicks;

	params.features &= ~BIT_ULL(VIRTIO_RING_F_EVENT_IDX);
	t = make(test, &params);
	/* fails when the context is queued, before there is a blob to kick for */
	KUNIT_ASSERT_LT(test, virtgpu_kunit_create_blob(t.file, &rc), 0);
	KUNIT_ASSERT_NE(test, atomic_read(&virtgpu_fake_vgdev(t.f)->pending_commands), 0);
	KUNIT_EXPECT_TRUE(test, virtgpu_kunit_unplug(t.f));
	kicks = virtgpu_fake_kicks(t.f);
	virtgpu_kunit_close(t.f, t.file);
	KUNIT_EXPECT_EQ(test, virtgpu_fake_kicks(t.f), kicks);

	virtgpu_kunit_expect_clean(t.f);
	virtgpu_kunit_close(t.f, t.keep);
}

struct create_data {
	struct file *file;
	struct drm_virtgpu_resource_create_blob rc;
};

static long create_fn(void *data)
{
	struct create_data *create = data;

	return virtgpu_kunit_create_blob(create->file, &create->rc);
}

/*
 * A task that waits for room in the ring of a device that does not serve it hinders neither the
 * unplug nor itself.
 */
static void full_ring(struct kunit *test)
{
	struct virtgpu_fake_params params = virtgpu_fake_defaults;
	struct virtgpu_kunit_thread *create, *unplug;
	struct create_data *data;
	struct unplug_test t;

	params.vq_num = 2;
	params.features &= ~BIT_ULL(VIRTIO_RING_F_INDIRECT_DESC);
	t = make(test, &params);
	data = kunit_kzalloc(test, sizeof(*data), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, data);
	data->file = t.file;
	data->rc = virtgpu_kunit_blob(SIZE, 0);

	/* the first of its commands fits, the second one does not */
	virtgpu_fake_stall(t.f, true);
	create = virtgpu_kunit_thread_run(t.f, "virtgpu-create", create_fn, data);
	KUNIT_ASSERT_TRUE(test, virtgpu_kunit_thread_wait_asleep(create));
	unplug = virtgpu_kunit_unplug_start(t.f);
	KUNIT_ASSERT_TRUE(test, virtgpu_kunit_thread_wait(unplug));
	KUNIT_EXPECT_EQ(test, virtgpu_kunit_thread_result(unplug), 0);
	KUNIT_ASSERT_TRUE(test, virtgpu_kunit_thread_wait(create));

	finish(&t);
}

static struct kunit_case unplug_cases[] = {
	KUNIT_CASE(blobs_are_freed),
	KUNIT_CASE(blobs_are_freed_without_3d),
	KUNIT_CASE(unanswered_blobs_are_freed),
	KUNIT_CASE(dying_blobs_are_freed),
	KUNIT_CASE(mapping_outlives_the_device),
	KUNIT_CASE(mmap_fails_afterwards),
	KUNIT_CASE(mmap_ends),
	KUNIT_CASE(answer_comes_too_late),
	KUNIT_CASE(answer_comes_at_the_last_moment),
	KUNIT_CASE(answer_at_the_last_moment_maps_nothing),
	KUNIT_CASE(queue_is_not_kicked_afterwards),
	KUNIT_CASE(full_ring),
	{}
};

static struct kunit_suite unplug_suite = {
	.name = "virtio_gpu_unplug",
	.test_cases = unplug_cases,
};

kunit_test_suite(unplug_suite);

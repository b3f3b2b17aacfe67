// SPDX-License-Identifier: GPL-2.0
/*
 * The device is unplugged while it is in use: every wait ends, and everything is freed, which
 * virtgpu_kunit_exit() expects.
 */

#include <kunit/test.h>

#include "../virtgpu_drv.h"
#include "virtgpu_kunit_helpers.h"

static const struct blobs_param {
	const char *name;
	u64 without;
	bool guest;
	u32 flags;
	/* commands that have no response when the device is unplugged */
	u32 held[2];
	bool deleted;
} blobs_params[] = {
	{ "mapped", .flags = MAPPABLE },
	{ "not mappable" },
	{ "guest", .guest = true },
	{ "guest, no 3D", .guest = true,
	  .without = BIT_ULL(VIRTIO_GPU_F_VIRGL) | BIT_ULL(VIRTIO_GPU_F_CONTEXT_INIT) },
	{ "being created", .flags = MAPPABLE, .held = { CREATE_BLOB, MAP_BLOB } },
	{ "being freed", .flags = MAPPABLE, .held = { UNREF }, .deleted = true },
};

KUNIT_ARRAY_PARAM_DESC(blobs, blobs_params, name);

/* Blobs are freed after the unplug, when their file is closed. */
static void blob_is_freed(struct kunit *test)
{
	const struct blobs_param *p = test->param_value;
	struct virtgpu_fake_params params = virtgpu_kunit_params(p->without);
	struct virtgpu_kunit *k = virtgpu_kunit_init_with(test, &params);
	struct drm_virtgpu_resource_create_blob rc;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(p->held) && p->held[i]; i++)
		virtgpu_fake_hold(k->fake, p->held[i]);
	rc = p->guest ? virtgpu_kunit_guest_blob(SIZE, p->flags, EAGER) :
			virtgpu_kunit_host_blob(SIZE, p->flags, EAGER);
	KUNIT_ASSERT_EQ(test, virtgpu_kunit_create(k, &rc), 0);
	virtgpu_kunit_settle(k);
	if (p->deleted)
		virtgpu_kunit_delete(k, rc.bo_handle);
	KUNIT_EXPECT_TRUE(test, virtgpu_fake_unplug(k->fake));
	virtgpu_kunit_close(k, k->file);
	virtgpu_kunit_expect_clean(k);
}

/* A process can unmap later what it has mapped. */
static void mapping_can_be_unmapped(struct kunit *test)
{
	struct virtgpu_kunit *k = test->priv;
	struct virtgpu_kunit_thread *m = virtgpu_kunit_mmap_start(k, virtgpu_kunit_blob(k, EAGER));

	KUNIT_ASSERT_EQ(test, virtgpu_kunit_result(m), 0);
	KUNIT_EXPECT_TRUE(test, virtgpu_fake_unplug(k->fake));
	virtgpu_kunit_munmap(m);
}

/* A new mmap() fails. */
static void mmap_fails_after_unplug(struct kunit *test)
{
	struct virtgpu_kunit *k = test->priv;
	u32 handle = virtgpu_kunit_blob(k, EAGER);

	KUNIT_EXPECT_TRUE(test, virtgpu_fake_unplug(k->fake));
	KUNIT_EXPECT_EQ(test, virtgpu_kunit_mmap(k, handle), -ENODEV);
}

/* mmap() fails in a task that waits for the response to MAP_BLOB. */
static void mmap_fails_when_response_is_missing(struct kunit *test)
{
	struct virtgpu_kunit *k = test->priv;
	struct virtgpu_kunit_thread *m;

	virtgpu_fake_hold(k->fake, MAP_BLOB);
	m = virtgpu_kunit_mmap_start(k, virtgpu_kunit_blob(k, EAGER));
	KUNIT_ASSERT_TRUE(test, virtgpu_kunit_wait_mapping(m));
	KUNIT_EXPECT_TRUE(test, virtgpu_fake_unplug(k->fake));
	KUNIT_EXPECT_EQ(test, virtgpu_kunit_result(m), -ENODEV);
	KUNIT_EXPECT_TRUE(test, virtgpu_kunit_window_is_empty(k));
}

/* mmap() fails, too, if the host has mapped the blob and the driver has not seen the response. */
static void map_response_after_unplug_is_ignored(struct kunit *test)
{
	struct virtgpu_kunit *k = test->priv;
	struct virtgpu_kunit_thread *m;

	virtgpu_fake_mute(k->fake, true);
	m = virtgpu_kunit_mmap_start(k, virtgpu_kunit_blob(k, EAGER));
	KUNIT_ASSERT_EQ(test, virtgpu_fake_mapped(k->fake), 1);
	KUNIT_ASSERT_TRUE(test, virtgpu_kunit_wait_mapping(m));
	KUNIT_EXPECT_TRUE(test, virtgpu_fake_unplug(k->fake));
	KUNIT_EXPECT_EQ(test, virtgpu_kunit_result(m), -ENODEV);
	KUNIT_EXPECT_TRUE(test, virtgpu_kunit_window_is_empty(k));
}

static const struct reset_param {
	const char *name;
	bool deleted;
} reset_params[] = {
	{ "blob in use" },
	{ "blob being freed", .deleted = true },
};

KUNIT_ARRAY_PARAM_DESC(reset, reset_params, name);

/*
 * The driver handles a response that comes when it resets the device, and finishes what follows
 * from the response, before it deletes the queues. The blob is not mapped.
 */
static void map_response_at_reset_maps_nothing(struct kunit *test)
{
	const struct reset_param *p = test->param_value;
	struct virtgpu_kunit *k = test->priv;
	u32 handle;

	virtgpu_fake_hold(k->fake, MAP_BLOB);
	handle = virtgpu_kunit_blob(k, EAGER);
	KUNIT_ASSERT_EQ(test, virtgpu_fake_held(k->fake), 1);
	if (p->deleted)
		virtgpu_kunit_delete(k, handle);
	virtgpu_fake_respond_at_reset(k->fake);
	KUNIT_EXPECT_TRUE(test, virtgpu_fake_unplug(k->fake));
	KUNIT_EXPECT_FALSE(test, work_busy(&k->vgdev->ctrlq.dequeue_work));
	KUNIT_EXPECT_FALSE(test, work_busy(&k->vgdev->obj_free_work));
	KUNIT_EXPECT_TRUE(test, virtgpu_kunit_window_is_empty(k));
}

/*
 * The driver does not notify the device of a command that it has queued before the unplug. There
 * are no event indices here, which would suppress the notification.
 */
static void queue_is_not_notified_after_unplug(struct kunit *test)
{
	const struct virtgpu_fake_params params =
		virtgpu_kunit_params(BIT_ULL(VIRTIO_RING_F_EVENT_IDX));
	struct virtgpu_kunit *k = virtgpu_kunit_init_with(test, &params);
	struct drm_virtgpu_resource_create_blob rc = virtgpu_kunit_host_blob(SIZE, 0, EAGER);
	unsigned int notifications;

	/* a bad address: fails after CTX_CREATE is queued, before the driver notifies the device */
	rc.cmd_size = 4;
	rc.cmd = U64_MAX;
	KUNIT_ASSERT_EQ(test, virtgpu_kunit_create(k, &rc), -EFAULT);
	KUNIT_ASSERT_EQ(test, virtgpu_fake_mark(k->fake), 0);
	KUNIT_EXPECT_TRUE(test, virtgpu_fake_unplug(k->fake));
	notifications = virtgpu_fake_notifications(k->fake);
	virtgpu_kunit_close(k, k->file);
	KUNIT_EXPECT_EQ(test, virtgpu_fake_notifications(k->fake), notifications);
}

/* A task that waits for ring space delays neither the unplug nor itself. */
static void ring_space_wait_ends_at_unplug(struct kunit *test)
{
	const struct virtgpu_fake_params params = virtgpu_kunit_ring(2);
	struct virtgpu_kunit *k = virtgpu_kunit_init_with(test, &params);
	struct virtgpu_kunit_thread *create;

	/* CTX_CREATE fills the ring, CREATE_BLOB waits */
	virtgpu_fake_stall(k->fake, true);
	create = virtgpu_kunit_create_start(k, SIZE, 0);
	KUNIT_ASSERT_TRUE(test, virtgpu_kunit_wait_ring_space(create));
	KUNIT_ASSERT_TRUE(test, virtgpu_fake_unplug(k->fake));
	KUNIT_EXPECT_TRUE(test, virtgpu_kunit_wait_returned(create));
}

static struct kunit_case unplug_cases[] = {
	KUNIT_CASE_PARAM(blob_is_freed, blobs_gen_params),
	KUNIT_CASE(mapping_can_be_unmapped),
	KUNIT_CASE(mmap_fails_after_unplug),
	KUNIT_CASE(mmap_fails_when_response_is_missing),
	KUNIT_CASE(map_response_after_unplug_is_ignored),
	KUNIT_CASE_PARAM(map_response_at_reset_maps_nothing, reset_gen_params),
	KUNIT_CASE(queue_is_not_notified_after_unplug),
	KUNIT_CASE(ring_space_wait_ends_at_unplug),
	{}
};

static struct kunit_suite unplug_suite = {
	.name = "virtio_gpu_unplug",
	.init = virtgpu_kunit_init,
	.exit = virtgpu_kunit_exit,
	.test_cases = unplug_cases,
};

kunit_test_suite(unplug_suite);

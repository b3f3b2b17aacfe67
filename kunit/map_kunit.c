// SPDX-License-Identifier: GPL-2.0
/*
 * The mapping of blobs by a process: DRM_IOCTL_VIRTGPU_MAP and mmap().
 */

#include <kunit/test.h>
#include <linux/mm.h>

#include "../virtgpu_drv.h"
#include "virtgpu_kunit_helpers.h"

/* The number of blobs or tasks in cases with many. */
#define MANY		8

static const struct hint_param {
	const char *name;
	u32 hints;
} hint_params[] = {
	{ "eager", EAGER },
	{ "deferred", DEFER },
};

KUNIT_ARRAY_PARAM_DESC(hint, hint_params, name);

static void create_deferred(struct virtgpu_kunit *k, u32 *handles, unsigned int n)
{
	unsigned int i;

	for (i = 0; i < n; i++)
		handles[i] = virtgpu_kunit_blob(k, DEFER);
}

/*
 * With the device stalled, four mappings fill a ring of 8: the driver waits with the next command.
 */
static void fill_ring(struct virtgpu_kunit *k, const u32 *handles)
{
	unsigned int i;

	virtgpu_fake_stall(k->fake, true);
	for (i = 0; i < 4; i++)
		KUNIT_ASSERT_EQ(k->test, virtgpu_kunit_map_ioctl(k, handles[i], NULL), 0);
	KUNIT_ASSERT_EQ(k->test, virtio_fake_free_space(virtgpu_fake_virtio(k->fake), 0), 0);
}

static struct virtgpu_kunit *init_full_ring(struct kunit *test, u32 handles[5])
{
	const struct virtgpu_fake_params params = virtgpu_kunit_ring(8);
	struct virtgpu_kunit *k = virtgpu_kunit_init_with(test, &params);

	create_deferred(k, handles, 5);
	fill_ring(k, handles);

	return k;
}

/* The driver neither maps nor unmaps a blob that has the hint and is never used. */
static void unused_deferred_blob_is_never_mapped(struct kunit *test)
{
	struct virtgpu_kunit *k = test->priv;

	virtgpu_kunit_delete(k, virtgpu_kunit_blob(k, DEFER));
	KUNIT_EXPECT_EQ(test, virtgpu_fake_count(k->fake, MAP_BLOB), 0);
	KUNIT_EXPECT_EQ(test, virtgpu_fake_count(k->fake, UNMAP_BLOB), 0);
	KUNIT_EXPECT_EQ(test, virtgpu_fake_count(k->fake, UNREF), 1);
}

/* Deferred blobs that are not mapped need no space in the window. */
static void deferred_blobs_may_exceed_window(struct kunit *test)
{
	struct virtgpu_fake_params params = virtgpu_fake_defaults;
	struct virtgpu_kunit *k;
	unsigned int i;

	params.window = SIZE;
	k = virtgpu_kunit_init_with(test, &params);
	for (i = 0; i < 64; i++)
		virtgpu_kunit_blob(k, DEFER);
	KUNIT_EXPECT_EQ(test, virtgpu_fake_resources(k->fake), 64);
	KUNIT_EXPECT_EQ(test, virtgpu_fake_count(k->fake, MAP_BLOB), 0);
}

/* A blob without the hint is mapped at creation, once, and unmapped when it is freed. */
static void eager_blob_is_mapped_once(struct kunit *test)
{
	struct virtgpu_kunit *k = test->priv;
	u32 handle = virtgpu_kunit_blob(k, EAGER);
	u64 offset;

	KUNIT_EXPECT_EQ(test, virtgpu_fake_mapped(k->fake), 1);
	KUNIT_EXPECT_EQ(test, virtgpu_kunit_map_ioctl(k, handle, &offset), 0);
	KUNIT_EXPECT_EQ(test, offset, virtgpu_kunit_offset(k, handle));
	KUNIT_EXPECT_EQ(test, virtgpu_kunit_mmap(k, handle), 0);
	KUNIT_EXPECT_EQ(test, virtgpu_kunit_mmap(k, handle), 0);
	KUNIT_EXPECT_EQ(test, virtgpu_fake_count(k->fake, MAP_BLOB), 1);
	KUNIT_EXPECT_EQ(test, virtgpu_fake_count(k->fake, UNMAP_BLOB), 0);
	virtgpu_kunit_delete(k, handle);
	KUNIT_EXPECT_EQ(test, virtgpu_fake_count(k->fake, UNMAP_BLOB), 1);
}

/* The driver notifies the device once of all commands that create an eager blob. */
static void eager_creation_notifies_once(struct kunit *test)
{
	struct virtgpu_kunit *k = test->priv;
	unsigned int notifications;

	/* creates the context */
	virtgpu_kunit_blob(k, EAGER);
	notifications = virtgpu_fake_notifications(k->fake);
	virtgpu_kunit_blob(k, EAGER);
	KUNIT_EXPECT_EQ(test, virtgpu_fake_notifications(k->fake), notifications + 1);
}

/* If the window is full, the creation of an eager blob fails and leaves nothing. */
static void eager_creation_fails_when_window_is_full(struct kunit *test)
{
	struct virtgpu_kunit *k = test->priv;
	struct drm_virtgpu_resource_create_blob rc;

	virtgpu_kunit_fill_window(k);
	rc = virtgpu_kunit_host_blob(SIZE, MAPPABLE, EAGER);
	KUNIT_EXPECT_EQ(test, virtgpu_kunit_create(k, &rc), -ENOSPC);
	virtgpu_kunit_settle(k);
	KUNIT_EXPECT_EQ(test, virtgpu_fake_resources(k->fake), 1);
}

/* DRM_IOCTL_VIRTGPU_MAP sends MAP_BLOB, notifies the device, and does not wait for the response. */
static void map_ioctl_starts_mapping_without_waiting(struct kunit *test)
{
	struct virtgpu_kunit *k = test->priv;
	u32 handle = virtgpu_kunit_blob(k, DEFER);
	unsigned int notifications = virtgpu_fake_notifications(k->fake);
	u64 offset;

	virtgpu_fake_hold(k->fake, MAP_BLOB);
	KUNIT_EXPECT_EQ(test, virtgpu_kunit_map_ioctl(k, handle, &offset), 0);
	KUNIT_EXPECT_EQ(test, offset, virtgpu_kunit_offset(k, handle));
	KUNIT_EXPECT_EQ(test, virtgpu_fake_notifications(k->fake), notifications + 1);
	KUNIT_EXPECT_TRUE(test, virtgpu_fake_wait_held(k->fake, 1));
	KUNIT_EXPECT_EQ(test, virtgpu_kunit_map_ioctl(k, handle, &offset), 0);
	virtgpu_fake_release_all(k->fake, 0);
	KUNIT_EXPECT_EQ(test, virtgpu_kunit_mmap(k, handle), 0);
	KUNIT_EXPECT_EQ(test, virtgpu_fake_count(k->fake, MAP_BLOB), 1);
}

/* The ioctl returns the offset even if the window is full; mmap() reports the error. */
static void map_ioctl_succeeds_when_window_is_full(struct kunit *test)
{
	struct virtgpu_kunit *k = test->priv;
	u32 handle = virtgpu_kunit_blob(k, DEFER);
	u64 offset;

	virtgpu_kunit_fill_window(k);
	KUNIT_EXPECT_EQ(test, virtgpu_kunit_map_ioctl(k, handle, &offset), 0);
	KUNIT_EXPECT_EQ(test, offset, virtgpu_kunit_offset(k, handle));
	KUNIT_EXPECT_EQ(test, virtgpu_kunit_mmap(k, handle), -ENOSPC);
	KUNIT_EXPECT_EQ(test, virtgpu_fake_count(k->fake, MAP_BLOB), 1);
}

/* The ioctl succeeds if the host responds with an error, too; mmap() tries again. */
static void map_ioctl_succeeds_when_host_fails(struct kunit *test)
{
	struct virtgpu_kunit *k = test->priv;
	u32 handle = virtgpu_kunit_blob(k, DEFER);

	virtgpu_fake_respond(k->fake, MAP_BLOB, VIRTIO_GPU_RESP_ERR_UNSPEC, 1);
	KUNIT_EXPECT_EQ(test, virtgpu_kunit_map_ioctl(k, handle, NULL), 0);
	virtgpu_kunit_settle(k);
	KUNIT_EXPECT_EQ(test, virtgpu_fake_mapped(k->fake), 0);
	KUNIT_EXPECT_EQ(test, virtgpu_kunit_mmap(k, handle), 0);
	KUNIT_EXPECT_EQ(test, virtgpu_fake_count(k->fake, MAP_BLOB), 2);
}

/* The ioctl rejects an unknown handle, and sends nothing. */
static void map_ioctl_rejects_unknown_handle(struct kunit *test)
{
	struct virtgpu_kunit *k = test->priv;
	u32 handle = virtgpu_kunit_blob(k, DEFER);

	KUNIT_EXPECT_EQ(test, virtgpu_kunit_map_ioctl(k, handle + 1, NULL), -ENOENT);
	virtgpu_kunit_settle(k);
	KUNIT_EXPECT_EQ(test, virtgpu_fake_count(k->fake, MAP_BLOB), 0);
}

/* The ioctl starts no mapping of a blob in guest memory, or of one that is not mappable. */
static void map_ioctl_maps_no_other_blobs(struct kunit *test)
{
	struct virtgpu_kunit *k = test->priv;
	struct drm_virtgpu_resource_create_blob guest;
	u64 offset = 0;
	u32 host;

	guest = virtgpu_kunit_guest_blob(SIZE, MAPPABLE, DEFER);
	KUNIT_ASSERT_EQ(test, virtgpu_kunit_create(k, &guest), 0);
	KUNIT_EXPECT_EQ(test, virtgpu_kunit_map_ioctl(k, guest.bo_handle, &offset), 0);
	KUNIT_EXPECT_NE(test, offset, 0);
	host = virtgpu_kunit_blob_of(k, SIZE, VIRTGPU_BLOB_FLAG_USE_SHAREABLE, DEFER);
	KUNIT_EXPECT_EQ(test, virtgpu_kunit_map_ioctl(k, host, &offset), 0);
	KUNIT_EXPECT_EQ(test, virtgpu_kunit_mmap(k, host), -EINVAL);
	virtgpu_kunit_settle(k);
	KUNIT_EXPECT_EQ(test, virtgpu_fake_count(k->fake, MAP_BLOB), 0);
}

/* The first mmap() maps the blob, with one notification; the next finds the blob mapped. */
static void first_mmap_maps_blob(struct kunit *test)
{
	struct virtgpu_kunit *k = test->priv;
	u32 handle = virtgpu_kunit_blob(k, DEFER);
	unsigned int notifications = virtgpu_fake_notifications(k->fake);

	KUNIT_EXPECT_EQ(test, virtgpu_fake_mapped(k->fake), 0);
	KUNIT_EXPECT_EQ(test, virtgpu_kunit_mmap(k, handle), 0);
	KUNIT_EXPECT_EQ(test, virtgpu_fake_notifications(k->fake), notifications + 1);
	KUNIT_EXPECT_EQ(test, virtgpu_kunit_mmap(k, handle), 0);
	KUNIT_EXPECT_EQ(test, virtgpu_fake_count(k->fake, MAP_BLOB), 1);
	virtgpu_kunit_delete(k, handle);
	KUNIT_EXPECT_EQ(test, virtgpu_fake_count(k->fake, UNMAP_BLOB), 1);
}

/* A process gets the pages of the window at the offset that MAP_BLOB has. */
static void mmap_maps_pages_of_range(struct kunit *test)
{
	const struct hint_param *p = test->param_value;
	struct virtgpu_fake_params params = virtgpu_fake_defaults;
	struct virtgpu_kunit_thread *m;
	const struct virtgpu_cmd *cmd;
	struct virtgpu_kunit *k;
	unsigned long pfn;
	unsigned int i;

	params.window_skew = 3 * PAGE_SIZE;
	k = virtgpu_kunit_init_with(test, &params);
	/* so that the offset is not 0 */
	virtgpu_kunit_blob(k, EAGER);
	m = virtgpu_kunit_mmap_start(k, virtgpu_kunit_blob(k, p->hints));
	KUNIT_ASSERT_EQ(test, virtgpu_kunit_result(m), 0);

	cmd = virtgpu_fake_nth(k->fake, MAP_BLOB, 1);
	KUNIT_ASSERT_NOT_NULL(test, cmd);
	KUNIT_EXPECT_NE(test, cmd->offset, 0);
	for (i = 0; i < SIZE / PAGE_SIZE; i++) {
		KUNIT_ASSERT_EQ(test, virtgpu_kunit_mmap_pfn(m, i, &pfn, NULL), 0);
		KUNIT_EXPECT_EQ(test, (u64)pfn << PAGE_SHIFT,
				virtgpu_fake_window(k->fake)->addr + cmd->offset + i * PAGE_SIZE);
	}
}

static const struct caching_param {
	const char *name;
	u32 map_info;
} caching_params[] = {
	{ "uncached", VIRTIO_GPU_MAP_CACHE_UNCACHED },
	{ "write-combined", VIRTIO_GPU_MAP_CACHE_WC },
};

KUNIT_ARRAY_PARAM_DESC(caching, caching_params, name);

/*
 * The page tables have the caching type that the host demands. A cached mapping is not a case: an
 * architecture need not grant that for addresses without memory.
 */
static void mmap_caching_follows_map_info(struct kunit *test)
{
	const pgprot_t plain = pgprot_decrypted(vm_get_page_prot(VM_READ | VM_WRITE | VM_SHARED));
	const struct caching_param *p = test->param_value;
	struct virtgpu_kunit *k = test->priv;
	struct virtgpu_kunit_thread *m;
	pgprot_t want, prot;
	unsigned long pfn;

	want = p->map_info == VIRTIO_GPU_MAP_CACHE_WC ? pgprot_writecombine(plain) :
							pgprot_noncached(plain);
	if (pgprot_val(want) == pgprot_val(plain))
		kunit_skip(test, "the architecture has one caching type only");

	/* the other bits have no meaning */
	virtgpu_fake_set_map_info(k->fake, p->map_info | 0xabcdef00);
	m = virtgpu_kunit_mmap_start(k, virtgpu_kunit_blob(k, EAGER));
	KUNIT_ASSERT_EQ(test, virtgpu_kunit_result(m), 0);
	KUNIT_ASSERT_EQ(test, virtgpu_kunit_mmap_pfn(m, 0, &pfn, &prot), 0);
	KUNIT_EXPECT_EQ(test, (pgprot_val(prot) ^ pgprot_val(want)) &
			      (pgprot_val(plain) ^ pgprot_val(want)), 0);
}

/* mmap() maps a part of a blob. */
static void part_of_blob_can_be_mapped(struct kunit *test)
{
	struct virtgpu_kunit *k = test->priv;
	u64 offset = virtgpu_kunit_offset(k, virtgpu_kunit_blob(k, DEFER));

	KUNIT_EXPECT_EQ(test, virtgpu_kunit_mmap_file(k, k->file, offset, PAGE_SIZE), 0);
	KUNIT_EXPECT_EQ(test, virtgpu_kunit_mmap_file(k, k->file, offset, SIZE + PAGE_SIZE),
			-EINVAL);
	virtgpu_kunit_settle(k);
	KUNIT_EXPECT_EQ(test, virtgpu_fake_count(k->fake, MAP_BLOB), 1);
}

/* A host that rejects offset 0, or all offsets that are not multiples of its pages. */
static u32 reject_offset_zero(void *data, const struct virtgpu_cmd *cmd)
{
	return cmd->type == MAP_BLOB && !cmd->offset ? VIRTIO_GPU_RESP_ERR_UNSPEC : 0;
}

static u32 reject_small_pages(void *data, const struct virtgpu_cmd *cmd)
{
	return cmd->type == MAP_BLOB && cmd->offset % SZ_64K ? VIRTIO_GPU_RESP_ERR_UNSPEC : 0;
}

static const struct offset_param {
	const char *name;
	u32 (*decide)(void *data, const struct virtgpu_cmd *cmd);
} offset_params[] = {
	{ "offset zero", reject_offset_zero },
	{ "multiples of small pages", reject_small_pages },
};

KUNIT_ARRAY_PARAM_DESC(offset, offset_params, name);

/* A blob whose range the host has rejected is mapped elsewhere by the next mmap(). */
static void rejected_range_is_not_tried_again(struct kunit *test)
{
	const struct offset_param *p = test->param_value;
	struct virtgpu_kunit *k = test->priv;
	struct virtgpu_kunit_thread *m;
	unsigned int i, failed = 0;
	u32 handle;
	int ret;

	virtgpu_fake_decide(k->fake, p->decide, NULL);
	for (i = 0; i < 3; i++) {
		handle = virtgpu_kunit_blob(k, DEFER);
		m = virtgpu_kunit_mmap_start(k, handle);
		ret = virtgpu_kunit_result(m);
		if (ret) {
			KUNIT_EXPECT_EQ(test, ret, -EIO);
			failed++;
			m = virtgpu_kunit_mmap_start(k, handle);
			KUNIT_EXPECT_EQ(test, virtgpu_kunit_result(m), 0);
		}
	}
	KUNIT_EXPECT_GE(test, failed, 1);
	KUNIT_EXPECT_EQ(test, virtgpu_fake_mapped(k->fake), 3);
}

/* Blobs that the host never maps leave nothing, and no UNMAP_BLOB is sent for them. */
static void many_rejected_blobs_leave_nothing(struct kunit *test)
{
	struct virtgpu_kunit *k = test->priv;
	unsigned int i;
	u32 handle;

	virtgpu_fake_respond(k->fake, MAP_BLOB, VIRTIO_GPU_RESP_ERR_UNSPEC, 0);
	for (i = 0; i < 200; i++) {
		handle = virtgpu_kunit_blob(k, i % 2 ? EAGER : DEFER);
		KUNIT_EXPECT_EQ(test, virtgpu_kunit_mmap(k, handle), -EIO);
		virtgpu_kunit_delete(k, handle);
	}
	KUNIT_EXPECT_EQ(test, virtgpu_fake_count(k->fake, UNMAP_BLOB), 0);
	KUNIT_EXPECT_EQ(test, virtgpu_fake_resources(k->fake), 0);
	KUNIT_EXPECT_TRUE(test, virtgpu_kunit_window_is_empty(k));
}

/* A client that has no context yet is served like others when the window is full. */
static void full_window_is_error_for_new_client(struct kunit *test)
{
	struct virtgpu_kunit *k = test->priv;
	u32 filler = virtgpu_kunit_fill_window(k);
	struct file *first = k->file;
	struct drm_virtgpu_resource_create_blob rc;
	u32 handle;

	k->file = virtgpu_kunit_open(k);
	rc = virtgpu_kunit_host_blob(SIZE, MAPPABLE, EAGER);
	KUNIT_EXPECT_EQ(test, virtgpu_kunit_create(k, &rc), -ENOSPC);
	handle = virtgpu_kunit_blob(k, DEFER);
	KUNIT_EXPECT_EQ(test, virtgpu_kunit_mmap(k, handle), -ENOSPC);

	swap(k->file, first);
	virtgpu_kunit_delete(k, filler);
	swap(k->file, first);
	KUNIT_EXPECT_EQ(test, virtgpu_kunit_mmap(k, handle), 0);
}

/* mmap() fails while the window is full, and works when there is space again. */
static void mmap_fails_when_window_is_full(struct kunit *test)
{
	struct virtgpu_kunit *k = test->priv;
	u32 handle = virtgpu_kunit_blob(k, DEFER);
	u32 filler = virtgpu_kunit_fill_window(k);

	KUNIT_EXPECT_EQ(test, virtgpu_kunit_mmap(k, handle), -ENOSPC);
	KUNIT_EXPECT_EQ(test, virtgpu_kunit_mmap(k, handle), -ENOSPC);
	KUNIT_EXPECT_EQ(test, virtgpu_fake_count(k->fake, MAP_BLOB), 1);
	virtgpu_kunit_delete(k, filler);
	KUNIT_EXPECT_EQ(test, virtgpu_kunit_mmap(k, handle), 0);
}

/* mmap() fails for a blob that is larger than the window. */
static void mmap_fails_when_window_is_too_small(struct kunit *test)
{
	struct virtgpu_fake_params params = virtgpu_fake_defaults;
	struct virtgpu_kunit *k;

	params.window = PAGE_SIZE;
	k = virtgpu_kunit_init_with(test, &params);
	KUNIT_EXPECT_EQ(test, virtgpu_kunit_mmap(k, virtgpu_kunit_blob(k, DEFER)), -ENOSPC);
	virtgpu_kunit_settle(k);
	KUNIT_EXPECT_EQ(test, virtgpu_fake_count(k->fake, MAP_BLOB), 0);
}

static const struct error_param {
	const char *name;
	u32 resp;
	u32 hints;
	int result;
} error_params[] = {
	{ "deferred, no memory", VIRTIO_GPU_RESP_ERR_OUT_OF_MEMORY, DEFER, -ENOMEM },
	{ "deferred, error", VIRTIO_GPU_RESP_ERR_UNSPEC, DEFER, -EIO },
	{ "deferred, wrong type", VIRTIO_GPU_RESP_OK_NODATA, DEFER, -EIO },
	{ "eager, no memory", VIRTIO_GPU_RESP_ERR_OUT_OF_MEMORY, EAGER, -ENOMEM },
	{ "eager, error", VIRTIO_GPU_RESP_ERR_UNSPEC, EAGER, -EIO },
};

KUNIT_ARRAY_PARAM_DESC(error, error_params, name);

/*
 * If the host responds with an error, mmap() fails with the errno for it, another blob can have the
 * range, and the next mmap() tries again. Only mapped blobs are unmapped.
 */
static void mmap_is_retried_after_error_response(struct kunit *test)
{
	const struct error_param *p = test->param_value;
	struct virtgpu_fake_params params = virtgpu_fake_defaults;
	struct virtgpu_kunit *k;
	u32 handle, other;

	params.window = SIZE;
	k = virtgpu_kunit_init_with(test, &params);
	/* the host has failed once when an eager blob is created */
	virtgpu_fake_respond(k->fake, MAP_BLOB, p->resp, p->hints == DEFER ? 1 : 2);
	handle = virtgpu_kunit_blob(k, p->hints);
	KUNIT_EXPECT_EQ(test, virtgpu_kunit_mmap(k, handle), p->result);

	other = virtgpu_kunit_blob(k, EAGER);
	KUNIT_EXPECT_EQ(test, virtgpu_kunit_mmap(k, other), 0);
	virtgpu_kunit_delete(k, other);
	KUNIT_EXPECT_EQ(test, virtgpu_fake_count(k->fake, UNMAP_BLOB), 1);

	KUNIT_EXPECT_EQ(test, virtgpu_kunit_mmap(k, handle), 0);
	virtgpu_kunit_delete(k, handle);
	KUNIT_EXPECT_EQ(test, virtgpu_fake_count(k->fake, UNMAP_BLOB), 2);
}

/* The driver does not unmap a blob that the host has never mapped. */
static void failed_mapping_is_not_unmapped(struct kunit *test)
{
	struct virtgpu_kunit *k = test->priv;
	u32 handle = virtgpu_kunit_blob(k, DEFER);

	virtgpu_fake_respond(k->fake, MAP_BLOB, VIRTIO_GPU_RESP_ERR_UNSPEC, 0);
	KUNIT_EXPECT_EQ(test, virtgpu_kunit_mmap(k, handle), -EIO);
	virtgpu_kunit_delete(k, handle);
	KUNIT_EXPECT_EQ(test, virtgpu_fake_count(k->fake, UNMAP_BLOB), 0);
}

/* If the queue does not take MAP_BLOB, mmap() fails and does not wait for a response. */
static void mmap_fails_when_queue_is_broken(struct kunit *test)
{
	struct virtgpu_kunit *k = test->priv;
	u32 handle = virtgpu_kunit_blob(k, DEFER);

	virtgpu_fake_break(k->fake);
	KUNIT_EXPECT_EQ(test, virtgpu_kunit_mmap(k, handle), -EIO);
	virtgpu_fake_unbreak(k->fake);
	KUNIT_EXPECT_EQ(test, virtgpu_kunit_mmap(k, handle), 0);
	KUNIT_EXPECT_EQ(test, virtgpu_fake_count(k->fake, MAP_BLOB), 1);
}

/* mmap() waits for the response. */
static void mmap_waits_for_response(struct kunit *test)
{
	const struct hint_param *p = test->param_value;
	struct virtgpu_kunit *k = test->priv;
	struct virtgpu_kunit_thread *m;

	virtgpu_fake_hold(k->fake, MAP_BLOB);
	m = virtgpu_kunit_mmap_start(k, virtgpu_kunit_blob(k, p->hints));
	KUNIT_ASSERT_TRUE(test, virtgpu_fake_wait_held(k->fake, 1));
	KUNIT_EXPECT_TRUE(test, virtgpu_kunit_wait_mapping(m));
	virtgpu_fake_release_all(k->fake, 0);
	KUNIT_EXPECT_EQ(test, virtgpu_kunit_result(m), 0);
	KUNIT_EXPECT_EQ(test, virtgpu_fake_count(k->fake, MAP_BLOB), 1);
}

/*
 * A task that waits in mmap() can be killed. The mapping goes on without the task: the next mmap()
 * sends nothing, and the blob is unmapped when it is freed.
 */
static void killed_mmap_leaves_mapping(struct kunit *test)
{
	const struct hint_param *p = test->param_value;
	struct virtgpu_kunit *k = test->priv;
	struct virtgpu_kunit_thread *m;
	u32 handle;

	virtgpu_fake_hold(k->fake, MAP_BLOB);
	handle = virtgpu_kunit_blob(k, p->hints);
	m = virtgpu_kunit_mmap_start(k, handle);
	KUNIT_ASSERT_TRUE(test, virtgpu_kunit_wait_mapping(m));
	virtgpu_kunit_kill(m);
	KUNIT_EXPECT_EQ(test, virtgpu_kunit_result(m), -ERESTARTSYS);

	virtgpu_fake_release_all(k->fake, 0);
	KUNIT_EXPECT_EQ(test, virtgpu_kunit_mmap(k, handle), 0);
	KUNIT_EXPECT_EQ(test, virtgpu_fake_count(k->fake, MAP_BLOB), 1);
	virtgpu_kunit_delete(k, handle);
	KUNIT_EXPECT_EQ(test, virtgpu_fake_count(k->fake, UNMAP_BLOB), 1);
}

/* Tasks that wait for the mapping of a blob do not fail when another waiter is killed. */
static void other_waiters_survive_kill(struct kunit *test)
{
	struct virtgpu_kunit *k = test->priv;
	u32 handle = virtgpu_kunit_blob(k, DEFER);
	struct virtgpu_kunit_thread *first, *second;

	virtgpu_fake_hold(k->fake, MAP_BLOB);
	first = virtgpu_kunit_mmap_start(k, handle);
	KUNIT_ASSERT_TRUE(test, virtgpu_kunit_wait_mapping(first));
	second = virtgpu_kunit_mmap_start(k, handle);
	KUNIT_ASSERT_TRUE(test, virtgpu_kunit_wait_mapping(second));
	virtgpu_kunit_kill(first);
	KUNIT_EXPECT_EQ(test, virtgpu_kunit_result(first), -ERESTARTSYS);
	KUNIT_EXPECT_TRUE(test, virtgpu_kunit_wait_mapping(second));

	virtgpu_fake_release_all(k->fake, 0);
	KUNIT_EXPECT_EQ(test, virtgpu_kunit_result(second), 0);
	KUNIT_EXPECT_EQ(test, virtgpu_fake_count(k->fake, MAP_BLOB), 1);
}

/* A full ring delays a mapping, and no more. */
static void mmap_waits_for_ring_space(struct kunit *test)
{
	u32 handles[5];
	struct virtgpu_kunit *k = init_full_ring(test, handles);
	struct virtgpu_kunit_thread *m = virtgpu_kunit_mmap_start(k, handles[4]);

	KUNIT_ASSERT_TRUE(test, virtgpu_kunit_wait_ring_space(m));
	virtgpu_fake_stall(k->fake, false);
	KUNIT_EXPECT_EQ(test, virtgpu_kunit_result(m), 0);
	KUNIT_EXPECT_EQ(test, virtgpu_fake_count(k->fake, MAP_BLOB), 5);
}

/*
 * A task that waits for ring space can be killed, and its range is freed. A task that waits for the
 * mapping which the killed task was to start does not fail, but starts the mapping itself.
 */
static void killed_ring_space_wait_hands_over(struct kunit *test)
{
	struct virtgpu_kunit_thread *first, *second;
	u32 handles[5];
	struct virtgpu_kunit *k = init_full_ring(test, handles);

	first = virtgpu_kunit_mmap_start(k, handles[4]);
	KUNIT_ASSERT_TRUE(test, virtgpu_kunit_wait_ring_space(first));
	second = virtgpu_kunit_mmap_start(k, handles[4]);
	KUNIT_ASSERT_TRUE(test, virtgpu_kunit_wait_mapping(second));
	virtgpu_kunit_kill(first);
	KUNIT_EXPECT_EQ(test, virtgpu_kunit_result(first), -ERESTARTSYS);
	KUNIT_EXPECT_TRUE(test, virtgpu_kunit_wait_ring_space(second));

	virtgpu_fake_stall(k->fake, false);
	KUNIT_EXPECT_EQ(test, virtgpu_kunit_result(second), 0);
	KUNIT_EXPECT_EQ(test, virtgpu_fake_count(k->fake, MAP_BLOB), 5);
}

static size_t reserved_ranges(struct virtgpu_kunit *k)
{
	struct drm_mm_node *node;
	size_t n = 0;

	spin_lock(&k->vgdev->host_visible_lock);
	drm_mm_for_each_node(node, &k->vgdev->host_visible_mm)
		n++;
	spin_unlock(&k->vgdev->host_visible_lock);

	return n;
}

/*
 * A task that is killed while it creates an eager blob and waits for ring space gives up the blob.
 * The task waits for ring space once more, unkillably, to send UNREF. Nothing of the blob is left.
 */
static void killed_creation_leaves_nothing(struct kunit *test)
{
	const struct virtgpu_fake_params params = virtgpu_kunit_ring(8);
	struct virtgpu_kunit *k = virtgpu_kunit_init_with(test, &params);
	struct virtgpu_kunit_thread *create;
	u32 handles[3];
	unsigned int i;

	create_deferred(k, handles, ARRAY_SIZE(handles));
	/* leave space for CREATE_BLOB but not for MAP_BLOB */
	virtgpu_fake_stall(k->fake, true);
	for (i = 0; i < ARRAY_SIZE(handles); i++)
		KUNIT_ASSERT_EQ(test, virtgpu_kunit_map_ioctl(k, handles[i], NULL), 0);
	create = virtgpu_kunit_create_start(k, SIZE, MAPPABLE);
	KUNIT_ASSERT_TRUE(test, virtgpu_kunit_wait_ring_space(create));
	KUNIT_ASSERT_EQ(test, reserved_ranges(k), 4);
	virtgpu_kunit_kill(create);
	KUNIT_ASSERT_TRUE(test, virtgpu_kunit_wait_until(reserved_ranges(k) == 3));
	KUNIT_EXPECT_TRUE(test, virtgpu_kunit_wait_ring_space(create));

	virtgpu_fake_stall(k->fake, false);
	KUNIT_EXPECT_EQ(test, virtgpu_kunit_result(create), -ERESTARTSYS);
	virtgpu_kunit_settle(k);
	KUNIT_EXPECT_EQ(test, virtgpu_fake_count(k->fake, MAP_BLOB), 3);
	KUNIT_EXPECT_EQ(test, virtgpu_fake_resources(k->fake), 3);
}

/* A task that is killed in DRM_IOCTL_VIRTGPU_MAP leaves a blob that others can map. */
static void killed_map_ioctl_leaves_blob(struct kunit *test)
{
	struct virtgpu_kunit_thread *thread;
	struct drm_virtgpu_map map = {};
	u32 handles[5];
	struct virtgpu_kunit *k = init_full_ring(test, handles);

	map.handle = handles[4];
	thread = virtgpu_kunit_ioctl_start(k, DRM_IOCTL_VIRTGPU_MAP, &map);
	KUNIT_ASSERT_TRUE(test, virtgpu_kunit_wait_ring_space(thread));
	virtgpu_kunit_kill(thread);
	KUNIT_EXPECT_EQ(test, virtgpu_kunit_result(thread), 0);

	virtgpu_fake_stall(k->fake, false);
	virtgpu_kunit_settle(k);
	KUNIT_EXPECT_EQ(test, virtgpu_fake_count(k->fake, MAP_BLOB), 4);
	KUNIT_EXPECT_EQ(test, virtgpu_kunit_mmap(k, handles[4]), 0);
}

/*
 * When the device is unplugged, a waiter for ring space fails, and a task that waits for its
 * mapping.
 */
static void mmap_in_full_ring_fails_at_unplug(struct kunit *test)
{
	struct virtgpu_kunit_thread *first, *second;
	u32 handles[5];
	struct virtgpu_kunit *k = init_full_ring(test, handles);

	first = virtgpu_kunit_mmap_start(k, handles[4]);
	KUNIT_ASSERT_TRUE(test, virtgpu_kunit_wait_ring_space(first));
	second = virtgpu_kunit_mmap_start(k, handles[4]);
	KUNIT_ASSERT_TRUE(test, virtgpu_kunit_wait_mapping(second));
	KUNIT_ASSERT_TRUE(test, virtgpu_fake_unplug(k->fake));
	KUNIT_EXPECT_EQ(test, virtgpu_kunit_result(first), -ENODEV);
	KUNIT_EXPECT_EQ(test, virtgpu_kunit_result(second), -ENODEV);
}

static const struct shared_param {
	const char *name;
	u32 resp;
	int result;
} shared_params[] = {
	{ "mapped", VIRTIO_GPU_RESP_OK_MAP_INFO, 0 },
	{ "no memory", VIRTIO_GPU_RESP_ERR_OUT_OF_MEMORY, -ENOMEM },
	{ "error", VIRTIO_GPU_RESP_ERR_UNSPEC, -EIO },
};

KUNIT_ARRAY_PARAM_DESC(shared, shared_params, name);

/* Many processes that mmap() a blob at the same time share one MAP_BLOB and its result. */
static void many_mmaps_share_one_map_blob(struct kunit *test)
{
	const struct shared_param *p = test->param_value;
	struct virtgpu_kunit *k = test->priv;
	u32 handle = virtgpu_kunit_blob(k, DEFER);
	struct virtgpu_kunit_thread *m[MANY];
	unsigned int i;

	virtgpu_fake_hold(k->fake, MAP_BLOB);
	for (i = 0; i < MANY; i++) {
		m[i] = virtgpu_kunit_mmap_start(k, handle);
		KUNIT_ASSERT_TRUE(test, virtgpu_kunit_wait_mapping(m[i]));
	}
	virtgpu_kunit_settle(k);
	KUNIT_ASSERT_EQ(test, virtgpu_fake_held(k->fake), 1);
	virtgpu_fake_release_all(k->fake, p->resp);
	for (i = 0; i < MANY; i++)
		KUNIT_EXPECT_EQ(test, virtgpu_kunit_result(m[i]), p->result);
	KUNIT_EXPECT_EQ(test, virtgpu_fake_count(k->fake, MAP_BLOB), 1);
}

/*
 * Many processes that mmap() a blob each wait at the same time, not one after the other. The host
 * responds in any order, with and without error; each process gets the result for its blob.
 */
static void many_mmaps_overlap(struct kunit *test)
{
	struct virtgpu_kunit *k = test->priv;
	struct virtgpu_kunit_thread *m[MANY];
	u32 handles[MANY];
	unsigned int i;

	create_deferred(k, handles, MANY);
	virtgpu_fake_hold(k->fake, MAP_BLOB);
	for (i = 0; i < MANY; i++) {
		m[i] = virtgpu_kunit_mmap_start(k, handles[i]);
		KUNIT_ASSERT_TRUE(test, virtgpu_fake_wait_held(k->fake, i + 1));
	}
	for (i = MANY; i--;) {
		virtgpu_fake_release(k->fake, i, i % 2 ? VIRTIO_GPU_RESP_ERR_UNSPEC : 0);
		KUNIT_EXPECT_EQ(test, virtgpu_kunit_result(m[i]), i % 2 ? -EIO : 0);
	}
}

/*
 * A process that calls DRM_IOCTL_VIRTGPU_MAP for many blobs has the host map all at the same time.
 */
static void many_map_ioctls_overlap(struct kunit *test)
{
	struct virtgpu_kunit *k = test->priv;
	u32 handles[MANY];
	unsigned int i;

	create_deferred(k, handles, MANY);
	virtgpu_fake_hold(k->fake, MAP_BLOB);
	for (i = 0; i < MANY; i++)
		KUNIT_EXPECT_EQ(test, virtgpu_kunit_map_ioctl(k, handles[i], NULL), 0);
	KUNIT_EXPECT_TRUE(test, virtgpu_fake_wait_held(k->fake, MANY));
	virtgpu_fake_release_all(k->fake, 0);
	for (i = 0; i < MANY; i++)
		KUNIT_EXPECT_EQ(test, virtgpu_kunit_mmap(k, handles[i]), 0);
	KUNIT_EXPECT_EQ(test, virtgpu_fake_count(k->fake, MAP_BLOB), MANY);
}

/* A ring with space for 4 commands is enough for more mappings. */
static void small_ring_takes_many_mappings(struct kunit *test)
{
	const struct virtgpu_fake_params params = virtgpu_kunit_ring(8);
	struct virtgpu_kunit *k = virtgpu_kunit_init_with(test, &params);
	u32 handles[4 * MANY];
	unsigned int i;

	create_deferred(k, handles, ARRAY_SIZE(handles));
	for (i = 0; i < ARRAY_SIZE(handles); i++)
		KUNIT_EXPECT_EQ(test, virtgpu_kunit_map_ioctl(k, handles[i], NULL), 0);
	for (i = 0; i < ARRAY_SIZE(handles); i++)
		KUNIT_EXPECT_EQ(test, virtgpu_kunit_mmap(k, handles[i]), 0);
	KUNIT_EXPECT_EQ(test, virtgpu_fake_count(k->fake, MAP_BLOB), ARRAY_SIZE(handles));
}

/* mmap() keeps the blob while it waits, even if the handle is closed. */
static void waiting_mmap_outlives_handle(struct kunit *test)
{
	struct virtgpu_kunit *k = test->priv;
	u32 handle = virtgpu_kunit_blob(k, DEFER);
	struct virtgpu_kunit_thread *m;
	unsigned long pfn;

	virtgpu_fake_hold(k->fake, MAP_BLOB);
	m = virtgpu_kunit_mmap_start(k, handle);
	KUNIT_ASSERT_TRUE(test, virtgpu_kunit_wait_mapping(m));
	virtgpu_kunit_delete(k, handle);
	KUNIT_EXPECT_EQ(test, virtgpu_fake_resources(k->fake), 1);

	virtgpu_fake_release_all(k->fake, 0);
	KUNIT_ASSERT_EQ(test, virtgpu_kunit_result(m), 0);
	KUNIT_EXPECT_EQ(test, virtgpu_kunit_mmap_pfn(m, 0, &pfn, NULL), 0);
	KUNIT_EXPECT_EQ(test, virtgpu_fake_count(k->fake, UNMAP_BLOB), 0);
	virtgpu_kunit_munmap(m);
	virtgpu_kunit_settle(k);
	KUNIT_EXPECT_EQ(test, virtgpu_fake_count(k->fake, UNMAP_BLOB), 1);
}

/* A device whose ring is full does not delay the mappings of another device. */
static void full_ring_does_not_delay_other_device(struct kunit *test)
{
	const struct virtgpu_fake_params params = virtgpu_kunit_ring(2);
	struct virtgpu_kunit *k = virtgpu_kunit_init_with(test, &params);
	struct virtgpu_kunit *other = virtgpu_kunit_add(test, &virtgpu_fake_defaults);
	struct virtgpu_kunit_thread *first, *second;
	u32 handles[2];

	create_deferred(k, handles, 2);
	virtgpu_fake_stall(k->fake, true);
	first = virtgpu_kunit_mmap_start(k, handles[0]);
	KUNIT_ASSERT_TRUE(test, virtgpu_kunit_wait_mapping(first));
	second = virtgpu_kunit_mmap_start(k, handles[1]);
	KUNIT_ASSERT_TRUE(test, virtgpu_kunit_wait_ring_space(second));
	KUNIT_EXPECT_EQ(test, virtgpu_kunit_mmap(other, virtgpu_kunit_blob(other, DEFER)), 0);
}

static struct kunit_case map_cases[] = {
	KUNIT_CASE(unused_deferred_blob_is_never_mapped),
	KUNIT_CASE(deferred_blobs_may_exceed_window),
	KUNIT_CASE(eager_blob_is_mapped_once),
	KUNIT_CASE(eager_creation_notifies_once),
	KUNIT_CASE(eager_creation_fails_when_window_is_full),
	KUNIT_CASE(map_ioctl_starts_mapping_without_waiting),
	KUNIT_CASE(map_ioctl_succeeds_when_window_is_full),
	KUNIT_CASE(map_ioctl_succeeds_when_host_fails),
	KUNIT_CASE(map_ioctl_rejects_unknown_handle),
	KUNIT_CASE(map_ioctl_maps_no_other_blobs),
	KUNIT_CASE(first_mmap_maps_blob),
	KUNIT_CASE_PARAM(mmap_maps_pages_of_range, hint_gen_params),
	KUNIT_CASE_PARAM(mmap_caching_follows_map_info, caching_gen_params),
	KUNIT_CASE(part_of_blob_can_be_mapped),
	KUNIT_CASE_PARAM(rejected_range_is_not_tried_again, offset_gen_params),
	KUNIT_CASE(many_rejected_blobs_leave_nothing),
	KUNIT_CASE(full_window_is_error_for_new_client),
	KUNIT_CASE(mmap_fails_when_window_is_full),
	KUNIT_CASE(mmap_fails_when_window_is_too_small),
	KUNIT_CASE_PARAM(mmap_is_retried_after_error_response, error_gen_params),
	KUNIT_CASE(failed_mapping_is_not_unmapped),
	KUNIT_CASE(mmap_fails_when_queue_is_broken),
	KUNIT_CASE_PARAM(mmap_waits_for_response, hint_gen_params),
	KUNIT_CASE_PARAM(killed_mmap_leaves_mapping, hint_gen_params),
	KUNIT_CASE(other_waiters_survive_kill),
	KUNIT_CASE(mmap_waits_for_ring_space),
	KUNIT_CASE(killed_ring_space_wait_hands_over),
	KUNIT_CASE(killed_creation_leaves_nothing),
	KUNIT_CASE(killed_map_ioctl_leaves_blob),
	KUNIT_CASE(mmap_in_full_ring_fails_at_unplug),
	KUNIT_CASE_PARAM(many_mmaps_share_one_map_blob, shared_gen_params),
	KUNIT_CASE(many_mmaps_overlap),
	KUNIT_CASE(many_map_ioctls_overlap),
	KUNIT_CASE(small_ring_takes_many_mappings),
	KUNIT_CASE(waiting_mmap_outlives_handle),
	KUNIT_CASE(full_ring_does_not_delay_other_device),
	{}
};

static struct kunit_suite map_suite = {
	.name = "virtio_gpu_map",
	.init = virtgpu_kunit_init,
	.exit = virtgpu_kunit_exit,
	.test_cases = map_cases,
};

kunit_test_suite(map_suite);

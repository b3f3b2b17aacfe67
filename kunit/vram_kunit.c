// SPDX-License-Identifier: GPL-2.0
/*
 * The mapping of host blobs, function by function, for what no user can arrange.
 */

#include <kunit/test.h>
#include <linux/completion.h>
#include <linux/sizes.h>

#include "../virtgpu_drv.h"
#include "virtgpu_kunit_helpers.h"

/* Blobs in host memory belong to a context, which the first blob of a file creates. */
static struct virtgpu_kunit *init_context(struct kunit *test,
					  const struct virtgpu_fake_params *params)
{
	struct virtgpu_kunit *k = params ? virtgpu_kunit_init_with(test, params) : test->priv;

	virtgpu_kunit_delete(k, virtgpu_kunit_blob_of(k, SIZE, 0, EAGER));

	return k;
}

static int create_vram(struct virtgpu_kunit *k, u64 size, u32 flags, u32 hints,
		       struct virtio_gpu_object_vram **vram)
{
	struct drm_file *file = k->file->private_data;
	struct virtio_gpu_fpriv *vfpriv = file->driver_priv;
	struct virtio_gpu_object_params params = {
		.size = size,
		.blob = true,
		.ctx_id = vfpriv->ctx_id,
		.blob_mem = VIRTGPU_BLOB_MEM_HOST3D,
		.blob_flags = flags,
		.blob_hints = hints,
		.blob_id = 1,
	};
	struct virtio_gpu_object *bo;
	int ret;

	ret = virtio_gpu_vram_create(k->vgdev, &params, &bo);
	virtio_gpu_notify(k->vgdev);
	virtgpu_kunit_settle(k);
	if (!ret)
		*vram = to_virtio_gpu_vram(bo);

	return ret;
}

static struct virtio_gpu_object_vram *make_vram(struct virtgpu_kunit *k, u64 size, u32 hints)
{
	struct virtio_gpu_object_vram *vram = NULL;

	KUNIT_ASSERT_EQ(k->test, create_vram(k, size, MAPPABLE, hints, &vram), 0);

	return vram;
}

static void put_vram(struct virtgpu_kunit *k, struct virtio_gpu_object_vram *vram)
{
	drm_gem_object_put(&vram->base.base.base);
	virtgpu_kunit_settle(k);
}

static int map_deferred(struct virtgpu_kunit *k, struct virtio_gpu_object_vram *vram)
{
	int ret = virtio_gpu_vram_map_deferred(vram);

	virtgpu_kunit_settle(k);

	return ret;
}

static struct virtio_gpu_vram_mapping *map_start(struct virtgpu_kunit *k,
						 struct virtio_gpu_object_vram *vram)
{
	struct virtio_gpu_vram_mapping *mapping = virtio_gpu_vram_map_start(vram);

	KUNIT_ASSERT_NOT_ERR_OR_NULL(k->test, mapping);
	virtio_gpu_notify(k->vgdev);
	virtgpu_kunit_settle(k);

	return mapping;
}

/* The result of an attempt that has ended. Drops the reference to the mapping. */
static int map_result(struct virtgpu_kunit *k, struct virtio_gpu_vram_mapping *mapping)
{
	int ret;

	KUNIT_ASSERT_TRUE(k->test, completion_done(&mapping->done));
	ret = virtio_gpu_vram_map_wait(k->vgdev, mapping);
	virtio_gpu_vram_mapping_put(mapping);

	return ret;
}

static void expect_unmapped(struct virtgpu_kunit *k, struct virtio_gpu_object_vram *vram)
{
	KUNIT_EXPECT_NULL(k->test, vram->mapping);
}

static void expect_mapped(struct virtgpu_kunit *k, struct virtio_gpu_object_vram *vram)
{
	KUNIT_ASSERT_NOT_NULL(k->test, vram->mapping);
	KUNIT_EXPECT_EQ(k->test, vram->mapping->state, VIRTIO_GPU_VRAM_MAPPED);
}

/* The creation of a blob with the hint reserves no range of the window. */
static void deferred_creation_reserves_nothing(struct kunit *test)
{
	struct virtgpu_kunit *k = init_context(test, NULL);
	struct virtio_gpu_object_vram *vram = make_vram(k, SIZE, DEFER);

	KUNIT_EXPECT_TRUE(test, virtgpu_kunit_window_is_empty(k));
	expect_unmapped(k, vram);
	put_vram(k, vram);
}

/* The start of a deferred mapping reserves the range that MAP_BLOB has, and does not wait. */
static void map_deferred_reserves_range(struct kunit *test)
{
	struct virtgpu_kunit *k = init_context(test, NULL);
	struct virtio_gpu_object_vram *vram = make_vram(k, SIZE, DEFER);
	const struct virtgpu_cmd *cmd;

	virtgpu_fake_hold(k->fake, MAP_BLOB);
	KUNIT_EXPECT_EQ(test, map_deferred(k, vram), 0);
	cmd = virtgpu_fake_held_cmd(k->fake, 0);
	KUNIT_ASSERT_NOT_NULL(test, cmd);
	KUNIT_EXPECT_EQ(test, cmd->resource_id, vram->base.hw_res_handle);
	KUNIT_ASSERT_NOT_NULL(test, vram->mapping);
	KUNIT_EXPECT_EQ(test, cmd->offset,
			vram->mapping->node.start - virtgpu_fake_window(k->fake)->addr);
	KUNIT_EXPECT_EQ(test, vram->mapping->node.size, SIZE);
	KUNIT_EXPECT_EQ(test, vram->mapping->state, VIRTIO_GPU_VRAM_MAPPING);

	virtgpu_fake_release_all(k->fake, 0);
	virtgpu_kunit_settle(k);
	expect_mapped(k, vram);
	put_vram(k, vram);
}

/* The driver sends no second MAP_BLOB for a blob that is mapped or being mapped. */
static void map_deferred_twice_maps_once(struct kunit *test)
{
	struct virtgpu_kunit *k = init_context(test, NULL);
	struct virtio_gpu_object_vram *vram = make_vram(k, SIZE, DEFER);
	unsigned int notifications = virtgpu_fake_notifications(k->fake);

	virtgpu_fake_hold(k->fake, MAP_BLOB);
	KUNIT_EXPECT_EQ(test, map_deferred(k, vram), 0);
	KUNIT_EXPECT_EQ(test, map_deferred(k, vram), 0);
	KUNIT_EXPECT_EQ(test, virtgpu_fake_notifications(k->fake), notifications + 1);
	virtgpu_fake_release_all(k->fake, 0);
	virtgpu_kunit_settle(k);
	KUNIT_EXPECT_EQ(test, map_deferred(k, vram), 0);
	KUNIT_EXPECT_EQ(test, virtgpu_fake_count(k->fake, MAP_BLOB), 1);
	put_vram(k, vram);
}

/* A blob without MAPPABLE is not mapped, hint or not. */
static void map_deferred_of_unmappable_blob_fails(struct kunit *test)
{
	struct virtgpu_kunit *k = init_context(test, NULL);
	struct virtio_gpu_object_vram *vram;

	KUNIT_ASSERT_EQ(test, create_vram(k, SIZE, VIRTGPU_BLOB_FLAG_USE_SHAREABLE, DEFER, &vram),
			0);
	KUNIT_EXPECT_EQ(test, map_deferred(k, vram), -EINVAL);
	KUNIT_EXPECT_EQ(test, virtgpu_fake_count(k->fake, MAP_BLOB), 0);
	expect_unmapped(k, vram);
	put_vram(k, vram);
}

/* A full window is an error until there is space. */
static void map_deferred_fails_when_window_is_full(struct kunit *test)
{
	struct virtgpu_kunit *k = init_context(test, NULL);
	struct virtio_gpu_object_vram *vram = make_vram(k, SIZE, DEFER);
	struct virtio_gpu_object_vram *filler;

	filler = make_vram(k, virtgpu_fake_window(k->fake)->len, EAGER);
	KUNIT_EXPECT_EQ(test, map_deferred(k, vram), -ENOSPC);
	expect_unmapped(k, vram);
	KUNIT_EXPECT_EQ(test, virtgpu_fake_count(k->fake, MAP_BLOB), 1);

	put_vram(k, filler);
	KUNIT_EXPECT_EQ(test, map_deferred(k, vram), 0);
	expect_mapped(k, vram);
	put_vram(k, vram);
}

/* The responses to MAP_BLOB, and the errno that the caller gets. */
static const struct resp_param {
	const char *name;
	u32 resp;
	int result;
} resp_params[] = {
	{ "OK_MAP_INFO", VIRTIO_GPU_RESP_OK_MAP_INFO, 0 },
	{ "ERR_OUT_OF_MEMORY", VIRTIO_GPU_RESP_ERR_OUT_OF_MEMORY, -ENOMEM },
	{ "ERR_UNSPEC", VIRTIO_GPU_RESP_ERR_UNSPEC, -EIO },
	{ "ERR_INVALID_RESOURCE_ID", VIRTIO_GPU_RESP_ERR_INVALID_RESOURCE_ID, -EIO },
	{ "ERR_INVALID_PARAMETER", VIRTIO_GPU_RESP_ERR_INVALID_PARAMETER, -EIO },
	{ "OK_NODATA", VIRTIO_GPU_RESP_OK_NODATA, -EIO },
	{ "OK_DISPLAY_INFO", VIRTIO_GPU_RESP_OK_DISPLAY_INFO, -EIO },
};

KUNIT_ARRAY_PARAM_DESC(resp, resp_params, name);

/*
 * All waiters that have joined an attempt get its result, after one MAP_BLOB. A failed attempt
 * leaves nothing, and the blob is freed without UNMAP_BLOB.
 */
static void joined_attempt_has_one_result(struct kunit *test)
{
	const struct resp_param *p = test->param_value;
	struct virtgpu_kunit *k = init_context(test, NULL);
	struct virtio_gpu_object_vram *vram = make_vram(k, SIZE, DEFER);
	struct virtio_gpu_vram_mapping *first, *second;

	virtgpu_fake_hold(k->fake, MAP_BLOB);
	first = map_start(k, vram);
	second = map_start(k, vram);
	KUNIT_EXPECT_FALSE(test, completion_done(&first->done));

	virtgpu_fake_release_all(k->fake, p->resp);
	virtgpu_kunit_settle(k);
	KUNIT_EXPECT_EQ(test, map_result(k, first), p->result);
	KUNIT_EXPECT_EQ(test, map_result(k, second), p->result);
	KUNIT_EXPECT_EQ(test, virtgpu_fake_count(k->fake, MAP_BLOB), 1);
	if (p->result)
		expect_unmapped(k, vram);
	put_vram(k, vram);
	KUNIT_EXPECT_EQ(test, virtgpu_fake_count(k->fake, UNMAP_BLOB), p->result ? 0 : 1);
}

/*
 * A response belongs to its attempt. A waiter for an attempt that has failed neither waits for the
 * next attempt, which may have started before the waiter looks, nor gets the result of that.
 */
static void later_attempt_keeps_earlier_result(struct kunit *test)
{
	struct virtgpu_kunit *k = init_context(test, NULL);
	struct virtio_gpu_object_vram *vram = make_vram(k, SIZE, DEFER);
	struct virtio_gpu_vram_mapping *first, *second;

	virtgpu_fake_respond(k->fake, MAP_BLOB, VIRTIO_GPU_RESP_ERR_OUT_OF_MEMORY, 1);
	first = map_start(k, vram);
	virtgpu_fake_hold(k->fake, MAP_BLOB);
	second = map_start(k, vram);
	KUNIT_EXPECT_EQ(test, map_result(k, first), -ENOMEM);
	KUNIT_EXPECT_FALSE(test, completion_done(&second->done));

	virtgpu_fake_release_all(k->fake, 0);
	virtgpu_kunit_settle(k);
	KUNIT_EXPECT_EQ(test, map_result(k, second), 0);
	put_vram(k, vram);
}

/* A waiter for a blob that is mapped does not wait. */
static void attempt_for_mapped_blob_is_complete(struct kunit *test)
{
	struct virtgpu_kunit *k = init_context(test, NULL);
	struct virtio_gpu_object_vram *vram = make_vram(k, SIZE, EAGER);
	unsigned int notifications = virtgpu_fake_notifications(k->fake);

	KUNIT_EXPECT_EQ(test, map_result(k, map_start(k, vram)), 0);
	KUNIT_EXPECT_EQ(test, virtgpu_fake_notifications(k->fake), notifications);
	KUNIT_EXPECT_EQ(test, virtgpu_fake_count(k->fake, MAP_BLOB), 1);
	put_vram(k, vram);
}

/* The blob lives until the response to its MAP_BLOB, even if all references are dropped. */
static void blob_outlives_its_map_blob(struct kunit *test)
{
	struct virtgpu_kunit *k = init_context(test, NULL);
	struct virtio_gpu_object_vram *vram = make_vram(k, SIZE, DEFER);
	unsigned int unrefs = virtgpu_fake_count(k->fake, UNREF);

	virtgpu_fake_hold(k->fake, MAP_BLOB);
	KUNIT_EXPECT_EQ(test, map_deferred(k, vram), 0);
	put_vram(k, vram);
	KUNIT_EXPECT_EQ(test, virtgpu_fake_count(k->fake, UNREF), unrefs);

	virtgpu_fake_release_all(k->fake, 0);
	virtgpu_kunit_settle(k);
	KUNIT_EXPECT_EQ(test, virtgpu_fake_count(k->fake, UNMAP_BLOB), 1);
	KUNIT_EXPECT_EQ(test, virtgpu_fake_count(k->fake, UNREF), unrefs + 1);
}

/*
 * The range of a freed blob is not used again before the host has unmapped the blob, although the
 * host has freed it.
 */
static void range_is_kept_until_unmap_response(struct kunit *test)
{
	struct virtgpu_kunit *k = init_context(test, NULL);
	struct virtio_gpu_object_vram *vram = make_vram(k, SIZE, EAGER);
	unsigned int unrefs = virtgpu_fake_count(k->fake, UNREF);

	virtgpu_fake_hold(k->fake, UNMAP_BLOB);
	put_vram(k, vram);
	KUNIT_EXPECT_EQ(test, virtgpu_fake_count(k->fake, UNREF), unrefs + 1);
	KUNIT_EXPECT_FALSE(test, virtgpu_kunit_window_is_empty(k));

	virtgpu_fake_release_all(k->fake, 0);
	virtgpu_kunit_settle(k);
	KUNIT_EXPECT_TRUE(test, virtgpu_kunit_window_is_empty(k));
}

/* A range that the host does not unmap is lost until the device is reset. The blob is freed. */
static void range_is_lost_if_host_rejects_unmap(struct kunit *test)
{
	struct virtgpu_kunit *k = init_context(test, NULL);
	struct virtio_gpu_object_vram *vram = make_vram(k, SIZE, EAGER);
	unsigned int unrefs = virtgpu_fake_count(k->fake, UNREF);
	u64 start = vram->mapping->node.start;

	virtgpu_fake_respond(k->fake, UNMAP_BLOB, VIRTIO_GPU_RESP_ERR_UNSPEC, 1);
	put_vram(k, vram);
	KUNIT_EXPECT_EQ(test, virtgpu_fake_count(k->fake, UNREF), unrefs + 1);
	/* For the model the blob is still mapped when it is freed. */
	KUNIT_EXPECT_EQ(test, virtgpu_fake_clear_violations(k->fake), 1);

	vram = make_vram(k, SIZE, EAGER);
	expect_mapped(k, vram);
	KUNIT_EXPECT_NE(test, vram->mapping->node.start, start);
	put_vram(k, vram);
	KUNIT_EXPECT_FALSE(test, virtgpu_kunit_window_is_empty(k));

	KUNIT_ASSERT_TRUE(test, virtgpu_fake_unplug(k->fake));
	KUNIT_EXPECT_TRUE(test, virtgpu_kunit_window_is_empty(k));
}

/* A host that does not know the resource shows nothing in the range: the range is released. */
static void range_is_released_if_resource_is_unknown(struct kunit *test)
{
	struct virtgpu_kunit *k = init_context(test, NULL);
	struct virtio_gpu_object_vram *vram = make_vram(k, SIZE, EAGER);

	virtgpu_fake_respond(k->fake, UNMAP_BLOB, VIRTIO_GPU_RESP_ERR_INVALID_RESOURCE_ID, 1);
	put_vram(k, vram);
	KUNIT_EXPECT_TRUE(test, virtgpu_kunit_window_is_empty(k));
	/* The model knows the resource. */
	KUNIT_EXPECT_EQ(test, virtgpu_fake_clear_violations(k->fake), 1);
}

/* A command to unmap that has no response when the device goes leaves no range. */
static void unmap_without_response_ends_at_unplug(struct kunit *test)
{
	struct virtgpu_kunit *k = init_context(test, NULL);
	struct virtio_gpu_object_vram *vram = make_vram(k, SIZE, EAGER);

	virtgpu_fake_hold(k->fake, UNMAP_BLOB);
	put_vram(k, vram);
	KUNIT_ASSERT_TRUE(test, virtgpu_fake_unplug(k->fake));
	KUNIT_EXPECT_TRUE(test, virtgpu_kunit_window_is_empty(k));
}

/* The driver uses only the caching type of map_info. */
static void map_info_is_masked(struct kunit *test)
{
	struct virtgpu_kunit *k = init_context(test, NULL);
	struct virtio_gpu_object_vram *vram;

	virtgpu_fake_set_map_info(k->fake, 0xabcdef00 | VIRTIO_GPU_MAP_CACHE_WC);
	vram = make_vram(k, SIZE, EAGER);
	expect_mapped(k, vram);
	KUNIT_EXPECT_EQ(test, vram->mapping->map_info, VIRTIO_GPU_MAP_CACHE_WC);
	put_vram(k, vram);
}

/*
 * A MAP_BLOB that the virtqueue does not take fails at once, and leaves no range and no reference.
 */
static void map_in_broken_queue_fails(struct kunit *test)
{
	struct virtgpu_kunit *k = init_context(test, NULL);
	struct virtio_gpu_object_vram *vram = make_vram(k, SIZE, DEFER);

	virtgpu_fake_break(k->fake);
	KUNIT_EXPECT_EQ(test, PTR_ERR_OR_ZERO(virtio_gpu_vram_map_start(vram)), -EIO);
	KUNIT_EXPECT_EQ(test, virtio_gpu_vram_map_deferred(vram), -EIO);
	virtgpu_fake_unbreak(k->fake);

	expect_unmapped(k, vram);
	KUNIT_EXPECT_EQ(test, kref_read(&vram->base.base.base.refcount), 1);
	KUNIT_EXPECT_EQ(test, map_deferred(k, vram), 0);
	KUNIT_EXPECT_EQ(test, virtgpu_fake_count(k->fake, MAP_BLOB), 1);
	/* The host has not rejected the range, so it is used. */
	expect_mapped(k, vram);
	KUNIT_EXPECT_EQ(test, vram->mapping->node.start, virtgpu_fake_window(k->fake)->addr);
	put_vram(k, vram);
}

static long map_deferred_fn(void *vram)
{
	return virtio_gpu_vram_map_deferred(vram);
}

/*
 * If there is no memory for an indirect table, a command needs as much ring space as it has
 * buffers; here, the ring has no indirect tables. MAP_BLOB waits for the space then and is not
 * lost.
 */
static void map_without_indirect_table_waits(struct kunit *test)
{
	const struct virtgpu_fake_params params = virtgpu_kunit_ring(8);
	struct virtgpu_kunit *k = init_context(test, &params);
	struct virtio_gpu_object_vram *first = make_vram(k, SIZE, DEFER);
	struct virtio_gpu_object_vram *second = make_vram(k, SIZE, DEFER);
	struct drm_virtgpu_resource_create_blob rc;
	struct virtgpu_kunit_thread *thread;

	/* three descriptors for CREATE_BLOB, two for CTX_ATTACH, two for MAP_BLOB */
	virtgpu_fake_stall(k->fake, true);
	rc = virtgpu_kunit_guest_blob(PAGE_SIZE, 0, EAGER);
	KUNIT_EXPECT_EQ(test, virtgpu_kunit_create(k, &rc), 0);
	KUNIT_EXPECT_EQ(test, virtio_gpu_vram_map_deferred(first), 0);
	KUNIT_ASSERT_EQ(test, virtio_fake_free_space(virtgpu_fake_virtio(k->fake), 0), 1);

	k->vgdev->has_indirect = true;
	thread = virtgpu_kunit_run(k, "map", map_deferred_fn, second);
	KUNIT_ASSERT_TRUE(test, virtgpu_kunit_wait_ring_space(thread));
	virtgpu_fake_stall(k->fake, false);
	KUNIT_EXPECT_EQ(test, virtgpu_kunit_result(thread), 0);
	virtgpu_kunit_settle(k);
	KUNIT_EXPECT_EQ(test, virtgpu_fake_count(k->fake, MAP_BLOB), 2);
	KUNIT_EXPECT_EQ(test, virtgpu_fake_mapped(k->fake), 2);
	k->vgdev->has_indirect = false;
	put_vram(k, first);
	put_vram(k, second);
}

/*
 * The driver can use all of the window, wherever it is. The model checks that the offsets are
 * multiples of the page size and that the ranges do not overlap.
 */
static void window_can_be_used_completely(struct kunit *test)
{
	struct virtgpu_fake_params params = virtgpu_fake_defaults;
	struct virtio_gpu_object_vram *vram[8], *late;
	struct virtgpu_kunit *k;
	unsigned int i;

	params.window = ARRAY_SIZE(vram) * SZ_64K;
	params.window_skew = 3 * PAGE_SIZE;
	k = init_context(test, &params);
	late = make_vram(k, SIZE, DEFER);
	for (i = 0; i < ARRAY_SIZE(vram); i++) {
		vram[i] = make_vram(k, SZ_64K, DEFER);
		KUNIT_EXPECT_EQ(test, map_deferred(k, vram[i]), 0);
	}
	KUNIT_EXPECT_EQ(test, map_deferred(k, late), -ENOSPC);
	KUNIT_EXPECT_EQ(test, virtgpu_fake_mapped(k->fake), ARRAY_SIZE(vram));

	for (i = 0; i < ARRAY_SIZE(vram); i++)
		put_vram(k, vram[i]);
	put_vram(k, late);
}

/* After the unplug the creation of an eager blob fails, and leaves nothing. */
static void eager_creation_fails_after_unplug(struct kunit *test)
{
	struct virtgpu_kunit *k = init_context(test, NULL);
	struct virtio_gpu_object_vram *vram;

	KUNIT_ASSERT_TRUE(test, virtgpu_fake_unplug(k->fake));
	KUNIT_EXPECT_EQ(test, create_vram(k, SIZE, MAPPABLE, EAGER, &vram), -ENODEV);
	virtgpu_kunit_expect_clean(k);
}

/* Without a window a mapping fails before a command is sent. */
static void map_without_window_fails(struct kunit *test)
{
	struct virtgpu_fake_params params = virtgpu_fake_defaults;
	struct virtio_gpu_object_vram *vram;
	struct virtgpu_kunit *k;

	params.window = 0;
	k = init_context(test, &params);
	vram = make_vram(k, SIZE, DEFER);
	KUNIT_EXPECT_EQ(test, map_deferred(k, vram), -EINVAL);
	KUNIT_EXPECT_EQ(test, virtgpu_fake_count(k->fake, MAP_BLOB), 0);
	put_vram(k, vram);
}

static struct kunit_case vram_cases[] = {
	KUNIT_CASE(deferred_creation_reserves_nothing),
	KUNIT_CASE(map_deferred_reserves_range),
	KUNIT_CASE(map_deferred_twice_maps_once),
	KUNIT_CASE(map_deferred_of_unmappable_blob_fails),
	KUNIT_CASE(map_deferred_fails_when_window_is_full),
	KUNIT_CASE_PARAM(joined_attempt_has_one_result, resp_gen_params),
	KUNIT_CASE(later_attempt_keeps_earlier_result),
	KUNIT_CASE(attempt_for_mapped_blob_is_complete),
	KUNIT_CASE(blob_outlives_its_map_blob),
	KUNIT_CASE(range_is_kept_until_unmap_response),
	KUNIT_CASE(range_is_lost_if_host_rejects_unmap),
	KUNIT_CASE(range_is_released_if_resource_is_unknown),
	KUNIT_CASE(unmap_without_response_ends_at_unplug),
	KUNIT_CASE(map_info_is_masked),
	KUNIT_CASE(map_in_broken_queue_fails),
	KUNIT_CASE(map_without_indirect_table_waits),
	KUNIT_CASE(window_can_be_used_completely),
	KUNIT_CASE(eager_creation_fails_after_unplug),
	KUNIT_CASE(map_without_window_fails),
	{}
};

static struct kunit_suite vram_suite = {
	.name = "virtio_gpu_vram",
	.init = virtgpu_kunit_init,
	.exit = virtgpu_kunit_exit,
	.test_cases = vram_cases,
};

kunit_test_suite(vram_suite);

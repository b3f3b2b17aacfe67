// SPDX-License-Identifier: GPL-2.0
/*
 * The blobs that can be created. The driver rejects the others before it sends a command.
 */

#include <kunit/test.h>
#include <linux/sizes.h>

#include <drm/drm_gem.h>
#include <drm/drm_vma_manager.h>

#include "../virtgpu_drv.h"
#include "virtgpu_kunit_helpers.h"

/* The argument to create a blob, and the features or the window that the device lacks. */
struct blob_param {
	const char *name;
	u64 without;
	bool no_window;
	struct drm_virtgpu_resource_create_blob rc;
};

#define HOST3D(...)	{ .blob_mem = VIRTGPU_BLOB_MEM_HOST3D, .size = SIZE, .blob_id = 1, \
			  ##__VA_ARGS__ }
#define GUEST(...)	{ .blob_mem = VIRTGPU_BLOB_MEM_GUEST, .size = SIZE, ##__VA_ARGS__ }
#define BOTH(...)	{ .blob_mem = VIRTGPU_BLOB_MEM_HOST3D_GUEST, .size = SIZE, .blob_id = 1, \
			  ##__VA_ARGS__ }

static struct virtgpu_kunit *init_device(struct kunit *test, const struct blob_param *p)
{
	struct virtgpu_fake_params params = virtgpu_kunit_params(p->without);

	if (p->no_window)
		params.window = 0;

	return virtgpu_kunit_init_with(test, &params);
}

/* One thing is wrong with each of these, all else is valid. */
static const struct blob_param invalid_params[] = {
	{ "no memory type", .rc = { .size = SIZE, .blob_id = 1 } },
	{ "unknown memory type", .rc = { .blob_mem = 4, .size = SIZE, .blob_id = 1 } },
	{ "unknown flag", .rc = HOST3D(.blob_flags = MAPPABLE | 0x8) },
	{ "hint 0x2", .rc = HOST3D(.blob_flags = MAPPABLE, .blob_hints = BIT(1)) },
	{ "hint 0x4", .rc = HOST3D(.blob_flags = MAPPABLE, .blob_hints = BIT(2)) },
	{ "hint 0x80000000", .rc = HOST3D(.blob_flags = MAPPABLE, .blob_hints = BIT(31)) },
	{ "known and unknown hint",
	  .rc = HOST3D(.blob_flags = MAPPABLE, .blob_hints = DEFER | BIT(1)) },
	{ "unknown hint for a guest blob", .rc = GUEST(.blob_hints = BIT(1)) },
	{ "padding", .rc = HOST3D(.blob_flags = MAPPABLE, .pad2 = 1) },
	{ "padding for a guest blob", .rc = GUEST(.pad2 = 1) },
	{ "odd command size", .rc = HOST3D(.cmd_size = 3) },
	{ "guest blob with an id", .rc = GUEST(.blob_id = 1) },
	{ "guest blob with a command", .rc = GUEST(.cmd_size = 4) },
	{ "no 3D", .without = BIT_ULL(VIRTIO_GPU_F_VIRGL) | BIT_ULL(VIRTIO_GPU_F_CONTEXT_INIT),
	  .rc = HOST3D() },
	{ "no blobs", .without = BIT_ULL(VIRTIO_GPU_F_RESOURCE_BLOB), .rc = GUEST() },
	{ "no UUIDs", .rc = HOST3D(.blob_flags = VIRTGPU_BLOB_FLAG_USE_CROSS_DEVICE) },
};

KUNIT_ARRAY_PARAM_DESC(invalid, invalid_params, name);

static const struct blob_param no_window_params[] = {
	{ "eager", .no_window = true, .rc = HOST3D(.blob_flags = MAPPABLE) },
	{ "deferred", .no_window = true,
	  .rc = HOST3D(.blob_flags = MAPPABLE, .blob_hints = DEFER) },
};

KUNIT_ARRAY_PARAM_DESC(no_window, no_window_params, name);

/* The driver rejects a blob with -EINVAL, and sends nothing, not even CTX_CREATE. */
static void expect_rejected(struct kunit *test)
{
	const struct blob_param *p = test->param_value;
	struct virtgpu_kunit *k = init_device(test, p);
	struct drm_virtgpu_resource_create_blob rc = p->rc;

	KUNIT_EXPECT_EQ(test, virtgpu_kunit_create(k, &rc), -EINVAL);
	KUNIT_EXPECT_EQ(test, rc.bo_handle, 0);
	virtgpu_kunit_settle(k);
	KUNIT_EXPECT_STREQ(test, virtgpu_fake_cmds(k->fake, 0), "");
}

static void invalid_blob_is_rejected(struct kunit *test)
{
	expect_rejected(test);
}

/* A mappable host blob can never be mapped without a window: the driver rejects it. */
static void mappable_blob_without_window_is_rejected(struct kunit *test)
{
	expect_rejected(test);
}

static const struct blob_param valid_params[] = {
	{ "host", .rc = HOST3D() },
	{ "host, mappable", .rc = HOST3D(.blob_flags = MAPPABLE) },
	{ "host, shareable", .rc = HOST3D(.blob_flags = VIRTGPU_BLOB_FLAG_USE_SHAREABLE) },
	{ "host, hint without mappable", .rc = HOST3D(.blob_hints = DEFER) },
	{ "host, not mappable, no window", .no_window = true, .rc = HOST3D() },
	{ "guest", .rc = GUEST(.blob_flags = MAPPABLE) },
	{ "guest, hint", .rc = GUEST(.blob_flags = MAPPABLE, .blob_hints = DEFER) },
	{ "guest, no window", .no_window = true, .rc = GUEST(.blob_flags = MAPPABLE) },
	{ "guest, no window, hint", .no_window = true,
	  .rc = GUEST(.blob_flags = MAPPABLE, .blob_hints = DEFER) },
	{ "both", .rc = BOTH(.blob_flags = MAPPABLE) },
	{ "both, hint", .rc = BOTH(.blob_flags = MAPPABLE, .blob_hints = DEFER) },
	{ "both, no window", .no_window = true, .rc = BOTH(.blob_flags = MAPPABLE) },
};

KUNIT_ARRAY_PARAM_DESC(valid, valid_params, name);

/*
 * The driver creates a valid blob with the parameters of the ioctl. It maps only a mappable blob in
 * host memory; the hint has no effect on others.
 */
static void valid_blob_is_created(struct kunit *test)
{
	const struct blob_param *p = test->param_value;
	struct virtgpu_kunit *k = init_device(test, p);
	struct drm_virtgpu_resource_create_blob rc = p->rc;
	const struct virtgpu_cmd *cmd;

	KUNIT_ASSERT_EQ(test, virtgpu_kunit_create(k, &rc), 0);
	KUNIT_EXPECT_NE(test, rc.bo_handle, 0);
	virtgpu_kunit_settle(k);
	KUNIT_EXPECT_EQ(test, virtgpu_fake_contexts(k->fake), 1);
	KUNIT_EXPECT_EQ(test, virtgpu_fake_resources(k->fake), 1);
	KUNIT_EXPECT_EQ(test, virtgpu_fake_mapped(k->fake),
			rc.blob_mem == VIRTGPU_BLOB_MEM_HOST3D && rc.blob_flags & MAPPABLE);

	cmd = virtgpu_fake_nth(k->fake, CREATE_BLOB, 0);
	KUNIT_ASSERT_NOT_NULL(test, cmd);
	KUNIT_EXPECT_EQ(test, cmd->resource_id, rc.res_handle);
	KUNIT_EXPECT_EQ(test, cmd->blob_mem, p->rc.blob_mem);
	KUNIT_EXPECT_EQ(test, cmd->blob_flags, p->rc.blob_flags);
	KUNIT_EXPECT_EQ(test, cmd->blob_id, p->rc.blob_id);
	KUNIT_EXPECT_EQ(test, cmd->size, p->rc.size);
}

/*
 * If the device demands an alignment, the offsets in the window are aligned, wherever the window is
 * and whatever was freed in between. The model checks that, too.
 */
static void window_offset_is_aligned(struct kunit *test)
{
	static const u32 sizes[] = { SZ_64K, SZ_128K, SZ_64K, SZ_256K };
	struct virtgpu_fake_params params = virtgpu_fake_defaults;
	u32 handles[ARRAY_SIZE(sizes)];
	struct virtgpu_kunit *k;
	unsigned int i;

	params.features |= BIT_ULL(VIRTIO_GPU_F_BLOB_ALIGNMENT);
	params.blob_alignment = SZ_64K;
	params.window_skew = 3 * PAGE_SIZE;
	k = virtgpu_kunit_init_with(test, &params);
	for (i = 0; i < ARRAY_SIZE(sizes); i++)
		handles[i] = virtgpu_kunit_blob_of(k, sizes[i], MAPPABLE, EAGER);
	virtgpu_kunit_delete(k, handles[1]);
	for (i = 0; i < 2; i++)
		virtgpu_kunit_blob_of(k, SZ_64K, MAPPABLE, EAGER);

	KUNIT_ASSERT_EQ(test, virtgpu_fake_count(k->fake, MAP_BLOB), ARRAY_SIZE(sizes) + 2);
	for (i = 0; i < ARRAY_SIZE(sizes) + 2; i++)
		KUNIT_EXPECT_EQ(test, virtgpu_fake_nth(k->fake, MAP_BLOB, i)->offset % SZ_64K, 0);
}

/* Any process can guess the mmap offset of an object, and so get a reference to it. */
static struct drm_gem_object *guess_object(struct virtgpu_kunit *k)
{
	struct drm_vma_offset_manager *mgr = k->drm->vma_offset_manager;
	struct drm_gem_object *obj = NULL;
	struct drm_vma_offset_node *node;

	drm_vma_offset_lock_lookup(mgr);
	node = drm_vma_offset_lookup_locked(mgr, DRM_FILE_PAGE_OFFSET_START, 1);
	if (node) {
		obj = container_of(node, struct drm_gem_object, vma_node);
		if (!kref_get_unless_zero(&obj->refcount))
			obj = NULL;
	}
	drm_vma_offset_unlock_lookup(mgr);

	return obj;
}

/*
 * A creation that fails late leaves the object to others that refer to it. Here the creating task
 * waits for ring space while the test takes a reference, and then finds the window too small. The
 * driver must not send UNREF, whose response frees the object, before the reference is dropped.
 */
static void failed_creation_honours_references(struct kunit *test)
{
	struct virtgpu_fake_params params = virtgpu_kunit_ring(2);
	struct virtgpu_kunit_thread *create;
	struct drm_gem_object *obj;
	struct virtgpu_kunit *k;

	params.window = PAGE_SIZE;
	k = virtgpu_kunit_init_with(test, &params);
	virtgpu_fake_hold(k->fake, UNREF);
	/* CTX_CREATE fills the ring, CREATE_BLOB waits */
	virtgpu_fake_stall(k->fake, true);
	create = virtgpu_kunit_create_start(k, SIZE, MAPPABLE);
	KUNIT_ASSERT_TRUE(test, virtgpu_kunit_wait_ring_space(create));
	obj = guess_object(k);
	KUNIT_ASSERT_NOT_NULL(test, obj);

	virtgpu_fake_stall(k->fake, false);
	KUNIT_EXPECT_EQ(test, virtgpu_kunit_result(create), -ENOSPC);
	virtgpu_kunit_settle(k);
	KUNIT_ASSERT_EQ(test, virtgpu_fake_count(k->fake, UNREF), 0);
	drm_gem_object_put(obj);
	virtgpu_kunit_settle(k);
	KUNIT_EXPECT_EQ(test, virtgpu_fake_count(k->fake, UNREF), 1);
}

static struct kunit_case create_blob_cases[] = {
	KUNIT_CASE_PARAM(invalid_blob_is_rejected, invalid_gen_params),
	KUNIT_CASE_PARAM(mappable_blob_without_window_is_rejected, no_window_gen_params),
	KUNIT_CASE_PARAM(valid_blob_is_created, valid_gen_params),
	KUNIT_CASE(window_offset_is_aligned),
	KUNIT_CASE(failed_creation_honours_references),
	{}
};

static struct kunit_suite create_blob_suite = {
	.name = "virtio_gpu_create_blob",
	.init = virtgpu_kunit_init,
	.exit = virtgpu_kunit_exit,
	.test_cases = create_blob_cases,
};

kunit_test_suite(create_blob_suite);

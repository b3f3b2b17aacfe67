// SPDX-License-Identifier: GPL-2.0
/*
 * Which blobs can be created. What is refused is refused before the host hears of it.
 */

#include <kunit/test.h>
#include <linux/sizes.h>

#include "../virtgpu_drv.h"
#include "virtgpu_kunit_base.h"
#include "virtgpu_kunit_deferred.h"

#define MAPPABLE	VIRTGPU_BLOB_FLAG_USE_MAPPABLE

/* A blob that is asked for, on a device with what features and which window. */
struct blob_param {
	const char *name;
	u64 without;
	bool no_window;
	struct drm_virtgpu_resource_create_blob rc;
};

#define HOST3D(...)	{ .blob_mem = VIRTGPU_BLOB_MEM_HOST3D, .size = VIRTGPU_KUNIT_SIZE, \
			  .blob_id = 1, ##__VA_ARGS__ }
#define GUEST(...)	{ .blob_mem = VIRTGPU_BLOB_MEM_GUEST, .size = VIRTGPU_KUNIT_SIZE, \
			  ##__VA_ARGS__ }
#define BOTH(...)	{ .blob_mem = VIRTGPU_BLOB_MEM_HOST3D_GUEST, .size = VIRTGPU_KUNIT_SIZE, \
			  .blob_id = 1, ##__VA_ARGS__ }

static void blob_param_desc(const struct blob_param *p, char *desc)
{
	strscpy(desc, p->name, KUNIT_PARAM_DESC_SIZE);
}

static struct virtgpu_fake *make_fake(struct kunit *test, const struct blob_param *p)
{
	struct virtgpu_fake_params params = virtgpu_fake_defaults;

	params.features &= ~p->without;
	if (p->no_window)
		params.window = 0;

	return virtgpu_fake_create(test, &params);
}

/* One thing is wrong with each of these, all else is valid. */
static const struct blob_param refused_params[] = {
	{ "no memory type", .rc = { .size = VIRTGPU_KUNIT_SIZE, .blob_id = 1 } },
	{ "unknown memory type",
	  .rc = { .blob_mem = 4, .size = VIRTGPU_KUNIT_SIZE, .blob_id = 1 } },
	{ "unknown flag", .rc = HOST3D(.blob_flags = MAPPABLE | 0x8) },
	{ "hint 0x2", .rc = HOST3D(.blob_flags = MAPPABLE, .blob_hints = BIT(1)) },
	{ "hint 0x4", .rc = HOST3D(.blob_flags = MAPPABLE, .blob_hints = BIT(2)) },
	{ "hint 0x80000000", .rc = HOST3D(.blob_flags = MAPPABLE, .blob_hints = BIT(31)) },
	{ "known and unknown hint",
	  .rc = HOST3D(.blob_flags = MAPPABLE, .blob_hints = VIRTGPU_KUNIT_DEFER | BIT(1)) },
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
	{ "no window", .no_window = true, .rc = HOST3D(.blob_flags = MAPPABLE) },
	{ "no window, deferred", .no_window = true,
	  .rc = HOST3D(.blob_flags = MAPPABLE, .blob_hints = VIRTGPU_KUNIT_DEFER) },
};

KUNIT_ARRAY_PARAM(refused, refused_params, blob_param_desc);

/* A blob that cannot be is refused with -EINVAL. Nothing is sent, not even a context made. */
static void refused(struct kunit *test)
{
	const struct blob_param *p = test->param_value;
	struct virtgpu_fake *f = make_fake(test, p);
	struct file *file = virtgpu_kunit_open(f);
	struct drm_virtgpu_resource_create_blob rc = p->rc;
	unsigned int mark = virtgpu_fake_mark(f);

	KUNIT_EXPECT_EQ(test, virtgpu_kunit_create_blob(file, &rc), -EINVAL);
	KUNIT_EXPECT_EQ(test, rc.bo_handle, 0);
	virtgpu_fake_settle(f);
	KUNIT_EXPECT_STREQ(test, virtgpu_fake_cmds(f, mark), "");

	virtgpu_kunit_close(f, file);
	virtgpu_kunit_expect_clean(f);
}

static const struct blob_param accepted_params[] = {
	{ "host", .rc = HOST3D() },
	{ "host, mappable", .rc = HOST3D(.blob_flags = MAPPABLE) },
	{ "host, shareable", .rc = HOST3D(.blob_flags = VIRTGPU_BLOB_FLAG_USE_SHAREABLE) },
	{ "host, hint without mappable", .rc = HOST3D(.blob_hints = VIRTGPU_KUNIT_DEFER) },
	{ "host, not mappable, no window", .no_window = true, .rc = HOST3D() },
	{ "guest", .rc = GUEST(.blob_flags = MAPPABLE) },
	{ "guest, hint", .rc = GUEST(.blob_flags = MAPPABLE, .blob_hints = VIRTGPU_KUNIT_DEFER) },
	{ "guest, no window", .no_window = true, .rc = GUEST(.blob_flags = MAPPABLE) },
	{ "guest, no window, hint", .no_window = true,
	  .rc = GUEST(.blob_flags = MAPPABLE, .blob_hints = VIRTGPU_KUNIT_DEFER) },
	{ "both", .rc = BOTH(.blob_flags = MAPPABLE) },
	{ "both, hint", .rc = BOTH(.blob_flags = MAPPABLE, .blob_hints = VIRTGPU_KUNIT_DEFER) },
	{ "both, no window", .no_window = true, .rc = BOTH(.blob_flags = MAPPABLE) },
};

KUNIT_ARRAY_PARAM(accepted, accepted_params, blob_param_desc);

/*
 * All others are created as they were asked for. Only a mappable blob in host memory is mapped; on
 * others the hint has no effect.
 */
static void accepted(struct kunit *test)
{
	const struct blob_param *p = test->param_value;
	struct virtgpu_fake *f = make_fake(test, p);
	struct file *file = virtgpu_kunit_open(f);
	struct drm_virtgpu_resource_create_blob rc = p->rc;
	const struct virtgpu_fake_cmd *cmd;
	bool map;

	map = rc.blob_mem == VIRTGPU_BLOB_MEM_HOST3D && rc.blob_flags & MAPPABLE;
	KUNIT_ASSERT_EQ(test, virtgpu_kunit_create_blob(file, &rc), 0);
	KUNIT_EXPECT_NE(test, rc.bo_handle, 0);
	virtgpu_fake_settle(f);
	KUNIT_EXPECT_STREQ(test, virtgpu_fake_cmds(f, 0),
			   map ? "CTX_CREATE CREATE_BLOB MAP_BLOB CTX_ATTACH" :
				 "CTX_CREATE CREATE_BLOB CTX_ATTACH");

	cmd = virtgpu_fake_nth(f, VIRTIO_GPU_CMD_RESOURCE_CREATE_BLOB, 0);
	KUNIT_ASSERT_NOT_NULL(test, cmd);
	KUNIT_EXPECT_EQ(test, cmd->resource_id, rc.res_handle);
	KUNIT_EXPECT_EQ(test, cmd->blob_mem, p->rc.blob_mem);
	KUNIT_EXPECT_EQ(test, cmd->blob_flags, p->rc.blob_flags);
	KUNIT_EXPECT_EQ(test, cmd->blob_id, p->rc.blob_id);
	KUNIT_EXPECT_EQ(test, cmd->size, p->rc.size);

	virtgpu_kunit_close(f, file);
	virtgpu_kunit_expect_clean(f);
}

/*
 * If the device wants its blobs aligned, their offsets in the window are, wherever the window is
 * and whatever was freed in between. The device checks that.
 */
static void offsets_are_aligned(struct kunit *test)
{
	static const u32 sizes[] = { SZ_64K, SZ_128K, SZ_64K, SZ_256K };
	struct virtgpu_fake_params params = virtgpu_fake_defaults;
	struct drm_virtgpu_resource_create_blob rc;
	u32 handles[ARRAY_SIZE(sizes)];
	struct virtgpu_fake *f;
	struct file *file;
	unsigned int i;

	params.features |= BIT_ULL(VIRTIO_GPU_F_BLOB_ALIGNMENT);
	params.blob_alignment = SZ_64K;
	params.window_skew = 3 * PAGE_SIZE;
	f = virtgpu_fake_create(test, &params);
	file = virtgpu_kunit_open(f);
	for (i = 0; i < ARRAY_SIZE(sizes); i++) {
		rc = virtgpu_kunit_blob(sizes[i], MAPPABLE);
		KUNIT_ASSERT_EQ(test, virtgpu_kunit_create_blob(file, &rc), 0);
		handles[i] = rc.bo_handle;
	}
	KUNIT_ASSERT_EQ(test, virtgpu_kunit_delete(file, handles[1]), 0);
	virtgpu_fake_settle(f);
	for (i = 0; i < 2; i++) {
		rc = virtgpu_kunit_blob(SZ_64K, MAPPABLE);
		KUNIT_ASSERT_EQ(test, virtgpu_kunit_create_blob(file, &rc), 0);
	}
	virtgpu_fake_settle(f);
	for (i = 0; i < virtgpu_fake_count(f, VIRTIO_GPU_CMD_RESOURCE_MAP_BLOB); i++) {
		const struct virtgpu_fake_cmd *cmd =
			virtgpu_fake_nth(f, VIRTIO_GPU_CMD_RESOURCE_MAP_BLOB, i);

		KUNIT_EXPECT_EQ(test, cmd->offset % SZ_64K, 0);
	}
	KUNIT_EXPECT_EQ(test, i, ARRAY_SIZE(sizes) + 2);

	virtgpu_kunit_close(f, file);
	virtgpu_kunit_expect_clean(f);
}

static struct kunit_case create_blob_cases[] = {
	KUNIT_CASE_PARAM(refused, refused_gen_params),
	KUNIT_CASE_PARAM(accepted, accepted_gen_params),
	KUNIT_CASE(offsets_are_aligned),
	{}
};

static struct kunit_suite create_blob_suite = {
	.name = "virtio_gpu_create_blob",
	.test_cases = create_blob_cases,
};

kunit_test_suite(create_blob_suite);

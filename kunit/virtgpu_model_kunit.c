// SPDX-License-Identifier: GPL-2.0
/*
 * The model of a GPU: the rules that a driver must keep, one in each case. There is no device and
 * no driver here.
 */

#include <kunit/test.h>
#include <linux/mm.h>
#include <linux/sizes.h>

#include "virtgpu_model.h"

#define CREATE_2D	VIRTIO_GPU_CMD_RESOURCE_CREATE_2D
#define CREATE_BLOB	VIRTIO_GPU_CMD_RESOURCE_CREATE_BLOB
#define UNREF		VIRTIO_GPU_CMD_RESOURCE_UNREF
#define MAP_BLOB	VIRTIO_GPU_CMD_RESOURCE_MAP_BLOB
#define UNMAP_BLOB	VIRTIO_GPU_CMD_RESOURCE_UNMAP_BLOB
#define CTX_CREATE	VIRTIO_GPU_CMD_CTX_CREATE
#define CTX_DESTROY	VIRTIO_GPU_CMD_CTX_DESTROY
#define CTX_ATTACH	VIRTIO_GPU_CMD_CTX_ATTACH_RESOURCE
#define BAD_RESOURCE	VIRTIO_GPU_RESP_ERR_INVALID_RESOURCE_ID
#define BAD_CONTEXT	VIRTIO_GPU_RESP_ERR_INVALID_CONTEXT_ID
#define BAD_PARAMETER	VIRTIO_GPU_RESP_ERR_INVALID_PARAMETER
#define WINDOW		(256 * PAGE_SIZE)
#define SIZE		(2 * PAGE_SIZE)

/* Let the GPU carry out a command. Returns the error, or 0. */
static u32 run(struct virtgpu_model *model, const struct virtgpu_cmd *cmd)
{
	u32 verdict = virtgpu_model_begin(model, cmd);

	if (!verdict)
		virtgpu_model_end(model, cmd, true);

	return verdict;
}

static u32 run_resource(struct virtgpu_model *model, u32 type, u32 resource_id)
{
	return run(model, &(struct virtgpu_cmd) { .type = type, .ctx_id = 1,
						  .resource_id = resource_id });
}

static u32 run_ctx(struct virtgpu_model *model, u32 type, u32 ctx_id)
{
	return run(model, &(struct virtgpu_cmd) { .type = type, .ctx_id = ctx_id });
}

static u32 create(struct virtgpu_model *model, u32 resource_id, u64 size)
{
	return run(model, &(struct virtgpu_cmd) {
		.type = CREATE_BLOB, .ctx_id = 1, .resource_id = resource_id, .size = size,
		.blob_mem = VIRTIO_GPU_BLOB_MEM_HOST3D,
		.blob_flags = VIRTIO_GPU_BLOB_FLAG_USE_MAPPABLE,
	});
}

static u32 map(struct virtgpu_model *model, u32 resource_id, u64 offset)
{
	return run(model, &(struct virtgpu_cmd) { .type = MAP_BLOB, .resource_id = resource_id,
						  .offset = offset });
}

/* A GPU with context 1, and the mappable resources 1, which is mapped at 0, and 2. */
static int model_init(struct kunit *test)
{
	struct virtgpu_model *model = kunit_kzalloc(test, sizeof(*model), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, model);
	virtgpu_model_init(model, WINDOW, 0);
	test->priv = model;
	KUNIT_ASSERT_EQ(test, run_ctx(model, CTX_CREATE, 1), 0);
	KUNIT_ASSERT_EQ(test, create(model, 1, SIZE), 0);
	KUNIT_ASSERT_EQ(test, create(model, 2, SIZE), 0);
	KUNIT_ASSERT_EQ(test, map(model, 1, 0), 0);
	KUNIT_ASSERT_STREQ(test, model->violation, "");

	return 0;
}

static void model_exit(struct kunit *test)
{
	if (test->priv)
		virtgpu_model_reset(test->priv);
}

static void expect_violation(struct kunit *test, u32 verdict, u32 expected)
{
	struct virtgpu_model *model = test->priv;

	KUNIT_EXPECT_EQ(test, verdict, expected);
	KUNIT_EXPECT_STRNEQ(test, model->violation, "");
}

static void cmd_of_less_than_a_header_is_rejected(struct kunit *test)
{
	struct virtio_gpu_ctrl_hdr hdr = { .type = cpu_to_le32(CTX_CREATE),
					   .ctx_id = cpu_to_le32(7) };
	struct virtgpu_cmd cmd;

	KUNIT_EXPECT_FALSE(test, virtgpu_cmd_parse(&cmd, &hdr, sizeof(hdr) - 1));
	KUNIT_EXPECT_TRUE(test, virtgpu_cmd_parse(&cmd, &hdr, sizeof(hdr)));
	KUNIT_EXPECT_EQ(test, cmd.type, CTX_CREATE);
	KUNIT_EXPECT_EQ(test, cmd.ctx_id, 7);
}

static void cmd_of_map_blob_is_parsed(struct kunit *test)
{
	struct virtio_gpu_resource_map_blob raw = {
		.hdr = { .type = cpu_to_le32(MAP_BLOB) },
		.resource_id = cpu_to_le32(3), .offset = cpu_to_le64(SZ_8G),
	};
	struct virtgpu_cmd cmd;

	KUNIT_EXPECT_TRUE(test, virtgpu_cmd_parse(&cmd, &raw, sizeof(raw)));
	KUNIT_EXPECT_EQ(test, cmd.resource_id, 3);
	KUNIT_EXPECT_EQ(test, cmd.offset, SZ_8G);
	KUNIT_EXPECT_STREQ(test, virtgpu_cmd_name(cmd.type), "MAP_BLOB");
	KUNIT_EXPECT_EQ(test, virtgpu_cmd_ok(cmd.type), VIRTIO_GPU_RESP_OK_MAP_INFO);
}

static void unknown_cmd_is_violation(struct kunit *test)
{
	expect_violation(test, run_ctx(test->priv, 0x1ff, 1), VIRTIO_GPU_RESP_ERR_UNSPEC);
}

static void create_of_existing_resource_is_violation(struct kunit *test)
{
	expect_violation(test, create(test->priv, 1, SIZE), BAD_RESOURCE);
	expect_violation(test, run_resource(test->priv, CREATE_2D, 1), BAD_RESOURCE);
}

static void create_of_resource_0_is_violation(struct kunit *test)
{
	expect_violation(test, create(test->priv, 0, SIZE), BAD_RESOURCE);
}

static void create_of_empty_blob_is_violation(struct kunit *test)
{
	expect_violation(test, create(test->priv, 3, 0), BAD_PARAMETER);
}

static void create_of_part_of_a_page_is_violation(struct kunit *test)
{
	expect_violation(test, create(test->priv, 3, 100), BAD_PARAMETER);
}

static void create_against_alignment_is_violation(struct kunit *test)
{
	struct virtgpu_model *model = test->priv;

	model->blob_alignment = 16 * PAGE_SIZE;
	expect_violation(test, create(model, 3, PAGE_SIZE), BAD_PARAMETER);
	KUNIT_EXPECT_EQ(test, create(model, 3, 16 * PAGE_SIZE), 0);
}

static void create_of_host_blob_without_context_is_violation(struct kunit *test)
{
	KUNIT_EXPECT_EQ(test, run_ctx(test->priv, CTX_DESTROY, 1), 0);
	expect_violation(test, create(test->priv, 3, SIZE), BAD_CONTEXT);
}

static void create_of_guest_blob_needs_no_context(struct kunit *test)
{
	const struct virtgpu_cmd cmd = {
		.type = CREATE_BLOB, .resource_id = 3, .size = SIZE,
		.blob_mem = VIRTIO_GPU_BLOB_MEM_GUEST,
	};

	KUNIT_EXPECT_EQ(test, run(test->priv, &cmd), 0);
}

/* The driver cannot know of the failure before it has the response. */
static void cmd_for_failed_resource_is_no_violation(struct kunit *test)
{
	const struct virtgpu_cmd cmd = { .type = CREATE_2D, .resource_id = 3 };
	struct virtgpu_model *model = test->priv;

	KUNIT_ASSERT_EQ(test, virtgpu_model_begin(model, &cmd), 0);
	virtgpu_model_end(model, &cmd, false);
	KUNIT_EXPECT_EQ(test, run_resource(model, CTX_ATTACH, 3), BAD_RESOURCE);
	KUNIT_EXPECT_EQ(test, run_resource(model, UNREF, 3), BAD_RESOURCE);
	KUNIT_EXPECT_STREQ(test, model->violation, "");
	KUNIT_EXPECT_EQ(test, virtgpu_model_resources(model), 2);
}

static void map_of_unknown_resource_is_violation(struct kunit *test)
{
	expect_violation(test, map(test->priv, 3, SZ_64K), BAD_RESOURCE);
}

static void map_of_unmappable_resource_is_violation(struct kunit *test)
{
	KUNIT_EXPECT_EQ(test, run_resource(test->priv, CREATE_2D, 3), 0);
	expect_violation(test, map(test->priv, 3, SZ_64K), BAD_PARAMETER);
}

static void map_of_mapped_resource_is_violation(struct kunit *test)
{
	expect_violation(test, map(test->priv, 1, SZ_64K), BAD_PARAMETER);
}

static void map_over_another_resource_is_violation(struct kunit *test)
{
	expect_violation(test, map(test->priv, 2, SIZE - PAGE_SIZE), BAD_PARAMETER);
	KUNIT_EXPECT_EQ(test, map(test->priv, 2, SIZE), 0);
}

static void map_at_part_of_a_page_is_violation(struct kunit *test)
{
	expect_violation(test, map(test->priv, 2, SZ_64K + 1), BAD_PARAMETER);
}

static void map_against_alignment_is_violation(struct kunit *test)
{
	struct virtgpu_model *model = test->priv;

	model->blob_alignment = 16 * PAGE_SIZE;
	expect_violation(test, map(model, 2, SIZE), BAD_PARAMETER);
}

static void map_outside_window_is_violation(struct kunit *test)
{
	expect_violation(test, map(test->priv, 2, WINDOW - PAGE_SIZE), BAD_PARAMETER);
	expect_violation(test, map(test->priv, 2, WINDOW), BAD_PARAMETER);
	expect_violation(test, map(test->priv, 2, -PAGE_SIZE), BAD_PARAMETER);
	KUNIT_EXPECT_EQ(test, map(test->priv, 2, WINDOW - SIZE), 0);
}

/* The range is taken until the GPU has responded. */
static void map_over_range_of_pending_cmd_is_violation(struct kunit *test)
{
	const struct virtgpu_cmd unmap = { .type = UNMAP_BLOB, .resource_id = 1 };
	struct virtgpu_model *model = test->priv;

	KUNIT_EXPECT_EQ(test, virtgpu_model_begin(model, &unmap), 0);
	KUNIT_EXPECT_EQ(test, virtgpu_model_mapped(model), 1);
	expect_violation(test, map(model, 2, 0), BAD_PARAMETER);
	virtgpu_model_end(model, &unmap, true);
	KUNIT_EXPECT_EQ(test, virtgpu_model_mapped(model), 0);
	KUNIT_EXPECT_EQ(test, map(model, 2, 0), 0);
}

static void map_that_fails_changes_nothing(struct kunit *test)
{
	const struct virtgpu_cmd cmd = { .type = MAP_BLOB, .resource_id = 2, .offset = SIZE };
	struct virtgpu_model *model = test->priv;

	KUNIT_EXPECT_EQ(test, virtgpu_model_begin(model, &cmd), 0);
	virtgpu_model_end(model, &cmd, false);
	KUNIT_EXPECT_EQ(test, virtgpu_model_mapped(model), 1);
	KUNIT_EXPECT_EQ(test, run(model, &cmd), 0);
}

static void unmap_of_unmapped_resource_is_violation(struct kunit *test)
{
	expect_violation(test, run_resource(test->priv, UNMAP_BLOB, 2), BAD_PARAMETER);
}

static void unmap_of_unknown_resource_is_violation(struct kunit *test)
{
	expect_violation(test, run_resource(test->priv, UNMAP_BLOB, 3), BAD_RESOURCE);
}

static void unref_of_mapped_resource_is_violation(struct kunit *test)
{
	expect_violation(test, run_resource(test->priv, UNREF, 1), 0);
}

static void unref_of_unknown_resource_is_violation(struct kunit *test)
{
	expect_violation(test, run_resource(test->priv, UNREF, 3), BAD_RESOURCE);
}

static void attach_of_unknown_resource_is_violation(struct kunit *test)
{
	expect_violation(test, run_resource(test->priv, CTX_ATTACH, 3), BAD_RESOURCE);
}

static void attach_to_unknown_context_is_violation(struct kunit *test)
{
	KUNIT_EXPECT_EQ(test, run_ctx(test->priv, CTX_DESTROY, 1), 0);
	expect_violation(test, run_resource(test->priv, CTX_ATTACH, 2), BAD_CONTEXT);
}

static void create_of_existing_context_is_violation(struct kunit *test)
{
	expect_violation(test, run_ctx(test->priv, CTX_CREATE, 1), BAD_CONTEXT);
}

static void destroy_of_unknown_context_is_violation(struct kunit *test)
{
	expect_violation(test, run_ctx(test->priv, CTX_DESTROY, 2), BAD_CONTEXT);
}

static void scanout_of_no_resource_is_disabled(struct kunit *test)
{
	KUNIT_EXPECT_EQ(test, run_resource(test->priv, VIRTIO_GPU_CMD_SET_SCANOUT, 0), 0);
	expect_violation(test, run_resource(test->priv, VIRTIO_GPU_CMD_SET_SCANOUT, 3),
			 BAD_RESOURCE);
}

static void reset_forgets_everything(struct kunit *test)
{
	struct virtgpu_model *model = test->priv;

	virtgpu_model_reset(model);
	KUNIT_EXPECT_EQ(test, virtgpu_model_resources(model), 0);
	KUNIT_EXPECT_EQ(test, virtgpu_model_mapped(model), 0);
	KUNIT_EXPECT_EQ(test, virtgpu_model_contexts(model), 0);
	expect_violation(test, run_resource(model, UNREF, 1), BAD_RESOURCE);
}

static struct kunit_case model_cases[] = {
	KUNIT_CASE(cmd_of_less_than_a_header_is_rejected),
	KUNIT_CASE(cmd_of_map_blob_is_parsed),
	KUNIT_CASE(unknown_cmd_is_violation),
	KUNIT_CASE(create_of_existing_resource_is_violation),
	KUNIT_CASE(create_of_resource_0_is_violation),
	KUNIT_CASE(create_of_empty_blob_is_violation),
	KUNIT_CASE(create_of_part_of_a_page_is_violation),
	KUNIT_CASE(create_against_alignment_is_violation),
	KUNIT_CASE(create_of_host_blob_without_context_is_violation),
	KUNIT_CASE(create_of_guest_blob_needs_no_context),
	KUNIT_CASE(cmd_for_failed_resource_is_no_violation),
	KUNIT_CASE(map_of_unknown_resource_is_violation),
	KUNIT_CASE(map_of_unmappable_resource_is_violation),
	KUNIT_CASE(map_of_mapped_resource_is_violation),
	KUNIT_CASE(map_over_another_resource_is_violation),
	KUNIT_CASE(map_at_part_of_a_page_is_violation),
	KUNIT_CASE(map_against_alignment_is_violation),
	KUNIT_CASE(map_outside_window_is_violation),
	KUNIT_CASE(map_over_range_of_pending_cmd_is_violation),
	KUNIT_CASE(map_that_fails_changes_nothing),
	KUNIT_CASE(unmap_of_unmapped_resource_is_violation),
	KUNIT_CASE(unmap_of_unknown_resource_is_violation),
	KUNIT_CASE(unref_of_mapped_resource_is_violation),
	KUNIT_CASE(unref_of_unknown_resource_is_violation),
	KUNIT_CASE(attach_of_unknown_resource_is_violation),
	KUNIT_CASE(attach_to_unknown_context_is_violation),
	KUNIT_CASE(create_of_existing_context_is_violation),
	KUNIT_CASE(destroy_of_unknown_context_is_violation),
	KUNIT_CASE(scanout_of_no_resource_is_disabled),
	KUNIT_CASE(reset_forgets_everything),
	{}
};

static struct kunit_suite model_suite = {
	.name = "virtio_gpu_model",
	.init = model_init,
	.exit = model_exit,
	.test_cases = model_cases,
};

kunit_test_suite(model_suite);

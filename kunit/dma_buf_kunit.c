// SPDX-License-Identifier: GPL-2.0
/*
 * Exported host blobs: an importer gets the address of memory that is mapped, or an errno.
 */

#include <kunit/test.h>
#include <linux/dma-buf.h>
#include <linux/dma-mapping.h>
#include <linux/unaligned.h>
#include <linux/uuid.h>
#include <linux/virtio_dma_buf.h>

#include "../virtgpu_drv.h"
#include "virtgpu_kunit_helpers.h"

#define ASSIGN_UUID	VIRTIO_GPU_CMD_RESOURCE_ASSIGN_UUID
#define CROSS_DEVICE	VIRTGPU_BLOB_FLAG_USE_CROSS_DEVICE

/* A blob that is exported, and its importer. */
struct exported {
	struct virtgpu_kunit *k;
	u32 handle;
	u32 resource_id;
	struct dma_buf *dma_buf;
	struct dma_buf_attachment *attach;
	/* the importer's: an address, or an error pointer */
	struct sg_table *sgt;
	uuid_t uuid;
};

static const struct hint_param {
	const char *name;
	u32 hints;
} hint_params[] = {
	{ "eager", EAGER },
	{ "deferred", DEFER },
};

KUNIT_ARRAY_PARAM_DESC(hint, hint_params, name);

/* Export a blob whose MAP_BLOB and ASSIGN_UUID are held, and attach a device to it. */
static struct exported *export_blob(struct kunit *test, u32 flags, u32 hints, u64 window)
{
	struct virtgpu_fake_params params = virtgpu_fake_defaults;
	struct drm_virtgpu_resource_create_blob rc;
	struct virtgpu_kunit *k;
	struct device *importer;
	struct exported *e;

	params.window = window;
	if (flags & CROSS_DEVICE)
		params.features |= BIT_ULL(VIRTIO_GPU_F_RESOURCE_UUID);
	k = virtgpu_kunit_init_with(test, &params);
	e = virtgpu_kunit_zalloc(k, sizeof(*e));
	e->k = k;
	k->priv = e;
	virtgpu_fake_hold(e->k->fake, MAP_BLOB);
	virtgpu_fake_hold(e->k->fake, ASSIGN_UUID);
	rc = virtgpu_kunit_host_blob(SIZE, flags | VIRTGPU_BLOB_FLAG_USE_SHAREABLE, hints);
	KUNIT_ASSERT_EQ(test, virtgpu_kunit_create(e->k, &rc), 0);
	virtgpu_kunit_settle(e->k);
	e->handle = rc.bo_handle;
	e->resource_id = rc.res_handle;

	e->dma_buf = virtgpu_kunit_export(e->k, e->handle);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, e->dma_buf);
	/* any device that does DMA, and outlives the test if an import is stuck */
	importer = virtio_fake_parent(virtgpu_fake_virtio(k->fake));
	e->attach = dma_buf_attach(e->dma_buf, importer);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, e->attach);

	return e;
}

static struct exported *export_mappable(struct kunit *test, u32 hints)
{
	return export_blob(test, MAPPABLE, hints, virtgpu_fake_defaults.window);
}

/* Let go of the dma-buf. */
static void end_import(struct exported *e)
{
	if (!IS_ERR_OR_NULL(e->sgt))
		dma_buf_unmap_attachment_unlocked(e->attach, e->sgt, DMA_BIDIRECTIONAL);
	e->sgt = NULL;
	if (!IS_ERR_OR_NULL(e->attach))
		dma_buf_detach(e->dma_buf, e->attach);
	e->attach = NULL;
	virtgpu_kunit_put_dma_buf(e->k, e->dma_buf);
	e->dma_buf = NULL;
}

/* For the number of UNMAP_BLOBs: free the blob. */
static void free_blob(struct exported *e)
{
	end_import(e);
	virtgpu_kunit_close(e->k, e->k->file);
	virtgpu_kunit_expect_clean(e->k);
}

static long import_fn(void *data)
{
	struct exported *e = data;

	e->sgt = dma_buf_map_attachment_unlocked(e->attach, DMA_BIDIRECTIONAL);

	return PTR_ERR_OR_ZERO(e->sgt);
}

static struct virtgpu_kunit_thread *import_start(struct exported *e)
{
	return virtgpu_kunit_run(e->k, "import", import_fn, e);
}

static long import(struct exported *e)
{
	return virtgpu_kunit_result(import_start(e));
}

/* The importer has the range of the window that the latest MAP_BLOB names, all of it. */
static void expect_address(struct exported *e)
{
	unsigned int last = virtgpu_fake_count(e->k->fake, MAP_BLOB);
	const struct virtgpu_cmd *cmd;

	KUNIT_ASSERT_NE(e->k->test, last, 0);
	cmd = virtgpu_fake_nth(e->k->fake, MAP_BLOB, last - 1);
	KUNIT_EXPECT_EQ(e->k->test, e->sgt->nents, 1);
	KUNIT_EXPECT_EQ(e->k->test, (u64)sg_dma_address(e->sgt->sgl),
			virtgpu_fake_window(e->k->fake)->addr + cmd->offset);
	KUNIT_EXPECT_EQ(e->k->test, sg_dma_len(e->sgt->sgl), SIZE);
}

/*
 * The importer waits until the host has mapped the blob, whether the import or an earlier command
 * has asked for it, and gets the address.
 */
static void import_waits_for_response(struct kunit *test)
{
	const struct hint_param *p = test->param_value;
	struct exported *e = export_mappable(test, p->hints);
	struct virtgpu_kunit_thread *thread = import_start(e);

	KUNIT_ASSERT_TRUE(test, virtgpu_fake_wait_held(e->k->fake, 1));
	KUNIT_EXPECT_TRUE(test, virtgpu_kunit_wait_mapping(thread));
	virtgpu_fake_release_all(e->k->fake, 0);
	KUNIT_ASSERT_EQ(test, virtgpu_kunit_result(thread), 0);
	expect_address(e);
	KUNIT_EXPECT_EQ(test, virtgpu_fake_count(e->k->fake, MAP_BLOB), 1);
	free_blob(e);
	KUNIT_EXPECT_EQ(test, virtgpu_fake_count(e->k->fake, UNMAP_BLOB), 1);
}

/* The export of a blob, and an attachment, do not map it. */
static void export_maps_nothing(struct kunit *test)
{
	struct exported *e = export_mappable(test, DEFER);

	virtgpu_kunit_settle(e->k);
	KUNIT_EXPECT_EQ(test, virtgpu_fake_count(e->k->fake, MAP_BLOB), 0);
	free_blob(e);
	KUNIT_EXPECT_EQ(test, virtgpu_fake_count(e->k->fake, UNMAP_BLOB), 0);
}

/* The import fails if the host responds with an error, and the next import tries again. */
static void import_is_retried_after_error_response(struct kunit *test)
{
	const struct hint_param *p = test->param_value;
	struct exported *e = export_mappable(test, p->hints);

	/* the MAP_BLOB of an eager blob is held */
	virtgpu_fake_release_all(e->k->fake, VIRTIO_GPU_RESP_ERR_OUT_OF_MEMORY);
	virtgpu_kunit_settle(e->k);
	virtgpu_fake_respond(e->k->fake, MAP_BLOB, VIRTIO_GPU_RESP_ERR_OUT_OF_MEMORY, 1);
	KUNIT_EXPECT_EQ(test, import(e), -ENOMEM);
	virtgpu_kunit_settle(e->k);
	KUNIT_EXPECT_EQ(test, virtgpu_fake_mapped(e->k->fake), 0);

	KUNIT_ASSERT_EQ(test, import(e), 0);
	expect_address(e);
}

/* The import fails if the window has no space. */
static void import_fails_when_window_is_too_small(struct kunit *test)
{
	struct exported *e = export_blob(test, MAPPABLE, DEFER, PAGE_SIZE);

	KUNIT_EXPECT_EQ(test, import(e), -ENOSPC);
	virtgpu_kunit_settle(e->k);
	KUNIT_EXPECT_EQ(test, virtgpu_fake_count(e->k->fake, MAP_BLOB), 0);
}

/* The importing task can be killed while it waits, and the next import uses its mapping. */
static void killed_import_leaves_mapping(struct kunit *test)
{
	const struct hint_param *p = test->param_value;
	struct exported *e = export_mappable(test, p->hints);
	struct virtgpu_kunit_thread *thread = import_start(e);

	KUNIT_ASSERT_TRUE(test, virtgpu_kunit_wait_mapping(thread));
	virtgpu_kunit_kill(thread);
	KUNIT_EXPECT_EQ(test, virtgpu_kunit_result(thread), -ERESTARTSYS);

	virtgpu_fake_release_all(e->k->fake, 0);
	KUNIT_ASSERT_EQ(test, import(e), 0);
	expect_address(e);
	KUNIT_EXPECT_EQ(test, virtgpu_fake_count(e->k->fake, MAP_BLOB), 1);
}

/* An exported blob can be mapped for the first time after its handle is closed. */
static void import_needs_no_handle(struct kunit *test)
{
	struct exported *e = export_mappable(test, DEFER);

	virtgpu_fake_unhold(e->k->fake, MAP_BLOB);
	virtgpu_kunit_delete(e->k, e->handle);
	KUNIT_ASSERT_EQ(test, import(e), 0);
	expect_address(e);
}

/* mmap() of the dma-buf maps the blob, too. */
static void mmap_of_dma_buf_maps_blob(struct kunit *test)
{
	struct exported *e = export_mappable(test, DEFER);

	virtgpu_fake_unhold(e->k->fake, MAP_BLOB);
	KUNIT_EXPECT_EQ(test, virtgpu_kunit_mmap_file(e->k, e->dma_buf->file, 0, SIZE), 0);
	KUNIT_EXPECT_EQ(test, virtgpu_fake_count(e->k->fake, MAP_BLOB), 1);
}

/* mmap() of a part of the dma-buf maps that part of the blob. */
static void mmap_of_part_of_dma_buf_maps_part(struct kunit *test)
{
	struct exported *e = export_mappable(test, DEFER);
	struct virtgpu_kunit_thread *m;
	const struct virtgpu_cmd *cmd;
	unsigned long pfn;

	virtgpu_fake_unhold(e->k->fake, MAP_BLOB);
	m = virtgpu_kunit_mmap_file_start(e->k, e->dma_buf->file, PAGE_SIZE, PAGE_SIZE);
	KUNIT_ASSERT_EQ(test, virtgpu_kunit_result(m), 0);
	KUNIT_ASSERT_EQ(test, virtgpu_kunit_mmap_pfn(m, 0, &pfn, NULL), 0);
	cmd = virtgpu_fake_nth(e->k->fake, MAP_BLOB, 0);
	KUNIT_ASSERT_NOT_NULL(test, cmd);
	KUNIT_EXPECT_EQ(test, (u64)pfn << PAGE_SHIFT,
			virtgpu_fake_window(e->k->fake)->addr + cmd->offset + PAGE_SIZE);
}

/* A blob that is not mappable has no address. */
static void import_of_unmappable_blob_fails(struct kunit *test)
{
	struct exported *e = export_blob(test, 0, DEFER, virtgpu_fake_defaults.window);

	KUNIT_EXPECT_EQ(test, import(e), -EIO);
	virtgpu_kunit_settle(e->k);
	KUNIT_EXPECT_EQ(test, virtgpu_fake_count(e->k->fake, MAP_BLOB), 0);
}

/*
 * The dma-buf may outlive the device. No blob has an address after the unplug, whether it was
 * mapped or not, and mmap() fails.
 */
static void import_fails_after_unplug(struct kunit *test)
{
	const struct hint_param *p = test->param_value;
	struct exported *e = export_mappable(test, p->hints);

	virtgpu_fake_release_all(e->k->fake, 0);
	virtgpu_kunit_settle(e->k);
	KUNIT_ASSERT_TRUE(test, virtgpu_fake_unplug(e->k->fake));
	KUNIT_EXPECT_EQ(test, import(e), -ENODEV);
	KUNIT_EXPECT_EQ(test, virtgpu_kunit_mmap_file(e->k, e->dma_buf->file, 0, SIZE), -ENODEV);
}

/* The unplug removes the pages of a mapping of the dma-buf. */
static void dma_buf_mapping_is_zapped_at_unplug(struct kunit *test)
{
	const struct hint_param *p = test->param_value;
	struct exported *e = export_mappable(test, p->hints);
	struct virtgpu_kunit_thread *m;
	unsigned long pfn;

	virtgpu_fake_release_all(e->k->fake, 0);
	m = virtgpu_kunit_mmap_file_start(e->k, e->dma_buf->file, 0, SIZE);
	KUNIT_ASSERT_EQ(test, virtgpu_kunit_result(m), 0);
	KUNIT_ASSERT_EQ(test, virtgpu_kunit_mmap_pfn(m, 0, &pfn, NULL), 0);
	KUNIT_ASSERT_TRUE(test, virtgpu_fake_unplug(e->k->fake));
	KUNIT_EXPECT_EQ(test, virtgpu_kunit_mmap_pfn(m, 0, &pfn, NULL), -EINVAL);
}

/* An import that waits for the response fails when the device is unplugged. */
static void waiting_import_fails_at_unplug(struct kunit *test)
{
	const struct hint_param *p = test->param_value;
	struct exported *e = export_mappable(test, p->hints);
	struct virtgpu_kunit_thread *thread = import_start(e);

	KUNIT_ASSERT_TRUE(test, virtgpu_fake_wait_held(e->k->fake, 1));
	KUNIT_ASSERT_TRUE(test, virtgpu_kunit_wait_mapping(thread));
	KUNIT_ASSERT_TRUE(test, virtgpu_fake_unplug(e->k->fake));
	KUNIT_EXPECT_EQ(test, virtgpu_kunit_result(thread), -ENODEV);
}

static long uuid_fn(void *data)
{
	struct exported *e = data;

	return virtio_dma_buf_get_uuid(e->dma_buf, &e->uuid);
}

static struct virtgpu_kunit_thread *uuid_start(struct kunit *test)
{
	struct exported *e = export_blob(test, CROSS_DEVICE, EAGER, virtgpu_fake_defaults.window);
	struct virtgpu_kunit_thread *thread;

	KUNIT_ASSERT_EQ(test, virtgpu_fake_held(e->k->fake), 1);
	thread = virtgpu_kunit_run(e->k, "uuid", uuid_fn, e);
	KUNIT_ASSERT_TRUE(test, virtgpu_kunit_wait_response(thread));

	return thread;
}

/* A virtio device that imports the dma-buf waits for the UUID from the host. */
static void uuid_waits_for_response(struct kunit *test)
{
	struct virtgpu_kunit_thread *thread = uuid_start(test);
	struct exported *e = thread->k->priv;

	virtgpu_fake_release_all(e->k->fake, 0);
	KUNIT_ASSERT_EQ(test, virtgpu_kunit_result(thread), 0);
	KUNIT_EXPECT_EQ(test, get_unaligned_be32(&e->uuid), e->resource_id);
}

/* The wait for the UUID fails when the device is unplugged. */
static void uuid_wait_fails_at_unplug(struct kunit *test)
{
	struct virtgpu_kunit_thread *thread = uuid_start(test);

	KUNIT_ASSERT_TRUE(test, virtgpu_fake_unplug(thread->k->fake));
	KUNIT_EXPECT_EQ(test, virtgpu_kunit_result(thread), -ENODEV);
}

/* Let go of the dma-buf, unless a thread that uses it is stuck. */
static void dma_buf_exit(struct kunit *test)
{
	struct virtgpu_kunit *k = test->priv;

	if (k && k->priv && virtgpu_kunit_end_threads(k))
		end_import(k->priv);
	virtgpu_kunit_exit(test);
}

static struct kunit_case dma_buf_cases[] = {
	KUNIT_CASE_PARAM(import_waits_for_response, hint_gen_params),
	KUNIT_CASE(export_maps_nothing),
	KUNIT_CASE_PARAM(import_is_retried_after_error_response, hint_gen_params),
	KUNIT_CASE(import_fails_when_window_is_too_small),
	KUNIT_CASE_PARAM(killed_import_leaves_mapping, hint_gen_params),
	KUNIT_CASE(import_needs_no_handle),
	KUNIT_CASE(mmap_of_dma_buf_maps_blob),
	KUNIT_CASE(mmap_of_part_of_dma_buf_maps_part),
	KUNIT_CASE(import_of_unmappable_blob_fails),
	KUNIT_CASE_PARAM(import_fails_after_unplug, hint_gen_params),
	KUNIT_CASE_PARAM(dma_buf_mapping_is_zapped_at_unplug, hint_gen_params),
	KUNIT_CASE_PARAM(waiting_import_fails_at_unplug, hint_gen_params),
	KUNIT_CASE(uuid_waits_for_response),
	KUNIT_CASE(uuid_wait_fails_at_unplug),
	{}
};

static struct kunit_suite dma_buf_suite = {
	.name = "virtio_gpu_dma_buf",
	.init = virtgpu_kunit_init,
	.exit = dma_buf_exit,
	.test_cases = dma_buf_cases,
};

kunit_test_suite(dma_buf_suite);

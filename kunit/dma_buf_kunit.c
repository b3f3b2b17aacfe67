// SPDX-License-Identifier: GPL-2.0
/*
 * Host blobs that are exported: an importer gets the address of memory that is there.
 */

#include <kunit/device.h>
#include <kunit/test.h>
#include <linux/dma-buf.h>
#include <linux/dma-mapping.h>
#include <linux/file.h>
#include <linux/unaligned.h>
#include <linux/uuid.h>
#include <linux/virtio_dma_buf.h>

#include <drm/drm_prime.h>

#include "../virtgpu_drv.h"
#include "virtgpu_kunit_base.h"
#include "virtgpu_kunit_deferred.h"

#define ASSIGN_UUID	VIRTIO_GPU_CMD_RESOURCE_ASSIGN_UUID
#define MAP_BLOB	VIRTIO_GPU_CMD_RESOURCE_MAP_BLOB
#define UNMAP_BLOB	VIRTIO_GPU_CMD_RESOURCE_UNMAP_BLOB
#define DEFER		VIRTGPU_KUNIT_DEFER
#define SIZE		VIRTGPU_KUNIT_SIZE

struct dma_buf_test {
	struct virtgpu_fake *f;
	/* the file the test uses, and one that keeps the DRM device after it is closed */
	struct file *file;
	struct file *keep;
	u32 handle;
	u32 resource_id;
	struct dma_buf *dma_buf;
	struct dma_buf_attachment *attach;
	/* what the importer got: an address, or an error */
	struct sg_table *sgt;
	uuid_t uuid;
};

/* Undo what the test has not undone itself. */
static void cleanup(void *data)
{
	struct dma_buf_test *t = data;

	if (!IS_ERR_OR_NULL(t->sgt))
		dma_buf_unmap_attachment_unlocked(t->attach, t->sgt, DMA_BIDIRECTIONAL);
	t->sgt = NULL;
	if (!IS_ERR_OR_NULL(t->attach))
		dma_buf_detach(t->dma_buf, t->attach);
	t->attach = NULL;
	if (!IS_ERR_OR_NULL(t->dma_buf)) {
		dma_buf_put(t->dma_buf);
		flush_delayed_fput();
	}
	t->dma_buf = NULL;
}

/* A blob on a device, exported, and a device that is to import it. */
static struct dma_buf_test *make(struct kunit *test, u32 blob_flags, u32 hints, u64 window)
{
	struct virtgpu_fake_params params = virtgpu_fake_defaults;
	struct drm_virtgpu_resource_create_blob rc;
	struct dma_buf_test *t;
	struct device *importer;

	t = kunit_kzalloc(test, sizeof(*t), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, t);
	importer = kunit_device_register(test, "virtgpu-importer");
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, importer);
	KUNIT_ASSERT_EQ(test, dma_set_mask_and_coherent(importer, DMA_BIT_MASK(64)), 0);

	params.window = window;
	if (blob_flags & VIRTGPU_BLOB_FLAG_USE_CROSS_DEVICE)
		params.features |= BIT_ULL(VIRTIO_GPU_F_RESOURCE_UUID);
	t->f = virtgpu_fake_create(test, &params);
	t->keep = virtgpu_kunit_open(t->f);
	t->file = virtgpu_kunit_open(t->f);
	virtgpu_fake_hold(t->f, MAP_BLOB);
	virtgpu_fake_hold(t->f, ASSIGN_UUID);
	rc = virtgpu_kunit_blob(SIZE, blob_flags | VIRTGPU_BLOB_FLAG_USE_SHAREABLE);
	rc.blob_hints = hints;
	KUNIT_ASSERT_EQ(test, virtgpu_kunit_create_blob(t->file, &rc), 0);
	t->handle = rc.bo_handle;
	t->resource_id = rc.res_handle;
	virtgpu_fake_settle(t->f);

	KUNIT_ASSERT_EQ(test, kunit_add_action_or_reset(test, cleanup, t), 0);
	t->dma_buf = drm_gem_prime_handle_to_dmabuf(virtgpu_fake_drm(t->f), t->file->private_data,
						    t->handle, O_RDWR);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, t->dma_buf);
	t->attach = dma_buf_attach(t->dma_buf, importer);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, t->attach);

	return t;
}

static struct dma_buf_test *make_mappable(struct kunit *test, u32 hints)
{
	return make(test, VIRTGPU_BLOB_FLAG_USE_MAPPABLE, hints, virtgpu_fake_defaults.window);
}

static void finish(struct kunit *test, struct dma_buf_test *t)
{
	cleanup(t);
	virtgpu_kunit_close(t->f, t->file);
	virtgpu_kunit_expect_clean(t->f);
	virtgpu_kunit_close(t->f, t->keep);
}

static long import_fn(void *data)
{
	struct dma_buf_test *t = data;

	t->sgt = dma_buf_map_attachment_unlocked(t->attach, DMA_BIDIRECTIONAL);

	return PTR_ERR_OR_ZERO(t->sgt);
}

static struct virtgpu_kunit_thread *start_import(struct dma_buf_test *t)
{
	return virtgpu_kunit_thread_run(t->f, "virtgpu-import", import_fn, t);
}

static long import_result(struct kunit *test, struct virtgpu_kunit_thread *thread)
{
	KUNIT_ASSERT_TRUE_MSG(test, virtgpu_kunit_thread_wait(thread), "the import is stuck");

	return virtgpu_kunit_thread_result(thread);
}

static long import(struct kunit *test, struct dma_buf_test *t)
{
	return import_result(test, start_import(t));
}

/* What was imported is the blob's range of the window, all of it. */
static void expect_address(struct kunit *test, struct dma_buf_test *t)
{
	unsigned int last = virtgpu_fake_count(t->f, MAP_BLOB);
	const struct virtgpu_fake_cmd *cmd;

	KUNIT_ASSERT_NE(test, last, 0);
	cmd = virtgpu_fake_nth(t->f, MAP_BLOB, last - 1);
	KUNIT_EXPECT_EQ(test, t->sgt->nents, 1);
	KUNIT_EXPECT_EQ(test, (u64)sg_dma_address(t->sgt->sgl),
			virtgpu_fake_window(t->f)->addr + cmd->offset);
	KUNIT_EXPECT_EQ(test, sg_dma_len(t->sgt->sgl), SIZE);
}

static const u32 hint_params[] = { 0, DEFER };

static void hint_desc(const u32 *p, char *desc)
{
	strscpy(desc, *p ? "deferred" : "eager", KUNIT_PARAM_DESC_SIZE);
}

KUNIT_ARRAY_PARAM(hint, hint_params, hint_desc);

/*
 * The importer waits until the host has mapped the blob, whether it was asked to by this import or
 * before. It gets the right address.
 */
static void import_waits_for_the_host(struct kunit *test)
{
	const u32 *hints = test->param_value;
	struct dma_buf_test *t = make_mappable(test, *hints);
	struct virtgpu_kunit_thread *thread;

	KUNIT_EXPECT_EQ(test, virtgpu_fake_count(t->f, MAP_BLOB), *hints ? 0 : 1);
	thread = start_import(t);
	KUNIT_ASSERT_TRUE(test, virtgpu_fake_wait_held(t->f, 1));
	KUNIT_EXPECT_TRUE(test, virtgpu_kunit_thread_wait_asleep(thread));

	virtgpu_fake_release_all(t->f, 0);
	KUNIT_ASSERT_EQ(test, import_result(test, thread), 0);
	expect_address(test, t);
	KUNIT_EXPECT_EQ(test, virtgpu_fake_count(t->f, MAP_BLOB), 1);

	finish(test, t);
	KUNIT_EXPECT_EQ(test, virtgpu_fake_count(t->f, UNMAP_BLOB), 1);
}

/* Exporting a blob and attaching to it is not using it. */
static void export_maps_nothing(struct kunit *test)
{
	struct dma_buf_test *t = make_mappable(test, DEFER);

	virtgpu_fake_settle(t->f);
	KUNIT_EXPECT_EQ(test, virtgpu_fake_count(t->f, MAP_BLOB), 0);

	finish(test, t);
	KUNIT_EXPECT_EQ(test, virtgpu_fake_count(t->f, UNMAP_BLOB), 0);
}

/* The import fails as the host said, and the next one tries again. */
static void import_tries_again_after_a_refusal(struct kunit *test)
{
	const u32 *hints = test->param_value;
	struct dma_buf_test *t = make_mappable(test, *hints);

	/* the eager one is held */
	virtgpu_fake_release_all(t->f, VIRTIO_GPU_RESP_ERR_OUT_OF_MEMORY);
	virtgpu_fake_settle(t->f);
	virtgpu_fake_reply(t->f, MAP_BLOB, VIRTIO_GPU_RESP_ERR_OUT_OF_MEMORY, 1);
	KUNIT_EXPECT_EQ(test, import(test, t), -ENOMEM);
	virtgpu_fake_settle(t->f);
	KUNIT_EXPECT_EQ(test, virtgpu_fake_mapped(t->f), 0);

	KUNIT_ASSERT_EQ(test, import(test, t), 0);
	expect_address(test, t);

	finish(test, t);
}

/* The import fails if there is no room in the window. */
static void import_fails_when_the_window_is_too_small(struct kunit *test)
{
	struct dma_buf_test *t = make(test, VIRTGPU_BLOB_FLAG_USE_MAPPABLE, DEFER, PAGE_SIZE);

	KUNIT_EXPECT_EQ(test, import(test, t), -ENOSPC);
	virtgpu_fake_settle(t->f);
	KUNIT_EXPECT_EQ(test, virtgpu_fake_count(t->f, MAP_BLOB), 0);

	finish(test, t);
}

/* The importing task can be killed while it waits, and leaves the mapping to the next one. */
static void import_can_be_killed(struct kunit *test)
{
	const u32 *hints = test->param_value;
	struct dma_buf_test *t = make_mappable(test, *hints);
	struct virtgpu_kunit_thread *thread;

	thread = start_import(t);
	KUNIT_ASSERT_TRUE(test, virtgpu_fake_wait_held(t->f, 1));
	KUNIT_ASSERT_TRUE(test, virtgpu_kunit_thread_wait_asleep(thread));
	virtgpu_kunit_thread_kill(thread);
	KUNIT_EXPECT_EQ(test, import_result(test, thread), -ERESTARTSYS);

	virtgpu_fake_release_all(t->f, 0);
	KUNIT_ASSERT_EQ(test, import(test, t), 0);
	expect_address(test, t);
	KUNIT_EXPECT_EQ(test, virtgpu_fake_count(t->f, MAP_BLOB), 1);

	finish(test, t);
}

/* A blob that was exported can be mapped for the first time when its handle is gone. */
static void import_needs_no_handle(struct kunit *test)
{
	struct dma_buf_test *t = make_mappable(test, DEFER);

	virtgpu_fake_unhold(t->f, MAP_BLOB);
	KUNIT_EXPECT_EQ(test, virtgpu_kunit_delete(t->file, t->handle), 0);
	virtgpu_fake_settle(t->f);
	KUNIT_ASSERT_EQ(test, import(test, t), 0);
	expect_address(test, t);

	finish(test, t);
}

/* mmap() of the dma-buf maps the blob first, too. */
static void mmap_of_the_dma_buf_maps(struct kunit *test)
{
	struct dma_buf_test *t = make_mappable(test, DEFER);

	virtgpu_fake_unhold(t->f, MAP_BLOB);
	KUNIT_EXPECT_EQ(test, virtgpu_kunit_mmap(t->f, t->dma_buf->file, 0, SIZE), 0);
	KUNIT_EXPECT_EQ(test, virtgpu_fake_count(t->f, MAP_BLOB), 1);

	finish(test, t);
}

/* A blob that is not mappable has no address to give. */
static void import_needs_mappable(struct kunit *test)
{
	struct dma_buf_test *t = make(test, 0, DEFER, virtgpu_fake_defaults.window);

	KUNIT_EXPECT_EQ(test, import(test, t), -EIO);
	virtgpu_fake_settle(t->f);
	KUNIT_EXPECT_EQ(test, virtgpu_fake_count(t->f, MAP_BLOB), 0);

	finish(test, t);
}

/*
 * The dma-buf may outlive the device. Neither a blob that was mapped nor one that was not has an
 * address then, and mmap() fails as well.
 */
static void nothing_of_an_unplugged_device(struct kunit *test)
{
	const u32 *hints = test->param_value;
	struct dma_buf_test *t = make_mappable(test, *hints);

	virtgpu_fake_release_all(t->f, 0);
	virtgpu_fake_settle(t->f);
	KUNIT_ASSERT_TRUE(test, virtgpu_kunit_unplug(t->f));
	KUNIT_EXPECT_EQ(test, import(test, t), -ENODEV);
	KUNIT_EXPECT_EQ(test, virtgpu_kunit_mmap(t->f, t->dma_buf->file, 0, SIZE), -ENODEV);

	finish(test, t);
}

/* What a mapping of the dma-buf shows is gone with the device. */
static void mapping_ends_with_the_device(struct kunit *test)
{
	const u32 *hints = test->param_value;
	struct dma_buf_test *t = make_mappable(test, *hints);
	struct virtgpu_kunit_mmapper *m;
	unsigned long pfn;

	virtgpu_fake_unhold(t->f, MAP_BLOB);
	virtgpu_fake_release_all(t->f, 0);
	m = virtgpu_kunit_mmap_start(t->f, t->dma_buf->file, 0, SIZE);
	KUNIT_ASSERT_TRUE(test, virtgpu_kunit_mmap_wait(m));
	KUNIT_ASSERT_EQ(test, virtgpu_kunit_mmap_error(m), 0);
	KUNIT_ASSERT_EQ(test, virtgpu_kunit_mmap_pfn(m, 0, &pfn, NULL), 0);

	KUNIT_ASSERT_TRUE(test, virtgpu_kunit_unplug(t->f));
	KUNIT_EXPECT_EQ(test, virtgpu_kunit_mmap_pfn(m, 0, &pfn, NULL), -EINVAL);
	KUNIT_EXPECT_TRUE(test, virtgpu_kunit_munmap(m));

	finish(test, t);
}

/* An import that waits for the host ends when the device is unplugged. */
static void unplug_ends_an_import(struct kunit *test)
{
	const u32 *hints = test->param_value;
	struct dma_buf_test *t = make_mappable(test, *hints);
	struct virtgpu_kunit_thread *thread;

	thread = start_import(t);
	KUNIT_ASSERT_TRUE(test, virtgpu_fake_wait_held(t->f, 1));
	KUNIT_ASSERT_TRUE(test, virtgpu_kunit_thread_wait_asleep(thread));
	KUNIT_ASSERT_TRUE(test, virtgpu_kunit_unplug(t->f));
	KUNIT_EXPECT_EQ(test, import_result(test, thread), -ENODEV);

	finish(test, t);
}

static long uuid_fn(void *data)
{
	struct dma_buf_test *t = data;

	return virtio_dma_buf_get_uuid(t->dma_buf, &t->uuid);
}

static struct dma_buf_test *make_cross_device(struct kunit *test,
					      struct virtgpu_kunit_thread **thread)
{
	struct dma_buf_test *t = make(test, VIRTGPU_BLOB_FLAG_USE_CROSS_DEVICE, 0,
				      virtgpu_fake_defaults.window);

	KUNIT_ASSERT_TRUE(test, virtgpu_fake_wait_held(t->f, 1));
	*thread = virtgpu_kunit_thread_run(t->f, "virtgpu-uuid", uuid_fn, t);
	KUNIT_ASSERT_TRUE(test, virtgpu_kunit_thread_wait_asleep(*thread));

	return t;
}

/* Another virtio device that asks for the UUID waits for the host, and gets its answer. */
static void uuid_waits_for_the_host(struct kunit *test)
{
	struct virtgpu_kunit_thread *thread;
	struct dma_buf_test *t = make_cross_device(test, &thread);

	virtgpu_fake_release_all(t->f, 0);
	KUNIT_ASSERT_EQ(test, import_result(test, thread), 0);
	KUNIT_EXPECT_EQ(test, get_unaligned_be32(&t->uuid), t->resource_id);

	finish(test, t);
}

/* The wait ends when the device is unplugged. */
static void unplug_ends_the_wait_for_a_uuid(struct kunit *test)
{
	struct virtgpu_kunit_thread *thread;
	struct dma_buf_test *t = make_cross_device(test, &thread);

	KUNIT_ASSERT_TRUE(test, virtgpu_kunit_unplug(t->f));
	KUNIT_EXPECT_EQ(test, import_result(test, thread), -ENODEV);

	finish(test, t);
}

static struct kunit_case dma_buf_cases[] = {
	KUNIT_CASE_PARAM(import_waits_for_the_host, hint_gen_params),
	KUNIT_CASE(export_maps_nothing),
	KUNIT_CASE_PARAM(import_tries_again_after_a_refusal, hint_gen_params),
	KUNIT_CASE(import_fails_when_the_window_is_too_small),
	KUNIT_CASE_PARAM(import_can_be_killed, hint_gen_params),
	KUNIT_CASE(import_needs_no_handle),
	KUNIT_CASE(mmap_of_the_dma_buf_maps),
	KUNIT_CASE(import_needs_mappable),
	KUNIT_CASE_PARAM(nothing_of_an_unplugged_device, hint_gen_params),
	KUNIT_CASE_PARAM(mapping_ends_with_the_device, hint_gen_params),
	KUNIT_CASE_PARAM(unplug_ends_an_import, hint_gen_params),
	KUNIT_CASE(uuid_waits_for_the_host),
	KUNIT_CASE(unplug_ends_the_wait_for_a_uuid),
	{}
};

static struct kunit_suite dma_buf_suite = {
	.name = "virtio_gpu_dma_buf",
	.test_cases = dma_buf_cases,
};

kunit_test_suite(dma_buf_suite);

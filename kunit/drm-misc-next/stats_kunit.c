// SPDX-License-Identifier: GPL-2.0
/*
 * The statistics of blobs and of the window: fdinfo and debugfs agree with each other and with the
 * host.
 */

#include <kunit/test.h>
#include <linux/debugfs.h>
#include <linux/dma-buf.h>
#include <linux/fdtable.h>
#include <linux/fs.h>
#include <linux/scatterlist.h>
#include <linux/seq_file.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/uaccess.h>

#include <drm/drm_debugfs.h>
#include <drm/drm_file.h>
#include <drm/drm_prime.h>

#include "../virtgpu_drv.h"
#include "virtgpu_kunit_helpers.h"

#define SUBMIT		VIRTIO_GPU_CMD_SUBMIT_3D
#define LIST		"virtio-gpu-host-blobs"

/* The text of a file, NUL-terminated. Returns it. */
static char *end_text(struct virtgpu_kunit *k, struct seq_file *m)
{
	KUNIT_ASSERT_FALSE(k->test, seq_has_overflowed(m));
	m->buf[m->count] = '\0';

	return m->buf;
}

static void start_text(struct virtgpu_kunit *k, struct seq_file *m)
{
	memset(m, 0, sizeof(*m));
	m->size = PAGE_SIZE - 1;
	m->buf = kunit_kzalloc(k->test, PAGE_SIZE, GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(k->test, m->buf);
}

/* The fdinfo of a file, each line with a newline before it. */
static char *fdinfo(struct virtgpu_kunit *k, struct file *file)
{
	struct seq_file m;

	start_text(k, &m);
	KUNIT_ASSERT_NOT_NULL(k->test, file->f_op->show_fdinfo);
	seq_putc(&m, '\n');
	file->f_op->show_fdinfo(&m, file);

	return end_text(k, &m);
}

/* Expect a number in the fdinfo of a file. @key is the rest of the line's key after "drm-". */
static void expect_stat_of(struct virtgpu_kunit *k, struct file *file, const char *key,
			   u64 expected)
{
	unsigned long long value = 0;
	char unit[8] = "";
	char line[40];
	int len, found;
	char *text, *at;

	len = scnprintf(line, sizeof(line), "\ndrm-%s:", key);
	text = fdinfo(k, file);
	at = strstr(text, line);
	KUNIT_ASSERT_NOT_NULL_MSG(k->test, at, "no %s in %s", key, text);
	found = sscanf(skip_spaces(at + len), "%llu %3s", &value, unit);
	KUNIT_ASSERT_GE(k->test, found, 1);
	/* a number without a unit is followed by the next key */
	if (!strcmp(unit, "KiB"))
		value <<= 10;
	else if (!strcmp(unit, "MiB"))
		value <<= 20;
	KUNIT_EXPECT_EQ_MSG(k->test, value, expected, "%s", key);
}

static void expect_stat(struct virtgpu_kunit *k, const char *key, u64 expected)
{
	expect_stat_of(k, k->file, key, expected);
}

static void dput_dentry(void *dentry)
{
	dput(dentry);
}

/* The text of a file in debugfs. */
static char *debugfs(struct virtgpu_kunit *k, const char *name)
{
	struct drm_info_node *node;
	struct dentry *dentry;
	struct seq_file m;

	start_text(k, &m);
	dentry = debugfs_lookup(name, k->drm->primary->debugfs_root);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(k->test, dentry);
	KUNIT_ASSERT_EQ(k->test, kunit_add_action_or_reset(k->test, dput_dentry, dentry), 0);
	node = d_inode(dentry)->i_private;
	m.private = node;
	KUNIT_ASSERT_EQ(k->test, node->info_ent->show(&m, NULL), 0);
	kunit_release_action(k->test, dput_dentry, dentry);

	return end_text(k, &m);
}

/* The number of reserved bytes in the dump of the window, whose format scripts parse. */
static u64 reserved(struct virtgpu_kunit *k)
{
	unsigned long long total, used = 0;
	const char *at = strstr(debugfs(k, "virtio-gpu-host-visible-mm"), "total: ");
	int found;

	KUNIT_ASSERT_NOT_NULL(k->test, at);
	found = sscanf(at, "total: %llu, used %llu", &total, &used);
	KUNIT_ASSERT_EQ(k->test, found, 2);
	KUNIT_EXPECT_EQ(k->test, total, virtgpu_fake_window(k->fake)->len);

	return used;
}

/* Expect a number of blobs to be resident, mapped by the host, and reserved in the window. */
static void expect_mapped(struct virtgpu_kunit *k, unsigned int blobs)
{
	virtgpu_kunit_settle(k);
	expect_stat(k, "resident-window", blobs * SIZE);
	KUNIT_EXPECT_EQ(k->test, virtgpu_fake_mapped(k->fake), blobs);
	if (IS_ENABLED(CONFIG_DEBUG_FS))
		KUNIT_EXPECT_EQ(k->test, reserved(k), blobs * SIZE);
}

static void need_debugfs(struct kunit *test)
{
	if (!IS_ENABLED(CONFIG_DEBUG_FS))
		kunit_skip(test, "needs CONFIG_DEBUG_FS");
}

/* The offset of the latest MAP_BLOB of a resource. */
static u64 map_blob_offset(struct virtgpu_kunit *k, u32 resource_id)
{
	unsigned int i = virtgpu_fake_count(k->fake, MAP_BLOB);

	while (i--) {
		const struct virtgpu_cmd *cmd = virtgpu_fake_nth(k->fake, MAP_BLOB, i);

		if (cmd->resource_id == resource_id)
			return cmd->offset;
	}

	KUNIT_FAIL(k->test, "no MAP_BLOB of resource %u", resource_id);
	return 0;
}

/* Expect the columns of a blob in the list. The offset must be the one that the host got. */
static void expect_line(struct virtgpu_kunit *k, u32 handle, const char *hint, const char *state,
			unsigned int mapped, int error)
{
	u32 resource_id = virtgpu_kunit_vram(k, handle)->base.hw_res_handle;
	char found_hint[12], found_state[12], found_offset[20], offset[20] = "-";
	unsigned int found_mapped;
	int n, found_error;
	char *text, *at;
	u64 size;
	u32 id;

	if (strcmp(state, "unmapped"))
		scnprintf(offset, sizeof(offset), "%#llx", map_blob_offset(k, resource_id));
	text = debugfs(k, LIST);
	/* the first line has the names of the columns */
	KUNIT_ASSERT_NOT_NULL(k->test, strsep(&text, "\n"));
	while ((at = strsep(&text, "\n")) && *at) {
		n = sscanf(at, "%u %llu %11s %11s %19s %u %d", &id, &size, found_hint, found_state,
			   found_offset, &found_mapped, &found_error);
		KUNIT_ASSERT_EQ_MSG(k->test, n, 7, "%s", at);
		if (id != resource_id)
			continue;
		KUNIT_EXPECT_EQ(k->test, size, SIZE);
		KUNIT_EXPECT_STREQ(k->test, found_hint, hint);
		KUNIT_EXPECT_STREQ(k->test, found_state, state);
		KUNIT_EXPECT_STREQ(k->test, found_offset, offset);
		KUNIT_EXPECT_EQ(k->test, found_mapped, mapped);
		KUNIT_EXPECT_EQ(k->test, found_error, error);
		return;
	}
	KUNIT_FAIL(k->test, "no line for resource %u", resource_id);
}

/* All mappable blobs are in the total, those that are mapped are resident. */
static void window_stats_follow_mappings(struct kunit *test)
{
	struct virtgpu_kunit *k = test->priv;
	u32 eager = virtgpu_kunit_blob(k, EAGER), deferred = virtgpu_kunit_blob(k, DEFER);

	expect_mapped(k, 1);
	expect_stat(k, "total-window", 2 * SIZE);
	KUNIT_EXPECT_EQ(test, virtgpu_kunit_mmap(k, deferred), 0);
	expect_mapped(k, 2);
	expect_stat(k, "total-window", 2 * SIZE);

	virtgpu_kunit_delete(k, eager);
	expect_mapped(k, 1);
	expect_stat(k, "total-window", SIZE);
	expect_stat(k, "shared-window", 0);
	expect_stat(k, "active-window", 0);
	expect_stat(k, "total-host", 0);
	expect_stat(k, "total-memory", 0);
}

/* A blob is resident after the response to MAP_BLOB; its range is reserved before. */
static void pending_mapping_is_not_resident(struct kunit *test)
{
	struct virtgpu_kunit *k = test->priv;
	u32 handle;

	need_debugfs(test);
	/* so that the offset is not 0 */
	virtgpu_kunit_blob(k, EAGER);
	handle = virtgpu_kunit_blob(k, DEFER);
	expect_line(k, handle, "deferred", "unmapped", 0, 0);
	virtgpu_fake_hold(k->fake, MAP_BLOB);
	KUNIT_ASSERT_EQ(test, virtgpu_kunit_map_ioctl(k, handle, NULL), 0);
	KUNIT_ASSERT_TRUE(test, virtgpu_fake_wait_held(k->fake, 1));
	expect_stat(k, "resident-window", SIZE);
	KUNIT_EXPECT_EQ(test, reserved(k), 2 * SIZE);
	expect_line(k, handle, "deferred", "mapping", 0, 0);

	virtgpu_fake_release_all(k->fake, 0);
	expect_mapped(k, 2);
	expect_line(k, handle, "deferred", "mapped", 1, 0);
}

/* Host blobs that are not mappable are in a region of their own. */
static void unmappable_blob_is_host_memory(struct kunit *test)
{
	struct virtgpu_kunit *k = test->priv;
	u32 handle = virtgpu_kunit_blob_of(k, SIZE, 0, EAGER);

	expect_mapped(k, 0);
	expect_stat(k, "total-window", 0);
	expect_stat(k, "total-host", SIZE);
	expect_stat(k, "resident-host", SIZE);
	expect_stat(k, "total-memory", 0);
	if (IS_ENABLED(CONFIG_DEBUG_FS))
		expect_line(k, handle, "-", "unmapped", 0, 0);
}

/* Blobs in guest memory take nothing of the window. */
static void guest_blob_is_system_memory(struct kunit *test)
{
	struct virtgpu_kunit *k = test->priv;
	struct drm_virtgpu_resource_create_blob rc;

	rc = virtgpu_kunit_guest_blob(SIZE, MAPPABLE, EAGER);
	KUNIT_ASSERT_EQ(test, virtgpu_kunit_create(k, &rc), 0);
	expect_mapped(k, 0);
	expect_stat(k, "total-memory", SIZE);
	expect_stat(k, "resident-memory", SIZE);
	expect_stat(k, "total-window", 0);
	expect_stat(k, "total-host", 0);
}

/* A blob to which two clients have a handle is shared for both; other blobs are not. */
static void blob_of_two_clients_is_shared(struct kunit *test)
{
	struct virtgpu_kunit *k = test->priv;
	struct file *other = virtgpu_kunit_open(k);
	struct drm_gem_object *obj;
	u32 handle, other_handle;

	handle = virtgpu_kunit_blob(k, DEFER);
	virtgpu_kunit_blob(k, DEFER);
	expect_stat(k, "shared-window", 0);
	expect_stat_of(k, other, "total-window", 0);

	obj = drm_gem_object_lookup(k->file->private_data, handle);
	KUNIT_ASSERT_NOT_NULL(test, obj);
	KUNIT_EXPECT_EQ(test, drm_gem_handle_create(other->private_data, obj, &other_handle), 0);
	drm_gem_object_put(obj);
	expect_stat(k, "shared-window", SIZE);
	expect_stat(k, "total-window", 2 * SIZE);
	expect_stat_of(k, other, "shared-window", SIZE);
	expect_stat_of(k, other, "total-window", SIZE);

	virtgpu_kunit_close(k, other);
	expect_stat(k, "shared-window", 0);
}

/* Submit a command that uses blobs. */
static void submit_with(struct virtgpu_kunit *k, u32 *handles, u32 number)
{
	struct drm_virtgpu_execbuffer exec = {
		.size = 4,
		.num_bo_handles = number,
		.fence_fd = -1,
		.command = virtgpu_kunit_user_page(k),
	};

	exec.bo_handles = exec.command + exec.size;
	KUNIT_ASSERT_EQ(k->test, copy_to_user(u64_to_user_ptr(exec.bo_handles), handles,
					      number * sizeof(*handles)), 0);
	KUNIT_ASSERT_EQ(k->test, virtgpu_kunit_ioctl(k->file, DRM_IOCTL_VIRTGPU_EXECBUFFER, &exec),
			0);
}

/* A resident blob is active while a command that uses it has no response. */
static void blob_of_pending_command_is_active(struct kunit *test)
{
	struct virtgpu_kunit *k = test->priv;
	u32 handles[3];

	handles[0] = virtgpu_kunit_blob(k, EAGER);
	handles[1] = virtgpu_kunit_blob(k, DEFER);
	handles[2] = virtgpu_kunit_blob_of(k, SIZE, 0, EAGER);
	virtgpu_kunit_blob(k, EAGER);
	virtgpu_fake_hold(k->fake, SUBMIT);
	submit_with(k, handles, ARRAY_SIZE(handles));
	KUNIT_ASSERT_TRUE(test, virtgpu_fake_wait_held(k->fake, 1));
	expect_stat(k, "active-window", SIZE);
	expect_stat(k, "active-host", SIZE);
	expect_stat(k, "active-memory", 0);

	virtgpu_fake_release_all(k->fake, 0);
	virtgpu_kunit_settle(k);
	expect_stat(k, "active-window", 0);
	expect_stat(k, "active-host", 0);
}

/* An exported blob is shared, and not mapped for that. */
static void exported_blob_is_shared(struct kunit *test)
{
	struct virtgpu_kunit *k = test->priv;
	struct dma_buf *dma_buf = virtgpu_kunit_export(k, virtgpu_kunit_blob(k, DEFER));

	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, dma_buf);
	expect_mapped(k, 0);
	expect_stat(k, "total-window", SIZE);
	expect_stat(k, "shared-window", SIZE);
	virtgpu_kunit_put_dma_buf(k, dma_buf);
}

/*
 * A dma-buf of another driver: one page, at an address that virtio-gpu does not use.
 */
static struct sg_table *foreign_map(struct dma_buf_attachment *attach, enum dma_data_direction dir)
{
	struct sg_table *sgt = kzalloc_obj(*sgt);

	if (!sgt)
		return ERR_PTR(-ENOMEM);
	if (sg_alloc_table(sgt, 1, GFP_KERNEL)) {
		kfree(sgt);
		return ERR_PTR(-ENOMEM);
	}
	sg_dma_address(sgt->sgl) = PAGE_SIZE;
	sg_dma_len(sgt->sgl) = SIZE;

	return sgt;
}

static void foreign_unmap(struct dma_buf_attachment *attach, struct sg_table *sgt,
			  enum dma_data_direction dir)
{
	sg_free_table(sgt);
	kfree(sgt);
}

static void foreign_release(struct dma_buf *dma_buf)
{
}

static const struct dma_buf_ops foreign_ops = {
	.map_dma_buf = foreign_map,
	.unmap_dma_buf = foreign_unmap,
	.release = foreign_release,
};

/* An imported dma-buf is memory outside the window, and shared, as the exporter has it, too. */
static void imported_dma_buf_is_shared_memory(struct kunit *test)
{
	DEFINE_DMA_BUF_EXPORT_INFO(info);
	/* with 3D the driver imports nothing */
	const struct virtgpu_fake_params params = virtgpu_kunit_params(BIT_ULL(VIRTIO_GPU_F_VIRGL));
	struct virtgpu_kunit *k = virtgpu_kunit_init_with(test, &params);
	struct dma_buf *dma_buf;
	u32 handle;
	int fd, ret;

	info.ops = &foreign_ops;
	info.size = SIZE;
	info.flags = O_RDWR;
	info.priv = test;
	dma_buf = dma_buf_export(&info);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, dma_buf);
	fd = dma_buf_fd(dma_buf, O_CLOEXEC);
	if (fd < 0)
		virtgpu_kunit_put_dma_buf(k, dma_buf);
	KUNIT_ASSERT_GE(test, fd, 0);
	ret = drm_gem_prime_fd_to_handle(k->drm, k->file->private_data, fd, &handle);
	close_fd(fd);
	KUNIT_ASSERT_EQ(test, ret, 0);

	expect_stat(k, "total-memory", SIZE);
	expect_stat(k, "shared-memory", SIZE);
	expect_stat(k, "resident-memory", SIZE);
	expect_stat(k, "total-window", 0);
	virtgpu_kunit_delete(k, handle);
	expect_stat(k, "total-memory", 0);
}

/* The list has the errno of the latest failure, and counts the mappings. */
static void failed_mapping_is_listed(struct kunit *test)
{
	struct virtgpu_kunit *k = test->priv;
	u32 handle;

	need_debugfs(test);
	virtgpu_kunit_blob(k, EAGER);
	handle = virtgpu_kunit_blob(k, DEFER);
	virtgpu_fake_respond(k->fake, MAP_BLOB, VIRTIO_GPU_RESP_ERR_OUT_OF_MEMORY, 1);
	KUNIT_EXPECT_EQ(test, virtgpu_kunit_mmap(k, handle), -ENOMEM);
	expect_mapped(k, 1);
	expect_line(k, handle, "deferred", "unmapped", 0, -ENOMEM);

	KUNIT_EXPECT_EQ(test, virtgpu_kunit_mmap(k, handle), 0);
	KUNIT_EXPECT_EQ(test, virtgpu_kunit_mmap(k, handle), 0);
	expect_mapped(k, 2);
	expect_line(k, handle, "deferred", "mapped", 1, -ENOMEM);
}

/*
 * The list shows that a blob found the window full, and the driver notes it for the device. A blob
 * that is larger than the window does not count.
 */
static void full_window_is_listed(struct kunit *test)
{
	struct virtgpu_fake_params params = virtgpu_fake_defaults;
	u32 eager, deferred, large;
	struct virtgpu_kunit *k;

	need_debugfs(test);
	params.window = SIZE;
	k = virtgpu_kunit_init_with(test, &params);
	large = virtgpu_kunit_blob_of(k, 2 * SIZE, MAPPABLE, DEFER);
	KUNIT_EXPECT_EQ(test, virtgpu_kunit_mmap(k, large), -ENOSPC);
	KUNIT_EXPECT_FALSE(test, k->vgdev->host_visible_told);
	virtgpu_kunit_delete(k, large);

	eager = virtgpu_kunit_blob(k, EAGER);
	deferred = virtgpu_kunit_blob(k, DEFER);
	KUNIT_EXPECT_EQ(test, virtgpu_kunit_mmap(k, deferred), -ENOSPC);
	KUNIT_EXPECT_TRUE(test, k->vgdev->host_visible_told);
	KUNIT_EXPECT_EQ(test, k->vgdev->host_visible_used, SIZE);
	expect_mapped(k, 1);
	expect_line(k, eager, "eager", "mapped", 1, 0);
	expect_line(k, deferred, "deferred", "unmapped", 0, -ENOSPC);

	virtgpu_kunit_delete(k, eager);
	expect_mapped(k, 0);
	KUNIT_EXPECT_EQ(test, k->vgdev->host_visible_used, 0);
	KUNIT_EXPECT_EQ(test, virtgpu_kunit_mmap(k, deferred), 0);
	expect_mapped(k, 1);
}

/* The list has a blob until the response to UNREF, with or without a handle. */
static void blob_without_handle_is_listed(struct kunit *test)
{
	struct virtgpu_kunit *k = test->priv;
	u32 handle = virtgpu_kunit_blob(k, DEFER);

	need_debugfs(test);
	virtgpu_fake_hold(k->fake, UNREF);
	virtgpu_kunit_delete(k, handle);
	KUNIT_ASSERT_EQ(test, virtgpu_fake_held(k->fake), 1);
	expect_stat(k, "total-window", 0);
	KUNIT_EXPECT_NOT_NULL(test, strstr(debugfs(k, LIST), "deferred"));
	virtgpu_fake_release_all(k->fake, 0);
	virtgpu_kunit_settle(k);
	KUNIT_EXPECT_NULL(test, strstr(debugfs(k, LIST), "deferred"));
}

/* fdinfo has no statistics of a device that is unplugged. */
static void unplugged_device_has_no_stats(struct kunit *test)
{
	struct virtgpu_kunit *k = test->priv;

	virtgpu_kunit_blob(k, EAGER);
	KUNIT_ASSERT_TRUE(test, virtgpu_fake_unplug(k->fake));
	KUNIT_EXPECT_STREQ(test, fdinfo(k, k->file), "\n");
}

static struct kunit_case stats_cases[] = {
	KUNIT_CASE(window_stats_follow_mappings),
	KUNIT_CASE(pending_mapping_is_not_resident),
	KUNIT_CASE(unmappable_blob_is_host_memory),
	KUNIT_CASE(guest_blob_is_system_memory),
	KUNIT_CASE(blob_of_two_clients_is_shared),
	KUNIT_CASE(blob_of_pending_command_is_active),
	KUNIT_CASE(exported_blob_is_shared),
	KUNIT_CASE(imported_dma_buf_is_shared_memory),
	KUNIT_CASE(failed_mapping_is_listed),
	KUNIT_CASE(full_window_is_listed),
	KUNIT_CASE(blob_without_handle_is_listed),
	KUNIT_CASE(unplugged_device_has_no_stats),
	{}
};

static struct kunit_suite stats_suite = {
	.name = "virtio_gpu_stats",
	.init = virtgpu_kunit_init,
	.exit = virtgpu_kunit_exit,
	.test_cases = stats_cases,
};

kunit_test_suite(stats_suite);

// SPDX-License-Identifier: GPL-2.0
/*
 * What is shown of blobs and of the window: fdinfo and debugfs agree with each other, and with the
 * host.
 */

#include <kunit/test.h>
#include <linux/debugfs.h>
#include <linux/dma-buf.h>
#include <linux/fdtable.h>
#include <linux/fs.h>
#include <linux/mm.h>
#include <linux/mman.h>
#include <linux/scatterlist.h>
#include <linux/seq_file.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/uaccess.h>

#include <drm/drm_debugfs.h>
#include <drm/drm_prime.h>

#include "../virtgpu_drv.h"
#include "virtgpu_kunit_base.h"
#include "virtgpu_kunit_deferred.h"

#define MAP_BLOB	VIRTIO_GPU_CMD_RESOURCE_MAP_BLOB
#define DEFER		VIRTGPU_KUNIT_DEFER
#define SIZE		VIRTGPU_KUNIT_SIZE

struct stats_test {
	struct virtgpu_fake *f;
	struct file *file;
	char *buf;
};

static struct stats_test make(struct kunit *test, const struct virtgpu_fake_params *params)
{
	struct stats_test t;

	t.buf = kunit_kzalloc(test, PAGE_SIZE, GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, t.buf);
	t.f = virtgpu_fake_create(test, params);
	t.file = virtgpu_kunit_open(t.f);

	return t;
}

static void finish(struct stats_test *t)
{
	virtgpu_kunit_close(t->f, t->file);
	virtgpu_kunit_expect_clean(t->f);
}

/* The file's fdinfo, each line with a newline before it. */
static const char *fdinfo(struct kunit *test, struct stats_test *t, struct file *file)
{
	struct seq_file m = { .buf = t->buf, .size = PAGE_SIZE - 1 };

	KUNIT_ASSERT_NOT_NULL(test, file->f_op->show_fdinfo);
	seq_putc(&m, '\n');
	file->f_op->show_fdinfo(&m, file);
	KUNIT_ASSERT_FALSE(test, seq_has_overflowed(&m));
	t->buf[m.count] = '\0';

	return t->buf;
}

/* One of its numbers: key is what follows "drm-". */
static void expect_stat(struct kunit *test, struct stats_test *t, struct file *file,
			const char *key, u64 expected)
{
	unsigned long long value = 0;
	char unit[8] = "";
	char line[40];
	int len, found;
	char *at;

	len = scnprintf(line, sizeof(line), "\ndrm-%s:", key);
	at = strstr(fdinfo(test, t, file), line);
	KUNIT_ASSERT_NOT_NULL_MSG(test, at, "no %s in %s", key, t->buf);
	found = sscanf(skip_spaces(at + len), "%llu %3s", &value, unit);
	KUNIT_ASSERT_GE(test, found, 1);
	/* a number without a unit is followed by the next key */
	if (!strcmp(unit, "KiB"))
		value <<= 10;
	else if (!strcmp(unit, "MiB"))
		value <<= 20;
	KUNIT_EXPECT_EQ_MSG(test, value, expected, "%s", key);
}

static void dput_dentry(void *dentry)
{
	dput(dentry);
}

/* What a file in debugfs shows. */
static const char *debugfs(struct kunit *test, struct stats_test *t, const char *name)
{
	struct seq_file m = { .buf = t->buf, .size = PAGE_SIZE - 1 };
	struct drm_info_node *node;
	struct dentry *dentry;

	if (!IS_ENABLED(CONFIG_DEBUG_FS))
		kunit_skip(test, "needs CONFIG_DEBUG_FS");
	dentry = debugfs_lookup(name, virtgpu_fake_drm(t->f)->primary->debugfs_root);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, dentry);
	KUNIT_ASSERT_EQ(test, kunit_add_action_or_reset(test, dput_dentry, dentry), 0);
	node = d_inode(dentry)->i_private;
	m.private = node;
	KUNIT_ASSERT_EQ(test, node->info_ent->show(&m, NULL), 0);
	kunit_release_action(test, dput_dentry, dentry);
	KUNIT_ASSERT_FALSE(test, seq_has_overflowed(&m));
	t->buf[m.count] = '\0';

	return t->buf;
}

/* The dump's format is what scripts parse: this is one. */
static u64 reserved(struct kunit *test, struct stats_test *t)
{
	unsigned long long total, used = 0;
	const char *at = strstr(debugfs(test, t, "virtio-gpu-host-visible-mm"), "total: ");
	int found;

	KUNIT_ASSERT_NOT_NULL(test, at);
	found = sscanf(at, "total: %llu, used %llu", &total, &used);
	KUNIT_ASSERT_EQ(test, found, 2);
	KUNIT_EXPECT_EQ(test, total, virtgpu_fake_window(t->f)->len);

	return used;
}

/* Of the window as much is resident as the host has mapped and the allocator has reserved. */
static void expect_mapped(struct kunit *test, struct stats_test *t, unsigned int blobs)
{
	virtgpu_fake_settle(t->f);
	expect_stat(test, t, t->file, "resident-window", blobs * SIZE);
	KUNIT_EXPECT_EQ(test, reserved(test, t), blobs * SIZE);
	KUNIT_EXPECT_EQ(test, virtgpu_fake_mapped(t->f), blobs);
}

/**
 * struct line - what virtio-gpu-host-blobs has of a blob
 * @hint: column of that name
 * @state: column of that name
 * @offset: column of that name
 * @mapped: column of that name
 * @error: column of that name
 */
struct line {
	const char *hint;
	const char *state;
	const char *offset;
	unsigned int mapped;
	int error;
};

static void expect_line(struct kunit *test, struct stats_test *t, u32 handle,
			const struct line *expected)
{
	u32 resource_id = virtgpu_kunit_vram(t->file, handle)->base.hw_res_handle;
	char hint[12], state[12], offset[20];
	char *text, *at;
	u64 size;
	struct line line;
	int found;
	u32 id;

	text = (char *)debugfs(test, t, "virtio-gpu-host-blobs");
	/* the first line has the columns' names */
	KUNIT_ASSERT_NOT_NULL(test, strsep(&text, "\n"));
	while ((at = strsep(&text, "\n")) && *at) {
		found = sscanf(at, "%u %llu %11s %11s %19s %u %d", &id, &size, hint, state,
			       offset, &line.mapped, &line.error);
		KUNIT_ASSERT_EQ_MSG(test, found, 7, "%s", at);
		if (id != resource_id)
			continue;
		KUNIT_EXPECT_EQ(test, size, SIZE);
		KUNIT_EXPECT_STREQ(test, hint, expected->hint);
		KUNIT_EXPECT_STREQ(test, state, expected->state);
		KUNIT_EXPECT_STREQ(test, offset, expected->offset);
		KUNIT_EXPECT_EQ(test, line.mapped, expected->mapped);
		KUNIT_EXPECT_EQ(test, line.error, expected->error);
		return;
	}
	KUNIT_FAIL(test, "no line for resource %u", resource_id);
}

static int map(struct stats_test *t, u32 handle)
{
	return virtgpu_kunit_mmap(t->f, t->file, virtgpu_kunit_offset(t->file, handle), SIZE);
}

static u32 unmappable(struct kunit *test, struct stats_test *t)
{
	struct drm_virtgpu_resource_create_blob rc = virtgpu_kunit_blob(SIZE, 0);

	KUNIT_ASSERT_EQ(test, virtgpu_kunit_create_blob(t->file, &rc), 0);

	return rc.bo_handle;
}

/* Of the mappable blobs all are in the total, and those that are mapped are resident. */
static void window_has_what_is_mapped(struct kunit *test)
{
	struct stats_test t = make(test, &virtgpu_fake_defaults);
	u32 eager, deferred;

	eager = virtgpu_kunit_mappable(test, t.file, SIZE, 0);
	deferred = virtgpu_kunit_mappable(test, t.file, SIZE, DEFER);
	expect_mapped(test, &t, 1);
	expect_stat(test, &t, t.file, "total-window", 2 * SIZE);

	KUNIT_EXPECT_EQ(test, map(&t, deferred), 0);
	expect_mapped(test, &t, 2);
	expect_stat(test, &t, t.file, "total-window", 2 * SIZE);

	KUNIT_EXPECT_EQ(test, virtgpu_kunit_delete(t.file, eager), 0);
	expect_mapped(test, &t, 1);
	expect_stat(test, &t, t.file, "total-window", SIZE);
	expect_stat(test, &t, t.file, "shared-window", 0);
	expect_stat(test, &t, t.file, "active-window", 0);
	expect_stat(test, &t, t.file, "total-host", 0);
	expect_stat(test, &t, t.file, "total-memory", 0);

	finish(&t);
}

/* A blob is resident when the host has answered, though its range is reserved before. */
static void mapping_in_flight_is_not_resident(struct kunit *test)
{
	struct stats_test t = make(test, &virtgpu_fake_defaults);
	u32 handle = virtgpu_kunit_mappable(test, t.file, SIZE, DEFER);
	u64 offset;

	expect_line(test, &t, handle, &(struct line){ "deferred", "unmapped", "-", 0, 0 });
	virtgpu_fake_hold(t.f, MAP_BLOB);
	KUNIT_ASSERT_EQ(test, virtgpu_kunit_map_ioctl(t.file, handle, &offset), 0);
	KUNIT_ASSERT_TRUE(test, virtgpu_fake_wait_held(t.f, 1));
	expect_stat(test, &t, t.file, "resident-window", 0);
	KUNIT_EXPECT_EQ(test, reserved(test, &t), SIZE);
	expect_line(test, &t, handle, &(struct line){ "deferred", "mapping", "0x0", 0, 0 });

	virtgpu_fake_unhold(t.f, MAP_BLOB);
	virtgpu_fake_release_all(t.f, VIRTIO_GPU_RESP_OK_MAP_INFO);
	expect_mapped(test, &t, 1);
	expect_line(test, &t, handle, &(struct line){ "deferred", "mapped", "0x0", 1, 0 });

	finish(&t);
}

/* Host blobs that can not be mapped are in a region of their own. */
static void unmappable_blobs_are_the_hosts(struct kunit *test)
{
	struct stats_test t = make(test, &virtgpu_fake_defaults);
	u32 handle = unmappable(test, &t);

	expect_mapped(test, &t, 0);
	expect_stat(test, &t, t.file, "total-window", 0);
	expect_stat(test, &t, t.file, "total-host", SIZE);
	expect_stat(test, &t, t.file, "resident-host", SIZE);
	expect_stat(test, &t, t.file, "total-memory", 0);
	expect_line(test, &t, handle, &(struct line){ "-", "unmapped", "-", 0, 0 });

	finish(&t);
}

/* Blobs in the guest's memory take nothing of the window. */
static void guest_blobs_are_memory(struct kunit *test)
{
	struct stats_test t = make(test, &virtgpu_fake_defaults);
	struct drm_virtgpu_resource_create_blob rc = {
		.blob_mem = VIRTGPU_BLOB_MEM_GUEST,
		.blob_flags = VIRTGPU_BLOB_FLAG_USE_MAPPABLE,
		.size = SIZE,
	};

	KUNIT_ASSERT_EQ(test, virtgpu_kunit_create_blob(t.file, &rc), 0);
	expect_mapped(test, &t, 0);
	expect_stat(test, &t, t.file, "total-memory", SIZE);
	expect_stat(test, &t, t.file, "resident-memory", SIZE);
	expect_stat(test, &t, t.file, "total-window", 0);
	expect_stat(test, &t, t.file, "total-host", 0);

	finish(&t);
}

/* What two clients have a handle of is shared, for both, and nothing else is. */
static void shared_is_what_two_have(struct kunit *test)
{
	struct stats_test t = make(test, &virtgpu_fake_defaults);
	struct file *other = virtgpu_kunit_open(t.f);
	struct drm_gem_object *obj;
	u32 handle, theirs;

	handle = virtgpu_kunit_mappable(test, t.file, SIZE, DEFER);
	virtgpu_kunit_mappable(test, t.file, SIZE, DEFER);
	expect_stat(test, &t, t.file, "shared-window", 0);
	expect_stat(test, &t, other, "total-window", 0);

	obj = drm_gem_object_lookup(t.file->private_data, handle);
	KUNIT_ASSERT_NOT_NULL(test, obj);
	KUNIT_EXPECT_EQ(test, drm_gem_handle_create(other->private_data, obj, &theirs), 0);
	drm_gem_object_put(obj);
	expect_stat(test, &t, t.file, "shared-window", SIZE);
	expect_stat(test, &t, t.file, "total-window", 2 * SIZE);
	expect_stat(test, &t, other, "shared-window", SIZE);
	expect_stat(test, &t, other, "total-window", SIZE);

	virtgpu_kunit_close(t.f, other);
	expect_stat(test, &t, t.file, "shared-window", 0);

	finish(&t);
}

/* Has the host busy with a command that uses the blobs. */
static void use(struct kunit *test, struct stats_test *t, u32 *handles, u32 number)
{
	struct drm_virtgpu_execbuffer exec = {
		.size = 4,
		.num_bo_handles = number,
		.fence_fd = -1,
	};
	unsigned long addr;

	addr = kunit_vm_mmap(test, NULL, 0, PAGE_SIZE, PROT_READ | PROT_WRITE,
			     MAP_PRIVATE | MAP_ANONYMOUS, 0);
	KUNIT_ASSERT_TRUE(test, addr && !IS_ERR_VALUE(addr));
	exec.command = addr;
	exec.bo_handles = addr + exec.size;
	KUNIT_ASSERT_EQ(test, copy_to_user(u64_to_user_ptr(exec.bo_handles), handles,
					   number * sizeof(*handles)), 0);
	KUNIT_ASSERT_EQ(test, virtgpu_kunit_ioctl(t->file, DRM_IOCTL_VIRTGPU_EXECBUFFER, &exec), 0);
}

/* Active is what a command uses that the host has not answered, if it is resident. */
static void active_is_what_a_command_uses(struct kunit *test)
{
	struct stats_test t = make(test, &virtgpu_fake_defaults);
	u32 handles[3];

	handles[0] = virtgpu_kunit_mappable(test, t.file, SIZE, 0);
	handles[1] = virtgpu_kunit_mappable(test, t.file, SIZE, DEFER);
	handles[2] = unmappable(test, &t);
	virtgpu_kunit_mappable(test, t.file, SIZE, 0);
	virtgpu_fake_settle(t.f);
	virtgpu_fake_hold(t.f, VIRTIO_GPU_CMD_SUBMIT_3D);
	use(test, &t, handles, ARRAY_SIZE(handles));
	KUNIT_ASSERT_TRUE(test, virtgpu_fake_wait_held(t.f, 1));
	expect_stat(test, &t, t.file, "active-window", SIZE);
	expect_stat(test, &t, t.file, "active-host", SIZE);
	expect_stat(test, &t, t.file, "active-memory", 0);

	virtgpu_fake_unhold(t.f, VIRTIO_GPU_CMD_SUBMIT_3D);
	virtgpu_fake_release_all(t.f, VIRTIO_GPU_RESP_OK_NODATA);
	virtgpu_fake_settle(t.f);
	expect_stat(test, &t, t.file, "active-window", 0);
	expect_stat(test, &t, t.file, "active-host", 0);

	finish(&t);
}

/* What is exported is shared, and mapped no sooner. */
static void exported_is_shared(struct kunit *test)
{
	struct stats_test t = make(test, &virtgpu_fake_defaults);
	u32 handle = virtgpu_kunit_mappable(test, t.file, SIZE, DEFER);
	struct dma_buf *dma_buf;

	dma_buf = drm_gem_prime_handle_to_dmabuf(virtgpu_fake_drm(t.f), t.file->private_data,
						 handle, O_RDWR);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, dma_buf);
	expect_mapped(test, &t, 0);
	expect_stat(test, &t, t.file, "total-window", SIZE);
	expect_stat(test, &t, t.file, "shared-window", SIZE);
	dma_buf_put(dma_buf);
	flush_delayed_fput();

	finish(&t);
}

/*
 * Somebody else's memory, which the driver imports: one page at an address it does not look at.
 */
static struct sg_table *theirs_map(struct dma_buf_attachment *attach, enum dma_data_direction dir)
{
	struct sg_table *sgt = kzalloc(sizeof(*sgt), GFP_KERNEL);

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

static void theirs_unmap(struct dma_buf_attachment *attach, struct sg_table *sgt,
			 enum dma_data_direction dir)
{
	sg_free_table(sgt);
	kfree(sgt);
}

static void theirs_release(struct dma_buf *dma_buf)
{
}

static const struct dma_buf_ops theirs_ops = {
	.map_dma_buf = theirs_map,
	.unmap_dma_buf = theirs_unmap,
	.release = theirs_release,
};

/* What is imported is memory, not of the window, and shared, as the exporter has it, too. */
static void imported_is_shared_memory(struct kunit *test)
{
	DEFINE_DMA_BUF_EXPORT_INFO(info);
	struct virtgpu_fake_params params = virtgpu_fake_defaults;
	struct dma_buf *dma_buf;
	struct stats_test t;
	u32 handle;
	int fd, ret;

	/* with 3D the driver imports nothing */
	params.features &= ~BIT_ULL(VIRTIO_GPU_F_VIRGL);
	t = make(test, &params);
	info.ops = &theirs_ops;
	info.size = SIZE;
	info.flags = O_RDWR;
	info.priv = test;
	dma_buf = dma_buf_export(&info);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, dma_buf);
	fd = dma_buf_fd(dma_buf, O_CLOEXEC);
	if (fd < 0)
		dma_buf_put(dma_buf);
	KUNIT_ASSERT_GE(test, fd, 0);
	ret = drm_gem_prime_fd_to_handle(virtgpu_fake_drm(t.f), t.file->private_data, fd, &handle);
	close_fd(fd);
	flush_delayed_fput();
	KUNIT_ASSERT_EQ(test, ret, 0);

	expect_stat(test, &t, t.file, "total-memory", SIZE);
	expect_stat(test, &t, t.file, "shared-memory", SIZE);
	expect_stat(test, &t, t.file, "resident-memory", SIZE);
	expect_stat(test, &t, t.file, "total-window", 0);
	KUNIT_EXPECT_EQ(test, virtgpu_kunit_delete(t.file, handle), 0);
	expect_stat(test, &t, t.file, "total-memory", 0);

	finish(&t);
}

/* A blob the host refused to map shows why, and that it was mapped when it was. */
static void refusal_is_shown(struct kunit *test)
{
	struct stats_test t = make(test, &virtgpu_fake_defaults);
	u32 handle = virtgpu_kunit_mappable(test, t.file, SIZE, DEFER);

	virtgpu_fake_settle(t.f);
	virtgpu_fake_reply(t.f, MAP_BLOB, VIRTIO_GPU_RESP_ERR_OUT_OF_MEMORY, 1);
	KUNIT_EXPECT_EQ(test, map(&t, handle), -ENOMEM);
	expect_mapped(test, &t, 0);
	expect_line(test, &t, handle, &(struct line){ "deferred", "unmapped", "-", 0, -ENOMEM });

	KUNIT_EXPECT_EQ(test, map(&t, handle), 0);
	KUNIT_EXPECT_EQ(test, map(&t, handle), 0);
	expect_mapped(test, &t, 1);
	expect_line(test, &t, handle, &(struct line){ "deferred", "mapped", "0x0", 1, -ENOMEM });

	finish(&t);
}

/*
 * A window without room is told of in the blob's line, and once for the device, with its use. A
 * blob larger than the window says nothing about that.
 */
static void full_window_is_shown(struct kunit *test)
{
	struct virtgpu_fake_params params = virtgpu_fake_defaults;
	struct stats_test t;
	u32 eager, deferred, large;

	params.window = SIZE;
	t = make(test, &params);
	large = virtgpu_kunit_mappable(test, t.file, 2 * SIZE, DEFER);
	KUNIT_EXPECT_EQ(test, virtgpu_kunit_mmap(t.f, t.file, virtgpu_kunit_offset(t.file, large),
						 2 * SIZE), -ENOSPC);
	KUNIT_EXPECT_FALSE(test, virtgpu_fake_vgdev(t.f)->host_visible_told);
	KUNIT_EXPECT_EQ(test, virtgpu_kunit_delete(t.file, large), 0);
	eager = virtgpu_kunit_mappable(test, t.file, SIZE, 0);
	deferred = virtgpu_kunit_mappable(test, t.file, SIZE, DEFER);
	virtgpu_fake_settle(t.f);
	KUNIT_EXPECT_EQ(test, map(&t, deferred), -ENOSPC);
	KUNIT_EXPECT_TRUE(test, virtgpu_fake_vgdev(t.f)->host_visible_told);
	KUNIT_EXPECT_EQ(test, virtgpu_fake_vgdev(t.f)->host_visible_used, SIZE);
	expect_mapped(test, &t, 1);
	expect_line(test, &t, eager, &(struct line){ "eager", "mapped", "0x0", 1, 0 });
	expect_line(test, &t, deferred, &(struct line){ "deferred", "unmapped", "-", 0, -ENOSPC });

	KUNIT_EXPECT_EQ(test, virtgpu_kunit_delete(t.file, eager), 0);
	expect_mapped(test, &t, 0);
	KUNIT_EXPECT_EQ(test, virtgpu_fake_vgdev(t.f)->host_visible_used, 0);
	KUNIT_EXPECT_EQ(test, map(&t, deferred), 0);
	expect_mapped(test, &t, 1);

	finish(&t);
}

/* The list loses a blob when the host has freed it, and has it until then, handle or not. */
static void list_has_blobs_without_a_handle(struct kunit *test)
{
	struct stats_test t = make(test, &virtgpu_fake_defaults);
	u32 handle = virtgpu_kunit_mappable(test, t.file, SIZE, DEFER);

	virtgpu_fake_settle(t.f);
	virtgpu_fake_hold(t.f, VIRTIO_GPU_CMD_RESOURCE_UNREF);
	KUNIT_EXPECT_EQ(test, virtgpu_kunit_delete(t.file, handle), 0);
	KUNIT_ASSERT_TRUE(test, virtgpu_fake_wait_held(t.f, 1));
	expect_stat(test, &t, t.file, "total-window", 0);
	KUNIT_EXPECT_NOT_NULL(test, strstr(debugfs(test, &t, "virtio-gpu-host-blobs"), "deferred"));
	virtgpu_fake_unhold(t.f, VIRTIO_GPU_CMD_RESOURCE_UNREF);
	virtgpu_fake_release_all(t.f, VIRTIO_GPU_RESP_OK_NODATA);

	finish(&t);
	KUNIT_EXPECT_NULL(test, strstr(debugfs(test, &t, "virtio-gpu-host-blobs"), "deferred"));
}

/* Of a device that is gone nothing is shown. */
static void nothing_is_shown_of_an_unplugged_device(struct kunit *test)
{
	struct stats_test t = make(test, &virtgpu_fake_defaults);

	virtgpu_kunit_mappable(test, t.file, SIZE, 0);
	virtgpu_fake_settle(t.f);
	KUNIT_ASSERT_TRUE(test, virtgpu_kunit_unplug(t.f));
	KUNIT_EXPECT_STREQ(test, fdinfo(test, &t, t.file), "\n");

	virtgpu_kunit_close(t.f, t.file);
}

static struct kunit_case virtio_gpu_stats_cases[] = {
	KUNIT_CASE(window_has_what_is_mapped),
	KUNIT_CASE(mapping_in_flight_is_not_resident),
	KUNIT_CASE(unmappable_blobs_are_the_hosts),
	KUNIT_CASE(guest_blobs_are_memory),
	KUNIT_CASE(shared_is_what_two_have),
	KUNIT_CASE(active_is_what_a_command_uses),
	KUNIT_CASE(exported_is_shared),
	KUNIT_CASE(imported_is_shared_memory),
	KUNIT_CASE(refusal_is_shown),
	KUNIT_CASE(full_window_is_shown),
	KUNIT_CASE(list_has_blobs_without_a_handle),
	KUNIT_CASE(nothing_is_shown_of_an_unplugged_device),
	{}
};

static struct kunit_suite virtio_gpu_stats_suite = {
	.name = "virtio_gpu_stats",
	.test_cases = virtio_gpu_stats_cases,
};

kunit_test_suite(virtio_gpu_stats_suite);

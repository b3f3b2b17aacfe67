// SPDX-License-Identifier: GPL-2.0
/*
 * The driver on the fake device: probe, use, unplug. What fails here fails in every other suite.
 */

#include <kunit/test.h>
#include <linux/completion.h>
#include <linux/cpumask.h>
#include <linux/debugfs.h>
#include <linux/sched.h>
#include <linux/seq_file.h>
#include <linux/sizes.h>
#include <linux/virtio_ring.h>

#include <drm/drm_debugfs.h>
#include <drm/drm_drv.h>
#include <drm/drm_file.h>

#include "../virtgpu_drv.h"
#include "virtgpu_fake.h"
#include "virtgpu_kunit_base.h"
#include "virtgpu_kunit_helpers.h"

#define BLOB_SIZE	(2 * PAGE_SIZE)

/* A device without some of the features of the default one. */
static struct virtgpu_fake_params without(u64 features)
{
	struct virtgpu_fake_params params = virtgpu_fake_defaults;

	params.features &= ~features;
	return params;
}

/* Create a blob, map it into a process, and free it. */
static void use_blob(struct kunit *test, struct virtgpu_fake *f)
{
	struct drm_virtgpu_resource_create_blob rc =
		virtgpu_kunit_blob(BLOB_SIZE, VIRTGPU_BLOB_FLAG_USE_MAPPABLE);
	struct file *file = virtgpu_kunit_open(f);
	u64 offset;

	KUNIT_ASSERT_EQ(test, virtgpu_kunit_create_blob(file, &rc), 0);
	KUNIT_ASSERT_EQ(test, virtgpu_kunit_map_ioctl(file, rc.bo_handle, &offset), 0);
	KUNIT_EXPECT_EQ(test, virtgpu_kunit_mmap(f, file, offset, BLOB_SIZE), 0);
	KUNIT_EXPECT_EQ(test, virtgpu_kunit_delete(file, rc.bo_handle), 0);
	virtgpu_kunit_close(f, file);
	virtgpu_kunit_expect_clean(f);
}

static void use_device(struct kunit *test, const struct virtgpu_fake_params *params)
{
	struct virtgpu_fake *f = virtgpu_fake_create(test, params);

	use_blob(test, f);
	KUNIT_EXPECT_TRUE(test, virtgpu_fake_unplug(f));
}

/* The driver accepts what it knows of what the device offers, and sends no command until asked. */
static void probe_sends_nothing(struct kunit *test)
{
	struct virtgpu_fake *f = virtgpu_fake_create(test, &virtgpu_fake_defaults);
	struct virtio_gpu_device *vgdev = virtgpu_fake_vgdev(f);
	const struct virtio_shm_region *window = virtgpu_fake_window(f);

	KUNIT_EXPECT_EQ(test, virtgpu_fake_features(f), virtgpu_fake_defaults.features);
	KUNIT_EXPECT_TRUE(test, vgdev->has_virgl_3d);
	KUNIT_EXPECT_TRUE(test, vgdev->has_resource_blob);
	KUNIT_EXPECT_TRUE(test, vgdev->has_context_init);
	KUNIT_EXPECT_TRUE(test, vgdev->has_host_visible);
	KUNIT_EXPECT_EQ(test, vgdev->host_visible_region.addr, window->addr);
	KUNIT_EXPECT_EQ(test, vgdev->host_visible_region.len, SZ_1M);

	virtgpu_fake_settle(f);
	KUNIT_EXPECT_EQ(test, virtgpu_fake_mark(f), 0);
	KUNIT_EXPECT_TRUE(test, virtgpu_fake_unplug(f));
	KUNIT_EXPECT_EQ(test, virtgpu_fake_mark(f), 0);
	KUNIT_EXPECT_NULL(test, virtgpu_fake_drm(f));
}

/* Unplugging gives back everything that probing took. */
static void probe_and_unplug_again(struct kunit *test)
{
	unsigned int i;

	for (i = 0; i < 20; i++) {
		struct virtgpu_fake *f = virtgpu_fake_create(test, &virtgpu_fake_defaults);

		KUNIT_ASSERT_TRUE(test, virtgpu_fake_unplug(f));
		KUNIT_ASSERT_TRUE(test, virtgpu_fake_unplug(f));
		KUNIT_ASSERT_NULL(test, virtgpu_fake_drm(f));
	}
}

/* A device that is still there when the test ends is unplugged then. */
static void unplug_is_automatic(struct kunit *test)
{
	struct virtgpu_fake *f = virtgpu_fake_create(test, &virtgpu_fake_defaults);

	virtgpu_kunit_open(f);
}

/* The context is created when it is needed, so that opening and closing sends no command. */
static void open_and_close_send_nothing(struct kunit *test)
{
	struct virtgpu_fake *f = virtgpu_fake_create(test, &virtgpu_fake_defaults);
	struct file *files[8];
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(files); i++)
		files[i] = virtgpu_kunit_open(f);
	for (i = 0; i < ARRAY_SIZE(files); i++)
		virtgpu_kunit_close(f, files[i]);

	virtgpu_kunit_expect_clean(f);
	KUNIT_EXPECT_EQ(test, virtgpu_fake_mark(f), 0);
	KUNIT_EXPECT_EQ(test, virtgpu_fake_kicks(f), 0);
}

/* A file that is open keeps the DRM device after the device is unplugged. */
static void file_outlives_device(struct kunit *test)
{
	struct virtgpu_fake *f = virtgpu_fake_create(test, &virtgpu_fake_defaults);
	struct file *file = virtgpu_kunit_open(f);
	u64 offset;

	KUNIT_EXPECT_TRUE(test, virtgpu_fake_unplug(f));
	KUNIT_EXPECT_NOT_NULL(test, virtgpu_fake_drm(f));
	KUNIT_EXPECT_EQ(test, virtgpu_kunit_map_ioctl(file, 1, &offset), -ENODEV);
	virtgpu_kunit_close(f, file);
	KUNIT_EXPECT_NULL(test, virtgpu_fake_drm(f));
}

/*
 * A mappable blob without a guest part is mapped in the window when it is created, unmapped before
 * it is unreferenced, and both cost the device one kick.
 */
static void blob_command_sequence(struct kunit *test)
{
	struct virtgpu_fake *f = virtgpu_fake_create(test, &virtgpu_fake_defaults);
	struct drm_virtgpu_resource_create_blob rc =
		virtgpu_kunit_blob(BLOB_SIZE, VIRTGPU_BLOB_FLAG_USE_MAPPABLE);
	struct file *file = virtgpu_kunit_open(f);
	const struct virtgpu_fake_cmd *cmd;
	unsigned int mark;

	KUNIT_ASSERT_EQ(test, virtgpu_kunit_create_blob(file, &rc), 0);
	virtgpu_fake_settle(f);
	KUNIT_EXPECT_STREQ(test, virtgpu_fake_cmds(f, 0),
			   "CTX_CREATE CREATE_BLOB MAP_BLOB CTX_ATTACH");
	KUNIT_EXPECT_EQ(test, virtgpu_fake_kicks(f), 1);
	KUNIT_EXPECT_EQ(test, virtgpu_fake_resources(f), 1);
	KUNIT_EXPECT_EQ(test, virtgpu_fake_mapped(f), 1);
	KUNIT_EXPECT_EQ(test, virtgpu_fake_contexts(f), 1);

	cmd = virtgpu_fake_nth(f, VIRTIO_GPU_CMD_RESOURCE_CREATE_BLOB, 0);
	KUNIT_ASSERT_NOT_NULL(test, cmd);
	KUNIT_EXPECT_EQ(test, cmd->resource_id, rc.res_handle);
	KUNIT_EXPECT_EQ(test, cmd->size, BLOB_SIZE);
	KUNIT_EXPECT_EQ(test, cmd->blob_id, rc.blob_id);
	KUNIT_EXPECT_EQ(test, cmd->blob_mem, VIRTIO_GPU_BLOB_MEM_HOST3D);
	KUNIT_EXPECT_EQ(test, cmd->blob_flags, VIRTIO_GPU_BLOB_FLAG_USE_MAPPABLE);
	KUNIT_EXPECT_TRUE(test, cmd->indirect);

	cmd = virtgpu_fake_nth(f, VIRTIO_GPU_CMD_RESOURCE_MAP_BLOB, 0);
	KUNIT_ASSERT_NOT_NULL(test, cmd);
	KUNIT_EXPECT_EQ(test, cmd->resource_id, rc.res_handle);
	KUNIT_EXPECT_LT(test, cmd->offset, SZ_1M);
	KUNIT_EXPECT_NULL(test, virtgpu_fake_nth(f, VIRTIO_GPU_CMD_RESOURCE_MAP_BLOB, 1));

	mark = virtgpu_fake_mark(f);
	KUNIT_EXPECT_EQ(test, virtgpu_kunit_delete(file, rc.bo_handle), 0);
	virtgpu_fake_settle(f);
	KUNIT_EXPECT_STREQ(test, virtgpu_fake_cmds(f, mark), "CTX_DETACH UNMAP_BLOB UNREF");

	mark = virtgpu_fake_mark(f);
	virtgpu_kunit_close(f, file);
	virtgpu_fake_settle(f);
	KUNIT_EXPECT_STREQ(test, virtgpu_fake_cmds(f, mark), "CTX_DESTROY");
	virtgpu_kunit_expect_clean(f);
}

/* What a process maps are the pages of the window the device was told to put the blob at. */
static void mmap_reaches_window(struct kunit *test)
{
	struct virtgpu_fake *f = virtgpu_fake_create(test, &virtgpu_fake_defaults);
	struct drm_virtgpu_resource_create_blob rc =
		virtgpu_kunit_blob(BLOB_SIZE, VIRTGPU_BLOB_FLAG_USE_MAPPABLE);
	struct file *file = virtgpu_kunit_open(f);
	struct virtgpu_kunit_mmapper *m;
	const struct virtgpu_fake_cmd *cmd;
	unsigned long pfn;
	u64 offset;
	size_t i;

	KUNIT_ASSERT_EQ(test, virtgpu_kunit_create_blob(file, &rc), 0);
	KUNIT_ASSERT_EQ(test, virtgpu_kunit_map_ioctl(file, rc.bo_handle, &offset), 0);
	KUNIT_EXPECT_EQ(test, offset, virtgpu_kunit_offset(file, rc.bo_handle));
	m = virtgpu_kunit_mmap_start(f, file, offset, BLOB_SIZE);
	KUNIT_ASSERT_TRUE(test, virtgpu_kunit_mmap_wait(m));
	KUNIT_ASSERT_EQ(test, virtgpu_kunit_mmap_error(m), 0);

	cmd = virtgpu_fake_nth(f, VIRTIO_GPU_CMD_RESOURCE_MAP_BLOB, 0);
	KUNIT_ASSERT_NOT_NULL(test, cmd);
	for (i = 0; i < BLOB_SIZE / PAGE_SIZE; i++) {
		KUNIT_ASSERT_EQ(test, virtgpu_kunit_mmap_pfn(m, i, &pfn, NULL), 0);
		KUNIT_EXPECT_EQ(test, (u64)pfn << PAGE_SHIFT,
				virtgpu_fake_window(f)->addr + cmd->offset + i * PAGE_SIZE);
	}

	/* A mapping keeps the blob and the file. */
	virtgpu_kunit_close(f, file);
	virtgpu_fake_settle(f);
	KUNIT_EXPECT_EQ(test, virtgpu_fake_mapped(f), 1);
	KUNIT_EXPECT_TRUE(test, virtgpu_kunit_munmap(m));
	virtgpu_kunit_expect_clean(f);
}

/* Without indirect descriptors a command takes a descriptor for each of its parts. */
static void works_without_indirect(struct kunit *test)
{
	struct virtgpu_fake_params params = without(BIT_ULL(VIRTIO_RING_F_INDIRECT_DESC));
	struct virtgpu_fake *f = virtgpu_fake_create(test, &params);
	const struct virtgpu_fake_cmd *cmd;

	use_blob(test, f);
	cmd = virtgpu_fake_nth(f, VIRTIO_GPU_CMD_RESOURCE_MAP_BLOB, 0);
	KUNIT_ASSERT_NOT_NULL(test, cmd);
	KUNIT_EXPECT_FALSE(test, cmd->indirect);
}

/* Without event indices the driver kicks, and the device interrupts, each time. */
static void works_without_event_idx(struct kunit *test)
{
	struct virtgpu_fake_params params = without(BIT_ULL(VIRTIO_RING_F_EVENT_IDX));

	use_device(test, &params);
}

/* Contexts have no type without VIRTIO_GPU_F_CONTEXT_INIT. */
static void works_without_context_init(struct kunit *test)
{
	struct virtgpu_fake_params params = without(BIT_ULL(VIRTIO_GPU_F_CONTEXT_INIT));

	use_device(test, &params);
}

/* A queue of four descriptors is full most of the time. */
static void works_with_small_queue(struct kunit *test)
{
	struct virtgpu_fake_params params = virtgpu_fake_defaults;

	params.vq_num = 4;
	use_device(test, &params);
	params.features &= ~BIT_ULL(VIRTIO_RING_F_INDIRECT_DESC);
	use_device(test, &params);
}

/* A device need not have a window; a blob that need not be mapped does without. */
static void works_without_window(struct kunit *test)
{
	struct drm_virtgpu_resource_create_blob rc = virtgpu_kunit_blob(BLOB_SIZE, 0);
	struct virtgpu_fake_params params = virtgpu_fake_defaults;
	struct virtgpu_fake *f;
	struct file *file;

	params.window = 0;
	f = virtgpu_fake_create(test, &params);
	KUNIT_EXPECT_FALSE(test, virtgpu_fake_vgdev(f)->has_host_visible);
	file = virtgpu_kunit_open(f);
	KUNIT_EXPECT_EQ(test, virtgpu_kunit_create_blob(file, &rc), 0);
	virtgpu_kunit_close(f, file);
	virtgpu_kunit_expect_clean(f);
	KUNIT_EXPECT_EQ(test, virtgpu_fake_count(f, VIRTIO_GPU_CMD_RESOURCE_MAP_BLOB), 0);
}

/* A window may be larger than the memory of the machine, and begin anywhere. */
static void works_with_huge_window(struct kunit *test)
{
	struct virtgpu_fake_params params = virtgpu_fake_defaults;

	params.window = 64ULL * SZ_1G;
	params.window_skew = 3 * PAGE_SIZE;
	use_device(test, &params);
}

/**
 * struct dump_data - dumps the window's allocator, on another CPU than the test's
 * @node: the file in debugfs
 * @cpu: the other CPU
 * @chosen: @cpu is valid
 * @there: the task is on it
 * @go: it is to dump
 * @done: it has
 */
struct dump_data {
	struct drm_info_node *node;
	unsigned int cpu;
	struct completion chosen;
	struct completion there;
	struct completion go;
	struct completion done;
};

static long dump_fn(void *data)
{
	static char buf[PAGE_SIZE];
	struct dump_data *dump = data;
	struct seq_file m = {
		.private = dump->node,
		.buf = buf,
		.size = sizeof(buf),
	};
	long ret;

	wait_for_completion(&dump->chosen);
	ret = set_cpus_allowed_ptr(current, cpumask_of(dump->cpu));
	complete(&dump->there);
	wait_for_completion(&dump->go);
	if (!ret)
		ret = dump->node->info_ent->show(&m, NULL);
	complete(&dump->done);

	return ret;
}

static void dput_node(void *dentry)
{
	dput(dentry);
}

/* The window's allocator is dumped to debugfs with its lock held, lest it change meanwhile. */
static void dump_of_the_window_is_locked(struct kunit *test)
{
	struct virtgpu_fake *f = virtgpu_fake_create(test, &virtgpu_fake_defaults);
	spinlock_t *lock = &virtgpu_fake_vgdev(f)->host_visible_lock;
	struct virtgpu_kunit_thread *thread;
	struct dump_data *dump;
	unsigned long end;
	struct dentry *dentry;
	bool ended = false, there;

	if (num_online_cpus() < 2)
		kunit_skip(test, "needs two CPUs, to meet at a lock");
	if (!IS_ENABLED(CONFIG_DEBUG_FS))
		kunit_skip(test, "needs CONFIG_DEBUG_FS");
	if (IS_ENABLED(CONFIG_PREEMPT_RT))
		kunit_skip(test, "needs a spinlock that spins");

	dump = kunit_kzalloc(test, sizeof(*dump), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, dump);
	init_completion(&dump->chosen);
	init_completion(&dump->there);
	init_completion(&dump->go);
	init_completion(&dump->done);
	dentry = debugfs_lookup("virtio-gpu-host-visible-mm",
				virtgpu_fake_drm(f)->primary->debugfs_root);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, dentry);
	KUNIT_ASSERT_EQ(test, kunit_add_action_or_reset(test, dput_node, dentry), 0);
	dump->node = d_inode(dentry)->i_private;

	thread = virtgpu_kunit_thread_run(f, "virtgpu-dump", dump_fn, dump);
	migrate_disable();
	dump->cpu = cpumask_any_but(cpu_online_mask, smp_processor_id());
	complete(&dump->chosen);
	there = wait_for_completion_timeout(&dump->there, VIRTGPU_FAKE_TIMEOUT);
	end = jiffies + HZ;
	spin_lock(lock);
	complete(&dump->go);
	/* Not every kind of lock tells that somebody waits for it: then a second has to do. */
	while (there && !ended && !spin_is_contended(lock) && time_before(jiffies, end)) {
		ended = completion_done(&dump->done);
		cpu_relax();
	}
	spin_unlock(lock);
	migrate_enable();

	KUNIT_ASSERT_TRUE(test, virtgpu_kunit_thread_wait(thread));
	KUNIT_ASSERT_EQ(test, virtgpu_kunit_thread_result(thread), 0);
	KUNIT_EXPECT_TRUE(test, there);
	KUNIT_EXPECT_FALSE_MSG(test, ended, "it does not take the lock");
}

/* The driver asks a device for its capability sets when it probes it. */
static void probe_reads_capsets(struct kunit *test)
{
	struct virtgpu_fake_params params = virtgpu_fake_defaults;
	struct virtio_gpu_device *vgdev;
	struct virtgpu_fake *f;

	params.num_capsets = 2;
	f = virtgpu_fake_create(test, &params);
	KUNIT_EXPECT_STREQ(test, virtgpu_fake_cmds(f, 0), "GET_CAPSET_INFO GET_CAPSET_INFO");
	vgdev = virtgpu_fake_vgdev(f);
	KUNIT_ASSERT_EQ(test, vgdev->num_capsets, 2);
	KUNIT_EXPECT_EQ(test, vgdev->capsets[0].id, VIRTIO_GPU_CAPSET_VIRGL);
	KUNIT_EXPECT_EQ(test, vgdev->capsets[1].id, VIRTIO_GPU_CAPSET_VIRGL2);
}

/* The driver asks a device with scanouts what is connected to them. */
static void probe_reads_displays(struct kunit *test)
{
	struct virtgpu_fake_params params = virtgpu_fake_defaults;
	struct virtgpu_fake *f;

	if (!IS_ENABLED(CONFIG_DRM_VIRTIO_GPU_KMS))
		kunit_skip(test, "the driver has no KMS");

	params.features |= BIT_ULL(VIRTIO_GPU_F_EDID);
	params.num_scanouts = 1;
	f = virtgpu_fake_create(test, &params);
	KUNIT_EXPECT_EQ(test, virtgpu_fake_vgdev(f)->num_scanouts, 1);
	KUNIT_EXPECT_EQ(test, virtgpu_fake_count(f, VIRTIO_GPU_CMD_GET_EDID), 1);
	KUNIT_EXPECT_EQ(test, virtgpu_fake_count(f, VIRTIO_GPU_CMD_GET_DISPLAY_INFO), 1);
	KUNIT_EXPECT_TRUE(test, virtgpu_fake_unplug(f));
}

/* Two devices share nothing. */
static void two_devices(struct kunit *test)
{
	struct virtgpu_fake *a = virtgpu_fake_create(test, &virtgpu_fake_defaults);
	struct virtgpu_fake *b = virtgpu_fake_create(test, &virtgpu_fake_defaults);

	use_blob(test, a);
	KUNIT_EXPECT_EQ(test, virtgpu_fake_mark(b), 0);
	use_blob(test, b);
	KUNIT_EXPECT_TRUE(test, virtgpu_fake_unplug(a));
	use_blob(test, b);
}

/* Held commands are answered in any order, as the test says. */
static void fake_holds_and_releases(struct kunit *test)
{
	struct virtgpu_fake *f = virtgpu_fake_create(test, &virtgpu_fake_defaults);
	struct drm_virtgpu_resource_create_blob rc[3];
	struct virtgpu_kunit_mmapper *m[3];
	struct file *file = virtgpu_kunit_open(f);
	unsigned int i;

	virtgpu_fake_hold(f, VIRTIO_GPU_CMD_RESOURCE_MAP_BLOB);
	for (i = 0; i < ARRAY_SIZE(rc); i++) {
		rc[i] = virtgpu_kunit_blob(BLOB_SIZE, VIRTGPU_BLOB_FLAG_USE_MAPPABLE);
		KUNIT_ASSERT_EQ(test, virtgpu_kunit_create_blob(file, &rc[i]), 0);
		m[i] = virtgpu_kunit_mmap_start(f, file,
						virtgpu_kunit_offset(file, rc[i].bo_handle),
						BLOB_SIZE);
	}
	KUNIT_ASSERT_TRUE(test, virtgpu_fake_wait_held(f, 3));
	KUNIT_EXPECT_EQ(test, virtgpu_fake_held_cmd(f, 1)->resource_id, rc[1].res_handle);
	for (i = 0; i < ARRAY_SIZE(rc); i++)
		KUNIT_EXPECT_TRUE(test, virtgpu_kunit_thread_wait_asleep(m[i]->thread));

	virtgpu_fake_release(f, 1, 0);
	KUNIT_EXPECT_TRUE(test, virtgpu_kunit_mmap_wait(m[1]));
	KUNIT_EXPECT_EQ(test, virtgpu_kunit_mmap_error(m[1]), 0);
	KUNIT_EXPECT_FALSE(test, completion_done(&m[0]->returned));
	KUNIT_EXPECT_FALSE(test, completion_done(&m[2]->returned));
	KUNIT_EXPECT_EQ(test, virtgpu_fake_held(f), 2);

	virtgpu_fake_release_all(f, 0);
	for (i = 0; i < ARRAY_SIZE(rc); i++) {
		KUNIT_EXPECT_TRUE(test, virtgpu_kunit_mmap_wait(m[i]));
		KUNIT_EXPECT_EQ(test, virtgpu_kunit_mmap_error(m[i]), 0);
		KUNIT_EXPECT_TRUE(test, virtgpu_kunit_munmap(m[i]));
	}
	virtgpu_kunit_close(f, file);
	virtgpu_kunit_expect_clean(f);
}

/* While the device is mute, the driver does not learn of answers that are there. */
static void fake_mutes(struct kunit *test)
{
	struct virtgpu_fake *f = virtgpu_fake_create(test, &virtgpu_fake_defaults);
	struct drm_virtgpu_resource_create_blob rc =
		virtgpu_kunit_blob(BLOB_SIZE, VIRTGPU_BLOB_FLAG_USE_MAPPABLE);
	struct file *file = virtgpu_kunit_open(f);
	struct virtgpu_kunit_mmapper *m;

	virtgpu_fake_mute(f, true);
	KUNIT_ASSERT_EQ(test, virtgpu_kunit_create_blob(file, &rc), 0);
	m = virtgpu_kunit_mmap_start(f, file, virtgpu_kunit_offset(file, rc.bo_handle), BLOB_SIZE);
	KUNIT_EXPECT_TRUE(test, virtgpu_fake_wait(f, VIRTIO_GPU_CMD_RESOURCE_MAP_BLOB, 1));
	KUNIT_EXPECT_TRUE(test, virtgpu_kunit_thread_wait_asleep(m->thread));
	KUNIT_EXPECT_EQ(test, virtgpu_fake_irqs(f), 0);
	KUNIT_EXPECT_FALSE(test, completion_done(&m->returned));

	virtgpu_fake_mute(f, false);
	KUNIT_EXPECT_TRUE(test, virtgpu_kunit_mmap_wait(m));
	KUNIT_EXPECT_EQ(test, virtgpu_kunit_mmap_error(m), 0);
	KUNIT_EXPECT_TRUE(test, virtgpu_kunit_munmap(m));
	virtgpu_kunit_close(f, file);
	virtgpu_kunit_expect_clean(f);
}

static long fill_queue(void *data)
{
	struct drm_virtgpu_resource_create_blob rc;
	unsigned int i;
	int ret = 0;

	for (i = 0; i < 16 && !ret; i++) {
		rc = virtgpu_kunit_blob(BLOB_SIZE, 0);
		ret = virtgpu_kunit_create_blob(data, &rc);
	}

	return ret;
}

/* While the device is stalled, a queue runs full and who sends a command waits. */
static void fake_stalls(struct kunit *test)
{
	struct virtgpu_fake_params params = virtgpu_fake_defaults;
	struct virtgpu_kunit_thread *thread;
	struct virtgpu_fake *f;
	struct file *file;

	params.vq_num = 8;
	f = virtgpu_fake_create(test, &params);
	file = virtgpu_kunit_open(f);
	virtgpu_fake_stall(f, true);
	thread = virtgpu_kunit_thread_run(f, "virtgpu-fill", fill_queue, file);
	KUNIT_EXPECT_TRUE(test, virtgpu_kunit_thread_wait_asleep(thread));
	KUNIT_EXPECT_EQ(test, virtgpu_fake_mark(f), 0);

	virtgpu_fake_stall(f, false);
	KUNIT_ASSERT_TRUE(test, virtgpu_kunit_thread_wait(thread));
	KUNIT_EXPECT_EQ(test, virtgpu_kunit_thread_result(thread), 0);
	virtgpu_kunit_close(f, file);
	virtgpu_kunit_expect_clean(f);
	KUNIT_EXPECT_EQ(test, virtgpu_fake_count(f, VIRTIO_GPU_CMD_RESOURCE_CREATE_BLOB), 16);
}

/* An answer the test asked for is given as often as it said. */
static void fake_refuses(struct kunit *test)
{
	struct virtgpu_fake *f = virtgpu_fake_create(test, &virtgpu_fake_defaults);
	struct drm_virtgpu_resource_create_blob rc;
	struct file *file = virtgpu_kunit_open(f);
	const struct virtgpu_fake_cmd *cmd;
	unsigned int i;

	virtgpu_fake_reply(f, VIRTIO_GPU_CMD_CTX_ATTACH_RESOURCE, VIRTIO_GPU_RESP_ERR_UNSPEC, 1);
	virtgpu_fake_reply(f, VIRTIO_GPU_CMD_RESOURCE_CREATE_BLOB,
			   VIRTIO_GPU_RESP_ERR_OUT_OF_MEMORY, 2);
	for (i = 0; i < 4; i++) {
		rc = virtgpu_kunit_blob(BLOB_SIZE, 0);
		KUNIT_ASSERT_EQ(test, virtgpu_kunit_create_blob(file, &rc), 0);
	}
	virtgpu_fake_settle(f);
	for (i = 0; i < 4; i++) {
		cmd = virtgpu_fake_nth(f, VIRTIO_GPU_CMD_RESOURCE_CREATE_BLOB, i);
		KUNIT_ASSERT_NOT_NULL(test, cmd);
		KUNIT_EXPECT_EQ(test, cmd->resp, i < 2 ? VIRTIO_GPU_RESP_ERR_OUT_OF_MEMORY :
							 VIRTIO_GPU_RESP_OK_NODATA);
	}
	/* the first attachment that the device did not have to refuse anyway */
	cmd = virtgpu_fake_nth(f, VIRTIO_GPU_CMD_CTX_ATTACH_RESOURCE, 3);
	KUNIT_ASSERT_NOT_NULL(test, cmd);
	KUNIT_EXPECT_EQ(test, cmd->resp, VIRTIO_GPU_RESP_OK_NODATA);
	virtgpu_kunit_close(f, file);
	virtgpu_kunit_expect_clean(f);
}

struct misdeed {
	const char *name;
	struct virtgpu_fake_cmd cmd;
};

static const struct misdeed misdeeds[] = {
	{ "unknown command", { .type = 0x1ff } },
	{ "create twice", { .type = VIRTIO_GPU_CMD_RESOURCE_CREATE_BLOB, .ctx_id = 1,
			    .resource_id = 1, .size = PAGE_SIZE,
			    .blob_mem = VIRTIO_GPU_BLOB_MEM_HOST3D } },
	{ "create part of a page", { .type = VIRTIO_GPU_CMD_RESOURCE_CREATE_BLOB, .ctx_id = 1,
				     .resource_id = 9, .size = 100,
				     .blob_mem = VIRTIO_GPU_BLOB_MEM_HOST3D } },
	{ "map unknown", { .type = VIRTIO_GPU_CMD_RESOURCE_MAP_BLOB, .resource_id = 9 } },
	{ "map twice", { .type = VIRTIO_GPU_CMD_RESOURCE_MAP_BLOB, .resource_id = 1,
			 .offset = SZ_64K } },
	{ "map over another", { .type = VIRTIO_GPU_CMD_RESOURCE_MAP_BLOB, .resource_id = 2,
				.offset = PAGE_SIZE } },
	{ "map part of a page", { .type = VIRTIO_GPU_CMD_RESOURCE_MAP_BLOB, .resource_id = 2,
				  .offset = SZ_64K + 1 } },
	{ "map outside", { .type = VIRTIO_GPU_CMD_RESOURCE_MAP_BLOB, .resource_id = 2,
			   .offset = SZ_1M - PAGE_SIZE } },
	{ "map far outside", { .type = VIRTIO_GPU_CMD_RESOURCE_MAP_BLOB, .resource_id = 2,
			       .offset = -PAGE_SIZE } },
	{ "map unmappable", { .type = VIRTIO_GPU_CMD_RESOURCE_MAP_BLOB, .resource_id = 3,
			      .offset = SZ_64K } },
	{ "unmap unmapped", { .type = VIRTIO_GPU_CMD_RESOURCE_UNMAP_BLOB, .resource_id = 2 } },
	{ "unmap unknown", { .type = VIRTIO_GPU_CMD_RESOURCE_UNMAP_BLOB, .resource_id = 9 } },
	{ "unref mapped", { .type = VIRTIO_GPU_CMD_RESOURCE_UNREF, .resource_id = 1 } },
	{ "unref unknown", { .type = VIRTIO_GPU_CMD_RESOURCE_UNREF, .resource_id = 9 } },
	{ "attach unknown", { .type = VIRTIO_GPU_CMD_CTX_ATTACH_RESOURCE, .ctx_id = 1,
			      .resource_id = 9 } },
	{ "attach nowhere", { .type = VIRTIO_GPU_CMD_CTX_ATTACH_RESOURCE, .ctx_id = 9,
			      .resource_id = 1 } },
	{ "create context twice", { .type = VIRTIO_GPU_CMD_CTX_CREATE, .ctx_id = 1 } },
	{ "destroy unknown context", { .type = VIRTIO_GPU_CMD_CTX_DESTROY, .ctx_id = 9 } },
};

KUNIT_ARRAY_PARAM_DESC(misdeed, misdeeds, name);

/* The device notices what a driver must not do. */
static void fake_notices(struct kunit *test)
{
	static const struct virtgpu_fake_cmd before[] = {
		{ .type = VIRTIO_GPU_CMD_CTX_CREATE, .ctx_id = 1 },
		{ .type = VIRTIO_GPU_CMD_RESOURCE_CREATE_BLOB, .ctx_id = 1, .resource_id = 1,
		  .size = BLOB_SIZE, .blob_mem = VIRTIO_GPU_BLOB_MEM_HOST3D,
		  .blob_flags = VIRTIO_GPU_BLOB_FLAG_USE_MAPPABLE },
		{ .type = VIRTIO_GPU_CMD_RESOURCE_CREATE_BLOB, .ctx_id = 1, .resource_id = 2,
		  .size = BLOB_SIZE, .blob_mem = VIRTIO_GPU_BLOB_MEM_HOST3D,
		  .blob_flags = VIRTIO_GPU_BLOB_FLAG_USE_MAPPABLE },
		{ .type = VIRTIO_GPU_CMD_RESOURCE_CREATE_BLOB, .ctx_id = 1, .resource_id = 3,
		  .size = BLOB_SIZE, .blob_mem = VIRTIO_GPU_BLOB_MEM_HOST3D },
		{ .type = VIRTIO_GPU_CMD_RESOURCE_MAP_BLOB, .resource_id = 1, .offset = 0 },
	};
	struct virtgpu_fake *f = virtgpu_fake_create(test, &virtgpu_fake_defaults);
	const struct misdeed *misdeed = test->param_value;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(before); i++)
		KUNIT_ASSERT_LT(test, virtgpu_fake_judge(f, &before[i]),
				VIRTIO_GPU_RESP_ERR_UNSPEC);
	KUNIT_ASSERT_EQ(test, virtgpu_fake_violations(f), 0);

	virtgpu_fake_judge(f, &misdeed->cmd);
	KUNIT_EXPECT_NE(test, virtgpu_fake_violation(f)[0], '\0');
	KUNIT_EXPECT_EQ(test, virtgpu_fake_forgive(f), 1);
}

static struct kunit_case virtio_gpu_device_cases[] = {
	KUNIT_CASE(probe_sends_nothing),
	KUNIT_CASE(probe_and_unplug_again),
	KUNIT_CASE(unplug_is_automatic),
	KUNIT_CASE(open_and_close_send_nothing),
	KUNIT_CASE(file_outlives_device),
	KUNIT_CASE(blob_command_sequence),
	KUNIT_CASE(mmap_reaches_window),
	KUNIT_CASE(works_without_indirect),
	KUNIT_CASE(works_without_event_idx),
	KUNIT_CASE(works_without_context_init),
	KUNIT_CASE(works_with_small_queue),
	KUNIT_CASE(works_without_window),
	KUNIT_CASE(works_with_huge_window),
	KUNIT_CASE(dump_of_the_window_is_locked),
	KUNIT_CASE(probe_reads_capsets),
	KUNIT_CASE(probe_reads_displays),
	KUNIT_CASE(two_devices),
	KUNIT_CASE(fake_holds_and_releases),
	KUNIT_CASE(fake_mutes),
	KUNIT_CASE(fake_stalls),
	KUNIT_CASE(fake_refuses),
	KUNIT_CASE_PARAM(fake_notices, misdeed_gen_params),
	{}
};

static struct kunit_suite virtio_gpu_device_suite = {
	.name = "virtio_gpu_device",
	.test_cases = virtio_gpu_device_cases,
};

kunit_test_suite(virtio_gpu_device_suite);

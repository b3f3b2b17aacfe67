// SPDX-License-Identifier: GPL-2.0
/*
 * The driver on the fake device: probe, use, unplug. If a case fails here, the other suites fail
 * too.
 */

#include <kunit/test.h>
#include <linux/completion.h>
#include <linux/cpumask.h>
#include <linux/debugfs.h>
#include <linux/sched.h>
#include <linux/seq_file.h>

#include <drm/drm_debugfs.h>
#include <drm/drm_drv.h>
#include <drm/drm_file.h>

#include "../virtgpu_drv.h"
#include "virtgpu_kunit_helpers.h"

/* Create a blob, map it into a process, and free it. */
static void use_blob(struct virtgpu_kunit *k)
{
	u32 handle = virtgpu_kunit_blob(k, EAGER);

	KUNIT_EXPECT_EQ(k->test, virtgpu_kunit_map_ioctl(k, handle, NULL), 0);
	KUNIT_EXPECT_EQ(k->test, virtgpu_kunit_mmap(k, handle), 0);
	virtgpu_kunit_delete(k, handle);
	KUNIT_EXPECT_EQ(k->test, virtgpu_fake_resources(k->fake), 0);
}

/*
 * The driver accepts the features and the window that it knows, and sends no command until asked.
 */
static void probe_sends_no_command(struct kunit *test)
{
	struct virtgpu_kunit *k = test->priv;

	KUNIT_EXPECT_EQ(test, virtgpu_fake_features(k->fake), virtgpu_fake_defaults.features);
	KUNIT_EXPECT_TRUE(test, k->vgdev->has_virgl_3d);
	KUNIT_EXPECT_TRUE(test, k->vgdev->has_resource_blob);
	KUNIT_EXPECT_TRUE(test, k->vgdev->has_context_init);
	KUNIT_EXPECT_TRUE(test, k->vgdev->has_host_visible);
	KUNIT_EXPECT_EQ(test, k->vgdev->host_visible_region.addr,
			virtgpu_fake_window(k->fake)->addr);
	KUNIT_EXPECT_EQ(test, k->vgdev->host_visible_region.len,
			virtgpu_fake_defaults.window);

	virtgpu_kunit_settle(k);
	KUNIT_EXPECT_TRUE(test, virtgpu_fake_unplug(k->fake));
	KUNIT_EXPECT_EQ(test, virtgpu_fake_mark(k->fake), 0);
}

/* Unplugging gives back everything that probing took. */
static void replug_leaks_nothing(struct kunit *test)
{
	unsigned int i;

	for (i = 0; i < 20; i++) {
		struct virtgpu_fake *f = virtgpu_fake_create(test, &virtgpu_fake_defaults);

		KUNIT_ASSERT_TRUE(test, virtgpu_fake_unplug(f));
		KUNIT_ASSERT_TRUE(test, virtgpu_fake_unplug(f));
		KUNIT_ASSERT_TRUE(test, virtgpu_fake_release_drm(f));
	}
}

/* The driver creates the context when it is needed: opening and closing a file sends no command. */
static void open_sends_no_command(struct kunit *test)
{
	struct virtgpu_kunit *k = test->priv;
	struct file *files[8];
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(files); i++)
		files[i] = virtgpu_kunit_open(k);
	for (i = 0; i < ARRAY_SIZE(files); i++)
		virtgpu_kunit_close(k, files[i]);

	virtgpu_kunit_settle(k);
	KUNIT_EXPECT_EQ(test, virtgpu_fake_mark(k->fake), 0);
	KUNIT_EXPECT_EQ(test, virtgpu_fake_notifications(k->fake), 0);
}

/* An open file keeps the DRM device after the device is unplugged. */
static void file_outlives_device(struct kunit *test)
{
	struct virtgpu_kunit *k = test->priv;

	KUNIT_EXPECT_TRUE(test, virtgpu_fake_unplug(k->fake));
	/* one reference is the fixture's */
	KUNIT_EXPECT_GT(test, kref_read(&k->drm->ref), 1);
	KUNIT_EXPECT_EQ(test, virtgpu_kunit_map_ioctl(k, 1, NULL), -ENODEV);
	virtgpu_kunit_close(k, k->file);
	KUNIT_EXPECT_EQ(test, kref_read(&k->drm->ref), 1);
}

/* A mapping keeps the blob, and the file, after both are closed. */
static void mapping_outlives_file(struct kunit *test)
{
	struct virtgpu_kunit *k = test->priv;
	struct virtgpu_kunit_thread *mapping;

	mapping = virtgpu_kunit_mmap_start(k, virtgpu_kunit_blob(k, EAGER));
	KUNIT_ASSERT_EQ(test, virtgpu_kunit_result(mapping), 0);
	virtgpu_kunit_close(k, k->file);
	virtgpu_kunit_settle(k);
	KUNIT_EXPECT_EQ(test, virtgpu_fake_mapped(k->fake), 1);
	virtgpu_kunit_munmap(mapping);
	virtgpu_kunit_expect_clean(k);
}

static const struct variant_param {
	const char *name;
	u64 without;
	unsigned int vq_num;
	u64 window;
	u64 window_skew;
} variant_params[] = {
	{ "no indirect descriptors", .without = BIT_ULL(VIRTIO_RING_F_INDIRECT_DESC) },
	{ "no event indices", .without = BIT_ULL(VIRTIO_RING_F_EVENT_IDX) },
	{ "no context types", .without = BIT_ULL(VIRTIO_GPU_F_CONTEXT_INIT) },
	{ "ring of 4", .vq_num = 4 },
	{ "ring of 4, no indirect descriptors", .vq_num = 4,
	  .without = BIT_ULL(VIRTIO_RING_F_INDIRECT_DESC) },
	{ "huge window", .window = SZ_64G, .window_skew = 3 * PAGE_SIZE },
};

KUNIT_ARRAY_PARAM_DESC(variant, variant_params, name);

/* The driver works with devices that lack a feature, or have small rings or huge windows. */
static void device_variant_works(struct kunit *test)
{
	const struct variant_param *p = test->param_value;
	struct virtgpu_fake_params params = virtgpu_kunit_params(p->without);
	const struct virtgpu_cmd *cmd;
	struct virtgpu_kunit *k;

	params.vq_num = p->vq_num ?: params.vq_num;
	params.window = p->window ?: params.window;
	params.window_skew = p->window_skew;
	k = virtgpu_kunit_init_with(test, &params);
	use_blob(k);
	cmd = virtgpu_fake_nth(k->fake, MAP_BLOB, 0);
	KUNIT_ASSERT_NOT_NULL(test, cmd);
	KUNIT_EXPECT_EQ(test, cmd->indirect,
			!(p->without & BIT_ULL(VIRTIO_RING_F_INDIRECT_DESC)));
}

/* A device need not have a window. A blob that is not mappable does without. */
static void device_without_window_works(struct kunit *test)
{
	struct virtgpu_fake_params params = virtgpu_fake_defaults;
	struct virtgpu_kunit *k;

	params.window = 0;
	k = virtgpu_kunit_init_with(test, &params);
	KUNIT_EXPECT_FALSE(test, k->vgdev->has_host_visible);
	virtgpu_kunit_blob_of(k, SIZE, 0, EAGER);
	KUNIT_EXPECT_EQ(test, virtgpu_fake_resources(k->fake), 1);
	KUNIT_EXPECT_EQ(test, virtgpu_fake_count(k->fake, MAP_BLOB), 0);
}

/**
 * struct dump_data - a dump of the window's allocator, on another CPU than the test's
 * @node: the file in debugfs
 * @cpu: the other CPU
 * @chosen: @cpu is valid
 * @there: the task runs on @cpu
 * @go: the task may dump
 * @done: the task has dumped
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

	if (!wait_for_completion_timeout(&dump->chosen, VIRTIO_FAKE_TIMEOUT))
		return -ETIMEDOUT;
	ret = set_cpus_allowed_ptr(current, cpumask_of(dump->cpu));
	complete(&dump->there);
	if (!wait_for_completion_timeout(&dump->go, VIRTIO_FAKE_TIMEOUT))
		return -ETIMEDOUT;
	if (!ret)
		ret = dump->node->info_ent->show(&m, NULL);
	complete(&dump->done);

	return ret;
}

static void dput_node(void *dentry)
{
	dput(dentry);
}

/* The driver dumps the window's allocator to debugfs with the lock held that protects it. */
static void window_dump_takes_lock(struct kunit *test)
{
	struct virtgpu_kunit *k = test->priv;
	spinlock_t *lock = &k->vgdev->host_visible_lock;
	struct virtgpu_kunit_thread *thread;
	struct dump_data *dump;
	unsigned long end;
	struct dentry *dentry;
	bool ended = false, there;

	if (num_online_cpus() < 2)
		kunit_skip(test, "needs two CPUs that contend for a lock");
	if (!IS_ENABLED(CONFIG_DEBUG_FS))
		kunit_skip(test, "needs CONFIG_DEBUG_FS");
	if (IS_ENABLED(CONFIG_PREEMPT_RT))
		kunit_skip(test, "needs a spinlock that spins");

	dump = virtgpu_kunit_zalloc(k, sizeof(*dump));
	init_completion(&dump->chosen);
	init_completion(&dump->there);
	init_completion(&dump->go);
	init_completion(&dump->done);
	dentry = debugfs_lookup("virtio-gpu-host-visible-mm", k->drm->primary->debugfs_root);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, dentry);
	KUNIT_ASSERT_EQ(test, kunit_add_action_or_reset(test, dput_node, dentry), 0);
	dump->node = d_inode(dentry)->i_private;

	thread = virtgpu_kunit_run(k, "dump", dump_fn, dump);
	migrate_disable();
	dump->cpu = cpumask_any_but(cpu_online_mask, smp_processor_id());
	complete(&dump->chosen);
	there = wait_for_completion_timeout(&dump->there, VIRTIO_FAKE_TIMEOUT);
	end = jiffies + HZ;
	spin_lock(lock);
	complete(&dump->go);
	/* not every kind of lock can say that a CPU waits for it: then wait a second */
	while (there && !ended && !spin_is_contended(lock) && time_before(jiffies, end)) {
		ended = completion_done(&dump->done);
		cpu_relax();
	}
	spin_unlock(lock);
	migrate_enable();

	KUNIT_ASSERT_EQ(test, virtgpu_kunit_result(thread), 0);
	KUNIT_EXPECT_TRUE(test, there);
	KUNIT_EXPECT_FALSE_MSG(test, ended, "the dump does not take the lock");
	kunit_release_action(test, dput_node, dentry);
}

/* The driver asks for the capability sets when it probes the device. */
static void capsets_are_read_at_probe(struct kunit *test)
{
	struct virtgpu_fake_params params = virtgpu_fake_defaults;
	struct virtgpu_kunit *k;

	params.num_capsets = 2;
	k = virtgpu_kunit_init_with(test, &params);
	KUNIT_EXPECT_EQ(test, virtgpu_fake_count(k->fake, VIRTIO_GPU_CMD_GET_CAPSET_INFO), 2);
	KUNIT_ASSERT_EQ(test, k->vgdev->num_capsets, 2);
	KUNIT_EXPECT_EQ(test, k->vgdev->capsets[0].id, VIRTIO_GPU_CAPSET_VIRGL);
	KUNIT_EXPECT_EQ(test, k->vgdev->capsets[1].id, VIRTIO_GPU_CAPSET_VIRGL2);
}

static struct virtgpu_kunit *init_with_display(struct kunit *test)
{
	struct virtgpu_fake_params params = virtgpu_fake_defaults;

	if (!IS_ENABLED(CONFIG_DRM_VIRTIO_GPU_KMS))
		kunit_skip(test, "the driver has no KMS");

	params.features |= BIT_ULL(VIRTIO_GPU_F_EDID);
	params.num_scanouts = 1;

	return virtgpu_kunit_init_with(test, &params);
}

/* The driver asks a device with scanouts for the displays when it probes the device. */
static void displays_are_read_at_probe(struct kunit *test)
{
	struct virtgpu_kunit *k = init_with_display(test);

	KUNIT_EXPECT_EQ(test, k->vgdev->num_scanouts, 1);
	KUNIT_EXPECT_EQ(test, virtgpu_fake_count(k->fake, VIRTIO_GPU_CMD_GET_EDID), 1);
	KUNIT_EXPECT_EQ(test, virtgpu_fake_count(k->fake, VIRTIO_GPU_CMD_GET_DISPLAY_INFO), 1);
}

/* The driver asks again when the device reports that a display has changed. */
static void displays_are_read_after_config_change(struct kunit *test)
{
	struct virtgpu_kunit *k = init_with_display(test);

	virtgpu_fake_config_change(k->fake);
	KUNIT_EXPECT_TRUE(test, virtgpu_fake_wait(k->fake, VIRTIO_GPU_CMD_GET_DISPLAY_INFO, 2));
	KUNIT_EXPECT_TRUE(test, virtgpu_fake_wait(k->fake, VIRTIO_GPU_CMD_GET_EDID, 2));
	virtgpu_kunit_settle(k);
}

/* Two devices share no state. */
static void two_devices_share_nothing(struct kunit *test)
{
	struct virtgpu_kunit *first = test->priv;
	struct virtgpu_kunit *second = virtgpu_kunit_add(test, &virtgpu_fake_defaults);

	use_blob(first);
	KUNIT_EXPECT_EQ(test, virtgpu_fake_mark(second->fake), 0);
	use_blob(second);
	KUNIT_EXPECT_TRUE(test, virtgpu_fake_unplug(first->fake));
	use_blob(second);
}

/* The fake releases held commands in the order that the test demands. */
static void held_commands_are_released_in_any_order(struct kunit *test)
{
	struct virtgpu_kunit *k = test->priv;
	struct virtgpu_kunit_thread *m[3];
	unsigned int i;

	virtgpu_fake_hold(k->fake, MAP_BLOB);
	for (i = 0; i < ARRAY_SIZE(m); i++) {
		m[i] = virtgpu_kunit_mmap_start(k, virtgpu_kunit_blob(k, EAGER));
		KUNIT_ASSERT_TRUE(test, virtgpu_kunit_wait_mapping(m[i]));
	}
	KUNIT_ASSERT_EQ(test, virtgpu_fake_held(k->fake), 3);
	virtgpu_fake_release(k->fake, 1, 0);
	KUNIT_EXPECT_EQ(test, virtgpu_kunit_result(m[1]), 0);
	KUNIT_EXPECT_TRUE(test, virtgpu_kunit_wait_mapping(m[0]));
	KUNIT_EXPECT_TRUE(test, virtgpu_kunit_wait_mapping(m[2]));

	virtgpu_fake_release_all(k->fake, 0);
	KUNIT_EXPECT_EQ(test, virtgpu_kunit_result(m[0]), 0);
	KUNIT_EXPECT_EQ(test, virtgpu_kunit_result(m[2]), 0);
}

/* A muted device does not interrupt the driver, which then does not see the responses. */
static void muted_device_raises_no_interrupt(struct kunit *test)
{
	struct virtgpu_kunit *k = test->priv;
	struct virtgpu_kunit_thread *m;

	virtgpu_fake_mute(k->fake, true);
	m = virtgpu_kunit_mmap_start(k, virtgpu_kunit_blob(k, EAGER));
	KUNIT_ASSERT_TRUE(test, virtgpu_kunit_wait_mapping(m));
	KUNIT_EXPECT_EQ(test, virtgpu_fake_mapped(k->fake), 1);
	KUNIT_EXPECT_EQ(test, virtgpu_fake_interrupts(k->fake), 0);

	virtgpu_fake_mute(k->fake, false);
	KUNIT_EXPECT_EQ(test, virtgpu_kunit_result(m), 0);
}

static long create_many_fn(void *data)
{
	struct virtgpu_kunit *k = data;
	unsigned int i;
	int ret = 0;

	for (i = 0; i < 16 && !ret; i++) {
		struct drm_virtgpu_resource_create_blob rc = virtgpu_kunit_host_blob(SIZE, 0, 0);

		ret = virtgpu_kunit_ioctl(k->file, DRM_IOCTL_VIRTGPU_RESOURCE_CREATE_BLOB, &rc);
	}

	return ret;
}

/* A stalled device takes no commands: the ring fills up and the tasks that send commands wait. */
static void stalled_device_fills_ring(struct kunit *test)
{
	const struct virtgpu_fake_params params = virtgpu_kunit_ring(8);
	struct virtgpu_kunit *k = virtgpu_kunit_init_with(test, &params);
	struct virtgpu_kunit_thread *thread;

	virtgpu_fake_stall(k->fake, true);
	thread = virtgpu_kunit_run(k, "fill", create_many_fn, k);
	KUNIT_ASSERT_TRUE(test, virtgpu_kunit_wait_ring_space(thread));
	KUNIT_EXPECT_EQ(test, virtgpu_fake_mark(k->fake), 0);

	virtgpu_fake_stall(k->fake, false);
	KUNIT_EXPECT_EQ(test, virtgpu_kunit_result(thread), 0);
	virtgpu_kunit_settle(k);
	KUNIT_EXPECT_EQ(test, virtgpu_fake_count(k->fake, CREATE_BLOB), 16);
}

/* The fake gives a scripted response as often as the script says. */
static void scripted_response_is_given_n_times(struct kunit *test)
{
	const u32 error = VIRTIO_GPU_RESP_ERR_OUT_OF_MEMORY;
	struct virtgpu_kunit *k = test->priv;
	unsigned int i;

	virtgpu_fake_respond(k->fake, CREATE_BLOB, error, 2);
	for (i = 0; i < 4; i++) {
		virtgpu_kunit_blob_of(k, SIZE, 0, EAGER);
		KUNIT_EXPECT_EQ(test, virtgpu_fake_nth(k->fake, CREATE_BLOB, i)->resp,
				i < 2 ? error : VIRTIO_GPU_RESP_OK_NODATA);
	}
}

static u32 fail_odd_ids(void *data, const struct virtgpu_cmd *cmd)
{
	return cmd->type == CREATE_BLOB && cmd->resource_id % 2 ? VIRTIO_GPU_RESP_ERR_UNSPEC : 0;
}

/* The fake lets a function of the test decide about each response. */
static void decided_response_is_given(struct kunit *test)
{
	struct virtgpu_kunit *k = test->priv;
	unsigned int i;

	virtgpu_fake_decide(k->fake, fail_odd_ids, NULL);
	for (i = 0; i < 2; i++) {
		const struct virtgpu_cmd *cmd;

		virtgpu_kunit_blob_of(k, SIZE, 0, EAGER);
		cmd = virtgpu_fake_nth(k->fake, CREATE_BLOB, i);
		KUNIT_EXPECT_EQ(test, cmd->resp, cmd->resource_id % 2 ?
				VIRTIO_GPU_RESP_ERR_UNSPEC : VIRTIO_GPU_RESP_OK_NODATA);
	}
}

static struct kunit_case device_cases[] = {
	KUNIT_CASE(probe_sends_no_command),
	KUNIT_CASE(replug_leaks_nothing),
	KUNIT_CASE(open_sends_no_command),
	KUNIT_CASE(file_outlives_device),
	KUNIT_CASE(mapping_outlives_file),
	KUNIT_CASE_PARAM(device_variant_works, variant_gen_params),
	KUNIT_CASE(device_without_window_works),
	KUNIT_CASE(window_dump_takes_lock),
	KUNIT_CASE(capsets_are_read_at_probe),
	KUNIT_CASE(displays_are_read_at_probe),
	KUNIT_CASE(displays_are_read_after_config_change),
	KUNIT_CASE(two_devices_share_nothing),
	KUNIT_CASE(held_commands_are_released_in_any_order),
	KUNIT_CASE(muted_device_raises_no_interrupt),
	KUNIT_CASE(stalled_device_fills_ring),
	KUNIT_CASE(scripted_response_is_given_n_times),
	KUNIT_CASE(decided_response_is_given),
	{}
};

static struct kunit_suite device_suite = {
	.name = "virtio_gpu_device",
	.init = virtgpu_kunit_init,
	.exit = virtgpu_kunit_exit,
	.test_cases = device_cases,
};

kunit_test_suite(device_suite);

// SPDX-License-Identifier: GPL-2.0
/*
 * The mapping of host blobs, driven function by function, for what no user can arrange.
 */

#include <kunit/test.h>
#include <linux/sizes.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>

#include "../virtgpu_drv.h"
#include "virtgpu_kunit_deferred.h"

#define MAP_BLOB	VIRTIO_GPU_CMD_RESOURCE_MAP_BLOB
#define UNMAP_BLOB	VIRTIO_GPU_CMD_RESOURCE_UNMAP_BLOB
#define SIZE		VIRTGPU_KUNIT_SIZE

/* A device and, as blobs in host memory belong to one, a context. */
struct vram_test {
	struct virtgpu_fake *f;
	struct file *file;
	u32 ctx_id;
	/* not on the stack, which is gone if a test fails */
	struct virtio_gpu_vram_waiter first, second;
};

static struct virtgpu_fake *make_fake(struct kunit *test, const struct virtgpu_fake_params *params)
{
	struct drm_virtgpu_resource_create_blob rc = virtgpu_kunit_blob(SIZE, 0);
	struct virtio_gpu_fpriv *vfpriv;
	struct drm_file *priv;
	struct vram_test *vt;

	vt = kunit_kzalloc(test, sizeof(*vt), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, vt);
	vt->f = virtgpu_fake_create(test, params);
	vt->file = virtgpu_kunit_open(vt->f);
	/* the first blob makes the context */
	KUNIT_ASSERT_EQ(test, virtgpu_kunit_create_blob(vt->file, &rc), 0);
	KUNIT_ASSERT_EQ(test, virtgpu_kunit_delete(vt->file, rc.bo_handle), 0);
	virtgpu_fake_settle(vt->f);

	priv = vt->file->private_data;
	vfpriv = priv->driver_priv;
	vt->ctx_id = vfpriv->ctx_id;
	test->priv = vt;

	return vt->f;
}

static int create_blob(struct virtgpu_fake *f, u64 size, u32 flags, u32 hints,
		       struct virtio_gpu_object_vram **vram)
{
	struct vram_test *vt = virtgpu_fake_test(f)->priv;
	struct virtio_gpu_object_params params = {
		.size = size,
		.blob = true,
		.ctx_id = vt->ctx_id,
		.blob_mem = VIRTGPU_BLOB_MEM_HOST3D,
		.blob_flags = flags,
		.blob_hints = hints,
		.blob_id = 1,
	};
	struct virtio_gpu_device *vgdev = virtgpu_fake_vgdev(f);
	struct virtio_gpu_object *bo;
	int ret;

	ret = virtio_gpu_vram_create(vgdev, &params, &bo);
	virtio_gpu_notify(vgdev);
	if (!ret)
		*vram = to_virtio_gpu_vram(bo);

	return ret;
}

static struct virtio_gpu_object_vram *make_blob(struct virtgpu_fake *f, u64 size, u32 hints)
{
	struct kunit *test = virtgpu_fake_test(f);
	struct virtio_gpu_object_vram *vram;

	KUNIT_ASSERT_EQ(test, create_blob(f, size, VIRTGPU_BLOB_FLAG_USE_MAPPABLE, hints, &vram),
			0);

	return vram;
}

static void put_blob(struct virtio_gpu_object_vram *vram)
{
	drm_gem_object_put(&vram->base.base.base);
}

static void expect_clean(struct virtgpu_fake *f)
{
	struct vram_test *vt = virtgpu_fake_test(f)->priv;

	virtgpu_kunit_close(f, vt->file);
	virtgpu_kunit_expect_clean(f);
}

/* Nothing is reserved for the blob, and nobody waits for it. */
static void expect_unmapped(struct virtgpu_fake *f, struct virtio_gpu_object_vram *vram)
{
	struct virtio_gpu_device *vgdev = virtgpu_fake_vgdev(f);
	struct kunit *test = virtgpu_fake_test(f);
	enum virtio_gpu_vram_map_state state;
	bool reserved, waited_for;

	spin_lock(&vgdev->host_visible_lock);
	state = vram->map_state;
	reserved = drm_mm_node_allocated(&vram->vram_node);
	waited_for = !list_empty(&vram->map_waiters);
	spin_unlock(&vgdev->host_visible_lock);

	KUNIT_EXPECT_EQ(test, state, VIRTIO_GPU_VRAM_UNMAPPED);
	KUNIT_EXPECT_FALSE(test, reserved);
	KUNIT_EXPECT_FALSE(test, waited_for);
}

static bool window_is_empty(struct virtgpu_fake *f)
{
	struct virtio_gpu_device *vgdev = virtgpu_fake_vgdev(f);
	bool empty;

	spin_lock(&vgdev->host_visible_lock);
	empty = drm_mm_clean(&vgdev->host_visible_mm);
	spin_unlock(&vgdev->host_visible_lock);

	return empty;
}

static void make_full(struct virtgpu_fake *f, struct virtio_gpu_object_vram **filler)
{
	*filler = make_blob(f, virtgpu_fake_window(f)->len, 0);
	virtgpu_fake_settle(f);
}

/* Creating a blob with the hint takes no room in the window and sends only CREATE_BLOB. */
static void deferred_create_maps_nothing(struct kunit *test)
{
	struct virtgpu_fake *f = make_fake(test, &virtgpu_fake_defaults);
	unsigned int mark = virtgpu_fake_mark(f);
	struct virtio_gpu_object_vram *vram;

	vram = make_blob(f, SIZE, VIRTGPU_KUNIT_DEFER);
	virtgpu_fake_settle(f);
	KUNIT_EXPECT_STREQ(test, virtgpu_fake_cmds(f, mark), "CREATE_BLOB");
	KUNIT_EXPECT_TRUE(test, window_is_empty(f));
	expect_unmapped(f, vram);

	put_blob(vram);
	expect_clean(f);
}

/* A blob that was never mapped is freed without an UNMAP_BLOB. */
static void never_mapped_is_not_unmapped(struct kunit *test)
{
	struct virtgpu_fake *f = make_fake(test, &virtgpu_fake_defaults);
	unsigned int mark = virtgpu_fake_mark(f);

	put_blob(make_blob(f, SIZE, VIRTGPU_KUNIT_DEFER));
	virtgpu_fake_settle(f);
	KUNIT_EXPECT_STREQ(test, virtgpu_fake_cmds(f, mark), "CREATE_BLOB UNREF");

	expect_clean(f);
}

/* Creating a blob without the hint maps it, and it is unmapped before it is freed. */
static void eager_create_maps(struct kunit *test)
{
	struct virtgpu_fake *f = make_fake(test, &virtgpu_fake_defaults);
	unsigned int mark = virtgpu_fake_mark(f);
	struct virtio_gpu_object_vram *vram;

	vram = make_blob(f, SIZE, 0);
	virtgpu_fake_settle(f);
	KUNIT_EXPECT_EQ(test, vram->map_state, VIRTIO_GPU_VRAM_MAPPED);
	put_blob(vram);
	virtgpu_fake_settle(f);
	KUNIT_EXPECT_STREQ(test, virtgpu_fake_cmds(f, mark),
			   "CREATE_BLOB MAP_BLOB UNMAP_BLOB UNREF");

	expect_clean(f);
}

/* If the window is full, a blob cannot be created without the hint; with the hint it can. */
static void eager_create_needs_room(struct kunit *test)
{
	struct virtgpu_fake *f = make_fake(test, &virtgpu_fake_defaults);
	struct virtio_gpu_object_vram *filler, *vram;

	make_full(f, &filler);
	KUNIT_EXPECT_EQ(test, create_blob(f, SIZE, VIRTGPU_BLOB_FLAG_USE_MAPPABLE, 0, &vram),
			-ENOSPC);
	vram = make_blob(f, SIZE, VIRTGPU_KUNIT_DEFER);

	put_blob(vram);
	put_blob(filler);
	expect_clean(f);
}

/* Starting a deferred mapping reserves a range, sends one MAP_BLOB and does not wait. */
static void map_deferred_starts(struct kunit *test)
{
	struct virtgpu_fake *f = make_fake(test, &virtgpu_fake_defaults);
	const struct virtgpu_fake_cmd *cmd;
	struct virtio_gpu_object_vram *vram;
	unsigned int mark;

	vram = make_blob(f, SIZE, VIRTGPU_KUNIT_DEFER);
	virtgpu_fake_settle(f);
	mark = virtgpu_fake_mark(f);
	virtgpu_fake_hold(f, MAP_BLOB);
	KUNIT_EXPECT_EQ(test, virtio_gpu_vram_map_deferred(vram), 0);
	KUNIT_ASSERT_TRUE(test, virtgpu_fake_wait_held(f, 1));
	KUNIT_EXPECT_STREQ(test, virtgpu_fake_cmds(f, mark), "MAP_BLOB");
	KUNIT_EXPECT_EQ(test, vram->map_state, VIRTIO_GPU_VRAM_MAPPING);
	KUNIT_EXPECT_EQ(test, vram->vram_node.size, SIZE);

	cmd = virtgpu_fake_held_cmd(f, 0);
	KUNIT_EXPECT_EQ(test, cmd->resource_id, vram->base.hw_res_handle);
	KUNIT_EXPECT_EQ(test, cmd->offset, vram->vram_node.start - virtgpu_fake_window(f)->addr);

	virtgpu_fake_release_all(f, 0);
	virtgpu_fake_settle(f);
	KUNIT_EXPECT_EQ(test, vram->map_state, VIRTIO_GPU_VRAM_MAPPED);

	put_blob(vram);
	expect_clean(f);
}

/* Whether a mapping is under way or made: nothing more is sent. */
static void map_deferred_twice_maps_once(struct kunit *test)
{
	struct virtgpu_fake *f = make_fake(test, &virtgpu_fake_defaults);
	struct virtio_gpu_object_vram *vram;

	vram = make_blob(f, SIZE, VIRTGPU_KUNIT_DEFER);
	virtgpu_fake_hold(f, MAP_BLOB);
	KUNIT_EXPECT_EQ(test, virtio_gpu_vram_map_deferred(vram), 0);
	KUNIT_EXPECT_EQ(test, virtio_gpu_vram_map_deferred(vram), 0);
	virtgpu_fake_settle(f);
	KUNIT_EXPECT_EQ(test, virtgpu_fake_count(f, MAP_BLOB), 1);

	virtgpu_fake_release_all(f, 0);
	virtgpu_fake_settle(f);
	KUNIT_EXPECT_EQ(test, virtio_gpu_vram_map_deferred(vram), 0);
	virtgpu_fake_settle(f);
	KUNIT_EXPECT_EQ(test, virtgpu_fake_count(f, MAP_BLOB), 1);

	put_blob(vram);
	expect_clean(f);
}

/* The queue is kicked, once. */
static void map_deferred_kicks(struct kunit *test)
{
	struct virtgpu_fake *f = make_fake(test, &virtgpu_fake_defaults);
	struct virtio_gpu_object_vram *vram;
	unsigned int kicks;

	vram = make_blob(f, SIZE, VIRTGPU_KUNIT_DEFER);
	virtgpu_fake_settle(f);
	kicks = virtgpu_fake_kicks(f);
	KUNIT_EXPECT_EQ(test, virtio_gpu_vram_map_deferred(vram), 0);
	KUNIT_EXPECT_EQ(test, virtgpu_fake_kicks(f), kicks + 1);

	put_blob(vram);
	expect_clean(f);
}

/* A blob that was created without MAPPABLE is not mapped, hint or not. */
static void map_deferred_needs_mappable(struct kunit *test)
{
	struct virtgpu_fake *f = make_fake(test, &virtgpu_fake_defaults);
	struct virtio_gpu_object_vram *vram;

	KUNIT_ASSERT_EQ(test, create_blob(f, SIZE, VIRTGPU_BLOB_FLAG_USE_SHAREABLE,
					  VIRTGPU_KUNIT_DEFER, &vram), 0);
	KUNIT_EXPECT_EQ(test, virtio_gpu_vram_map_deferred(vram), -EINVAL);
	virtgpu_fake_settle(f);
	KUNIT_EXPECT_EQ(test, virtgpu_fake_count(f, MAP_BLOB), 0);
	expect_unmapped(f, vram);

	put_blob(vram);
	expect_clean(f);
}

/* A full window is reported, and forgotten when there is room. */
static void map_deferred_needs_room(struct kunit *test)
{
	struct virtgpu_fake *f = make_fake(test, &virtgpu_fake_defaults);
	struct virtio_gpu_object_vram *filler, *vram;

	vram = make_blob(f, SIZE, VIRTGPU_KUNIT_DEFER);
	make_full(f, &filler);
	KUNIT_EXPECT_EQ(test, virtio_gpu_vram_map_deferred(vram), -ENOSPC);
	expect_unmapped(f, vram);
	virtgpu_fake_settle(f);
	KUNIT_EXPECT_EQ(test, virtgpu_fake_count(f, MAP_BLOB), 1);

	put_blob(filler);
	virtgpu_fake_settle(f);
	KUNIT_EXPECT_EQ(test, virtio_gpu_vram_map_deferred(vram), 0);
	virtgpu_fake_settle(f);
	KUNIT_EXPECT_EQ(test, vram->map_state, VIRTIO_GPU_VRAM_MAPPED);

	put_blob(vram);
	expect_clean(f);
}

/* How the host may answer MAP_BLOB, and what the caller gets to see. */
static const struct answer_param {
	u32 resp;
	int result;
} answer_params[] = {
	{ VIRTIO_GPU_RESP_OK_MAP_INFO, 0 },
	{ VIRTIO_GPU_RESP_ERR_OUT_OF_MEMORY, -ENOMEM },
	{ VIRTIO_GPU_RESP_ERR_UNSPEC, -EIO },
	{ VIRTIO_GPU_RESP_ERR_INVALID_RESOURCE_ID, -EIO },
	{ VIRTIO_GPU_RESP_ERR_INVALID_PARAMETER, -EIO },
	{ VIRTIO_GPU_RESP_OK_NODATA, -EIO },
	{ VIRTIO_GPU_RESP_OK_DISPLAY_INFO, -EIO },
};

static void answer_desc(const struct answer_param *p, char *desc)
{
	scnprintf(desc, KUNIT_PARAM_DESC_SIZE, "%#x", p->resp);
}

KUNIT_ARRAY_PARAM(answer, answer_params, answer_desc);

/*
 * All who joined one attempt get its result, after one MAP_BLOB. If it has failed, nothing is left
 * of it, and the blob is freed without an UNMAP_BLOB.
 */
static void joined_attempt_has_one_result(struct kunit *test)
{
	const struct answer_param *p = test->param_value;
	struct virtgpu_fake *f = make_fake(test, &virtgpu_fake_defaults);
	struct virtio_gpu_object_vram *vram;
	struct vram_test *vt;

	vt = test->priv;
	vram = make_blob(f, SIZE, VIRTGPU_KUNIT_DEFER);
	virtgpu_fake_hold(f, MAP_BLOB);
	KUNIT_ASSERT_EQ(test, virtio_gpu_vram_map_begin(vram, &vt->first), 0);
	KUNIT_ASSERT_EQ(test, virtio_gpu_vram_map_begin(vram, &vt->second), 0);
	virtio_gpu_notify(virtgpu_fake_vgdev(f));
	virtgpu_fake_settle(f);
	KUNIT_EXPECT_FALSE(test, completion_done(&vt->first.done));
	KUNIT_EXPECT_FALSE(test, completion_done(&vt->second.done));

	virtgpu_fake_release_all(f, p->resp);
	virtgpu_fake_settle(f);
	KUNIT_ASSERT_TRUE(test, completion_done(&vt->first.done));
	KUNIT_ASSERT_TRUE(test, completion_done(&vt->second.done));
	KUNIT_EXPECT_EQ(test, virtio_gpu_vram_map_finish(vram, &vt->first), p->result);
	KUNIT_EXPECT_EQ(test, virtio_gpu_vram_map_finish(vram, &vt->second), p->result);
	KUNIT_EXPECT_EQ(test, virtgpu_fake_count(f, MAP_BLOB), 1);
	if (p->result) {
		expect_unmapped(f, vram);
		KUNIT_EXPECT_TRUE(test, window_is_empty(f));
	}

	put_blob(vram);
	virtgpu_fake_settle(f);
	KUNIT_EXPECT_EQ(test, virtgpu_fake_count(f, UNMAP_BLOB), p->result ? 0 : 1);
	expect_clean(f);
}

/*
 * The answer belongs to the attempt. Who has waited for one that failed is neither held up by the
 * next one, which is under way before he looks, nor gets its result.
 */
static void later_attempt_leaves_earlier_result(struct kunit *test)
{
	struct virtgpu_fake *f = make_fake(test, &virtgpu_fake_defaults);
	struct virtio_gpu_object_vram *vram;
	struct vram_test *vt;

	vt = test->priv;
	vram = make_blob(f, SIZE, VIRTGPU_KUNIT_DEFER);
	virtgpu_fake_reply(f, MAP_BLOB, VIRTIO_GPU_RESP_ERR_OUT_OF_MEMORY, 1);
	KUNIT_ASSERT_EQ(test, virtio_gpu_vram_map_begin(vram, &vt->first), 0);
	virtio_gpu_notify(virtgpu_fake_vgdev(f));
	virtgpu_fake_settle(f);

	virtgpu_fake_hold(f, MAP_BLOB);
	KUNIT_ASSERT_EQ(test, virtio_gpu_vram_map_begin(vram, &vt->second), 0);
	virtio_gpu_notify(virtgpu_fake_vgdev(f));
	KUNIT_ASSERT_TRUE(test, virtgpu_fake_wait_held(f, 1));
	KUNIT_ASSERT_TRUE(test, completion_done(&vt->first.done));
	KUNIT_EXPECT_EQ(test, virtio_gpu_vram_map_finish(vram, &vt->first), -ENOMEM);
	KUNIT_EXPECT_FALSE(test, completion_done(&vt->second.done));

	virtgpu_fake_release_all(f, 0);
	virtgpu_fake_settle(f);
	KUNIT_ASSERT_TRUE(test, completion_done(&vt->second.done));
	KUNIT_EXPECT_EQ(test, virtio_gpu_vram_map_finish(vram, &vt->second), 0);

	put_blob(vram);
	expect_clean(f);
}

/* There is nothing to wait for if the blob is mapped. */
static void mapped_blob_is_ready(struct kunit *test)
{
	struct virtgpu_fake *f = make_fake(test, &virtgpu_fake_defaults);
	struct virtio_gpu_object_vram *vram;
	struct vram_test *vt;

	vt = test->priv;
	vram = make_blob(f, SIZE, 0);
	virtgpu_fake_settle(f);
	KUNIT_ASSERT_EQ(test, virtio_gpu_vram_map_begin(vram, &vt->first), 0);
	KUNIT_ASSERT_TRUE(test, completion_done(&vt->first.done));
	KUNIT_EXPECT_EQ(test, virtio_gpu_vram_map_finish(vram, &vt->first), 0);
	virtgpu_fake_settle(f);
	KUNIT_EXPECT_EQ(test, virtgpu_fake_count(f, MAP_BLOB), 1);

	put_blob(vram);
	expect_clean(f);
}

/* The blob lives as long as its MAP_BLOB, whoever lets go of it meanwhile. */
static void blob_outlives_its_mapping(struct kunit *test)
{
	struct virtgpu_fake *f = make_fake(test, &virtgpu_fake_defaults);
	unsigned int mark = virtgpu_fake_mark(f);
	struct virtio_gpu_object_vram *vram;

	vram = make_blob(f, SIZE, VIRTGPU_KUNIT_DEFER);
	virtgpu_fake_hold(f, MAP_BLOB);
	KUNIT_EXPECT_EQ(test, virtio_gpu_vram_map_deferred(vram), 0);
	KUNIT_ASSERT_TRUE(test, virtgpu_fake_wait_held(f, 1));
	put_blob(vram);
	virtgpu_fake_settle(f);
	KUNIT_EXPECT_STREQ(test, virtgpu_fake_cmds(f, mark), "CREATE_BLOB MAP_BLOB");

	virtgpu_fake_release_all(f, 0);
	virtgpu_fake_settle(f);
	KUNIT_EXPECT_STREQ(test, virtgpu_fake_cmds(f, mark),
			   "CREATE_BLOB MAP_BLOB UNMAP_BLOB UNREF");

	expect_clean(f);
}

/* Only the caching type of map_info counts. */
static void map_info_is_masked(struct kunit *test)
{
	struct virtgpu_fake *f = make_fake(test, &virtgpu_fake_defaults);
	struct virtio_gpu_object_vram *vram;

	virtgpu_fake_set_map_info(f, 0xabcdef00 | VIRTIO_GPU_MAP_CACHE_WC);
	vram = make_blob(f, SIZE, 0);
	virtgpu_fake_settle(f);
	KUNIT_EXPECT_EQ(test, vram->map_info, VIRTIO_GPU_MAP_CACHE_WC);

	put_blob(vram);
	expect_clean(f);
}

/*
 * If the virtqueue does not take the MAP_BLOB, the caller is told at once; the range is given back
 * and the command with its reference to the blob is gone.
 */
static void map_that_cannot_be_queued_fails(struct kunit *test)
{
	struct virtgpu_fake *f = make_fake(test, &virtgpu_fake_defaults);
	struct virtio_gpu_device *vgdev = virtgpu_fake_vgdev(f);
	struct virtio_gpu_object_vram *vram;
	struct vram_test *vt;

	vt = test->priv;
	vram = make_blob(f, SIZE, VIRTGPU_KUNIT_DEFER);
	virtgpu_fake_settle(f);

	virtio_break_device(vgdev->vdev);
	KUNIT_EXPECT_EQ(test, virtio_gpu_vram_map_begin(vram, &vt->first), -EIO);
	KUNIT_EXPECT_EQ(test, virtio_gpu_vram_map_deferred(vram), -EIO);
	__virtio_unbreak_device(vgdev->vdev);

	expect_unmapped(f, vram);
	KUNIT_EXPECT_EQ(test, kref_read(&vram->base.base.base.refcount), 1);
	KUNIT_EXPECT_EQ(test, virtio_gpu_vram_map_deferred(vram), 0);
	virtgpu_fake_settle(f);
	KUNIT_EXPECT_EQ(test, virtgpu_fake_count(f, MAP_BLOB), 1);

	put_blob(vram);
	expect_clean(f);
}

static long map_deferred_fn(void *vram)
{
	return virtio_gpu_vram_map_deferred(vram);
}

/*
 * A ring with room for an indirect descriptor but not for direct ones is not room enough if there
 * is no memory for an indirect table; here, because the ring does without them. The MAP_BLOB waits
 * for room then and is not lost.
 */
static void map_without_an_indirect_table_waits(struct kunit *test)
{
	struct drm_virtgpu_resource_create_blob rc = {
		.blob_mem = VIRTGPU_BLOB_MEM_GUEST,
		.size = PAGE_SIZE,
	};
	struct virtgpu_fake_params params = virtgpu_fake_defaults;
	struct virtio_gpu_object_vram *first, *second;
	struct virtgpu_kunit_thread *thread;
	struct virtio_gpu_device *vgdev;
	struct virtgpu_fake *f;
	struct vram_test *vt;

	params.vq_num = 8;
	params.features &= ~BIT_ULL(VIRTIO_RING_F_INDIRECT_DESC);
	f = make_fake(test, &params);
	vt = test->priv;
	vgdev = virtgpu_fake_vgdev(f);
	first = make_blob(f, SIZE, VIRTGPU_KUNIT_DEFER);
	second = make_blob(f, SIZE, VIRTGPU_KUNIT_DEFER);
	virtgpu_fake_settle(f);

	/* three slots for CREATE_BLOB, two for CTX_ATTACH, two for MAP_BLOB */
	virtgpu_fake_stall(f, true);
	KUNIT_EXPECT_EQ(test, virtgpu_kunit_create_blob(vt->file, &rc), 0);
	KUNIT_EXPECT_EQ(test, virtio_gpu_vram_map_deferred(first), 0);
	KUNIT_ASSERT_EQ(test, vgdev->ctrlq.vq->num_free, 1);

	vgdev->has_indirect = true;
	thread = virtgpu_kunit_thread_run(f, "virtgpu-map", map_deferred_fn, second);
	KUNIT_ASSERT_TRUE(test, virtgpu_kunit_thread_wait_asleep(thread));
	virtgpu_fake_stall(f, false);
	KUNIT_ASSERT_TRUE(test, virtgpu_kunit_thread_wait(thread));
	KUNIT_EXPECT_EQ(test, virtgpu_kunit_thread_result(thread), 0);
	virtgpu_fake_settle(f);
	KUNIT_EXPECT_EQ(test, virtgpu_fake_count(f, MAP_BLOB), 2);
	KUNIT_EXPECT_EQ(test, virtgpu_fake_mapped(f), 2);

	put_blob(first);
	put_blob(second);
	expect_clean(f);
}

/*
 * Offsets are offsets in the window, multiples of the page size, wherever the window is; they do
 * not overlap, and they use all of it. The device checks that.
 */
static void offsets_fill_the_window(struct kunit *test)
{
	struct virtgpu_fake_params params = virtgpu_fake_defaults;
	struct virtio_gpu_object_vram *vram[8], *late;
	struct virtgpu_fake *f;
	unsigned int i;

	params.window = ARRAY_SIZE(vram) * SZ_64K;
	params.window_skew = 3 * PAGE_SIZE;
	f = make_fake(test, &params);
	late = make_blob(f, SIZE, VIRTGPU_KUNIT_DEFER);
	for (i = 0; i < ARRAY_SIZE(vram); i++) {
		vram[i] = make_blob(f, SZ_64K, VIRTGPU_KUNIT_DEFER);
		KUNIT_EXPECT_EQ(test, virtio_gpu_vram_map_deferred(vram[i]), 0);
	}
	KUNIT_EXPECT_EQ(test, virtio_gpu_vram_map_deferred(late), -ENOSPC);
	virtgpu_fake_settle(f);
	KUNIT_EXPECT_EQ(test, virtgpu_fake_mapped(f), ARRAY_SIZE(vram));

	for (i = 0; i < ARRAY_SIZE(vram); i++) {
		const struct virtgpu_fake_cmd *cmd = virtgpu_fake_nth(f, MAP_BLOB, i);

		KUNIT_ASSERT_NOT_NULL(test, cmd);
		KUNIT_EXPECT_EQ(test, cmd->offset % PAGE_SIZE, 0);
		KUNIT_EXPECT_LE(test, cmd->offset, params.window - SZ_64K);
		put_blob(vram[i]);
	}
	put_blob(late);
	expect_clean(f);
}

/* When the device is gone, an eager blob is not created, and nothing of it is left. */
static void eager_create_fails_without_a_device(struct kunit *test)
{
	struct virtgpu_fake *f = make_fake(test, &virtgpu_fake_defaults);
	struct virtio_gpu_object_vram *vram;

	KUNIT_ASSERT_TRUE(test, virtgpu_kunit_unplug(f));
	KUNIT_EXPECT_EQ(test, create_blob(f, SIZE, VIRTGPU_BLOB_FLAG_USE_MAPPABLE, 0, &vram),
			-ENODEV);
	virtgpu_kunit_expect_clean(f);
}

/* Without a window nothing can be mapped, and nothing is sent. */
static void no_window_no_mapping(struct kunit *test)
{
	struct virtgpu_fake_params params = virtgpu_fake_defaults;
	struct virtio_gpu_object_vram *vram;
	struct virtgpu_fake *f;

	params.window = 0;
	f = make_fake(test, &params);
	vram = make_blob(f, SIZE, VIRTGPU_KUNIT_DEFER);
	KUNIT_EXPECT_EQ(test, virtio_gpu_vram_map_deferred(vram), -EINVAL);
	virtgpu_fake_settle(f);
	KUNIT_EXPECT_EQ(test, virtgpu_fake_count(f, MAP_BLOB), 0);

	put_blob(vram);
	expect_clean(f);
}

static struct kunit_case vram_cases[] = {
	KUNIT_CASE(deferred_create_maps_nothing),
	KUNIT_CASE(never_mapped_is_not_unmapped),
	KUNIT_CASE(eager_create_maps),
	KUNIT_CASE(eager_create_needs_room),
	KUNIT_CASE(map_deferred_starts),
	KUNIT_CASE(map_deferred_twice_maps_once),
	KUNIT_CASE(map_deferred_kicks),
	KUNIT_CASE(map_deferred_needs_mappable),
	KUNIT_CASE(map_deferred_needs_room),
	KUNIT_CASE_PARAM(joined_attempt_has_one_result, answer_gen_params),
	KUNIT_CASE(later_attempt_leaves_earlier_result),
	KUNIT_CASE(mapped_blob_is_ready),
	KUNIT_CASE(blob_outlives_its_mapping),
	KUNIT_CASE(map_info_is_masked),
	KUNIT_CASE(map_that_cannot_be_queued_fails),
	KUNIT_CASE(map_without_an_indirect_table_waits),
	KUNIT_CASE(offsets_fill_the_window),
	KUNIT_CASE(eager_create_fails_without_a_device),
	KUNIT_CASE(no_window_no_mapping),
	{}
};

static struct kunit_suite vram_suite = {
	.name = "virtio_gpu_vram",
	.test_cases = vram_cases,
};

kunit_test_suite(vram_suite);

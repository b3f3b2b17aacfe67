// SPDX-License-Identifier: GPL-2.0
/*
 * Mapping blobs as a program does: DRM_IOCTL_VIRTGPU_MAP and mmap().
 */

#include <kunit/test.h>
#include <linux/sizes.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>

#include "../virtgpu_drv.h"
#include "virtgpu_kunit_base.h"
#include "virtgpu_kunit_deferred.h"

#define MAP_BLOB	VIRTIO_GPU_CMD_RESOURCE_MAP_BLOB
#define UNMAP_BLOB	VIRTIO_GPU_CMD_RESOURCE_UNMAP_BLOB
#define DEFER		VIRTGPU_KUNIT_DEFER
#define SIZE		VIRTGPU_KUNIT_SIZE

/* How many blobs or tasks there are where there are many. */
#define MANY		8

struct map_test {
	struct virtgpu_fake *f;
	struct file *file;
};

static struct map_test make(struct kunit *test, const struct virtgpu_fake_params *params)
{
	struct map_test t;

	t.f = virtgpu_fake_create(test, params);
	t.file = virtgpu_kunit_open(t.f);

	return t;
}

/* All handles go with the file. */
static void finish(struct map_test *t)
{
	virtgpu_kunit_close(t->f, t->file);
	virtgpu_kunit_expect_clean(t->f);
}

static u32 make_blob(struct kunit *test, struct map_test *t, u32 hints)
{
	u32 handle = virtgpu_kunit_mappable(test, t->file, SIZE, hints);

	virtgpu_fake_settle(t->f);

	return handle;
}

/* Not through the ioctl, which starts the mapping. */
static u64 offset_of(struct map_test *t, u32 handle)
{
	return virtgpu_kunit_offset(t->file, handle);
}

static int map(struct map_test *t, u32 handle)
{
	return virtgpu_kunit_mmap(t->f, t->file, offset_of(t, handle), SIZE);
}

static struct virtgpu_kunit_mmapper *start_map(struct map_test *t, u32 handle)
{
	return virtgpu_kunit_mmap_start(t->f, t->file, offset_of(t, handle), SIZE);
}

static u32 fill_window(struct kunit *test, struct map_test *t)
{
	u32 handle = virtgpu_kunit_mappable(test, t->file, virtgpu_fake_window(t->f)->len, 0);

	virtgpu_fake_settle(t->f);

	return handle;
}

static unsigned int maps(struct map_test *t)
{
	return virtgpu_fake_count(t->f, MAP_BLOB);
}

static unsigned int unmaps(struct map_test *t)
{
	return virtgpu_fake_count(t->f, UNMAP_BLOB);
}

/* Creating a blob with the hint, and never mapping it, costs no MAP_BLOB and no UNMAP_BLOB. */
static void deferred_never_mapped(struct kunit *test)
{
	struct map_test t = make(test, &virtgpu_fake_defaults);
	u32 handle = make_blob(test, &t, DEFER);

	KUNIT_EXPECT_EQ(test, virtgpu_kunit_delete(t.file, handle), 0);
	virtgpu_fake_settle(t.f);
	KUNIT_EXPECT_STREQ(test, virtgpu_fake_cmds(t.f, 0),
			   "CTX_CREATE CREATE_BLOB CTX_ATTACH CTX_DETACH UNREF");

	finish(&t);
}

/* The hint is heard if it comes from a program's memory. */
static void hint_from_user_memory(struct kunit *test)
{
	struct map_test t = make(test, &virtgpu_fake_defaults);
	struct drm_virtgpu_resource_create_blob rc;
	unsigned int cmd = DRM_IOCTL_VIRTGPU_RESOURCE_CREATE_BLOB;

	rc = virtgpu_kunit_blob(SIZE, VIRTGPU_BLOB_FLAG_USE_MAPPABLE);
	rc.blob_hints = DEFER;
	KUNIT_EXPECT_EQ(test, virtgpu_kunit_user_ioctl(test, t.file, cmd, &rc, sizeof(rc)), 0);
	KUNIT_EXPECT_NE(test, rc.bo_handle, 0);
	virtgpu_fake_settle(t.f);
	KUNIT_EXPECT_EQ(test, maps(&t), 0);

	finish(&t);
}

/* A window holds any number of blobs that are not mapped. */
static void deferred_blobs_exceed_the_window(struct kunit *test)
{
	struct virtgpu_fake_params params = virtgpu_fake_defaults;
	struct map_test t;
	unsigned int i;

	params.window = SIZE;
	t = make(test, &params);
	for (i = 0; i < 64; i++)
		virtgpu_kunit_mappable(test, t.file, SIZE, DEFER);
	virtgpu_fake_settle(t.f);
	KUNIT_EXPECT_EQ(test, virtgpu_fake_resources(t.f), 64);
	KUNIT_EXPECT_EQ(test, maps(&t), 0);

	finish(&t);
}

/* Without the hint a blob is mapped before anybody asks, and then only used. */
static void eager_as_before(struct kunit *test)
{
	struct map_test t = make(test, &virtgpu_fake_defaults);
	u32 handle = make_blob(test, &t, 0);
	u64 offset;

	KUNIT_EXPECT_STREQ(test, virtgpu_fake_cmds(t.f, 0),
			   "CTX_CREATE CREATE_BLOB MAP_BLOB CTX_ATTACH");
	KUNIT_EXPECT_EQ(test, virtgpu_kunit_map_ioctl(t.file, handle, &offset), 0);
	KUNIT_EXPECT_EQ(test, offset, offset_of(&t, handle));
	KUNIT_EXPECT_EQ(test, map(&t, handle), 0);
	KUNIT_EXPECT_EQ(test, map(&t, handle), 0);
	KUNIT_EXPECT_EQ(test, virtgpu_kunit_delete(t.file, handle), 0);
	virtgpu_fake_settle(t.f);
	KUNIT_EXPECT_STREQ(test, virtgpu_fake_cmds(t.f, 0),
			   "CTX_CREATE CREATE_BLOB MAP_BLOB CTX_ATTACH CTX_DETACH UNMAP_BLOB UNREF");

	finish(&t);
}

/* Creating an eager blob is one kick for all its commands, as before. */
static void eager_create_kicks_once(struct kunit *test)
{
	struct map_test t = make(test, &virtgpu_fake_defaults);
	unsigned int kicks;

	/* another one first, for the context */
	make_blob(test, &t, 0);
	kicks = virtgpu_fake_kicks(t.f);
	make_blob(test, &t, 0);
	KUNIT_EXPECT_EQ(test, virtgpu_fake_kicks(t.f), kicks + 1);

	finish(&t);
}

/* If the window is full, an eager blob cannot be created, and nothing of it is left. */
static void eager_fails_when_the_window_is_full(struct kunit *test)
{
	struct map_test t = make(test, &virtgpu_fake_defaults);
	struct drm_virtgpu_resource_create_blob rc;

	fill_window(test, &t);
	rc = virtgpu_kunit_blob(SIZE, VIRTGPU_BLOB_FLAG_USE_MAPPABLE);
	KUNIT_EXPECT_EQ(test, virtgpu_kunit_create_blob(t.file, &rc), -ENOSPC);
	virtgpu_fake_settle(t.f);
	KUNIT_EXPECT_EQ(test, virtgpu_fake_resources(t.f), 1);

	finish(&t);
}

/* DRM_IOCTL_VIRTGPU_MAP starts the mapping, kicks the queue and returns before the host answers. */
static void map_ioctl_starts_and_does_not_wait(struct kunit *test)
{
	struct map_test t = make(test, &virtgpu_fake_defaults);
	u32 handle = make_blob(test, &t, DEFER);
	unsigned int kicks = virtgpu_fake_kicks(t.f);
	u64 offset;

	virtgpu_fake_hold(t.f, MAP_BLOB);
	KUNIT_EXPECT_EQ(test, virtgpu_kunit_map_ioctl(t.file, handle, &offset), 0);
	KUNIT_EXPECT_EQ(test, offset, offset_of(&t, handle));
	KUNIT_EXPECT_EQ(test, virtgpu_fake_kicks(t.f), kicks + 1);
	KUNIT_EXPECT_TRUE(test, virtgpu_fake_wait_held(t.f, 1));
	KUNIT_EXPECT_EQ(test, virtgpu_kunit_map_ioctl(t.file, handle, &offset), 0);
	virtgpu_fake_settle(t.f);
	KUNIT_EXPECT_EQ(test, maps(&t), 1);

	virtgpu_fake_release_all(t.f, 0);
	KUNIT_EXPECT_EQ(test, map(&t, handle), 0);
	KUNIT_EXPECT_EQ(test, maps(&t), 1);

	finish(&t);
}

/* The ioctl returns the offset even if the mapping cannot be started; mmap() tells. */
static void map_ioctl_succeeds_when_the_window_is_full(struct kunit *test)
{
	struct map_test t = make(test, &virtgpu_fake_defaults);
	u32 handle = make_blob(test, &t, DEFER);
	u64 offset;

	fill_window(test, &t);
	KUNIT_EXPECT_EQ(test, virtgpu_kunit_map_ioctl(t.file, handle, &offset), 0);
	KUNIT_EXPECT_EQ(test, offset, offset_of(&t, handle));
	KUNIT_EXPECT_EQ(test, map(&t, handle), -ENOSPC);
	virtgpu_fake_settle(t.f);
	KUNIT_EXPECT_EQ(test, maps(&t), 1);

	finish(&t);
}

/* Neither does it fail if the host refuses; mmap() tries again. */
static void map_ioctl_succeeds_when_the_host_refuses(struct kunit *test)
{
	struct map_test t = make(test, &virtgpu_fake_defaults);
	u32 handle = make_blob(test, &t, DEFER);
	u64 offset;

	virtgpu_fake_reply(t.f, MAP_BLOB, VIRTIO_GPU_RESP_ERR_UNSPEC, 1);
	KUNIT_EXPECT_EQ(test, virtgpu_kunit_map_ioctl(t.file, handle, &offset), 0);
	virtgpu_fake_settle(t.f);
	KUNIT_EXPECT_EQ(test, virtgpu_fake_mapped(t.f), 0);
	KUNIT_EXPECT_EQ(test, map(&t, handle), 0);
	KUNIT_EXPECT_EQ(test, maps(&t), 2);

	finish(&t);
}

/* An unknown handle is an error, and starts nothing. */
static void map_ioctl_needs_a_handle(struct kunit *test)
{
	struct map_test t = make(test, &virtgpu_fake_defaults);
	u32 handle = make_blob(test, &t, DEFER);
	u64 offset;

	KUNIT_EXPECT_EQ(test, virtgpu_kunit_map_ioctl(t.file, handle + 1, &offset), -ENOENT);
	virtgpu_fake_settle(t.f);
	KUNIT_EXPECT_EQ(test, maps(&t), 0);

	finish(&t);
}

/* The ioctl has nothing to start for a blob in guest memory, or one that is not mappable. */
static void map_ioctl_leaves_other_blobs_alone(struct kunit *test)
{
	struct map_test t = make(test, &virtgpu_fake_defaults);
	struct drm_virtgpu_resource_create_blob guest = {
		.blob_mem = VIRTGPU_BLOB_MEM_GUEST,
		.blob_flags = VIRTGPU_BLOB_FLAG_USE_MAPPABLE,
		.blob_hints = DEFER,
		.size = SIZE,
	};
	struct drm_virtgpu_resource_create_blob host;
	u64 offset;

	host = virtgpu_kunit_blob(SIZE, VIRTGPU_BLOB_FLAG_USE_SHAREABLE);
	host.blob_hints = DEFER;
	KUNIT_ASSERT_EQ(test, virtgpu_kunit_create_blob(t.file, &guest), 0);
	KUNIT_ASSERT_EQ(test, virtgpu_kunit_create_blob(t.file, &host), 0);
	KUNIT_EXPECT_EQ(test, virtgpu_kunit_map_ioctl(t.file, guest.bo_handle, &offset), 0);
	KUNIT_EXPECT_NE(test, offset, 0);
	KUNIT_EXPECT_EQ(test, virtgpu_kunit_map_ioctl(t.file, host.bo_handle, &offset), 0);
	KUNIT_EXPECT_EQ(test, map(&t, host.bo_handle), -EINVAL);
	virtgpu_fake_settle(t.f);
	KUNIT_EXPECT_EQ(test, maps(&t), 0);

	finish(&t);
}

/* The first mmap() maps the blob, later ones find it mapped; freeing it unmaps it. */
static void mmap_maps_on_first_use(struct kunit *test)
{
	struct map_test t = make(test, &virtgpu_fake_defaults);
	u32 handle = make_blob(test, &t, DEFER);
	unsigned int kicks = virtgpu_fake_kicks(t.f);

	KUNIT_EXPECT_EQ(test, map(&t, handle), 0);
	KUNIT_EXPECT_EQ(test, virtgpu_fake_kicks(t.f), kicks + 1);
	KUNIT_EXPECT_EQ(test, map(&t, handle), 0);
	KUNIT_EXPECT_EQ(test, maps(&t), 1);
	KUNIT_EXPECT_EQ(test, virtgpu_kunit_delete(t.file, handle), 0);
	virtgpu_fake_settle(t.f);
	KUNIT_EXPECT_STREQ(test, virtgpu_fake_cmds(t.f, 0),
			   "CTX_CREATE CREATE_BLOB CTX_ATTACH MAP_BLOB CTX_DETACH UNMAP_BLOB UNREF");

	finish(&t);
}

/* What is mapped are the pages of the window that the host was told. */
static void mmap_maps_the_right_pages(struct kunit *test)
{
	struct virtgpu_fake_params params = virtgpu_fake_defaults;
	const struct virtgpu_fake_cmd *cmd;
	struct virtgpu_kunit_mmapper *m;
	struct map_test t;
	unsigned long pfn, first;
	unsigned int i;
	u32 handle;

	params.window_skew = 3 * PAGE_SIZE;
	t = make(test, &params);
	/* so that the offset is not 0 */
	make_blob(test, &t, 0);
	handle = make_blob(test, &t, DEFER);
	m = start_map(&t, handle);
	KUNIT_ASSERT_TRUE(test, virtgpu_kunit_mmap_wait(m));
	KUNIT_ASSERT_EQ(test, virtgpu_kunit_mmap_error(m), 0);

	cmd = virtgpu_fake_nth(t.f, MAP_BLOB, 1);
	KUNIT_ASSERT_NOT_NULL(test, cmd);
	KUNIT_EXPECT_NE(test, cmd->offset, 0);
	first = PHYS_PFN(virtgpu_fake_window(t.f)->addr + cmd->offset);
	for (i = 0; i < SIZE / PAGE_SIZE; i++) {
		KUNIT_EXPECT_EQ(test, virtgpu_kunit_mmap_pfn(m, i, &pfn, NULL), 0);
		KUNIT_EXPECT_EQ(test, pfn, first + i);
	}
	KUNIT_EXPECT_TRUE(test, virtgpu_kunit_munmap(m));

	finish(&t);
}

static const u32 caching_params[] = {
	VIRTIO_GPU_MAP_CACHE_CACHED,
	VIRTIO_GPU_MAP_CACHE_UNCACHED,
	VIRTIO_GPU_MAP_CACHE_WC,
};

static void caching_desc(const u32 *p, char *desc)
{
	static const char * const names[] = {
		[VIRTIO_GPU_MAP_CACHE_CACHED] = "cached",
		[VIRTIO_GPU_MAP_CACHE_UNCACHED] = "uncached",
		[VIRTIO_GPU_MAP_CACHE_WC] = "write-combined",
	};

	strscpy(desc, names[*p], KUNIT_PARAM_DESC_SIZE);
}

KUNIT_ARRAY_PARAM(caching, caching_params, caching_desc);

/*
 * The mapping is cached as the host wants it. An architecture where that makes no difference, such
 * as UML, has nothing to show here.
 */
static void mmap_caches_as_the_host_says(struct kunit *test)
{
	const u32 *map_info = test->param_value;
	struct virtgpu_fake_params params = virtgpu_fake_defaults;
	struct virtgpu_kunit_mmapper *m;
	pgprot_t plain, want, prot;
	struct map_test t;
	unsigned long pfn;

	/* the other bits mean nothing */
	params.map_info = *map_info | 0xabcdef00;
	t = make(test, &params);
	m = start_map(&t, make_blob(test, &t, DEFER));
	KUNIT_ASSERT_TRUE(test, virtgpu_kunit_mmap_wait(m));
	KUNIT_ASSERT_EQ(test, virtgpu_kunit_mmap_error(m), 0);
	KUNIT_ASSERT_EQ(test, virtgpu_kunit_mmap_pfn(m, 0, &pfn, &prot), 0);

	plain = pgprot_decrypted(vm_get_page_prot(VM_READ | VM_WRITE | VM_SHARED));
	switch (*map_info) {
	case VIRTIO_GPU_MAP_CACHE_UNCACHED:
		want = pgprot_noncached(plain);
		break;
	case VIRTIO_GPU_MAP_CACHE_WC:
		want = pgprot_writecombine(plain);
		break;
	default:
		want = plain;
		break;
	}
	KUNIT_EXPECT_EQ(test, pgprot_val(prot), pgprot_val(want));
	KUNIT_EXPECT_TRUE(test, virtgpu_kunit_munmap(m));

	finish(&t);
}

/*
 * If the kernel does not map parts of a blob, an mmap() of one is refused before anything is sent
 * or reserved.
 */
static void mmap_of_a_part(struct kunit *test)
{
	struct map_test t = make(test, &virtgpu_fake_defaults);
	u32 handle = make_blob(test, &t, DEFER);
	u64 offset = offset_of(&t, handle);

	KUNIT_EXPECT_EQ(test, virtgpu_kunit_mmap(t.f, t.file, offset, PAGE_SIZE),
			VIRTGPU_KUNIT_PARTIAL_MMAP ? 0 : -EINVAL);
	virtgpu_fake_settle(t.f);
	KUNIT_EXPECT_EQ(test, maps(&t), VIRTGPU_KUNIT_PARTIAL_MMAP ? 1 : 0);

	finish(&t);
}

/* With the window full, mmap() fails; with room again, it works. */
static void mmap_fails_when_the_window_is_full(struct kunit *test)
{
	struct map_test t = make(test, &virtgpu_fake_defaults);
	u32 handle = make_blob(test, &t, DEFER);
	u32 filler = fill_window(test, &t);

	KUNIT_EXPECT_EQ(test, map(&t, handle), -ENOSPC);
	KUNIT_EXPECT_EQ(test, map(&t, handle), -ENOSPC);
	virtgpu_fake_settle(t.f);
	KUNIT_EXPECT_EQ(test, maps(&t), 1);

	KUNIT_EXPECT_EQ(test, virtgpu_kunit_delete(t.file, filler), 0);
	virtgpu_fake_settle(t.f);
	KUNIT_EXPECT_EQ(test, map(&t, handle), 0);

	finish(&t);
}

/* A blob larger than the window can be created, but never mapped. */
static void mmap_fails_when_the_window_is_too_small(struct kunit *test)
{
	struct virtgpu_fake_params params = virtgpu_fake_defaults;
	struct map_test t;

	params.window = PAGE_SIZE;
	t = make(test, &params);
	KUNIT_EXPECT_EQ(test, map(&t, make_blob(test, &t, DEFER)), -ENOSPC);
	virtgpu_fake_settle(t.f);
	KUNIT_EXPECT_EQ(test, maps(&t), 0);

	finish(&t);
}

/* A window far larger than what is mapped makes no difference. */
static void mmap_works_in_a_huge_window(struct kunit *test)
{
	struct virtgpu_fake_params params = virtgpu_fake_defaults;
	struct map_test t;

	params.window = SZ_64G;
	t = make(test, &params);
	KUNIT_EXPECT_EQ(test, map(&t, make_blob(test, &t, DEFER)), 0);

	finish(&t);
}

static const struct refusal_param {
	u32 resp;
	u32 hints;
	int result;
} refusal_params[] = {
	{ VIRTIO_GPU_RESP_ERR_OUT_OF_MEMORY, DEFER, -ENOMEM },
	{ VIRTIO_GPU_RESP_ERR_UNSPEC, DEFER, -EIO },
	{ VIRTIO_GPU_RESP_OK_NODATA, DEFER, -EIO },
	{ VIRTIO_GPU_RESP_ERR_OUT_OF_MEMORY, 0, -ENOMEM },
	{ VIRTIO_GPU_RESP_ERR_UNSPEC, 0, -EIO },
};

static void refusal_desc(const struct refusal_param *p, char *desc)
{
	scnprintf(desc, KUNIT_PARAM_DESC_SIZE, "%s %#x", p->hints ? "deferred" : "eager", p->resp);
}

KUNIT_ARRAY_PARAM(refusal, refusal_params, refusal_desc);

/*
 * If the host refuses, mmap() fails with what it said, the range is free for others, and nothing is
 * unmapped that was not mapped. The next mmap() tries again.
 */
static void mmap_tries_again_after_a_refusal(struct kunit *test)
{
	const struct refusal_param *p = test->param_value;
	struct virtgpu_fake_params params = virtgpu_fake_defaults;
	struct map_test t;
	u32 handle, other;

	params.window = SIZE;
	t = make(test, &params);
	/* an eager blob is refused once when it is created */
	virtgpu_fake_reply(t.f, MAP_BLOB, p->resp, p->hints ? 1 : 2);
	handle = make_blob(test, &t, p->hints);
	KUNIT_EXPECT_EQ(test, map(&t, handle), p->result);

	other = make_blob(test, &t, 0);
	KUNIT_EXPECT_EQ(test, map(&t, other), 0);
	KUNIT_EXPECT_EQ(test, virtgpu_kunit_delete(t.file, other), 0);
	virtgpu_fake_settle(t.f);
	KUNIT_EXPECT_EQ(test, unmaps(&t), 1);

	KUNIT_EXPECT_EQ(test, map(&t, handle), 0);
	KUNIT_EXPECT_EQ(test, virtgpu_kunit_delete(t.file, handle), 0);
	virtgpu_fake_settle(t.f);
	KUNIT_EXPECT_EQ(test, unmaps(&t), 2);

	finish(&t);
}

/* A blob that the host never mapped is freed without an UNMAP_BLOB. */
static void refused_blob_is_not_unmapped(struct kunit *test)
{
	struct map_test t = make(test, &virtgpu_fake_defaults);
	u32 handle = make_blob(test, &t, DEFER);

	virtgpu_fake_reply(t.f, MAP_BLOB, VIRTIO_GPU_RESP_ERR_UNSPEC, 0);
	KUNIT_EXPECT_EQ(test, map(&t, handle), -EIO);
	KUNIT_EXPECT_EQ(test, virtgpu_kunit_delete(t.file, handle), 0);
	virtgpu_fake_settle(t.f);
	KUNIT_EXPECT_EQ(test, unmaps(&t), 0);

	finish(&t);
}

/* If the queue does not take the MAP_BLOB, mmap() says so instead of waiting for an answer. */
static void mmap_fails_when_the_queue_is_broken(struct kunit *test)
{
	struct map_test t = make(test, &virtgpu_fake_defaults);
	struct virtio_gpu_device *vgdev = virtgpu_fake_vgdev(t.f);
	u32 handle = make_blob(test, &t, DEFER);

	virtio_break_device(vgdev->vdev);
	KUNIT_EXPECT_EQ(test, map(&t, handle), -EIO);
	__virtio_unbreak_device(vgdev->vdev);
	KUNIT_EXPECT_EQ(test, map(&t, handle), 0);
	KUNIT_EXPECT_EQ(test, maps(&t), 1);

	finish(&t);
}

static const u32 hint_params[] = { 0, DEFER };

static void hint_desc(const u32 *p, char *desc)
{
	strscpy(desc, *p ? "deferred" : "eager", KUNIT_PARAM_DESC_SIZE);
}

KUNIT_ARRAY_PARAM(hint, hint_params, hint_desc);

/* mmap() waits for the host to answer. */
static void mmap_waits_for_the_host(struct kunit *test)
{
	const u32 *hints = test->param_value;
	struct map_test t = make(test, &virtgpu_fake_defaults);
	struct virtgpu_kunit_mmapper *m;
	u32 handle;

	virtgpu_fake_hold(t.f, MAP_BLOB);
	handle = virtgpu_kunit_mappable(test, t.file, SIZE, *hints);
	m = start_map(&t, handle);
	KUNIT_ASSERT_TRUE(test, virtgpu_fake_wait_held(t.f, 1));
	KUNIT_EXPECT_TRUE(test, virtgpu_kunit_thread_wait_asleep(m->thread));
	KUNIT_EXPECT_FALSE(test, completion_done(&m->returned));

	virtgpu_fake_release_all(t.f, 0);
	KUNIT_ASSERT_TRUE(test, virtgpu_kunit_mmap_wait(m));
	KUNIT_EXPECT_EQ(test, virtgpu_kunit_mmap_error(m), 0);
	KUNIT_EXPECT_TRUE(test, virtgpu_kunit_munmap(m));
	KUNIT_EXPECT_EQ(test, maps(&t), 1);

	finish(&t);
}

/*
 * A task that waits in mmap() can be killed. The mapping goes on without it, so that the next
 * mmap() sends nothing, and the blob is unmapped in the end.
 */
static void mmap_can_be_killed(struct kunit *test)
{
	const u32 *hints = test->param_value;
	struct map_test t = make(test, &virtgpu_fake_defaults);
	struct virtgpu_kunit_mmapper *m;
	u32 handle;

	virtgpu_fake_hold(t.f, MAP_BLOB);
	handle = virtgpu_kunit_mappable(test, t.file, SIZE, *hints);
	m = start_map(&t, handle);
	KUNIT_ASSERT_TRUE(test, virtgpu_fake_wait_held(t.f, 1));
	KUNIT_ASSERT_TRUE(test, virtgpu_kunit_thread_wait_asleep(m->thread));
	virtgpu_kunit_thread_kill(m->thread);
	KUNIT_ASSERT_TRUE(test, virtgpu_kunit_mmap_wait(m));
	KUNIT_EXPECT_EQ(test, virtgpu_kunit_mmap_error(m), -ERESTARTSYS);
	KUNIT_ASSERT_TRUE(test, virtgpu_kunit_thread_wait(m->thread));

	virtgpu_fake_release_all(t.f, 0);
	virtgpu_fake_settle(t.f);
	KUNIT_EXPECT_EQ(test, map(&t, handle), 0);
	KUNIT_EXPECT_EQ(test, maps(&t), 1);
	KUNIT_EXPECT_EQ(test, virtgpu_kunit_delete(t.file, handle), 0);
	virtgpu_fake_settle(t.f);
	KUNIT_EXPECT_EQ(test, unmaps(&t), 1);

	finish(&t);
}

/* A task that is killed leaves those alone who wait for the same mapping. */
static void killed_task_leaves_others_waiting(struct kunit *test)
{
	struct map_test t = make(test, &virtgpu_fake_defaults);
	u32 handle = make_blob(test, &t, DEFER);
	struct virtgpu_kunit_mmapper *first, *second;

	virtgpu_fake_hold(t.f, MAP_BLOB);
	first = start_map(&t, handle);
	KUNIT_ASSERT_TRUE(test, virtgpu_fake_wait_held(t.f, 1));
	second = start_map(&t, handle);
	KUNIT_ASSERT_TRUE(test, virtgpu_kunit_thread_wait_asleep(first->thread));
	KUNIT_ASSERT_TRUE(test, virtgpu_kunit_thread_wait_asleep(second->thread));
	virtgpu_kunit_thread_kill(first->thread);
	KUNIT_ASSERT_TRUE(test, virtgpu_kunit_mmap_wait(first));
	KUNIT_EXPECT_EQ(test, virtgpu_kunit_mmap_error(first), -ERESTARTSYS);
	KUNIT_EXPECT_TRUE(test, virtgpu_kunit_thread_wait_asleep(second->thread));

	virtgpu_fake_release_all(t.f, 0);
	KUNIT_ASSERT_TRUE(test, virtgpu_kunit_mmap_wait(second));
	KUNIT_EXPECT_EQ(test, virtgpu_kunit_mmap_error(second), 0);
	KUNIT_EXPECT_TRUE(test, virtgpu_kunit_munmap(second));
	KUNIT_EXPECT_EQ(test, maps(&t), 1);

	finish(&t);
}

/* Of a ring of 8 without indirect descriptors, what 4 commands take. */
static const struct virtgpu_fake_params *small_ring(void)
{
	static struct virtgpu_fake_params params;

	params = virtgpu_fake_defaults;
	params.vq_num = 8;
	params.features &= ~BIT_ULL(VIRTIO_RING_F_INDIRECT_DESC);

	return &params;
}

/* With the device stalled and the ring of small_ring() full, what comes next has to wait. */
static void fill_ring(struct kunit *test, struct map_test *t, const u32 *handles)
{
	struct virtio_gpu_device *vgdev = virtgpu_fake_vgdev(t->f);
	unsigned int i;
	u64 offset;

	virtgpu_fake_stall(t->f, true);
	for (i = 0; i < 4; i++)
		KUNIT_ASSERT_EQ(test, virtgpu_kunit_map_ioctl(t->file, handles[i], &offset), 0);
	KUNIT_ASSERT_EQ(test, vgdev->ctrlq.vq->num_free, 0);
}

/* A full ring delays a mapping, and that is all. */
static void mmap_waits_for_room_in_the_ring(struct kunit *test)
{
	struct map_test t = make(test, small_ring());
	struct virtgpu_kunit_mmapper *m;
	u32 handles[5];
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(handles); i++)
		handles[i] = make_blob(test, &t, DEFER);
	fill_ring(test, &t, handles);
	m = start_map(&t, handles[4]);
	KUNIT_ASSERT_TRUE(test, virtgpu_kunit_thread_wait_asleep(m->thread));

	virtgpu_fake_stall(t.f, false);
	KUNIT_ASSERT_TRUE(test, virtgpu_kunit_mmap_wait(m));
	KUNIT_EXPECT_EQ(test, virtgpu_kunit_mmap_error(m), 0);
	KUNIT_EXPECT_TRUE(test, virtgpu_kunit_munmap(m));
	virtgpu_fake_settle(t.f);
	KUNIT_EXPECT_EQ(test, maps(&t), 5);

	finish(&t);
}

/*
 * A task that waits for room in the ring can be killed, and its range is given back. Who waits for
 * the mapping it was about to start does not fail, but takes over.
 */
static void mmap_can_be_killed_in_a_full_ring(struct kunit *test)
{
	struct map_test t = make(test, small_ring());
	struct virtgpu_kunit_mmapper *first, *second;
	u32 handles[5];
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(handles); i++)
		handles[i] = make_blob(test, &t, DEFER);
	fill_ring(test, &t, handles);
	first = start_map(&t, handles[4]);
	KUNIT_ASSERT_TRUE(test, virtgpu_kunit_thread_wait_asleep(first->thread));
	second = start_map(&t, handles[4]);
	KUNIT_ASSERT_TRUE(test, virtgpu_kunit_thread_wait_asleep(second->thread));

	virtgpu_kunit_thread_kill(first->thread);
	KUNIT_ASSERT_TRUE(test, virtgpu_kunit_mmap_wait(first));
	KUNIT_EXPECT_EQ(test, virtgpu_kunit_mmap_error(first), -ERESTARTSYS);
	KUNIT_EXPECT_TRUE(test, virtgpu_kunit_thread_wait_asleep(second->thread));

	virtgpu_fake_stall(t.f, false);
	KUNIT_ASSERT_TRUE(test, virtgpu_kunit_mmap_wait(second));
	KUNIT_EXPECT_EQ(test, virtgpu_kunit_mmap_error(second), 0);
	KUNIT_EXPECT_TRUE(test, virtgpu_kunit_munmap(second));
	virtgpu_fake_settle(t.f);
	KUNIT_EXPECT_EQ(test, maps(&t), 5);

	finish(&t);
}

struct create_data {
	struct file *file;
	struct drm_virtgpu_resource_create_blob rc;
};

static long create_fn(void *data)
{
	struct create_data *create = data;

	return virtgpu_kunit_create_blob(create->file, &create->rc);
}

/*
 * A task that creates an eager blob and is killed while it waits for room gives up on the blob. It
 * has to wait for room once more, unkillably, to have the host drop it. Nothing of it is left.
 */
static void killed_create_leaves_nothing(struct kunit *test)
{
	struct map_test t = make(test, small_ring());
	struct virtgpu_kunit_thread *thread;
	struct create_data *create;
	unsigned int i;
	u32 handles[3];
	u64 offset;

	create = kunit_kzalloc(test, sizeof(*create), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, create);
	create->file = t.file;
	create->rc = virtgpu_kunit_blob(SIZE, VIRTGPU_BLOB_FLAG_USE_MAPPABLE);
	for (i = 0; i < ARRAY_SIZE(handles); i++)
		handles[i] = make_blob(test, &t, DEFER);

	/* there is room for CREATE_BLOB but not for MAP_BLOB */
	virtgpu_fake_stall(t.f, true);
	for (i = 0; i < ARRAY_SIZE(handles); i++)
		KUNIT_ASSERT_EQ(test, virtgpu_kunit_map_ioctl(t.file, handles[i], &offset), 0);
	thread = virtgpu_kunit_thread_run(t.f, "virtgpu-create", create_fn, create);
	KUNIT_ASSERT_TRUE(test, virtgpu_kunit_thread_wait_asleep(thread));
	virtgpu_kunit_thread_kill(thread);
	KUNIT_EXPECT_TRUE(test, virtgpu_kunit_thread_wait_asleep(thread));

	virtgpu_fake_stall(t.f, false);
	KUNIT_ASSERT_TRUE(test, virtgpu_kunit_thread_wait(thread));
	KUNIT_EXPECT_EQ(test, virtgpu_kunit_thread_result(thread), -ERESTARTSYS);
	virtgpu_fake_settle(t.f);
	KUNIT_EXPECT_EQ(test, maps(&t), 3);
	KUNIT_EXPECT_EQ(test, virtgpu_fake_resources(t.f), 3);

	finish(&t);
}

struct map_data {
	struct file *file;
	u32 handle;
	u64 offset;
};

static long map_ioctl_fn(void *data)
{
	struct map_data *map = data;

	return virtgpu_kunit_map_ioctl(map->file, map->handle, &map->offset);
}

/* A task that is killed in DRM_IOCTL_VIRTGPU_MAP leaves the blob to be mapped by others. */
static void map_ioctl_can_be_killed_in_a_full_ring(struct kunit *test)
{
	struct map_test t = make(test, small_ring());
	struct virtgpu_kunit_thread *thread;
	struct map_data *data;
	u32 handles[5];
	unsigned int i;

	data = kunit_kzalloc(test, sizeof(*data), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, data);
	for (i = 0; i < ARRAY_SIZE(handles); i++)
		handles[i] = make_blob(test, &t, DEFER);
	data->file = t.file;
	data->handle = handles[4];
	fill_ring(test, &t, handles);
	thread = virtgpu_kunit_thread_run(t.f, "virtgpu-map", map_ioctl_fn, data);
	KUNIT_ASSERT_TRUE(test, virtgpu_kunit_thread_wait_asleep(thread));
	virtgpu_kunit_thread_kill(thread);
	KUNIT_ASSERT_TRUE(test, virtgpu_kunit_thread_wait(thread));
	KUNIT_EXPECT_EQ(test, virtgpu_kunit_thread_result(thread), 0);

	virtgpu_fake_stall(t.f, false);
	virtgpu_fake_settle(t.f);
	KUNIT_EXPECT_EQ(test, maps(&t), 4);
	KUNIT_EXPECT_EQ(test, map(&t, handles[4]), 0);
	KUNIT_EXPECT_EQ(test, maps(&t), 5);

	finish(&t);
}

/* When the device goes, a task that waits for room fails, and so does one that has joined it. */
static void unplug_ends_a_wait_for_room(struct kunit *test)
{
	struct map_test t = make(test, small_ring());
	struct virtgpu_kunit_mmapper *first, *second;
	struct file *keep = virtgpu_kunit_open(t.f);
	u32 handles[5];
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(handles); i++)
		handles[i] = make_blob(test, &t, DEFER);
	fill_ring(test, &t, handles);
	first = start_map(&t, handles[4]);
	KUNIT_ASSERT_TRUE(test, virtgpu_kunit_thread_wait_asleep(first->thread));
	second = start_map(&t, handles[4]);
	KUNIT_ASSERT_TRUE(test, virtgpu_kunit_thread_wait_asleep(second->thread));

	KUNIT_ASSERT_TRUE(test, virtgpu_kunit_unplug(t.f));
	KUNIT_ASSERT_TRUE(test, virtgpu_kunit_mmap_wait(first));
	KUNIT_EXPECT_EQ(test, virtgpu_kunit_mmap_error(first), -ENODEV);
	KUNIT_ASSERT_TRUE(test, virtgpu_kunit_mmap_wait(second));
	KUNIT_EXPECT_EQ(test, virtgpu_kunit_mmap_error(second), -ENODEV);

	finish(&t);
	virtgpu_kunit_close(t.f, keep);
}

static const u32 shared_params[] = {
	VIRTIO_GPU_RESP_OK_MAP_INFO,
	VIRTIO_GPU_RESP_ERR_OUT_OF_MEMORY,
	VIRTIO_GPU_RESP_ERR_UNSPEC,
};

static void shared_desc(const u32 *p, char *desc)
{
	scnprintf(desc, KUNIT_PARAM_DESC_SIZE, "%#x", *p);
}

KUNIT_ARRAY_PARAM(shared, shared_params, shared_desc);

/* Many processes that mmap() one blob share one MAP_BLOB and its result. */
static void many_mmap_one_blob(struct kunit *test)
{
	const u32 *resp = test->param_value;
	struct map_test t = make(test, &virtgpu_fake_defaults);
	u32 handle = make_blob(test, &t, DEFER);
	struct virtgpu_kunit_mmapper *m[MANY];
	unsigned int i;
	int result;

	virtgpu_fake_hold(t.f, MAP_BLOB);
	for (i = 0; i < MANY; i++)
		m[i] = start_map(&t, handle);
	for (i = 0; i < MANY; i++)
		KUNIT_EXPECT_TRUE(test, virtgpu_kunit_thread_wait_asleep(m[i]->thread));
	KUNIT_ASSERT_TRUE(test, virtgpu_fake_wait_held(t.f, 1));
	virtgpu_fake_settle(t.f);
	KUNIT_EXPECT_EQ(test, virtgpu_fake_held(t.f), 1);

	result = *resp == VIRTIO_GPU_RESP_OK_MAP_INFO ? 0 :
		 *resp == VIRTIO_GPU_RESP_ERR_OUT_OF_MEMORY ? -ENOMEM : -EIO;
	virtgpu_fake_release_all(t.f, *resp);
	for (i = 0; i < MANY; i++) {
		KUNIT_ASSERT_TRUE(test, virtgpu_kunit_mmap_wait(m[i]));
		KUNIT_EXPECT_EQ(test, virtgpu_kunit_mmap_error(m[i]), result);
		KUNIT_EXPECT_TRUE(test, virtgpu_kunit_munmap(m[i]));
	}
	KUNIT_EXPECT_EQ(test, maps(&t), 1);

	finish(&t);
}

/*
 * Many processes that mmap() a blob each wait at the same time, not one after the other. The host
 * may answer in any order; the answer finds its blob.
 */
static void many_mmap_many_blobs(struct kunit *test)
{
	struct map_test t = make(test, &virtgpu_fake_defaults);
	struct virtgpu_kunit_mmapper *m[MANY];
	u32 handles[MANY];
	unsigned int i;

	for (i = 0; i < MANY; i++)
		handles[i] = make_blob(test, &t, DEFER);
	virtgpu_fake_hold(t.f, MAP_BLOB);
	for (i = 0; i < MANY; i++) {
		m[i] = start_map(&t, handles[i]);
		KUNIT_ASSERT_TRUE(test, virtgpu_fake_wait_held(t.f, i + 1));
	}

	/* the last one first, and every other one refused */
	for (i = MANY; i--;) {
		virtgpu_fake_release(t.f, i, i % 2 ? VIRTIO_GPU_RESP_ERR_UNSPEC : 0);
		KUNIT_ASSERT_TRUE(test, virtgpu_kunit_mmap_wait(m[i]));
		KUNIT_EXPECT_EQ(test, virtgpu_kunit_mmap_error(m[i]), i % 2 ? -EIO : 0);
		KUNIT_EXPECT_TRUE(test, virtgpu_kunit_munmap(m[i]));
	}

	finish(&t);
}

/* So does one process that first calls the ioctl for all of them. */
static void many_map_ioctls_overlap(struct kunit *test)
{
	struct map_test t = make(test, &virtgpu_fake_defaults);
	u32 handles[MANY];
	unsigned int i;
	u64 offset;

	for (i = 0; i < MANY; i++)
		handles[i] = make_blob(test, &t, DEFER);
	virtgpu_fake_hold(t.f, MAP_BLOB);
	for (i = 0; i < MANY; i++)
		KUNIT_EXPECT_EQ(test, virtgpu_kunit_map_ioctl(t.file, handles[i], &offset), 0);
	KUNIT_EXPECT_TRUE(test, virtgpu_fake_wait_held(t.f, MANY));
	virtgpu_fake_release_all(t.f, 0);
	for (i = 0; i < MANY; i++)
		KUNIT_EXPECT_EQ(test, map(&t, handles[i]), 0);
	KUNIT_EXPECT_EQ(test, maps(&t), MANY);

	finish(&t);
}

/* More mappings than the ring has room for are all made. */
static void small_ring_is_enough(struct kunit *test)
{
	struct virtgpu_fake_params params = *small_ring();
	u32 handles[4 * MANY];
	struct map_test t;
	unsigned int i;
	u64 offset;

	params.window = ARRAY_SIZE(handles) * SIZE;
	t = make(test, &params);
	for (i = 0; i < ARRAY_SIZE(handles); i++)
		handles[i] = make_blob(test, &t, DEFER);
	for (i = 0; i < ARRAY_SIZE(handles); i++)
		KUNIT_EXPECT_EQ(test, virtgpu_kunit_map_ioctl(t.file, handles[i], &offset), 0);
	for (i = 0; i < ARRAY_SIZE(handles); i++)
		KUNIT_EXPECT_EQ(test, map(&t, handles[i]), 0);
	KUNIT_EXPECT_EQ(test, maps(&t), ARRAY_SIZE(handles));

	finish(&t);
}

/* Closing the handle while mmap() waits does not pull the blob from under it. */
static void handle_may_go_while_mmap_waits(struct kunit *test)
{
	struct map_test t = make(test, &virtgpu_fake_defaults);
	u32 handle = make_blob(test, &t, DEFER);
	struct virtgpu_kunit_mmapper *m;
	unsigned long pfn;

	virtgpu_fake_hold(t.f, MAP_BLOB);
	m = start_map(&t, handle);
	KUNIT_ASSERT_TRUE(test, virtgpu_fake_wait_held(t.f, 1));
	KUNIT_EXPECT_EQ(test, virtgpu_kunit_delete(t.file, handle), 0);
	virtgpu_fake_settle(t.f);
	KUNIT_EXPECT_EQ(test, virtgpu_fake_resources(t.f), 1);

	virtgpu_fake_release_all(t.f, 0);
	KUNIT_ASSERT_TRUE(test, virtgpu_kunit_mmap_wait(m));
	KUNIT_EXPECT_EQ(test, virtgpu_kunit_mmap_error(m), 0);
	KUNIT_EXPECT_EQ(test, virtgpu_kunit_mmap_pfn(m, 0, &pfn, NULL), 0);
	KUNIT_EXPECT_EQ(test, unmaps(&t), 0);
	KUNIT_EXPECT_TRUE(test, virtgpu_kunit_munmap(m));
	virtgpu_fake_settle(t.f);
	KUNIT_EXPECT_EQ(test, unmaps(&t), 1);

	finish(&t);
}

static struct kunit_case map_cases[] = {
	KUNIT_CASE(deferred_never_mapped),
	KUNIT_CASE(hint_from_user_memory),
	KUNIT_CASE(deferred_blobs_exceed_the_window),
	KUNIT_CASE(eager_as_before),
	KUNIT_CASE(eager_create_kicks_once),
	KUNIT_CASE(eager_fails_when_the_window_is_full),
	KUNIT_CASE(map_ioctl_starts_and_does_not_wait),
	KUNIT_CASE(map_ioctl_succeeds_when_the_window_is_full),
	KUNIT_CASE(map_ioctl_succeeds_when_the_host_refuses),
	KUNIT_CASE(map_ioctl_needs_a_handle),
	KUNIT_CASE(map_ioctl_leaves_other_blobs_alone),
	KUNIT_CASE(mmap_maps_on_first_use),
	KUNIT_CASE(mmap_maps_the_right_pages),
	KUNIT_CASE_PARAM(mmap_caches_as_the_host_says, caching_gen_params),
	KUNIT_CASE(mmap_of_a_part),
	KUNIT_CASE(mmap_fails_when_the_window_is_full),
	KUNIT_CASE(mmap_fails_when_the_window_is_too_small),
	KUNIT_CASE(mmap_works_in_a_huge_window),
	KUNIT_CASE_PARAM(mmap_tries_again_after_a_refusal, refusal_gen_params),
	KUNIT_CASE(refused_blob_is_not_unmapped),
	KUNIT_CASE(mmap_fails_when_the_queue_is_broken),
	KUNIT_CASE_PARAM(mmap_waits_for_the_host, hint_gen_params),
	KUNIT_CASE_PARAM(mmap_can_be_killed, hint_gen_params),
	KUNIT_CASE(killed_task_leaves_others_waiting),
	KUNIT_CASE(mmap_waits_for_room_in_the_ring),
	KUNIT_CASE(mmap_can_be_killed_in_a_full_ring),
	KUNIT_CASE(killed_create_leaves_nothing),
	KUNIT_CASE(map_ioctl_can_be_killed_in_a_full_ring),
	KUNIT_CASE(unplug_ends_a_wait_for_room),
	KUNIT_CASE_PARAM(many_mmap_one_blob, shared_gen_params),
	KUNIT_CASE(many_mmap_many_blobs),
	KUNIT_CASE(many_map_ioctls_overlap),
	KUNIT_CASE(small_ring_is_enough),
	KUNIT_CASE(handle_may_go_while_mmap_waits),
	{}
};

static struct kunit_suite map_suite = {
	.name = "virtio_gpu_map",
	.test_cases = map_cases,
};

kunit_test_suite(map_suite);

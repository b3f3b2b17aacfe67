// SPDX-License-Identifier: GPL-2.0
/*
 * DRM_IOCTL_VIRTGPU_RESOURCE_CREATE_BLOB as a process calls it, with an argument in its memory.
 */

#include <kunit/test.h>
#include <linux/uaccess.h>

#include <drm/drm_ioctl.h>

#include "../virtgpu_drv.h"
#include "virtgpu_kunit_helpers.h"

/* The size of the argument before there were hints, and since. */
#define OLD_SIZE	48
#define NEW_SIZE	56

static_assert(sizeof(struct drm_virtgpu_resource_create_blob) == NEW_SIZE);
static_assert(offsetof(struct drm_virtgpu_resource_create_blob, blob_hints) == OLD_SIZE);
static_assert(DRM_VIRTGPU_BLOB_FLAG_HINT_DEFER_MAPPING == 1);

/* Call the ioctl with an argument of @size bytes. @rc is all that lies in memory there. */
static long user_create(struct virtgpu_kunit *k, struct drm_virtgpu_resource_create_blob *rc,
			size_t size)
{
	unsigned int cmd = DRM_IOCTL_VIRTGPU_RESOURCE_CREATE_BLOB;
	unsigned long addr = virtgpu_kunit_user_page(k);
	long ret;

	KUNIT_ASSERT_EQ(k->test, copy_to_user((void __user *)addr, rc, sizeof(*rc)), 0);
	cmd = _IOC(_IOC_DIR(cmd), _IOC_TYPE(cmd), _IOC_NR(cmd), size);
	ret = k->file->f_op->unlocked_ioctl(k->file, cmd, addr);
	KUNIT_ASSERT_EQ(k->test, copy_from_user(rc, (void __user *)addr, sizeof(*rc)), 0);
	virtgpu_kunit_settle(k);

	return ret;
}

/*
 * A program that was compiled before there were hints passes 48 bytes, and gets a blob that is
 * mapped at creation. The kernel neither reads nor writes what follows the 48 bytes.
 */
static void old_caller_gets_eager_blob(struct kunit *test)
{
	struct virtgpu_kunit *k = test->priv;
	struct drm_virtgpu_resource_create_blob rc;

	rc = virtgpu_kunit_host_blob(SIZE, MAPPABLE, 0xdeadbeef | DEFER);
	rc.pad2 = 0x12345678;
	KUNIT_EXPECT_EQ(test, user_create(k, &rc, OLD_SIZE), 0);
	KUNIT_EXPECT_NE(test, rc.bo_handle, 0);
	KUNIT_EXPECT_NE(test, rc.res_handle, 0);
	KUNIT_EXPECT_EQ(test, rc.blob_hints, 0xdeadbeef | DEFER);
	KUNIT_EXPECT_EQ(test, rc.pad2, 0x12345678);
	KUNIT_EXPECT_EQ(test, virtgpu_fake_mapped(k->fake), 1);
}

/* A program that passes 56 bytes can pass the hint. */
static void new_caller_gets_deferred_blob(struct kunit *test)
{
	struct virtgpu_kunit *k = test->priv;
	struct drm_virtgpu_resource_create_blob rc;

	rc = virtgpu_kunit_host_blob(SIZE, MAPPABLE, DEFER);
	KUNIT_EXPECT_EQ(test, user_create(k, &rc, NEW_SIZE), 0);
	KUNIT_EXPECT_NE(test, rc.bo_handle, 0);
	KUNIT_EXPECT_EQ(test, virtgpu_fake_resources(k->fake), 1);
	KUNIT_EXPECT_EQ(test, virtgpu_fake_count(k->fake, MAP_BLOB), 0);
}

static struct kunit_case abi_cases[] = {
	KUNIT_CASE(old_caller_gets_eager_blob),
	KUNIT_CASE(new_caller_gets_deferred_blob),
	{}
};

static struct kunit_suite abi_suite = {
	.name = "virtio_gpu_abi",
	.init = virtgpu_kunit_init,
	.exit = virtgpu_kunit_exit,
	.test_cases = abi_cases,
};

kunit_test_suite(abi_suite);

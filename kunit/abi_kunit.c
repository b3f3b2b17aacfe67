// SPDX-License-Identifier: GPL-2.0
/*
 * What DRM_IOCTL_VIRTGPU_RESOURCE_CREATE_BLOB looks like to programs that are already compiled.
 */

#include <kunit/test.h>
#include <linux/mman.h>
#include <linux/uaccess.h>

#include <drm/drm_ioctl.h>

#include "../virtgpu_drv.h"
#include "virtgpu_kunit_deferred.h"

/* The size the argument had before there were hints. */
#define OLD_SIZE	48

/* The struct is laid out as mainline's, without holes. */
static void create_blob_layout(struct kunit *test)
{
	KUNIT_EXPECT_EQ(test, sizeof(struct drm_virtgpu_resource_create_blob), 56);
	KUNIT_EXPECT_EQ(test, offsetof(struct drm_virtgpu_resource_create_blob, blob_mem), 0);
	KUNIT_EXPECT_EQ(test, offsetof(struct drm_virtgpu_resource_create_blob, blob_flags), 4);
	KUNIT_EXPECT_EQ(test, offsetof(struct drm_virtgpu_resource_create_blob, bo_handle), 8);
	KUNIT_EXPECT_EQ(test, offsetof(struct drm_virtgpu_resource_create_blob, res_handle), 12);
	KUNIT_EXPECT_EQ(test, offsetof(struct drm_virtgpu_resource_create_blob, size), 16);
	KUNIT_EXPECT_EQ(test, offsetof(struct drm_virtgpu_resource_create_blob, pad), 24);
	KUNIT_EXPECT_EQ(test, offsetof(struct drm_virtgpu_resource_create_blob, cmd_size), 28);
	KUNIT_EXPECT_EQ(test, offsetof(struct drm_virtgpu_resource_create_blob, cmd), 32);
	KUNIT_EXPECT_EQ(test, offsetof(struct drm_virtgpu_resource_create_blob, blob_id), 40);
	KUNIT_EXPECT_EQ(test, offsetof(struct drm_virtgpu_resource_create_blob, blob_hints),
			OLD_SIZE);
	KUNIT_EXPECT_EQ(test, offsetof(struct drm_virtgpu_resource_create_blob, pad2), 52);
	KUNIT_EXPECT_EQ(test,
			sizeof_field(struct drm_virtgpu_resource_create_blob, blob_hints), 4);
	KUNIT_EXPECT_EQ(test, sizeof_field(struct drm_virtgpu_resource_create_blob, pad2), 4);
}

/* The number of the ioctl is mainline's, size included. */
static void create_blob_number(struct kunit *test)
{
	KUNIT_EXPECT_EQ(test, (u32)DRM_IOCTL_VIRTGPU_RESOURCE_CREATE_BLOB, 0xc038644a);
}

/* The hint has mainline's value. */
static void defer_mapping_value(struct kunit *test)
{
	KUNIT_EXPECT_EQ(test, DRM_VIRTGPU_BLOB_FLAG_HINT_DEFER_MAPPING, 1);
}

/*
 * A program that was compiled before there were hints passes 48 bytes. It gets a blob that is
 * mapped when it is created; what is behind the 48 bytes in its memory is neither read nor written.
 */
static void old_caller_passes_no_hints(struct kunit *test)
{
	struct virtgpu_fake *f = virtgpu_fake_create(test, &virtgpu_fake_defaults);
	struct file *file = virtgpu_kunit_open(f);
	struct drm_virtgpu_resource_create_blob rc, back;
	unsigned int cmd = DRM_IOCTL_VIRTGPU_RESOURCE_CREATE_BLOB;
	unsigned long addr;

	rc = virtgpu_kunit_blob(VIRTGPU_KUNIT_SIZE, VIRTGPU_BLOB_FLAG_USE_MAPPABLE);
	rc.blob_hints = 0xdeadbeef | VIRTGPU_KUNIT_DEFER;
	rc.pad2 = 0x12345678;
	addr = kunit_vm_mmap(test, NULL, 0, PAGE_SIZE, PROT_READ | PROT_WRITE,
			     MAP_PRIVATE | MAP_ANONYMOUS, 0);
	KUNIT_ASSERT_TRUE(test, addr && !IS_ERR_VALUE(addr));
	KUNIT_ASSERT_EQ(test, copy_to_user((void __user *)addr, &rc, sizeof(rc)), 0);

	cmd = _IOC(_IOC_DIR(cmd), _IOC_TYPE(cmd), _IOC_NR(cmd), OLD_SIZE);
	KUNIT_EXPECT_EQ(test, file->f_op->unlocked_ioctl(file, cmd, addr), 0);
	KUNIT_ASSERT_EQ(test, copy_from_user(&back, (void __user *)addr, sizeof(back)), 0);
	KUNIT_ASSERT_EQ(test, vm_munmap(addr, PAGE_SIZE), 0);

	KUNIT_EXPECT_NE(test, back.bo_handle, 0);
	KUNIT_EXPECT_NE(test, back.res_handle, 0);
	KUNIT_EXPECT_EQ(test, back.blob_hints, rc.blob_hints);
	KUNIT_EXPECT_EQ(test, back.pad2, rc.pad2);
	KUNIT_EXPECT_TRUE(test, virtgpu_fake_wait(f, VIRTIO_GPU_CMD_RESOURCE_MAP_BLOB, 1));

	virtgpu_kunit_close(f, file);
	virtgpu_kunit_expect_clean(f);
}

static struct kunit_case abi_cases[] = {
	KUNIT_CASE(create_blob_layout),
	KUNIT_CASE(create_blob_number),
	KUNIT_CASE(defer_mapping_value),
	KUNIT_CASE(old_caller_passes_no_hints),
	{}
};

static struct kunit_suite abi_suite = {
	.name = "virtio_gpu_abi",
	.test_cases = abi_cases,
};

kunit_test_suite(abi_suite);

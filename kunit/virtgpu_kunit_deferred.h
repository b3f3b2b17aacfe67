/* SPDX-License-Identifier: GPL-2.0 */
/*
 * For suites that need a driver whose blobs can be mapped on first use.
 */
#ifndef _VIRTGPU_KUNIT_DEFERRED_H_
#define _VIRTGPU_KUNIT_DEFERRED_H_

#include <kunit/test.h>
#include <linux/mm.h>

#include "virtgpu_kunit_helpers.h"

#define VIRTGPU_KUNIT_DEFER	DRM_VIRTGPU_BLOB_FLAG_HINT_DEFER_MAPPING

/* What most blobs of the tests measure: two pages, so that a wrong page is noticed. */
#define VIRTGPU_KUNIT_SIZE	(2 * PAGE_SIZE)

/**
 * virtgpu_kunit_mappable - create a mappable HOST3D blob
 * @test: the test, which fails here if there is an error
 * @file: an open render node
 * @size: its size in bytes
 * @hints: DRM_VIRTGPU_BLOB_FLAG_HINT_*
 *
 * Return: its handle.
 */
static inline u32 virtgpu_kunit_mappable(struct kunit *test, struct file *file, u64 size, u32 hints)
{
	struct drm_virtgpu_resource_create_blob rc;

	rc = virtgpu_kunit_blob(size, VIRTGPU_BLOB_FLAG_USE_MAPPABLE);
	rc.blob_hints = hints;
	KUNIT_ASSERT_EQ(test, virtgpu_kunit_create_blob(file, &rc), 0);

	return rc.bo_handle;
}

#endif

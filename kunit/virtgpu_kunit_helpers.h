/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the suites share: files, ioctls, blobs, and threads that may block in the driver.
 */
#ifndef _VIRTGPU_KUNIT_HELPERS_H_
#define _VIRTGPU_KUNIT_HELPERS_H_

#include <linux/completion.h>
#include <linux/mm_types.h>
#include <linux/types.h>

#include <drm/virtgpu_drm.h>

#include "virtgpu_fake.h"

struct file;
struct virtgpu_kunit_thread;
struct virtio_gpu_object_vram;

/* Files and ioctls */
struct file *virtgpu_kunit_open(struct virtgpu_fake *f);
void virtgpu_kunit_close(struct virtgpu_fake *f, struct file *file);
int virtgpu_kunit_ioctl(struct file *file, unsigned int cmd, void *arg);
long virtgpu_kunit_user_ioctl(struct kunit *test, struct file *file, unsigned int cmd, void *arg,
			      size_t size);

/* Blobs */
struct drm_virtgpu_resource_create_blob virtgpu_kunit_blob(u64 size, u32 blob_flags);
int virtgpu_kunit_create_blob(struct file *file, struct drm_virtgpu_resource_create_blob *rc);
int virtgpu_kunit_map_ioctl(struct file *file, u32 handle, u64 *offset);
int virtgpu_kunit_delete(struct file *file, u32 handle);
struct virtio_gpu_object_vram *virtgpu_kunit_vram(struct file *file, u32 handle);
u64 virtgpu_kunit_offset(struct file *file, u32 handle);
void virtgpu_kunit_expect_clean(struct virtgpu_fake *f);

/* Threads */
struct virtgpu_kunit_thread *virtgpu_kunit_thread_run(struct virtgpu_fake *f, const char *name,
						      long (*fn)(void *data), void *data);
bool virtgpu_kunit_thread_wait(struct virtgpu_kunit_thread *thread);
bool virtgpu_kunit_thread_wait_asleep(struct virtgpu_kunit_thread *thread);
long virtgpu_kunit_thread_result(struct virtgpu_kunit_thread *thread);
void virtgpu_kunit_thread_kill(struct virtgpu_kunit_thread *thread);

struct virtgpu_kunit_thread *virtgpu_kunit_unplug_start(struct virtgpu_fake *f);
bool virtgpu_kunit_unplug(struct virtgpu_fake *f);

/**
 * struct virtgpu_kunit_mmapper - a process that mmap()s a blob
 * @thread: its thread, ends after the munmap()
 * @mm: its address space; valid while the file is mapped
 * @file: what it maps
 * @offset: what it maps
 * @len: what it maps
 * @addr: where it is mapped, or what mmap() returned instead
 * @returned: mmap() has returned
 * @unmap: it may unmap and exit
 */
struct virtgpu_kunit_mmapper {
	struct virtgpu_kunit_thread *thread;
	struct mm_struct *mm;
	struct file *file;
	u64 offset;
	size_t len;
	unsigned long addr;
	struct completion returned;
	struct completion unmap;
};

struct virtgpu_kunit_mmapper *virtgpu_kunit_mmap_start(struct virtgpu_fake *f, struct file *file,
						       u64 offset, size_t len);
bool virtgpu_kunit_mmap_wait(struct virtgpu_kunit_mmapper *m);
int virtgpu_kunit_mmap_error(struct virtgpu_kunit_mmapper *m);
int virtgpu_kunit_mmap_pfn(struct virtgpu_kunit_mmapper *m, size_t page, unsigned long *pfn,
			   pgprot_t *prot);
bool virtgpu_kunit_munmap(struct virtgpu_kunit_mmapper *m);
int virtgpu_kunit_mmap(struct virtgpu_fake *f, struct file *file, u64 offset, size_t len);

#endif

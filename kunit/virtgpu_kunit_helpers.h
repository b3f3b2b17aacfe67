/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The fixture of the suites: a device, an open file, blobs, and tasks that may block in the driver.
 *
 * A suite has virtgpu_kunit_init() and virtgpu_kunit_exit() as its .init and .exit, and its cases
 * find the fixture in test->priv.
 */
#ifndef _VIRTGPU_KUNIT_HELPERS_H_
#define _VIRTGPU_KUNIT_HELPERS_H_

#include <linux/completion.h>
#include <linux/delay.h>
#include <linux/jiffies.h>
#include <linux/list.h>
#include <linux/mm_types.h>
#include <linux/sizes.h>
#include <linux/types.h>

#include <drm/virtgpu_drm.h>

#include "virtgpu_fake.h"

struct dma_buf;
struct dma_fence;
struct drm_gem_object;
struct file;
struct kunit;
struct task_struct;
struct virtio_gpu_object_vram;

/* Commands, flags and hints that most suites use */
#define CREATE_BLOB	VIRTIO_GPU_CMD_RESOURCE_CREATE_BLOB
#define MAP_BLOB	VIRTIO_GPU_CMD_RESOURCE_MAP_BLOB
#define UNMAP_BLOB	VIRTIO_GPU_CMD_RESOURCE_UNMAP_BLOB
#define UNREF		VIRTIO_GPU_CMD_RESOURCE_UNREF
#define MAPPABLE	VIRTGPU_BLOB_FLAG_USE_MAPPABLE
#define EAGER		0
#define DEFER		DRM_VIRTGPU_BLOB_FLAG_HINT_DEFER_MAPPING

/* The size of most blobs in bytes: two pages, so that a wrong page is noticed. */
#define SIZE		(2 * PAGE_SIZE)

/**
 * struct virtgpu_kunit - the fixture of a case
 * @test: the test
 * @fake: the device
 * @drm: the DRM device of the driver, which the fixture holds until it is destroyed
 * @vgdev: the driver's own structure, which lives as long as @drm
 * @file: an open render node of the device, NULL once it is closed
 * @priv: for the suite
 * @files: all open files
 * @threads: all threads
 * @allocs: memory of virtgpu_kunit_zalloc()
 * @next: another fixture of this test
 *
 * For the test's own thread only. The fixture outlives the test if a thread is stuck in the driver.
 */
struct virtgpu_kunit {
	struct kunit *test;
	struct virtgpu_fake *fake;
	struct drm_device *drm;
	struct virtio_gpu_device *vgdev;
	struct file *file;
	void *priv;
	struct list_head files;
	struct list_head threads;
	struct list_head allocs;
	struct virtgpu_kunit *next;
};

/**
 * struct virtgpu_kunit_thread - a function that runs beside the test
 * @k: the fixture
 * @node: entry in &virtgpu_kunit.threads
 * @task: the task, with a reference. It can be killed.
 * @has_mm: the task has an mm of its own
 * @fn: the function
 * @data: argument of the function
 * @result: return value of the function; of mmap() zero or an errno
 * @returned: @result is valid: the function, or mmap(), has returned
 * @ended: the function has returned, and the mm is gone
 * @file: mmap(): file that is mapped, with a reference until mmap() has returned
 * @offset: mmap(): offset in the file in bytes
 * @len: mmap(): length in bytes
 * @mm: mmap(): the address space, valid until virtgpu_kunit_munmap()
 * @addr: mmap(): address of the mapping
 * @unmap: mmap(): the thread may unmap and end
 */
struct virtgpu_kunit_thread {
	struct virtgpu_kunit *k;
	struct list_head node;
	struct task_struct *task;
	bool has_mm;
	long (*fn)(void *data);
	void *data;
	long result;
	struct completion returned;
	struct completion ended;
	struct file *file;
	u64 offset;
	size_t len;
	struct mm_struct *mm;
	unsigned long addr;
	struct completion unmap;
};

/**
 * virtgpu_kunit_wait_until() - wait until a condition holds
 * @cond: the condition, which may sleep
 *
 * For facts that nothing wakes the test for.
 *
 * Return: whether the condition held within VIRTIO_FAKE_TIMEOUT.
 */
#define virtgpu_kunit_wait_until(cond) ({				\
	unsigned long __end = jiffies + VIRTIO_FAKE_TIMEOUT;		\
	bool __holds;							\
									\
	while (!(__holds = (cond)) && time_before(jiffies, __end))	\
		usleep_range(50, 200);					\
	__holds;							\
})

/* Fixtures */
int virtgpu_kunit_init(struct kunit *test);
void virtgpu_kunit_exit(struct kunit *test);
struct virtgpu_kunit *virtgpu_kunit_init_with(struct kunit *test,
					      const struct virtgpu_fake_params *params);
struct virtgpu_kunit *virtgpu_kunit_add(struct kunit *test,
					const struct virtgpu_fake_params *params);
struct virtgpu_fake_params virtgpu_kunit_params(u64 without_features);
struct virtgpu_fake_params virtgpu_kunit_ring(unsigned int vq_num);
void *virtgpu_kunit_zalloc(struct virtgpu_kunit *k, size_t size);
void virtgpu_kunit_settle(struct virtgpu_kunit *k);
void virtgpu_kunit_expect_clean(struct virtgpu_kunit *k);
bool virtgpu_kunit_window_is_empty(struct virtgpu_kunit *k);

/* Files and ioctls */
struct file *virtgpu_kunit_open(struct virtgpu_kunit *k);
void virtgpu_kunit_close(struct virtgpu_kunit *k, struct file *file);
int virtgpu_kunit_ioctl(struct file *file, unsigned int cmd, void *arg);
unsigned long virtgpu_kunit_user_page(struct virtgpu_kunit *k);
int virtgpu_kunit_submit(struct virtgpu_kunit *k, struct dma_fence **fence);

/* Blobs, all of k->file */
struct drm_virtgpu_resource_create_blob virtgpu_kunit_host_blob(u64 size, u32 flags, u32 hints);
struct drm_virtgpu_resource_create_blob virtgpu_kunit_guest_blob(u64 size, u32 flags, u32 hints);
int virtgpu_kunit_create(struct virtgpu_kunit *k, struct drm_virtgpu_resource_create_blob *rc);
u32 virtgpu_kunit_blob(struct virtgpu_kunit *k, u32 hints);
u32 virtgpu_kunit_blob_of(struct virtgpu_kunit *k, u64 size, u32 flags, u32 hints);
u32 virtgpu_kunit_fill_window(struct virtgpu_kunit *k);
int virtgpu_kunit_map_ioctl(struct virtgpu_kunit *k, u32 handle, u64 *offset);
void virtgpu_kunit_delete(struct virtgpu_kunit *k, u32 handle);
struct virtio_gpu_object_vram *virtgpu_kunit_vram(struct virtgpu_kunit *k, u32 handle);
u64 virtgpu_kunit_offset(struct virtgpu_kunit *k, u32 handle);
struct dma_buf *virtgpu_kunit_export(struct virtgpu_kunit *k, u32 handle);
void virtgpu_kunit_put_dma_buf(struct virtgpu_kunit *k, struct dma_buf *dma_buf);

/* Threads */
struct virtgpu_kunit_thread *virtgpu_kunit_run(struct virtgpu_kunit *k, const char *name,
					       long (*fn)(void *data), void *data);
struct virtgpu_kunit_thread *virtgpu_kunit_ioctl_start(struct virtgpu_kunit *k, unsigned int cmd,
						       const void *arg);
struct virtgpu_kunit_thread *virtgpu_kunit_create_start(struct virtgpu_kunit *k, u64 size,
							u32 flags);
struct virtgpu_kunit_thread *virtgpu_kunit_delete_start(struct virtgpu_kunit *k, u32 handle);
bool virtgpu_kunit_wait_returned(struct virtgpu_kunit_thread *thread);
bool virtgpu_kunit_wait_mapping(struct virtgpu_kunit_thread *thread);
bool virtgpu_kunit_wait_ring_space(struct virtgpu_kunit_thread *thread);
bool virtgpu_kunit_wait_response(struct virtgpu_kunit_thread *thread);
long virtgpu_kunit_result(struct virtgpu_kunit_thread *thread);
void virtgpu_kunit_kill(struct virtgpu_kunit_thread *thread);
bool virtgpu_kunit_end_threads(struct virtgpu_kunit *k);

/* mmap() */
struct virtgpu_kunit_thread *virtgpu_kunit_mmap_start(struct virtgpu_kunit *k, u32 handle);
struct virtgpu_kunit_thread *virtgpu_kunit_mmap_file_start(struct virtgpu_kunit *k,
							   struct file *file, u64 offset,
							   size_t len);
int virtgpu_kunit_mmap(struct virtgpu_kunit *k, u32 handle);
int virtgpu_kunit_mmap_file(struct virtgpu_kunit *k, struct file *file, u64 offset, size_t len);
int virtgpu_kunit_mmap_pfn(struct virtgpu_kunit_thread *thread, size_t page, unsigned long *pfn,
			   pgprot_t *prot);
void virtgpu_kunit_munmap(struct virtgpu_kunit_thread *thread);

#endif

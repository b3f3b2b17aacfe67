// SPDX-License-Identifier: GPL-2.0

#include <kunit/test.h>
#include <linux/delay.h>
#include <linux/file.h>
#include <linux/kthread.h>
#include <linux/mm.h>
#include <linux/mman.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/sched/task.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include <drm/drm_drv.h>
#include <drm/drm_file.h>
#include <drm/drm_gem.h>
#include <drm/drm_ioctl.h>
#include <drm/drm_vma_manager.h>

#include "../virtgpu_drv.h"
#include "virtgpu_kunit_helpers.h"

/*
 * Files and ioctls
 */

static void virtgpu_kunit_fput(void *file)
{
	/* What a kernel thread closes with fput() is closed later. */
	__fput_sync(file);
	flush_delayed_fput();
}

static void virtgpu_kunit_relent(void *f)
{
	virtgpu_fake_relent(f);
}

/**
 * virtgpu_kunit_open - open the device's render node
 * @f: the device
 *
 * The file is closed at the end of the test if it is not before.
 *
 * Return: the file.
 */
struct file *virtgpu_kunit_open(struct virtgpu_fake *f)
{
	struct kunit *test = virtgpu_fake_test(f);
	struct file *file;

	file = mock_drm_getfile(virtgpu_fake_drm(f)->render, O_RDWR | O_CLOEXEC);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, file);
	KUNIT_ASSERT_EQ(test, kunit_add_action_or_reset(test, virtgpu_kunit_fput, file), 0);
	/* a test that fails may leave a device that does not let go of the file */
	KUNIT_ASSERT_EQ(test, kunit_add_action_or_reset(test, virtgpu_kunit_relent, f), 0);

	return file;
}

/**
 * virtgpu_kunit_close - close a file
 * @f: the device
 * @file: what virtgpu_kunit_open() returned
 *
 * Mappings of the file keep it open.
 */
void virtgpu_kunit_close(struct virtgpu_fake *f, struct file *file)
{
	kunit_release_action(virtgpu_fake_test(f), virtgpu_kunit_fput, file);
}

/**
 * virtgpu_kunit_ioctl - call one of the driver's ioctls with an argument in kernel memory
 * @file: an open render node
 * @cmd: DRM_IOCTL_VIRTGPU_*
 * @arg: the whole argument
 *
 * Return: what the ioctl returned.
 */
int virtgpu_kunit_ioctl(struct file *file, unsigned int cmd, void *arg)
{
	struct drm_file *priv = file->private_data;
	const struct drm_ioctl_desc *desc;

	desc = &priv->minor->dev->driver->ioctls[_IOC_NR(cmd) - DRM_COMMAND_BASE];

	return drm_ioctl_kernel(file, desc->func, arg, desc->flags);
}

/**
 * virtgpu_kunit_user_ioctl - call an ioctl as a process does
 * @test: the test
 * @file: an open render node
 * @cmd: DRM_IOCTL_*
 * @arg: the argument
 * @size: its size, which may be another than @cmd has
 *
 * For what depends on the argument's size.
 *
 * Return: what the ioctl returned.
 */
long virtgpu_kunit_user_ioctl(struct kunit *test, struct file *file, unsigned int cmd, void *arg,
			      size_t size)
{
	unsigned long addr;
	long ret;

	addr = kunit_vm_mmap(test, NULL, 0, PAGE_SIZE, PROT_READ | PROT_WRITE,
			     MAP_PRIVATE | MAP_ANONYMOUS, 0);
	KUNIT_ASSERT_TRUE(test, addr && !IS_ERR_VALUE(addr));
	KUNIT_ASSERT_EQ(test, copy_to_user((void __user *)addr, arg, size), 0);

	cmd = _IOC(_IOC_DIR(cmd), _IOC_TYPE(cmd), _IOC_NR(cmd), size);
	ret = file->f_op->unlocked_ioctl(file, cmd, addr);

	KUNIT_ASSERT_EQ(test, copy_from_user(arg, (void __user *)addr, size), 0);
	KUNIT_ASSERT_EQ(test, vm_munmap(addr, PAGE_SIZE), 0);

	return ret;
}

/*
 * Blobs
 */

/**
 * virtgpu_kunit_blob - the argument to create a HOST3D blob
 * @size: its size in bytes
 * @blob_flags: VIRTGPU_BLOB_FLAG_USE_*
 *
 * Return: the argument, for virtgpu_kunit_create_blob().
 */
struct drm_virtgpu_resource_create_blob virtgpu_kunit_blob(u64 size, u32 blob_flags)
{
	return (struct drm_virtgpu_resource_create_blob) {
		.blob_mem = VIRTGPU_BLOB_MEM_HOST3D,
		.blob_flags = blob_flags,
		.size = size,
		.blob_id = 1,
	};
}

/**
 * virtgpu_kunit_create_blob - create a blob
 * @file: an open render node
 * @rc: what kind of blob; its handle and resource id are filled in
 *
 * Return: what the ioctl returned.
 */
int virtgpu_kunit_create_blob(struct file *file, struct drm_virtgpu_resource_create_blob *rc)
{
	return virtgpu_kunit_ioctl(file, DRM_IOCTL_VIRTGPU_RESOURCE_CREATE_BLOB, rc);
}

/**
 * virtgpu_kunit_map_ioctl - ask for the offset to mmap() a blob at
 * @file: an open render node
 * @handle: the blob
 * @offset: filled in if the ioctl succeeds
 *
 * Return: what the ioctl returned.
 */
int virtgpu_kunit_map_ioctl(struct file *file, u32 handle, u64 *offset)
{
	struct drm_virtgpu_map map = { .handle = handle };
	int ret;

	ret = virtgpu_kunit_ioctl(file, DRM_IOCTL_VIRTGPU_MAP, &map);
	if (!ret)
		*offset = map.offset;

	return ret;
}

/**
 * virtgpu_kunit_delete - close a handle
 * @file: an open render node
 * @handle: the handle
 *
 * Return: 0 or an error.
 */
int virtgpu_kunit_delete(struct file *file, u32 handle)
{
	return drm_gem_handle_delete(file->private_data, handle);
}

static bool virtgpu_kunit_is_vram(struct virtio_gpu_object *bo)
{
	return bo->host3d_blob && !bo->guest_blob;
}

/**
 * virtgpu_kunit_vram - the object behind a handle
 * @file: an open render node
 * @handle: the handle of a HOST3D blob; it keeps the object
 *
 * Return: the object, NULL if there is none or it is of another kind.
 */
struct virtio_gpu_object_vram *virtgpu_kunit_vram(struct file *file, u32 handle)
{
	struct drm_gem_object *obj = drm_gem_object_lookup(file->private_data, handle);
	struct virtio_gpu_object *bo;

	if (!obj)
		return NULL;

	bo = gem_to_virtio_gpu_obj(obj);
	drm_gem_object_put(obj);

	return virtgpu_kunit_is_vram(bo) ? to_virtio_gpu_vram(bo) : NULL;
}

/**
 * virtgpu_kunit_offset - the offset to mmap() a blob at, without the ioctl
 * @file: an open render node
 * @handle: the handle of a HOST3D blob
 *
 * Return: the offset, 0 if there is no such blob.
 */
u64 virtgpu_kunit_offset(struct file *file, u32 handle)
{
	struct virtio_gpu_object_vram *vram = virtgpu_kunit_vram(file, handle);

	return vram ? drm_vma_node_offset_addr(&vram->base.base.base.vma_node) : 0;
}

struct virtgpu_kunit_leaks {
	bool window;
	bool offsets;
	bool objects;
	unsigned int mapped;
	unsigned int resources;
	unsigned int contexts;
};

static bool virtgpu_kunit_find_leaks(struct virtgpu_fake *f, struct virtgpu_kunit_leaks *leaks)
{
	struct drm_device *drm = virtgpu_fake_drm(f);
	struct virtio_gpu_device *vgdev = drm->dev_private;

	if (vgdev->has_host_visible) {
		spin_lock(&vgdev->host_visible_lock);
		leaks->window = !drm_mm_clean(&vgdev->host_visible_mm);
		spin_unlock(&vgdev->host_visible_lock);
	}

	read_lock(&drm->vma_offset_manager->vm_lock);
	leaks->offsets = !drm_mm_clean(&drm->vma_offset_manager->vm_addr_space_mm);
	read_unlock(&drm->vma_offset_manager->vm_lock);

	spin_lock(&vgdev->obj_free_lock);
	leaks->objects = !list_empty(&vgdev->obj_free_list);
	spin_unlock(&vgdev->obj_free_lock);

	leaks->mapped = virtgpu_fake_mapped(f);
	leaks->resources = virtgpu_fake_resources(f);
	leaks->contexts = virtgpu_fake_contexts(f);

	return leaks->window || leaks->offsets || leaks->objects || leaks->mapped ||
	       leaks->resources || leaks->contexts;
}

/**
 * virtgpu_kunit_expect_clean - expect that nothing is left
 * @f: the device; one that was unplugged has forgotten what it held
 *
 * To be called when all is closed and unmapped. What a worker has yet to free is waited for.
 */
void virtgpu_kunit_expect_clean(struct virtgpu_fake *f)
{
	unsigned long end = jiffies + VIRTGPU_FAKE_TIMEOUT;
	struct kunit *test = virtgpu_fake_test(f);
	struct virtgpu_kunit_leaks leaks = {};

	do {
		virtgpu_fake_settle(f);
		if (!virtgpu_kunit_find_leaks(f, &leaks))
			return;
		schedule_timeout_uninterruptible(1);
	} while (time_before(jiffies, end));

	KUNIT_EXPECT_FALSE_MSG(test, leaks.window, "ranges of the window are not given back");
	KUNIT_EXPECT_FALSE_MSG(test, leaks.offsets, "mmap offsets are not given back");
	KUNIT_EXPECT_FALSE_MSG(test, leaks.objects, "objects wait to be freed");
	KUNIT_EXPECT_EQ_MSG(test, leaks.mapped, 0, "the host has resources mapped");
	KUNIT_EXPECT_EQ_MSG(test, leaks.resources, 0, "the host has resources");
	KUNIT_EXPECT_EQ_MSG(test, leaks.contexts, 0, "the host has contexts");
}

/*
 * Threads
 */

/**
 * struct virtgpu_kunit_thread - a function that runs beside the test
 * @f: the device
 * @task: the task, with a reference
 * @fn: the function
 * @data: its argument
 * @result: what it has returned
 * @done: it has returned, and the thread's mm is gone
 *
 * The thread has an mm of its own and can be killed.
 */
struct virtgpu_kunit_thread {
	struct virtgpu_fake *f;
	struct task_struct *task;
	long (*fn)(void *data);
	void *data;
	long result;
	struct completion done;
};

/*
 * A kernel thread that is to call mmap(), or copy to and from a user, needs an mm, and KUnit gives
 * one to whoever maps a page.
 */
static int virtgpu_kunit_get_mm(struct kunit *test)
{
	unsigned long addr;

	addr = kunit_vm_mmap(test, NULL, 0, PAGE_SIZE, PROT_READ | PROT_WRITE,
			     MAP_PRIVATE | MAP_ANONYMOUS, 0);
	if (!addr)
		return -ENOMEM;

	return IS_ERR_VALUE(addr) ? (int)addr : 0;
}

/* Exiting would drop it as well, but after the thread is said to have ended. */
static void virtgpu_kunit_put_mm(void)
{
	struct mm_struct *mm = current->mm;

	if (!mm)
		return;

	kthread_unuse_mm(mm);
	mmput(mm);
	flush_delayed_fput();
}

static int virtgpu_kunit_thread_fn(void *data)
{
	struct virtgpu_kunit_thread *thread = data;

	allow_signal(SIGKILL);
	thread->result = virtgpu_kunit_get_mm(virtgpu_fake_test(thread->f));
	if (!thread->result)
		thread->result = thread->fn(thread->data);
	virtgpu_kunit_put_mm();

	complete_all(&thread->done);

	return 0;
}

static bool virtgpu_kunit_thread_ends(struct virtgpu_kunit_thread *thread, unsigned long timeout)
{
	return wait_for_completion_timeout(&thread->done, timeout);
}

/* Nothing else wakes a thread that waits for a UUID that nobody has asked the device for. */
static void virtgpu_kunit_fail_waits(struct virtgpu_fake *f)
{
	struct drm_device *drm = virtgpu_fake_drm(f);
	struct virtio_gpu_device *vgdev;
	struct drm_mm_node *node;

	if (!drm)
		return;

	read_lock(&drm->vma_offset_manager->vm_lock);
	drm_mm_for_each_node(node, &drm->vma_offset_manager->vm_addr_space_mm) {
		struct drm_gem_object *obj = container_of(node, struct drm_gem_object,
							  vma_node.vm_node);
		struct virtio_gpu_object *bo = gem_to_virtio_gpu_obj(obj);

		if (bo->uuid_state == STATE_INITIALIZING)
			WRITE_ONCE(bo->uuid_state, STATE_ERR);
	}
	read_unlock(&drm->vma_offset_manager->vm_lock);

	vgdev = drm->dev_private;
	wake_up_all(&vgdev->resp_wq);
}

/*
 * A test that passes leaves no thread behind. For others, try ever harder to let it go: the next
 * test needs a kernel that works.
 */
static bool virtgpu_kunit_thread_free(struct virtgpu_kunit_thread *thread)
{
	if (virtgpu_kunit_thread_ends(thread, 1))
		return true;

	virtgpu_fake_relent(thread->f);
	if (virtgpu_kunit_thread_ends(thread, HZ / 2))
		return true;

	virtgpu_kunit_thread_kill(thread);
	if (virtgpu_kunit_thread_ends(thread, HZ / 2))
		return true;

	virtgpu_kunit_fail_waits(thread->f);
	KUNIT_FAIL(virtgpu_fake_test(thread->f), "%s is stuck in the driver", thread->task->comm);

	return virtgpu_kunit_thread_ends(thread, HZ);
}

static void virtgpu_kunit_thread_cleanup(void *data)
{
	struct virtgpu_kunit_thread *thread = data;

	if (!virtgpu_kunit_thread_free(thread)) {
		KUNIT_FAIL(virtgpu_fake_test(thread->f), "%s stays there", thread->task->comm);
		return;
	}

	kthread_stop(thread->task);
	put_task_struct(thread->task);
	kfree(thread);
}

/**
 * virtgpu_kunit_thread_run - run a function beside the test
 * @f: the device
 * @name: name of the thread
 * @fn: the function, which must not assert
 * @data: argument of the function, which must live until the end of the test
 *
 * The test waits for the function in the end, and lets it go if it is stuck.
 *
 * Return: the thread.
 */
struct virtgpu_kunit_thread *virtgpu_kunit_thread_run(struct virtgpu_fake *f, const char *name,
						      long (*fn)(void *data), void *data)
{
	struct kunit *test = virtgpu_fake_test(f);
	struct virtgpu_kunit_thread *thread;
	int ret;

	thread = kzalloc_obj(*thread);
	KUNIT_ASSERT_NOT_NULL(test, thread);
	thread->f = f;
	thread->fn = fn;
	thread->data = data;
	init_completion(&thread->done);

	thread->task = kthread_create(virtgpu_kunit_thread_fn, thread, "%s", name);
	if (IS_ERR(thread->task)) {
		ret = PTR_ERR(thread->task);
		kfree(thread);
		KUNIT_ASSERT_EQ(test, ret, 0);
		return NULL;
	}

	get_task_struct(thread->task);
	wake_up_process(thread->task);
	ret = kunit_add_action_or_reset(test, virtgpu_kunit_thread_cleanup, thread);
	KUNIT_ASSERT_EQ(test, ret, 0);

	return thread;
}

/**
 * virtgpu_kunit_thread_wait - wait until a function has returned
 * @thread: the thread it runs in
 *
 * Return: whether it had within VIRTGPU_FAKE_TIMEOUT.
 */
bool virtgpu_kunit_thread_wait(struct virtgpu_kunit_thread *thread)
{
	return virtgpu_kunit_thread_ends(thread, VIRTGPU_FAKE_TIMEOUT);
}

/**
 * virtgpu_kunit_thread_wait_asleep - wait until a function sleeps
 * @thread: the thread it runs in
 *
 * For waits the device cannot see. A wait that begins with a command is better recognised by
 * virtgpu_fake_wait().
 *
 * Return: whether the thread fell asleep within VIRTGPU_FAKE_TIMEOUT and slept for a while.
 */
bool virtgpu_kunit_thread_wait_asleep(struct virtgpu_kunit_thread *thread)
{
	unsigned long end = jiffies + VIRTGPU_FAKE_TIMEOUT;
	struct task_struct *task = thread->task;
	unsigned long switches;

	do {
		switches = READ_ONCE(task->nvcsw);
		msleep(20);
		if (completion_done(&thread->done))
			return false;
		if (!task_is_running(task) && READ_ONCE(task->nvcsw) == switches)
			return true;
	} while (time_before(jiffies, end));

	return false;
}

/**
 * virtgpu_kunit_thread_result - what a function has returned
 * @thread: the thread it ran in
 *
 * Return: the result, valid after virtgpu_kunit_thread_wait() returned true.
 */
long virtgpu_kunit_thread_result(struct virtgpu_kunit_thread *thread)
{
	return thread->result;
}

/**
 * virtgpu_kunit_thread_kill - send SIGKILL to a thread
 * @thread: the thread
 */
void virtgpu_kunit_thread_kill(struct virtgpu_kunit_thread *thread)
{
	if (!completion_done(&thread->done))
		send_sig(SIGKILL, thread->task, 1);
}

static long virtgpu_kunit_unplug_fn(void *data)
{
	return virtgpu_fake_unplug(data) ? 0 : -ETIMEDOUT;
}

/**
 * virtgpu_kunit_unplug_start - unplug the device in a thread
 * @f: the device
 *
 * Return: the thread; its result is 0 or -ETIMEDOUT.
 */
struct virtgpu_kunit_thread *virtgpu_kunit_unplug_start(struct virtgpu_fake *f)
{
	return virtgpu_kunit_thread_run(f, "virtgpu-unplug", virtgpu_kunit_unplug_fn, f);
}

/**
 * virtgpu_kunit_unplug - unplug the device
 * @f: the device
 *
 * In a thread, as a test must not get stuck in the driver.
 *
 * Return: whether it was unplugged within VIRTGPU_FAKE_TIMEOUT.
 */
bool virtgpu_kunit_unplug(struct virtgpu_fake *f)
{
	struct virtgpu_kunit_thread *thread = virtgpu_kunit_unplug_start(f);

	return virtgpu_kunit_thread_wait(thread) && !virtgpu_kunit_thread_result(thread);
}

static long virtgpu_kunit_mmap_fn(void *data)
{
	struct virtgpu_kunit_mmapper *m = data;

	m->mm = current->mm;
	m->addr = vm_mmap(m->file, 0, m->len, PROT_READ | PROT_WRITE, MAP_SHARED, m->offset);
	complete_all(&m->returned);
	if (!IS_ERR_VALUE(m->addr))
		wait_for_completion(&m->unmap);

	return virtgpu_kunit_mmap_error(m);
}

static void virtgpu_kunit_mmap_cleanup(void *data)
{
	struct virtgpu_kunit_mmapper *m = data;

	complete_all(&m->unmap);
}

/**
 * virtgpu_kunit_mmap_start - let a process mmap() a blob
 * @f: the device
 * @file: an open render node
 * @offset: the blob's offset
 * @len: how much of it, in bytes
 *
 * What is mapped stays so until virtgpu_kunit_munmap() or the end of the test.
 *
 * Return: the process, which may be blocked in mmap().
 */
struct virtgpu_kunit_mmapper *virtgpu_kunit_mmap_start(struct virtgpu_fake *f, struct file *file,
						       u64 offset, size_t len)
{
	struct kunit *test = virtgpu_fake_test(f);
	struct virtgpu_kunit_mmapper *m;
	int ret;

	m = kunit_kzalloc(test, sizeof(*m), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, m);
	m->file = file;
	m->offset = offset;
	m->len = len;
	init_completion(&m->returned);
	init_completion(&m->unmap);
	m->thread = virtgpu_kunit_thread_run(f, "virtgpu-mmap", virtgpu_kunit_mmap_fn, m);
	ret = kunit_add_action_or_reset(test, virtgpu_kunit_mmap_cleanup, m);
	KUNIT_ASSERT_EQ(test, ret, 0);

	return m;
}

/**
 * virtgpu_kunit_mmap_wait - wait until mmap() has returned
 * @m: the process
 *
 * Return: whether it had within VIRTGPU_FAKE_TIMEOUT.
 */
bool virtgpu_kunit_mmap_wait(struct virtgpu_kunit_mmapper *m)
{
	return wait_for_completion_timeout(&m->returned, VIRTGPU_FAKE_TIMEOUT);
}

/**
 * virtgpu_kunit_mmap_error - what mmap() has returned
 * @m: the process
 *
 * Return: 0 or the error, valid after virtgpu_kunit_mmap_wait() returned true.
 */
int virtgpu_kunit_mmap_error(struct virtgpu_kunit_mmapper *m)
{
	return IS_ERR_VALUE(m->addr) ? (int)m->addr : 0;
}

/**
 * virtgpu_kunit_mmap_pfn - look up a page of what is mapped
 * @m: the process
 * @page: which page, counted from 0
 * @pfn: filled in with its frame number
 * @prot: filled in with the protection of the mapping; may be NULL
 *
 * Return: 0, or -EINVAL if there is no such page in the page tables.
 */
int virtgpu_kunit_mmap_pfn(struct virtgpu_kunit_mmapper *m, size_t page, unsigned long *pfn,
			   pgprot_t *prot)
{
	struct follow_pfnmap_args args = { .address = m->addr + page * PAGE_SIZE };
	int ret = -EINVAL;

	mmap_read_lock(m->mm);
	args.vma = vma_lookup(m->mm, args.address);
	if (args.vma) {
		if (prot)
			*prot = args.vma->vm_page_prot;
		ret = follow_pfnmap_start(&args);
	}
	if (!ret) {
		*pfn = args.pfn;
		follow_pfnmap_end(&args);
	}
	mmap_read_unlock(m->mm);

	return ret;
}

/**
 * virtgpu_kunit_munmap - unmap what is mapped, and let the process exit
 * @m: the process
 *
 * Return: whether it had exited within VIRTGPU_FAKE_TIMEOUT.
 */
bool virtgpu_kunit_munmap(struct virtgpu_kunit_mmapper *m)
{
	complete_all(&m->unmap);

	return virtgpu_kunit_thread_wait(m->thread);
}

/**
 * virtgpu_kunit_mmap - mmap() a blob and unmap it again
 * @f: the device
 * @file: an open render node
 * @offset: the blob's offset
 * @len: how much of it, in bytes
 *
 * The test fails here if mmap() blocks.
 *
 * Return: 0 or the error of mmap().
 */
int virtgpu_kunit_mmap(struct virtgpu_fake *f, struct file *file, u64 offset, size_t len)
{
	struct virtgpu_kunit_mmapper *m = virtgpu_kunit_mmap_start(f, file, offset, len);
	struct kunit *test = virtgpu_fake_test(f);

	KUNIT_ASSERT_TRUE_MSG(test, virtgpu_kunit_mmap_wait(m), "mmap() does not return");
	KUNIT_ASSERT_TRUE(test, virtgpu_kunit_munmap(m));

	return virtgpu_kunit_mmap_error(m);
}

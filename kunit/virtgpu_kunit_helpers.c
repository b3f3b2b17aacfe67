// SPDX-License-Identifier: GPL-2.0

#include <kunit/test.h>
#include <linux/dma-buf.h>
#include <linux/dma-fence.h>
#include <linux/fdtable.h>
#include <linux/file.h>
#include <linux/kthread.h>
#include <linux/mm.h>
#include <linux/mman.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/sched/task.h>
#include <linux/slab.h>
#include <linux/sync_file.h>
#include <linux/wait.h>
#include <linux/workqueue.h>

#include <drm/drm_file.h>
#include <drm/drm_gem.h>
#include <drm/drm_ioctl.h>
#include <drm/drm_prime.h>
#include <drm/drm_vma_manager.h>

#include "../virtgpu_drv.h"
#include "virtgpu_kunit_helpers.h"

struct virtgpu_kunit_file {
	struct list_head node;
	struct file *file;
};

struct virtgpu_kunit_alloc {
	struct list_head node;
	u8 data[] __aligned(ARCH_KMALLOC_MINALIGN);
};

static void virtgpu_kunit_join(struct virtgpu_kunit_thread *thread);

/*
 * Waits
 */

static bool virtgpu_kunit_returned(struct virtgpu_kunit_thread *thread)
{
	return completion_done(&thread->returned);
}

static bool virtgpu_kunit_is_queued(struct wait_queue_head *wq, struct task_struct *task)
{
	struct wait_queue_entry *entry;
	unsigned long flags;
	bool found = false;

	spin_lock_irqsave(&wq->lock, flags);
	list_for_each_entry(entry, &wq->head, entry)
		found |= entry->private == task;
	spin_unlock_irqrestore(&wq->lock, flags);

	return found;
}

static bool virtgpu_kunit_is_completion_waiter(struct completion *done, struct task_struct *task)
{
	struct swait_queue *waiter;
	unsigned long flags;
	bool found = false;

	raw_spin_lock_irqsave(&done->wait.lock, flags);
	list_for_each_entry(waiter, &done->wait.task_list, task_list)
		found |= waiter->task == task;
	raw_spin_unlock_irqrestore(&done->wait.lock, flags);

	return found;
}

static bool virtgpu_kunit_is_blob_waiter(struct virtio_gpu_device *vgdev,
					 struct drm_gem_object *obj, struct task_struct *task)
{
	struct virtio_gpu_object *bo = gem_to_virtio_gpu_obj(obj);
	struct virtio_gpu_vram_mapping *mapping;
	bool found = false;

	if (!bo->host3d_blob || bo->guest_blob)
		return false;

	spin_lock(&vgdev->host_visible_lock);
	mapping = to_virtio_gpu_vram(bo)->mapping;
	if (mapping)
		found = virtgpu_kunit_is_completion_waiter(&mapping->done, task);
	spin_unlock(&vgdev->host_visible_lock);

	return found;
}

static bool virtgpu_kunit_waits_for_mapping(struct virtio_gpu_device *vgdev,
					    struct task_struct *task)
{
	struct drm_vma_offset_manager *mgr = vgdev->ddev->vma_offset_manager;
	struct drm_mm_node *node;
	bool found = false;

	read_lock(&mgr->vm_lock);
	drm_mm_for_each_node(node, &mgr->vm_addr_space_mm)
		found |= virtgpu_kunit_is_blob_waiter(vgdev,
						      container_of(node, struct drm_gem_object,
								   vma_node.vm_node), task);
	read_unlock(&mgr->vm_lock);

	return found;
}

/**
 * virtgpu_kunit_wait_returned - wait until a function, or mmap(), has returned
 * @thread: its thread
 *
 * Return: false if it has not within VIRTIO_FAKE_TIMEOUT.
 */
bool virtgpu_kunit_wait_returned(struct virtgpu_kunit_thread *thread)
{
	return wait_for_completion_timeout(&thread->returned, VIRTIO_FAKE_TIMEOUT);
}

/**
 * virtgpu_kunit_wait_mapping - wait until a task waits in the driver for the host to map a blob
 * @thread: its thread
 *
 * Return: false if the task has returned instead, or does not wait within VIRTIO_FAKE_TIMEOUT.
 */
bool virtgpu_kunit_wait_mapping(struct virtgpu_kunit_thread *thread)
{
	struct virtio_gpu_device *vgdev = thread->k->vgdev;

	return virtgpu_kunit_wait_until(virtgpu_kunit_returned(thread) ||
					virtgpu_kunit_waits_for_mapping(vgdev, thread->task)) &&
	       !virtgpu_kunit_returned(thread);
}

/**
 * virtgpu_kunit_wait_ring_space - wait until a task waits in the driver for space in the control
 * queue
 * @thread: its thread
 *
 * Return: false if the task has returned instead, or does not wait within VIRTIO_FAKE_TIMEOUT.
 */
bool virtgpu_kunit_wait_ring_space(struct virtgpu_kunit_thread *thread)
{
	struct wait_queue_head *wq = &thread->k->vgdev->ctrlq.ack_queue;

	return virtgpu_kunit_wait_until(virtgpu_kunit_returned(thread) ||
					virtgpu_kunit_is_queued(wq, thread->task)) &&
	       !virtgpu_kunit_returned(thread);
}

/**
 * virtgpu_kunit_wait_response - wait until a task waits in the driver for a response
 * @thread: its thread
 *
 * For the responses to all commands but RESOURCE_MAP_BLOB: a UUID, for instance.
 *
 * Return: false if the task has returned instead, or does not wait within VIRTIO_FAKE_TIMEOUT.
 */
bool virtgpu_kunit_wait_response(struct virtgpu_kunit_thread *thread)
{
	struct wait_queue_head *wq = &thread->k->vgdev->resp_wq;

	return virtgpu_kunit_wait_until(virtgpu_kunit_returned(thread) ||
					virtgpu_kunit_is_queued(wq, thread->task)) &&
	       !virtgpu_kunit_returned(thread);
}

/*
 * Threads
 */

/*
 * A kernel thread that calls mmap(), or copies to and from a user, needs an mm. KUnit attaches one
 * to a thread that maps a page.
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

/* The exit of the thread drops the mm as well, but after ->ended. */
static void virtgpu_kunit_put_mm(void)
{
	struct mm_struct *mm = current->mm;

	if (!mm)
		return;

	kthread_unuse_mm(mm);
	mmput(mm);
}

static int virtgpu_kunit_thread_fn(void *data)
{
	struct virtgpu_kunit_thread *thread = data;
	long ret;

	allow_signal(SIGKILL);
	ret = thread->has_mm ? virtgpu_kunit_get_mm(thread->k->test) : 0;
	if (!ret)
		ret = thread->fn(thread->data);
	if (!virtgpu_kunit_returned(thread)) {
		thread->result = ret;
		complete_all(&thread->returned);
	}
	if (thread->file)
		fput(thread->file);
	virtgpu_kunit_put_mm();
	/* the kernel closes later what a kernel thread closes with fput() */
	flush_delayed_fput();
	complete_all(&thread->ended);

	return 0;
}

static struct virtgpu_kunit_thread *virtgpu_kunit_alloc_thread(struct virtgpu_kunit *k,
							       long (*fn)(void *data), void *data)
{
	struct virtgpu_kunit_thread *thread = kzalloc_obj(*thread);

	if (!thread)
		return NULL;

	thread->k = k;
	thread->fn = fn;
	thread->data = data;
	thread->has_mm = true;
	init_completion(&thread->returned);
	init_completion(&thread->ended);
	init_completion(&thread->unmap);

	return thread;
}

static int virtgpu_kunit_start(struct virtgpu_kunit_thread *thread, const char *name)
{
	struct virtgpu_kunit *k = thread->k;

	thread->task = kthread_create(virtgpu_kunit_thread_fn, thread, "virtgpu-%s", name);
	if (IS_ERR(thread->task)) {
		int ret = PTR_ERR(thread->task);

		if (thread->file)
			fput(thread->file);
		kfree(thread);
		return ret;
	}

	get_task_struct(thread->task);
	list_add(&thread->node, &k->threads);
	wake_up_process(thread->task);

	return 0;
}

/**
 * virtgpu_kunit_run - run a function beside the test
 * @k: the fixture
 * @name: name of the thread
 * @fn: the function, which must not assert
 * @data: argument of the function, from virtgpu_kunit_zalloc() or with a reference
 *
 * At the end of the test, a function that has not returned is released from its wait. If it does
 * not return even then, the test fails, and all that the function may use stays in memory.
 *
 * Return: the thread.
 */
struct virtgpu_kunit_thread *virtgpu_kunit_run(struct virtgpu_kunit *k, const char *name,
					       long (*fn)(void *data), void *data)
{
	struct virtgpu_kunit_thread *thread = virtgpu_kunit_alloc_thread(k, fn, data);

	KUNIT_ASSERT_NOT_NULL(k->test, thread);
	KUNIT_ASSERT_EQ(k->test, virtgpu_kunit_start(thread, name), 0);

	return thread;
}

/*
 * Call a function that may block forever in a driver that is broken. May be called at the end of a
 * test, and so does not assert. As for virtgpu_kunit_run(), @data outlives a stuck function.
 * Returns the return value of the function, or -ETIMEDOUT, in which case the test fails.
 */
static long virtgpu_kunit_call(struct virtgpu_kunit *k, const char *name, long (*fn)(void *data),
			       void *data)
{
	struct virtgpu_kunit_thread *thread = virtgpu_kunit_alloc_thread(k, fn, data);
	long ret = -ETIMEDOUT;

	if (thread)
		thread->has_mm = false;
	if (!thread || virtgpu_kunit_start(thread, name)) {
		KUNIT_FAIL(k->test, "no thread to %s", name);
		return -ENOMEM;
	}

	if (wait_for_completion_timeout(&thread->ended, VIRTIO_FAKE_TIMEOUT)) {
		ret = thread->result;
		virtgpu_kunit_join(thread);
	} else {
		KUNIT_FAIL(k->test, "%s does not return", name);
	}

	return ret;
}

/**
 * virtgpu_kunit_result - the result of a function, or of mmap()
 * @thread: its thread
 *
 * Waits until it has returned. The test fails here if it does not within VIRTIO_FAKE_TIMEOUT.
 *
 * Return: the return value of the function; of mmap() zero or an errno.
 */
long virtgpu_kunit_result(struct virtgpu_kunit_thread *thread)
{
	KUNIT_ASSERT_TRUE_MSG(thread->k->test, virtgpu_kunit_wait_returned(thread),
			      "%s does not return", thread->task->comm);

	return thread->result;
}

/**
 * virtgpu_kunit_kill - send SIGKILL to a thread
 * @thread: the thread
 */
void virtgpu_kunit_kill(struct virtgpu_kunit_thread *thread)
{
	if (!completion_done(&thread->ended))
		send_sig(SIGKILL, thread->task, 1);
}

static bool virtgpu_kunit_has_ended(struct virtgpu_kunit_thread *thread, unsigned long timeout)
{
	return wait_for_completion_timeout(&thread->ended, timeout);
}

/* Returns false if the thread is stuck: neither a response nor SIGKILL ends its wait. */
static bool virtgpu_kunit_end(struct virtgpu_kunit_thread *thread)
{
	complete_all(&thread->unmap);
	if (virtgpu_kunit_has_ended(thread, HZ / 2))
		return true;

	virtgpu_kunit_kill(thread);

	return virtgpu_kunit_has_ended(thread, VIRTIO_FAKE_TIMEOUT);
}

/* The thread has ended. */
static void virtgpu_kunit_join(struct virtgpu_kunit_thread *thread)
{
	list_del(&thread->node);
	kthread_stop(thread->task);
	put_task_struct(thread->task);
	kfree(thread);
}

/*
 * Fixtures
 */

static bool virtgpu_kunit_driver_is_busy(struct virtgpu_kunit *k)
{
	return work_busy(&k->vgdev->ctrlq.dequeue_work) ||
	       work_busy(&k->vgdev->cursorq.dequeue_work) ||
	       work_busy(&k->vgdev->obj_free_work) ||
	       work_busy(&k->vgdev->config_changed_work);
}

/**
 * virtgpu_kunit_settle - wait until neither the device nor the driver has anything left to do
 * @k: the fixture
 *
 * The driver takes several rounds to free a blob: a response lets it drop a reference, which makes
 * it send the next command. The test fails if that does not end within VIRTIO_FAKE_TIMEOUT.
 */
void virtgpu_kunit_settle(struct virtgpu_kunit *k)
{
	unsigned long before;

	KUNIT_EXPECT_TRUE_MSG(k->test, virtgpu_kunit_wait_until(({
		before = virtgpu_fake_progress(k->fake);
		virtio_fake_idle(virtgpu_fake_virtio(k->fake)) &&
			!virtgpu_kunit_driver_is_busy(k) &&
			virtgpu_fake_progress(k->fake) == before;
	})), "the device and the driver do not come to rest");
}

/**
 * virtgpu_kunit_window_is_empty - whether no range of the window is reserved
 * @k: the fixture
 *
 * Return: true if no range is reserved, or there is no window.
 */
bool virtgpu_kunit_window_is_empty(struct virtgpu_kunit *k)
{
	bool empty = true;

	if (k->vgdev->has_host_visible) {
		spin_lock(&k->vgdev->host_visible_lock);
		empty = drm_mm_clean(&k->vgdev->host_visible_mm);
		spin_unlock(&k->vgdev->host_visible_lock);
	}

	return empty;
}

static bool virtgpu_kunit_has_offsets(struct virtgpu_kunit *k)
{
	struct drm_vma_offset_manager *mgr = k->drm->vma_offset_manager;
	bool has;

	read_lock(&mgr->vm_lock);
	has = !drm_mm_clean(&mgr->vm_addr_space_mm);
	read_unlock(&mgr->vm_lock);

	return has;
}

static bool virtgpu_kunit_has_garbage(struct virtgpu_kunit *k)
{
	bool has;

	spin_lock(&k->vgdev->obj_free_lock);
	has = !list_empty(&k->vgdev->obj_free_list);
	spin_unlock(&k->vgdev->obj_free_lock);

	return has;
}

static bool virtgpu_kunit_is_clean(struct virtgpu_kunit *k)
{
	return virtgpu_kunit_window_is_empty(k) && !virtgpu_kunit_has_offsets(k) &&
	       !virtgpu_kunit_has_garbage(k) && !virtgpu_fake_mapped(k->fake) &&
	       !virtgpu_fake_resources(k->fake) && !virtgpu_fake_contexts(k->fake);
}

/**
 * virtgpu_kunit_expect_clean - expect that the driver and the device have freed everything
 * @k: the fixture
 *
 * Call this when all files are closed and all mappings are gone. It waits for what a worker has yet
 * to free.
 */
void virtgpu_kunit_expect_clean(struct virtgpu_kunit *k)
{
	struct kunit *test = k->test;

	virtgpu_kunit_settle(k);
	if (virtgpu_kunit_wait_until(virtgpu_kunit_is_clean(k)))
		return;

	KUNIT_EXPECT_TRUE_MSG(test, virtgpu_kunit_window_is_empty(k), "a window range leaks");
	KUNIT_EXPECT_FALSE_MSG(test, virtgpu_kunit_has_offsets(k), "an mmap offset leaks");
	KUNIT_EXPECT_FALSE_MSG(test, virtgpu_kunit_has_garbage(k), "objects are not freed");
	KUNIT_EXPECT_EQ_MSG(test, virtgpu_fake_mapped(k->fake), 0, "a mapping leaks on the host");
	KUNIT_EXPECT_EQ_MSG(test, virtgpu_fake_resources(k->fake), 0,
			    "a resource leaks on the host");
	KUNIT_EXPECT_EQ_MSG(test, virtgpu_fake_contexts(k->fake), 0, "a context leaks on the host");
}

/**
 * virtgpu_kunit_end_threads - release all threads from their waits, and wait for their end
 * @k: the fixture; the test fails if a thread does not end
 *
 * The device responds to all commands from now on. For .exit of suites with resources that a thread
 * may use.
 *
 * Return: false if a thread is stuck in the driver.
 */
bool virtgpu_kunit_end_threads(struct virtgpu_kunit *k)
{
	struct virtgpu_kunit_thread *thread, *tmp;

	virtgpu_fake_clear_script(k->fake);
	list_for_each_entry_safe(thread, tmp, &k->threads, node) {
		if (virtgpu_kunit_end(thread))
			virtgpu_kunit_join(thread);
	}

	return list_empty(&k->threads);
}

static void virtgpu_kunit_free(struct virtgpu_kunit *k)
{
	struct virtgpu_kunit_alloc *alloc, *tmp;

	list_for_each_entry_safe(alloc, tmp, &k->allocs, node)
		kfree(alloc);
	kfree(k);
}

/* All memory of a fixture with a stuck thread stays. */
static void virtgpu_kunit_free_action(void *data)
{
	struct virtgpu_kunit *k = data;

	if (list_empty(&k->threads))
		virtgpu_kunit_free(k);
}

/* A thread that has not ended may use all of the device. No function called here asserts. */
static void virtgpu_kunit_destroy(struct virtgpu_kunit *k)
{
	struct virtgpu_kunit_file *kfile, *tmp;
	bool unplugged;

	/* A call into the driver has not returned: virtio_fake has failed the test. */
	if (virtio_fake_is_abandoned(virtgpu_fake_virtio(k->fake)))
		return;

	list_for_each_entry_safe(kfile, tmp, &k->files, node) {
		if (list_empty(&k->threads))
			virtgpu_kunit_close(k, kfile->file);
	}
	if (!list_empty(&k->threads)) {
		KUNIT_FAIL(k->test, "%s is stuck in the driver",
			   list_first_entry(&k->threads, struct virtgpu_kunit_thread,
					    node)->task->comm);
		virtio_fake_abandon(virtgpu_fake_virtio(k->fake));
		return;
	}
	/*
	 * What a case leaves that has failed is not of interest. With a display, a client in the
	 * kernel may have a framebuffer until the unplug.
	 */
	if (READ_ONCE(k->test->status) != KUNIT_FAILURE && !k->vgdev->num_scanouts)
		virtgpu_kunit_expect_clean(k);

	unplugged = virtgpu_fake_unplug(k->fake);
	KUNIT_EXPECT_TRUE_MSG(k->test, unplugged, "the device cannot be unplugged");
	if (unplugged)
		KUNIT_EXPECT_TRUE_MSG(k->test, virtgpu_fake_release_drm(k->fake),
				      "the DRM device leaks");
}

/**
 * virtgpu_kunit_add - plug in another device
 * @test: the test, which fails here if there is an error
 * @params: properties of the device
 *
 * Return: the fixture of the device, with an open file. It is destroyed with the others.
 */
struct virtgpu_kunit *virtgpu_kunit_add(struct kunit *test,
					const struct virtgpu_fake_params *params)
{
	struct virtgpu_kunit *k;

	k = kzalloc_obj(*k);
	KUNIT_ASSERT_NOT_NULL(test, k);
	k->test = test;
	INIT_LIST_HEAD(&k->files);
	INIT_LIST_HEAD(&k->threads);
	INIT_LIST_HEAD(&k->allocs);
	KUNIT_ASSERT_EQ(test, kunit_add_action_or_reset(test, virtgpu_kunit_free_action, k), 0);
	k->fake = virtgpu_fake_create(test, params);
	k->drm = virtgpu_fake_drm(k->fake);
	k->vgdev = virtgpu_fake_vgdev(k->fake);
	k->next = test->priv;
	test->priv = k;
	k->file = virtgpu_kunit_open(k);

	return k;
}

/**
 * virtgpu_kunit_zalloc - allocate memory that a thread may use
 * @k: the fixture; the test fails here if there is no memory
 * @size: bytes
 *
 * Return: zeroed memory, which is freed with the fixture, but not while a thread is stuck.
 */
void *virtgpu_kunit_zalloc(struct virtgpu_kunit *k, size_t size)
{
	struct virtgpu_kunit_alloc *alloc = kzalloc(struct_size(alloc, data, size), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(k->test, alloc);
	list_add(&alloc->node, &k->allocs);

	return alloc->data;
}

/**
 * virtgpu_kunit_exit - destroy the fixtures of a case, for .exit of a suite
 * @test: the test
 *
 * Ends all threads, closes all files, expects that everything is freed, and unplugs the devices. A
 * device with a thread that is stuck in the driver is abandoned: it is neither unplugged nor freed.
 */
void virtgpu_kunit_exit(struct kunit *test)
{
	struct virtgpu_kunit *k;

	/* a task in one device's driver can delay the unplug of another */
	for (k = test->priv; k; k = k->next)
		virtgpu_kunit_end_threads(k);

	for (k = test->priv; k; k = k->next)
		virtgpu_kunit_destroy(k);
	test->priv = NULL;
}

/**
 * virtgpu_kunit_init_with - exchange the device of a case
 * @test: the test, which fails here if there is an error
 * @params: properties of the device
 *
 * Return: the new fixture.
 */
struct virtgpu_kunit *virtgpu_kunit_init_with(struct kunit *test,
					      const struct virtgpu_fake_params *params)
{
	virtgpu_kunit_exit(test);

	return virtgpu_kunit_add(test, params);
}

/**
 * virtgpu_kunit_init - make a fixture with the default device, for .init of a suite
 * @test: the test
 *
 * Return: 0.
 */
int virtgpu_kunit_init(struct kunit *test)
{
	virtgpu_kunit_add(test, &virtgpu_fake_defaults);

	return 0;
}

/**
 * virtgpu_kunit_params - properties of a device that lacks some features
 * @without_features: the features that the default device has and this one lacks
 *
 * Return: the properties.
 */
struct virtgpu_fake_params virtgpu_kunit_params(u64 without_features)
{
	struct virtgpu_fake_params params = virtgpu_fake_defaults;

	params.features &= ~without_features;

	return params;
}

/**
 * virtgpu_kunit_ring - properties of a device with a small ring
 * @vq_num: number of descriptors in each virtqueue. The ring has no indirect descriptors: a command
 *	and its response take one each.
 *
 * Return: the properties.
 */
struct virtgpu_fake_params virtgpu_kunit_ring(unsigned int vq_num)
{
	struct virtgpu_fake_params params =
		virtgpu_kunit_params(BIT_ULL(VIRTIO_RING_F_INDIRECT_DESC));

	params.vq_num = vq_num;

	return params;
}

/*
 * Files and ioctls
 */

/**
 * virtgpu_kunit_open - open the render node of the device
 * @k: the fixture; the test fails here if there is an error
 *
 * Return: the file, which is closed at the end of the test if it is not before.
 */
struct file *virtgpu_kunit_open(struct virtgpu_kunit *k)
{
	struct virtgpu_kunit_file *kfile;

	kfile = virtgpu_kunit_zalloc(k, sizeof(*kfile));
	kfile->file = mock_drm_getfile(k->drm->render, O_RDWR | O_CLOEXEC);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(k->test, kfile->file);
	list_add(&kfile->node, &k->files);

	return kfile->file;
}

static long virtgpu_kunit_close_fn(void *file)
{
	__fput_sync(file);

	return 0;
}

/**
 * virtgpu_kunit_close - close a file
 * @k: the fixture; the test fails if the driver does not let go of the file
 * @file: return value of virtgpu_kunit_open()
 *
 * Mappings of the file keep it open.
 */
void virtgpu_kunit_close(struct virtgpu_kunit *k, struct file *file)
{
	struct virtgpu_kunit_file *kfile, *tmp;

	list_for_each_entry_safe(kfile, tmp, &k->files, node) {
		if (kfile->file == file)
			list_del(&kfile->node);
	}
	if (k->file == file)
		k->file = NULL;
	virtgpu_kunit_call(k, "close", virtgpu_kunit_close_fn, file);
}

/**
 * virtgpu_kunit_ioctl - call an ioctl of the driver with an argument in kernel memory
 * @file: an open render node
 * @cmd: DRM_IOCTL_VIRTGPU_*
 * @arg: the whole argument
 *
 * Runs in the calling thread. If the driver may wait, then call this function in a thread of its
 * own, see virtgpu_kunit_run().
 *
 * Return: return value of the ioctl.
 */
int virtgpu_kunit_ioctl(struct file *file, unsigned int cmd, void *arg)
{
	struct drm_file *priv = file->private_data;
	const struct drm_ioctl_desc *desc;

	desc = &priv->minor->dev->driver->ioctls[_IOC_NR(cmd) - DRM_COMMAND_BASE];

	return drm_ioctl_kernel(file, desc->func, arg, desc->flags);
}

struct virtgpu_kunit_ioctl_data {
	struct file *file;
	unsigned int cmd;
	u8 arg[] __aligned(8);
};

static long virtgpu_kunit_ioctl_fn(void *data)
{
	struct virtgpu_kunit_ioctl_data *ioctl = data;

	return virtgpu_kunit_ioctl(ioctl->file, ioctl->cmd, ioctl->arg);
}

static struct virtgpu_kunit_ioctl_data *virtgpu_kunit_ioctl_data(struct virtgpu_kunit *k,
								 unsigned int cmd, const void *arg)
{
	struct virtgpu_kunit_ioctl_data *ioctl;

	ioctl = virtgpu_kunit_zalloc(k, struct_size(ioctl, arg, _IOC_SIZE(cmd)));
	ioctl->file = k->file;
	ioctl->cmd = cmd;
	memcpy(ioctl->arg, arg, _IOC_SIZE(cmd));

	return ioctl;
}

/**
 * virtgpu_kunit_ioctl_start - call an ioctl of the driver in a thread
 * @k: the fixture, on whose file the ioctl is called
 * @cmd: DRM_IOCTL_VIRTGPU_*
 * @arg: the whole argument, which is copied
 *
 * Return: the thread, which may be blocked in the ioctl.
 */
struct virtgpu_kunit_thread *virtgpu_kunit_ioctl_start(struct virtgpu_kunit *k, unsigned int cmd,
						       const void *arg)
{
	return virtgpu_kunit_run(k, "ioctl", virtgpu_kunit_ioctl_fn,
				 virtgpu_kunit_ioctl_data(k, cmd, arg));
}

/* For the test's own thread. Returns -ETIMEDOUT if the driver does not return: the test fails. */
static int virtgpu_kunit_call_ioctl(struct virtgpu_kunit *k, unsigned int cmd, void *arg)
{
	struct virtgpu_kunit_ioctl_data *ioctl = virtgpu_kunit_ioctl_data(k, cmd, arg);
	int ret;

	ret = virtgpu_kunit_call(k, "ioctl", virtgpu_kunit_ioctl_fn, ioctl);
	if (ret != -ETIMEDOUT)
		memcpy(arg, ioctl->arg, _IOC_SIZE(cmd));

	return ret;
}

/**
 * virtgpu_kunit_user_page - map a page that the test can copy to and from as a user
 * @k: the fixture; the test fails here if there is an error
 *
 * Return: the user address, valid until the end of the test.
 */
unsigned long virtgpu_kunit_user_page(struct virtgpu_kunit *k)
{
	unsigned long addr;

	addr = kunit_vm_mmap(k->test, NULL, 0, PAGE_SIZE, PROT_READ | PROT_WRITE,
			     MAP_PRIVATE | MAP_ANONYMOUS, 0);
	KUNIT_ASSERT_TRUE(k->test, addr && !IS_ERR_VALUE(addr));

	return addr;
}

/**
 * virtgpu_kunit_submit - call DRM_IOCTL_VIRTGPU_EXECBUFFER with commands of no meaning
 * @k: the fixture
 * @fence: filled in with the fence of the submission, if the ioctl succeeds; NULL for a submission
 *	without a fence. The caller puts the fence.
 *
 * The submission takes three descriptors of a ring without indirect descriptors.
 *
 * Return: return value of the ioctl.
 */
int virtgpu_kunit_submit(struct virtgpu_kunit *k, struct dma_fence **fence)
{
	struct drm_virtgpu_execbuffer exec = {
		.flags = fence ? VIRTGPU_EXECBUF_FENCE_FD_OUT : 0,
		.size = 4,
		.fence_fd = -1,
		.command = virtgpu_kunit_user_page(k),
	};
	int ret;

	ret = virtgpu_kunit_ioctl(k->file, DRM_IOCTL_VIRTGPU_EXECBUFFER, &exec);
	if (ret || !fence)
		return ret;

	KUNIT_ASSERT_GE(k->test, exec.fence_fd, 0);
	*fence = sync_file_get_fence(exec.fence_fd);
	KUNIT_EXPECT_EQ(k->test, close_fd(exec.fence_fd), 0);
	KUNIT_ASSERT_NOT_NULL(k->test, *fence);

	return 0;
}

/*
 * Blobs
 */

/**
 * virtgpu_kunit_host_blob - the argument to create a HOST3D blob
 * @size: bytes
 * @flags: VIRTGPU_BLOB_FLAG_USE_*
 * @hints: DRM_VIRTGPU_BLOB_FLAG_HINT_*
 *
 * Return: the argument, for virtgpu_kunit_create().
 */
struct drm_virtgpu_resource_create_blob virtgpu_kunit_host_blob(u64 size, u32 flags, u32 hints)
{
	return (struct drm_virtgpu_resource_create_blob) {
		.blob_mem = VIRTGPU_BLOB_MEM_HOST3D,
		.blob_flags = flags,
		.blob_hints = hints,
		.size = size,
		.blob_id = 1,
	};
}

/**
 * virtgpu_kunit_guest_blob - the argument to create a GUEST blob
 * @size: bytes
 * @flags: VIRTGPU_BLOB_FLAG_USE_*
 * @hints: DRM_VIRTGPU_BLOB_FLAG_HINT_*
 *
 * Return: the argument, for virtgpu_kunit_create().
 */
struct drm_virtgpu_resource_create_blob virtgpu_kunit_guest_blob(u64 size, u32 flags, u32 hints)
{
	return (struct drm_virtgpu_resource_create_blob) {
		.blob_mem = VIRTGPU_BLOB_MEM_GUEST,
		.blob_flags = flags,
		.blob_hints = hints,
		.size = size,
	};
}

/**
 * virtgpu_kunit_create - call DRM_IOCTL_VIRTGPU_RESOURCE_CREATE_BLOB
 * @k: the fixture
 * @rc: the argument; bo_handle and res_handle are filled in
 *
 * For the test's own thread.
 *
 * Return: return value of the ioctl, -ETIMEDOUT if it does not return: the test fails.
 */
int virtgpu_kunit_create(struct virtgpu_kunit *k, struct drm_virtgpu_resource_create_blob *rc)
{
	return virtgpu_kunit_call_ioctl(k, DRM_IOCTL_VIRTGPU_RESOURCE_CREATE_BLOB, rc);
}

/**
 * virtgpu_kunit_blob_of - create a HOST3D blob
 * @k: the fixture; the test fails here if there is an error
 * @size: bytes
 * @flags: VIRTGPU_BLOB_FLAG_USE_*
 * @hints: DRM_VIRTGPU_BLOB_FLAG_HINT_*
 *
 * Waits until the device has taken the commands.
 *
 * Return: the handle.
 */
u32 virtgpu_kunit_blob_of(struct virtgpu_kunit *k, u64 size, u32 flags, u32 hints)
{
	struct drm_virtgpu_resource_create_blob rc = virtgpu_kunit_host_blob(size, flags, hints);

	KUNIT_ASSERT_EQ(k->test, virtgpu_kunit_create(k, &rc), 0);
	virtgpu_kunit_settle(k);

	return rc.bo_handle;
}

/**
 * virtgpu_kunit_blob - create a mappable HOST3D blob of SIZE bytes
 * @k: the fixture; the test fails here if there is an error
 * @hints: EAGER or DEFER
 *
 * Waits until the device has taken the commands.
 *
 * Return: the handle.
 */
u32 virtgpu_kunit_blob(struct virtgpu_kunit *k, u32 hints)
{
	return virtgpu_kunit_blob_of(k, SIZE, MAPPABLE, hints);
}

/**
 * virtgpu_kunit_fill_window - create an eager blob as large as the window
 * @k: the fixture; the test fails here if there is an error
 *
 * Return: the handle.
 */
u32 virtgpu_kunit_fill_window(struct virtgpu_kunit *k)
{
	return virtgpu_kunit_blob_of(k, virtgpu_fake_window(k->fake)->len, MAPPABLE, EAGER);
}

/**
 * virtgpu_kunit_map_ioctl - call DRM_IOCTL_VIRTGPU_MAP
 * @k: the fixture
 * @handle: the blob
 * @offset: filled in with the offset for mmap() if the ioctl succeeds; may be NULL
 *
 * For the test's own thread.
 *
 * Return: return value of the ioctl, -ETIMEDOUT if it does not return: the test fails.
 */
int virtgpu_kunit_map_ioctl(struct virtgpu_kunit *k, u32 handle, u64 *offset)
{
	struct drm_virtgpu_map map = { .handle = handle };
	int ret;

	ret = virtgpu_kunit_call_ioctl(k, DRM_IOCTL_VIRTGPU_MAP, &map);
	if (!ret && offset)
		*offset = map.offset;

	return ret;
}

struct virtgpu_kunit_delete_data {
	struct file *file;
	u32 handle;
};

static long virtgpu_kunit_delete_fn(void *data)
{
	struct virtgpu_kunit_delete_data *delete = data;

	return drm_gem_handle_delete(delete->file->private_data, delete->handle);
}

static struct virtgpu_kunit_delete_data *virtgpu_kunit_delete_data(struct virtgpu_kunit *k,
								   u32 handle)
{
	struct virtgpu_kunit_delete_data *delete = virtgpu_kunit_zalloc(k, sizeof(*delete));

	delete->file = k->file;
	delete->handle = handle;

	return delete;
}

/**
 * virtgpu_kunit_delete - close a handle
 * @k: the fixture; the test fails if there is an error
 * @handle: the handle
 *
 * Waits until the device has taken the commands.
 */
void virtgpu_kunit_delete(struct virtgpu_kunit *k, u32 handle)
{
	KUNIT_EXPECT_EQ(k->test, virtgpu_kunit_call(k, "delete", virtgpu_kunit_delete_fn,
						    virtgpu_kunit_delete_data(k, handle)), 0);
	virtgpu_kunit_settle(k);
}

/**
 * virtgpu_kunit_vram - the object behind a handle
 * @k: the fixture
 * @handle: handle of a HOST3D blob, which keeps the object
 *
 * Return: the object, NULL if there is none or it is of another kind.
 */
struct virtio_gpu_object_vram *virtgpu_kunit_vram(struct virtgpu_kunit *k, u32 handle)
{
	struct drm_gem_object *obj = drm_gem_object_lookup(k->file->private_data, handle);
	struct virtio_gpu_object *bo;

	if (!obj)
		return NULL;

	bo = gem_to_virtio_gpu_obj(obj);
	drm_gem_object_put(obj);

	return bo->host3d_blob && !bo->guest_blob ? to_virtio_gpu_vram(bo) : NULL;
}

/**
 * virtgpu_kunit_offset - the mmap offset of a blob, without DRM_IOCTL_VIRTGPU_MAP
 * @k: the fixture
 * @handle: handle of a HOST3D blob
 *
 * The ioctl may start the mapping.
 *
 * Return: the offset in bytes, 0 if there is no such blob.
 */
u64 virtgpu_kunit_offset(struct virtgpu_kunit *k, u32 handle)
{
	struct virtio_gpu_object_vram *vram = virtgpu_kunit_vram(k, handle);

	return vram ? drm_vma_node_offset_addr(&vram->base.base.base.vma_node) : 0;
}

/**
 * virtgpu_kunit_export - export a blob as a dma-buf
 * @k: the fixture
 * @handle: the blob
 *
 * Return: the dma-buf, for virtgpu_kunit_put_dma_buf(), or an error pointer.
 */
struct dma_buf *virtgpu_kunit_export(struct virtgpu_kunit *k, u32 handle)
{
	return drm_gem_prime_handle_to_dmabuf(k->drm, k->file->private_data, handle, O_RDWR);
}

static long virtgpu_kunit_put_dma_buf_fn(void *dma_buf)
{
	dma_buf_put(dma_buf);

	return 0;
}

/**
 * virtgpu_kunit_put_dma_buf - drop a reference to a dma-buf
 * @k: the fixture; the test fails if the driver does not let go of the dma-buf
 * @dma_buf: the dma-buf; nothing is done for an error pointer or NULL
 */
void virtgpu_kunit_put_dma_buf(struct virtgpu_kunit *k, struct dma_buf *dma_buf)
{
	if (!IS_ERR_OR_NULL(dma_buf))
		virtgpu_kunit_call(k, "put", virtgpu_kunit_put_dma_buf_fn, dma_buf);
}

/**
 * virtgpu_kunit_create_start - create a HOST3D blob in a thread
 * @k: the fixture
 * @size: bytes
 * @flags: VIRTGPU_BLOB_FLAG_USE_*
 *
 * Return: the thread, which may be blocked in the ioctl.
 */
struct virtgpu_kunit_thread *virtgpu_kunit_create_start(struct virtgpu_kunit *k, u64 size,
							u32 flags)
{
	struct drm_virtgpu_resource_create_blob rc = virtgpu_kunit_host_blob(size, flags, EAGER);

	return virtgpu_kunit_ioctl_start(k, DRM_IOCTL_VIRTGPU_RESOURCE_CREATE_BLOB, &rc);
}

/**
 * virtgpu_kunit_delete_start - close a handle in a thread
 * @k: the fixture
 * @handle: the handle
 *
 * Return: the thread, which may be blocked in the driver.
 */
struct virtgpu_kunit_thread *virtgpu_kunit_delete_start(struct virtgpu_kunit *k, u32 handle)
{
	return virtgpu_kunit_run(k, "delete", virtgpu_kunit_delete_fn,
				 virtgpu_kunit_delete_data(k, handle));
}

/*
 * mmap()
 */

static long virtgpu_kunit_mmap_fn(void *data)
{
	struct virtgpu_kunit_thread *thread = data;
	unsigned long addr;

	thread->mm = current->mm;
	addr = vm_mmap(thread->file, 0, thread->len, PROT_READ | PROT_WRITE, MAP_SHARED,
		       thread->offset);
	/* From here on, only the mapping holds the file. */
	fput(thread->file);
	thread->file = NULL;
	if (IS_ERR_VALUE(addr))
		return (long)addr;

	thread->addr = addr;
	complete_all(&thread->returned);
	wait_for_completion(&thread->unmap);

	return 0;
}

/**
 * virtgpu_kunit_mmap_file_start - mmap() a file in a thread
 * @k: the fixture
 * @file: a render node or a dma-buf
 * @offset: offset in the file in bytes
 * @len: length in bytes
 *
 * The mapping stays until virtgpu_kunit_munmap() or the end of the test.
 *
 * Return: the thread, which may be blocked in mmap().
 */
struct virtgpu_kunit_thread *virtgpu_kunit_mmap_file_start(struct virtgpu_kunit *k,
							   struct file *file, u64 offset,
							   size_t len)
{
	struct virtgpu_kunit_thread *thread;

	thread = virtgpu_kunit_alloc_thread(k, virtgpu_kunit_mmap_fn, NULL);
	KUNIT_ASSERT_NOT_NULL(k->test, thread);
	thread->data = thread;
	thread->file = get_file(file);
	thread->offset = offset;
	thread->len = len;
	KUNIT_ASSERT_EQ(k->test, virtgpu_kunit_start(thread, "mmap"), 0);

	return thread;
}

/**
 * virtgpu_kunit_mmap_start - mmap() a blob in a thread
 * @k: the fixture
 * @handle: handle of a HOST3D blob of SIZE bytes
 *
 * The mapping stays until virtgpu_kunit_munmap() or the end of the test.
 *
 * Return: the thread, which may be blocked in mmap().
 */
struct virtgpu_kunit_thread *virtgpu_kunit_mmap_start(struct virtgpu_kunit *k, u32 handle)
{
	return virtgpu_kunit_mmap_file_start(k, k->file, virtgpu_kunit_offset(k, handle), SIZE);
}

/**
 * virtgpu_kunit_munmap - unmap what a thread has mapped
 * @thread: a thread whose mmap() has returned; the test fails if the thread does not end
 */
void virtgpu_kunit_munmap(struct virtgpu_kunit_thread *thread)
{
	complete_all(&thread->unmap);
	KUNIT_EXPECT_TRUE_MSG(thread->k->test,
			      virtgpu_kunit_has_ended(thread, VIRTIO_FAKE_TIMEOUT),
			      "munmap() does not return");
}

/**
 * virtgpu_kunit_mmap_file - mmap() a file and unmap it again
 * @k: the fixture; the test fails here if mmap() does not return
 * @file: a render node or a dma-buf
 * @offset: offset in the file in bytes
 * @len: length in bytes
 *
 * Return: 0 or the errno of mmap().
 */
int virtgpu_kunit_mmap_file(struct virtgpu_kunit *k, struct file *file, u64 offset, size_t len)
{
	struct virtgpu_kunit_thread *thread = virtgpu_kunit_mmap_file_start(k, file, offset, len);
	int ret = virtgpu_kunit_result(thread);

	virtgpu_kunit_munmap(thread);

	return ret;
}

/**
 * virtgpu_kunit_mmap - mmap() a blob and unmap it again
 * @k: the fixture; the test fails here if mmap() does not return
 * @handle: handle of a HOST3D blob of SIZE bytes
 *
 * Return: 0 or the errno of mmap().
 */
int virtgpu_kunit_mmap(struct virtgpu_kunit *k, u32 handle)
{
	return virtgpu_kunit_mmap_file(k, k->file, virtgpu_kunit_offset(k, handle), SIZE);
}

/**
 * virtgpu_kunit_mmap_pfn - look up a page of a mapping
 * @thread: a thread whose mmap() has succeeded
 * @page: index of the page in the mapping
 * @pfn: filled in with the frame number
 * @prot: filled in with the protection bits in the page table; may be NULL
 *
 * Return: 0, or -EINVAL if the page is not in the page tables.
 */
int virtgpu_kunit_mmap_pfn(struct virtgpu_kunit_thread *thread, size_t page, unsigned long *pfn,
			   pgprot_t *prot)
{
	struct follow_pfnmap_args args = { .address = thread->addr + page * PAGE_SIZE };
	int ret = -EINVAL;

	mmap_read_lock(thread->mm);
	args.vma = vma_lookup(thread->mm, args.address);
	if (args.vma)
		ret = follow_pfnmap_start(&args);
	if (!ret) {
		*pfn = args.pfn;
		if (prot)
			*prot = args.pgprot;
		follow_pfnmap_end(&args);
	}
	mmap_read_unlock(thread->mm);

	return ret;
}

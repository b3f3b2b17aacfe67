// SPDX-License-Identifier: GPL-2.0

#include <kunit/test.h>
#include <linux/atomic.h>
#include <linux/bitops.h>
#include <linux/cleanup.h>
#include <linux/completion.h>
#include <linux/debug_locks.h>
#include <linux/delay.h>
#include <linux/device.h>
#include <linux/dma-mapping.h>
#include <linux/hrtimer.h>
#include <linux/ioport.h>
#include <linux/kthread.h>
#include <linux/log2.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/sched/debug.h>
#include <linux/sched/task.h>
#include <linux/sizes.h>
#include <linux/slab.h>
#include <linux/spinlock.h>
#include <linux/string.h>
#include <linux/vhost_iotlb.h>
#include <linux/virtio.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include <linux/workqueue.h>

#include "virtio_fake.h"

/**
 * DOC: A virtio device for KUnit
 *
 * A test creates a device with virtio_fake_create(), and virtio_fake_plug() registers it on the
 * virtio bus, where the driver under test binds to it. The fake is the transport and the device's
 * side of the virtqueues. A device model (&struct virtio_fake_ops) handles the requests.
 *
 * The fake models:
 *
 * - negotiation of features, the status byte, reset, freeze and restore, shutdown through the bus;
 * - split virtqueues, with indirect descriptors and event indices. Accesses go through vringh and
 *   an identity iotlb, as the addresses in the rings are physical;
 * - the config space with its generation, and config change interrupts;
 * - one shared memory region without memory behind it;
 * - the lifetime of &struct virtio_device: a real transport frees it in its release callback, and
 *   so does the fake. KASAN then reports a driver that uses it after remove();
 * - interrupts in hard irq context, which arrive while other code runs;
 * - faults: a device that takes no requests, lost and delayed notifications and interrupts, broken
 *   virtqueues.
 *
 * vdpa_sim does not serve here. The vDPA bus has no operation for shared memory regions, so
 * virtio_vdpa implements no get_shm_region(). Its device models run on their own: a test cannot
 * hold a request and complete it later.
 *
 * An interrupt is an hrtimer that expires at once. irq_work would be the obvious choice, but
 * arch_irq_work_raise() is empty on UML, where it waits for the next tick, 10 ms away. With
 * CONFIG_HIGH_RES_TIMERS the hrtimer expires within microseconds. Without it the hrtimer waits for
 * the tick as well. The mode is HRTIMER_MODE_REL and not HRTIMER_MODE_REL_HARD: the handlers of
 * virtio drivers take spinlocks, which PREEMPT_RT allows in threads only.
 *
 * Locks nest in this order:
 *
 * 1. locks of the driver that it holds across virtio_reset_device(), find_vqs() or del_vqs();
 * 2. virtio_fake_lock(), a mutex;
 * 3. the iotlb's spinlock, which vringh takes.
 *
 * The other spinlocks of the fake are taken in any context, and no lock is taken inside them.
 * virtqueue_notify() and accesses to the config space take no other lock of the fake, so the driver
 * may hold any lock there.
 *
 * Each call into the driver runs in a thread of its own (plug, unplug, freeze, restore, shutdown).
 * If the driver does not return within VIRTIO_FAKE_TIMEOUT, then the test fails and goes on, and
 * the device is abandoned: the thread may use it at any time, so the device, the data of its model
 * and the module stay in memory. The device also stays registered: a reboot waits for the thread if
 * that holds a device lock. The waits in virtio_config_ops have no bound of their own, like those
 * of a real transport.
 */

/* The bit of the config change interrupt, beside those of the virtqueues. */
#define VIRTIO_FAKE_IRQ_CONFIG	BIT(VIRTIO_FAKE_MAX_VQS)

/* struct vhost_iotlb holds up to this many ranges. The full range takes two. */
#define VIRTIO_FAKE_IOTLB_RANGES	2

/*
 * vringh has no packed rings, a device model may complete requests out of order, and the addresses
 * in the rings are physical.
 */
#define VIRTIO_FAKE_UNSUPPORTED	(BIT_ULL(VIRTIO_F_RING_PACKED) | \
				 BIT_ULL(VIRTIO_F_IN_ORDER) | \
				 BIT_ULL(VIRTIO_F_NOTIFICATION_DATA) | \
				 BIT_ULL(VIRTIO_F_ACCESS_PLATFORM) | \
				 BIT_ULL(VIRTIO_F_RING_RESET))

enum virtio_fake_state {
	VIRTIO_FAKE_UNPLUGGED,
	VIRTIO_FAKE_PLUGGED,
	VIRTIO_FAKE_UNPLUGGING,
};

/**
 * struct virtio_fake_vq - the device's side of a virtqueue
 * @vq: the driver's side, NULL if not set up. Changes while no interrupt is under way.
 * @vrh: the ring
 * @ready: the device may access the ring
 * @used: requests have been completed for which no interrupt has been considered
 *
 * All but @vq are protected by the lock of &struct virtio_fake. @vq is written under this lock.
 */
struct virtio_fake_vq {
	struct virtqueue *vq;
	struct vringh vrh;
	bool ready;
	bool used;
};

/**
 * struct virtio_fake - a virtio device
 * @test: the test that the device belongs to. Only the test's own thread uses the pointer, as an
 *	abandoned device outlives the test.
 * @params: the properties of the device
 * @debug_locks: value of the global variable at creation. Lock debugging stops at its first report.
 * @parent: parent of the virtio device, in place of a PCI device
 * @dma_parms: for @parent
 * @hole: the reserved range of iomem_resource, with the shared memory region at its end
 * @shm: the shared memory region
 * @vdev: the virtio device, NULL when it is released
 * @released: @vdev has been released
 * @state: enum virtio_fake_state
 * @abandoned: a task is stuck in the driver, so the device is never freed
 * @wq: runs @serve_work
 * @serve_work: takes requests from the virtqueues
 * @iotlb: the identity mapping
 * @iotlb_lock: protects @iotlb, for vringh
 * @lock: protects the device's side of the virtqueues and the device model
 * @vqs: the virtqueues
 * @reqs: outstanding requests
 * @outstanding: length of @reqs. Written under @lock.
 * @stalled: bit mask of the virtqueues that the device takes no requests from. Written under @lock.
 * @serving: @serve_work is at work. Written under @lock.
 * @features: the negotiated features
 * @resets: number of resets
 * @status: the status byte
 * @event_lock: protects the fields up to and including @delayed, is taken in any context
 * @notified: bit mask of the virtqueues with notifications to act on
 * @held: bit mask of the virtqueues with notifications that @holding puts off
 * @holding: notifications are put off
 * @lose: number of notifications to lose
 * @muted: interrupts are put off, and combined
 * @config_muted: @muted has put off a config change interrupt
 * @delayed: interrupts stay pending until the driver waits for them
 * @notifications: number of notifications
 * @irq_timer: its handler is the interrupt handler
 * @irq_pending: bit mask of the interrupts under way
 * @irq_running: the interrupt handler runs
 * @interrupts: number of interrupts
 * @config_lock: protects @config and @generation, is taken in any context
 * @config: the config space
 * @generation: number of changes of @config
 * @violation_lock: protects @violations and @violation, is taken in any context
 * @violations: how often the driver violated a rule of the specification or of the model
 * @violation: describes the first violation
 * @wait: is woken when the state of the device changes
 */
struct virtio_fake {
	struct kunit *test;
	struct virtio_fake_params params;
	int debug_locks;

	struct device *parent;
	struct device_dma_parameters dma_parms;
	struct resource hole;
	struct virtio_shm_region shm;

	struct virtio_device *vdev;
	struct completion released;
	atomic_t state;
	bool abandoned;

	struct workqueue_struct *wq;
	struct work_struct serve_work;
	struct vhost_iotlb *iotlb;
	/* for vringh */
	spinlock_t iotlb_lock;

	/* device's side of the virtqueues, device model */
	struct mutex lock;
	struct virtio_fake_vq vqs[VIRTIO_FAKE_MAX_VQS];
	struct list_head reqs;
	unsigned int outstanding;
	unsigned long stalled;
	bool serving;

	u64 features;
	unsigned int resets;
	u8 status;

	/* notified to delayed */
	spinlock_t event_lock;
	unsigned long notified;
	unsigned long held;
	bool holding;
	unsigned int lose;
	bool muted;
	bool config_muted;
	bool delayed;

	atomic_t notifications;

	struct hrtimer irq_timer;
	atomic_t irq_pending;
	bool irq_running;
	atomic_t interrupts;

	/* config, generation */
	spinlock_t config_lock;
	u8 *config;
	u32 generation;

	/* violations, violation */
	spinlock_t violation_lock;
	unsigned int violations;
	char violation[160];

	wait_queue_head_t wait;
};

/* What a transport allocates for a virtio device. */
struct virtio_fake_vdev {
	struct virtio_device vdev;
	struct virtio_fake *vf;
};

static struct virtio_fake *virtio_fake_from(struct virtio_device *vdev)
{
	return container_of(vdev, struct virtio_fake_vdev, vdev)->vf;
}

static bool virtio_fake_driver_ok(struct virtio_fake *vf)
{
	return READ_ONCE(vf->status) & VIRTIO_CONFIG_S_DRIVER_OK;
}

/*
 * Violations
 */

/**
 * virtio_fake_violate - record that the driver did what it must not
 * @vf: the device
 * @fmt: describes the violation
 *
 * Context: Any context.
 */
void virtio_fake_violate(struct virtio_fake *vf, const char *fmt, ...)
{
	unsigned long flags;
	va_list args;

	spin_lock_irqsave(&vf->violation_lock, flags);
	if (!vf->violations) {
		va_start(args, fmt);
		vscnprintf(vf->violation, sizeof(vf->violation), fmt, args);
		va_end(args);
	}
	WRITE_ONCE(vf->violations, vf->violations + 1);
	spin_unlock_irqrestore(&vf->violation_lock, flags);
}

/**
 * virtio_fake_violations - number of violations
 * @vf: the device
 *
 * The test fails if it is not 0 in the end.
 *
 * Return: the number of violations since the last virtio_fake_clear_violations().
 */
unsigned int virtio_fake_violations(struct virtio_fake *vf)
{
	return READ_ONCE(vf->violations);
}

/**
 * virtio_fake_violation - the first violation
 * @vf: the device
 *
 * Return: a description, empty if there was no violation.
 */
const char *virtio_fake_violation(struct virtio_fake *vf)
{
	return vf->violation;
}

/**
 * virtio_fake_clear_violations - forget the violations so far
 * @vf: the device
 *
 * For tests that expect violations.
 *
 * Return: how many there were.
 */
unsigned int virtio_fake_clear_violations(struct virtio_fake *vf)
{
	unsigned long flags;
	unsigned int n;

	spin_lock_irqsave(&vf->violation_lock, flags);
	n = vf->violations;
	WRITE_ONCE(vf->violations, 0);
	vf->violation[0] = '\0';
	spin_unlock_irqrestore(&vf->violation_lock, flags);

	return n;
}

/*
 * Interrupts
 */

static enum hrtimer_restart virtio_fake_handle_irq(struct hrtimer *timer)
{
	struct virtio_fake *vf = container_of(timer, struct virtio_fake, irq_timer);
	unsigned long pending, i;

	/* Pairs with virtio_fake_irq_under_way(): one of the two fields is set at any time. */
	WRITE_ONCE(vf->irq_running, true);
	/* Also pairs with the barrier in virtio_fake_drain_irq(). */
	pending = atomic_xchg(&vf->irq_pending, 0);

	if (virtio_fake_driver_ok(vf)) {
		for_each_set_bit(i, &pending, VIRTIO_FAKE_MAX_VQS) {
			atomic_inc(&vf->interrupts);
			vring_interrupt(0, vf->vqs[i].vq);
		}
		if (pending & VIRTIO_FAKE_IRQ_CONFIG) {
			atomic_inc(&vf->interrupts);
			virtio_config_changed(vf->vdev);
		}
	}

	/* Pairs with virtio_fake_irq_under_way(): the virtqueues may be freed now. */
	smp_store_release(&vf->irq_running, false);
	wake_up_all(&vf->wait);

	return HRTIMER_NORESTART;
}

static bool virtio_fake_irq_under_way(struct virtio_fake *vf)
{
	if (atomic_read(&vf->irq_pending))
		return true;

	/* Pairs with the atomic_xchg() in virtio_fake_handle_irq(). */
	smp_rmb();
	/* Pairs with the release in virtio_fake_handle_irq(). */
	return smp_load_acquire(&vf->irq_running);
}

static void virtio_fake_deliver_irq(struct virtio_fake *vf)
{
	if (atomic_read(&vf->irq_pending))
		hrtimer_start(&vf->irq_timer, 0, HRTIMER_MODE_REL);
}

static void virtio_fake_raise_irq(struct virtio_fake *vf, unsigned long bits)
{
	atomic_or(bits, &vf->irq_pending);
	/* Pairs with virtio_fake_delay_interrupts(): one of the two delivers the interrupt. */
	smp_mb__after_atomic();
	if (!READ_ONCE(vf->delayed))
		virtio_fake_deliver_irq(vf);
}

/* Wait for the interrupts under way. Delayed ones arrive now. */
static void virtio_fake_drain_irq(struct virtio_fake *vf)
{
	might_sleep();

	/*
	 * Pairs with the atomic_xchg() in virtio_fake_handle_irq(): either this waits for the
	 * handler, or the handler sees what the caller has written.
	 */
	smp_mb();
	while (virtio_fake_irq_under_way(vf)) {
		virtio_fake_deliver_irq(vf);
		usleep_range(10, 50);
	}
}

/* Raise the interrupts that the driver wants for what has been completed. */
static void virtio_fake_raise_used_locked(struct virtio_fake *vf)
{
	unsigned long bits = 0;
	unsigned int i;

	lockdep_assert_held(&vf->lock);

	if (READ_ONCE(vf->muted))
		return;

	for (i = 0; i < vf->params.num_vqs; i++) {
		struct virtio_fake_vq *fvq = &vf->vqs[i];
		int ret;

		if (!fvq->used)
			continue;

		fvq->used = false;
		ret = vringh_need_notify_iotlb(&fvq->vrh);
		if (ret < 0)
			virtio_fake_violate(vf, "virtqueue %u: used_event: error %d", i, ret);
		else if (ret)
			bits |= BIT(i);
	}

	if (bits)
		virtio_fake_raise_irq(vf, bits);
}

/**
 * virtio_fake_config_interrupt - raise a config change interrupt
 * @vf: the device
 *
 * virtio_config_changed() is called in hard irq context, soon. A device without DRIVER_OK raises no
 * interrupt.
 *
 * Context: Any context.
 */
void virtio_fake_config_interrupt(struct virtio_fake *vf)
{
	unsigned long flags;
	bool raise = false;

	spin_lock_irqsave(&vf->event_lock, flags);
	if (virtio_fake_driver_ok(vf)) {
		raise = !vf->muted;
		vf->config_muted |= vf->muted;
	}
	spin_unlock_irqrestore(&vf->event_lock, flags);

	if (raise)
		virtio_fake_raise_irq(vf, VIRTIO_FAKE_IRQ_CONFIG);
}

/*
 * Requests
 */

/**
 * virtio_fake_lock - stop the device
 * @vf: the device
 *
 * While the lock is held, the device takes no requests, and the device model does not change.
 *
 * Context: Process context. May sleep.
 */
void virtio_fake_lock(struct virtio_fake *vf)
{
	mutex_lock(&vf->lock);
}

/**
 * virtio_fake_unlock - let the device go on
 * @vf: the device
 *
 * Raises the interrupts for the requests that were completed under the lock.
 */
void virtio_fake_unlock(struct virtio_fake *vf)
{
	virtio_fake_raise_used_locked(vf);
	mutex_unlock(&vf->lock);
}

/**
 * virtio_fake_assert_locked - assert that the caller holds virtio_fake_lock()
 * @vf: the device
 */
void virtio_fake_assert_locked(struct virtio_fake *vf)
{
	lockdep_assert_held(&vf->lock);
}

/**
 * virtio_fake_pull_locked - read what the driver sends
 * @req: the request
 * @buf: where to copy it
 * @len: how many bytes to copy at most
 *
 * A further call continues where this one ended.
 *
 * Return: the number of bytes, or a negative errno.
 */
ssize_t virtio_fake_pull_locked(struct virtio_fake_req *req, void *buf, size_t len)
{
	virtio_fake_assert_locked(req->vf);

	return vringh_iov_pull_iotlb(&req->vf->vqs[req->vq].vrh, &req->riov, buf, len);
}

/**
 * virtio_fake_push_locked - write a part of the response
 * @req: the request
 * @buf: the response
 * @len: its length in bytes
 *
 * A further call continues where this one ended.
 *
 * Return: the number of bytes, less than @len if the driver has left too little space, or a
 * negative errno.
 */
ssize_t virtio_fake_push_locked(struct virtio_fake_req *req, const void *buf, size_t len)
{
	ssize_t ret;

	virtio_fake_assert_locked(req->vf);

	ret = vringh_iov_push_iotlb(&req->vf->vqs[req->vq].vrh, &req->wiov, buf, len);
	if (ret > 0)
		req->pushed += ret;

	return ret;
}

static void virtio_fake_free_req_locked(struct virtio_fake *vf, struct virtio_fake_req *req)
{
	list_del(&req->node);
	WRITE_ONCE(vf->outstanding, vf->outstanding - 1);
	vringh_kiov_cleanup(&req->riov);
	vringh_kiov_cleanup(&req->wiov);
	kfree(req);
}

/**
 * virtio_fake_complete_locked - return a request to the driver
 * @req: the request, which is freed
 *
 * The driver finds it in the used ring at once. If the driver wants an interrupt, then
 * virtio_fake_unlock() raises it. Requests that &virtio_fake_ops.request completes share an
 * interrupt with the others that the device has taken in one go.
 */
void virtio_fake_complete_locked(struct virtio_fake_req *req)
{
	struct virtio_fake *vf = req->vf;
	struct virtio_fake_vq *fvq = &vf->vqs[req->vq];
	int ret;

	virtio_fake_assert_locked(vf);

	ret = vringh_complete_iotlb(&fvq->vrh, req->head, req->pushed);
	if (ret)
		virtio_fake_violate(vf, "virtqueue %u: used ring: error %d", req->vq, ret);
	fvq->used = true;

	virtio_fake_free_req_locked(vf, req);
	wake_up_all(&vf->wait);
}

/* vringh does not report whether a request came in an indirect descriptor. */
static bool virtio_fake_is_indirect(struct virtio_fake_vq *fvq, u16 head)
{
	const struct vring *vring = virtqueue_get_vring(fvq->vq);

	u16 flags = vringh16_to_cpu(&fvq->vrh, READ_ONCE(vring->desc[head].flags));

	return flags & VRING_DESC_F_INDIRECT;
}

/* Take one request. Returns 1, 0 if there is none, or a negative errno. */
static int virtio_fake_take_locked(struct virtio_fake *vf, unsigned int vq)
{
	struct virtio_fake_vq *fvq = &vf->vqs[vq];
	struct virtio_fake_req *req;
	int ret;

	req = kzalloc_obj(*req);
	if (!req) {
		virtio_fake_violate(vf, "virtqueue %u: no memory for a request", vq);
		return -ENOMEM;
	}

	vringh_kiov_init(&req->riov, NULL, 0);
	vringh_kiov_init(&req->wiov, NULL, 0);
	ret = vringh_getdesc_iotlb(&fvq->vrh, &req->riov, &req->wiov, &req->head, GFP_KERNEL);
	if (ret <= 0) {
		if (ret)
			virtio_fake_violate(vf, "virtqueue %u: bad descriptor: error %d", vq, ret);
		vringh_kiov_cleanup(&req->riov);
		vringh_kiov_cleanup(&req->wiov);
		kfree(req);
		return ret;
	}

	req->vf = vf;
	req->vq = vq;
	req->out_len = vringh_kiov_length(&req->riov);
	req->in_len = vringh_kiov_length(&req->wiov);
	req->indirect = virtio_fake_is_indirect(fvq, req->head);
	list_add_tail(&req->node, &vf->reqs);
	WRITE_ONCE(vf->outstanding, vf->outstanding + 1);

	vf->params.ops->request(vf, req);
	wake_up_all(&vf->wait);

	return 1;
}

/* Record a notification and act on it soon. */
static void virtio_fake_notified(struct virtio_fake *vf, unsigned long bits)
{
	unsigned long flags;

	spin_lock_irqsave(&vf->event_lock, flags);
	vf->notified |= bits;
	spin_unlock_irqrestore(&vf->event_lock, flags);

	queue_work(vf->wq, &vf->serve_work);
}

/* Whether there is a notification that the device may act on now. */
static bool virtio_fake_take_notification_locked(struct virtio_fake *vf, unsigned int vq)
{
	unsigned long flags;
	bool notified;

	if (!vf->vqs[vq].ready || (vf->stalled & BIT(vq)))
		return false;

	spin_lock_irqsave(&vf->event_lock, flags);
	notified = vf->notified & BIT(vq);
	vf->notified &= ~BIT(vq);
	spin_unlock_irqrestore(&vf->event_lock, flags);

	return notified;
}

static void virtio_fake_serve_locked(struct virtio_fake *vf, unsigned int vq)
{
	struct virtio_fake_vq *fvq = &vf->vqs[vq];
	unsigned int n = 0;
	int ret;

	do {
		vringh_notify_disable_iotlb(&fvq->vrh);
		do {
			/* Let others have the lock. */
			if (n++ == vf->params.vq_num) {
				virtio_fake_notified(vf, BIT(vq));
				return;
			}
			ret = virtio_fake_take_locked(vf, vq);
		} while (ret > 0);

		/* A device that has met a bad descriptor needs a reset. */
		if (ret < 0) {
			fvq->ready = false;
			return;
		}
	} while (!vringh_notify_enable_iotlb(&fvq->vrh));
}

static void virtio_fake_serve(struct work_struct *work)
{
	struct virtio_fake *vf = container_of(work, struct virtio_fake, serve_work);
	unsigned int i;

	virtio_fake_lock(vf);
	WRITE_ONCE(vf->serving, true);
	for (i = 0; i < vf->params.num_vqs; i++) {
		if (virtio_fake_take_notification_locked(vf, i))
			virtio_fake_serve_locked(vf, i);
	}
	virtio_fake_raise_used_locked(vf);
	/* Pairs with virtio_fake_is_idle(): the work of the device is visible. */
	smp_store_release(&vf->serving, false);
	virtio_fake_unlock(vf);

	wake_up_all(&vf->wait);
}

/* Called with any lock of the driver held, in any context. */
static bool virtio_fake_notify(struct virtqueue *vq)
{
	struct virtio_fake *vf = virtio_fake_from(vq->vdev);
	unsigned long flags;
	bool act = false;

	atomic_inc(&vf->notifications);
	if (!virtio_fake_driver_ok(vf)) {
		virtio_fake_violate(vf, "virtqueue %u: notification without DRIVER_OK", vq->index);
	} else {
		spin_lock_irqsave(&vf->event_lock, flags);
		if (vf->lose)
			vf->lose--;
		else if (vf->holding)
			vf->held |= BIT(vq->index);
		else
			act = true;
		spin_unlock_irqrestore(&vf->event_lock, flags);
	}

	if (act)
		virtio_fake_notified(vf, BIT(vq->index));
	wake_up_all(&vf->wait);

	return true;
}

/*
 * Transport
 */

static bool virtio_fake_in_config(struct virtio_fake *vf, unsigned int offset, unsigned int len)
{
	return offset <= vf->params.config_len && len <= vf->params.config_len - offset;
}

static void virtio_fake_get(struct virtio_device *vdev, unsigned int offset, void *buf,
			    unsigned int len)
{
	struct virtio_fake *vf = virtio_fake_from(vdev);

	if (!virtio_fake_in_config(vf, offset, len)) {
		virtio_fake_violate(vf, "config space: read of %u bytes at %u", len, offset);
		memset(buf, 0, len);
		return;
	}

	if (vf->params.ops->config_read)
		vf->params.ops->config_read(vf, offset, len);
	virtio_fake_config_read(vf, offset, buf, len);
}

static void virtio_fake_set(struct virtio_device *vdev, unsigned int offset, const void *buf,
			    unsigned int len)
{
	struct virtio_fake *vf = virtio_fake_from(vdev);
	const struct virtio_fake_ops *ops = vf->params.ops;

	if (!virtio_fake_in_config(vf, offset, len) || !ops->config_write ||
	    !ops->config_write(vf, offset, buf, len))
		virtio_fake_violate(vf, "config space: write of %u bytes at %u", len, offset);
}

static u32 virtio_fake_generation(struct virtio_device *vdev)
{
	struct virtio_fake *vf = virtio_fake_from(vdev);
	unsigned long flags;
	u32 generation;

	spin_lock_irqsave(&vf->config_lock, flags);
	generation = vf->generation;
	spin_unlock_irqrestore(&vf->config_lock, flags);

	return generation;
}

static u8 virtio_fake_get_status(struct virtio_device *vdev)
{
	return virtio_fake_status(virtio_fake_from(vdev));
}

static void virtio_fake_set_status(struct virtio_device *vdev, u8 status)
{
	struct virtio_fake *vf = virtio_fake_from(vdev);
	u8 old = virtio_fake_status(vf);

	if (old & ~status)
		virtio_fake_violate(vf, "status %#x replaces %#x without a reset", status, old);

	if (!(old & VIRTIO_CONFIG_S_FEATURES_OK) && (vf->params.required & ~vf->features))
		status &= ~VIRTIO_CONFIG_S_FEATURES_OK;

	if ((status & VIRTIO_CONFIG_S_DRIVER_OK) && !(status & VIRTIO_CONFIG_S_FEATURES_OK) &&
	    (vf->features & BIT_ULL(VIRTIO_F_VERSION_1)))
		virtio_fake_violate(vf, "DRIVER_OK without FEATURES_OK");

	WRITE_ONCE(vf->status, status);
}

/* Stop the device: it accesses the rings no more, and raises no interrupt. */
static void virtio_fake_halt(struct virtio_fake *vf)
{
	struct virtio_fake_req *req, *tmp;
	unsigned long flags;
	unsigned int i;

	mutex_lock(&vf->lock);
	WRITE_ONCE(vf->status, 0);
	for (i = 0; i < VIRTIO_FAKE_MAX_VQS; i++) {
		vf->vqs[i].ready = false;
		vf->vqs[i].used = false;
	}
	list_for_each_entry_safe(req, tmp, &vf->reqs, node) {
		if (vf->params.ops->drop)
			vf->params.ops->drop(vf, req);
		virtio_fake_free_req_locked(vf, req);
	}
	spin_lock_irqsave(&vf->event_lock, flags);
	vf->notified = 0;
	vf->held = 0;
	vf->config_muted = false;
	spin_unlock_irqrestore(&vf->event_lock, flags);
	mutex_unlock(&vf->lock);

	/* Without DRIVER_OK, the handler drops what is pending. */
	virtio_fake_drain_irq(vf);
}

static void virtio_fake_reset(struct virtio_device *vdev)
{
	struct virtio_fake *vf = virtio_fake_from(vdev);
	const struct virtio_fake_ops *ops = vf->params.ops;

	virtio_fake_lock(vf);
	if (ops->reset)
		ops->reset(vf, false);
	virtio_fake_unlock(vf);
	virtio_fake_drain_irq(vf);

	virtio_fake_halt(vf);

	virtio_fake_lock(vf);
	WRITE_ONCE(vf->resets, vf->resets + 1);
	if (ops->reset)
		ops->reset(vf, true);
	virtio_fake_unlock(vf);

	wake_up_all(&vf->wait);
}

static void virtio_fake_del_vqs(struct virtio_device *vdev)
{
	struct virtio_fake *vf = virtio_fake_from(vdev);
	unsigned int i;

	if (virtio_fake_driver_ok(vf)) {
		virtio_fake_violate(vf, "virtqueues are deleted while the device uses them");
		virtio_fake_halt(vf);
	}

	if (vf->params.ops->del_vqs)
		vf->params.ops->del_vqs(vf);

	mutex_lock(&vf->lock);
	for (i = 0; i < VIRTIO_FAKE_MAX_VQS; i++) {
		struct virtio_fake_vq *fvq = &vf->vqs[i];

		fvq->ready = false;
		if (fvq->vq)
			vring_del_virtqueue(fvq->vq);
		fvq->vq = NULL;
	}
	mutex_unlock(&vf->lock);
}

static int virtio_fake_setup_vq_locked(struct virtio_fake *vf, unsigned int index,
				       const struct virtqueue_info *info)
{
	struct virtio_fake_vq *fvq = &vf->vqs[index];
	unsigned int num = vf->params.vq_num;
	int ret;

	fvq->vq = vring_create_virtqueue(index, num, PAGE_SIZE, vf->vdev, true, false, info->ctx,
					 virtio_fake_notify, info->callback, info->name);
	if (!fvq->vq)
		return -ENOMEM;

	fvq->vq->num_max = num;
	memset(&fvq->vrh, 0, sizeof(fvq->vrh));
	ret = vringh_init_iotlb(&fvq->vrh, vf->features, num, true,
				(struct vring_desc *)(uintptr_t)virtqueue_get_desc_addr(fvq->vq),
				(struct vring_avail *)(uintptr_t)virtqueue_get_avail_addr(fvq->vq),
				(struct vring_used *)(uintptr_t)virtqueue_get_used_addr(fvq->vq));
	if (ret)
		return ret;

	vringh_set_iotlb(&fvq->vrh, vf->iotlb, &vf->iotlb_lock);
	fvq->ready = true;

	return 0;
}

static int virtio_fake_find_vqs(struct virtio_device *vdev, unsigned int nvqs,
				struct virtqueue *vqs[], struct virtqueue_info vqs_info[],
				struct irq_affinity *desc)
{
	struct virtio_fake *vf = virtio_fake_from(vdev);
	unsigned int i, index = 0;
	int ret = 0;

	if (virtio_fake_driver_ok(vf))
		virtio_fake_violate(vf, "virtqueues are set up after DRIVER_OK");

	mutex_lock(&vf->lock);
	for (i = 0; i < nvqs && !ret; i++) {
		vqs[i] = NULL;
		if (!vqs_info[i].name)
			continue;

		if (index >= vf->params.num_vqs) {
			ret = -ENOENT;
		} else if (vf->vqs[index].vq) {
			virtio_fake_violate(vf, "virtqueue %u is set up twice", index);
			ret = -EBUSY;
		} else {
			ret = virtio_fake_setup_vq_locked(vf, index, &vqs_info[i]);
			vqs[i] = vf->vqs[index++].vq;
		}
	}
	mutex_unlock(&vf->lock);

	if (ret)
		virtio_fake_del_vqs(vdev);

	return ret;
}

static void virtio_fake_synchronize_cbs(struct virtio_device *vdev)
{
	virtio_fake_drain_irq(virtio_fake_from(vdev));
}

static u64 virtio_fake_get_features(struct virtio_device *vdev)
{
	return virtio_fake_from(vdev)->params.features;
}

static int virtio_fake_finalize_features(struct virtio_device *vdev)
{
	struct virtio_fake *vf = virtio_fake_from(vdev);

	vring_transport_features(vdev);
	if (vdev->features & ~vf->params.features) {
		virtio_fake_violate(vf, "features %#llx are not offered",
				    vdev->features & ~vf->params.features);
		return -EINVAL;
	}
	WRITE_ONCE(vf->features, vdev->features);

	return 0;
}

static const char *virtio_fake_bus_name(struct virtio_device *vdev)
{
	return dev_name(virtio_fake_from(vdev)->parent);
}

static bool virtio_fake_get_shm_region(struct virtio_device *vdev,
				       struct virtio_shm_region *region, u8 id)
{
	struct virtio_fake *vf = virtio_fake_from(vdev);

	if (!vf->shm.len || id != vf->params.shm_id)
		return false;

	*region = vf->shm;
	return true;
}

static const struct virtio_config_ops virtio_fake_config_ops = {
	.get = virtio_fake_get,
	.set = virtio_fake_set,
	.generation = virtio_fake_generation,
	.get_status = virtio_fake_get_status,
	.set_status = virtio_fake_set_status,
	.reset = virtio_fake_reset,
	.find_vqs = virtio_fake_find_vqs,
	.del_vqs = virtio_fake_del_vqs,
	.synchronize_cbs = virtio_fake_synchronize_cbs,
	.get_features = virtio_fake_get_features,
	.finalize_features = virtio_fake_finalize_features,
	.bus_name = virtio_fake_bus_name,
	.get_shm_region = virtio_fake_get_shm_region,
};

/*
 * Calls into the driver
 */

struct virtio_fake_call {
	struct virtio_fake *vf;
	int (*fn)(struct virtio_fake *vf);
	int ret;
	struct completion done;
};

static int virtio_fake_call_thread(void *data)
{
	struct virtio_fake_call *call = data;

	call->ret = call->fn(call->vf);
	/* The thread leaves the module here. */
	kthread_complete_and_exit(&call->done, 0);
}

/**
 * virtio_fake_abandon - never free the device
 * @vf: the device
 *
 * For tests with a task that is stuck in the driver. The device model and the module stay in memory
 * as well. The end of the test does not touch the device, whose locks the task may hold.
 */
void virtio_fake_abandon(struct virtio_fake *vf)
{
	if (!xchg(&vf->abandoned, true))
		__module_get(THIS_MODULE);
}

/**
 * virtio_fake_is_abandoned - whether the device is never freed
 * @vf: the device
 *
 * Return: true if a task is stuck in the driver, and virtio_fake_abandon() was called.
 */
bool virtio_fake_is_abandoned(struct virtio_fake *vf)
{
	return READ_ONCE(vf->abandoned);
}

/*
 * Call a function that may not return. Returns what it returns, or -ETIMEDOUT if it takes longer
 * than VIRTIO_FAKE_TIMEOUT. The device is then abandoned, and the thread keeps its memory.
 */
static int virtio_fake_call(struct virtio_fake *vf, const char *name,
			    int (*fn)(struct virtio_fake *vf))
{
	struct virtio_fake_call *call;
	struct task_struct *task;
	int ret;

	call = kzalloc_obj(*call);
	if (!call)
		return -ENOMEM;

	call->vf = vf;
	call->fn = fn;
	init_completion(&call->done);
	task = kthread_create(virtio_fake_call_thread, call, "virtio_fake_%s", name);
	if (IS_ERR(task)) {
		kfree(call);
		return PTR_ERR(task);
	}

	get_task_struct(task);
	wake_up_process(task);
	if (wait_for_completion_timeout(&call->done, VIRTIO_FAKE_TIMEOUT)) {
		ret = call->ret;
		kfree(call);
	} else {
		virtio_fake_abandon(vf);
		virtio_fake_violate(vf, "%s does not return", name);
		sched_show_task(task);
		ret = -ETIMEDOUT;
	}
	put_task_struct(task);

	return ret;
}

/*
 * Lifetime
 */

static void virtio_fake_release(struct device *dev)
{
	struct virtio_device *vdev = dev_to_virtio(dev);
	struct virtio_fake *vf = virtio_fake_from(vdev);
	unsigned int i;

	if (virtio_fake_driver_ok(vf)) {
		virtio_fake_violate(vf, "the virtio device is released without a reset");
		virtio_fake_halt(vf);
	}
	for (i = 0; i < VIRTIO_FAKE_MAX_VQS; i++) {
		if (vf->vqs[i].vq)
			virtio_fake_violate(vf, "virtqueue %u is not deleted", i);
		vf->vqs[i].ready = false;
		vf->vqs[i].vq = NULL;
	}

	WRITE_ONCE(vf->vdev, NULL);
	kfree(container_of(vdev, struct virtio_fake_vdev, vdev));
	complete_all(&vf->released);
}

static int virtio_fake_register(struct virtio_fake *vf)
{
	struct virtio_fake_vdev *fvdev;
	struct virtio_device *vdev;
	bool bound;
	int ret;

	fvdev = kzalloc_obj(*fvdev);
	if (!fvdev)
		return -ENOMEM;

	fvdev->vf = vf;
	vdev = &fvdev->vdev;
	vdev->id.device = vf->params.device_id;
	vdev->config = &virtio_fake_config_ops;
	vdev->dev.parent = vf->parent;
	vdev->dev.release = virtio_fake_release;
	reinit_completion(&vf->released);
	WRITE_ONCE(vf->vdev, vdev);

	ret = register_virtio_device(vdev);
	if (ret) {
		put_device(&vdev->dev);
		return ret;
	}

	/* The driver core does not return what probe() returns. */
	device_lock(&vdev->dev);
	bound = device_is_bound(&vdev->dev);
	device_unlock(&vdev->dev);
	if (!bound) {
		unregister_virtio_device(vdev);
		return -ENODEV;
	}

	return 0;
}

/**
 * virtio_fake_plug - register the device
 * @vf: the device
 *
 * May be called again after virtio_fake_unplug().
 *
 * Return: 0 on success, -ENODEV if no driver has bound to the device, which is then unregistered,
 * -ETIMEDOUT if probe() does not return, -EBUSY if the device is plugged, or another negative
 * errno.
 */
int virtio_fake_plug(struct virtio_fake *vf)
{
	int ret;

	if (READ_ONCE(vf->vdev))
		return -EBUSY;

	ret = virtio_fake_call(vf, "plug", virtio_fake_register);
	if (!ret)
		atomic_set(&vf->state, VIRTIO_FAKE_PLUGGED);

	return ret;
}

static int virtio_fake_unregister(struct virtio_fake *vf)
{
	unregister_virtio_device(vf->vdev);

	return 0;
}

/**
 * virtio_fake_unplug - unregister the device
 * @vf: the device
 *
 * Any thread may call it, while others are in the driver, and again. The first call unregisters the
 * device, all calls wait for its release.
 *
 * Return: whether the virtio device has been released within VIRTIO_FAKE_TIMEOUT.
 */
bool virtio_fake_unplug(struct virtio_fake *vf)
{
	if (atomic_cmpxchg(&vf->state, VIRTIO_FAKE_PLUGGED, VIRTIO_FAKE_UNPLUGGING) ==
	    VIRTIO_FAKE_PLUGGED &&
	    virtio_fake_call(vf, "unplug", virtio_fake_unregister))
		return false;

	if (!wait_for_completion_timeout(&vf->released, VIRTIO_FAKE_TIMEOUT))
		return false;

	atomic_cmpxchg(&vf->state, VIRTIO_FAKE_UNPLUGGING, VIRTIO_FAKE_UNPLUGGED);
	return true;
}

/**
 * virtio_fake_is_plugged - whether the device is registered
 * @vf: the device
 *
 * Return: true from the end of a successful virtio_fake_plug() to the begin of
 * virtio_fake_unplug().
 */
bool virtio_fake_is_plugged(struct virtio_fake *vf)
{
	return atomic_read(&vf->state) == VIRTIO_FAKE_PLUGGED;
}

#ifdef CONFIG_PM_SLEEP
/* The PM core holds the lock, too. */
static int virtio_fake_do_freeze(struct virtio_fake *vf)
{
	int ret;

	device_lock(&vf->vdev->dev);
	ret = virtio_device_freeze(vf->vdev);
	device_unlock(&vf->vdev->dev);

	return ret;
}

static int virtio_fake_do_restore(struct virtio_fake *vf)
{
	int ret;

	device_lock(&vf->vdev->dev);
	ret = virtio_device_restore(vf->vdev);
	device_unlock(&vf->vdev->dev);

	return ret;
}
#else
static int virtio_fake_do_freeze(struct virtio_fake *vf)
{
	return -EOPNOTSUPP;
}

static int virtio_fake_do_restore(struct virtio_fake *vf)
{
	return -EOPNOTSUPP;
}
#endif

static int virtio_fake_call_plugged(struct virtio_fake *vf, const char *name,
				    int (*fn)(struct virtio_fake *vf))
{
	if (!virtio_fake_is_plugged(vf)) {
		virtio_fake_violate(vf, "%s of a device that is not plugged", name);
		return -ENODEV;
	}

	return virtio_fake_call(vf, name, fn);
}

/**
 * virtio_fake_freeze - suspend the device, as its transport does
 * @vf: the device, which must be plugged
 *
 * Return: what the driver returns, -EOPNOTSUPP without CONFIG_PM_SLEEP, -ETIMEDOUT if the driver
 * does not return, see virtio_fake_is_abandoned().
 */
int virtio_fake_freeze(struct virtio_fake *vf)
{
	return virtio_fake_call_plugged(vf, "freeze", virtio_fake_do_freeze);
}

/**
 * virtio_fake_restore - resume the device, as its transport does
 * @vf: the device, which must be plugged
 *
 * Return: what virtio_device_restore() returns, -EOPNOTSUPP without CONFIG_PM_SLEEP, -ETIMEDOUT if
 * the driver does not return.
 */
int virtio_fake_restore(struct virtio_fake *vf)
{
	return virtio_fake_call_plugged(vf, "restore", virtio_fake_do_restore);
}

static int virtio_fake_do_shutdown(struct virtio_fake *vf)
{
	struct device *dev = &vf->vdev->dev;

	/* device_shutdown() holds both locks. */
	device_lock(vf->parent);
	device_lock(dev);
	if (dev->bus->shutdown)
		dev->bus->shutdown(dev);
	else if (dev->driver && dev->driver->shutdown)
		dev->driver->shutdown(dev);
	device_unlock(dev);
	device_unlock(vf->parent);

	return 0;
}

/**
 * virtio_fake_shutdown - shut the device down, as a reboot does
 * @vf: the device, which must be plugged
 */
void virtio_fake_shutdown(struct virtio_fake *vf)
{
	virtio_fake_call_plugged(vf, "shutdown", virtio_fake_do_shutdown);
}

/**
 * virtio_fake_break - break the virtqueues, as a transport does at surprise removal
 * @vf: the device, which must be plugged
 */
void virtio_fake_break(struct virtio_fake *vf)
{
	virtio_break_device(vf->vdev);
}

/**
 * virtio_fake_unbreak - undo virtio_fake_break()
 * @vf: the device, which must be plugged
 */
void virtio_fake_unbreak(struct virtio_fake *vf)
{
	__virtio_unbreak_device(vf->vdev);
}

static void virtio_fake_free(struct virtio_fake *vf)
{
	if (vf->wq)
		destroy_workqueue(vf->wq);
	hrtimer_cancel(&vf->irq_timer);
	if (vf->hole.parent)
		release_resource(&vf->hole);
	if (vf->iotlb)
		vhost_iotlb_free(vf->iotlb);
	if (vf->parent) {
		vf->parent->dma_parms = NULL;
		root_device_unregister(vf->parent);
	}
	if (vf->params.ops->release)
		vf->params.ops->release(vf->params.priv);
	mutex_destroy(&vf->lock);
	kfree(vf->config);
	kfree(vf);
}

static void virtio_fake_cleanup(void *data)
{
	struct virtio_fake *vf = data;
	struct kunit *test = vf->test;
	bool released = false;

	if (!virtio_fake_is_abandoned(vf)) {
		virtio_fake_delay_interrupts(vf, false);
		virtio_fake_mute(vf, false);
		virtio_fake_stall(vf, VIRTIO_FAKE_ALL, false);
		virtio_fake_lose_notifications(vf, 0);
		virtio_fake_hold_notifications(vf, false);

		released = virtio_fake_unplug(vf);
		KUNIT_EXPECT_TRUE_MSG(test, released, "the virtio device is not released");
		KUNIT_EXPECT_NULL_MSG(test, vf->hole.child,
				      "the shared memory region is still claimed");
	}
	KUNIT_EXPECT_EQ_MSG(test, debug_locks, vf->debug_locks, "see the kernel log");
	KUNIT_EXPECT_EQ_MSG(test, virtio_fake_violations(vf), 0, "first violation: %s",
			    virtio_fake_violation(vf));

	/* A driver that still holds the device may use all of the fake. */
	if (released && !vf->hole.child)
		virtio_fake_free(vf);
	else
		virtio_fake_abandon(vf);
}

/*
 * Find a hole for the shared memory region and keep it. The resource is not busy: the driver's
 * request_mem_region() nests in it.
 */
static void virtio_fake_place_shm(struct virtio_fake *vf)
{
	u64 size = vf->params.shm_skew + vf->params.shm_len;

	if (sizeof(resource_size_t) < sizeof(u64))
		kunit_skip(vf->test, "physical addresses have 32 bits");

	vf->hole.name = "virtio_fake";
	vf->hole.flags = IORESOURCE_MEM;
	if (allocate_resource(&iomem_resource, &vf->hole, size, SZ_8G, ~0ULL, SZ_2M, NULL, NULL))
		kunit_skip(vf->test, "no hole of %#llx bytes in the physical address space", size);

	vf->shm.addr = vf->hole.start + vf->params.shm_skew;
	vf->shm.len = vf->params.shm_len;
}

/**
 * virtio_fake_create - create a device
 * @test: the test, which fails here if a resource is missing
 * @p: the properties of the device, which are copied
 *
 * The device is not registered yet, see virtio_fake_plug(). At the end of the test, all faults are
 * undone and the device is unplugged and freed. The test fails if the device is not released then,
 * if the driver has violated a rule, or if lock debugging has reported something.
 *
 * Return: the device.
 */
struct virtio_fake *virtio_fake_create(struct kunit *test, const struct virtio_fake_params *p)
{
	static atomic_t serial = ATOMIC_INIT(0);
	struct device *parent;
	struct virtio_fake *vf;
	char name[32];
	int ret;

	KUNIT_ASSERT_NOT_NULL(test, p->ops);
	KUNIT_ASSERT_NOT_NULL(test, p->ops->request);
	KUNIT_ASSERT_LE(test, p->num_vqs, VIRTIO_FAKE_MAX_VQS);
	KUNIT_ASSERT_TRUE(test, is_power_of_2(p->vq_num));
	KUNIT_ASSERT_EQ(test, p->features & VIRTIO_FAKE_UNSUPPORTED, 0);

	vf = kzalloc_obj(*vf);
	if (!vf && p->ops->release)
		p->ops->release(p->priv);
	KUNIT_ASSERT_NOT_NULL(test, vf);
	vf->test = test;
	vf->debug_locks = debug_locks;
	vf->params = *p;
	init_completion(&vf->released);
	complete_all(&vf->released);
	atomic_set(&vf->state, VIRTIO_FAKE_UNPLUGGED);
	INIT_WORK(&vf->serve_work, virtio_fake_serve);
	spin_lock_init(&vf->iotlb_lock);
	mutex_init(&vf->lock);
	INIT_LIST_HEAD(&vf->reqs);
	spin_lock_init(&vf->event_lock);
	hrtimer_setup(&vf->irq_timer, virtio_fake_handle_irq, CLOCK_MONOTONIC, HRTIMER_MODE_REL);
	spin_lock_init(&vf->config_lock);
	spin_lock_init(&vf->violation_lock);
	init_waitqueue_head(&vf->wait);
	ret = kunit_add_action_or_reset(test, virtio_fake_cleanup, vf);
	KUNIT_ASSERT_EQ(test, ret, 0);

	/*
	 * Not a kunit device: KUnit would unregister it even if a stuck task holds its lock. Two
	 * devices of one name cannot be registered.
	 */
	scnprintf(name, sizeof(name), "%s%d", p->name, atomic_inc_return(&serial));
	parent = root_device_register(name);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, parent);
	vf->parent = parent;
	vf->parent->dma_mask = &vf->parent->coherent_dma_mask;
	vf->parent->dma_parms = &vf->dma_parms;
	KUNIT_ASSERT_EQ(test, dma_set_mask_and_coherent(vf->parent, DMA_BIT_MASK(64)), 0);

	vf->config = kzalloc(p->config_len ?: 1, GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, vf->config);
	if (p->config)
		memcpy(vf->config, p->config, p->config_len);

	vf->wq = alloc_ordered_workqueue("%s", 0, name);
	KUNIT_ASSERT_NOT_NULL(test, vf->wq);
	vf->iotlb = vhost_iotlb_alloc(VIRTIO_FAKE_IOTLB_RANGES, 0);
	KUNIT_ASSERT_NOT_NULL(test, vf->iotlb);
	ret = vhost_iotlb_add_range(vf->iotlb, 0, U64_MAX, 0, VHOST_MAP_RW);
	KUNIT_ASSERT_EQ(test, ret, 0);

	if (p->shm_len)
		virtio_fake_place_shm(vf);

	return vf;
}

/*
 * Properties
 */

/**
 * virtio_fake_test - the test that the device belongs to
 * @vf: the device
 *
 * Return: the test.
 */
struct kunit *virtio_fake_test(struct virtio_fake *vf)
{
	return vf->test;
}

/**
 * virtio_fake_priv - the device model's data
 * @vf: the device
 *
 * Return: &virtio_fake_params.priv.
 */
void *virtio_fake_priv(struct virtio_fake *vf)
{
	return vf->params.priv;
}

/**
 * virtio_fake_vdev - the virtio device
 * @vf: the device
 *
 * Return: the virtio device, NULL if it is not plugged or was released and freed.
 */
struct virtio_device *virtio_fake_vdev(struct virtio_fake *vf)
{
	return READ_ONCE(vf->vdev);
}

/**
 * virtio_fake_parent - the parent of the virtio device
 * @vf: the device
 *
 * Return: the parent, which does DMA. It lives as long as the fake.
 */
struct device *virtio_fake_parent(struct virtio_fake *vf)
{
	return vf->parent;
}

/**
 * virtio_fake_shm - the shared memory region
 * @vf: the device
 *
 * Return: the region, of length 0 if there is none.
 */
const struct virtio_shm_region *virtio_fake_shm(struct virtio_fake *vf)
{
	return &vf->shm;
}

/**
 * virtio_fake_features - the negotiated features
 * @vf: the device
 *
 * Return: the feature bits that the driver has accepted last, also after a reset.
 */
u64 virtio_fake_features(struct virtio_fake *vf)
{
	return READ_ONCE(vf->features);
}

/**
 * virtio_fake_status - the status byte
 * @vf: the device
 *
 * Return: VIRTIO_CONFIG_S_*.
 */
u8 virtio_fake_status(struct virtio_fake *vf)
{
	return READ_ONCE(vf->status);
}

/**
 * virtio_fake_resets - how often the device was reset
 * @vf: the device
 *
 * register_virtio_device() resets the device for the first time.
 *
 * Return: the number of resets.
 */
unsigned int virtio_fake_resets(struct virtio_fake *vf)
{
	return READ_ONCE(vf->resets);
}

/**
 * virtio_fake_config_set - change the config space
 * @vf: the device
 * @offset: where, in bytes. The caller keeps the range within the config space.
 * @buf: the new content
 * @len: its length in bytes
 *
 * The generation changes. The driver gets no interrupt, see virtio_fake_config_interrupt().
 *
 * Context: Any context.
 */
void virtio_fake_config_set(struct virtio_fake *vf, unsigned int offset, const void *buf,
			    unsigned int len)
{
	unsigned long flags;

	spin_lock_irqsave(&vf->config_lock, flags);
	memcpy(vf->config + offset, buf, len);
	vf->generation++;
	spin_unlock_irqrestore(&vf->config_lock, flags);
}

/**
 * virtio_fake_config_read - read the config space
 * @vf: the device
 * @offset: where, in bytes. The caller keeps the range within the config space.
 * @buf: where to copy it
 * @len: how many bytes to copy
 *
 * Context: Any context.
 */
void virtio_fake_config_read(struct virtio_fake *vf, unsigned int offset, void *buf,
			     unsigned int len)
{
	unsigned long flags;

	spin_lock_irqsave(&vf->config_lock, flags);
	memcpy(buf, vf->config + offset, len);
	spin_unlock_irqrestore(&vf->config_lock, flags);
}

/*
 * Faults
 */

/**
 * virtio_fake_stall - take no requests from a virtqueue
 * @vf: the device
 * @vq: index of the virtqueue, or VIRTIO_FAKE_ALL
 * @stall: false to act on the notifications that came meanwhile, and go on
 *
 * The available ring fills up. When this returns, the device takes no more requests.
 */
void virtio_fake_stall(struct virtio_fake *vf, unsigned int vq, bool stall)
{
	unsigned long bits = vq == VIRTIO_FAKE_ALL ? ~0UL : BIT(vq);

	virtio_fake_lock(vf);
	if (stall)
		WRITE_ONCE(vf->stalled, vf->stalled | bits);
	else
		WRITE_ONCE(vf->stalled, vf->stalled & ~bits);
	virtio_fake_unlock(vf);

	if (!stall && vf->wq)
		queue_work(vf->wq, &vf->serve_work);
}

/**
 * virtio_fake_hold_notifications - put notifications off
 * @vf: the device
 * @hold: false to act on the notifications that came meanwhile, and on the following ones
 */
void virtio_fake_hold_notifications(struct virtio_fake *vf, bool hold)
{
	unsigned long flags, held = 0;

	spin_lock_irqsave(&vf->event_lock, flags);
	vf->holding = hold;
	if (!hold)
		swap(held, vf->held);
	spin_unlock_irqrestore(&vf->event_lock, flags);

	if (held)
		virtio_fake_notified(vf, held);
}

/**
 * virtio_fake_lose_notifications - lose the following notifications
 * @vf: the device
 * @n: how many, 0 to lose none
 *
 * The requests stay in the available ring until a further notification for this virtqueue arrives.
 */
void virtio_fake_lose_notifications(struct virtio_fake *vf, unsigned int n)
{
	unsigned long flags;

	spin_lock_irqsave(&vf->event_lock, flags);
	vf->lose = n;
	spin_unlock_irqrestore(&vf->event_lock, flags);
}

/**
 * virtio_fake_mute - raise no interrupts
 * @vf: the device
 * @mute: false to raise one for what has gathered in each virtqueue, and to go on
 *
 * Completed requests reach the used ring all the same. Interrupts that are under way still arrive.
 */
void virtio_fake_mute(struct virtio_fake *vf, bool mute)
{
	bool config = false;
	unsigned long flags;

	virtio_fake_lock(vf);
	spin_lock_irqsave(&vf->event_lock, flags);
	WRITE_ONCE(vf->muted, mute);
	if (!mute)
		swap(config, vf->config_muted);
	spin_unlock_irqrestore(&vf->event_lock, flags);
	virtio_fake_unlock(vf);

	if (config)
		virtio_fake_raise_irq(vf, VIRTIO_FAKE_IRQ_CONFIG);
}

/**
 * virtio_fake_delay_interrupts - delay interrupts as long as possible
 * @vf: the device
 * @delay: false to deliver the delayed interrupts, and the following ones at once
 *
 * A delayed interrupt arrives when the driver waits for interrupts or resets the device. A driver
 * that omits virtio_synchronize_cbs() sees it too late.
 */
void virtio_fake_delay_interrupts(struct virtio_fake *vf, bool delay)
{
	unsigned long flags;

	spin_lock_irqsave(&vf->event_lock, flags);
	WRITE_ONCE(vf->delayed, delay);
	spin_unlock_irqrestore(&vf->event_lock, flags);

	/* Pairs with virtio_fake_raise_irq(). */
	smp_mb();
	if (!delay)
		virtio_fake_deliver_irq(vf);
}

/**
 * virtio_fake_notifications - how often the driver has notified the device
 * @vf: the device
 *
 * Return: the number of notifications, including lost and held ones.
 */
unsigned int virtio_fake_notifications(struct virtio_fake *vf)
{
	return atomic_read(&vf->notifications);
}

/**
 * virtio_fake_interrupts - how many interrupts have arrived
 * @vf: the device
 *
 * Return: the number of interrupts, including those for config changes.
 */
unsigned int virtio_fake_interrupts(struct virtio_fake *vf)
{
	return atomic_read(&vf->interrupts);
}

/**
 * virtio_fake_outstanding - how many requests are taken and not completed
 * @vf: the device
 *
 * Return: the number of requests.
 */
unsigned int virtio_fake_outstanding(struct virtio_fake *vf)
{
	return READ_ONCE(vf->outstanding);
}

/**
 * virtio_fake_free_space - how much ring space the driver has
 * @vf: the device
 * @vq: index of the virtqueue
 *
 * Return: the number of free descriptors, 0 if the virtqueue is not set up.
 */
unsigned int virtio_fake_free_space(struct virtio_fake *vf, unsigned int vq)
{
	unsigned int space = 0;

	mutex_lock(&vf->lock);
	/* The driver changes num_free under a lock of its own. */
	if (vf->vqs[vq].vq)
		space = READ_ONCE(vf->vqs[vq].vq->num_free);
	mutex_unlock(&vf->lock);

	return space;
}

/*
 * Waits
 */

/**
 * virtio_fake_wait_queue - the wait queue of the device
 * @vf: the device
 *
 * Return: the wait queue, which is woken after each request, completion, reset, notification and
 * interrupt.
 */
wait_queue_head_t *virtio_fake_wait_queue(struct virtio_fake *vf)
{
	return &vf->wait;
}

/**
 * virtio_fake_wake - wake the waiters
 * @vf: the device
 *
 * For device models and drivers that wait for conditions of their own.
 *
 * Context: Any context.
 */
void virtio_fake_wake(struct virtio_fake *vf)
{
	wake_up_all(&vf->wait);
}

static bool virtio_fake_is_notified(struct virtio_fake *vf)
{
	unsigned long flags, notified;

	spin_lock_irqsave(&vf->event_lock, flags);
	notified = vf->notified;
	spin_unlock_irqrestore(&vf->event_lock, flags);

	return notified & ~READ_ONCE(vf->stalled);
}

static bool virtio_fake_is_idle(struct virtio_fake *vf)
{
	/*
	 * Pairs with the release in virtio_fake_serve(), which may take a notification and leave
	 * another one behind: look before and after.
	 */
	return !virtio_fake_is_notified(vf) && !smp_load_acquire(&vf->serving) &&
	       !virtio_fake_is_notified(vf) &&
	       (READ_ONCE(vf->delayed) || !virtio_fake_irq_under_way(vf));
}

/**
 * virtio_fake_idle - wait until the device has nothing to do
 * @vf: the device
 *
 * The device then has acted on all notifications, but for lost and held ones and those of stalled
 * virtqueues. No interrupt is under way, unless interrupts are delayed.
 *
 * Return: whether the device was idle within VIRTIO_FAKE_TIMEOUT.
 */
bool virtio_fake_idle(struct virtio_fake *vf)
{
	return virtio_fake_wait(vf, virtio_fake_is_idle(vf));
}

/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _VIRTIO_FAKE_H_
#define _VIRTIO_FAKE_H_

#include <linux/jiffies.h>
#include <linux/list.h>
#include <linux/types.h>
#include <linux/vringh.h>
#include <linux/wait.h>

struct device;
struct kunit;
struct virtio_device;
struct virtio_fake;
struct virtio_shm_region;

/* The bound of a test's wait for the driver, in jiffies. A wait that takes longer is a failure. */
#define VIRTIO_FAKE_TIMEOUT	(10 * HZ)

#define VIRTIO_FAKE_MAX_VQS	4

/* In place of the index of a virtqueue: all virtqueues. */
#define VIRTIO_FAKE_ALL		(~0U)

/**
 * struct virtio_fake_req - a request that the device has taken and not completed
 * @node: entry in the fake's list of outstanding requests
 * @vf: the device
 * @vq: index of the virtqueue
 * @head: index of the first descriptor, identifies the request in the used ring
 * @riov: readable buffers: what the driver sends
 * @wiov: writable buffers: space for the response
 * @out_len: length of @riov in bytes when the request was taken
 * @in_len: length of @wiov in bytes when the request was taken
 * @pushed: length of the response so far, in bytes
 * @indirect: the driver used an indirect descriptor
 * @priv: for the device model, which may set it in &virtio_fake_ops.request
 *
 * The fake allocates a request when it takes it from the available ring. It frees the request in
 * virtio_fake_complete_locked() or after &virtio_fake_ops.drop. All fields are protected by
 * virtio_fake_lock().
 */
struct virtio_fake_req {
	struct list_head node;
	struct virtio_fake *vf;
	unsigned int vq;
	u16 head;
	struct vringh_kiov riov;
	struct vringh_kiov wiov;
	size_t out_len;
	size_t in_len;
	size_t pushed;
	bool indirect;
	void *priv;
};

/**
 * struct virtio_fake_ops - the device model
 *
 * The fake calls @request, @reset and @drop in process context, with virtio_fake_lock() held. It
 * calls the others in the context of the driver and without a lock. All but @request are optional.
 */
struct virtio_fake_ops {
	/**
	 * @request: The device has taken a request. The model either completes it here, with
	 * virtio_fake_complete_locked(), or keeps it and completes it later.
	 */
	void (*request)(struct virtio_fake *vf, struct virtio_fake_req *req);

	/**
	 * @reset: The driver resets the device. The first call has @late false: the device still
	 * runs, and the requests that the model completes here are the last that reach the driver.
	 * The second call has @late true: the device has stopped, and all requests have been
	 * completed or dropped.
	 */
	void (*reset)(struct virtio_fake *vf, bool late);

	/** @drop: A reset drops the request. The model frees &virtio_fake_req.priv. */
	void (*drop)(struct virtio_fake *vf, struct virtio_fake_req *req);

	/**
	 * @del_vqs: The driver deletes the virtqueues, which must not be in use any more.
	 * Called in the context of the driver, without a lock.
	 */
	void (*del_vqs)(struct virtio_fake *vf);

	/**
	 * @release: The fake is freed and needs &virtio_fake_params.priv no more. Not called for an
	 * abandoned device. Called in process context, without a lock, and also if
	 * virtio_fake_create() fails for lack of memory.
	 */
	void (*release)(void *priv);

	/** @config_read: The driver is about to read @len bytes of the config space. */
	void (*config_read)(struct virtio_fake *vf, unsigned int offset, unsigned int len);

	/**
	 * @config_write: The driver writes @len bytes to the config space. The fake stores nothing
	 * by itself: the model calls virtio_fake_config_set() for the fields that change. Return:
	 * %false if the driver must not write that. Without this op, all writes are violations.
	 */
	bool (*config_write)(struct virtio_fake *vf, unsigned int offset, const void *buf,
			     unsigned int len);
};

/**
 * struct virtio_fake_params - the properties of a device
 * @name: prefix of the name of the parent device
 * @device_id: VIRTIO_ID_*
 * @features: the feature bits that the device offers. No packed rings, and no features that need
 *	notification data or completion in order.
 * @required: the feature bits without which the device does not accept FEATURES_OK
 * @num_vqs: number of virtqueues, up to VIRTIO_FAKE_MAX_VQS
 * @vq_num: descriptors in a virtqueue, a power of two
 * @config: initial config space, which is copied
 * @config_len: length of the config space in bytes
 * @shm_id: identifier of the shared memory region
 * @shm_len: length of the region in bytes, 0 for no region
 * @shm_skew: distance in bytes from a 2 MiB boundary to the start of the region
 * @ops: the device model
 * @priv: returned by virtio_fake_priv(), valid until &virtio_fake_ops.release
 *
 * No memory stands behind the shared memory region. It is a hole in iomem_resource, which the fake
 * keeps reserved. The test is skipped if there is no such hole.
 */
struct virtio_fake_params {
	const char *name;
	u32 device_id;
	u64 features;
	u64 required;
	unsigned int num_vqs;
	unsigned int vq_num;
	const void *config;
	unsigned int config_len;
	u8 shm_id;
	u64 shm_len;
	u64 shm_skew;
	const struct virtio_fake_ops *ops;
	void *priv;
};

/* Lifetime */
struct virtio_fake *virtio_fake_create(struct kunit *test, const struct virtio_fake_params *p);
int virtio_fake_plug(struct virtio_fake *vf);
bool virtio_fake_unplug(struct virtio_fake *vf);
void virtio_fake_abandon(struct virtio_fake *vf);
bool virtio_fake_is_abandoned(struct virtio_fake *vf);
int virtio_fake_freeze(struct virtio_fake *vf);
int virtio_fake_restore(struct virtio_fake *vf);
void virtio_fake_shutdown(struct virtio_fake *vf);
void virtio_fake_break(struct virtio_fake *vf);
void virtio_fake_unbreak(struct virtio_fake *vf);
bool virtio_fake_is_plugged(struct virtio_fake *vf);

struct kunit *virtio_fake_test(struct virtio_fake *vf);
void *virtio_fake_priv(struct virtio_fake *vf);
struct virtio_device *virtio_fake_vdev(struct virtio_fake *vf);
struct device *virtio_fake_parent(struct virtio_fake *vf);
const struct virtio_shm_region *virtio_fake_shm(struct virtio_fake *vf);
u64 virtio_fake_features(struct virtio_fake *vf);
u8 virtio_fake_status(struct virtio_fake *vf);
unsigned int virtio_fake_resets(struct virtio_fake *vf);

/* Config space */
void virtio_fake_config_set(struct virtio_fake *vf, unsigned int offset, const void *buf,
			    unsigned int len);
void virtio_fake_config_read(struct virtio_fake *vf, unsigned int offset, void *buf,
			     unsigned int len);
void virtio_fake_config_interrupt(struct virtio_fake *vf);

/* Requests */
void virtio_fake_lock(struct virtio_fake *vf);
void virtio_fake_unlock(struct virtio_fake *vf);
void virtio_fake_assert_locked(struct virtio_fake *vf);
ssize_t virtio_fake_pull_locked(struct virtio_fake_req *req, void *buf, size_t len);
ssize_t virtio_fake_push_locked(struct virtio_fake_req *req, const void *buf, size_t len);
void virtio_fake_complete_locked(struct virtio_fake_req *req);

/* Faults */
void virtio_fake_stall(struct virtio_fake *vf, unsigned int vq, bool stall);
void virtio_fake_hold_notifications(struct virtio_fake *vf, bool hold);
void virtio_fake_lose_notifications(struct virtio_fake *vf, unsigned int n);
void virtio_fake_mute(struct virtio_fake *vf, bool mute);
void virtio_fake_delay_interrupts(struct virtio_fake *vf, bool delay);

/* Counters */
unsigned int virtio_fake_notifications(struct virtio_fake *vf);
unsigned int virtio_fake_interrupts(struct virtio_fake *vf);
unsigned int virtio_fake_outstanding(struct virtio_fake *vf);
unsigned int virtio_fake_free_space(struct virtio_fake *vf, unsigned int vq);

/* Waits */
wait_queue_head_t *virtio_fake_wait_queue(struct virtio_fake *vf);
void virtio_fake_wake(struct virtio_fake *vf);
bool virtio_fake_idle(struct virtio_fake *vf);

/**
 * virtio_fake_wait() - wait until a condition on the device holds
 * @vf: the device
 * @cond: the condition, which must not sleep. It is evaluated again after each request, completion,
 *	reset, notification, interrupt, and virtio_fake_wake().
 *
 * Return: whether the condition held within VIRTIO_FAKE_TIMEOUT.
 */
#define virtio_fake_wait(vf, cond) \
	(wait_event_timeout(*virtio_fake_wait_queue(vf), cond, VIRTIO_FAKE_TIMEOUT) != 0)

/* Violations */
__printf(2, 3) void virtio_fake_violate(struct virtio_fake *vf, const char *fmt, ...);
unsigned int virtio_fake_violations(struct virtio_fake *vf);
const char *virtio_fake_violation(struct virtio_fake *vf);
unsigned int virtio_fake_clear_violations(struct virtio_fake *vf);

#endif

// SPDX-License-Identifier: GPL-2.0

#include <kunit/test.h>
#include <linux/atomic.h>
#include <linux/delay.h>
#include <linux/hardirq.h>
#include <linux/ioport.h>
#include <linux/kernel.h>
#include <linux/kref.h>
#include <linux/module.h>
#include <linux/scatterlist.h>
#include <linux/sizes.h>
#include <linux/slab.h>
#include <linux/spinlock.h>
#include <linux/virtio.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include <linux/workqueue.h>

#include "virtio_fake.h"

/* No device of this type exists. */
#define FAKE_TEST_ID		0xfa4e
#define FAKE_TEST_ID_NO_DRIVER	0xfa4f

#define FAKE_TEST_NUM_VQS	2
#define FAKE_TEST_VQ_NUM	8
#define FAKE_TEST_CONFIG_LEN	8
#define FAKE_TEST_SHM_ID	3

/* The device offers the first and the third, the driver knows the first and the second. */
#define FAKE_TEST_F_COMMON	0
#define FAKE_TEST_F_DRIVER	1
#define FAKE_TEST_F_DEVICE	2

/* The number of requests in a run that wraps the ring several times. */
#define FAKE_TEST_RUN		300
#define FAKE_TEST_NUM_BUFS	(FAKE_TEST_RUN + FAKE_TEST_VQ_NUM)

/* A request and its response, the complement of the request. */
struct fake_test_buf {
	__le32 req;
	__le32 resp;
	u32 len;
	bool done;
};

/* Shared by the test, the driver and the device model. The test and the device hold references. */
struct fake_test {
	struct kref ref;
	struct kunit *test;
	struct virtio_fake *vf;
	struct virtio_fake_params params;
	u8 config[FAKE_TEST_CONFIG_LEN];
	struct fake_test_buf *bufs;
	unsigned int num_bufs;

	/* driver */
	struct virtio_device *vdev;
	struct virtqueue *vqs[FAKE_TEST_NUM_VQS];
	/* the driver's side of the virtqueues, done */
	spinlock_t lock;
	unsigned int done;
	unsigned int probes;
	unsigned int removes;
	unsigned int config_changes;
	unsigned int callbacks;
	unsigned int callbacks_in_hardirq;
	bool fail_probe;
	bool skip_reset;
	struct delayed_work put_work;
	bool put;

	/* device model, protected by virtio_fake_lock() */
	struct virtio_fake_req *held;
	unsigned int taken[FAKE_TEST_NUM_VQS];
	unsigned int num_indirect;
	unsigned int drops;
	bool hold;
	bool add_during_request;
	bool complete_at_reset;
	bool change_config_during_read;
};

/* The driver cannot get it from the device before probe(). */
static struct fake_test *fake_test_current;

/* Number of structures. One is left if a device was abandoned. */
static atomic_t fake_test_count = ATOMIC_INIT(0);

static void fake_test_free(struct kref *ref)
{
	struct fake_test *t = container_of(ref, struct fake_test, ref);

	kfree(t->bufs);
	kfree(t);
	atomic_dec(&fake_test_count);
}

static void fake_test_drop_ref(void *t)
{
	kref_put(&((struct fake_test *)t)->ref, fake_test_free);
}

/*
 * Driver
 */

static int fake_test_add(struct fake_test *t, unsigned int vq, struct fake_test_buf *buf)
{
	struct scatterlist out, in, *sgs[] = { &out, &in };
	unsigned long flags;
	int ret;

	sg_init_one(&out, &buf->req, sizeof(buf->req));
	sg_init_one(&in, &buf->resp, sizeof(buf->resp));
	spin_lock_irqsave(&t->lock, flags);
	ret = virtqueue_add_sgs(t->vqs[vq], sgs, 1, 1, buf, GFP_ATOMIC);
	spin_unlock_irqrestore(&t->lock, flags);

	return ret;
}

/* Returns false if the queue is broken. */
static bool fake_test_notify(struct fake_test *t, unsigned int vq)
{
	unsigned long flags;
	bool notify;

	spin_lock_irqsave(&t->lock, flags);
	notify = virtqueue_kick_prepare(t->vqs[vq]);
	spin_unlock_irqrestore(&t->lock, flags);

	return !notify || virtqueue_notify(t->vqs[vq]);
}

static void fake_test_vq_done(struct virtqueue *vq)
{
	struct fake_test *t = vq->vdev->priv;
	struct fake_test_buf *buf;
	unsigned long flags;
	unsigned int len;

	spin_lock_irqsave(&t->lock, flags);
	t->callbacks++;
	t->callbacks_in_hardirq += !!in_hardirq();
	do {
		virtqueue_disable_cb(vq);
		while ((buf = virtqueue_get_buf(vq, &len))) {
			buf->len = len;
			buf->done = true;
			WRITE_ONCE(t->done, t->done + 1);
		}
	} while (!virtqueue_enable_cb(vq));
	spin_unlock_irqrestore(&t->lock, flags);

	virtio_fake_wake(t->vf);
}

static int fake_test_find_vqs(struct fake_test *t)
{
	struct virtqueue_info info[FAKE_TEST_NUM_VQS] = {
		{ "first", fake_test_vq_done },
		{ "second", fake_test_vq_done },
	};

	return virtio_find_vqs(t->vdev, FAKE_TEST_NUM_VQS, t->vqs, info, NULL);
}

static void fake_test_del_vqs(struct fake_test *t)
{
	unsigned int i;

	for (i = 0; i < FAKE_TEST_NUM_VQS; i++) {
		while (virtqueue_detach_unused_buf(t->vqs[i]))
			;
	}
	t->vdev->config->del_vqs(t->vdev);
}

static int fake_test_probe(struct virtio_device *vdev)
{
	struct fake_test *t = fake_test_current;
	int ret;

	t->probes++;
	if (t->fail_probe)
		return -EINVAL;

	t->vdev = vdev;
	vdev->priv = t;
	ret = fake_test_find_vqs(t);
	if (ret)
		return ret;

	virtio_device_ready(vdev);
	return 0;
}

static void fake_test_remove(struct virtio_device *vdev)
{
	struct fake_test *t = vdev->priv;

	t->removes++;
	if (!t->skip_reset)
		virtio_reset_device(vdev);
	fake_test_del_vqs(t);
	if (t->skip_reset)
		virtio_reset_device(vdev);
	t->vdev = NULL;
}

static void fake_test_config_changed(struct virtio_device *vdev)
{
	struct fake_test *t = vdev->priv;

	t->callbacks++;
	t->callbacks_in_hardirq += !!in_hardirq();
	WRITE_ONCE(t->config_changes, t->config_changes + 1);
}

#ifdef CONFIG_PM_SLEEP
static int fake_test_freeze(struct virtio_device *vdev)
{
	virtio_reset_device(vdev);
	fake_test_del_vqs(vdev->priv);

	return 0;
}

static int fake_test_restore(struct virtio_device *vdev)
{
	int ret = fake_test_find_vqs(vdev->priv);

	if (!ret)
		virtio_device_ready(vdev);

	return ret;
}
#endif

static const unsigned int fake_test_features[] = { FAKE_TEST_F_COMMON, FAKE_TEST_F_DRIVER };

static const struct virtio_device_id fake_test_ids[] = {
	{ FAKE_TEST_ID, VIRTIO_DEV_ANY_ID },
	{ }
};

static struct virtio_driver fake_test_driver = {
	.driver.name = "virtio_fake_kunit",
	.id_table = fake_test_ids,
	.feature_table = fake_test_features,
	.feature_table_size = ARRAY_SIZE(fake_test_features),
	.probe = fake_test_probe,
	.remove = fake_test_remove,
	.config_changed = fake_test_config_changed,
#ifdef CONFIG_PM_SLEEP
	.freeze = fake_test_freeze,
	.restore = fake_test_restore,
#endif
};

/*
 * Device model
 */

/* Prepare a request. */
static struct fake_test_buf *fake_test_buf(struct fake_test *t)
{
	struct fake_test_buf *buf;

	if (t->num_bufs == FAKE_TEST_NUM_BUFS)
		return NULL;

	buf = &t->bufs[t->num_bufs++];
	buf->req = cpu_to_le32(t->num_bufs);

	return buf;
}

static void fake_test_complete_locked(struct virtio_fake_req *req)
{
	__le32 value = 0;

	if (virtio_fake_pull_locked(req, &value, sizeof(value)) != sizeof(value))
		virtio_fake_violate(req->vf, "short request");
	value = ~value;
	if (virtio_fake_push_locked(req, &value, sizeof(value)) != sizeof(value))
		virtio_fake_violate(req->vf, "short response");
	virtio_fake_complete_locked(req);
}

static void fake_test_request(struct virtio_fake *vf, struct virtio_fake_req *req)
{
	struct fake_test *t = virtio_fake_priv(vf);
	struct fake_test_buf *buf;

	WRITE_ONCE(t->taken[req->vq], t->taken[req->vq] + 1);
	t->num_indirect += req->indirect;

	if (t->add_during_request) {
		t->add_during_request = false;
		buf = fake_test_buf(t);
		if (!buf || fake_test_add(t, req->vq, buf) || !fake_test_notify(t, req->vq))
			virtio_fake_violate(vf, "no further request");
	}

	if (t->hold) {
		t->hold = false;
		t->held = req;
	} else {
		fake_test_complete_locked(req);
	}
}

static void fake_test_reset(struct virtio_fake *vf, bool late)
{
	struct fake_test *t = virtio_fake_priv(vf);

	if (!late && t->complete_at_reset && t->held) {
		fake_test_complete_locked(t->held);
		t->held = NULL;
	}
}

static void fake_test_drop(struct virtio_fake *vf, struct virtio_fake_req *req)
{
	struct fake_test *t = virtio_fake_priv(vf);

	t->drops++;
	if (t->held == req)
		t->held = NULL;
}

static void fake_test_config_read(struct virtio_fake *vf, unsigned int offset, unsigned int len)
{
	struct fake_test *t = virtio_fake_priv(vf);

	if (t->change_config_during_read && offset) {
		t->change_config_during_read = false;
		memset(t->config, 0xbb, sizeof(t->config));
		virtio_fake_config_set(vf, 0, t->config, sizeof(t->config));
	}
}

/* The first byte is writable. */
static bool fake_test_config_write(struct virtio_fake *vf, unsigned int offset, const void *buf,
				   unsigned int len)
{
	if (offset || len != 1)
		return false;

	virtio_fake_config_set(vf, offset, buf, len);
	return true;
}

static const struct virtio_fake_ops fake_test_ops = {
	.request = fake_test_request,
	.reset = fake_test_reset,
	.drop = fake_test_drop,
	.release = fake_test_drop_ref,
	.config_read = fake_test_config_read,
	.config_write = fake_test_config_write,
};

/*
 * Helpers
 */

struct fake_test_ring {
	const char *name;
	u64 features;
};

static const struct fake_test_ring fake_test_rings[] = {
	{ "plain", 0 },
	{ "indirect", BIT_ULL(VIRTIO_RING_F_INDIRECT_DESC) },
	{ "event_idx", BIT_ULL(VIRTIO_RING_F_EVENT_IDX) },
	{ "indirect_event_idx",
	  BIT_ULL(VIRTIO_RING_F_INDIRECT_DESC) | BIT_ULL(VIRTIO_RING_F_EVENT_IDX) },
};

KUNIT_ARRAY_PARAM_DESC(fake_test_ring, fake_test_rings, name);

/* The rings of cases without a parameter. */
#define FAKE_TEST_RING_DEFAULT	3

static bool fake_test_has(struct fake_test *t, unsigned int bit)
{
	return virtio_fake_features(t->vf) & BIT_ULL(bit);
}

static void fake_test_create(struct fake_test *t)
{
	kref_get(&t->ref);
	t->vf = virtio_fake_create(t->test, &t->params);
}

static void fake_test_plug(struct fake_test *t)
{
	if (!t->vf)
		fake_test_create(t);
	KUNIT_ASSERT_EQ(t->test, virtio_fake_plug(t->vf), 0);
}

/* Send a request, with or without a notification. */
static struct fake_test_buf *fake_test_send(struct fake_test *t, unsigned int vq, bool notify)
{
	struct fake_test_buf *buf = fake_test_buf(t);

	KUNIT_ASSERT_NOT_NULL(t->test, buf);
	KUNIT_ASSERT_EQ(t->test, fake_test_add(t, vq, buf), 0);
	if (notify)
		KUNIT_ASSERT_TRUE(t->test, fake_test_notify(t, vq));

	return buf;
}

static bool fake_test_wait_done(struct fake_test *t, unsigned int n)
{
	return virtio_fake_wait(t->vf, READ_ONCE(t->done) >= n);
}

static bool fake_test_wait_taken(struct fake_test *t, unsigned int n)
{
	return virtio_fake_wait(t->vf, READ_ONCE(t->taken[0]) >= n);
}

/* Send a request that the device keeps. */
static struct fake_test_buf *fake_test_send_held(struct fake_test *t)
{
	struct fake_test_buf *buf;

	virtio_fake_lock(t->vf);
	t->hold = true;
	virtio_fake_unlock(t->vf);
	buf = fake_test_send(t, 0, true);
	KUNIT_ASSERT_TRUE(t->test, virtio_fake_wait(t->vf, READ_ONCE(t->held)));
	KUNIT_ASSERT_TRUE(t->test, virtio_fake_idle(t->vf));

	return buf;
}

static void fake_test_complete_held(struct fake_test *t)
{
	virtio_fake_lock(t->vf);
	fake_test_complete_locked(t->held);
	t->held = NULL;
	virtio_fake_unlock(t->vf);
}

static void fake_test_expect_response(struct fake_test *t, const struct fake_test_buf *buf)
{
	KUNIT_EXPECT_TRUE(t->test, buf->done);
	KUNIT_EXPECT_EQ(t->test, le32_to_cpu(buf->resp), ~le32_to_cpu(buf->req));
	KUNIT_EXPECT_EQ(t->test, buf->len, sizeof(buf->resp));
}

static void fake_test_expect_violations(struct fake_test *t, unsigned int n)
{
	KUNIT_EXPECT_EQ_MSG(t->test, virtio_fake_violations(t->vf), n, "first violation: %s",
			    virtio_fake_violation(t->vf));
	virtio_fake_clear_violations(t->vf);
}

/*
 * Lifetime
 */

static void plug_without_driver_fails(struct kunit *test)
{
	struct fake_test *t = test->priv;

	t->params.device_id = FAKE_TEST_ID_NO_DRIVER;
	fake_test_create(t);

	KUNIT_EXPECT_EQ(test, virtio_fake_plug(t->vf), -ENODEV);
	KUNIT_EXPECT_NULL(test, virtio_fake_vdev(t->vf));
	KUNIT_EXPECT_EQ(test, t->probes, 0);
}

static void probe_failure_fails_plug(struct kunit *test)
{
	struct fake_test *t = test->priv;

	t->fail_probe = true;
	fake_test_create(t);

	KUNIT_EXPECT_EQ(test, virtio_fake_plug(t->vf), -ENODEV);
	KUNIT_EXPECT_EQ(test, t->probes, 1);
	KUNIT_EXPECT_EQ(test, t->removes, 0);
	KUNIT_EXPECT_NULL(test, virtio_fake_vdev(t->vf));
	KUNIT_EXPECT_FALSE(test, virtio_fake_is_plugged(t->vf));
}

static void features_offered_and_known_are_negotiated(struct kunit *test)
{
	const struct fake_test_ring *ring = test->param_value;
	struct fake_test *t = test->priv;
	u64 expected = ring->features | BIT_ULL(VIRTIO_F_VERSION_1) | BIT_ULL(FAKE_TEST_F_COMMON);

	fake_test_plug(t);

	KUNIT_EXPECT_EQ(test, virtio_fake_features(t->vf), expected);
	KUNIT_EXPECT_EQ(test, t->vdev->features, expected);
	KUNIT_EXPECT_EQ(test, virtio_fake_status(t->vf),
			VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER |
			VIRTIO_CONFIG_S_FEATURES_OK | VIRTIO_CONFIG_S_DRIVER_OK);
}

static void features_ok_rejected_fails_plug(struct kunit *test)
{
	struct fake_test *t = test->priv;

	t->params.required = BIT_ULL(FAKE_TEST_F_DEVICE);
	fake_test_create(t);

	KUNIT_EXPECT_EQ(test, virtio_fake_plug(t->vf), -ENODEV);
	KUNIT_EXPECT_EQ(test, t->probes, 0);
	KUNIT_EXPECT_NULL(test, virtio_fake_vdev(t->vf));
}

static void unplug_releases_vdev(struct kunit *test)
{
	struct fake_test *t = test->priv;

	fake_test_plug(t);
	KUNIT_EXPECT_TRUE(test, virtio_fake_is_plugged(t->vf));
	KUNIT_EXPECT_PTR_EQ(test, virtio_fake_vdev(t->vf), t->vdev);

	KUNIT_EXPECT_TRUE(test, virtio_fake_unplug(t->vf));
	KUNIT_EXPECT_EQ(test, t->removes, 1);
	KUNIT_EXPECT_NULL(test, virtio_fake_vdev(t->vf));
	KUNIT_EXPECT_FALSE(test, virtio_fake_is_plugged(t->vf));
	KUNIT_EXPECT_TRUE(test, virtio_fake_unplug(t->vf));
	KUNIT_EXPECT_EQ(test, t->removes, 1);
}

static void fake_test_put(struct work_struct *work)
{
	struct fake_test *t = container_of(work, struct fake_test, put_work.work);
	struct virtio_device *vdev = virtio_fake_vdev(t->vf);

	WRITE_ONCE(t->put, true);
	if (vdev)
		put_device(&vdev->dev);
}

static void referenced_vdev_is_released_at_last_put(struct kunit *test)
{
	struct fake_test *t = test->priv;

	fake_test_plug(t);
	get_device(&t->vdev->dev);
	INIT_DELAYED_WORK(&t->put_work, fake_test_put);
	schedule_delayed_work(&t->put_work, msecs_to_jiffies(50));

	KUNIT_EXPECT_TRUE(test, virtio_fake_unplug(t->vf));
	KUNIT_EXPECT_TRUE(test, READ_ONCE(t->put));
	flush_delayed_work(&t->put_work);
}

static void plug_after_unplug_probes_again(struct kunit *test)
{
	struct fake_test *t = test->priv;
	struct fake_test_buf *buf;

	fake_test_plug(t);
	KUNIT_EXPECT_EQ(test, virtio_fake_plug(t->vf), -EBUSY);
	KUNIT_ASSERT_TRUE(test, virtio_fake_unplug(t->vf));

	fake_test_plug(t);
	KUNIT_EXPECT_EQ(test, t->probes, 2);
	buf = fake_test_send(t, 0, true);
	KUNIT_ASSERT_TRUE(test, fake_test_wait_done(t, 1));
	fake_test_expect_response(t, buf);
}

static void shutdown_breaks_and_resets_device(struct kunit *test)
{
	struct fake_test *t = test->priv;
	unsigned int resets;

	fake_test_plug(t);
	fake_test_send_held(t);
	resets = virtio_fake_resets(t->vf);

	virtio_fake_shutdown(t->vf);

	KUNIT_EXPECT_EQ(test, virtio_fake_resets(t->vf), resets + 1);
	KUNIT_EXPECT_EQ(test, virtio_fake_status(t->vf), 0);
	KUNIT_EXPECT_EQ(test, virtio_fake_outstanding(t->vf), 0);
	KUNIT_EXPECT_TRUE(test, virtqueue_is_broken(t->vqs[0]));
	KUNIT_EXPECT_TRUE(test, virtqueue_is_broken(t->vqs[1]));
	KUNIT_EXPECT_EQ(test, fake_test_add(t, 0, fake_test_buf(t)), -EIO);
}

static void freeze_then_restore_sets_up_queues_again(struct kunit *test)
{
	const struct fake_test_ring *ring = test->param_value;
	struct fake_test *t = test->priv;
	struct fake_test_buf *before, *after;
	u64 features;

	if (!IS_ENABLED(CONFIG_PM_SLEEP))
		kunit_skip(test, "CONFIG_PM_SLEEP is not set");

	fake_test_plug(t);
	before = fake_test_send_held(t);
	features = virtio_fake_features(t->vf);
	KUNIT_EXPECT_EQ(test, features & ring->features, ring->features);

	KUNIT_ASSERT_EQ(test, virtio_fake_freeze(t->vf), 0);
	KUNIT_EXPECT_EQ(test, virtio_fake_status(t->vf), 0);
	KUNIT_EXPECT_EQ(test, virtio_fake_outstanding(t->vf), 0);
	KUNIT_EXPECT_EQ(test, virtio_fake_free_space(t->vf, 0), 0);

	KUNIT_ASSERT_EQ(test, virtio_fake_restore(t->vf), 0);
	KUNIT_EXPECT_TRUE(test, virtio_fake_status(t->vf) & VIRTIO_CONFIG_S_DRIVER_OK);
	KUNIT_EXPECT_EQ(test, virtio_fake_features(t->vf), features);
	KUNIT_EXPECT_EQ(test, virtio_fake_free_space(t->vf, 0), FAKE_TEST_VQ_NUM);

	after = fake_test_send(t, 0, true);
	KUNIT_ASSERT_TRUE(test, fake_test_wait_done(t, 1));
	fake_test_expect_response(t, after);
	KUNIT_EXPECT_FALSE(test, before->done);
}

static void reset_drops_outstanding_requests(struct kunit *test)
{
	struct fake_test *t = test->priv;
	struct fake_test_buf *buf;

	fake_test_plug(t);
	buf = fake_test_send_held(t);
	KUNIT_EXPECT_EQ(test, virtio_fake_outstanding(t->vf), 1);

	virtio_reset_device(t->vdev);

	KUNIT_EXPECT_EQ(test, t->drops, 1);
	KUNIT_EXPECT_EQ(test, virtio_fake_outstanding(t->vf), 0);
	KUNIT_EXPECT_TRUE(test, virtio_fake_idle(t->vf));
	KUNIT_EXPECT_FALSE(test, buf->done);
}

static void request_completed_at_reset_reaches_driver(struct kunit *test)
{
	struct fake_test *t = test->priv;
	struct fake_test_buf *buf;

	fake_test_plug(t);
	buf = fake_test_send_held(t);
	t->complete_at_reset = true;

	virtio_reset_device(t->vdev);

	fake_test_expect_response(t, buf);
	KUNIT_EXPECT_EQ(test, t->drops, 0);
}

/*
 * Requests
 */

static void request_reaches_device_and_response_driver(struct kunit *test)
{
	struct fake_test *t = test->priv;
	struct fake_test_buf *first, *second;

	fake_test_plug(t);
	first = fake_test_send(t, 0, true);
	KUNIT_ASSERT_TRUE(test, fake_test_wait_done(t, 1));
	second = fake_test_send(t, 1, true);
	KUNIT_ASSERT_TRUE(test, fake_test_wait_done(t, 2));

	fake_test_expect_response(t, first);
	fake_test_expect_response(t, second);
	KUNIT_EXPECT_EQ(test, t->taken[0], 1);
	KUNIT_EXPECT_EQ(test, t->taken[1], 1);
	KUNIT_EXPECT_EQ(test, t->num_indirect,
			fake_test_has(t, VIRTIO_RING_F_INDIRECT_DESC) ? 2 : 0);
	KUNIT_EXPECT_EQ(test, virtio_fake_notifications(t->vf), 2);
	KUNIT_EXPECT_EQ(test, virtio_fake_interrupts(t->vf), 2);
	KUNIT_EXPECT_EQ(test, virtio_fake_outstanding(t->vf), 0);
}

/* A lost wakeup on either side ends the run early. */
static void long_run_of_requests_completes(struct kunit *test)
{
	struct fake_test *t = test->priv;
	struct fake_test_buf *buf;
	unsigned int i;
	int ret;

	fake_test_plug(t);
	for (i = 0; i < FAKE_TEST_RUN; i++) {
		buf = fake_test_buf(t);
		KUNIT_ASSERT_NOT_NULL(test, buf);
		do {
			unsigned int done = READ_ONCE(t->done);

			ret = fake_test_add(t, 0, buf);
			if (ret == -ENOSPC)
				KUNIT_ASSERT_TRUE(test, fake_test_wait_done(t, done + 1));
		} while (ret == -ENOSPC);
		KUNIT_ASSERT_EQ(test, ret, 0);
		KUNIT_ASSERT_TRUE(test, fake_test_notify(t, 0));
	}

	KUNIT_ASSERT_TRUE(test, fake_test_wait_done(t, FAKE_TEST_RUN));
	fake_test_expect_response(t, buf);
	KUNIT_EXPECT_EQ(test, virtio_fake_free_space(t->vf, 0), FAKE_TEST_VQ_NUM);
}

static void full_ring_rejects_with_enospc(struct kunit *test)
{
	struct fake_test *t = test->priv;
	unsigned int i, n;

	fake_test_plug(t);
	n = fake_test_has(t, VIRTIO_RING_F_INDIRECT_DESC) ? FAKE_TEST_VQ_NUM : FAKE_TEST_VQ_NUM / 2;
	virtio_fake_stall(t->vf, 0, true);
	for (i = 0; i < n; i++)
		fake_test_send(t, 0, true);

	KUNIT_EXPECT_EQ(test, virtio_fake_free_space(t->vf, 0), 0);
	KUNIT_EXPECT_EQ(test, fake_test_add(t, 0, fake_test_buf(t)), -ENOSPC);
	KUNIT_EXPECT_EQ(test, t->taken[0], 0);

	virtio_fake_stall(t->vf, 0, false);
	KUNIT_ASSERT_TRUE(test, fake_test_wait_done(t, n));
	KUNIT_EXPECT_EQ(test, virtio_fake_free_space(t->vf, 0), FAKE_TEST_VQ_NUM);
	fake_test_send(t, 0, true);
	KUNIT_EXPECT_TRUE(test, fake_test_wait_done(t, n + 1));
}

static void stalled_queue_does_not_stall_other_queue(struct kunit *test)
{
	struct fake_test *t = test->priv;

	fake_test_plug(t);
	virtio_fake_stall(t->vf, 0, true);
	fake_test_send(t, 0, true);
	fake_test_send(t, 1, true);

	KUNIT_EXPECT_TRUE(test, fake_test_wait_done(t, 1));
	KUNIT_EXPECT_TRUE(test, virtio_fake_idle(t->vf));
	KUNIT_EXPECT_EQ(test, t->taken[0], 0);
	KUNIT_EXPECT_EQ(test, t->taken[1], 1);
}

static void broken_queue_rejects_requests(struct kunit *test)
{
	struct fake_test *t = test->priv;
	unsigned int notifications;

	fake_test_plug(t);
	fake_test_send(t, 0, false);
	notifications = virtio_fake_notifications(t->vf);

	virtio_fake_break(t->vf);
	KUNIT_EXPECT_EQ(test, fake_test_add(t, 0, fake_test_buf(t)), -EIO);
	KUNIT_EXPECT_FALSE(test, virtqueue_notify(t->vqs[0]));
	KUNIT_EXPECT_EQ(test, virtio_fake_notifications(t->vf), notifications);

	virtio_fake_unbreak(t->vf);
	fake_test_send(t, 0, true);
	KUNIT_EXPECT_TRUE(test, fake_test_wait_done(t, 2));
}

static void broken_queue_calls_no_callback(struct kunit *test)
{
	struct fake_test *t = test->priv;
	unsigned int interrupts, len;
	struct fake_test_buf *buf, *got;
	unsigned long flags;

	fake_test_plug(t);
	buf = fake_test_send_held(t);
	interrupts = virtio_fake_interrupts(t->vf);

	virtio_fake_break(t->vf);
	fake_test_complete_held(t);
	KUNIT_ASSERT_TRUE(test, virtio_fake_idle(t->vf));
	KUNIT_EXPECT_EQ(test, virtio_fake_interrupts(t->vf), interrupts + 1);
	KUNIT_EXPECT_EQ(test, t->callbacks, 0);

	/* The response is in the used ring all the same. */
	virtio_fake_unbreak(t->vf);
	spin_lock_irqsave(&t->lock, flags);
	got = virtqueue_get_buf(t->vqs[0], &len);
	spin_unlock_irqrestore(&t->lock, flags);
	KUNIT_EXPECT_PTR_EQ(test, got, buf);
}

/*
 * Notifications
 */

/* The device holds the first notification, so it does not ask for another one. */
static void notification_suppressed_until_device_rearms(struct kunit *test)
{
	struct fake_test *t = test->priv;
	unsigned int expected;

	fake_test_plug(t);
	expected = fake_test_has(t, VIRTIO_RING_F_EVENT_IDX) ? 1 : 2;
	virtio_fake_hold_notifications(t->vf, true);
	fake_test_send(t, 0, true);
	fake_test_send(t, 0, true);
	KUNIT_EXPECT_EQ(test, virtio_fake_notifications(t->vf), expected);
	KUNIT_EXPECT_TRUE(test, virtio_fake_idle(t->vf));
	KUNIT_EXPECT_EQ(test, t->taken[0], 0);

	virtio_fake_hold_notifications(t->vf, false);
	KUNIT_ASSERT_TRUE(test, fake_test_wait_done(t, 2));
	KUNIT_ASSERT_TRUE(test, virtio_fake_idle(t->vf));
	fake_test_send(t, 0, true);
	KUNIT_EXPECT_EQ(test, virtio_fake_notifications(t->vf), expected + 1);
	KUNIT_EXPECT_TRUE(test, fake_test_wait_done(t, 3));
}

static void request_added_during_request_needs_no_notification(struct kunit *test)
{
	struct fake_test *t = test->priv;

	fake_test_plug(t);
	t->add_during_request = true;
	fake_test_send(t, 0, true);

	KUNIT_EXPECT_TRUE(test, fake_test_wait_done(t, 2));
	KUNIT_EXPECT_EQ(test, virtio_fake_notifications(t->vf), 1);
}

static void lost_notification_leaves_request_in_ring(struct kunit *test)
{
	struct fake_test *t = test->priv;
	unsigned int space;

	fake_test_plug(t);
	virtio_fake_lose_notifications(t->vf, 1);
	fake_test_send(t, 0, true);
	KUNIT_EXPECT_EQ(test, virtio_fake_notifications(t->vf), 1);
	KUNIT_ASSERT_TRUE(test, virtio_fake_idle(t->vf));
	space = fake_test_has(t, VIRTIO_RING_F_INDIRECT_DESC) ? 1 : 2;
	KUNIT_EXPECT_EQ(test, virtio_fake_free_space(t->vf, 0), FAKE_TEST_VQ_NUM - space);
	KUNIT_EXPECT_EQ(test, t->taken[0], 0);

	/* A request in the other queue does not help. */
	fake_test_send(t, 1, true);
	KUNIT_ASSERT_TRUE(test, fake_test_wait_done(t, 1));
	KUNIT_ASSERT_TRUE(test, virtio_fake_idle(t->vf));
	KUNIT_EXPECT_EQ(test, t->taken[0], 0);

	KUNIT_EXPECT_TRUE(test, virtqueue_notify(t->vqs[0]));
	KUNIT_EXPECT_TRUE(test, fake_test_wait_done(t, 2));
}

static void notification_without_driver_ok_is_violation(struct kunit *test)
{
	struct fake_test *t = test->priv;

	fake_test_plug(t);
	virtio_reset_device(t->vdev);
	fake_test_send(t, 0, false);
	fake_test_expect_violations(t, 0);

	virtqueue_notify(t->vqs[0]);
	fake_test_expect_violations(t, 1);
	KUNIT_EXPECT_TRUE(test, virtio_fake_idle(t->vf));
	KUNIT_EXPECT_EQ(test, t->taken[0], 0);
}

/*
 * Interrupts
 */

static void interrupts_come_from_hardirq(struct kunit *test)
{
	struct fake_test *t = test->priv;

	if (IS_ENABLED(CONFIG_PREEMPT_RT))
		kunit_skip(test, "interrupts are threaded");

	fake_test_plug(t);
	fake_test_send(t, 0, true);
	KUNIT_ASSERT_TRUE(test, fake_test_wait_done(t, 1));
	virtio_fake_config_interrupt(t->vf);
	KUNIT_ASSERT_TRUE(test, virtio_fake_idle(t->vf));

	KUNIT_EXPECT_EQ(test, t->callbacks, 2);
	KUNIT_EXPECT_EQ(test, t->callbacks_in_hardirq, 2);
}

static void requests_taken_in_one_go_share_interrupt(struct kunit *test)
{
	struct fake_test *t = test->priv;
	unsigned int i;

	fake_test_plug(t);
	for (i = 0; i < 4; i++)
		fake_test_send(t, 0, i == 3);

	KUNIT_ASSERT_TRUE(test, fake_test_wait_done(t, 4));
	KUNIT_EXPECT_TRUE(test, virtio_fake_idle(t->vf));
	KUNIT_EXPECT_EQ(test, virtio_fake_interrupts(t->vf), 1);
}

static void request_completed_later_raises_interrupt(struct kunit *test)
{
	struct fake_test *t = test->priv;
	struct fake_test_buf *buf;

	fake_test_plug(t);
	buf = fake_test_send_held(t);
	KUNIT_EXPECT_EQ(test, virtio_fake_interrupts(t->vf), 0);

	fake_test_complete_held(t);
	KUNIT_ASSERT_TRUE(test, fake_test_wait_done(t, 1));
	KUNIT_EXPECT_EQ(test, virtio_fake_interrupts(t->vf), 1);
	fake_test_expect_response(t, buf);
}

static void muted_interrupts_are_combined(struct kunit *test)
{
	struct fake_test *t = test->priv;
	unsigned int i;

	fake_test_plug(t);
	virtio_fake_mute(t->vf, true);
	for (i = 1; i <= 3; i++) {
		fake_test_send(t, 0, true);
		KUNIT_ASSERT_TRUE(test, fake_test_wait_taken(t, i));
	}
	virtio_fake_config_interrupt(t->vf);
	KUNIT_ASSERT_TRUE(test, virtio_fake_idle(t->vf));
	KUNIT_EXPECT_EQ(test, virtio_fake_outstanding(t->vf), 0);
	KUNIT_EXPECT_EQ(test, virtio_fake_interrupts(t->vf), 0);
	KUNIT_EXPECT_EQ(test, t->callbacks, 0);

	virtio_fake_mute(t->vf, false);
	KUNIT_ASSERT_TRUE(test, fake_test_wait_done(t, 3));
	KUNIT_ASSERT_TRUE(test, virtio_fake_idle(t->vf));
	KUNIT_EXPECT_EQ(test, virtio_fake_interrupts(t->vf), 2);
	KUNIT_EXPECT_EQ(test, t->config_changes, 1);
}

static void driver_suppresses_interrupt(struct kunit *test)
{
	struct fake_test *t = test->priv;
	unsigned long flags;
	bool empty;

	t->params.features &= ~BIT_ULL(VIRTIO_RING_F_EVENT_IDX);
	fake_test_plug(t);
	spin_lock_irqsave(&t->lock, flags);
	virtqueue_disable_cb(t->vqs[0]);
	spin_unlock_irqrestore(&t->lock, flags);
	fake_test_send(t, 0, true);
	KUNIT_ASSERT_TRUE(test, fake_test_wait_taken(t, 1));
	KUNIT_ASSERT_TRUE(test, virtio_fake_idle(t->vf));
	KUNIT_EXPECT_EQ(test, virtio_fake_interrupts(t->vf), 0);
	KUNIT_EXPECT_EQ(test, virtio_fake_outstanding(t->vf), 0);

	spin_lock_irqsave(&t->lock, flags);
	empty = virtqueue_enable_cb(t->vqs[0]);
	spin_unlock_irqrestore(&t->lock, flags);
	KUNIT_EXPECT_FALSE(test, empty);
}

static void delayed_interrupt_arrives_at_synchronize_cbs(struct kunit *test)
{
	struct fake_test *t = test->priv;

	fake_test_plug(t);
	virtio_fake_delay_interrupts(t->vf, true);
	fake_test_send(t, 0, true);
	KUNIT_ASSERT_TRUE(test, fake_test_wait_taken(t, 1));
	KUNIT_ASSERT_TRUE(test, virtio_fake_idle(t->vf));
	msleep(20);
	KUNIT_EXPECT_EQ(test, READ_ONCE(t->done), 0);

	virtio_synchronize_cbs(t->vdev);
	KUNIT_EXPECT_EQ(test, READ_ONCE(t->done), 1);
}

/*
 * Config space
 */

static void config_change_reaches_driver(struct kunit *test)
{
	struct fake_test *t = test->priv;
	const u8 new = 0x55;
	u8 got = 0;

	fake_test_plug(t);
	virtio_fake_config_set(t->vf, 5, &new, sizeof(new));
	KUNIT_EXPECT_TRUE(test, virtio_fake_idle(t->vf));
	KUNIT_EXPECT_EQ(test, t->config_changes, 0);

	virtio_fake_config_interrupt(t->vf);
	KUNIT_EXPECT_TRUE(test, virtio_fake_wait(t->vf, READ_ONCE(t->config_changes) == 1));
	virtio_cread_bytes(t->vdev, 5, &got, sizeof(got));
	KUNIT_EXPECT_EQ(test, got, new);
}

static void config_change_while_disabled_is_delivered_later(struct kunit *test)
{
	struct fake_test *t = test->priv;

	fake_test_plug(t);
	virtio_config_driver_disable(t->vdev);
	virtio_fake_config_interrupt(t->vf);
	KUNIT_ASSERT_TRUE(test, virtio_fake_idle(t->vf));
	KUNIT_EXPECT_EQ(test, virtio_fake_interrupts(t->vf), 1);
	KUNIT_EXPECT_EQ(test, t->config_changes, 0);

	virtio_config_driver_enable(t->vdev);
	KUNIT_EXPECT_EQ(test, t->config_changes, 1);
	KUNIT_EXPECT_EQ(test, virtio_fake_interrupts(t->vf), 1);
}

static void config_change_during_read_repeats_read(struct kunit *test)
{
	struct fake_test *t = test->priv;
	u8 got[FAKE_TEST_CONFIG_LEN];
	unsigned int i;

	fake_test_plug(t);
	t->change_config_during_read = true;
	virtio_cread_bytes(t->vdev, 0, got, sizeof(got));

	KUNIT_EXPECT_FALSE(test, t->change_config_during_read);
	for (i = 0; i < sizeof(got); i++)
		KUNIT_EXPECT_EQ(test, got[i], 0xbb);
}

static void config_access_out_of_range_is_violation(struct kunit *test)
{
	struct fake_test *t = test->priv;
	u8 byte = 0x77;

	fake_test_plug(t);
	t->vdev->config->set(t->vdev, 0, &byte, sizeof(byte));
	byte = 0;
	t->vdev->config->get(t->vdev, 0, &byte, sizeof(byte));
	KUNIT_EXPECT_EQ(test, byte, 0x77);
	fake_test_expect_violations(t, 0);

	t->vdev->config->set(t->vdev, 1, &byte, sizeof(byte));
	fake_test_expect_violations(t, 1);
	t->vdev->config->set(t->vdev, FAKE_TEST_CONFIG_LEN, &byte, sizeof(byte));
	fake_test_expect_violations(t, 1);
	t->vdev->config->get(t->vdev, FAKE_TEST_CONFIG_LEN, &byte, sizeof(byte));
	fake_test_expect_violations(t, 1);
}

/*
 * Violations
 */

static void bad_descriptor_is_violation(struct kunit *test)
{
	struct fake_test *t = test->priv;
	struct vring_desc *desc;

	t->params.features &= ~BIT_ULL(VIRTIO_RING_F_INDIRECT_DESC);
	fake_test_plug(t);
	fake_test_send(t, 0, false);

	/* The first descriptor is its own successor. */
	desc = virtqueue_get_vring(t->vqs[0])->desc;
	desc[0].next = cpu_to_virtio16(t->vdev, 0);
	KUNIT_ASSERT_TRUE(test, virtqueue_notify(t->vqs[0]));
	KUNIT_ASSERT_TRUE(test, virtio_fake_idle(t->vf));
	fake_test_expect_violations(t, 1);
	KUNIT_EXPECT_EQ(test, t->taken[0], 0);

	/* The other queue still works. */
	fake_test_send(t, 1, true);
	KUNIT_EXPECT_TRUE(test, fake_test_wait_done(t, 1));
}

static void del_vqs_without_reset_is_violation(struct kunit *test)
{
	struct fake_test *t = test->priv;

	fake_test_plug(t);
	fake_test_send_held(t);
	t->skip_reset = true;

	KUNIT_EXPECT_TRUE(test, virtio_fake_unplug(t->vf));
	fake_test_expect_violations(t, 1);
	KUNIT_EXPECT_EQ(test, t->drops, 1);
}

static void status_change_without_reset_is_violation(struct kunit *test)
{
	struct fake_test *t = test->priv;
	u8 status;

	fake_test_plug(t);
	status = virtio_fake_status(t->vf);
	t->vdev->config->set_status(t->vdev, status & ~VIRTIO_CONFIG_S_DRIVER_OK);
	fake_test_expect_violations(t, 1);
	t->vdev->config->set_status(t->vdev, status);
	fake_test_expect_violations(t, 0);
}

/*
 * Shared memory
 */

static void shm_region_is_reserved_for_driver(struct kunit *test)
{
	struct fake_test *t = test->priv;
	struct resource other = { .name = "virtio_fake_kunit", .flags = IORESOURCE_MEM };
	struct virtio_shm_region shm = {};
	int ret;

	t->params.shm_id = FAKE_TEST_SHM_ID;
	t->params.shm_len = SZ_1M;
	t->params.shm_skew = SZ_64K;
	fake_test_plug(t);

	KUNIT_EXPECT_FALSE(test, virtio_get_shm_region(t->vdev, &shm, FAKE_TEST_SHM_ID + 1));
	KUNIT_ASSERT_TRUE(test, virtio_get_shm_region(t->vdev, &shm, FAKE_TEST_SHM_ID));
	KUNIT_EXPECT_EQ(test, shm.len, SZ_1M);
	KUNIT_EXPECT_EQ(test, shm.addr % SZ_2M, SZ_64K);

	/* The driver gets it, once. */
	KUNIT_ASSERT_NOT_NULL(test, request_mem_region(shm.addr, shm.len, "first"));
	KUNIT_EXPECT_NULL(test, request_mem_region(shm.addr, shm.len, "second"));
	release_mem_region(shm.addr, shm.len);

	/* No other device gets it. */
	ret = allocate_resource(&iomem_resource, &other, SZ_64K, shm.addr - SZ_64K,
				shm.addr + shm.len - 1, SZ_64K, NULL, NULL);
	KUNIT_EXPECT_EQ(test, ret, -EBUSY);
	if (!ret)
		release_resource(&other);
}

static void device_without_shm_region_reports_none(struct kunit *test)
{
	struct fake_test *t = test->priv;
	struct virtio_shm_region shm;

	fake_test_plug(t);
	KUNIT_EXPECT_FALSE(test, virtio_get_shm_region(t->vdev, &shm, FAKE_TEST_SHM_ID));
	KUNIT_EXPECT_EQ(test, virtio_fake_shm(t->vf)->len, 0);
}

static int fake_test_init(struct kunit *test)
{
	const struct fake_test_ring *ring = test->param_value;
	struct fake_test *t;
	int ret;

	t = kzalloc_obj(*t);
	if (!t)
		return -ENOMEM;

	atomic_inc(&fake_test_count);
	kref_init(&t->ref);
	ret = kunit_add_action_or_reset(test, fake_test_drop_ref, t);
	if (ret)
		return ret;

	t->bufs = kzalloc_objs(*t->bufs, FAKE_TEST_NUM_BUFS);
	if (!t->bufs)
		return -ENOMEM;

	if (!ring)
		ring = &fake_test_rings[FAKE_TEST_RING_DEFAULT];
	t->test = test;
	spin_lock_init(&t->lock);
	memset(t->config, 0xaa, sizeof(t->config));
	t->params = (struct virtio_fake_params) {
		.name = "virtio_fake_kunit",
		.device_id = FAKE_TEST_ID,
		.features = BIT_ULL(VIRTIO_F_VERSION_1) | BIT_ULL(FAKE_TEST_F_COMMON) |
			    BIT_ULL(FAKE_TEST_F_DEVICE) | ring->features,
		.num_vqs = FAKE_TEST_NUM_VQS,
		.vq_num = FAKE_TEST_VQ_NUM,
		.config = t->config,
		.config_len = sizeof(t->config),
		.ops = &fake_test_ops,
		.priv = t,
	};
	test->priv = t;
	fake_test_current = t;

	return 0;
}

static int fake_test_suite_init(struct kunit_suite *suite)
{
	return register_virtio_driver(&fake_test_driver);
}

static void fake_test_suite_exit(struct kunit_suite *suite)
{
	/* The driver core would wait for a task that is stuck in the driver. */
	if (fake_test_driver.driver.p && !atomic_read(&fake_test_count))
		unregister_virtio_driver(&fake_test_driver);
}

static struct kunit_case fake_test_cases[] = {
	KUNIT_CASE(plug_without_driver_fails),
	KUNIT_CASE(probe_failure_fails_plug),
	KUNIT_CASE_PARAM(features_offered_and_known_are_negotiated, fake_test_ring_gen_params),
	KUNIT_CASE(features_ok_rejected_fails_plug),
	KUNIT_CASE(unplug_releases_vdev),
	KUNIT_CASE(referenced_vdev_is_released_at_last_put),
	KUNIT_CASE(plug_after_unplug_probes_again),
	KUNIT_CASE(shutdown_breaks_and_resets_device),
	KUNIT_CASE_PARAM(freeze_then_restore_sets_up_queues_again, fake_test_ring_gen_params),
	KUNIT_CASE(reset_drops_outstanding_requests),
	KUNIT_CASE(request_completed_at_reset_reaches_driver),
	KUNIT_CASE_PARAM(request_reaches_device_and_response_driver, fake_test_ring_gen_params),
	KUNIT_CASE_PARAM(long_run_of_requests_completes, fake_test_ring_gen_params),
	KUNIT_CASE_PARAM(full_ring_rejects_with_enospc, fake_test_ring_gen_params),
	KUNIT_CASE(stalled_queue_does_not_stall_other_queue),
	KUNIT_CASE(broken_queue_rejects_requests),
	KUNIT_CASE(broken_queue_calls_no_callback),
	KUNIT_CASE_PARAM(notification_suppressed_until_device_rearms, fake_test_ring_gen_params),
	KUNIT_CASE_PARAM(request_added_during_request_needs_no_notification,
			 fake_test_ring_gen_params),
	KUNIT_CASE_PARAM(lost_notification_leaves_request_in_ring, fake_test_ring_gen_params),
	KUNIT_CASE(notification_without_driver_ok_is_violation),
	KUNIT_CASE_PARAM(interrupts_come_from_hardirq, fake_test_ring_gen_params),
	KUNIT_CASE_PARAM(requests_taken_in_one_go_share_interrupt, fake_test_ring_gen_params),
	KUNIT_CASE_PARAM(request_completed_later_raises_interrupt, fake_test_ring_gen_params),
	KUNIT_CASE_PARAM(muted_interrupts_are_combined, fake_test_ring_gen_params),
	KUNIT_CASE(driver_suppresses_interrupt),
	KUNIT_CASE(delayed_interrupt_arrives_at_synchronize_cbs),
	KUNIT_CASE(config_change_reaches_driver),
	KUNIT_CASE(config_change_while_disabled_is_delivered_later),
	KUNIT_CASE(config_change_during_read_repeats_read),
	KUNIT_CASE(config_access_out_of_range_is_violation),
	KUNIT_CASE(bad_descriptor_is_violation),
	KUNIT_CASE(del_vqs_without_reset_is_violation),
	KUNIT_CASE(status_change_without_reset_is_violation),
	KUNIT_CASE(shm_region_is_reserved_for_driver),
	KUNIT_CASE(device_without_shm_region_reports_none),
	{}
};

static struct kunit_suite fake_test_suite = {
	.name = "virtio_fake",
	.suite_init = fake_test_suite_init,
	.suite_exit = fake_test_suite_exit,
	.init = fake_test_init,
	.test_cases = fake_test_cases,
};

kunit_test_suite(fake_test_suite);

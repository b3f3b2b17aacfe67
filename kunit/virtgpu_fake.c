// SPDX-License-Identifier: GPL-2.0

#include <kunit/test.h>
#include <linux/kref.h>
#include <linux/list.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/sizes.h>
#include <linux/slab.h>
#include <linux/spinlock.h>
#include <linux/unaligned.h>
#include <linux/virtio_gpu.h>
#include <linux/virtio_ids.h>
#include <linux/workqueue.h>

#include <drm/drm_drv.h>
#include <drm/drm_managed.h>

#include "../virtgpu_drv.h"
#include "virtgpu_fake.h"

/* One slot for each command there is: three groups of fewer than 32. */
#define VIRTGPU_FAKE_SLOTS	128

/* The newest layout. A driver that knows an older one reads less. */
struct virtgpu_fake_config {
	__le32 events_read;
	__le32 events_clear;
	__le32 num_scanouts;
	__le32 num_capsets;
	__le32 blob_alignment;
};

/* A command in the log. It has a request until it is completed, or dropped by a reset. */
struct virtgpu_fake_cmd {
	struct virtgpu_cmd cmd;
	struct list_head log_node;
	struct list_head held_node;
	struct virtio_fake_req *req;
	struct virtio_gpu_ctrl_hdr hdr;
	/* the error that the model demands, 0 if the command can be carried out */
	u32 verdict;
};

struct virtgpu_fake_script {
	u32 resp;
	unsigned int left;
	bool forever;
	bool hold;
};

union virtgpu_fake_resp {
	struct virtio_gpu_ctrl_hdr hdr;
	struct virtio_gpu_resp_display_info display_info;
	struct virtio_gpu_resp_capset_info capset_info;
	struct virtio_gpu_resp_edid edid;
	struct virtio_gpu_resp_resource_uuid uuid;
	struct virtio_gpu_resp_map_info map_info;
	u8 raw[SZ_4K];
};

/*
 * The test, virtio_fake and the DRM device hold a reference each. The structure outlives the test
 * if the driver is stuck or leaks the DRM device.
 */
struct virtgpu_fake {
	struct kref ref;
	struct kunit *test;
	struct virtgpu_fake_params params;
	struct virtio_fake *vf;
	struct drm_device *drm;
	bool has_drm_ref;
	struct completion drm_released;

	/* protects events_read */
	spinlock_t config_lock;

	/* protected by virtio_fake_lock() */
	struct virtgpu_model model;
	struct virtgpu_fake_script script[VIRTGPU_FAKE_SLOTS];
	u32 (*decide)(void *data, const struct virtgpu_cmd *cmd);
	void *decide_data;
	bool respond_at_reset;
	struct list_head log;
	struct list_head held;
	union virtgpu_fake_resp resp;

	/* written with the lock held, read without */
	unsigned int seen[VIRTGPU_FAKE_SLOTS];
	unsigned int num_seen;
	unsigned int num_held;
	unsigned int num_responded;
};

/*
 * A device with all that the blob tests need. A test that needs another device copies and changes
 * it.
 */
const struct virtgpu_fake_params virtgpu_fake_defaults = {
	.features = BIT_ULL(VIRTIO_F_VERSION_1) |
		    BIT_ULL(VIRTIO_RING_F_INDIRECT_DESC) |
		    BIT_ULL(VIRTIO_RING_F_EVENT_IDX) |
		    BIT_ULL(VIRTIO_GPU_F_VIRGL) |
		    BIT_ULL(VIRTIO_GPU_F_RESOURCE_BLOB) |
		    BIT_ULL(VIRTIO_GPU_F_CONTEXT_INIT),
	.vq_num = 64,
	.window = 256 * PAGE_SIZE,
	.map_info = VIRTIO_GPU_MAP_CACHE_CACHED,
};

static unsigned int virtgpu_fake_slot(u32 type)
{
	return (type >> 8) % 4 * 32 + type % 32;
}

/*
 * Responses
 */

static void virtgpu_fake_fill_edid(struct virtio_gpu_resp_edid *resp)
{
	static const u8 header[] = { 0x00, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x00 };
	unsigned int i;
	u8 sum = 0;

	resp->size = cpu_to_le32(128);
	memcpy(resp->edid, header, sizeof(header));
	resp->edid[18] = 1;
	resp->edid[19] = 4;
	for (i = 0; i < 127; i++)
		sum += resp->edid[i];
	resp->edid[127] = -sum;
}

/* Fill in what follows the header in the response to a command that was carried out. */
static size_t virtgpu_fake_fill(struct virtgpu_fake *f, const struct virtgpu_cmd *cmd)
{
	union virtgpu_fake_resp *resp = &f->resp;
	unsigned int i;

	switch (cmd->type) {
	case VIRTIO_GPU_CMD_GET_DISPLAY_INFO:
		for (i = 0; i < min(f->params.num_scanouts, VIRTIO_GPU_MAX_SCANOUTS); i++) {
			resp->display_info.pmodes[i].enabled = cpu_to_le32(1);
			resp->display_info.pmodes[i].r.width = cpu_to_le32(1024);
			resp->display_info.pmodes[i].r.height = cpu_to_le32(768);
		}
		return sizeof(resp->display_info);
	case VIRTIO_GPU_CMD_GET_CAPSET_INFO:
		resp->capset_info.capset_id = cpu_to_le32(cmd->index + 1);
		resp->capset_info.capset_max_version = cpu_to_le32(1);
		resp->capset_info.capset_max_size = cpu_to_le32(64);
		return sizeof(resp->capset_info);
	case VIRTIO_GPU_CMD_GET_CAPSET:
		return min(cmd->resp_space, sizeof(*resp));
	case VIRTIO_GPU_CMD_GET_EDID:
		virtgpu_fake_fill_edid(&resp->edid);
		return sizeof(resp->edid);
	case VIRTIO_GPU_CMD_RESOURCE_ASSIGN_UUID:
		put_unaligned_be32(cmd->resource_id, resp->uuid.uuid);
		return sizeof(resp->uuid);
	case VIRTIO_GPU_CMD_RESOURCE_MAP_BLOB:
		resp->map_info.map_info = cpu_to_le32(f->params.map_info);
		return sizeof(resp->map_info);
	default:
		return sizeof(resp->hdr);
	}
}

static void virtgpu_fake_complete_locked(struct virtgpu_fake *f, struct virtgpu_fake_cmd *fcmd,
					 u32 resp)
{
	struct virtgpu_cmd *cmd = &fcmd->cmd;
	u32 ok = virtgpu_cmd_ok(cmd->type);
	size_t len = sizeof(f->resp.hdr);

	virtio_fake_assert_locked(f->vf);
	if (!resp)
		resp = fcmd->verdict ?: ok;
	cmd->resp = resp;
	if (!fcmd->verdict)
		virtgpu_model_end(&f->model, cmd, resp == ok);

	if (cmd->resp_space) {
		memset(&f->resp, 0, sizeof(f->resp));
		f->resp.hdr.type = cpu_to_le32(resp);
		f->resp.hdr.flags = fcmd->hdr.flags;
		f->resp.hdr.fence_id = fcmd->hdr.fence_id;
		f->resp.hdr.ctx_id = fcmd->hdr.ctx_id;
		f->resp.hdr.ring_idx = fcmd->hdr.ring_idx;
		if (resp == ok)
			len = virtgpu_fake_fill(f, cmd);
		if (len > cmd->resp_space)
			virtio_fake_violate(f->vf, "%s with space for %zu bytes only",
					    virtgpu_cmd_name(cmd->type), cmd->resp_space);
		virtio_fake_push_locked(fcmd->req, &f->resp, min(len, cmd->resp_space));
	}

	virtio_fake_complete_locked(fcmd->req);
	fcmd->req = NULL;
	WRITE_ONCE(f->num_responded, f->num_responded + 1);
}

static void virtgpu_fake_unlist_locked(struct virtgpu_fake *f, struct virtgpu_fake_cmd *fcmd)
{
	list_del_init(&fcmd->held_node);
	WRITE_ONCE(f->num_held, f->num_held - 1);
}

static void virtgpu_fake_release_all_locked(struct virtgpu_fake *f, u32 resp)
{
	struct virtgpu_fake_cmd *fcmd, *tmp;
	unsigned int i;

	for (i = 0; i < VIRTGPU_FAKE_SLOTS; i++)
		f->script[i].hold = false;
	list_for_each_entry_safe(fcmd, tmp, &f->held, held_node) {
		virtgpu_fake_unlist_locked(f, fcmd);
		virtgpu_fake_complete_locked(f, fcmd, resp);
	}
}

/*
 * Requests
 */

static u32 virtgpu_fake_scripted(struct virtgpu_fake_script *script)
{
	if (script->forever)
		return script->resp;
	if (!script->left)
		return 0;

	script->left--;
	return script->resp;
}

static void virtgpu_fake_request(struct virtio_fake *vf, struct virtio_fake_req *req)
{
	struct virtgpu_fake *f = virtio_fake_priv(vf);
	struct virtgpu_fake_script *script;
	struct virtgpu_fake_cmd *fcmd;
	struct virtgpu_cmd *cmd;
	u8 raw[256] = {};
	ssize_t len;
	u32 resp;

	fcmd = kzalloc_obj(*fcmd);
	if (!fcmd) {
		virtio_fake_violate(vf, "no memory for the log");
		virtio_fake_complete_locked(req);
		return;
	}

	cmd = &fcmd->cmd;
	len = virtio_fake_pull_locked(req, raw, min(req->out_len, sizeof(raw)));
	if (!virtgpu_cmd_parse(cmd, raw, max_t(ssize_t, len, 0)))
		virtio_fake_violate(vf, "queue %u: short command (%zd)", req->vq, len);
	memcpy(&fcmd->hdr, raw, sizeof(fcmd->hdr));
	cmd->seq = f->num_seen;
	cmd->len = req->out_len;
	cmd->resp_space = req->in_len;
	cmd->indirect = req->indirect;
	INIT_LIST_HEAD(&fcmd->held_node);
	list_add_tail(&fcmd->log_node, &f->log);
	fcmd->req = req;
	req->priv = fcmd;

	fcmd->verdict = virtgpu_model_begin(&f->model, cmd);
	if (f->model.violation[0])
		virtio_fake_violate(vf, "%s", f->model.violation);

	/* The response may wake a task that counts the commands. */
	WRITE_ONCE(f->seen[virtgpu_fake_slot(cmd->type)],
		   f->seen[virtgpu_fake_slot(cmd->type)] + 1);
	WRITE_ONCE(f->num_seen, f->num_seen + 1);

	script = &f->script[virtgpu_fake_slot(cmd->type)];
	resp = f->decide ? f->decide(f->decide_data, cmd) : 0;
	if (script->hold) {
		list_add_tail(&fcmd->held_node, &f->held);
		WRITE_ONCE(f->num_held, f->num_held + 1);
	} else {
		virtgpu_fake_complete_locked(f, fcmd, resp ?: virtgpu_fake_scripted(script));
	}
	virtio_fake_wake(vf);
}

static void virtgpu_fake_drop(struct virtio_fake *vf, struct virtio_fake_req *req)
{
	struct virtgpu_fake_cmd *fcmd = req->priv;

	fcmd->req = NULL;
	if (!list_empty(&fcmd->held_node))
		virtgpu_fake_unlist_locked(virtio_fake_priv(vf), fcmd);
}

static void virtgpu_fake_reset(struct virtio_fake *vf, bool late)
{
	struct virtgpu_fake *f = virtio_fake_priv(vf);

	if (late)
		virtgpu_model_reset(&f->model);
	else if (f->respond_at_reset)
		virtgpu_fake_release_all_locked(f, 0);
}

static void virtgpu_fake_change_events(struct virtgpu_fake *f, u32 set, u32 clear)
{
	unsigned long flags;
	__le32 events;

	spin_lock_irqsave(&f->config_lock, flags);
	virtio_fake_config_read(f->vf, offsetof(struct virtgpu_fake_config, events_read), &events,
				sizeof(events));
	events = cpu_to_le32((le32_to_cpu(events) & ~clear) | set);
	virtio_fake_config_set(f->vf, offsetof(struct virtgpu_fake_config, events_read), &events,
			       sizeof(events));
	spin_unlock_irqrestore(&f->config_lock, flags);
}

static bool virtgpu_fake_config_write(struct virtio_fake *vf, unsigned int offset, const void *buf,
				      unsigned int len)
{
	__le32 clear;

	if (offset != offsetof(struct virtgpu_fake_config, events_clear) || len != sizeof(clear))
		return false;

	memcpy(&clear, buf, sizeof(clear));
	virtgpu_fake_change_events(virtio_fake_priv(vf), 0, le32_to_cpu(clear));

	return true;
}

/* A driver that still handles responses would crash: let the test fail instead. */
static void virtgpu_fake_del_vqs(struct virtio_fake *vf)
{
	struct virtio_gpu_device *vgdev = virtgpu_fake_vgdev(virtio_fake_priv(vf));

	if (!vgdev)
		return;

	if (work_busy(&vgdev->ctrlq.dequeue_work) || work_busy(&vgdev->cursorq.dequeue_work) ||
	    work_busy(&vgdev->obj_free_work))
		virtio_fake_violate(vf, "virtqueues deleted while the driver handles responses");
	flush_work(&vgdev->ctrlq.dequeue_work);
	flush_work(&vgdev->cursorq.dequeue_work);
	flush_work(&vgdev->obj_free_work);
}

/*
 * The device
 */

static void virtgpu_fake_free(struct kref *ref)
{
	struct virtgpu_fake *f = container_of(ref, struct virtgpu_fake, ref);
	struct virtgpu_fake_cmd *fcmd, *tmp;

	list_for_each_entry_safe(fcmd, tmp, &f->log, log_node)
		kfree(fcmd);
	virtgpu_model_reset(&f->model);
	kfree(f);
}

static void virtgpu_fake_release_priv(void *priv)
{
	struct virtgpu_fake *f = priv;

	f->vf = NULL;
	kref_put(&f->ref, virtgpu_fake_free);
}

static const struct virtio_fake_ops virtgpu_fake_ops = {
	.request = virtgpu_fake_request,
	.reset = virtgpu_fake_reset,
	.drop = virtgpu_fake_drop,
	.del_vqs = virtgpu_fake_del_vqs,
	.release = virtgpu_fake_release_priv,
	.config_write = virtgpu_fake_config_write,
};

static void virtgpu_fake_cleanup(void *data)
{
	struct virtgpu_fake *f = data;

	/* The driver may still use an abandoned device. */
	if (!f->vf && !virtgpu_fake_release_drm(f)) {
		KUNIT_FAIL(f->test, "the DRM device leaks");
		/* Its release calls virtgpu_fake_drm_release(). */
		__module_get(THIS_MODULE);
	}
	kref_put(&f->ref, virtgpu_fake_free);
}

static void virtgpu_fake_clear_script_action(void *data)
{
	struct virtgpu_fake *f = data;

	if (!virtio_fake_is_abandoned(f->vf))
		virtgpu_fake_clear_script(f);
}

static void virtgpu_fake_drm_release(struct drm_device *drm, void *data)
{
	struct virtgpu_fake *f = data;

	WRITE_ONCE(f->drm, NULL);
	complete_all(&f->drm_released);
	kref_put(&f->ref, virtgpu_fake_free);
}

/* The driver has bound: hold its DRM device, and learn when that is freed. */
static void virtgpu_fake_get_drm(struct virtgpu_fake *f)
{
	int ret;

	f->drm = virtio_fake_vdev(f->vf)->priv;
	drm_dev_get(f->drm);
	f->has_drm_ref = true;
	kref_get(&f->ref);
	ret = drmm_add_action_or_reset(f->drm, virtgpu_fake_drm_release, f);
	KUNIT_ASSERT_EQ(f->test, ret, 0);
}

/**
 * virtgpu_fake_create - make a device, plug it in and let the driver probe it
 * @test: the test. It fails here if the driver does not bind, and is skipped if "nomodeset" keeps
 *	the driver from binding.
 * @params: properties of the device
 *
 * If the device is still plugged at the end of the test, it is unplugged then. The test fails if
 * the driver has violated a rule of the device.
 *
 * Return: the device.
 */
struct virtgpu_fake *virtgpu_fake_create(struct kunit *test,
					 const struct virtgpu_fake_params *params)
{
	struct virtgpu_fake_config config = {
		.num_scanouts = cpu_to_le32(params->num_scanouts),
		.num_capsets = cpu_to_le32(params->num_capsets),
		.blob_alignment = cpu_to_le32(params->blob_alignment),
	};
	struct virtio_fake_params vp = {
		.name = "virtgpu-fake",
		.device_id = VIRTIO_ID_GPU,
		.features = params->features,
		.num_vqs = 2,
		.vq_num = params->vq_num,
		.config = &config,
		.config_len = sizeof(config),
		.shm_id = VIRTIO_GPU_SHM_ID_HOST_VISIBLE,
		.shm_len = params->window,
		.shm_skew = params->window_skew,
		.ops = &virtgpu_fake_ops,
	};
	u32 alignment = 0;
	struct virtgpu_fake *f;
	int ret;

	f = kzalloc_obj(*f);
	KUNIT_ASSERT_NOT_NULL(test, f);
	kref_init(&f->ref);
	f->test = test;
	f->params = *params;
	init_completion(&f->drm_released);
	spin_lock_init(&f->config_lock);
	INIT_LIST_HEAD(&f->log);
	INIT_LIST_HEAD(&f->held);
	virtgpu_model_init(&f->model, params->window, 0);
	ret = kunit_add_action_or_reset(test, virtgpu_fake_cleanup, f);
	KUNIT_ASSERT_EQ(test, ret, 0);

	vp.priv = f;
	kref_get(&f->ref);
	f->vf = virtio_fake_create(test, &vp);
	ret = kunit_add_action_or_reset(test, virtgpu_fake_clear_script_action, f);
	KUNIT_ASSERT_EQ(test, ret, 0);

	ret = virtio_fake_plug(f->vf);
	if (ret == -ENODEV && drm_firmware_drivers_only())
		kunit_skip(test, "with nomodeset the driver binds to no device");
	KUNIT_ASSERT_EQ_MSG(test, ret, 0, "the driver did not bind");
	virtgpu_fake_get_drm(f);

	if (virtio_fake_features(f->vf) & BIT_ULL(VIRTIO_GPU_F_BLOB_ALIGNMENT))
		alignment = params->blob_alignment;
	virtio_fake_lock(f->vf);
	f->model.blob_alignment = alignment;
	virtio_fake_unlock(f->vf);

	return f;
}

/**
 * virtgpu_fake_virtio - the virtio device under a GPU
 * @f: the device
 *
 * Return: the virtio device.
 */
struct virtio_fake *virtgpu_fake_virtio(struct virtgpu_fake *f)
{
	return f->vf;
}

/**
 * virtgpu_fake_test - the test a device belongs to
 * @f: the device
 *
 * Return: the test.
 */
struct kunit *virtgpu_fake_test(struct virtgpu_fake *f)
{
	return f->test;
}

/**
 * virtgpu_fake_drm - the DRM device of the driver
 * @f: the device
 *
 * Return: the DRM device; NULL once it is freed, which is not before virtgpu_fake_release_drm().
 */
struct drm_device *virtgpu_fake_drm(struct virtgpu_fake *f)
{
	return READ_ONCE(f->drm);
}

/**
 * virtgpu_fake_vgdev - the driver's own structure
 * @f: the device
 *
 * Return: the structure; NULL once it is freed, which is not before virtgpu_fake_release_drm().
 */
struct virtio_gpu_device *virtgpu_fake_vgdev(struct virtgpu_fake *f)
{
	struct drm_device *drm = virtgpu_fake_drm(f);

	return drm ? drm->dev_private : NULL;
}

/**
 * virtgpu_fake_release_drm - drop the reference to the DRM device, and wait until it is freed
 * @f: the device, which is unplugged
 *
 * May be called again.
 *
 * Return: false if the DRM device is not freed within VIRTIO_FAKE_TIMEOUT, because a file, an
 * object or the driver refers to it.
 */
bool virtgpu_fake_release_drm(struct virtgpu_fake *f)
{
	struct drm_device *drm = virtgpu_fake_drm(f);

	if (f->has_drm_ref) {
		f->has_drm_ref = false;
		drm_dev_put(drm);
	}

	return !virtgpu_fake_drm(f) ||
	       wait_for_completion_timeout(&f->drm_released, VIRTIO_FAKE_TIMEOUT);
}

/**
 * virtgpu_fake_config_change - report a display event
 * @f: the device
 *
 * Sets VIRTIO_GPU_EVENT_DISPLAY in the config space, and raises the config interrupt.
 */
void virtgpu_fake_config_change(struct virtgpu_fake *f)
{
	virtgpu_fake_change_events(f, VIRTIO_GPU_EVENT_DISPLAY, 0);
	virtio_fake_config_interrupt(f->vf);
}

/*
 * The log
 */

/**
 * virtgpu_fake_mark - remember a place in the log
 * @f: the device
 *
 * Return: the number of commands in the log.
 */
unsigned int virtgpu_fake_mark(struct virtgpu_fake *f)
{
	return READ_ONCE(f->num_seen);
}

/**
 * virtgpu_fake_cmds - the commands since a mark, for KUNIT_EXPECT_STREQ()
 * @f: the device
 * @mark: a return value of virtgpu_fake_mark()
 *
 * Return: the names of the commands as in virtgpu_cmd_name(), separated by spaces. Freed at the end
 * of the test.
 */
const char *virtgpu_fake_cmds(struct virtgpu_fake *f, unsigned int mark)
{
	struct virtgpu_fake_cmd *fcmd;
	size_t size = 1, len = 0;
	char *buf;

	virtio_fake_lock(f->vf);
	list_for_each_entry(fcmd, &f->log, log_node) {
		if (fcmd->cmd.seq >= mark)
			size += strlen(virtgpu_cmd_name(fcmd->cmd.type)) + 1;
	}
	buf = kunit_kzalloc(f->test, size, GFP_KERNEL);
	list_for_each_entry(fcmd, &f->log, log_node) {
		if (buf && fcmd->cmd.seq >= mark)
			len += scnprintf(buf + len, size - len, "%s%s", len ? " " : "",
					 virtgpu_cmd_name(fcmd->cmd.type));
	}
	virtio_fake_unlock(f->vf);

	return buf ?: "no memory";
}

/**
 * virtgpu_fake_count - count the commands of a type
 * @f: the device
 * @type: enum virtio_gpu_ctrl_type
 *
 * Return: the number of commands that the device has taken.
 */
unsigned int virtgpu_fake_count(struct virtgpu_fake *f, u32 type)
{
	return READ_ONCE(f->seen[virtgpu_fake_slot(type)]);
}

/**
 * virtgpu_fake_nth - a command from the log
 * @f: the device
 * @type: enum virtio_gpu_ctrl_type
 * @n: index of the command among those of that type, counted from 0
 *
 * Return: the command, valid until the end of the test; NULL if there are not so many.
 */
const struct virtgpu_cmd *virtgpu_fake_nth(struct virtgpu_fake *f, u32 type, unsigned int n)
{
	const struct virtgpu_cmd *found = NULL;
	struct virtgpu_fake_cmd *fcmd;

	virtio_fake_lock(f->vf);
	list_for_each_entry(fcmd, &f->log, log_node) {
		if (fcmd->cmd.type == type && !n--) {
			found = &fcmd->cmd;
			break;
		}
	}
	virtio_fake_unlock(f->vf);

	return found;
}

/**
 * virtgpu_fake_wait - wait until the device has taken a number of commands of a type
 * @f: the device
 * @type: enum virtio_gpu_ctrl_type
 * @n: the number, from the beginning of the log
 *
 * Return: false if it has not within VIRTIO_FAKE_TIMEOUT.
 */
bool virtgpu_fake_wait(struct virtgpu_fake *f, u32 type, unsigned int n)
{
	return wait_event_timeout(*virtio_fake_wait_queue(f->vf),
				  virtgpu_fake_count(f, type) >= n, VIRTIO_FAKE_TIMEOUT);
}

/**
 * virtgpu_fake_progress - whether anything has happened between two calls
 * @f: the device
 *
 * Return: a number that grows with each command, response, notification and interrupt.
 */
unsigned long virtgpu_fake_progress(struct virtgpu_fake *f)
{
	return (unsigned long)READ_ONCE(f->num_seen) + READ_ONCE(f->num_responded) +
	       virtgpu_fake_notifications(f) + virtgpu_fake_interrupts(f);
}

/*
 * The script
 */

/**
 * virtgpu_fake_respond - override the response to commands of a type
 * @f: the device
 * @type: enum virtio_gpu_ctrl_type of the commands
 * @resp: enum virtio_gpu_ctrl_type of the response; 0 for the usual one
 * @n: number of commands that get that response, 0 for all from now on
 *
 * The device has not carried out a command that gets an error, or a response that belongs to
 * another command.
 */
void virtgpu_fake_respond(struct virtgpu_fake *f, u32 type, u32 resp, unsigned int n)
{
	struct virtgpu_fake_script *script = &f->script[virtgpu_fake_slot(type)];

	virtio_fake_lock(f->vf);
	script->resp = resp;
	script->left = n;
	script->forever = !n;
	virtio_fake_unlock(f->vf);
}

/**
 * virtgpu_fake_decide - let a function of the test choose the responses
 * @f: the device
 * @decide: returns enum virtio_gpu_ctrl_type of the response, or 0 for the one that the rest of the
 *	script demands. It is called for each command that the device takes, before the response and
 *	with the device's lock held, and must not call the device. NULL for none.
 * @data: argument of the function
 */
void virtgpu_fake_decide(struct virtgpu_fake *f,
			 u32 (*decide)(void *data, const struct virtgpu_cmd *cmd), void *data)
{
	virtio_fake_lock(f->vf);
	f->decide = decide;
	f->decide_data = data;
	virtio_fake_unlock(f->vf);
}

/**
 * virtgpu_fake_set_map_info - change the response to RESOURCE_MAP_BLOB
 * @f: the device
 * @map_info: VIRTIO_GPU_MAP_CACHE_*, and any other bits
 */
void virtgpu_fake_set_map_info(struct virtgpu_fake *f, u32 map_info)
{
	virtio_fake_lock(f->vf);
	f->params.map_info = map_info;
	virtio_fake_unlock(f->vf);
}

static void virtgpu_fake_set_hold(struct virtgpu_fake *f, u32 type, bool hold)
{
	virtio_fake_lock(f->vf);
	f->script[virtgpu_fake_slot(type)].hold = hold;
	virtio_fake_unlock(f->vf);
}

/**
 * virtgpu_fake_hold - withhold the responses to commands of a type
 * @f: the device
 * @type: enum virtio_gpu_ctrl_type
 *
 * A command that is held when the device is reset gets no response.
 */
void virtgpu_fake_hold(struct virtgpu_fake *f, u32 type)
{
	virtgpu_fake_set_hold(f, type, true);
}

/**
 * virtgpu_fake_unhold - respond to further commands of a type at once
 * @f: the device
 * @type: enum virtio_gpu_ctrl_type
 *
 * Commands that are held remain so.
 */
void virtgpu_fake_unhold(struct virtgpu_fake *f, u32 type)
{
	virtgpu_fake_set_hold(f, type, false);
}

/**
 * virtgpu_fake_held - count the commands that are held
 * @f: the device
 *
 * Return: the number of commands.
 */
unsigned int virtgpu_fake_held(struct virtgpu_fake *f)
{
	return READ_ONCE(f->num_held);
}

/**
 * virtgpu_fake_wait_held - wait until a number of commands are held
 * @f: the device
 * @n: the number
 *
 * Return: false if they are not within VIRTIO_FAKE_TIMEOUT.
 */
bool virtgpu_fake_wait_held(struct virtgpu_fake *f, unsigned int n)
{
	return wait_event_timeout(*virtio_fake_wait_queue(f->vf), virtgpu_fake_held(f) >= n,
				  VIRTIO_FAKE_TIMEOUT);
}

static struct virtgpu_fake_cmd *virtgpu_fake_held_locked(struct virtgpu_fake *f, unsigned int index)
{
	struct virtgpu_fake_cmd *fcmd;

	virtio_fake_assert_locked(f->vf);
	list_for_each_entry(fcmd, &f->held, held_node) {
		if (!index--)
			return fcmd;
	}

	return NULL;
}

/**
 * virtgpu_fake_held_cmd - a command that is held
 * @f: the device
 * @index: index among the commands that are held now, in the order they came, counted from 0
 *
 * Return: the command, NULL if there are not so many.
 */
const struct virtgpu_cmd *virtgpu_fake_held_cmd(struct virtgpu_fake *f, unsigned int index)
{
	struct virtgpu_fake_cmd *fcmd;

	virtio_fake_lock(f->vf);
	fcmd = virtgpu_fake_held_locked(f, index);
	virtio_fake_unlock(f->vf);

	return fcmd ? &fcmd->cmd : NULL;
}

/**
 * virtgpu_fake_release - respond to a command that is held
 * @f: the device
 * @index: index among the commands that are held now, in the order they came, counted from 0
 * @resp: enum virtio_gpu_ctrl_type of the response, 0 for the usual one
 */
void virtgpu_fake_release(struct virtgpu_fake *f, unsigned int index, u32 resp)
{
	struct virtgpu_fake_cmd *fcmd;

	virtio_fake_lock(f->vf);
	fcmd = virtgpu_fake_held_locked(f, index);
	if (fcmd) {
		virtgpu_fake_unlist_locked(f, fcmd);
		virtgpu_fake_complete_locked(f, fcmd, resp);
	}
	virtio_fake_unlock(f->vf);

	if (!fcmd)
		KUNIT_FAIL(f->test, "there is no command %u to release", index);
}

/**
 * virtgpu_fake_release_all - respond to all commands that are held, in order, and hold no more
 * @f: the device
 * @resp: enum virtio_gpu_ctrl_type of the response, 0 for the usual one
 *
 * A command that the device has not taken yet gets the usual response; virtgpu_fake_wait_held()
 * makes sure that it is taken.
 */
void virtgpu_fake_release_all(struct virtgpu_fake *f, u32 resp)
{
	virtio_fake_lock(f->vf);
	virtgpu_fake_release_all_locked(f, resp);
	virtio_fake_unlock(f->vf);
}

/**
 * virtgpu_fake_respond_at_reset - respond to the commands that are held when the driver resets the
 * device
 * @f: the device
 *
 * A reset is the last moment at which a response, and its interrupt, can come.
 */
void virtgpu_fake_respond_at_reset(struct virtgpu_fake *f)
{
	virtio_fake_lock(f->vf);
	f->respond_at_reset = true;
	virtio_fake_unlock(f->vf);
}

/**
 * virtgpu_fake_clear_script - respond to all commands that are held, and respond as usual from now
 * on
 * @f: the device
 *
 * The device also takes commands, acts on held notifications and raises muted interrupts again.
 */
void virtgpu_fake_clear_script(struct virtgpu_fake *f)
{
	virtio_fake_lock(f->vf);
	virtgpu_fake_release_all_locked(f, 0);
	memset(f->script, 0, sizeof(f->script));
	f->decide = NULL;
	virtio_fake_unlock(f->vf);

	virtio_fake_hold_notifications(f->vf, false);
	virtgpu_fake_mute(f, false);
	virtgpu_fake_stall(f, false);
}

/*
 * The state of the device
 */

static unsigned int virtgpu_fake_ask(struct virtgpu_fake *f,
				     unsigned int (*fn)(struct virtgpu_model *model))
{
	unsigned int n;

	virtio_fake_lock(f->vf);
	n = fn(&f->model);
	virtio_fake_unlock(f->vf);

	return n;
}

/**
 * virtgpu_fake_resources - virtgpu_model_resources() of a device
 * @f: the device
 *
 * Return: the number of resources.
 */
unsigned int virtgpu_fake_resources(struct virtgpu_fake *f)
{
	return virtgpu_fake_ask(f, virtgpu_model_resources);
}

/**
 * virtgpu_fake_mapped - virtgpu_model_mapped() of a device
 * @f: the device
 *
 * Return: the number of resources that occupy a range of the window.
 */
unsigned int virtgpu_fake_mapped(struct virtgpu_fake *f)
{
	return virtgpu_fake_ask(f, virtgpu_model_mapped);
}

/**
 * virtgpu_fake_contexts - virtgpu_model_contexts() of a device
 * @f: the device
 *
 * Return: the number of contexts.
 */
unsigned int virtgpu_fake_contexts(struct virtgpu_fake *f)
{
	return virtgpu_fake_ask(f, virtgpu_model_contexts);
}

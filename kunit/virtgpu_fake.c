// SPDX-License-Identifier: GPL-2.0

#include <kunit/device.h>
#include <kunit/test.h>
#include <linux/debug_locks.h>
#include <linux/dma-mapping.h>
#include <linux/file.h>
#include <linux/ioport.h>
#include <linux/kref.h>
#include <linux/sizes.h>
#include <linux/slab.h>
#include <linux/unaligned.h>
#include <linux/vhost_iotlb.h>
#include <linux/virtio_ring.h>
#include <linux/vringh.h>
#include <linux/workqueue.h>
#include <linux/xarray.h>

#include <drm/drm_managed.h>

#include "../virtgpu_drv.h"
#include "virtgpu_fake.h"
#include "virtgpu_kunit_base.h"

#define VIRTGPU_FAKE_NUM_VQS	2

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

/* What a resource has in the window. A command under way counts for both its outcomes. */
enum virtgpu_fake_map_state {
	VIRTGPU_FAKE_UNMAPPED,
	VIRTGPU_FAKE_MAPPING,
	VIRTGPU_FAKE_MAPPED,
	VIRTGPU_FAKE_UNMAPPING,
};

struct virtgpu_fake_resource {
	u64 size;
	u64 offset;
	u32 blob_mem;
	u32 blob_flags;
	enum virtgpu_fake_map_state map_state;
	/* The test had its creation refused, which the driver cannot know at once. */
	bool refused;
};

struct virtgpu_fake_vq {
	struct virtqueue *vq;
	struct vringh vrh;
	bool ready;
	/* There are answers the driver was not told of. */
	bool answered;
};

/* A command and what it takes to answer it. It stays in the log once it is answered. */
struct virtgpu_fake_req {
	struct virtgpu_fake_cmd cmd;
	struct list_head held_node;
	struct virtgpu_fake_vq *fvq;
	struct virtio_gpu_ctrl_hdr hdr;
	struct vringh_kiov wiov;
	u16 head;
	/* The error the model wants it answered with, 0 if it is fine. */
	u32 verdict;
};

struct virtgpu_fake_script {
	u32 resp;
	unsigned int left;
	bool forever;
	bool hold;
};

union virtgpu_fake_any_cmd {
	struct virtio_gpu_ctrl_hdr hdr;
	struct virtio_gpu_resource_create_blob create_blob;
	struct virtio_gpu_resource_unref resource;
	struct virtio_gpu_resource_map_blob map_blob;
	struct virtio_gpu_set_scanout set_scanout;
	struct virtio_gpu_set_scanout_blob set_scanout_blob;
	struct virtio_gpu_resource_flush flush;
	struct virtio_gpu_transfer_to_host_2d transfer_2d;
	struct virtio_gpu_transfer_host_3d transfer_3d;
	struct virtio_gpu_get_capset_info capset_info;
	struct virtio_gpu_cmd_get_edid edid;
	struct virtio_gpu_update_cursor cursor;
};

union virtgpu_fake_any_resp {
	struct virtio_gpu_ctrl_hdr hdr;
	struct virtio_gpu_resp_display_info display_info;
	struct virtio_gpu_resp_capset_info capset_info;
	struct virtio_gpu_resp_edid edid;
	struct virtio_gpu_resp_resource_uuid uuid;
	struct virtio_gpu_resp_map_info map_info;
	u8 raw[SZ_4K];
};

/*
 * Three parties hold references: the test, the virtio device embedded here, and the DRM device,
 * whose driver goes on to use the virtio device until the last file is closed.
 */
struct virtgpu_fake {
	struct kref ref;
	struct kunit *test;
	struct virtgpu_fake_params params;
	/* as it was: the lock debugging gives up with its first report */
	int debug_locks;

	struct virtio_device vdev;
	struct device *parent;
	struct device_dma_parameters dma_parms;
	struct virtgpu_fake_config config;
	struct virtio_shm_region window;
	u8 status;
	bool registered;
	atomic_t unplugged;
	struct completion vdev_released;
	struct drm_device *drm;
	struct completion drm_released;

	struct workqueue_struct *wq;
	struct work_struct serve_work;
	struct vhost_iotlb *iotlb;
	/* vringh wants one */
	spinlock_t iotlb_lock;

	/* protects the device's side of the queues, the log, the script and the model */
	struct mutex lock;
	struct virtgpu_fake_vq vqs[VIRTGPU_FAKE_NUM_VQS];
	bool muted;
	bool stalled;
	bool answer_at_reset;
	struct virtgpu_fake_script script[VIRTGPU_FAKE_SLOTS];
	struct list_head log;
	struct list_head held;
	struct xarray resources;
	struct xarray contexts;
	union virtgpu_fake_any_resp resp;

	/* written under the lock, waited for without it */
	wait_queue_head_t wait;
	unsigned int seen[VIRTGPU_FAKE_SLOTS];
	unsigned int num_seen;
	unsigned int num_held;
	unsigned int num_answered;

	atomic_t kicks;
	atomic_t irqs;

	/* protects the two below; a kick may come with any lock of the driver held */
	spinlock_t violation_lock;
	unsigned int violations;
	char violation[160];
};

#define vdev_to_fake(v)		container_of(v, struct virtgpu_fake, vdev)

/*
 * A device with everything the blob tests need, to be copied and changed by a test that needs
 * another one.
 */
const struct virtgpu_fake_params virtgpu_fake_defaults = {
	.features = BIT_ULL(VIRTIO_F_VERSION_1) |
		    BIT_ULL(VIRTIO_RING_F_INDIRECT_DESC) |
		    BIT_ULL(VIRTIO_RING_F_EVENT_IDX) |
		    BIT_ULL(VIRTIO_GPU_F_VIRGL) |
		    BIT_ULL(VIRTIO_GPU_F_RESOURCE_BLOB) |
		    BIT_ULL(VIRTIO_GPU_F_CONTEXT_INIT),
	.vq_num = 64,
	.window = SZ_1M,
	.map_info = VIRTIO_GPU_MAP_CACHE_CACHED,
};

static const struct {
	u32 type;
	const char *name;
} virtgpu_fake_names[] = {
	{ VIRTIO_GPU_CMD_GET_DISPLAY_INFO, "GET_DISPLAY_INFO" },
	{ VIRTIO_GPU_CMD_RESOURCE_CREATE_2D, "CREATE_2D" },
	{ VIRTIO_GPU_CMD_RESOURCE_UNREF, "UNREF" },
	{ VIRTIO_GPU_CMD_SET_SCANOUT, "SET_SCANOUT" },
	{ VIRTIO_GPU_CMD_RESOURCE_FLUSH, "FLUSH" },
	{ VIRTIO_GPU_CMD_TRANSFER_TO_HOST_2D, "TRANSFER_TO_HOST_2D" },
	{ VIRTIO_GPU_CMD_RESOURCE_ATTACH_BACKING, "ATTACH_BACKING" },
	{ VIRTIO_GPU_CMD_RESOURCE_DETACH_BACKING, "DETACH_BACKING" },
	{ VIRTIO_GPU_CMD_GET_CAPSET_INFO, "GET_CAPSET_INFO" },
	{ VIRTIO_GPU_CMD_GET_CAPSET, "GET_CAPSET" },
	{ VIRTIO_GPU_CMD_GET_EDID, "GET_EDID" },
	{ VIRTIO_GPU_CMD_RESOURCE_ASSIGN_UUID, "ASSIGN_UUID" },
	{ VIRTIO_GPU_CMD_RESOURCE_CREATE_BLOB, "CREATE_BLOB" },
	{ VIRTIO_GPU_CMD_SET_SCANOUT_BLOB, "SET_SCANOUT_BLOB" },
	{ VIRTIO_GPU_CMD_CTX_CREATE, "CTX_CREATE" },
	{ VIRTIO_GPU_CMD_CTX_DESTROY, "CTX_DESTROY" },
	{ VIRTIO_GPU_CMD_CTX_ATTACH_RESOURCE, "CTX_ATTACH" },
	{ VIRTIO_GPU_CMD_CTX_DETACH_RESOURCE, "CTX_DETACH" },
	{ VIRTIO_GPU_CMD_RESOURCE_CREATE_3D, "CREATE_3D" },
	{ VIRTIO_GPU_CMD_TRANSFER_TO_HOST_3D, "TRANSFER_TO_HOST_3D" },
	{ VIRTIO_GPU_CMD_TRANSFER_FROM_HOST_3D, "TRANSFER_FROM_HOST_3D" },
	{ VIRTIO_GPU_CMD_SUBMIT_3D, "SUBMIT_3D" },
	{ VIRTIO_GPU_CMD_RESOURCE_MAP_BLOB, "MAP_BLOB" },
	{ VIRTIO_GPU_CMD_RESOURCE_UNMAP_BLOB, "UNMAP_BLOB" },
	{ VIRTIO_GPU_CMD_UPDATE_CURSOR, "UPDATE_CURSOR" },
	{ VIRTIO_GPU_CMD_MOVE_CURSOR, "MOVE_CURSOR" },
};

/**
 * virtgpu_fake_cmd_name - short name of a command
 * @type: enum virtio_gpu_ctrl_type
 *
 * Return: the name as in the specification, without what all of them share and without RESOURCE.
 */
const char *virtgpu_fake_cmd_name(u32 type)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(virtgpu_fake_names); i++) {
		if (virtgpu_fake_names[i].type == type)
			return virtgpu_fake_names[i].name;
	}

	return "UNKNOWN";
}

static unsigned int virtgpu_fake_slot(u32 type)
{
	return (type >> 8) % 4 * 32 + type % 32;
}

/*
 * The model
 */

static __printf(2, 3) void virtgpu_fake_blame(struct virtgpu_fake *f, const char *fmt, ...)
{
	unsigned long flags;
	va_list args;

	spin_lock_irqsave(&f->violation_lock, flags);
	if (!f->violations++) {
		va_start(args, fmt);
		vscnprintf(f->violation, sizeof(f->violation), fmt, args);
		va_end(args);
	}
	spin_unlock_irqrestore(&f->violation_lock, flags);
}

static struct virtgpu_fake_resource *
virtgpu_fake_find(struct virtgpu_fake *f, const struct virtgpu_fake_cmd *cmd)
{
	struct virtgpu_fake_resource *res = xa_load(&f->resources, cmd->resource_id);

	if (!res)
		virtgpu_fake_blame(f, "%s of unknown resource %u",
				   virtgpu_fake_cmd_name(cmd->type), cmd->resource_id);
	else if (res->refused)
		return NULL;

	return res;
}

static bool virtgpu_fake_has_context(struct virtgpu_fake *f, const struct virtgpu_fake_cmd *cmd)
{
	if (xa_load(&f->contexts, cmd->ctx_id))
		return true;

	virtgpu_fake_blame(f, "%s in unknown context %u",
			   virtgpu_fake_cmd_name(cmd->type), cmd->ctx_id);
	return false;
}

static bool virtgpu_fake_aligned(struct virtgpu_fake *f, u64 x)
{
	u32 align = f->params.blob_alignment;

	if (!PAGE_ALIGNED(x))
		return false;

	return !align || !__virtio_test_bit(&f->vdev, VIRTIO_GPU_F_BLOB_ALIGNMENT) ||
	       IS_ALIGNED(x, align);
}

static u32 virtgpu_fake_begin_create(struct virtgpu_fake *f, const struct virtgpu_fake_cmd *cmd)
{
	struct virtgpu_fake_resource *res;
	bool blob = cmd->type == VIRTIO_GPU_CMD_RESOURCE_CREATE_BLOB;

	if (!cmd->resource_id || xa_load(&f->resources, cmd->resource_id)) {
		virtgpu_fake_blame(f, "%s of resource %u, which exists",
				   virtgpu_fake_cmd_name(cmd->type), cmd->resource_id);
		return VIRTIO_GPU_RESP_ERR_INVALID_RESOURCE_ID;
	}

	if (blob && cmd->blob_mem != VIRTIO_GPU_BLOB_MEM_GUEST && !virtgpu_fake_has_context(f, cmd))
		return VIRTIO_GPU_RESP_ERR_INVALID_CONTEXT_ID;

	if (blob && (!cmd->size || !virtgpu_fake_aligned(f, cmd->size))) {
		virtgpu_fake_blame(f, "CREATE_BLOB of resource %u with a size of %#llx",
				   cmd->resource_id, cmd->size);
		return VIRTIO_GPU_RESP_ERR_INVALID_PARAMETER;
	}

	res = kzalloc_obj(*res);
	if (!res)
		return VIRTIO_GPU_RESP_ERR_OUT_OF_MEMORY;

	res->size = cmd->size;
	res->blob_mem = cmd->blob_mem;
	res->blob_flags = cmd->blob_flags;
	if (xa_is_err(xa_store(&f->resources, cmd->resource_id, res, GFP_KERNEL))) {
		kfree(res);
		return VIRTIO_GPU_RESP_ERR_OUT_OF_MEMORY;
	}

	return 0;
}

static u32 virtgpu_fake_begin_unref(struct virtgpu_fake *f, const struct virtgpu_fake_cmd *cmd)
{
	struct virtgpu_fake_resource *res = virtgpu_fake_find(f, cmd);

	if (!res) {
		kfree(xa_erase(&f->resources, cmd->resource_id));
		return VIRTIO_GPU_RESP_ERR_INVALID_RESOURCE_ID;
	}

	if (res->map_state == VIRTGPU_FAKE_MAPPING || res->map_state == VIRTGPU_FAKE_MAPPED)
		virtgpu_fake_blame(f, "UNREF of resource %u, which is mapped", cmd->resource_id);

	return 0;
}

static u32 virtgpu_fake_begin_map(struct virtgpu_fake *f, const struct virtgpu_fake_cmd *cmd)
{
	struct virtgpu_fake_resource *res = virtgpu_fake_find(f, cmd), *other;
	unsigned long id;

	if (!res)
		return VIRTIO_GPU_RESP_ERR_INVALID_RESOURCE_ID;

	if (res->blob_mem != VIRTIO_GPU_BLOB_MEM_HOST3D ||
	    !(res->blob_flags & VIRTIO_GPU_BLOB_FLAG_USE_MAPPABLE)) {
		virtgpu_fake_blame(f, "MAP_BLOB of resource %u, which is not mappable",
				   cmd->resource_id);
		return VIRTIO_GPU_RESP_ERR_INVALID_PARAMETER;
	}

	if (res->map_state != VIRTGPU_FAKE_UNMAPPED) {
		virtgpu_fake_blame(f, "MAP_BLOB of resource %u, which is mapped",
				   cmd->resource_id);
		return VIRTIO_GPU_RESP_ERR_INVALID_PARAMETER;
	}

	if (!virtgpu_fake_aligned(f, cmd->offset)) {
		virtgpu_fake_blame(f, "MAP_BLOB of resource %u at %#llx, which is not aligned",
				   cmd->resource_id, cmd->offset);
		return VIRTIO_GPU_RESP_ERR_INVALID_PARAMETER;
	}

	if (cmd->offset >= f->window.len || res->size > f->window.len - cmd->offset) {
		virtgpu_fake_blame(f, "MAP_BLOB of resource %u at %#llx+%#llx, outside the window",
				   cmd->resource_id, cmd->offset, res->size);
		return VIRTIO_GPU_RESP_ERR_INVALID_PARAMETER;
	}

	xa_for_each(&f->resources, id, other) {
		if (other->map_state == VIRTGPU_FAKE_UNMAPPED ||
		    cmd->offset >= other->offset + other->size ||
		    other->offset >= cmd->offset + res->size)
			continue;

		virtgpu_fake_blame(f, "MAP_BLOB of resource %u at %#llx+%#llx, where %lu is mapped",
				   cmd->resource_id, cmd->offset, res->size, id);
		return VIRTIO_GPU_RESP_ERR_INVALID_PARAMETER;
	}

	res->offset = cmd->offset;
	res->map_state = VIRTGPU_FAKE_MAPPING;

	return 0;
}

static u32 virtgpu_fake_begin_unmap(struct virtgpu_fake *f, const struct virtgpu_fake_cmd *cmd)
{
	struct virtgpu_fake_resource *res = virtgpu_fake_find(f, cmd);

	if (!res)
		return VIRTIO_GPU_RESP_ERR_INVALID_RESOURCE_ID;

	if (res->map_state != VIRTGPU_FAKE_MAPPED) {
		virtgpu_fake_blame(f, "UNMAP_BLOB of resource %u, which is not mapped",
				   cmd->resource_id);
		return VIRTIO_GPU_RESP_ERR_INVALID_PARAMETER;
	}

	res->map_state = VIRTGPU_FAKE_UNMAPPING;

	return 0;
}

static u32 virtgpu_fake_begin_ctx_create(struct virtgpu_fake *f, const struct virtgpu_fake_cmd *cmd)
{
	if (!cmd->ctx_id || xa_load(&f->contexts, cmd->ctx_id)) {
		virtgpu_fake_blame(f, "CTX_CREATE of context %u, which exists", cmd->ctx_id);
		return VIRTIO_GPU_RESP_ERR_INVALID_CONTEXT_ID;
	}

	if (xa_is_err(xa_store(&f->contexts, cmd->ctx_id, xa_mk_value(1), GFP_KERNEL)))
		return VIRTIO_GPU_RESP_ERR_OUT_OF_MEMORY;

	return 0;
}

/* A command is taken: is it one the device may be sent now? */
static u32 virtgpu_fake_begin(struct virtgpu_fake *f, const struct virtgpu_fake_cmd *cmd)
{
	switch (cmd->type) {
	case VIRTIO_GPU_CMD_RESOURCE_CREATE_2D:
	case VIRTIO_GPU_CMD_RESOURCE_CREATE_3D:
	case VIRTIO_GPU_CMD_RESOURCE_CREATE_BLOB:
		return virtgpu_fake_begin_create(f, cmd);
	case VIRTIO_GPU_CMD_RESOURCE_UNREF:
		return virtgpu_fake_begin_unref(f, cmd);
	case VIRTIO_GPU_CMD_RESOURCE_MAP_BLOB:
		return virtgpu_fake_begin_map(f, cmd);
	case VIRTIO_GPU_CMD_RESOURCE_UNMAP_BLOB:
		return virtgpu_fake_begin_unmap(f, cmd);
	case VIRTIO_GPU_CMD_CTX_CREATE:
		return virtgpu_fake_begin_ctx_create(f, cmd);
	case VIRTIO_GPU_CMD_CTX_ATTACH_RESOURCE:
	case VIRTIO_GPU_CMD_CTX_DETACH_RESOURCE:
		if (!virtgpu_fake_find(f, cmd))
			return VIRTIO_GPU_RESP_ERR_INVALID_RESOURCE_ID;
		fallthrough;
	case VIRTIO_GPU_CMD_CTX_DESTROY:
	case VIRTIO_GPU_CMD_SUBMIT_3D:
		if (!virtgpu_fake_has_context(f, cmd))
			return VIRTIO_GPU_RESP_ERR_INVALID_CONTEXT_ID;
		return 0;
	case VIRTIO_GPU_CMD_RESOURCE_ATTACH_BACKING:
	case VIRTIO_GPU_CMD_RESOURCE_DETACH_BACKING:
	case VIRTIO_GPU_CMD_RESOURCE_ASSIGN_UUID:
	case VIRTIO_GPU_CMD_RESOURCE_FLUSH:
	case VIRTIO_GPU_CMD_TRANSFER_TO_HOST_2D:
	case VIRTIO_GPU_CMD_TRANSFER_TO_HOST_3D:
	case VIRTIO_GPU_CMD_TRANSFER_FROM_HOST_3D:
		return virtgpu_fake_find(f, cmd) ? 0 : VIRTIO_GPU_RESP_ERR_INVALID_RESOURCE_ID;
	case VIRTIO_GPU_CMD_SET_SCANOUT:
	case VIRTIO_GPU_CMD_SET_SCANOUT_BLOB:
	case VIRTIO_GPU_CMD_UPDATE_CURSOR:
		if (cmd->resource_id && !virtgpu_fake_find(f, cmd))
			return VIRTIO_GPU_RESP_ERR_INVALID_RESOURCE_ID;
		return 0;
	case VIRTIO_GPU_CMD_MOVE_CURSOR:
	case VIRTIO_GPU_CMD_GET_DISPLAY_INFO:
	case VIRTIO_GPU_CMD_GET_CAPSET_INFO:
	case VIRTIO_GPU_CMD_GET_CAPSET:
	case VIRTIO_GPU_CMD_GET_EDID:
		return 0;
	default:
		virtgpu_fake_blame(f, "unknown command %#x", cmd->type);
		return VIRTIO_GPU_RESP_ERR_UNSPEC;
	}
}

/* A command that virtgpu_fake_begin() let pass is answered, @ok telling how. */
static void virtgpu_fake_finish(struct virtgpu_fake *f, const struct virtgpu_fake_cmd *cmd, bool ok)
{
	struct virtgpu_fake_resource *res = xa_load(&f->resources, cmd->resource_id);

	switch (cmd->type) {
	case VIRTIO_GPU_CMD_RESOURCE_CREATE_2D:
	case VIRTIO_GPU_CMD_RESOURCE_CREATE_3D:
	case VIRTIO_GPU_CMD_RESOURCE_CREATE_BLOB:
		if (res && !ok)
			res->refused = true;
		break;
	case VIRTIO_GPU_CMD_RESOURCE_UNREF:
		if (ok)
			kfree(xa_erase(&f->resources, cmd->resource_id));
		break;
	case VIRTIO_GPU_CMD_RESOURCE_MAP_BLOB:
		if (res)
			res->map_state = ok ? VIRTGPU_FAKE_MAPPED : VIRTGPU_FAKE_UNMAPPED;
		break;
	case VIRTIO_GPU_CMD_RESOURCE_UNMAP_BLOB:
		if (res)
			res->map_state = ok ? VIRTGPU_FAKE_UNMAPPED : VIRTGPU_FAKE_MAPPED;
		break;
	case VIRTIO_GPU_CMD_CTX_DESTROY:
		if (ok)
			xa_erase(&f->contexts, cmd->ctx_id);
		break;
	}
}

static void virtgpu_fake_forget(struct virtgpu_fake *f)
{
	struct virtgpu_fake_resource *res;
	unsigned long id;

	xa_for_each(&f->resources, id, res)
		kfree(res);
	xa_destroy(&f->resources);
	xa_destroy(&f->contexts);
}

/*
 * The device's side of the queues
 */

static u32 virtgpu_fake_ok(u32 type)
{
	switch (type) {
	case VIRTIO_GPU_CMD_GET_DISPLAY_INFO:
		return VIRTIO_GPU_RESP_OK_DISPLAY_INFO;
	case VIRTIO_GPU_CMD_GET_CAPSET_INFO:
		return VIRTIO_GPU_RESP_OK_CAPSET_INFO;
	case VIRTIO_GPU_CMD_GET_CAPSET:
		return VIRTIO_GPU_RESP_OK_CAPSET;
	case VIRTIO_GPU_CMD_GET_EDID:
		return VIRTIO_GPU_RESP_OK_EDID;
	case VIRTIO_GPU_CMD_RESOURCE_ASSIGN_UUID:
		return VIRTIO_GPU_RESP_OK_RESOURCE_UUID;
	case VIRTIO_GPU_CMD_RESOURCE_MAP_BLOB:
		return VIRTIO_GPU_RESP_OK_MAP_INFO;
	default:
		return VIRTIO_GPU_RESP_OK_NODATA;
	}
}

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

/* Fill in what follows the header in an answer that says OK. */
static size_t virtgpu_fake_fill(struct virtgpu_fake *f, const struct virtgpu_fake_cmd *cmd)
{
	union virtgpu_fake_any_resp *resp = &f->resp;
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
		return min_t(size_t, cmd->resp_room, sizeof(*resp));
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

static void virtgpu_fake_answer(struct virtgpu_fake *f, struct virtgpu_fake_req *req, u32 resp)
{
	struct virtgpu_fake_cmd *cmd = &req->cmd;
	u32 ok = virtgpu_fake_ok(cmd->type);
	size_t len = sizeof(f->resp.hdr);
	ssize_t pushed = 0;

	if (!resp)
		resp = req->verdict ?: ok;
	cmd->resp = resp;
	if (!req->verdict)
		virtgpu_fake_finish(f, cmd, resp == ok);

	if (cmd->resp_room) {
		memset(&f->resp, 0, sizeof(f->resp));
		f->resp.hdr.type = cpu_to_le32(resp);
		f->resp.hdr.flags = req->hdr.flags;
		f->resp.hdr.fence_id = req->hdr.fence_id;
		f->resp.hdr.ctx_id = req->hdr.ctx_id;
		f->resp.hdr.ring_idx = req->hdr.ring_idx;
		if (resp == ok)
			len = virtgpu_fake_fill(f, cmd);
		if (len > cmd->resp_room)
			virtgpu_fake_blame(f, "%s with room for %u bytes only",
					   virtgpu_fake_cmd_name(cmd->type), cmd->resp_room);
		pushed = vringh_iov_push_iotlb(&req->fvq->vrh, &req->wiov, &f->resp,
					       min_t(size_t, len, cmd->resp_room));
	}

	vringh_complete_iotlb(&req->fvq->vrh, req->head, max_t(ssize_t, pushed, 0));
	vringh_kiov_cleanup(&req->wiov);
	req->fvq->answered = true;
	WRITE_ONCE(f->num_answered, f->num_answered + 1);
}

static void virtgpu_fake_interrupt(struct virtgpu_fake *f, struct virtgpu_fake_vq *fvq)
{
	if (!fvq->ready || !fvq->answered || f->muted)
		return;

	fvq->answered = false;
	if (vringh_need_notify_iotlb(&fvq->vrh) > 0) {
		atomic_inc(&f->irqs);
		vring_interrupt(0, fvq->vq);
	}
}

static void virtgpu_fake_parse(struct virtgpu_fake_cmd *cmd, const union virtgpu_fake_any_cmd *raw)
{
	cmd->type = le32_to_cpu(raw->hdr.type);
	cmd->flags = le32_to_cpu(raw->hdr.flags);
	cmd->fence_id = le64_to_cpu(raw->hdr.fence_id);
	cmd->ctx_id = le32_to_cpu(raw->hdr.ctx_id);

	switch (cmd->type) {
	case VIRTIO_GPU_CMD_GET_DISPLAY_INFO:
	case VIRTIO_GPU_CMD_GET_CAPSET:
	case VIRTIO_GPU_CMD_CTX_CREATE:
	case VIRTIO_GPU_CMD_CTX_DESTROY:
	case VIRTIO_GPU_CMD_SUBMIT_3D:
	case VIRTIO_GPU_CMD_MOVE_CURSOR:
		break;
	case VIRTIO_GPU_CMD_GET_CAPSET_INFO:
		cmd->index = le32_to_cpu(raw->capset_info.capset_index);
		break;
	case VIRTIO_GPU_CMD_GET_EDID:
		cmd->index = le32_to_cpu(raw->edid.scanout);
		break;
	case VIRTIO_GPU_CMD_SET_SCANOUT:
		cmd->resource_id = le32_to_cpu(raw->set_scanout.resource_id);
		break;
	case VIRTIO_GPU_CMD_SET_SCANOUT_BLOB:
		cmd->resource_id = le32_to_cpu(raw->set_scanout_blob.resource_id);
		break;
	case VIRTIO_GPU_CMD_RESOURCE_FLUSH:
		cmd->resource_id = le32_to_cpu(raw->flush.resource_id);
		break;
	case VIRTIO_GPU_CMD_TRANSFER_TO_HOST_2D:
		cmd->resource_id = le32_to_cpu(raw->transfer_2d.resource_id);
		break;
	case VIRTIO_GPU_CMD_TRANSFER_TO_HOST_3D:
	case VIRTIO_GPU_CMD_TRANSFER_FROM_HOST_3D:
		cmd->resource_id = le32_to_cpu(raw->transfer_3d.resource_id);
		break;
	case VIRTIO_GPU_CMD_UPDATE_CURSOR:
		cmd->resource_id = le32_to_cpu(raw->cursor.resource_id);
		break;
	case VIRTIO_GPU_CMD_RESOURCE_CREATE_BLOB:
		cmd->resource_id = le32_to_cpu(raw->create_blob.resource_id);
		cmd->size = le64_to_cpu(raw->create_blob.size);
		cmd->blob_id = le64_to_cpu(raw->create_blob.blob_id);
		cmd->blob_mem = le32_to_cpu(raw->create_blob.blob_mem);
		cmd->blob_flags = le32_to_cpu(raw->create_blob.blob_flags);
		break;
	case VIRTIO_GPU_CMD_RESOURCE_MAP_BLOB:
		cmd->resource_id = le32_to_cpu(raw->map_blob.resource_id);
		cmd->offset = le64_to_cpu(raw->map_blob.offset);
		break;
	default:
		cmd->resource_id = le32_to_cpu(raw->resource.resource_id);
		break;
	}
}

static u32 virtgpu_fake_scripted(struct virtgpu_fake_script *script)
{
	if (script->forever)
		return script->resp;
	if (!script->left)
		return 0;

	script->left--;
	return script->resp;
}

static bool virtgpu_fake_is_indirect(struct virtgpu_fake_vq *fvq, u16 head)
{
	const struct vring *vring = virtqueue_get_vring(fvq->vq);

	return virtio16_to_cpu(fvq->vq->vdev, vring->desc[head].flags) & VRING_DESC_F_INDIRECT;
}

/* Take one command from the queue. Returns 1, 0 if there is none, or an error. */
static int virtgpu_fake_take(struct virtgpu_fake *f, struct virtgpu_fake_vq *fvq)
{
	union virtgpu_fake_any_cmd raw = {};
	struct virtgpu_fake_script *script;
	struct virtgpu_fake_req *req;
	struct virtgpu_fake_cmd *cmd;
	struct vringh_kiov riov;
	unsigned int slot;
	ssize_t len;
	int ret;

	req = kzalloc_obj(*req);
	if (!req) {
		virtgpu_fake_blame(f, "no memory for the log");
		return -ENOMEM;
	}

	vringh_kiov_init(&riov, NULL, 0);
	vringh_kiov_init(&req->wiov, NULL, 0);
	ret = vringh_getdesc_iotlb(&fvq->vrh, &riov, &req->wiov, &req->head, GFP_KERNEL);
	if (ret <= 0) {
		if (ret)
			virtgpu_fake_blame(f, "%s queue: bad descriptor (%d)", fvq->vq->name, ret);
		vringh_kiov_cleanup(&riov);
		vringh_kiov_cleanup(&req->wiov);
		kfree(req);
		return ret;
	}

	cmd = &req->cmd;
	cmd->len = vringh_kiov_length(&riov);
	cmd->resp_room = vringh_kiov_length(&req->wiov);
	cmd->indirect = virtgpu_fake_is_indirect(fvq, req->head);
	len = vringh_iov_pull_iotlb(&fvq->vrh, &riov, &raw, min_t(size_t, cmd->len, sizeof(raw)));
	vringh_kiov_cleanup(&riov);
	if (len < (ssize_t)sizeof(raw.hdr))
		virtgpu_fake_blame(f, "%s queue: short command (%zd)", fvq->vq->name, len);

	virtgpu_fake_parse(cmd, &raw);
	req->hdr = raw.hdr;
	req->fvq = fvq;
	req->verdict = virtgpu_fake_begin(f, cmd);

	cmd->seq = f->num_seen;
	list_add_tail(&cmd->node, &f->log);
	slot = virtgpu_fake_slot(cmd->type);
	script = &f->script[slot];
	if (script->hold) {
		list_add_tail(&req->held_node, &f->held);
		WRITE_ONCE(f->num_held, f->num_held + 1);
	} else {
		virtgpu_fake_answer(f, req, virtgpu_fake_scripted(script));
	}

	WRITE_ONCE(f->num_seen, f->num_seen + 1);
	WRITE_ONCE(f->seen[slot], f->seen[slot] + 1);
	wake_up_all(&f->wait);

	return 1;
}

/*
 * Ask for a kick when more arrives. Not every kernel's vringh does that for an iotlb ring.
 * Returns whether more has arrived already.
 */
static bool virtgpu_fake_rearm(struct virtgpu_fake *f, struct virtgpu_fake_vq *fvq)
{
	const struct vring *vring = virtqueue_get_vring(fvq->vq);
	u16 next = fvq->vrh.last_avail_idx;

	if (!fvq->vrh.event_indices)
		return false;

	WRITE_ONCE(vring_avail_event(vring), cpu_to_virtio16(&f->vdev, next));
	virtio_mb(true);

	return virtio16_to_cpu(&f->vdev, READ_ONCE(vring->avail->idx)) != next;
}

static void virtgpu_fake_serve(struct work_struct *work)
{
	struct virtgpu_fake *f = container_of(work, struct virtgpu_fake, serve_work);
	unsigned int i;

	mutex_lock(&f->lock);
	for (i = 0; i < VIRTGPU_FAKE_NUM_VQS; i++) {
		struct virtgpu_fake_vq *fvq = &f->vqs[i];

		while (fvq->ready && !f->stalled) {
			int ret = virtgpu_fake_take(f, fvq);

			if (ret < 0 || (!ret && !virtgpu_fake_rearm(f, fvq)))
				break;
		}
		virtgpu_fake_interrupt(f, fvq);
	}
	mutex_unlock(&f->lock);
}

static bool virtgpu_fake_notify(struct virtqueue *vq)
{
	struct virtgpu_fake *f = vdev_to_fake(vq->vdev);

	atomic_inc(&f->kicks);
	if (!(READ_ONCE(f->status) & VIRTIO_CONFIG_S_DRIVER_OK)) {
		virtgpu_fake_blame(f, "%s queue kicked while the driver is not ready", vq->name);
		return true;
	}

	queue_work(f->wq, &f->serve_work);
	return true;
}

/*
 * The transport
 */

static void virtgpu_fake_get(struct virtio_device *vdev, unsigned int offset, void *buf,
			     unsigned int len)
{
	memcpy(buf, (u8 *)&vdev_to_fake(vdev)->config + offset, len);
}

static void virtgpu_fake_set(struct virtio_device *vdev, unsigned int offset, const void *buf,
			     unsigned int len)
{
	struct virtgpu_fake *f = vdev_to_fake(vdev);
	__le32 clear;

	if (offset != offsetof(struct virtgpu_fake_config, events_clear) || len != sizeof(clear)) {
		virtgpu_fake_blame(f, "write to the config space at %u+%u", offset, len);
		return;
	}

	memcpy(&clear, buf, sizeof(clear));
	f->config.events_read &= ~clear;
}

static u8 virtgpu_fake_get_status(struct virtio_device *vdev)
{
	return vdev_to_fake(vdev)->status;
}

static void virtgpu_fake_set_status(struct virtio_device *vdev, u8 status)
{
	WRITE_ONCE(vdev_to_fake(vdev)->status, status);
}

static void virtgpu_fake_stop(struct virtgpu_fake *f)
{
	struct virtgpu_fake_req *req, *tmp;
	unsigned int i;

	mutex_lock(&f->lock);
	for (i = 0; i < VIRTGPU_FAKE_NUM_VQS; i++) {
		f->vqs[i].ready = false;
		f->vqs[i].answered = false;
	}
	list_for_each_entry_safe(req, tmp, &f->held, held_node) {
		list_del(&req->held_node);
		vringh_kiov_cleanup(&req->wiov);
	}
	WRITE_ONCE(f->num_held, 0);
	virtgpu_fake_forget(f);
	mutex_unlock(&f->lock);
}

static void virtgpu_fake_reset(struct virtio_device *vdev)
{
	struct virtgpu_fake *f = vdev_to_fake(vdev);

	if (f->answer_at_reset)
		virtgpu_fake_release_all(f, 0);
	WRITE_ONCE(f->status, 0);
	virtgpu_fake_stop(f);
}

/* A driver that is still at work on its queues would crash; let it fail instead. */
static void virtgpu_fake_expect_idle(struct virtgpu_fake *f)
{
	struct virtio_gpu_device *vgdev = virtgpu_fake_vgdev(f);

	if (!vgdev)
		return;

	if (work_busy(&vgdev->ctrlq.dequeue_work) || work_busy(&vgdev->cursorq.dequeue_work) ||
	    work_busy(&vgdev->obj_free_work))
		virtgpu_fake_blame(f, "virtqueues deleted while answers are dealt with");
	flush_work(&vgdev->ctrlq.dequeue_work);
	flush_work(&vgdev->cursorq.dequeue_work);
	flush_work(&vgdev->obj_free_work);
}

static void virtgpu_fake_del_vqs(struct virtio_device *vdev)
{
	struct virtgpu_fake *f = vdev_to_fake(vdev);
	unsigned int i;

	virtgpu_fake_stop(f);
	virtgpu_fake_expect_idle(f);
	for (i = 0; i < VIRTGPU_FAKE_NUM_VQS; i++) {
		if (f->vqs[i].vq)
			vring_del_virtqueue(f->vqs[i].vq);
		f->vqs[i].vq = NULL;
	}
}

static int virtgpu_fake_setup_vq(struct virtgpu_fake *f, unsigned int index,
				 const struct virtqueue_info *info)
{
	struct virtgpu_fake_vq *fvq = &f->vqs[index];
	int ret;

	fvq->vq = vring_create_virtqueue(index, f->params.vq_num, PAGE_SIZE, &f->vdev, true, false,
					 info->ctx, virtgpu_fake_notify, info->callback,
					 info->name);
	if (!fvq->vq)
		return -ENOMEM;

	fvq->vq->num_max = f->params.vq_num;
	memset(&fvq->vrh, 0, sizeof(fvq->vrh));
	ret = vringh_init_iotlb(&fvq->vrh, f->vdev.features, f->params.vq_num, true,
				(struct vring_desc *)(uintptr_t)virtqueue_get_desc_addr(fvq->vq),
				(struct vring_avail *)(uintptr_t)virtqueue_get_avail_addr(fvq->vq),
				(struct vring_used *)(uintptr_t)virtqueue_get_used_addr(fvq->vq));
	if (ret)
		return ret;

	vringh_set_iotlb(&fvq->vrh, f->iotlb, &f->iotlb_lock);

	mutex_lock(&f->lock);
	fvq->ready = true;
	mutex_unlock(&f->lock);

	return 0;
}

static int virtgpu_fake_find_vqs(struct virtio_device *vdev, unsigned int nvqs,
				 struct virtqueue *vqs[], struct virtqueue_info vqs_info[],
				 struct irq_affinity *desc)
{
	struct virtgpu_fake *f = vdev_to_fake(vdev);
	unsigned int i;
	int ret;

	if (nvqs > VIRTGPU_FAKE_NUM_VQS)
		return -ENOENT;

	for (i = 0; i < nvqs; i++) {
		ret = virtgpu_fake_setup_vq(f, i, &vqs_info[i]);
		if (ret) {
			virtgpu_fake_del_vqs(vdev);
			return ret;
		}
		vqs[i] = f->vqs[i].vq;
	}

	return 0;
}

static void virtgpu_fake_synchronize_cbs(struct virtio_device *vdev)
{
	flush_workqueue(vdev_to_fake(vdev)->wq);
}

static u64 virtgpu_fake_get_features(struct virtio_device *vdev)
{
	return vdev_to_fake(vdev)->params.features;
}

static int virtgpu_fake_finalize_features(struct virtio_device *vdev)
{
	vring_transport_features(vdev);

	return 0;
}

static const char *virtgpu_fake_bus_name(struct virtio_device *vdev)
{
	return dev_name(vdev_to_fake(vdev)->parent);
}

static bool virtgpu_fake_get_shm_region(struct virtio_device *vdev,
					struct virtio_shm_region *region, u8 id)
{
	struct virtgpu_fake *f = vdev_to_fake(vdev);

	if (id != VIRTIO_GPU_SHM_ID_HOST_VISIBLE || !f->window.len)
		return false;

	*region = f->window;
	return true;
}

static const struct virtio_config_ops virtgpu_fake_config_ops = {
	.get = virtgpu_fake_get,
	.set = virtgpu_fake_set,
	.get_status = virtgpu_fake_get_status,
	.set_status = virtgpu_fake_set_status,
	.reset = virtgpu_fake_reset,
	.find_vqs = virtgpu_fake_find_vqs,
	.del_vqs = virtgpu_fake_del_vqs,
	.synchronize_cbs = virtgpu_fake_synchronize_cbs,
	.get_features = virtgpu_fake_get_features,
	.finalize_features = virtgpu_fake_finalize_features,
	.bus_name = virtgpu_fake_bus_name,
	.get_shm_region = virtgpu_fake_get_shm_region,
};

/*
 * The device's life
 */

static void virtgpu_fake_free(struct kref *ref)
{
	struct virtgpu_fake *f = container_of(ref, struct virtgpu_fake, ref);
	struct virtgpu_fake_req *req, *tmp;

	if (f->wq)
		destroy_workqueue(f->wq);
	if (f->iotlb)
		vhost_iotlb_free(f->iotlb);
	list_for_each_entry_safe(req, tmp, &f->log, cmd.node)
		kfree(req);
	virtgpu_fake_forget(f);
	if (f->parent) {
		f->parent->dma_parms = NULL;
		put_device(f->parent);
	}
	mutex_destroy(&f->lock);
	kfree(f);
}

static void virtgpu_fake_vdev_release(struct device *dev)
{
	struct virtgpu_fake *f = vdev_to_fake(dev_to_virtio(dev));

	complete_all(&f->vdev_released);
	kref_put(&f->ref, virtgpu_fake_free);
}

static void virtgpu_fake_drm_release(struct drm_device *drm, void *data)
{
	struct virtgpu_fake *f = data;

	WRITE_ONCE(f->drm, NULL);
	complete_all(&f->drm_released);
	kref_put(&f->ref, virtgpu_fake_free);
}

/* The last file, and with it the DRM device, may be closed by a worker. */
static bool virtgpu_fake_wait_drm_released(struct virtgpu_fake *f)
{
	unsigned long end = jiffies + VIRTGPU_FAKE_TIMEOUT;

	do {
		flush_delayed_fput();
		if (wait_for_completion_timeout(&f->drm_released, 1))
			return true;
	} while (time_before(jiffies, end));

	return false;
}

static void virtgpu_fake_cleanup(void *data)
{
	struct virtgpu_fake *f = data;
	struct kunit *test = f->test;

	virtgpu_fake_relent(f);
	if (f->registered) {
		KUNIT_EXPECT_TRUE_MSG(test, virtgpu_fake_unplug(f),
				      "the device cannot be unplugged");
		KUNIT_EXPECT_TRUE_MSG(test, virtgpu_fake_wait_drm_released(f),
				      "somebody holds on to the DRM device");
	}
	KUNIT_EXPECT_EQ_MSG(test, debug_locks, f->debug_locks, "see the kernel's log");
	KUNIT_EXPECT_EQ_MSG(test, virtgpu_fake_violations(f), 0, "the first one: %s",
			    virtgpu_fake_violation(f));
	kref_put(&f->ref, virtgpu_fake_free);
}

/* Find room for the window and leave it to the driver to claim it. */
static void virtgpu_fake_place_window(struct virtgpu_fake *f)
{
	struct resource res = { .name = "virtgpu_fake", .flags = IORESOURCE_MEM };
	int ret;

	ret = allocate_resource(&iomem_resource, &res, f->params.window_skew + f->params.window,
				SZ_8G, ~0ULL, SZ_2M, NULL, NULL);
	KUNIT_ASSERT_EQ(f->test, ret, 0);
	f->window.addr = res.start + f->params.window_skew;
	f->window.len = f->params.window;
	release_resource(&res);
}

/**
 * virtgpu_fake_create - plug in a device and let the driver probe it
 * @test: the test, which fails here if the driver does not bind
 * @p: what kind of device
 *
 * The device is unplugged at the end of the test if it is not before. That the driver violated no
 * rule of the device is then asserted.
 *
 * Return: the device.
 */
struct virtgpu_fake *virtgpu_fake_create(struct kunit *test, const struct virtgpu_fake_params *p)
{
	static atomic_t serial = ATOMIC_INIT(0);
	struct virtgpu_fake *f;
	struct drm_device *drm;
	struct device *parent;
	char name[32];
	bool bound;
	int ret;

	scnprintf(name, sizeof(name), "virtgpu-fake%d", atomic_inc_return(&serial));
	parent = kunit_device_register(test, name);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, parent);

	f = kzalloc_obj(*f);
	KUNIT_ASSERT_NOT_NULL(test, f);
	kref_init(&f->ref);
	f->test = test;
	f->debug_locks = debug_locks;
	f->params = *p;
	f->config.num_scanouts = cpu_to_le32(p->num_scanouts);
	f->config.num_capsets = cpu_to_le32(p->num_capsets);
	f->config.blob_alignment = cpu_to_le32(p->blob_alignment);
	init_completion(&f->vdev_released);
	init_completion(&f->drm_released);
	INIT_WORK(&f->serve_work, virtgpu_fake_serve);
	spin_lock_init(&f->iotlb_lock);
	mutex_init(&f->lock);
	INIT_LIST_HEAD(&f->log);
	INIT_LIST_HEAD(&f->held);
	xa_init(&f->resources);
	xa_init(&f->contexts);
	init_waitqueue_head(&f->wait);
	spin_lock_init(&f->violation_lock);
	ret = kunit_add_action_or_reset(test, virtgpu_fake_cleanup, f);
	KUNIT_ASSERT_EQ(test, ret, 0);

	f->parent = get_device(parent);
	f->parent->dma_parms = &f->dma_parms;
	KUNIT_ASSERT_EQ(test, dma_set_mask_and_coherent(f->parent, DMA_BIT_MASK(64)), 0);

	f->wq = alloc_ordered_workqueue("%s", 0, name);
	KUNIT_ASSERT_NOT_NULL(test, f->wq);
	f->iotlb = vhost_iotlb_alloc(2, 0);
	KUNIT_ASSERT_NOT_NULL(test, f->iotlb);
	ret = vhost_iotlb_add_range(f->iotlb, 0, U64_MAX, 0, VHOST_MAP_RW);
	KUNIT_ASSERT_EQ(test, ret, 0);
	if (p->window)
		virtgpu_fake_place_window(f);

	f->vdev.id.device = VIRTIO_ID_GPU;
	f->vdev.config = &virtgpu_fake_config_ops;
	f->vdev.dev.parent = f->parent;
	f->vdev.dev.release = virtgpu_fake_vdev_release;
	kref_get(&f->ref);
	ret = register_virtio_device(&f->vdev);
	if (ret)
		put_device(&f->vdev.dev);
	KUNIT_ASSERT_EQ(test, ret, 0);

	device_lock(&f->vdev.dev);
	bound = device_is_bound(&f->vdev.dev);
	device_unlock(&f->vdev.dev);
	if (!bound)
		virtgpu_fake_unplug(f);
	KUNIT_ASSERT_TRUE_MSG(test, bound, "the driver did not bind");

	drm = f->vdev.priv;
	f->drm = drm;
	f->registered = true;
	kref_get(&f->ref);
	KUNIT_ASSERT_EQ(test, drmm_add_action_or_reset(drm, virtgpu_fake_drm_release, f), 0);

	return f;
}

/**
 * virtgpu_fake_unplug - take the device away
 * @f: the device
 *
 * May be called by any thread, while others wait in the driver, and again.
 *
 * Return: whether the virtio device is gone. If it is not after VIRTGPU_FAKE_TIMEOUT then somebody
 * holds on to it, or another caller is stuck in the driver.
 */
bool virtgpu_fake_unplug(struct virtgpu_fake *f)
{
	if (!atomic_xchg(&f->unplugged, 1))
		unregister_virtio_device(&f->vdev);

	return wait_for_completion_timeout(&f->vdev_released, VIRTGPU_FAKE_TIMEOUT);
}

static unsigned int virtgpu_fake_progress(struct virtgpu_fake *f)
{
	return READ_ONCE(f->num_seen) + READ_ONCE(f->num_answered) + atomic_read(&f->kicks) +
	       atomic_read(&f->irqs);
}

/**
 * virtgpu_fake_settle - wait until neither device nor driver has anything left to do
 * @f: the device
 *
 * Freeing a blob takes several rounds: an answer lets the driver drop a reference, which makes it
 * send the next command.
 */
void virtgpu_fake_settle(struct virtgpu_fake *f)
{
	unsigned long end = jiffies + VIRTGPU_FAKE_TIMEOUT;
	unsigned int before;

	do {
		before = virtgpu_fake_progress(f);
		flush_delayed_fput();
		flush_workqueue(f->wq);
		if (!atomic_read(&f->unplugged)) {
			struct virtio_gpu_device *vgdev = virtgpu_fake_vgdev(f);

			flush_work(&vgdev->ctrlq.dequeue_work);
			flush_work(&vgdev->cursorq.dequeue_work);
			flush_work(&vgdev->obj_free_work);
		}
		if (time_after(jiffies, end)) {
			KUNIT_FAIL(f->test, "device and driver keep each other busy");
			break;
		}
	} while (virtgpu_fake_progress(f) != before);
}

/**
 * virtgpu_fake_relent - undo all that was scripted and answer all that is held
 * @f: the device
 *
 * What waits for the device is thereby set free.
 */
void virtgpu_fake_relent(struct virtgpu_fake *f)
{
	mutex_lock(&f->lock);
	memset(f->script, 0, sizeof(f->script));
	mutex_unlock(&f->lock);

	virtgpu_fake_release_all(f, 0);
	virtgpu_fake_mute(f, false);
	virtgpu_fake_stall(f, false);
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
 * virtgpu_fake_drm - the DRM device the driver made
 * @f: the device
 *
 * Return: the DRM device, NULL once it is freed.
 */
struct drm_device *virtgpu_fake_drm(struct virtgpu_fake *f)
{
	return READ_ONCE(f->drm);
}

/**
 * virtgpu_fake_vgdev - the driver's own structure
 * @f: the device
 *
 * Return: the structure, NULL once the DRM device is freed.
 */
struct virtio_gpu_device *virtgpu_fake_vgdev(struct virtgpu_fake *f)
{
	struct drm_device *drm = virtgpu_fake_drm(f);

	return drm ? drm->dev_private : NULL;
}

/**
 * virtgpu_fake_features - what was negotiated
 * @f: the device
 *
 * Return: the feature bits the driver accepted.
 */
u64 virtgpu_fake_features(struct virtgpu_fake *f)
{
	return f->vdev.features;
}

/**
 * virtgpu_fake_window - where the host-visible window is
 * @f: the device
 *
 * Return: the window, of length 0 if there is none.
 */
const struct virtio_shm_region *virtgpu_fake_window(struct virtgpu_fake *f)
{
	return &f->window;
}

/*
 * What the device has seen
 */

/**
 * virtgpu_fake_mark - remember this place in the log
 * @f: the device
 *
 * Return: how many commands there are in the log.
 */
unsigned int virtgpu_fake_mark(struct virtgpu_fake *f)
{
	return READ_ONCE(f->num_seen);
}

/**
 * virtgpu_fake_cmds - the commands since a mark, for KUNIT_EXPECT_STREQ()
 * @f: the device
 * @mark: what virtgpu_fake_mark() returned
 *
 * Return: their names, as virtgpu_fake_cmd_name() has them, with a space in between. Freed at the
 * end of the test.
 */
const char *virtgpu_fake_cmds(struct virtgpu_fake *f, unsigned int mark)
{
	struct virtgpu_fake_cmd *cmd;
	size_t size = 1, len = 0;
	char *buf;

	mutex_lock(&f->lock);
	list_for_each_entry(cmd, &f->log, node) {
		if (cmd->seq >= mark)
			size += strlen(virtgpu_fake_cmd_name(cmd->type)) + 1;
	}
	buf = kunit_kzalloc(f->test, size, GFP_KERNEL);
	list_for_each_entry(cmd, &f->log, node) {
		if (buf && cmd->seq >= mark)
			len += scnprintf(buf + len, size - len, "%s%s", len ? " " : "",
					 virtgpu_fake_cmd_name(cmd->type));
	}
	mutex_unlock(&f->lock);

	return buf ?: "no memory";
}

/**
 * virtgpu_fake_count - how many commands of a type the device has taken
 * @f: the device
 * @type: enum virtio_gpu_ctrl_type
 *
 * Return: the number of commands.
 */
unsigned int virtgpu_fake_count(struct virtgpu_fake *f, u32 type)
{
	return READ_ONCE(f->seen[virtgpu_fake_slot(type)]);
}

/**
 * virtgpu_fake_nth - a command from the log
 * @f: the device
 * @type: enum virtio_gpu_ctrl_type
 * @n: which command of that type, counted from 0
 *
 * Return: the command, NULL if there are not so many.
 */
const struct virtgpu_fake_cmd *virtgpu_fake_nth(struct virtgpu_fake *f, u32 type, unsigned int n)
{
	const struct virtgpu_fake_cmd *cmd, *found = NULL;

	mutex_lock(&f->lock);
	list_for_each_entry(cmd, &f->log, node) {
		if (cmd->type == type && !n--) {
			found = cmd;
			break;
		}
	}
	mutex_unlock(&f->lock);

	return found;
}

/**
 * virtgpu_fake_wait - wait until the device has taken a number of commands of a type
 * @f: the device
 * @type: enum virtio_gpu_ctrl_type
 * @n: the number, from the beginning of the log
 *
 * Return: whether it had within VIRTGPU_FAKE_TIMEOUT.
 */
bool virtgpu_fake_wait(struct virtgpu_fake *f, u32 type, unsigned int n)
{
	return wait_event_timeout(f->wait, virtgpu_fake_count(f, type) >= n, VIRTGPU_FAKE_TIMEOUT);
}

/**
 * virtgpu_fake_kicks - how often the driver has notified the device
 * @f: the device
 *
 * Return: the number of notifications, those of both queues.
 */
unsigned int virtgpu_fake_kicks(struct virtgpu_fake *f)
{
	return atomic_read(&f->kicks);
}

/**
 * virtgpu_fake_irqs - how often the device has interrupted the driver
 * @f: the device
 *
 * Return: the number of interrupts, those of both queues.
 */
unsigned int virtgpu_fake_irqs(struct virtgpu_fake *f)
{
	return atomic_read(&f->irqs);
}

/*
 * How the device answers
 */

/**
 * virtgpu_fake_reply - answer commands of a type otherwise than usual
 * @f: the device
 * @type: enum virtio_gpu_ctrl_type of the commands
 * @resp: enum virtio_gpu_ctrl_type of the answer; 0 for the usual one
 * @n: how many of the following commands get that answer, 0 for all
 *
 * An answer that is an error, or not the one that belongs to the command, means to the device that
 * it has not carried out the command.
 */
void virtgpu_fake_reply(struct virtgpu_fake *f, u32 type, u32 resp, unsigned int n)
{
	struct virtgpu_fake_script *script = &f->script[virtgpu_fake_slot(type)];

	mutex_lock(&f->lock);
	script->resp = resp;
	script->left = n;
	script->forever = !n;
	mutex_unlock(&f->lock);
}

/**
 * virtgpu_fake_set_map_info - change what RESOURCE_MAP_BLOB is answered with
 * @f: the device
 * @map_info: VIRTIO_GPU_MAP_CACHE_* and whatever else
 */
void virtgpu_fake_set_map_info(struct virtgpu_fake *f, u32 map_info)
{
	mutex_lock(&f->lock);
	f->params.map_info = map_info;
	mutex_unlock(&f->lock);
}

static void virtgpu_fake_set_hold(struct virtgpu_fake *f, u32 type, bool hold)
{
	mutex_lock(&f->lock);
	f->script[virtgpu_fake_slot(type)].hold = hold;
	mutex_unlock(&f->lock);
}

/**
 * virtgpu_fake_hold - do not answer commands of a type until told to
 * @f: the device
 * @type: enum virtio_gpu_ctrl_type
 *
 * A command that is held when the device is reset is never answered.
 */
void virtgpu_fake_hold(struct virtgpu_fake *f, u32 type)
{
	virtgpu_fake_set_hold(f, type, true);
}

/**
 * virtgpu_fake_unhold - answer following commands of a type at once
 * @f: the device
 * @type: enum virtio_gpu_ctrl_type
 *
 * Those that are held remain so.
 */
void virtgpu_fake_unhold(struct virtgpu_fake *f, u32 type)
{
	virtgpu_fake_set_hold(f, type, false);
}

/**
 * virtgpu_fake_held - how many commands are held
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
 * Return: whether they were within VIRTGPU_FAKE_TIMEOUT.
 */
bool virtgpu_fake_wait_held(struct virtgpu_fake *f, unsigned int n)
{
	return wait_event_timeout(f->wait, virtgpu_fake_held(f) >= n, VIRTGPU_FAKE_TIMEOUT);
}

static struct virtgpu_fake_req *virtgpu_fake_held_req(struct virtgpu_fake *f, unsigned int index)
{
	struct virtgpu_fake_req *req;

	lockdep_assert_held(&f->lock);
	list_for_each_entry(req, &f->held, held_node) {
		if (!index--)
			return req;
	}

	return NULL;
}

/**
 * virtgpu_fake_held_cmd - a command that is held
 * @f: the device
 * @index: which of those now held, in the order they came, counted from 0
 *
 * Return: the command, NULL if there are not so many.
 */
const struct virtgpu_fake_cmd *virtgpu_fake_held_cmd(struct virtgpu_fake *f, unsigned int index)
{
	struct virtgpu_fake_req *req;

	mutex_lock(&f->lock);
	req = virtgpu_fake_held_req(f, index);
	mutex_unlock(&f->lock);

	return req ? &req->cmd : NULL;
}

static void virtgpu_fake_release_req(struct virtgpu_fake *f, struct virtgpu_fake_req *req, u32 resp)
{
	list_del(&req->held_node);
	WRITE_ONCE(f->num_held, f->num_held - 1);
	virtgpu_fake_answer(f, req, resp);
	virtgpu_fake_interrupt(f, req->fvq);
}

/**
 * virtgpu_fake_release - answer a command that is held
 * @f: the device
 * @index: which of those now held, in the order they came, counted from 0
 * @resp: enum virtio_gpu_ctrl_type of the answer, 0 for the usual one
 */
void virtgpu_fake_release(struct virtgpu_fake *f, unsigned int index, u32 resp)
{
	struct virtgpu_fake_req *req;

	mutex_lock(&f->lock);
	req = virtgpu_fake_held_req(f, index);
	if (req)
		virtgpu_fake_release_req(f, req, resp);
	mutex_unlock(&f->lock);

	if (!req)
		KUNIT_FAIL(f->test, "there is no command %u to release", index);
}

/**
 * virtgpu_fake_release_all - answer all that is held, in order, and hold no more
 * @f: the device
 * @resp: enum virtio_gpu_ctrl_type of the answer, 0 for the usual one
 *
 * A command the device has not taken yet gets the usual answer; virtgpu_fake_wait_held() makes
 * sure that it has.
 */
void virtgpu_fake_release_all(struct virtgpu_fake *f, u32 resp)
{
	struct virtgpu_fake_req *req, *tmp;
	unsigned int i;

	mutex_lock(&f->lock);
	for (i = 0; i < VIRTGPU_FAKE_SLOTS; i++)
		f->script[i].hold = false;
	list_for_each_entry_safe(req, tmp, &f->held, held_node)
		virtgpu_fake_release_req(f, req, resp);
	mutex_unlock(&f->lock);
}

/**
 * virtgpu_fake_answer_at_reset - answer what is held when the driver resets the device
 * @f: the device
 *
 * It is the last moment at which an answer, and the interrupt for it, can come.
 */
void virtgpu_fake_answer_at_reset(struct virtgpu_fake *f)
{
	f->answer_at_reset = true;
}

/**
 * virtgpu_fake_mute - send no interrupts
 * @f: the device
 * @mute: false to send them again, with one for what has gathered meanwhile
 *
 * Answers reach the used ring without the driver being told.
 */
void virtgpu_fake_mute(struct virtgpu_fake *f, bool mute)
{
	unsigned int i;

	mutex_lock(&f->lock);
	f->muted = mute;
	for (i = 0; i < VIRTGPU_FAKE_NUM_VQS; i++)
		virtgpu_fake_interrupt(f, &f->vqs[i]);
	mutex_unlock(&f->lock);
}

/**
 * virtgpu_fake_stall - take no commands from the queues
 * @f: the device
 * @stall: false to take those that wait and go on
 *
 * This is how a queue runs full.
 */
void virtgpu_fake_stall(struct virtgpu_fake *f, bool stall)
{
	mutex_lock(&f->lock);
	f->stalled = stall;
	mutex_unlock(&f->lock);

	if (!stall && f->wq)
		queue_work(f->wq, &f->serve_work);
}

/*
 * What the device holds, and what the driver did wrong
 */

/**
 * virtgpu_fake_resources - how many resources the device has
 * @f: the device
 *
 * Return: the number of resources that were created and not unreferenced.
 */
unsigned int virtgpu_fake_resources(struct virtgpu_fake *f)
{
	struct virtgpu_fake_resource *res;
	unsigned int n = 0;
	unsigned long id;

	mutex_lock(&f->lock);
	xa_for_each(&f->resources, id, res)
		n++;
	mutex_unlock(&f->lock);

	return n;
}

/**
 * virtgpu_fake_mapped - how many resources are in the window
 * @f: the device
 *
 * Return: the number of resources that are mapped or about to be, or unmapped but not quite.
 */
unsigned int virtgpu_fake_mapped(struct virtgpu_fake *f)
{
	struct virtgpu_fake_resource *res;
	unsigned int n = 0;
	unsigned long id;

	mutex_lock(&f->lock);
	xa_for_each(&f->resources, id, res)
		n += res->map_state != VIRTGPU_FAKE_UNMAPPED;
	mutex_unlock(&f->lock);

	return n;
}

/**
 * virtgpu_fake_contexts - how many contexts the device has
 * @f: the device
 *
 * Return: the number of contexts that were created and not destroyed.
 */
unsigned int virtgpu_fake_contexts(struct virtgpu_fake *f)
{
	unsigned int n = 0;
	unsigned long id;
	void *ctx;

	mutex_lock(&f->lock);
	xa_for_each(&f->contexts, id, ctx)
		n++;
	mutex_unlock(&f->lock);

	return n;
}

/**
 * virtgpu_fake_judge - let the device carry out a command that came by no queue
 * @f: the device
 * @cmd: the command
 *
 * For tests of the device itself.
 *
 * Return: enum virtio_gpu_ctrl_type of the answer.
 */
u32 virtgpu_fake_judge(struct virtgpu_fake *f, const struct virtgpu_fake_cmd *cmd)
{
	u32 verdict;

	mutex_lock(&f->lock);
	verdict = virtgpu_fake_begin(f, cmd);
	if (!verdict)
		virtgpu_fake_finish(f, cmd, true);
	mutex_unlock(&f->lock);

	return verdict ?: virtgpu_fake_ok(cmd->type);
}

/**
 * virtgpu_fake_violations - how often the driver did what it must not
 * @f: the device
 *
 * Return: the number of times. The test fails if it is not 0 in the end.
 */
unsigned int virtgpu_fake_violations(struct virtgpu_fake *f)
{
	return READ_ONCE(f->violations);
}

/**
 * virtgpu_fake_violation - what the driver did first that it must not
 * @f: the device
 *
 * Return: a description, empty if it did nothing of the kind.
 */
const char *virtgpu_fake_violation(struct virtgpu_fake *f)
{
	return f->violation;
}

/**
 * virtgpu_fake_forgive - forget the violations so far
 * @f: the device
 *
 * For tests that expect some.
 *
 * Return: how many there were.
 */
unsigned int virtgpu_fake_forgive(struct virtgpu_fake *f)
{
	unsigned long flags;
	unsigned int n;

	spin_lock_irqsave(&f->violation_lock, flags);
	n = f->violations;
	f->violations = 0;
	f->violation[0] = '\0';
	spin_unlock_irqrestore(&f->violation_lock, flags);

	return n;
}

MODULE_DESCRIPTION("KUnit tests for virtio-gpu");
MODULE_LICENSE("GPL");
MODULE_SOFTDEP("pre: virtio-gpu");
VIRTGPU_KUNIT_IMPORT_NS(DMA_BUF);
VIRTGPU_KUNIT_IMPORT_NS(EXPORTED_FOR_KUNIT_TESTING);

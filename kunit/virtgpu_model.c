// SPDX-License-Identifier: GPL-2.0

#include <linux/kernel.h>
#include <linux/mm.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/virtio_gpu.h>

#include "virtgpu_model.h"

/* A command that has begun and not ended counts for both its outcomes. */
enum virtgpu_model_map_state {
	VIRTGPU_MODEL_UNMAPPED,
	VIRTGPU_MODEL_MAPPING,
	VIRTGPU_MODEL_MAPPED,
	VIRTGPU_MODEL_UNMAPPING,
};

struct virtgpu_model_resource {
	u64 size;
	u64 offset;
	u32 blob_mem;
	u32 blob_flags;
	enum virtgpu_model_map_state map_state;
	/* The creation has failed. The driver may use the id until it has the response. */
	bool failed;
};

union virtgpu_model_raw {
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

static const struct {
	u32 type;
	const char *name;
	u32 ok;
} virtgpu_cmds[] = {
	{ VIRTIO_GPU_CMD_GET_DISPLAY_INFO, "GET_DISPLAY_INFO", VIRTIO_GPU_RESP_OK_DISPLAY_INFO },
	{ VIRTIO_GPU_CMD_RESOURCE_CREATE_2D, "CREATE_2D" },
	{ VIRTIO_GPU_CMD_RESOURCE_UNREF, "UNREF" },
	{ VIRTIO_GPU_CMD_SET_SCANOUT, "SET_SCANOUT" },
	{ VIRTIO_GPU_CMD_RESOURCE_FLUSH, "FLUSH" },
	{ VIRTIO_GPU_CMD_TRANSFER_TO_HOST_2D, "TRANSFER_TO_HOST_2D" },
	{ VIRTIO_GPU_CMD_RESOURCE_ATTACH_BACKING, "ATTACH_BACKING" },
	{ VIRTIO_GPU_CMD_RESOURCE_DETACH_BACKING, "DETACH_BACKING" },
	{ VIRTIO_GPU_CMD_GET_CAPSET_INFO, "GET_CAPSET_INFO", VIRTIO_GPU_RESP_OK_CAPSET_INFO },
	{ VIRTIO_GPU_CMD_GET_CAPSET, "GET_CAPSET", VIRTIO_GPU_RESP_OK_CAPSET },
	{ VIRTIO_GPU_CMD_GET_EDID, "GET_EDID", VIRTIO_GPU_RESP_OK_EDID },
	{ VIRTIO_GPU_CMD_RESOURCE_ASSIGN_UUID, "ASSIGN_UUID", VIRTIO_GPU_RESP_OK_RESOURCE_UUID },
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
	{ VIRTIO_GPU_CMD_RESOURCE_MAP_BLOB, "MAP_BLOB", VIRTIO_GPU_RESP_OK_MAP_INFO },
	{ VIRTIO_GPU_CMD_RESOURCE_UNMAP_BLOB, "UNMAP_BLOB" },
	{ VIRTIO_GPU_CMD_UPDATE_CURSOR, "UPDATE_CURSOR" },
	{ VIRTIO_GPU_CMD_MOVE_CURSOR, "MOVE_CURSOR" },
};

/**
 * virtgpu_cmd_name - short name of a command
 * @type: enum virtio_gpu_ctrl_type
 *
 * Return: the name in the specification without VIRTIO_GPU_CMD and RESOURCE, or "UNKNOWN".
 */
const char *virtgpu_cmd_name(u32 type)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(virtgpu_cmds); i++) {
		if (virtgpu_cmds[i].type == type)
			return virtgpu_cmds[i].name;
	}

	return "UNKNOWN";
}

/**
 * virtgpu_cmd_ok - the response to a command that was carried out
 * @type: enum virtio_gpu_ctrl_type of the command
 *
 * Return: enum virtio_gpu_ctrl_type of the response.
 */
u32 virtgpu_cmd_ok(u32 type)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(virtgpu_cmds); i++) {
		if (virtgpu_cmds[i].type == type && virtgpu_cmds[i].ok)
			return virtgpu_cmds[i].ok;
	}

	return VIRTIO_GPU_RESP_OK_NODATA;
}

/**
 * virtgpu_cmd_parse - read a command
 * @cmd: filled in, from @cmd->type to @cmd->offset; the other fields are zeroed
 * @buf: the command as the driver has sent it
 * @len: bytes in @buf
 *
 * Return: false if @buf is shorter than the header of a command.
 */
bool virtgpu_cmd_parse(struct virtgpu_cmd *cmd, const void *buf, size_t len)
{
	union virtgpu_model_raw raw = {};

	memcpy(&raw, buf, min(len, sizeof(raw)));
	memset(cmd, 0, sizeof(*cmd));
	cmd->type = le32_to_cpu(raw.hdr.type);
	cmd->flags = le32_to_cpu(raw.hdr.flags);
	cmd->fence_id = le64_to_cpu(raw.hdr.fence_id);
	cmd->ctx_id = le32_to_cpu(raw.hdr.ctx_id);

	switch (cmd->type) {
	case VIRTIO_GPU_CMD_GET_DISPLAY_INFO:
	case VIRTIO_GPU_CMD_GET_CAPSET:
	case VIRTIO_GPU_CMD_CTX_CREATE:
	case VIRTIO_GPU_CMD_CTX_DESTROY:
	case VIRTIO_GPU_CMD_SUBMIT_3D:
	case VIRTIO_GPU_CMD_MOVE_CURSOR:
		break;
	case VIRTIO_GPU_CMD_GET_CAPSET_INFO:
		cmd->index = le32_to_cpu(raw.capset_info.capset_index);
		break;
	case VIRTIO_GPU_CMD_GET_EDID:
		cmd->index = le32_to_cpu(raw.edid.scanout);
		break;
	case VIRTIO_GPU_CMD_SET_SCANOUT:
		cmd->resource_id = le32_to_cpu(raw.set_scanout.resource_id);
		break;
	case VIRTIO_GPU_CMD_SET_SCANOUT_BLOB:
		cmd->resource_id = le32_to_cpu(raw.set_scanout_blob.resource_id);
		break;
	case VIRTIO_GPU_CMD_RESOURCE_FLUSH:
		cmd->resource_id = le32_to_cpu(raw.flush.resource_id);
		break;
	case VIRTIO_GPU_CMD_TRANSFER_TO_HOST_2D:
		cmd->resource_id = le32_to_cpu(raw.transfer_2d.resource_id);
		break;
	case VIRTIO_GPU_CMD_TRANSFER_TO_HOST_3D:
	case VIRTIO_GPU_CMD_TRANSFER_FROM_HOST_3D:
		cmd->resource_id = le32_to_cpu(raw.transfer_3d.resource_id);
		break;
	case VIRTIO_GPU_CMD_UPDATE_CURSOR:
		cmd->resource_id = le32_to_cpu(raw.cursor.resource_id);
		break;
	case VIRTIO_GPU_CMD_RESOURCE_CREATE_BLOB:
		cmd->resource_id = le32_to_cpu(raw.create_blob.resource_id);
		cmd->size = le64_to_cpu(raw.create_blob.size);
		cmd->blob_id = le64_to_cpu(raw.create_blob.blob_id);
		cmd->blob_mem = le32_to_cpu(raw.create_blob.blob_mem);
		cmd->blob_flags = le32_to_cpu(raw.create_blob.blob_flags);
		break;
	case VIRTIO_GPU_CMD_RESOURCE_MAP_BLOB:
		cmd->resource_id = le32_to_cpu(raw.map_blob.resource_id);
		cmd->offset = le64_to_cpu(raw.map_blob.offset);
		break;
	default:
		cmd->resource_id = le32_to_cpu(raw.resource.resource_id);
		break;
	}

	return len >= sizeof(raw.hdr);
}

static __printf(3, 4) u32 virtgpu_model_violate(struct virtgpu_model *model, u32 resp,
						const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	vscnprintf(model->violation, sizeof(model->violation), fmt, args);
	va_end(args);

	return resp;
}

/* NULL if the response must be ERR_INVALID_RESOURCE_ID. */
static struct virtgpu_model_resource *
virtgpu_model_find(struct virtgpu_model *model, const struct virtgpu_cmd *cmd)
{
	struct virtgpu_model_resource *res = xa_load(&model->resources, cmd->resource_id);

	if (!res)
		virtgpu_model_violate(model, 0, "%s of unknown resource %u",
				      virtgpu_cmd_name(cmd->type), cmd->resource_id);
	else if (res->failed)
		return NULL;

	return res;
}

static bool virtgpu_model_has_context(struct virtgpu_model *model, const struct virtgpu_cmd *cmd)
{
	if (xa_load(&model->contexts, cmd->ctx_id))
		return true;

	virtgpu_model_violate(model, 0, "%s in unknown context %u",
			      virtgpu_cmd_name(cmd->type), cmd->ctx_id);
	return false;
}

static bool virtgpu_model_is_aligned(const struct virtgpu_model *model, u64 x)
{
	return PAGE_ALIGNED(x) &&
	       (!model->blob_alignment || IS_ALIGNED(x, model->blob_alignment));
}

static u32 virtgpu_model_begin_create(struct virtgpu_model *model, const struct virtgpu_cmd *cmd)
{
	bool blob = cmd->type == VIRTIO_GPU_CMD_RESOURCE_CREATE_BLOB;
	struct virtgpu_model_resource *res;

	if (!cmd->resource_id || xa_load(&model->resources, cmd->resource_id))
		return virtgpu_model_violate(model, VIRTIO_GPU_RESP_ERR_INVALID_RESOURCE_ID,
					     "%s of resource %u, which exists",
					     virtgpu_cmd_name(cmd->type), cmd->resource_id);

	if (blob && cmd->blob_mem != VIRTIO_GPU_BLOB_MEM_GUEST &&
	    !virtgpu_model_has_context(model, cmd))
		return VIRTIO_GPU_RESP_ERR_INVALID_CONTEXT_ID;

	if (blob && (!cmd->size || !virtgpu_model_is_aligned(model, cmd->size)))
		return virtgpu_model_violate(model, VIRTIO_GPU_RESP_ERR_INVALID_PARAMETER,
					     "CREATE_BLOB of resource %u with a size of %#llx",
					     cmd->resource_id, cmd->size);

	res = kzalloc_obj(*res);
	if (!res)
		return VIRTIO_GPU_RESP_ERR_OUT_OF_MEMORY;

	res->size = cmd->size;
	res->blob_mem = cmd->blob_mem;
	res->blob_flags = cmd->blob_flags;
	if (xa_is_err(xa_store(&model->resources, cmd->resource_id, res, GFP_KERNEL))) {
		kfree(res);
		return VIRTIO_GPU_RESP_ERR_OUT_OF_MEMORY;
	}

	return 0;
}

static u32 virtgpu_model_begin_unref(struct virtgpu_model *model, const struct virtgpu_cmd *cmd)
{
	struct virtgpu_model_resource *res = virtgpu_model_find(model, cmd);

	if (!res) {
		kfree(xa_erase(&model->resources, cmd->resource_id));
		return VIRTIO_GPU_RESP_ERR_INVALID_RESOURCE_ID;
	}

	if (res->map_state == VIRTGPU_MODEL_MAPPING || res->map_state == VIRTGPU_MODEL_MAPPED)
		virtgpu_model_violate(model, 0, "UNREF of resource %u, which is mapped",
				      cmd->resource_id);

	return 0;
}

static u32 virtgpu_model_begin_map(struct virtgpu_model *model, const struct virtgpu_cmd *cmd)
{
	struct virtgpu_model_resource *res = virtgpu_model_find(model, cmd), *other;
	unsigned long id;

	if (!res)
		return VIRTIO_GPU_RESP_ERR_INVALID_RESOURCE_ID;

	if (res->blob_mem != VIRTIO_GPU_BLOB_MEM_HOST3D ||
	    !(res->blob_flags & VIRTIO_GPU_BLOB_FLAG_USE_MAPPABLE))
		return virtgpu_model_violate(model, VIRTIO_GPU_RESP_ERR_INVALID_PARAMETER,
					     "MAP_BLOB of resource %u, which is not mappable",
					     cmd->resource_id);

	if (res->map_state != VIRTGPU_MODEL_UNMAPPED)
		return virtgpu_model_violate(model, VIRTIO_GPU_RESP_ERR_INVALID_PARAMETER,
					     "MAP_BLOB of resource %u, which is mapped",
					     cmd->resource_id);

	if (!virtgpu_model_is_aligned(model, cmd->offset))
		return virtgpu_model_violate(model, VIRTIO_GPU_RESP_ERR_INVALID_PARAMETER,
					     "MAP_BLOB of resource %u at %#llx, which is not aligned",
					     cmd->resource_id, cmd->offset);

	if (cmd->offset >= model->window || res->size > model->window - cmd->offset)
		return virtgpu_model_violate(model, VIRTIO_GPU_RESP_ERR_INVALID_PARAMETER,
					     "MAP_BLOB of resource %u at %#llx+%#llx, outside the window",
					     cmd->resource_id, cmd->offset, res->size);

	xa_for_each(&model->resources, id, other) {
		if (other->map_state == VIRTGPU_MODEL_UNMAPPED ||
		    cmd->offset >= other->offset + other->size ||
		    other->offset >= cmd->offset + res->size)
			continue;

		return virtgpu_model_violate(model, VIRTIO_GPU_RESP_ERR_INVALID_PARAMETER,
					     "MAP_BLOB of resource %u at %#llx+%#llx, where %lu is mapped",
					     cmd->resource_id, cmd->offset, res->size, id);
	}

	res->offset = cmd->offset;
	res->map_state = VIRTGPU_MODEL_MAPPING;

	return 0;
}

static u32 virtgpu_model_begin_unmap(struct virtgpu_model *model, const struct virtgpu_cmd *cmd)
{
	struct virtgpu_model_resource *res = virtgpu_model_find(model, cmd);

	if (!res)
		return VIRTIO_GPU_RESP_ERR_INVALID_RESOURCE_ID;

	if (res->map_state != VIRTGPU_MODEL_MAPPED)
		return virtgpu_model_violate(model, VIRTIO_GPU_RESP_ERR_INVALID_PARAMETER,
					     "UNMAP_BLOB of resource %u, which is not mapped",
					     cmd->resource_id);

	res->map_state = VIRTGPU_MODEL_UNMAPPING;

	return 0;
}

static u32 virtgpu_model_begin_ctx_create(struct virtgpu_model *model,
					  const struct virtgpu_cmd *cmd)
{
	if (!cmd->ctx_id || xa_load(&model->contexts, cmd->ctx_id))
		return virtgpu_model_violate(model, VIRTIO_GPU_RESP_ERR_INVALID_CONTEXT_ID,
					     "CTX_CREATE of context %u, which exists", cmd->ctx_id);

	if (xa_is_err(xa_store(&model->contexts, cmd->ctx_id, xa_mk_value(1), GFP_KERNEL)))
		return VIRTIO_GPU_RESP_ERR_OUT_OF_MEMORY;

	return 0;
}

/**
 * virtgpu_model_init - make a GPU without resources and contexts
 * @model: the GPU
 * @window: bytes of the host-visible window, 0 for none
 * @blob_alignment: bytes, 0 if the feature was not negotiated
 */
void virtgpu_model_init(struct virtgpu_model *model, u64 window, u32 blob_alignment)
{
	model->window = window;
	model->blob_alignment = blob_alignment;
	model->violation[0] = '\0';
	xa_init(&model->resources);
	xa_init(&model->contexts);
}

/**
 * virtgpu_model_reset - forget all resources and contexts, as a GPU does when it is reset
 * @model: the GPU, which may be freed afterwards
 *
 * A command that has begun before the reset must not be ended after it.
 */
void virtgpu_model_reset(struct virtgpu_model *model)
{
	struct virtgpu_model_resource *res;
	unsigned long id;

	xa_for_each(&model->resources, id, res)
		kfree(res);
	xa_destroy(&model->resources);
	xa_destroy(&model->contexts);
	model->violation[0] = '\0';
}

/**
 * virtgpu_model_begin - a GPU takes a command
 * @model: the GPU
 * @cmd: the command
 *
 * If the command violates a rule of the specification, @model->violation says which.
 *
 * Return: 0 if the command can be carried out: virtgpu_model_end() must follow. Otherwise
 * enum virtio_gpu_ctrl_type of the error that the GPU must respond with. A command for a resource
 * whose creation has failed gets an error, but is no violation.
 */
u32 virtgpu_model_begin(struct virtgpu_model *model, const struct virtgpu_cmd *cmd)
{
	model->violation[0] = '\0';

	switch (cmd->type) {
	case VIRTIO_GPU_CMD_RESOURCE_CREATE_2D:
	case VIRTIO_GPU_CMD_RESOURCE_CREATE_3D:
	case VIRTIO_GPU_CMD_RESOURCE_CREATE_BLOB:
		return virtgpu_model_begin_create(model, cmd);
	case VIRTIO_GPU_CMD_RESOURCE_UNREF:
		return virtgpu_model_begin_unref(model, cmd);
	case VIRTIO_GPU_CMD_RESOURCE_MAP_BLOB:
		return virtgpu_model_begin_map(model, cmd);
	case VIRTIO_GPU_CMD_RESOURCE_UNMAP_BLOB:
		return virtgpu_model_begin_unmap(model, cmd);
	case VIRTIO_GPU_CMD_CTX_CREATE:
		return virtgpu_model_begin_ctx_create(model, cmd);
	case VIRTIO_GPU_CMD_CTX_ATTACH_RESOURCE:
	case VIRTIO_GPU_CMD_CTX_DETACH_RESOURCE:
		if (!virtgpu_model_find(model, cmd))
			return VIRTIO_GPU_RESP_ERR_INVALID_RESOURCE_ID;
		fallthrough;
	case VIRTIO_GPU_CMD_CTX_DESTROY:
	case VIRTIO_GPU_CMD_SUBMIT_3D:
		if (!virtgpu_model_has_context(model, cmd))
			return VIRTIO_GPU_RESP_ERR_INVALID_CONTEXT_ID;
		return 0;
	case VIRTIO_GPU_CMD_SET_SCANOUT:
	case VIRTIO_GPU_CMD_SET_SCANOUT_BLOB:
	case VIRTIO_GPU_CMD_UPDATE_CURSOR:
		if (!cmd->resource_id)
			return 0;
		fallthrough;
	case VIRTIO_GPU_CMD_RESOURCE_ATTACH_BACKING:
	case VIRTIO_GPU_CMD_RESOURCE_DETACH_BACKING:
	case VIRTIO_GPU_CMD_RESOURCE_ASSIGN_UUID:
	case VIRTIO_GPU_CMD_RESOURCE_FLUSH:
	case VIRTIO_GPU_CMD_TRANSFER_TO_HOST_2D:
	case VIRTIO_GPU_CMD_TRANSFER_TO_HOST_3D:
	case VIRTIO_GPU_CMD_TRANSFER_FROM_HOST_3D:
		return virtgpu_model_find(model, cmd) ? 0 : VIRTIO_GPU_RESP_ERR_INVALID_RESOURCE_ID;
	case VIRTIO_GPU_CMD_MOVE_CURSOR:
	case VIRTIO_GPU_CMD_GET_DISPLAY_INFO:
	case VIRTIO_GPU_CMD_GET_CAPSET_INFO:
	case VIRTIO_GPU_CMD_GET_CAPSET:
	case VIRTIO_GPU_CMD_GET_EDID:
		return 0;
	default:
		return virtgpu_model_violate(model, VIRTIO_GPU_RESP_ERR_UNSPEC,
					     "unknown command %#x", cmd->type);
	}
}

/**
 * virtgpu_model_end - a GPU responds to a command
 * @model: the GPU
 * @cmd: a command for which virtgpu_model_begin() has returned 0
 * @ok: the GPU has carried out the command; otherwise the command has changed nothing
 */
void virtgpu_model_end(struct virtgpu_model *model, const struct virtgpu_cmd *cmd, bool ok)
{
	struct virtgpu_model_resource *res = xa_load(&model->resources, cmd->resource_id);

	switch (cmd->type) {
	case VIRTIO_GPU_CMD_RESOURCE_CREATE_2D:
	case VIRTIO_GPU_CMD_RESOURCE_CREATE_3D:
	case VIRTIO_GPU_CMD_RESOURCE_CREATE_BLOB:
		if (res && !ok)
			res->failed = true;
		break;
	case VIRTIO_GPU_CMD_RESOURCE_UNREF:
		if (ok)
			kfree(xa_erase(&model->resources, cmd->resource_id));
		break;
	case VIRTIO_GPU_CMD_RESOURCE_MAP_BLOB:
		if (res)
			res->map_state = ok ? VIRTGPU_MODEL_MAPPED : VIRTGPU_MODEL_UNMAPPED;
		break;
	case VIRTIO_GPU_CMD_RESOURCE_UNMAP_BLOB:
		if (res)
			res->map_state = ok ? VIRTGPU_MODEL_UNMAPPED : VIRTGPU_MODEL_MAPPED;
		break;
	case VIRTIO_GPU_CMD_CTX_DESTROY:
		if (ok)
			xa_erase(&model->contexts, cmd->ctx_id);
		break;
	}
}

/**
 * virtgpu_model_resources - count the resources of a GPU
 * @model: the GPU
 *
 * Return: the number of resources that were created and not unreferenced.
 */
unsigned int virtgpu_model_resources(struct virtgpu_model *model)
{
	struct virtgpu_model_resource *res;
	unsigned int n = 0;
	unsigned long id;

	xa_for_each(&model->resources, id, res)
		n++;

	return n;
}

/**
 * virtgpu_model_mapped - count the resources that occupy a range of the window
 * @model: the GPU
 *
 * Return: the number of resources that are mapped, or whose MAP_BLOB or UNMAP_BLOB has no response.
 */
unsigned int virtgpu_model_mapped(struct virtgpu_model *model)
{
	struct virtgpu_model_resource *res;
	unsigned int n = 0;
	unsigned long id;

	xa_for_each(&model->resources, id, res)
		n += res->map_state != VIRTGPU_MODEL_UNMAPPED;

	return n;
}

/**
 * virtgpu_model_contexts - count the contexts of a GPU
 * @model: the GPU
 *
 * Return: the number of contexts that were created and not destroyed.
 */
unsigned int virtgpu_model_contexts(struct virtgpu_model *model)
{
	unsigned int n = 0;
	unsigned long id;
	void *ctx;

	xa_for_each(&model->contexts, id, ctx)
		n++;

	return n;
}

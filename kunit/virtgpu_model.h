/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A model of a virtio GPU: its resources, its contexts, its host-visible window, and the rules that
 * a driver must keep. The model knows commands, not virtqueues.
 */
#ifndef _VIRTGPU_MODEL_H_
#define _VIRTGPU_MODEL_H_

#include <linux/types.h>
#include <linux/virtio_gpu.h>
#include <linux/xarray.h>

/**
 * struct virtgpu_cmd - a command that a driver has sent
 * @seq: position in the log of the device, counted from 0
 * @type: enum virtio_gpu_ctrl_type
 * @flags: VIRTIO_GPU_FLAG_*
 * @fence_id: the fence, if @flags has VIRTIO_GPU_FLAG_FENCE
 * @ctx_id: the context
 * @resource_id: the resource, 0 for a command that has none
 * @size: bytes of the blob (RESOURCE_CREATE_BLOB)
 * @blob_id: RESOURCE_CREATE_BLOB
 * @blob_mem: RESOURCE_CREATE_BLOB
 * @blob_flags: RESOURCE_CREATE_BLOB
 * @index: index of the capability set or the scanout (GET_CAPSET_INFO, GET_EDID)
 * @offset: bytes from the start of the window (RESOURCE_MAP_BLOB)
 * @len: bytes the driver has sent
 * @resp_space: bytes the driver has left for the response
 * @indirect: the command came in an indirect descriptor
 * @resp: enum virtio_gpu_ctrl_type of the response, 0 as long as there is none
 *
 * virtgpu_cmd_parse() fills in @type to @offset, the device the rest.
 */
struct virtgpu_cmd {
	unsigned int seq;
	u32 type;
	u32 flags;
	u64 fence_id;
	u32 ctx_id;
	u32 resource_id;
	u64 size;
	u64 blob_id;
	u32 blob_mem;
	u32 blob_flags;
	u32 index;
	u64 offset;
	size_t len;
	size_t resp_space;
	bool indirect;
	u32 resp;
};

/**
 * struct virtgpu_model - the state of a GPU
 * @window: bytes of the host-visible window, 0 if there is none
 * @blob_alignment: blob sizes and window offsets must be multiples of it, in bytes; 0 if the
 *	feature was not negotiated. They must be multiples of the page size in any case.
 * @resources: by resource id
 * @contexts: by context id
 * @violation: the rule that the latest command has violated, an empty string if it has not
 *
 * The caller serialises all calls for one model.
 */
struct virtgpu_model {
	u64 window;
	u32 blob_alignment;
	struct xarray resources;
	struct xarray contexts;
	char violation[160];
};

bool virtgpu_cmd_parse(struct virtgpu_cmd *cmd, const void *buf, size_t len);
const char *virtgpu_cmd_name(u32 type);
u32 virtgpu_cmd_ok(u32 type);

void virtgpu_model_init(struct virtgpu_model *model, u64 window, u32 blob_alignment);
void virtgpu_model_reset(struct virtgpu_model *model);
u32 virtgpu_model_begin(struct virtgpu_model *model, const struct virtgpu_cmd *cmd);
void virtgpu_model_end(struct virtgpu_model *model, const struct virtgpu_cmd *cmd, bool ok);
unsigned int virtgpu_model_resources(struct virtgpu_model *model);
unsigned int virtgpu_model_mapped(struct virtgpu_model *model);
unsigned int virtgpu_model_contexts(struct virtgpu_model *model);

#endif

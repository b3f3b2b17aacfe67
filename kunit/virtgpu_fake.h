/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A virtio-gpu device that exists only in memory, for the driver's KUnit tests.
 *
 * The device registers with the virtio bus, so that the real driver probes it. Its side of the two
 * virtqueues is served from a workqueue: it logs each command, checks it against a model of the
 * device, and answers as the model or the test's script says.
 */
#ifndef _VIRTGPU_FAKE_H_
#define _VIRTGPU_FAKE_H_

#include <linux/jiffies.h>
#include <linux/list.h>
#include <linux/types.h>

struct drm_device;
struct kunit;
struct virtio_gpu_device;
struct virtio_shm_region;
struct virtgpu_fake;

/* No wait of a test is longer; what takes longer hangs. */
#define VIRTGPU_FAKE_TIMEOUT	(10 * HZ)

/**
 * struct virtgpu_fake_params - what kind of device to make
 * @features: virtio feature bits the device offers
 * @vq_num: number of descriptors in each virtqueue, a power of two
 * @window: size of the host-visible window in bytes, 0 for none. Nothing stands behind the window:
 *	it may be huge, and must not be touched.
 * @window_skew: bytes, a multiple of the page size, between the window's start and the preceding
 *	2 MiB boundary
 * @blob_alignment: what the config space says; it counts if VIRTIO_GPU_F_BLOB_ALIGNMENT is
 *	negotiated
 * @map_info: what RESOURCE_MAP_BLOB is answered with
 * @num_scanouts: scanouts the device has; with none the driver has no KMS
 * @num_capsets: capability sets the device has, numbered from 1
 */
struct virtgpu_fake_params {
	u64 features;
	unsigned int vq_num;
	u64 window;
	u64 window_skew;
	u32 blob_alignment;
	u32 map_info;
	u32 num_scanouts;
	u32 num_capsets;
};

/**
 * struct virtgpu_fake_cmd - a command the device has taken from a virtqueue
 * @node: entry in the device's log
 * @seq: position in the log, counted from 0
 * @type: enum virtio_gpu_ctrl_type
 * @flags: VIRTIO_GPU_FLAG_*
 * @fence_id: the fence, if @flags has VIRTIO_GPU_FLAG_FENCE
 * @ctx_id: the context
 * @resource_id: the resource, 0 for commands that have none
 * @size: bytes of the blob (RESOURCE_CREATE_BLOB)
 * @blob_id: RESOURCE_CREATE_BLOB
 * @blob_mem: RESOURCE_CREATE_BLOB
 * @blob_flags: RESOURCE_CREATE_BLOB
 * @index: which capability set or scanout (GET_CAPSET_INFO, GET_EDID)
 * @offset: offset in the window (RESOURCE_MAP_BLOB)
 * @len: bytes the driver sent
 * @resp_room: bytes the driver left for the answer
 * @indirect: whether it came in an indirect descriptor
 * @resp: enum virtio_gpu_ctrl_type of the answer, 0 as long as there is none
 *
 * Valid as long as the device it came from.
 */
struct virtgpu_fake_cmd {
	struct list_head node;
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
	u32 len;
	u32 resp_room;
	bool indirect;
	u32 resp;
};

extern const struct virtgpu_fake_params virtgpu_fake_defaults;

/* The device */
struct virtgpu_fake *virtgpu_fake_create(struct kunit *test, const struct virtgpu_fake_params *p);
bool virtgpu_fake_unplug(struct virtgpu_fake *f);
void virtgpu_fake_settle(struct virtgpu_fake *f);
void virtgpu_fake_relent(struct virtgpu_fake *f);

struct kunit *virtgpu_fake_test(struct virtgpu_fake *f);
struct drm_device *virtgpu_fake_drm(struct virtgpu_fake *f);
struct virtio_gpu_device *virtgpu_fake_vgdev(struct virtgpu_fake *f);
u64 virtgpu_fake_features(struct virtgpu_fake *f);
const struct virtio_shm_region *virtgpu_fake_window(struct virtgpu_fake *f);

/* What the device has seen */
const char *virtgpu_fake_cmd_name(u32 type);
unsigned int virtgpu_fake_mark(struct virtgpu_fake *f);
const char *virtgpu_fake_cmds(struct virtgpu_fake *f, unsigned int mark);
unsigned int virtgpu_fake_count(struct virtgpu_fake *f, u32 type);
const struct virtgpu_fake_cmd *virtgpu_fake_nth(struct virtgpu_fake *f, u32 type, unsigned int n);
bool virtgpu_fake_wait(struct virtgpu_fake *f, u32 type, unsigned int n);
unsigned int virtgpu_fake_kicks(struct virtgpu_fake *f);
unsigned int virtgpu_fake_irqs(struct virtgpu_fake *f);

/* How the device answers */
void virtgpu_fake_reply(struct virtgpu_fake *f, u32 type, u32 resp, unsigned int n);
void virtgpu_fake_set_map_info(struct virtgpu_fake *f, u32 map_info);
void virtgpu_fake_hold(struct virtgpu_fake *f, u32 type);
void virtgpu_fake_unhold(struct virtgpu_fake *f, u32 type);
unsigned int virtgpu_fake_held(struct virtgpu_fake *f);
bool virtgpu_fake_wait_held(struct virtgpu_fake *f, unsigned int n);
const struct virtgpu_fake_cmd *virtgpu_fake_held_cmd(struct virtgpu_fake *f, unsigned int index);
void virtgpu_fake_release(struct virtgpu_fake *f, unsigned int index, u32 resp);
void virtgpu_fake_release_all(struct virtgpu_fake *f, u32 resp);
void virtgpu_fake_answer_at_reset(struct virtgpu_fake *f);
void virtgpu_fake_mute(struct virtgpu_fake *f, bool mute);
void virtgpu_fake_stall(struct virtgpu_fake *f, bool stall);

/* What the device holds, and what the driver did wrong */
unsigned int virtgpu_fake_resources(struct virtgpu_fake *f);
unsigned int virtgpu_fake_mapped(struct virtgpu_fake *f);
unsigned int virtgpu_fake_contexts(struct virtgpu_fake *f);
u32 virtgpu_fake_judge(struct virtgpu_fake *f, const struct virtgpu_fake_cmd *cmd);
unsigned int virtgpu_fake_violations(struct virtgpu_fake *f);
const char *virtgpu_fake_violation(struct virtgpu_fake *f);
unsigned int virtgpu_fake_forgive(struct virtgpu_fake *f);

#endif

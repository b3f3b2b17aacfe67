/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A virtio-gpu device that exists only in memory, for the driver's KUnit tests: virtgpu_model
 * behind the virtqueues of virtio_fake. The device logs each command, checks it against the model,
 * and responds as the model, or the script of the test, demands.
 */
#ifndef _VIRTGPU_FAKE_H_
#define _VIRTGPU_FAKE_H_

#include <linux/types.h>

#include "virtgpu_model.h"
#include "virtio_fake.h"

struct drm_device;
struct kunit;
struct virtgpu_fake;
struct virtio_gpu_device;
struct virtio_shm_region;

/**
 * struct virtgpu_fake_params - properties of a device
 * @features: virtio feature bits that the device offers
 * @vq_num: number of descriptors in each virtqueue, a power of two
 * @window: bytes of the host-visible window, 0 for none. There is no memory behind the window: it
 *	may be huge, and must not be touched.
 * @window_skew: bytes, a multiple of the page size, between the start of the window and the
 *	preceding 2 MiB boundary
 * @blob_alignment: the value in the config space, in bytes; used if VIRTIO_GPU_F_BLOB_ALIGNMENT is
 *	negotiated
 * @map_info: map_info of the response to RESOURCE_MAP_BLOB
 * @num_scanouts: number of scanouts; with none the driver has no KMS
 * @num_capsets: number of capability sets, with ids from 1
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

extern const struct virtgpu_fake_params virtgpu_fake_defaults;

/* The device */
struct virtgpu_fake *virtgpu_fake_create(struct kunit *test,
					 const struct virtgpu_fake_params *params);
struct virtio_fake *virtgpu_fake_virtio(struct virtgpu_fake *f);
struct kunit *virtgpu_fake_test(struct virtgpu_fake *f);
struct drm_device *virtgpu_fake_drm(struct virtgpu_fake *f);
struct virtio_gpu_device *virtgpu_fake_vgdev(struct virtgpu_fake *f);
bool virtgpu_fake_release_drm(struct virtgpu_fake *f);
void virtgpu_fake_config_change(struct virtgpu_fake *f);

static inline u64 virtgpu_fake_features(struct virtgpu_fake *f)
{
	return virtio_fake_features(virtgpu_fake_virtio(f));
}

static inline const struct virtio_shm_region *virtgpu_fake_window(struct virtgpu_fake *f)
{
	return virtio_fake_shm(virtgpu_fake_virtio(f));
}

static inline bool virtgpu_fake_unplug(struct virtgpu_fake *f)
{
	return virtio_fake_unplug(virtgpu_fake_virtio(f));
}

static inline int virtgpu_fake_freeze(struct virtgpu_fake *f)
{
	return virtio_fake_freeze(virtgpu_fake_virtio(f));
}

static inline int virtgpu_fake_restore(struct virtgpu_fake *f)
{
	return virtio_fake_restore(virtgpu_fake_virtio(f));
}

static inline void virtgpu_fake_shutdown(struct virtgpu_fake *f)
{
	virtio_fake_shutdown(virtgpu_fake_virtio(f));
}

static inline void virtgpu_fake_break(struct virtgpu_fake *f)
{
	virtio_fake_break(virtgpu_fake_virtio(f));
}

static inline void virtgpu_fake_unbreak(struct virtgpu_fake *f)
{
	virtio_fake_unbreak(virtgpu_fake_virtio(f));
}

/* The log */
unsigned int virtgpu_fake_mark(struct virtgpu_fake *f);
const char *virtgpu_fake_cmds(struct virtgpu_fake *f, unsigned int mark);
unsigned int virtgpu_fake_count(struct virtgpu_fake *f, u32 type);
const struct virtgpu_cmd *virtgpu_fake_nth(struct virtgpu_fake *f, u32 type, unsigned int n);
bool virtgpu_fake_wait(struct virtgpu_fake *f, u32 type, unsigned int n);
unsigned long virtgpu_fake_progress(struct virtgpu_fake *f);

static inline unsigned int virtgpu_fake_notifications(struct virtgpu_fake *f)
{
	return virtio_fake_notifications(virtgpu_fake_virtio(f));
}

static inline unsigned int virtgpu_fake_interrupts(struct virtgpu_fake *f)
{
	return virtio_fake_interrupts(virtgpu_fake_virtio(f));
}

/* The script */
void virtgpu_fake_respond(struct virtgpu_fake *f, u32 type, u32 resp, unsigned int n);
void virtgpu_fake_decide(struct virtgpu_fake *f,
			 u32 (*decide)(void *data, const struct virtgpu_cmd *cmd), void *data);
void virtgpu_fake_set_map_info(struct virtgpu_fake *f, u32 map_info);
void virtgpu_fake_hold(struct virtgpu_fake *f, u32 type);
void virtgpu_fake_unhold(struct virtgpu_fake *f, u32 type);
unsigned int virtgpu_fake_held(struct virtgpu_fake *f);
bool virtgpu_fake_wait_held(struct virtgpu_fake *f, unsigned int n);
const struct virtgpu_cmd *virtgpu_fake_held_cmd(struct virtgpu_fake *f, unsigned int index);
void virtgpu_fake_release(struct virtgpu_fake *f, unsigned int index, u32 resp);
void virtgpu_fake_release_all(struct virtgpu_fake *f, u32 resp);
void virtgpu_fake_respond_at_reset(struct virtgpu_fake *f);
void virtgpu_fake_clear_script(struct virtgpu_fake *f);

static inline void virtgpu_fake_mute(struct virtgpu_fake *f, bool mute)
{
	virtio_fake_mute(virtgpu_fake_virtio(f), mute);
}

static inline void virtgpu_fake_stall(struct virtgpu_fake *f, bool stall)
{
	virtio_fake_stall(virtgpu_fake_virtio(f), VIRTIO_FAKE_ALL, stall);
}

/* The state of the device, and the rules the driver has violated */
unsigned int virtgpu_fake_resources(struct virtgpu_fake *f);
unsigned int virtgpu_fake_mapped(struct virtgpu_fake *f);
unsigned int virtgpu_fake_contexts(struct virtgpu_fake *f);

static inline unsigned int virtgpu_fake_violations(struct virtgpu_fake *f)
{
	return virtio_fake_violations(virtgpu_fake_virtio(f));
}

static inline const char *virtgpu_fake_violation(struct virtgpu_fake *f)
{
	return virtio_fake_violation(virtgpu_fake_virtio(f));
}

static inline unsigned int virtgpu_fake_clear_violations(struct virtgpu_fake *f)
{
	return virtio_fake_clear_violations(virtgpu_fake_virtio(f));
}

#endif

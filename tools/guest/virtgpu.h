/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The virtio-gpu seen from userspace: host blobs by the real ioctls, the window
 * by debugfs, and the commands the device gets by the driver's tracepoints.
 */
#ifndef VIRTGPU_H
#define VIRTGPU_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The UAPI header of the tree under test. */
#include <drm/virtgpu_drm.h>

#ifndef DRM_VIRTGPU_BLOB_FLAG_HINT_DEFER_MAPPING
#error "this kernel tree has no blob_hints in virtgpu_drm.h: apply the series first"
#endif

#define EAGER			0
#define DEFERRED		DRM_VIRTGPU_BLOB_FLAG_HINT_DEFER_MAPPING

/* enum virtio_gpu_ctrl_type of <linux/virtio_gpu.h> */
#define CMD_CREATE_2D		0x101
#define CMD_UNREF		0x102
#define CMD_CREATE_BLOB		0x10c
#define CMD_CTX_CREATE		0x200
#define CMD_CTX_DESTROY		0x201
#define CMD_CREATE_3D		0x204
#define CMD_SUBMIT_3D		0x207
#define CMD_MAP_BLOB		0x208
#define CMD_UNMAP_BLOB		0x209
#define CMD_TYPES		0x400

/*
 * A file of the render node with a virgl context. The rest return 0 or more, or
 * -errno.
 */
int virtgpu_open(void);
long virtgpu_param(int fd, uint64_t param);
int blob_create(int fd, uint64_t size, uint32_t hints, uint32_t *handle);
/* One that the host creates but refuses to map. */
int blob_create_unmappable(int fd, uint64_t size, uint32_t hints, uint32_t *handle);
/* What blob_create() passes to the ioctl, for those who change it before. */
struct blob_request {
	struct drm_virtgpu_resource_create_blob create;
	uint32_t cmd[12];
};
void blob_request(struct blob_request *request, uint64_t size, uint32_t hints);
int blob_request_send(int fd, struct blob_request *request);
/* By the ioctl as it was before blob_hints: what is there is not the kernel's to read. */
int blob_request_send_old(int fd, struct blob_request *request);
int blob_destroy(int fd, uint32_t handle);
/* A dma-buf of the blob, a new file; and the handle of one that was exported. */
int blob_export(int fd, uint32_t handle);
int blob_import(int fd, int dma_buf, uint32_t *handle);
int blob_offset(int fd, uint32_t handle, uint64_t *offset);
/* MAP ioctl and mmap(): MAP_FAILED and errno as mmap() has it. */
void *blob_map(int fd, uint32_t handle, size_t size);

/* Data that tells where it belongs. */
void fill(volatile uint32_t *at, size_t size, uint32_t seed);
/* Words that are not as fill() left them. */
size_t differences(const volatile uint32_t *at, size_t size, uint32_t seed);

/*
 * The same with the host's eyes: the host copies a blob to a resource with memory
 * of the guest, or back. host_sees() returns the number of words that differ.
 */
long host_sees(int fd, uint32_t handle, size_t size, uint32_t seed);
int host_writes(int fd, uint32_t handle, size_t size, uint32_t seed);

/* Bytes of the window that are taken, and of its largest hole. */
uint64_t window_used(void);
uint64_t window_hole(void);
/* Whether debugfs has it: a device with a window is there. */
bool window_present(void);

/*
 * What went over the control queue since commands_start(). The time of an
 * answer is the one the driver's tracepoint wrote down: looking at the trace
 * late or seldom does not change it.
 */
struct commands {
	unsigned int sent[CMD_TYPES], answered[CMD_TYPES], refused[CMD_TYPES];
	unsigned int in_flight[CMD_TYPES];	/* the most at once, sent and not answered */
	unsigned int pending;
	double last_answer, first_map;	/* of any command; when the first MAP_BLOB was sent */
	bool lost;		/* the trace buffer overran: counts are wrong */
};
extern struct commands commands;

void commands_start(void);
void commands_read(void);
/* What is unanswered will stay so: the device is gone. */
void commands_forget(void);
/* What the tracepoints of mappings have told since mappings_start(), and the last of them in full. */
struct mappings {
	unsigned int started, done, unmapped;
	uint32_t resource;
	uint64_t offset, ns;
	int result;
};
extern struct mappings mappings;

/* False if the driver has no such tracepoints. commands_read() reads them, too. */
bool mappings_start(void);
/* Only ends of mappings that match are told; NULL: all. */
void mappings_filter(const char *filter);

/* Waits until this many of a type are answered and nothing else is pending. */
bool commands_wait(unsigned int type, unsigned int count, double seconds);
/* Waits until this many of a type are sent. */
bool commands_wait_sent(unsigned int type, unsigned int count, double seconds);
bool commands_wait_idle(double seconds);
/* Waits until each object that was created or mapped is destroyed and unmapped, too. */
bool commands_wait_balanced(double seconds);

#endif

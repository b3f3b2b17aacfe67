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

#define CMD_UNREF		0x102
#define CMD_CREATE_BLOB		0x10c
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
int blob_destroy(int fd, uint32_t handle);
/* A dma-buf of the blob, a new file; and the handle of one that was exported. */
int blob_export(int fd, uint32_t handle);
int blob_import(int fd, int dma_buf, uint32_t *handle);
int blob_offset(int fd, uint32_t handle, uint64_t *offset);
/* MAP ioctl and mmap(): MAP_FAILED and errno as mmap() has it. */
void *blob_map(int fd, uint32_t handle, size_t size);

/* Bytes of the window that are taken. */
uint64_t window_used(void);

/*
 * What went over the control queue since commands_start(). The time of an
 * answer is the one the driver's tracepoint wrote down: looking at the trace
 * late or seldom does not change it.
 */
struct commands {
	unsigned int sent[CMD_TYPES], answered[CMD_TYPES];
	unsigned int pending;
	double last_answer;
	bool lost;		/* the trace buffer overran: counts are wrong */
};
extern struct commands commands;

void commands_start(void);
void commands_read(void);
/* Waits until this many of a type are answered and nothing else is pending. */
bool commands_wait(unsigned int type, unsigned int count, double seconds);

#endif

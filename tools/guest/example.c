// SPDX-License-Identifier: GPL-2.0-only
/*
 * How a driver in userspace uses DRM_VIRTGPU_BLOB_FLAG_HINT_DEFER_MAPPING: a host blob
 * gets room in the host-visible window when a CPU wants to see it, and not before. If
 * there is none, memory of the guest takes its place, and is copied.
 *
 *	example [RENDER-NODE]
 *
 * Exit 0: the host has kept what was written; 1: something failed, and stderr says what.
 * Needs a C library and the kernel's headers. See Documentation/userspace.md.
 */
#define _FILE_OFFSET_BITS 64	/* DRM's offsets do not fit in 32 bits */
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <drm/drm.h>
#include <drm/virtgpu_drm.h>

#define SIZE	(256 << 10)	/* to be a multiple of VIRTGPU_PARAM_BLOB_ALIGNMENT */
#define VIRGL2	2		/* the capability set */
/* Gallium's numbers for a buffer of bytes */
enum { TARGET_BUFFER = 0, FORMAT_R8_UNORM = 64, BIND_VERTEX_BUFFER = 16 };

struct buffer {
	uint32_t handle;
	int in_memory;		/* of the guest: the host sees what is transferred */
	uint64_t offset;	/* for mmap() */
};

/* As drmIoctl() of libdrm: what a signal has interrupted is done again. */
static int do_ioctl(int fd, unsigned long request, void *arg)
{
	int ret;

	do
		ret = ioctl(fd, request, arg);
	while (ret && (errno == EINTR || errno == EAGAIN));
	return ret ? -errno : 0;
}

/* Zero, too, for what this kernel does not know. */
static uint32_t param(int fd, uint64_t which)
{
	int value = 0;
	struct drm_virtgpu_getparam get = { .param = which, .value = (uintptr_t)&value };

	return do_ioctl(fd, DRM_IOCTL_VIRTGPU_GETPARAM, &get) ? 0 : value;
}

/* A virtio-gpu, not another driver with other ioctls; blobs; a window; a virgl context. */
static int start(int fd)
{
	struct drm_virtgpu_context_set_param set = { VIRTGPU_CONTEXT_PARAM_CAPSET_ID, VIRGL2 };
	struct drm_virtgpu_context_init context = {
		.num_params = 1, .ctx_set_params = (uintptr_t)&set,
	};
	char name[16] = "";
	struct drm_version version = { .name = name, .name_len = sizeof(name) - 1 };

	if (do_ioctl(fd, DRM_IOCTL_VERSION, &version) || strcmp(name, "virtio_gpu") ||
	    !param(fd, VIRTGPU_PARAM_RESOURCE_BLOB) || !param(fd, VIRTGPU_PARAM_HOST_VISIBLE) ||
	    !param(fd, VIRTGPU_PARAM_CONTEXT_INIT) ||
	    !(param(fd, VIRTGPU_PARAM_SUPPORTED_CAPSET_IDs) & 1 << VIRGL2))
		return -ENOTSUP;
	return do_ioctl(fd, DRM_IOCTL_VIRTGPU_CONTEXT_INIT, &context);
}

/* The virgl command has the host make a resource; the ioctl makes a blob of it, by its id. */
static int create_blob(int fd, struct buffer *buffer)
{
	static uint32_t id;		/* a context uses each once */
	uint32_t cmd[] = {
		48 | 11 << 16,		/* PIPE_RESOURCE_CREATE, 11 dwords */
		TARGET_BUFFER, FORMAT_R8_UNORM, BIND_VERTEX_BUFFER,
		SIZE, 1, 1, 1, 0, 0,	/* width ... samples */
		2 | 4,			/* persistent, coherent: else the host cannot map it */
		++id,
	};
	struct drm_virtgpu_resource_create_blob create = {
		.blob_mem = VIRTGPU_BLOB_MEM_HOST3D,
		.blob_flags = VIRTGPU_BLOB_FLAG_USE_MAPPABLE,
		.size = SIZE,
		.cmd_size = sizeof(cmd),
		.cmd = (uintptr_t)cmd,
		.blob_id = id,
		/* Headers before Linux 7.2 lack it: carry a copy of the kernel's, as Mesa does. */
#ifdef DRM_VIRTGPU_BLOB_FLAG_HINT_DEFER_MAPPING
		.blob_hints = DRM_VIRTGPU_BLOB_FLAG_HINT_DEFER_MAPPING,
#endif
	};
	int ret = do_ioctl(fd, DRM_IOCTL_VIRTGPU_RESOURCE_CREATE_BLOB, &create);

	*buffer = (struct buffer){ .handle = create.bo_handle };
	return ret;
}

/* If a blob is not mapped yet, the host is told to begin. This does not wait for it. */
static int get_offset(int fd, struct buffer *buffer)
{
	struct drm_virtgpu_map map = { .handle = buffer->handle };
	int ret = do_ioctl(fd, DRM_IOCTL_VIRTGPU_MAP, &map);

	buffer->offset = map.offset;
	return ret;
}

/* This does, the first time. All of the blob: Linux 6.12 maps no part of one. */
static int map(int fd, const struct buffer *buffer, uint32_t **at)
{
	*at = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, buffer->offset);
	return *at == MAP_FAILED ? -errno : 0;
}

/* For a blob that cannot be created or mapped, and that holds no data yet. */
static int replace(int fd, struct buffer *buffer, int error)
{
	struct drm_gem_close gem_close = { .handle = buffer->handle };
	struct drm_virtgpu_resource_create create = {
		.target = TARGET_BUFFER, .format = FORMAT_R8_UNORM, .bind = BIND_VERTEX_BUFFER,
		.width = SIZE, .height = 1, .depth = 1, .array_size = 1, .size = SIZE,
	};

	switch (error) {
	case -ENOSPC:	/* the window is full: a driver frees idle blobs and tries again first */
	case -ENOMEM:	/* there is no memory now, here or on the host: the same */
	case -EIO:	/* the host refuses */
	case -EINVAL:	/* the same, on a kernel without the series */
		break;
	default:	/* ENODEV: the device is gone */
		return error;
	}
	printf("no mapping (%s): memory of the guest instead\n", strerror(-error));
	if (buffer->handle)
		do_ioctl(fd, DRM_IOCTL_GEM_CLOSE, &gem_close);
	error = do_ioctl(fd, DRM_IOCTL_VIRTGPU_RESOURCE_CREATE, &create);
	*buffer = (struct buffer){ .handle = create.bo_handle, .in_memory = 1 };
	return error ? error : get_offset(fd, buffer);
}

/* Nothing is copied for a blob. TRANSFER_FROM_HOST has the same struct by another name. */
static int transfer(int fd, const struct buffer *buffer, unsigned long direction)
{
	struct drm_virtgpu_3d_transfer_to_host copy = {
		.bo_handle = buffer->handle, .box = { .w = SIZE, .h = 1, .d = 1 },
	};
	struct drm_virtgpu_3d_wait wait = { .handle = buffer->handle };
	int ret = buffer->in_memory ? do_ioctl(fd, direction, &copy) : 0;

	/* It gives up after 15 seconds. */
	while (!ret && (ret = do_ioctl(fd, DRM_IOCTL_VIRTGPU_WAIT, &wait)) == -EBUSY)
		ret = 0;
	return ret;
}

static int fail(const char *what, int error)
{
	fprintf(stderr, "example: %s: %s\n", what, strerror(-error));
	return 1;
}

int main(int argc, char **argv)
{
	const char *node = argc > 1 ? argv[1] : "/dev/dri/renderD128";
	uint32_t *at, i, differ = 0;
	struct buffer buffer;
	int fd = open(node, O_RDWR | O_CLOEXEC), ret;

	if (fd < 0)
		return fail(node, -errno);
	ret = start(fd);
	if (ret)
		return fail("no virtio-gpu with a window and virgl", ret);
	ret = create_blob(fd, &buffer);
	if (!ret)			/* a head start: the blob is going to be mapped */
		ret = get_offset(fd, &buffer);
	else if (ret == -ENOSPC)	/* the kernel does not know the hint */
		ret = replace(fd, &buffer, ret);
	if (ret)
		return fail("create", ret);

	/* Here a driver does something else, and the host maps meanwhile. */
	ret = map(fd, &buffer, &at);
	if (ret && !buffer.in_memory) {
		ret = replace(fd, &buffer, ret);
		if (!ret)
			ret = map(fd, &buffer, &at);
	}
	if (ret)
		return fail("first mmap", ret);
	for (i = 0; i < SIZE / sizeof(*at); i++)
		at[i] = i * 2654435761u;
	ret = transfer(fd, &buffer, DRM_IOCTL_VIRTGPU_TRANSFER_TO_HOST);
	if (ret)
		return fail("transfer to the host", ret);
	if (buffer.in_memory)
		memset(at, 0, SIZE);
	munmap(at, SIZE);

	ret = transfer(fd, &buffer, DRM_IOCTL_VIRTGPU_TRANSFER_FROM_HOST);
	if (!ret)
		ret = map(fd, &buffer, &at);
	if (ret)
		return fail("second mmap", ret);
	for (i = 0; i < SIZE / sizeof(*at); i++)
		differ += at[i] != i * 2654435761u;
	munmap(at, SIZE);
	close(fd);
	printf("%s: %d bytes written to %s, unmapped, mapped again: %u words differ\n", node, SIZE,
	       buffer.in_memory ? "memory of the guest" : "a host blob", differ);
	return differ ? fail("the data was not kept", -EIO) : 0;
}

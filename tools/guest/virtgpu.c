// SPDX-License-Identifier: GPL-2.0-only
#include <drm/drm.h>
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "guest.h"
#include "virtgpu.h"

#define TRACING		"/sys/kernel/tracing/"
#define CAPSET_VIRGL2	2

static int do_ioctl(int fd, unsigned long request, void *arg)
{
	int ret;

	do
		ret = ioctl(fd, request, arg);
	while (ret && errno == EINTR);
	return ret ? -errno : 0;
}

int virtgpu_open(void)
{
	struct drm_virtgpu_context_set_param capset = {
		.param = VIRTGPU_CONTEXT_PARAM_CAPSET_ID,
		.value = CAPSET_VIRGL2,
	};
	struct drm_virtgpu_context_init init = {
		.num_params = 1,
		.ctx_set_params = (uintptr_t)&capset,
	};
	int fd = open("/dev/dri/renderD128", O_RDWR | O_CLOEXEC);
	int ret;

	if (fd < 0)
		return -errno;
	ret = do_ioctl(fd, DRM_IOCTL_VIRTGPU_CONTEXT_INIT, &init);
	if (ret) {
		close(fd);
		return ret;
	}
	return fd;
}

long virtgpu_param(int fd, uint64_t param)
{
	int value = 0;
	struct drm_virtgpu_getparam get = {
		.param = param,
		.value = (uintptr_t)&value,
	};
	int ret = do_ioctl(fd, DRM_IOCTL_VIRTGPU_GETPARAM, &get);

	return ret ? ret : value;
}

int blob_create(int fd, uint64_t size, uint32_t hints, uint32_t *handle)
{
	static uint32_t last_id;
	uint32_t id = ++last_id;
	/*
	 * The host makes the blob out of the resource this command defines: a
	 * buffer that may stay mapped and needs no flushing, else the host
	 * cannot map it.
	 */
	uint32_t cmd[] = {
		48 | 11 << 16,		/* PIPE_RESOURCE_CREATE, 11 dwords */
		0, 64, 1 << 4,		/* buffer, R8_UNORM, vertex buffer */
		size, 1, 1, 1, 0, 0,	/* width ... samples */
		2 | 4,			/* persistent, coherent */
		id,
	};
	struct drm_virtgpu_resource_create_blob create = {
		.blob_mem = VIRTGPU_BLOB_MEM_HOST3D,
		.blob_flags = VIRTGPU_BLOB_FLAG_USE_MAPPABLE,
		.size = size,
		.cmd_size = sizeof(cmd),
		.cmd = (uintptr_t)cmd,
		.blob_id = id,
		.blob_hints = hints,
	};
	int ret = do_ioctl(fd, DRM_IOCTL_VIRTGPU_RESOURCE_CREATE_BLOB, &create);

	*handle = create.bo_handle;
	return ret;
}

int blob_destroy(int fd, uint32_t handle)
{
	struct drm_gem_close gem_close = { .handle = handle };

	return do_ioctl(fd, DRM_IOCTL_GEM_CLOSE, &gem_close);
}

int blob_export(int fd, uint32_t handle)
{
	struct drm_prime_handle prime = { .handle = handle, .flags = DRM_RDWR | DRM_CLOEXEC };
	int ret = do_ioctl(fd, DRM_IOCTL_PRIME_HANDLE_TO_FD, &prime);

	return ret ? ret : prime.fd;
}

int blob_import(int fd, int dma_buf, uint32_t *handle)
{
	struct drm_prime_handle prime = { .fd = dma_buf };
	int ret = do_ioctl(fd, DRM_IOCTL_PRIME_FD_TO_HANDLE, &prime);

	*handle = prime.handle;
	return ret;
}

int blob_offset(int fd, uint32_t handle, uint64_t *offset)
{
	struct drm_virtgpu_map map = { .handle = handle };
	int ret = do_ioctl(fd, DRM_IOCTL_VIRTGPU_MAP, &map);

	*offset = map.offset;
	return ret;
}

void *blob_map(int fd, uint32_t handle, size_t size)
{
	uint64_t offset;
	int ret = blob_offset(fd, handle, &offset);

	if (ret) {
		errno = -ret;
		return MAP_FAILED;
	}
	return mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, offset);
}

uint64_t window_used(void)
{
	static char path[128];
	unsigned long long used;
	char line[256];
	bool found = false;
	FILE *f;

	if (!path[0]) {
		glob_t g;

		if (glob("/sys/kernel/debug/dri/*/virtio-gpu-host-visible-mm", 0, NULL, &g))
			bail("debugfs has no virtio-gpu-host-visible-mm");
		snprintf(path, sizeof(path), "%s", g.gl_pathv[0]);
		globfree(&g);
	}
	f = fopen(path, "r");
	if (!f)
		bail("cannot open %s: %s", path, strerror(errno));
	while (fgets(line, sizeof(line), f))
		if (sscanf(line, "total: %*u, used %llu", &used) == 1)
			found = true;
	fclose(f);
	if (!found)
		bail("%s does not say how much is used: the device has no window", path);
	return used;
}

struct commands commands;

/* Which command has which number; an answer carries its command's. */
static uint16_t type_of[1 << 16];
static int trace_fd = -1;

void commands_start(void)
{
	if (trace_fd < 0) {
		write_file(TRACING "trace_clock", "mono");
		write_file(TRACING "buffer_size_kb", "8192");
		write_file(TRACING "events/virtio_gpu/enable", "1");
		trace_fd = open(TRACING "trace_pipe", O_RDONLY | O_NONBLOCK | O_CLOEXEC);
		if (trace_fd < 0)
			bail("cannot open trace_pipe: %s", strerror(errno));
	}
	commands_read();
	memset(commands.sent, 0, sizeof(commands.sent));
	memset(commands.answered, 0, sizeof(commands.answered));
	commands.last_answer = 0;
}

/* "init-1 [000] ..... 1.234567: virtio_gpu_cmd_queue: vdev=0 vq=0 ... type=0x208 ... seqno=7" */
static void parse_line(const char *line)
{
	const char *event = strstr(line, ": virtio_gpu_cmd_");
	const char *vq, *type_at, *seqno_at, *time;
	unsigned int type;
	uint16_t seqno;

	if (strstr(line, "LOST"))
		commands.lost = true;
	if (!event)
		return;
	vq = strstr(event, " vq=");
	type_at = strstr(event, " type=");
	seqno_at = strstr(event, " seqno=");
	/* vq 0 is the control queue; the cursor has one of its own. */
	if (!vq || !type_at || !seqno_at || strtoul(vq + 4, NULL, 10))
		return;
	type = strtoul(type_at + 6, NULL, 0);
	seqno = strtoul(seqno_at + 7, NULL, 10);

	if (!strncmp(event + 17, "queue:", 6)) {
		if (type >= CMD_TYPES)
			return;
		type_of[seqno] = type;
		commands.sent[type]++;
		commands.pending++;
	} else if (!strncmp(event + 17, "response:", 9) && type_of[seqno]) {
		commands.answered[type_of[seqno]]++;
		type_of[seqno] = 0;
		commands.pending--;
		for (time = event; time > line && time[-1] != ' '; time--)
			;
		commands.last_answer = strtod(time, NULL);
	}
}

void commands_read(void)
{
	static char buf[1 << 16];
	static size_t kept;
	ssize_t n;

	/* One byte is for the terminating 0. */
	while ((n = read(trace_fd, buf + kept, sizeof(buf) - kept - 1)) > 0) {
		char *line = buf, *end;

		kept += n;
		buf[kept] = 0;
		while ((end = strchr(line, '\n'))) {
			*end = 0;
			parse_line(line);
			line = end + 1;
		}
		kept = buf + kept - line;
		memmove(buf, line, kept);
	}
	if (n < 0 && errno != EAGAIN && errno != EINTR)
		bail("cannot read the trace: %s", strerror(errno));
}

bool commands_wait(unsigned int type, unsigned int count, double seconds)
{
	double end = now() + seconds;

	for (;;) {
		bool late = now() > end;

		commands_read();
		if (commands.answered[type] >= count && !commands.pending)
			return true;
		if (late)
			return false;
		usleep(1000);
	}
}

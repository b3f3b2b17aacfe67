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
/* From here on, an answer is a refusal. */
#define RESP_ERR	0x1200

/* Of Gallium, as virgl has them: target, format, bind. */
#define BUFFER		0
#define R8_UNORM	64
#define VERTEX_BUFFER	(1 << 4)

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
	int fd, ret;
	glob_t g;

	/* A device that comes back while its old file is open gets another number. */
	if (glob("/dev/dri/renderD*", 0, NULL, &g))
		return -ENOENT;
	fd = open(g.gl_pathv[0], O_RDWR | O_CLOEXEC);
	globfree(&g);
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

void blob_request(struct blob_request *request, uint64_t size, uint32_t hints)
{
	static uint16_t last_id;
	/* A child that has inherited the file has the same context. */
	uint32_t id = getpid() << 16 | ++last_id;
	/*
	 * The host makes the blob out of the resource this command defines: a
	 * buffer that may stay mapped and needs no flushing, else the host
	 * cannot map it.
	 */
	uint32_t cmd[] = {
		48 | 11 << 16,		/* PIPE_RESOURCE_CREATE, 11 dwords */
		BUFFER, R8_UNORM, VERTEX_BUFFER,
		size, 1, 1, 1, 0, 0,	/* width ... samples */
		2 | 4,			/* persistent, coherent */
		id,
	};

	*request = (struct blob_request){
		.create = {
			.blob_mem = VIRTGPU_BLOB_MEM_HOST3D,
			.blob_flags = VIRTGPU_BLOB_FLAG_USE_MAPPABLE,
			.size = size,
			.cmd_size = sizeof(cmd),
			.blob_id = id,
			.blob_hints = hints,
		},
	};
	memcpy(request->cmd, cmd, sizeof(cmd));
}

static void point_to_cmd(struct blob_request *request)
{
	if (request->create.cmd_size)
		request->create.cmd = (uintptr_t)request->cmd;
}

int blob_request_send(int fd, struct blob_request *request)
{
	point_to_cmd(request);
	return do_ioctl(fd, DRM_IOCTL_VIRTGPU_RESOURCE_CREATE_BLOB, &request->create);
}

int blob_request_send_old(int fd, struct blob_request *request)
{
	point_to_cmd(request);
	return do_ioctl(fd, _IOC(_IOC_READ | _IOC_WRITE, DRM_IOCTL_BASE,
				 DRM_COMMAND_BASE + DRM_VIRTGPU_RESOURCE_CREATE_BLOB,
				 offsetof(struct drm_virtgpu_resource_create_blob, blob_hints)),
			&request->create);
}

int blob_create(int fd, uint64_t size, uint32_t hints, uint32_t *handle)
{
	struct blob_request request;
	int ret;

	blob_request(&request, size, hints);
	ret = blob_request_send(fd, &request);
	*handle = request.create.bo_handle;
	return ret;
}

int blob_create_unmappable(int fd, uint64_t size, uint32_t hints, uint32_t *handle)
{
	struct blob_request request;
	int ret;

	blob_request(&request, size, hints);
	request.cmd[10] = 0;
	ret = blob_request_send(fd, &request);
	*handle = request.create.bo_handle;
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

static uint32_t word(uint32_t i, uint32_t seed)
{
	return (i + seed) * 2654435761u ^ seed;
}

void fill(volatile uint32_t *at, size_t size, uint32_t seed)
{
	size_t i;

	for (i = 0; i < size / sizeof(*at); i++)
		at[i] = word(i, seed);
}

size_t differences(const volatile uint32_t *at, size_t size, uint32_t seed)
{
	size_t i, n = 0;

	for (i = 0; i < size / sizeof(*at); i++)
		n += at[i] != word(i, seed);
	return n;
}

/* A resource of virgl with memory of the guest. */
struct peer {
	uint32_t handle;
	size_t size;
	void *at;
};

static int peer_create(int fd, size_t size, struct peer *peer)
{
	struct drm_virtgpu_resource_create create = {
		.target = BUFFER, .format = R8_UNORM, .bind = VERTEX_BUFFER,
		.width = size, .height = 1, .depth = 1, .array_size = 1,
		.size = size,
	};
	int ret = do_ioctl(fd, DRM_IOCTL_VIRTGPU_RESOURCE_CREATE, &create);

	if (ret)
		return ret;
	peer->handle = create.bo_handle;
	peer->size = size;
	peer->at = blob_map(fd, peer->handle, size);
	if (peer->at == MAP_FAILED) {
		ret = -errno;
		blob_destroy(fd, peer->handle);
	}
	return ret;
}

static void peer_destroy(int fd, struct peer *peer)
{
	munmap(peer->at, peer->size);
	blob_destroy(fd, peer->handle);
}

static int wait_idle(int fd, uint32_t handle)
{
	struct drm_virtgpu_3d_wait wait = { .handle = handle };
	int ret;

	/* The ioctl gives up after 15 s, which a host behind many an unmap may take. */
	do
		ret = do_ioctl(fd, DRM_IOCTL_VIRTGPU_WAIT, &wait);
	while (ret == -EBUSY);
	return ret;
}

/* The number the host knows it by. */
static int host_name(int fd, uint32_t handle, uint32_t *name)
{
	struct drm_virtgpu_resource_info info = { .bo_handle = handle };
	int ret = do_ioctl(fd, DRM_IOCTL_VIRTGPU_RESOURCE_INFO, &info);

	*name = info.res_handle;
	return ret;
}

static int host_copy(int fd, uint32_t from, uint32_t to, size_t size)
{
	uint32_t handles[] = { from, to };
	uint32_t source, target;
	int ret = host_name(fd, from, &source);

	if (!ret)
		ret = host_name(fd, to, &target);
	if (ret)
		return ret;

	uint32_t cmd[] = {
		17 | 13 << 16,		/* RESOURCE_COPY_REGION, 13 dwords */
		target, 0, 0, 0, 0,	/* level, x, y, z */
		source, 0, 0, 0, 0,
		size, 1, 1,
	};
	struct drm_virtgpu_execbuffer exec = {
		.size = sizeof(cmd),
		.command = (uintptr_t)cmd,
		.bo_handles = (uintptr_t)handles,
		.num_bo_handles = 2,
	};

	return do_ioctl(fd, DRM_IOCTL_VIRTGPU_EXECBUFFER, &exec);
}

long host_sees(int fd, uint32_t handle, size_t size, uint32_t seed)
{
	struct drm_virtgpu_3d_transfer_from_host transfer = {
		.box = { .w = size, .h = 1, .d = 1 },
	};
	struct peer peer;
	long ret = peer_create(fd, size, &peer);

	if (ret)
		return ret;
	memset(peer.at, 0xa5, size);
	ret = host_copy(fd, handle, peer.handle, size);
	if (ret)
		goto out;
	transfer.bo_handle = peer.handle;
	ret = do_ioctl(fd, DRM_IOCTL_VIRTGPU_TRANSFER_FROM_HOST, &transfer);
	if (!ret)
		ret = wait_idle(fd, peer.handle);
	if (!ret)
		ret = differences(peer.at, size, seed);
out:
	peer_destroy(fd, &peer);
	return ret;
}

int host_writes(int fd, uint32_t handle, size_t size, uint32_t seed)
{
	struct drm_virtgpu_3d_transfer_to_host transfer = { .box = { .w = size, .h = 1, .d = 1 } };
	struct peer peer;
	int ret = peer_create(fd, size, &peer);

	if (ret)
		return ret;
	fill(peer.at, size, seed);
	transfer.bo_handle = peer.handle;
	ret = do_ioctl(fd, DRM_IOCTL_VIRTGPU_TRANSFER_TO_HOST, &transfer);
	if (!ret)
		ret = host_copy(fd, peer.handle, handle, size);
	if (!ret)
		ret = wait_idle(fd, peer.handle);
	peer_destroy(fd, &peer);
	return ret;
}

/* The dump of the window, or NULL. */
static FILE *window_open(void)
{
	static char path[128];
	FILE *f = path[0] ? fopen(path, "r") : NULL;
	glob_t g;

	if (f)
		return f;
	if (glob("/sys/kernel/debug/dri/*/virtio-gpu-host-visible-mm", 0, NULL, &g))
		return NULL;
	snprintf(path, sizeof(path), "%s", g.gl_pathv[0]);
	globfree(&g);
	return fopen(path, "r");
}

/* "0x0000000280000000-0x0000000290000000: 268435456: free"; last, "total: 268435456, used 0 ..." */
static bool window_read(unsigned long long *used, unsigned long long *hole)
{
	unsigned long long n;
	bool found = false;
	char line[256];
	FILE *f = window_open();

	*used = 0;
	*hole = 0;
	if (!f)
		return false;
	while (fgets(line, sizeof(line), f)) {
		if (sscanf(line, "total: %*u, used %llu", used) == 1)
			found = true;
		else if (strstr(line, ": free") && sscanf(line, "%*[^:]: %llu", &n) == 1)
			*hole = n > *hole ? n : *hole;
	}
	fclose(f);
	return found;
}

bool window_present(void)
{
	unsigned long long used, hole;

	return window_read(&used, &hole);
}

uint64_t window_used(void)
{
	unsigned long long used, hole;

	if (!window_read(&used, &hole))
		bail("debugfs does not say how much of the window is used: the device has none");
	return used;
}

uint64_t window_hole(void)
{
	unsigned long long used, hole;

	if (!window_read(&used, &hole))
		bail("debugfs does not say how much of the window is free: the device has none");
	return hole;
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
		write_file(TRACING "events/virtio_gpu/virtio_gpu_cmd_queue/enable", "1");
		write_file(TRACING "events/virtio_gpu/virtio_gpu_cmd_response/enable", "1");
		trace_fd = open(TRACING "trace_pipe", O_RDONLY | O_NONBLOCK | O_CLOEXEC);
		if (trace_fd < 0)
			bail("cannot open trace_pipe: %s", strerror(errno));
	}
	commands_read();
	memset(commands.sent, 0, sizeof(commands.sent));
	memset(commands.answered, 0, sizeof(commands.answered));
	memset(commands.refused, 0, sizeof(commands.refused));
	memset(commands.in_flight, 0, sizeof(commands.in_flight));
	commands.last_answer = 0;
	commands.first_map = 0;
}

/* "init-1 [000] ..... 1.234567: EVENT" */
static double time_of(const char *line, const char *event)
{
	const char *time;

	for (time = event; time > line && time[-1] != ' '; time--)
		;
	return strtod(time, NULL);
}

void commands_forget(void)
{
	commands_read();
	memset(type_of, 0, sizeof(type_of));
	commands.pending = 0;
}

struct mappings mappings;

bool mappings_start(void)
{
	static const char * const events[] = { "map_start", "map_done", "unmap" };
	char path[128];
	unsigned int i;

	if (access(TRACING "events/virtio_gpu/virtio_gpu_vram_map_start", F_OK))
		return false;
	for (i = 0; i < sizeof(events) / sizeof(events[0]); i++) {
		snprintf(path, sizeof(path), TRACING "events/virtio_gpu/virtio_gpu_vram_%s/enable",
			 events[i]);
		write_file(path, "1");
	}
	commands_read();
	memset(&mappings, 0, sizeof(mappings));
	return true;
}

void mappings_filter(const char *filter)
{
	write_file(TRACING "events/virtio_gpu/virtio_gpu_vram_map_done/filter",
		   filter ? filter : "0");
}

/* "...: virtio_gpu_vram_map_done: vdev=0 resource=3 offset=0x10000 result=0 ns=123456" */
static void parse_mapping(const char *event)
{
	const char *offset = strstr(event, " offset="), *result = strstr(event, " result=");
	const char *resource = strstr(event, " resource="), *ns = strstr(event, " ns=");

	if (!offset || !resource)
		return;
	mappings.resource = strtoul(resource + 10, NULL, 10);
	mappings.offset = strtoull(offset + 8, NULL, 0);
	if (!strncmp(event, "map_start:", 10)) {
		mappings.started++;
	} else if (!strncmp(event, "unmap:", 6)) {
		mappings.unmapped++;
	} else if (result && ns) {
		mappings.done++;
		mappings.result = strtol(result + 8, NULL, 10);
		mappings.ns = strtoull(ns + 4, NULL, 10);
	}
}

/* "init-1 [000] ..... 1.234567: virtio_gpu_cmd_queue: vdev=0 vq=0 ... type=0x208 ... seqno=7" */
static void parse_line(const char *line)
{
	const char *event = strstr(line, ": virtio_gpu_cmd_");
	const char *vq, *type_at, *seqno_at;
	unsigned int type;
	uint16_t seqno;

	if (strstr(line, "LOST"))
		commands.lost = true;
	if (!event) {
		event = strstr(line, ": virtio_gpu_vram_");
		if (event)
			parse_mapping(event + 18);
		return;
	}
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
		if (type == CMD_MAP_BLOB && !commands.sent[type])
			commands.first_map = time_of(line, event);
		commands.sent[type]++;
		if (commands.sent[type] - commands.answered[type] > commands.in_flight[type])
			commands.in_flight[type]++;
		commands.pending++;
	} else if (!strncmp(event + 17, "response:", 9) && type_of[seqno]) {
		commands.answered[type_of[seqno]]++;
		if (type >= RESP_ERR)
			commands.refused[type_of[seqno]]++;
		type_of[seqno] = 0;
		commands.pending--;
		commands.last_answer = time_of(line, event);
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

static bool answered(unsigned int type, unsigned int count)
{
	return commands.answered[type] >= count && !commands.pending;
}

static bool sent(unsigned int type, unsigned int count)
{
	return commands.sent[type] >= count;
}

static bool balanced(unsigned int type, unsigned int count)
{
	(void)type;
	(void)count;
	return !commands.pending &&
	       commands.sent[CMD_CREATE_BLOB] + commands.sent[CMD_CREATE_3D] +
	       commands.sent[CMD_CREATE_2D] == commands.answered[CMD_UNREF] &&
	       commands.sent[CMD_MAP_BLOB] - commands.refused[CMD_MAP_BLOB] ==
	       commands.sent[CMD_UNMAP_BLOB] &&
	       commands.sent[CMD_CTX_CREATE] == commands.answered[CMD_CTX_DESTROY];
}

static bool wait_for(bool (*what)(unsigned int type, unsigned int count), unsigned int type,
		     unsigned int count, double seconds)
{
	double end = now() + seconds;

	for (;;) {
		bool late = now() > end;

		commands_read();
		if (what(type, count))
			return true;
		if (late)
			return false;
		usleep(1000);
	}
}

bool commands_wait(unsigned int type, unsigned int count, double seconds)
{
	return wait_for(answered, type, count, seconds);
}

bool commands_wait_sent(unsigned int type, unsigned int count, double seconds)
{
	return wait_for(sent, type, count, seconds);
}

bool commands_wait_idle(double seconds)
{
	return wait_for(answered, 0, 0, seconds);
}

bool commands_wait_balanced(double seconds)
{
	return wait_for(balanced, 0, 0, seconds);
}

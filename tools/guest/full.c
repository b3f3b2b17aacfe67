// SPDX-License-Identifier: GPL-2.0-only
/*
 * What becomes of mmap() of a deferred blob that cannot be mapped, as the window
 * is full or as there is none: it has to fail, and the task must not be stuck.
 *
 * Settings: PATIENCE (5): seconds after which a task is called stuck.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "guest.h"
#include "virtgpu.h"

#define EAGER		0
#define DEFERRED	DRM_VIRTGPU_BLOB_FLAG_HINT_DEFER_MAPPING
#define MIB		(1UL << 20)

static int fd;
static double patience;

/* What a task did: it ended with errno, or it is stuck. */
struct end {
	pid_t pid;
	bool stuck;
	int error;
	double seconds;
};

/* Whether the child ended in time. A child reports an errno by its exit status. */
static bool wait_end(struct end *end, double start)
{
	int status;

	while (waitpid(end->pid, &status, WNOHANG) != end->pid) {
		if (now() > start + patience)
			return false;
		usleep(1000);
	}
	end->seconds = now() - start;
	end->error = WIFEXITED(status) ? WEXITSTATUS(status) : 0;
	return true;
}

static pid_t start(uint32_t handle, size_t size, bool again)
{
	pid_t pid = fork();

	if (pid < 0)
		bail("cannot fork: %s", strerror(errno));
	if (pid)
		return pid;
	do {
		if (blob_map(fd, handle, size) != MAP_FAILED)
			_exit(0);
	} while (again);
	_exit(errno);
}

static struct end map_in_child(uint32_t handle, size_t size)
{
	struct end end = { .pid = start(handle, size, false) };

	end.stuck = !wait_end(&end, now());
	return end;
}

/* The state of a task, as ps shows it. */
static char state_of(pid_t pid)
{
	char path[64], state = '?';
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	f = fopen(path, "r");
	if (f) {
		if (fscanf(f, "%*d (%*[^)]) %c", &state) != 1)
			state = '?';
		fclose(f);
	}
	return state;
}

/* One line for what mmap() did; if it is stuck, one for what SIGKILL does then. */
static void expect_error(struct end *end, int error, const char *why)
{
	if (!end->stuck) {
		check(end->error == error, "%s: mmap fails with %s", why,
		      end->error ? strerror(end->error) : "no error");
		check(end->seconds < 1, "%s: within a second (%.3f s)", why, end->seconds);
		return;
	}
	check(false, "%s: mmap has not returned after %.0f s, task in state %c", why, patience,
	      state_of(end->pid));
	kill(end->pid, SIGKILL);
	if (!wait_end(end, now()))
		check(false, "%s: SIGKILL has no effect for %.0f s, task in state %c", why,
		      patience, state_of(end->pid));
}

/* A task that tries again and again can be killed at any time. */
static void expect_killable(uint32_t handle, size_t size, const char *why)
{
	struct end end = { .pid = start(handle, size, true) };
	double killed;

	usleep(200000);
	killed = now();
	kill(end.pid, SIGKILL);
	check(wait_end(&end, killed) && end.seconds < 1, "%s: a task that tries is killed (%.3f s)",
	      why, end.seconds);
}

/* Three blobs of half the window each. */
static void full_window(unsigned long window)
{
	uint32_t handle[3];
	struct end end;
	unsigned int i;
	int ret;

	for (i = 0; i < 3; i++) {
		ret = blob_create(fd, window / 2, DEFERRED, &handle[i]);
		if (!check(!ret, "full window: blob %u of half its size, deferred%s%s", i,
			   ret ? ": " : "", ret ? strerror(-ret) : ""))
			return;
	}
	for (i = 0; i < 2; i++) {
		end = map_in_child(handle[i], window / 2);
		check(!end.stuck && !end.error, "full window: blob %u is mapped", i);
	}
	check(window_used() == window, "full window: it is, %llu bytes are in use",
	      (unsigned long long)window_used());

	end = map_in_child(handle[2], window / 2);
	expect_error(&end, ENOSPC, "full window");
	if (end.stuck)
		return;
	expect_killable(handle[2], window / 2, "full window");
	blob_destroy(fd, handle[0]);
	commands_wait(CMD_UNMAP_BLOB, 1, patience);
	end = map_in_child(handle[2], window / 2);
	check(!end.stuck && !end.error, "full window: with one blob less, the third is mapped");
	blob_destroy(fd, handle[1]);
	blob_destroy(fd, handle[2]);
	commands_wait(CMD_UNMAP_BLOB, 3, patience);
	check(!window_used(), "full window: in the end %llu bytes are in use",
	      (unsigned long long)window_used());
}

/* With and without the hint, what cannot be mapped is refused when it is created. */
static void no_window(void)
{
	uint32_t handle;
	struct end end;
	int ret;

	ret = blob_create(fd, MIB, EAGER, &handle);
	check(ret == -EINVAL, "no window: an eager blob is refused: %s", strerror(-ret));
	ret = blob_create(fd, MIB, DEFERRED, &handle);
	check(ret == -EINVAL, "no window: a deferred blob is refused: %s",
	      ret ? strerror(-ret) : "no, it is created");
	if (ret)
		return;
	end = map_in_child(handle, MIB);
	expect_error(&end, EINVAL, "no window");
}

int main(void)
{
	guest_start();
	patience = setting("PATIENCE", 5);
	fd = virtgpu_open();
	if (fd < 0)
		bail("no virtio-gpu with virgl contexts at /dev/dri/renderD128: %s",
		     strerror(-fd));
	if (virtgpu_param(fd, VIRTGPU_PARAM_RESOURCE_BLOB) != 1)
		bail("the device has no blobs");
	commands_start();
	if (virtgpu_param(fd, VIRTGPU_PARAM_HOST_VISIBLE) == 1)
		full_window(setting("WINDOW_MIB", 256) * MIB);
	else
		no_window();
	guest_end();
}

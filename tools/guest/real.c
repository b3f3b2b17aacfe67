// SPDX-License-Identifier: GPL-2.0-only
/*
 * Tests of host blobs on a real virtio-gpu, as ordinary users use them. Each test
 * ends with the window, the host's objects and the kernel's log as they were.
 *
 * Settings: TEST (all but device_del): the tests to run, by name, with commas between;
 * ROUNDS (1): how often; PATIENCE (60): seconds after which a task is called stuck; SEED, STEPS
 * and WALK_SECONDS: real-walk.c; KILLS (10): of the test "storm".
 */
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "real.h"

/* A host that has not answered after this long never will. */
#define HOST_SECONDS	120

const char *test_name, *expected_message;

static uint64_t window_before;
/* One that makes the host slow. */
static struct user *slow;
static long slow_fd;
static unsigned int slow_regions;

bool expect(struct user *user, long got, int error, const char *what)
{
	if (got != STUCK)
		return result(error ? got == -error : got >= 0, "%s: %s", what, result_name(got));
	if (user->immortal)
		return false;
	result(false, "%s has not returned after %.0f s, task in state %c", what, patience,
	       user_state(user));
	if (!user_kill(user, patience, NULL)) {
		user->immortal = true;
		result(false, "%s: SIGKILL has no effect for %.0f s, task in state %c", what,
		       patience, user_state(user));
	}
	return false;
}

uint64_t window_growth(void)
{
	return window_used() - window_before;
}

bool expect_window(unsigned int map_blobs, unsigned int unmap_blobs, uint64_t used,
		   const char *when)
{
	uint64_t now_used = window_growth();

	commands_read();
	return result(commands.sent[CMD_MAP_BLOB] == map_blobs &&
		      commands.sent[CMD_UNMAP_BLOB] == unmap_blobs && now_used == used,
		      "%s: %u MAP_BLOB, %u UNMAP_BLOB, %lld bytes of the window", when,
		      commands.sent[CMD_MAP_BLOB], commands.sent[CMD_UNMAP_BLOB],
		      (long long)now_used);
}

struct user *user_with_file(long *fd)
{
	struct user *user = user_start();

	*fd = call(user, op_open);
	if (*fd < 0)
		bail("%s: no virtio-gpu with virgl contexts in /dev/dri: %s", test_name,
		     result_name(*fd));
	return user;
}

void slow_host_prepare(unsigned int regions)
{
	slow = user_with_file(&slow_fd);
	slow_regions = regions;
	if (call(slow, op_create_many, slow_fd, SIZE, EAGER, regions) != regions)
		bail("%s: cannot create %u blobs", test_name, regions);
	if (!commands_wait(CMD_MAP_BLOB, regions, patience))
		bail("%s: the host does not answer", test_name);
}

void slow_host_start(void)
{
	unsigned int unmaps = commands.sent[CMD_UNMAP_BLOB];

	begin(slow, op_destroy_many, slow_fd, slow_regions);
	if (!commands_wait_sent(CMD_UNMAP_BLOB, unmaps + 1, patience))
		bail("%s: no UNMAP_BLOB is sent", test_name);
}

void give_device(void)
{
	glob_t g;

	if (glob("/dev/dri/renderD*", 0, NULL, &g))
		bail("no render node in /dev/dri");
	if (chown(g.gl_pathv[0], USER_UID, USER_UID))
		bail("cannot give %s away: %s", g.gl_pathv[0], strerror(errno));
	globfree(&g);
}

void nothing_left(void)
{
	int stuck = users_end();
	bool balanced, window = window_present();
	const char *message;
	uint64_t used = 0;

	if (stuck)
		result(false, "%d tasks cannot be ended", stuck);
	if (!commands_wait_idle(HOST_SECONDS))
		bail("%s: the host has stopped answering: %u commands are left, for %d s",
		     test_name, commands.pending, HOST_SECONDS);
	balanced = commands_wait_balanced(patience);
	if (window) {
		/* the range is given back a moment after the answer to UNREF is traced */
		double end = now() + patience;

		while ((used = window_growth()) && now() < end)
			usleep(1000);
	}
	result(balanced && !used && !commands.lost,
	       "nothing is left: CREATE_BLOB %u, UNREF %u of %u; MAP_BLOB %u, UNMAP_BLOB %u; contexts %u, destroyed %u; unanswered %u; %lld bytes of the window%s",
	       commands.sent[CMD_CREATE_BLOB], commands.answered[CMD_UNREF],
	       commands.sent[CMD_CREATE_BLOB] + commands.sent[CMD_CREATE_3D],
	       commands.sent[CMD_MAP_BLOB] - commands.refused[CMD_MAP_BLOB],
	       commands.answered[CMD_UNMAP_BLOB], commands.sent[CMD_CTX_CREATE],
	       commands.answered[CMD_CTX_DESTROY], commands.pending, (long long)used,
	       commands.lost ? "; the trace has lost some" : "");
	message = kernel_message(expected_message);
	result(!message, "the kernel's log: %s", message ? message : "nothing");
}

/* Blobs that nobody maps cost the window nothing, and the host no region. */
static void test_deferral(void)
{
	const unsigned int n = 1000;
	long fd;
	struct user *u = user_with_file(&fd);

	if (!expect(u, call(u, op_create_many, fd, SIZE, DEFERRED, n), 0,
		    "1000 deferred blobs are created"))
		return;
	commands_wait(CMD_CREATE_BLOB, n, patience);
	result(commands.answered[CMD_CREATE_BLOB] == n && !commands.refused[CMD_CREATE_BLOB],
	       "the host has created %u", commands.answered[CMD_CREATE_BLOB]);
	expect_window(0, 0, 0, "created");
	expect(u, call(u, op_destroy_many, fd, n), 0, "they are destroyed");
	commands_wait(CMD_UNREF, n, patience);
	expect_window(0, 0, 0, "destroyed");
}

/* What is written on one side of a mapping is read on the other. */
static void test_data(void)
{
	long fd, handle, at;
	struct user *u = user_with_file(&fd);

	handle = call(u, op_create, fd, SIZE, DEFERRED);
	if (!expect(u, handle, 0, "a deferred blob is created"))
		return;
	if (expect(u, call(u, op_host_writes, fd, handle, SIZE, 1), 0,
		   "the host writes before it is ever mapped"))
		expect_window(0, 0, 0, "written by the host");
	at = call(u, op_map, fd, handle, SIZE);
	if (!expect(u, at, 0, "first mmap"))
		return;
	expect_window(1, 0, SIZE, "mapped");
	expect(u, call(u, op_differences, at, SIZE, 1), 0, "the host's data is looked at");
	result(!call(u, op_differences, at, SIZE, 1), "the host's data is there");
	call(u, op_fill, at, SIZE, 2);
	result(!call(u, op_host_sees, fd, handle, SIZE, 2), "the host sees what is written");
	expect(u, call(u, op_unmap, at, SIZE), 0, "munmap");
	expect_window(1, 0, SIZE, "unmapped");
	at = call(u, op_map, fd, handle, SIZE);
	if (!expect(u, at, 0, "second mmap"))
		return;
	expect_window(1, 0, SIZE, "mapped again");
	result(!call(u, op_differences, at, SIZE, 2), "the data is still there");
	expect(u, call(u, op_host_writes, fd, handle, SIZE, 3), 0, "the host writes");
	result(!call(u, op_differences, at, SIZE, 3), "the mapping shows it");
	expect(u, call(u, op_destroy, fd, handle), 0, "the handle is closed while it is mapped");
	result(!call(u, op_differences, at, SIZE, 3), "the data is still there");
	expect_window(1, 0, SIZE, "without a handle");
	expect(u, call(u, op_unmap, at, SIZE), 0, "munmap");
	commands_wait(CMD_UNMAP_BLOB, 1, patience);
	expect_window(1, 1, 0, "unmapped");
}

/* Without the hint, all is as it was. */
static void test_eager(void)
{
	long fd, handle, at;
	struct user *u = user_with_file(&fd);

	handle = call(u, op_create, fd, SIZE, EAGER);
	if (!expect(u, handle, 0, "an eager blob is created"))
		return;
	expect_window(1, 0, SIZE, "created");
	at = call(u, op_map, fd, handle, SIZE);
	if (!expect(u, at, 0, "mmap"))
		return;
	call(u, op_fill, at, SIZE, 1);
	result(!call(u, op_host_sees, fd, handle, SIZE, 1), "the host sees what is written");
	call(u, op_unmap, at, SIZE);
	expect_window(1, 0, SIZE, "mapped and unmapped");
	call(u, op_destroy, fd, handle);
	commands_wait(CMD_UNMAP_BLOB, 1, patience);
	expect_window(1, 1, 0, "destroyed");
}

static long op_create_old(const long *arg)
{
	struct blob_request request;
	int ret;

	/* In the old struct's place for them, hints are somebody else's memory. */
	blob_request(&request, arg[1], DEFERRED);
	request.create.pad2 = 0x1234;
	ret = blob_request_send_old(arg[0], &request);
	return ret ? ret : (long)request.create.bo_handle;
}

static void test_old(void)
{
	long fd, handle, at;
	struct user *u = user_with_file(&fd);

	handle = call(u, op_create_old, fd, SIZE);
	if (!expect(u, handle, 0, "a blob is created by the old ioctl"))
		return;
	expect_window(1, 0, SIZE, "created");
	at = call(u, op_map, fd, handle, SIZE);
	if (!expect(u, at, 0, "mmap"))
		return;
	call(u, op_fill, at, SIZE, 1);
	result(!call(u, op_host_sees, fd, handle, SIZE, 1), "the host sees what is written");
	expect_window(1, 0, SIZE, "mapped");
}

enum oddity {
	HINT_1, HINT_31, PAD2, MEM_0, MEM_4, FLAG_3, ODD_CMD, CROSS_DEVICE, GUEST_ID,
	GUEST_CMD, NOT_MAPPABLE, GUEST, PAD,
};

static long op_create_odd(const long *arg)
{
	struct blob_request request;
	struct drm_virtgpu_resource_create_blob *create = &request.create;
	int ret;

	blob_request(&request, SIZE, DEFERRED);
	switch (arg[1]) {
	case HINT_1:
		create->blob_hints = 2;
		break;
	case HINT_31:
		create->blob_hints |= 1U << 31;
		break;
	case PAD2:
		create->pad2 = 1;
		break;
	case MEM_0:
		create->blob_mem = 0;
		break;
	case MEM_4:
		create->blob_mem = 4;
		break;
	case FLAG_3:
		create->blob_flags |= 8;
		break;
	case ODD_CMD:
		create->cmd_size--;
		break;
	case CROSS_DEVICE:
		create->blob_flags |= VIRTGPU_BLOB_FLAG_USE_CROSS_DEVICE;
		break;
	case NOT_MAPPABLE:
		create->blob_flags = 0;
		break;
	case PAD:
		create->pad = 1;
		break;
	case GUEST_ID:
		create->blob_mem = VIRTGPU_BLOB_MEM_GUEST;
		create->cmd_size = 0;
		break;
	case GUEST_CMD:
		create->blob_mem = VIRTGPU_BLOB_MEM_GUEST;
		create->blob_id = 0;
		break;
	case GUEST:
		create->blob_mem = VIRTGPU_BLOB_MEM_GUEST;
		create->blob_id = 0;
		create->cmd_size = 0;
		break;
	}
	ret = blob_request_send(arg[0], &request);
	return ret ? ret : (long)create->bo_handle;
}

static void test_refusals(void)
{
	static const struct {
		enum oddity oddity;
		const char *name;
		bool accepted;
	} odd[] = {
		{ HINT_1, "an unknown hint", false },
		{ HINT_31, "an unknown hint besides the known one", false },
		{ PAD2, "padding that is not zero", false },
		{ MEM_0, "no kind of memory", false },
		{ MEM_4, "an unknown kind of memory", false },
		{ FLAG_3, "an unknown flag", false },
		{ ODD_CMD, "a command of 47 bytes", false },
		{ CROSS_DEVICE, "cross-device on a device without UUIDs", false },
		{ GUEST_ID, "a guest blob with an id", false },
		{ GUEST_CMD, "a guest blob with a command", false },
		{ NOT_MAPPABLE, "the hint on a blob that is not mappable", true },
		{ GUEST, "the hint on a guest blob", true },
		{ PAD, "the first padding, which was never looked at", true },
	};
	unsigned int i, created = 0;
	long fd, handle, at;
	struct user *u = user_with_file(&fd);

	for (i = 0; i < sizeof(odd) / sizeof(odd[0]); i++) {
		handle = call(u, op_create_odd, fd, odd[i].oddity);
		if (!expect(u, handle, odd[i].accepted ? 0 : EINVAL, odd[i].name)) {
			created += handle > 0;
			continue;
		}
		created += odd[i].accepted;
		if (odd[i].oddity == NOT_MAPPABLE)
			expect(u, call(u, op_map, fd, handle, SIZE), EINVAL, "mmap of it");
		if (odd[i].oddity == GUEST) {
			at = call(u, op_map, fd, handle, SIZE);
			if (expect(u, at, 0, "mmap of it")) {
				call(u, op_fill, at, SIZE, 1);
				result(!call(u, op_differences, at, SIZE, 1), "it holds data");
			}
		}
	}
	commands_read();
	result(commands.sent[CMD_CREATE_BLOB] == created && !commands.sent[CMD_MAP_BLOB],
	       "of what is refused, nothing was sent: %u CREATE_BLOB for %u, %u MAP_BLOB",
	       commands.sent[CMD_CREATE_BLOB], created, commands.sent[CMD_MAP_BLOB]);
}

/* Three blobs of half the window each. */
static void test_full(void)
{
	unsigned long half = setting("WINDOW_MIB", 256) * MIB / 2;
	long fd, handle[3], ret, at;
	struct user *u = user_with_file(&fd), *other;
	unsigned int i;
	double start, took;

	for (i = 0; i < 3; i++) {
		handle[i] = call(u, op_create, fd, half, DEFERRED);
		if (!expect(u, handle[i], 0, "a blob of half the window is created"))
			return;
	}
	for (i = 0; i < 2; i++) {
		at = call(u, op_map, fd, handle[i], half);
		if (!expect(u, at, 0, "it is mapped"))
			return;
		call(u, op_unmap, at, half);
	}
	expect_window(2, 0, 2 * half, "the window is full");
	expect(u, call(u, op_create, fd, SIZE, EAGER), ENOSPC, "an eager blob is created");

	other = user_fork(u);
	start = now();
	ret = call(other, op_map, fd, handle[2], half);
	took = now() - start;
	if (!expect(other, ret, ENOSPC, "full window: mmap"))
		return;
	result(took < 1, "full window: mmap fails within a second (%.3f s)", took);

	expect(u, call(u, op_destroy, fd, handle[0]), 0, "a blob is destroyed");
	commands_wait(CMD_UNMAP_BLOB, 1, patience);
	at = call(other, op_map, fd, handle[2], half);
	if (!expect(other, at, 0, "then mmap of the third"))
		return;
	call(other, op_fill, at, SIZE, 1);
	result(!call(other, op_host_sees, fd, handle[2], SIZE, 1), "the host sees what is written");
	expect_window(3, 1, 2 * half, "the window is full");
}

/* With and without the hint, what cannot be mapped is refused when it is created. */
static void test_none(void)
{
	long fd, handle;
	struct user *u = user_with_file(&fd);

	expect(u, call(u, op_create, fd, MIB, EAGER), EINVAL, "an eager blob is created");
	handle = call(u, op_create, fd, MIB, DEFERRED);
	if (!expect(u, handle, EINVAL, "a deferred blob is created") && handle > 0)
		expect(u, call(u, op_map, fd, handle, MIB), EINVAL, "no window: mmap");
	handle = call(u, op_create_odd, fd, GUEST);
	if (expect(u, handle, 0, "a guest blob is created"))
		expect(u, call(u, op_map, fd, handle, SIZE), 0, "mmap of it");
}

/* A blob that the host creates and does not map. */
static void test_refused(void)
{
	long fd, handle, dma_buf;
	struct user *u = user_with_file(&fd);
	unsigned int i;

	expected_message = "virtio_gpu_dequeue_ctrl_func";
	handle = call(u, op_create_unmappable, fd, SIZE, DEFERRED);
	if (!expect(u, handle, 0, "a deferred blob is created"))
		return;
	dma_buf = call(u, op_export, fd, handle);
	if (!expect(u, dma_buf, 0, "it is exported"))
		return;
	for (i = 1; i <= 3; i++) {
		if (!expect(u, call(u, op_mmap, dma_buf, SIZE, 0), EIO,
			    "the host refuses: mmap through the dma-buf"))
			return;
		expect_window(i, 0, 0, "tried again each time");
	}
	expect(u, call(u, op_map, fd, handle, SIZE), EIO, "VIRTGPU_MAP and mmap");
	commands_wait(CMD_MAP_BLOB, i, patience);
	result(commands.refused[CMD_MAP_BLOB] == commands.sent[CMD_MAP_BLOB] &&
	       commands.sent[CMD_MAP_BLOB] >= i,
	       "all of %u MAP_BLOB are refused", commands.sent[CMD_MAP_BLOB]);
	expect_window(commands.sent[CMD_MAP_BLOB], 0, 0, "still nothing");
}

/* One blob, eight threads; another one, eight processes. */
static void test_shared(void)
{
	enum { TASKS = 8 };
	long fd, handle, at[TASKS], part = SIZE / TASKS, sum = 0;
	struct user *u = user_with_file(&fd), *users[TASKS];
	unsigned int i, j;

	handle = call(u, op_create, fd, SIZE, DEFERRED);
	if (!expect(u, handle, 0, "a deferred blob is created"))
		return;
	if (!expect(u, call(u, op_map_by_threads, fd, handle, SIZE, TASKS), 0,
		    "8 threads map and write it"))
		return;
	expect_window(1, 0, SIZE, "mapped by 8 threads");
	for (i = 0; i < TASKS; i++)
		users[i] = user_fork(u);
	at[0] = call(users[0], op_map, fd, handle, SIZE);
	if (!expect(users[0], at[0], 0, "mmap in a child"))
		return;
	for (i = 0; i < TASKS; i++)
		sum += call(users[0], op_differences, at[0] + i * part, part, i);
	result(!sum, "each has seen what all have written");
	call(u, op_destroy, fd, handle);

	handle = call(u, op_create, fd, SIZE, DEFERRED);
	for (i = 0; i < TASKS; i++)
		begin(users[i], op_map, fd, handle, SIZE);
	for (i = 0; i < TASKS; i++) {
		at[i] = user_result(users[i]);
		if (!expect(users[i], at[i], 0, "mmap in one of 8 processes"))
			return;
		call(users[i], op_fill, at[i] + i * part, part, i);
	}
	expect_window(2, 0, 2 * SIZE, "mapped by 8 processes");
	sum = 0;
	for (i = 0; i < TASKS; i++)
		for (j = 0; j < TASKS; j++)
			sum += call(users[i], op_differences, at[i] + j * part, part, j);
	result(!sum, "each sees what all have written");
	result(!call(u, op_host_sees, fd, handle, part, 0), "the host sees what is written");
}

/* Eight processes with a file of their own each, and four blobs in each. */
static void test_many(void)
{
	enum { TASKS = 8, BLOBS = 4 };
	struct user *users[TASKS];
	unsigned int i;
	long fd[TASKS];

	for (i = 0; i < TASKS; i++)
		users[i] = user_with_file(&fd[i]);
	for (i = 0; i < TASKS; i++)
		begin(users[i], op_create_many, fd[i], SIZE, DEFERRED, BLOBS);
	for (i = 0; i < TASKS; i++)
		if (!expect(users[i], user_result(users[i]), 0, "deferred blobs are created"))
			return;
	for (i = 0; i < TASKS; i++)
		begin(users[i], op_map_many, fd[i], SIZE, BLOBS, i * BLOBS);
	for (i = 0; i < TASKS; i++) {
		long differ = user_result(users[i]);

		if (expect(users[i], differ, 0, "one of 8 processes maps its blobs"))
			result(!differ, "its data is there");
	}
	expect_window(TASKS * BLOBS, 0, TASKS * BLOBS * SIZE, "all are mapped");
}

/*
 * The host is busy, so that MAP_BLOB is not answered for a while: who waits for it
 * can be killed.
 */
static void test_kill(void)
{
	unsigned int regions, maps;
	double killed, took;
	bool gone, answered;
	struct user *u;
	long fd, handle;

	for (regions = 10; regions <= 640; regions *= 2) {
		u = user_with_file(&fd);
		handle = call(u, op_create, fd, SIZE, DEFERRED);
		slow_host_prepare(regions);
		maps = commands.sent[CMD_MAP_BLOB];
		slow_host_start();
		begin(u, op_map, fd, handle, SIZE);
		if (!commands_wait_sent(CMD_MAP_BLOB, maps + 1, patience))
			break;
		/* Time to go on from VIRTGPU_MAP to mmap(): it is killed in either. */
		usleep(20000);
		killed = now();
		do {
			gone = user_kill(u, 0.001, NULL);
			took = now() - killed;
			commands_read();
			answered = commands.answered[CMD_MAP_BLOB] > maps;
		} while (!gone && !answered && took < patience);
		if (!answered || took > 1) {
			result(gone && took < 1,
			       "a task in mmap is killed: %s after %.3f s, its MAP_BLOB %s",
			       gone ? "gone" : "not gone", took,
			       answered ? "answered" : "unanswered");
			return;
		}
		users_end();
		commands_wait_balanced(patience);
		commands_start();
	}
	result(false, "no MAP_BLOB was seen unanswered behind %u regions", regions / 2);
}

/* Four users do what they like until they are killed. */
static void test_storm(void)
{
	enum { TASKS = 4 };
	unsigned long kills = setting("KILLS", 10), i;
	unsigned int seed = setting("SEED", 1);
	double took, longest = 0;
	struct user *users[TASKS] = { NULL };
	long fd;

	for (i = 0; i < kills + TASKS; i++) {
		struct user **u = &users[i % TASKS];

		if (*u) {
			usleep(rand_r(&seed) % 50000);
			if (user_returned(*u, 0)) {
				result(false, "a user of blobs fails: %s",
				       result_name(user_result(*u)));
				return;
			}
			if (!user_kill(*u, patience, &took)) {
				result(false, "SIGKILL has no effect, task in state %c",
				       user_state(*u));
				return;
			}
			if (took > longest)
				longest = took;
			commands_read();
		}
		*u = user_with_file(&fd);
		begin(*u, op_storm, fd, SIZE, rand_r(&seed));
	}
	result(longest < patience, "%lu users are killed at work, each gone within %.3f s", kills,
	       longest);
}

/* mmap() of a dma-buf maps the blob, be there a handle or not. */
static void test_dma_buf(void)
{
	long fd, other_fd, handle, imported, dma_buf, at, at2;
	struct user *u = user_with_file(&fd), *child;

	handle = call(u, op_create, fd, SIZE, DEFERRED);
	dma_buf = call(u, op_export, fd, handle);
	if (!expect(u, dma_buf, 0, "a deferred blob is exported"))
		return;
	expect_window(0, 0, 0, "exported");
	at = call(u, op_mmap, dma_buf, SIZE, 0);
	if (!expect(u, at, 0, "first mmap, through the dma-buf"))
		return;
	expect_window(1, 0, SIZE, "mapped");
	call(u, op_fill, at, SIZE, 1);
	result(!call(u, op_host_sees, fd, handle, SIZE, 1), "the host sees what is written");

	other_fd = call(u, op_open);
	imported = call(u, op_import, other_fd, dma_buf);
	if (expect(u, imported, 0, "it is imported by another file")) {
		at2 = call(u, op_map, other_fd, imported, SIZE);
		if (expect(u, at2, 0, "mmap there"))
			result(!call(u, op_differences, at2, SIZE, 1), "it is the same data");
	}
	call(u, op_close, other_fd);
	expect_window(1, 0, SIZE, "mapped twice");

	handle = call(u, op_create, fd, SIZE, DEFERRED);
	dma_buf = call(u, op_export, fd, handle);
	expect(u, call(u, op_destroy, fd, handle), 0, "another one, whose handle is closed");
	child = user_fork(u);
	expect(u, call(u, op_close, fd), 0, "the file is closed here");
	expect(child, call(child, op_close, fd), 0, "and in a child");
	at = call(child, op_mmap, dma_buf, SIZE, 0);
	if (!expect(child, at, 0, "first mmap, of the dma-buf alone"))
		return;
	expect_window(2, 0, 2 * SIZE, "mapped");
	call(child, op_fill, at, SIZE, 2);
	at = call(u, op_mmap, dma_buf, SIZE, 0);
	if (expect(u, at, 0, "mmap in the parent"))
		result(!call(u, op_differences, at, SIZE, 2), "it sees what the child has written");
	expect_window(2, 0, 2 * SIZE, "mapped twice");
}

static bool is_idle(const struct user *u)
{
	char path[64], text[8] = "";
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/cmdline", u->pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	if (read(fd, text, sizeof(text) - 1) < 0)
		text[0] = 0;
	close(fd);
	return !strcmp(text, "idle");
}

/* A mapping outlives the one who has made it, and does not outlive exec. */
static void test_fork(void)
{
	long fd, handle, at;
	struct user *u = user_with_file(&fd), *child, *other;
	double late;

	handle = call(u, op_create, fd, SIZE, DEFERRED);
	at = call(u, op_map, fd, handle, SIZE);
	if (!expect(u, at, 0, "a deferred blob is mapped"))
		return;
	call(u, op_fill, at, SIZE, 1);
	child = user_fork(u);
	other = user_fork(u);
	result(!call(child, op_differences, at, SIZE, 1), "a child sees the data");
	expect(u, call(u, op_unmap, at, SIZE), 0, "munmap in the parent");
	result(!call(child, op_differences, at, SIZE, 1), "the child still does");
	call(child, op_fill, at, SIZE, 2);
	result(!call(other, op_differences, at, SIZE, 2), "another child sees what it writes");
	at = call(u, op_map, fd, handle, SIZE);
	if (expect(u, at, 0, "mmap in the parent"))
		result(!call(u, op_differences, at, SIZE, 2), "it sees what the child has written");
	expect_window(1, 0, SIZE, "mapped in three processes");

	user_kill(u, patience, NULL);
	user_kill(other, patience, NULL);
	result(!call(child, op_differences, at, SIZE, 2),
	       "the data is there when the others are gone");
	expect_window(1, 0, SIZE, "mapped in one process");
	begin(child, op_exec, 0);
	for (late = now() + patience; !is_idle(child) && now() < late;)
		usleep(1000);
	commands_wait(CMD_UNREF, 1, patience);
	expect_window(1, 1, 0, "after exec");
	result(is_idle(child) && !user_returned(child, 0), "the program lives on");
}

static const struct test {
	const char *name;
	void (*run)(void);
	/* Only if it is named: after device_del there is no device, and QEMU crashes as it ends. */
	bool asked;
} tests[] = {
	{ "deferral", test_deferral, false },
	{ "data", test_data, false },
	{ "eager", test_eager, false },
	{ "old", test_old, false },
	{ "refusals", test_refusals, false },
	{ "refused", test_refused, false },
	{ "shared", test_shared, false },
	{ "many", test_many, false },
	{ "dma_buf", test_dma_buf, false },
	{ "fork", test_fork, false },
	{ "kill", test_kill, false },
	{ "storm", test_storm, false },
	{ "walk", test_walk, false },
	{ "shown", test_shown, false },
	{ "example", test_example, false },
	{ "full", test_full, false },
	{ "stale", test_stale, false },
	{ "unplug", test_unplug, false },
	{ "device_del", test_device_del, true },
};

/* Whether a list with commas has the name. */
static bool listed(const char *list, const char *name)
{
	size_t length = strlen(name);
	const char *at;

	for (at = list; (at = strstr(at, name)); at += length)
		if ((at == list || at[-1] == ',') && (!at[length] || at[length] == ','))
			return true;
	return false;
}

/* How many names a list with commas has. */
static unsigned int names(const char *list)
{
	unsigned int count = 1;

	while ((list = strchr(list, ','))) {
		list++;
		count++;
	}
	return count;
}

static void run(const char *name, void (*function)(void))
{
	double start = now();

	test_name = name;
	expected_message = NULL;
	commands_start();
	commands_forget();
	commands.lost = false;
	window_before = window_present() ? window_used() : 0;
	function();
	nothing_left();
	printf("# %s: %.1f s\n", name, now() - start);
}

int main(int argc, char **argv)
{
	const char *chosen = getenv("TEST");
	unsigned long rounds, round;
	unsigned int i, found = 0;
	int fd;

	if (argc && !strcmp(argv[0], "idle"))
		for (;;)
			pause();
	guest_start();
	users_init();
	rounds = setting("ROUNDS", 1);
	fd = virtgpu_open();
	if (fd < 0)
		bail("no virtio-gpu with virgl contexts in /dev/dri: %s", strerror(-fd));
	if (virtgpu_param(fd, VIRTGPU_PARAM_RESOURCE_BLOB) != 1)
		bail("the device has no blobs");
	give_device();
	kernel_message(NULL);
	if (virtgpu_param(fd, VIRTGPU_PARAM_HOST_VISIBLE) != 1) {
		close(fd);
		printf("# the device has no window: all tests but \"none\" need one\n");
		for (round = 0; round < rounds; round++)
			run("none", test_none);
		guest_end();
	}
	close(fd);
	for (round = 1; round <= rounds; round++) {
		if (rounds > 1)
			printf("# round %lu\n", round);
		for (i = 0; i < sizeof(tests) / sizeof(tests[0]); i++) {
			if (chosen ? !listed(chosen, tests[i].name) : tests[i].asked)
				continue;
			found++;
			run(tests[i].name, tests[i].run);
		}
	}
	if (chosen && found != rounds * names(chosen))
		bail("TEST=%s names a test that there is not, or one twice", chosen);
	guest_end();
}

// SPDX-License-Identifier: GPL-2.0-only
/*
 * The device goes away in the middle of things, by several ways, and comes back.
 * Every wait ends, every access ends, and the next device works.
 */
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#include "real.h"

#define QMP_TTY		"/dev/ttyS1"
#define PCI		"/sys/bus/pci/"
#define VIRTIO		"/sys/bus/virtio/"

/* Where the device is: written before the user who reads them is started. */
static char pci_name[32], virtio_name[32], remove_path[128];

static const struct way {
	const char *name, *path, *text, *back_path, *back_text;
} ways[] = {
	{ "sysfs remove", remove_path, "1", PCI "rescan", "1" },
	{ "unbind of virtio-pci", PCI "drivers/virtio-pci/unbind", pci_name,
	  PCI "drivers/virtio-pci/bind", pci_name },
	{ "unbind of virtio_gpu", VIRTIO "drivers/virtio_gpu/unbind", virtio_name,
	  VIRTIO "drivers/virtio_gpu/bind", virtio_name },
};

static void last_name(const char *pattern, char *name, size_t size)
{
	glob_t g;

	if (glob(pattern, 0, NULL, &g))
		bail("%s: there is no %s", test_name, pattern);
	snprintf(name, size, "%s", strrchr(g.gl_pathv[0], '/') + 1);
	globfree(&g);
}

static void find_device(void)
{
	last_name(PCI "drivers/virtio-pci/*:*", pci_name, sizeof(pci_name));
	last_name(VIRTIO "drivers/virtio_gpu/virtio*", virtio_name, sizeof(virtio_name));
	snprintf(remove_path, sizeof(remove_path), PCI "devices/%s/remove", pci_name);
}

/* Takes the device away, in a task of its own: whether that ends. */
static bool take_away(const struct way *way)
{
	struct user *root = user_start_root();

	return expect(root, call(root, op_write_file, (long)way->path, (long)way->text), 0,
		      way->name);
}

static bool plug_in(const struct way *way)
{
	struct user *root = user_start_root();
	double late;

	if (!expect(root, call(root, op_write_file, (long)way->back_path, (long)way->back_text), 0,
		    "the device comes back"))
		return false;
	for (late = now() + patience; !window_present() && now() < late;)
		usleep(1000);
	if (!result(window_present(), "it has a window"))
		return false;
	give_device();
	commands_start();
	commands_forget();
	return true;
}

/* The users are gone. A blob made, mapped and looked at by the host shows that the device works. */
static bool bring_back(const struct way *way)
{
	long fd, handle, at;
	struct user *u;

	if (!plug_in(way))
		return false;
	u = user_with_file(&fd);
	handle = call(u, op_create, fd, SIZE, DEFERRED);
	at = call(u, op_map, fd, handle, SIZE);
	if (!expect(u, at, 0, "a blob of it is mapped"))
		return false;
	call(u, op_fill, at, SIZE, 7);
	return result(!call(u, op_host_sees, fd, handle, SIZE, 7), "the host sees what is written");
}

/* What has no device any more ends: with these errors or with a bus error. */
static void expect_gone(struct user *u, long fd, long at, const char *who)
{
	long ret;

	expect(u, call(u, op_create, fd, SIZE, DEFERRED), ENODEV, "a blob is created afterwards");
	ret = call(u, op_differences, at, SIZE, 1);
	result(ret == -EFAULT, "%s: reading its mapping: %s", who,
	       ret == -EFAULT ? "bus error" : result_name(ret));
}

/* Blobs of all kinds, in two processes, are alive when the device goes. */
static bool go_with_live_blobs(bool (*go)(const struct way *way), const struct way *way)
{
	long fd, eager, deferred, unmapped, dma_buf, at[3], offset;
	struct user *u = user_with_file(&fd), *child;
	bool gone;

	eager = call(u, op_create, fd, SIZE, EAGER);
	deferred = call(u, op_create, fd, SIZE, DEFERRED);
	unmapped = call(u, op_create, fd, SIZE, DEFERRED);
	at[0] = call(u, op_map, fd, eager, SIZE);
	at[1] = call(u, op_map, fd, deferred, SIZE);
	dma_buf = call(u, op_export, fd, deferred);
	at[2] = call(u, op_mmap, dma_buf, SIZE, 0);
	dma_buf = call(u, op_export, fd, unmapped);
	offset = call(u, op_offset, fd, eager);
	if (!result(at[0] >= 0 && at[1] >= 0 && at[2] >= 0 && dma_buf >= 0 && offset >= 0,
		    "live blobs: an eager, a mapped and an unmapped one"))
		return false;
	call(u, op_fill, at[0], SIZE, 1);
	call(u, op_fill, at[1], SIZE, 1);
	child = user_fork(u);
	gone = go(way);
	expect_gone(u, fd, at[0], "an eager blob");
	expect_gone(child, fd, at[1], "a deferred blob, in a child");
	expect_gone(child, fd, at[2], "its dma-buf");
	expect(u, call(u, op_mmap, fd, SIZE, offset), ENODEV, "mmap of the eager blob");
	expect(u, call(u, op_mmap, dma_buf, SIZE, 0), ENODEV, "first mmap of a dma-buf");
	expect(u, call(u, op_unmap, at[0], SIZE), 0, "munmap");
	expect(u, call(u, op_destroy, fd, eager), ENODEV, "GEM_CLOSE");
	expect(u, call(u, op_close, dma_buf), 0, "close of the dma-buf");
	expect(u, call(u, op_close, fd), 0, "close of the file");
	return gone;
}

/* Tasks wait in mmap() for a host that is busy. */
static bool go_with_waiters(bool (*go)(const struct way *way), const struct way *way)
{
	enum { TASKS = 3 };
	long fd, handle, dma_buf, ret;
	struct user *u = user_with_file(&fd), *waiters[TASKS];
	unsigned int maps, i, waiting = 0;
	bool gone;

	/* QEMU 10 takes 100 ms to unmap a region, 11 some milliseconds. */
	slow_host_prepare(setting("QEMU_VERSION", 10) >= 11 ? 400 : 20);
	handle = call(u, op_create, fd, SIZE, DEFERRED);
	dma_buf = call(u, op_export, fd, handle);
	for (i = 0; i < TASKS; i++)
		waiters[i] = user_fork(u);
	commands_read();
	maps = commands.sent[CMD_MAP_BLOB];
	slow_host_start();
	for (i = 0; i < TASKS; i++)
		begin(waiters[i], op_mmap, dma_buf, SIZE, 0);
	if (!result(commands_wait_sent(CMD_MAP_BLOB, maps + 1, patience),
		    "waiters: a MAP_BLOB is on its way"))
		return false;
	gone = go(way);
	for (i = 0; i < TASKS; i++) {
		ret = user_result(waiters[i]);
		if (ret == STUCK)
			expect(waiters[i], ret, ENODEV, "mmap, waiting for the host");
		else
			waiting += ret == -ENODEV;
	}
	commands_read();
	if (waiting != TASKS && commands.answered[CMD_MAP_BLOB] > maps)
		skip("%s: the host answered before the device was gone", test_name);
	else
		result(waiting == TASKS, "%u of %d waiters in mmap get ENODEV", waiting, TASKS);
	return gone;
}

/* Four users are at work. */
static bool go_in_a_storm(bool (*go)(const struct way *way), const struct way *way)
{
	enum { TASKS = 4 };
	static unsigned int seed = 1;
	struct user *users[TASKS];
	unsigned int i;
	long fd, ret;
	bool gone;

	for (i = 0; i < TASKS; i++) {
		users[i] = user_with_file(&fd);
		begin(users[i], op_storm, fd, SIZE, rand_r(&seed));
	}
	usleep(rand_r(&seed) % 100000);
	gone = go(way);
	for (i = 0; i < TASKS; i++) {
		ret = user_result(users[i]);
		/* The last thing it did may have been to write. */
		if (ret == DEAD && user_died_of_bus_error(users[i]))
			result(true, "a user at work is ended by a bus error");
		else	/* EIO: see test_unplug() for what QEMU answers */
			expect(users[i], ret, ret == -EIO ? EIO : ENODEV, "a user at work");
	}
	return gone;
}

static bool (* const states[])(bool (*go)(const struct way *way), const struct way *way) = {
	go_with_live_blobs, go_with_waiters, go_in_a_storm,
};

void test_unplug(void)
{
	unsigned int i, j, stuck;

	/* QEMU forgets its resources at a reset before it answers the commands it has at hand. */
	expected_message = "virtio_gpu_dequeue_ctrl_func";
	find_device();
	for (i = 0; i < sizeof(ways) / sizeof(ways[0]); i++) {
		for (j = 0; j < sizeof(states) / sizeof(states[0]); j++) {
			bool gone = states[j](take_away, &ways[i]);

			stuck = users_end();
			if (!result(!stuck, "%s: %u tasks cannot be ended", ways[i].name, stuck) ||
			    !gone || !bring_back(&ways[i]))
				return;
			users_end();
			if (!result(commands_wait_balanced(patience), "its user leaves nothing"))
				return;
			find_device();
		}
	}
}

/* A mapping of the device that is gone shows nothing of what the next one maps for others. */
void test_stale(void)
{
	long fd, other_fd, handle, dma_buf, at[2], other_at, ret;
	struct user *u = user_with_file(&fd), *other;

	find_device();
	handle = call(u, op_create, fd, SIZE, DEFERRED);
	dma_buf = call(u, op_export, fd, handle);
	at[0] = call(u, op_map, fd, handle, SIZE);
	at[1] = call(u, op_mmap, dma_buf, SIZE, 0);
	if (!result(at[0] > 0 && at[1] > 0, "a blob is mapped by the file and by a dma-buf") ||
	    !take_away(&ways[0]) || !plug_in(&ways[0]))
		return;
	other = user_with_file(&other_fd);
	handle = call(other, op_create, other_fd, SIZE, EAGER);
	other_at = call(other, op_map, other_fd, handle, SIZE);
	if (!expect(other, other_at, 0, "somebody else maps a blob of it") ||
	    !expect(other, call(other, op_fill, other_at, SIZE, 9), 0, "and writes"))
		return;
	ret = call(u, op_differences, at[0], SIZE, 9);
	result(ret == -EFAULT, "the old mapping: %s", ret == -EFAULT ? "bus error" :
	       ret ? result_name(ret) : "somebody else's data");
	ret = call(u, op_differences, at[1], SIZE, 9);
	result(ret == -EFAULT, "that of the dma-buf: %s", ret == -EFAULT ? "bus error" :
	       ret ? result_name(ret) : "somebody else's data");
}

/* Says it to QEMU's monitor, and waits for the answer. */
static bool qmp(int fd, const char *command)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	static char line[1024];
	double late = now() + patience;
	size_t n = 0;

	if (write(fd, command, strlen(command)) != (ssize_t)strlen(command))
		return false;
	while (now() < late) {
		if (poll(&p, 1, 100) <= 0)
			continue;
		if (read(fd, &line[n], 1) != 1)
			return false;
		if (line[n] != '\n') {
			n += n < sizeof(line) - 1;
			continue;
		}
		line[n] = 0;
		n = 0;
		if (!strncmp(line, "{\"return\"", 9))
			return true;
		if (!strncmp(line, "{\"error\"", 8)) {
			printf("# QEMU: %s\n", line);
			return false;
		}
	}
	return false;
}

/*
 * QEMU lets nobody pull out a virtio-gpu, but its switch; and it has no other to
 * put in.
 */
static bool pull_out(const struct way *way)
{
	char path[128];
	double late = now() + patience;
	struct termios raw;
	int fd = open(QMP_TTY, O_RDWR | O_NOCTTY | O_CLOEXEC);

	(void)way;
	if (fd < 0 || tcgetattr(fd, &raw))
		return result(false, "no monitor at " QMP_TTY ": %s", strerror(errno));
	cfmakeraw(&raw);
	tcsetattr(fd, TCSANOW, &raw);
	if (!result(qmp(fd, "{\"execute\":\"qmp_capabilities\"}\n") &&
		    qmp(fd, "{\"execute\":\"device_del\",\"arguments\":{\"id\":\"gpu-switch\"}}\n"),
		    "QEMU is asked to pull out the device"))
		return false;
	close(fd);
	snprintf(path, sizeof(path), PCI "devices/%s", pci_name);
	while (!access(path, F_OK) && now() < late)
		usleep(1000);
	return result(access(path, F_OK), "the device is gone");
}

void test_device_del(void)
{
	find_device();
	go_with_live_blobs(pull_out, NULL);
	result(!users_end(), "all users can be ended");
	commands_start();
	commands_forget();
}

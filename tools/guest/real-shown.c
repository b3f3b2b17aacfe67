// SPDX-License-Identifier: GPL-2.0-only
/*
 * What a client's fdinfo, debugfs and the tracepoints say of blobs, against the window and the
 * commands.
 */
#include <errno.h>
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "real.h"

/* Of these the user knows the number, not the text: it is another process. */
static const char * const keys[] = {
	"drm-total-window", "drm-resident-window", "drm-shared-window", "drm-total-memory",
	"drm-total-host",
};

enum key { TOTAL, RESIDENT, SHARED, MEMORY, HOST };

/* fd, key -> bytes */
static long op_fdinfo(const long *arg)
{
	char path[64], line[256], unit[8];
	size_t length = strlen(keys[arg[1]]);
	unsigned long long value;
	long found = -ENOENT;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%ld", arg[0]);
	f = fopen(path, "r");
	if (!f)
		return -errno;
	while (fgets(line, sizeof(line), f)) {
		if (strncmp(line, keys[arg[1]], length) || line[length] != ':')
			continue;
		unit[0] = 0;
		if (sscanf(line + length + 1, "%llu %7s", &value, unit) < 1)
			continue;
		found = value << (!strcmp(unit, "MiB") ? 20 : !strcmp(unit, "KiB") ? 10 : 0);
	}
	fclose(f);
	return found;
}

/* One line: what the client is told, and that it is what the window and the commands say. */
static void expect_shown(struct user *u, long fd, unsigned int blobs, unsigned int mapped,
			 unsigned int shared, const char *when)
{
	long total = call(u, op_fdinfo, fd, TOTAL), resident = call(u, op_fdinfo, fd, RESIDENT);
	long of_others = call(u, op_fdinfo, fd, SHARED);

	commands_read();
	result(total == (long)(blobs * SIZE) && resident == (long)(mapped * SIZE) &&
	       of_others == (long)(shared * SIZE) && window_growth() == (uint64_t)resident &&
	       commands.answered[CMD_MAP_BLOB] - commands.refused[CMD_MAP_BLOB] -
	       commands.answered[CMD_UNMAP_BLOB] == mapped,
	       "%s: fdinfo has total %ld, resident %ld, shared %ld; the window %llu; %u mapped by the host",
	       when, total, resident, of_others, (unsigned long long)window_growth(),
	       commands.answered[CMD_MAP_BLOB] - commands.refused[CMD_MAP_BLOB] -
	       commands.answered[CMD_UNMAP_BLOB]);
}

static FILE *blobs_file(void)
{
	FILE *f = NULL;
	glob_t g;

	if (!glob("/sys/kernel/debug/dri/*/virtio-gpu-host-blobs", 0, NULL, &g))
		f = fopen(g.gl_pathv[0], "r");
	globfree(&g);
	return f;
}

/* One line: how many blobs debugfs has with this hint, state, count of mappings and error. */
static void expect_lines(unsigned int number, const char *hint, const char *state,
			 unsigned int mapped, int error)
{
	char line[256], its_hint[16], its_state[16], offset[24];
	unsigned int id, its_mapped, found = 0;
	unsigned long long size;
	int its_error;
	FILE *f = blobs_file();

	if (!f)
		bail("%s: debugfs has no list of blobs", test_name);
	while (fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%u %llu %15s %15s %23s %u %d", &id, &size, its_hint, its_state,
			   offset, &its_mapped, &its_error) != 7)
			continue;
		found += size == SIZE && !strcmp(its_hint, hint) && !strcmp(its_state, state) &&
			 its_mapped == mapped && its_error == error &&
			 (offset[0] == '-') == !strcmp(state, "unmapped");
	}
	fclose(f);
	result(found == number, "debugfs has %u blobs %s, %s, mapped %u times, error %d", found,
	       hint, state, mapped, error);
}

/* Runs the example: 0 if it ends well, with a mapping of a host blob */
static long op_example(const long *arg)
{
	int out[2], status;
	char text[512];
	ssize_t n, length = 0;
	pid_t child;

	(void)arg;
	if (pipe(out))
		return -errno;
	child = fork();
	if (child < 0)
		return -errno;
	if (!child) {
		dup2(out[1], STDOUT_FILENO);
		dup2(out[1], STDERR_FILENO);
		execl("/example", "example", (char *)NULL);
		_exit(127);
	}
	close(out[1]);
	while ((n = read(out[0], text + length, sizeof(text) - 1 - length)) > 0)
		length += n;
	close(out[0]);
	text[length] = 0;
	printf("# example: %s", text);
	if (waitpid(child, &status, 0) != child)
		return -errno;
	if (status)
		return -EPROTO;
	return strstr(text, "written to a host blob") ? 0 : -ENODATA;
}

/* The program of Documentation/userspace.md keeps what that says, with a full window, too. */
void test_example(void)
{
	long fd;
	struct user *u = user_with_file(&fd), *other;
	uint64_t hole = window_hole();

	expect(u, call(u, op_example), 0, "the example ends well, with a host blob");
	commands_wait_idle(patience);
	result(commands.answered[CMD_MAP_BLOB] == 1, "it had %u blobs mapped",
	       commands.answered[CMD_MAP_BLOB]);
	expect(u, call(u, op_create, fd, hole, EAGER), 0, "the window is filled");
	other = user_start();
	expect(other, call(other, op_example), ENODATA, "the example ends well, without one");
}

void test_shown(void)
{
	bool traced = mappings_start();
	unsigned int done;
	long fd, eager, deferred, refused, again, dma_buf, at;
	struct user *u = user_with_file(&fd);
	FILE *blobs = blobs_file();

	if (blobs)
		fclose(blobs);
	if (call(u, op_fdinfo, fd, TOTAL) == -ENOENT && !traced && !blobs) {
		skip("%s: the driver has no fdinfo, no list of blobs, no trace of mappings",
		     test_name);
		return;
	}
	expected_message = "virtio_gpu_dequeue_ctrl_func";
	expect_shown(u, fd, 0, 0, 0, "nothing created");
	eager = call(u, op_create, fd, SIZE, EAGER);
	deferred = call(u, op_create, fd, SIZE, DEFERRED);
	call(u, op_create, fd, SIZE, DEFERRED);
	refused = call(u, op_create_unmappable, fd, SIZE, DEFERRED);
	commands_wait(CMD_MAP_BLOB, 1, patience);
	expect_shown(u, fd, 4, 1, 0, "one eager blob and three deferred ones");
	expect_lines(1, "eager", "mapped", 1, 0);
	expect_lines(3, "deferred", "unmapped", 0, 0);

	at = call(u, op_map, fd, deferred, SIZE);
	expect(u, at, 0, "mmap of a deferred blob");
	expect_shown(u, fd, 4, 2, 0, "one deferred blob mapped");
	result(traced && mappings.started == 2 && mappings.done == 2 && !mappings.result &&
	       mappings.ns && mappings.ns < patience * 1e9,
	       "the trace has %u mappings started, %u done, the last with result %d after %.3f ms",
	       mappings.started, mappings.done, mappings.result, mappings.ns / 1e6);

	done = mappings.done;
	expect(u, call(u, op_map, fd, refused, SIZE), EIO, "mmap of one that the host refuses");
	expect_shown(u, fd, 4, 2, 0, "one refused");
	expect_lines(1, "deferred", "unmapped", 0, -EIO);
	result(mappings.done - done == commands.refused[CMD_MAP_BLOB] && mappings.result == -EIO,
	       "the trace has %u more mappings done, the last with result %d", mappings.done - done,
	       mappings.result);

	/* as Documentation/gpu/virtgpu.rst has it, with 10 s for 10 ms */
	mappings_filter("ns > 10000000000 || result != 0");
	done = mappings.done;
	again = call(u, op_create, fd, SIZE, DEFERRED);
	expect(u, call(u, op_map, fd, again, SIZE), 0, "mmap of another");
	commands_read();
	result(mappings.done == done, "the filter leaves out what is quick and succeeds");
	call(u, op_map, fd, refused, SIZE);
	commands_read();
	result(mappings.done > done && mappings.result == -EIO, "and leaves in what fails");
	mappings_filter(NULL);
	expect_shown(u, fd, 5, 3, 0, "one more mapped");

	dma_buf = call(u, op_export, fd, deferred);
	expect(u, dma_buf, 0, "export");
	expect_shown(u, fd, 5, 3, 1, "one exported");
	result(!call(u, op_fdinfo, fd, MEMORY) && !call(u, op_fdinfo, fd, HOST),
	       "nothing of it is in another region");

	expect(u, call(u, op_destroy, fd, eager), 0, "the eager blob is destroyed");
	commands_wait(CMD_UNMAP_BLOB, 1, patience);
	expect_shown(u, fd, 4, 2, 1, "it is gone");
	result(mappings.unmapped == 1, "the trace has %u unmapped", mappings.unmapped);
	expect_lines(0, "eager", "mapped", 1, 0);
}

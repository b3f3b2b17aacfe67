// SPDX-License-Identifier: GPL-2.0-only
/*
 * Lets every allocation fail in turn in what a task does with a blob, by
 * /proc/thread-self/fail-nth: the task gets ENOMEM or success, what failed can
 * be done again, and nothing is left over in the window, on the host or in
 * memory.
 *
 * Needs a kernel with FAULT_INJECTION, FAILSLAB, FAIL_PAGE_ALLOC and, for the
 * last, DEBUG_KMEMLEAK and kmemleak=on.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "guest.h"
#include "virtgpu.h"

#define DEBUGFS		"/sys/kernel/debug/"
#define KMEMLEAK	DEBUGFS "kmemleak"
#define SIZE		(1UL << 16)

/* What one round has made, and its end has to clear away. */
static struct {
	int fd, other, dma_buf;
	uint32_t handle, imported;
	uint64_t offset;
	void *map;
} blob;
static int fail_nth;

static int create(uint32_t hints)
{
	return blob_create(blob.fd, SIZE, hints, &blob.handle);
}

static int create_eager(void)
{
	return create(EAGER);
}

static int create_deferred(void)
{
	return create(DEFERRED);
}

static int offset(void)
{
	return blob_offset(blob.fd, blob.handle, &blob.offset);
}

static int map_file(int fd)
{
	blob.map = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd,
			fd == blob.fd ? blob.offset : 0);
	return blob.map == MAP_FAILED ? -errno : 0;
}

static int map(void)
{
	return map_file(blob.fd);
}

/* VIRTGPU_MAP starts the mapping: only through a dma-buf does mmap() itself. */
static int create_deferred_offset(void)
{
	int ret = create(DEFERRED);

	return ret ? ret : offset();
}

static int create_eager_offset(void)
{
	int ret = create(EAGER);

	return ret ? ret : offset();
}

static int create_deferred_mapped(void)
{
	int ret = create_deferred_offset();

	return ret ? ret : map();
}

static int export(void)
{
	int ret = blob_export(blob.fd, blob.handle);

	if (ret < 0)
		return ret;
	blob.dma_buf = ret;
	return 0;
}

static int create_deferred_exported(void)
{
	int ret = create(DEFERRED);

	return ret ? ret : export();
}

static int import(void)
{
	return blob_import(blob.other, blob.dma_buf, &blob.imported);
}

static int map_dma_buf(void)
{
	return map_file(blob.dma_buf);
}

static int destroy(void)
{
	int ret = blob_destroy(blob.fd, blob.handle);

	if (!ret)
		blob.handle = 0;
	return ret;
}

static int unmap(void)
{
	int ret = munmap(blob.map, SIZE);

	if (ret)
		return -errno;
	blob.map = MAP_FAILED;
	return 0;
}

static int nothing(void)
{
	return 0;
}

/* The file and all that is in it. */
static int close_file(void)
{
	int fd = blob.fd;

	blob.fd = -1;
	blob.handle = 0;
	return close(fd) ? -errno : 0;
}

static int open_file(void)
{
	int ret = virtgpu_open();

	if (ret < 0)
		return ret;
	blob.fd = ret;
	return 0;
}

/* mmap() gives EINVAL where x86 cannot note the memory type: pfnmap_track_ctx_alloc(). */
static const struct path {
	const char *name;
	int (*before)(void), (*what)(void);
	bool again;	/* if it fails, it can be done once more */
	int also;	/* an errno besides ENOMEM */
} paths[] = {
	{ "creation of an eager blob", nothing, create_eager, true, 0 },
	{ "creation of a deferred blob", nothing, create_deferred, true, 0 },
	{ "VIRTGPU_MAP of a deferred blob", create_deferred, offset, true, 0 },
	{ "mmap of an eager blob", create_eager_offset, map, true, EINVAL },
	{ "mmap after VIRTGPU_MAP", create_deferred_offset, map, true, EINVAL },
	{ "export of a deferred blob", create_deferred, export, true, 0 },
	{ "first mmap, through the dma-buf", create_deferred_exported, map_dma_buf, true, EINVAL },
	{ "import of an exported blob", create_deferred_exported, import, true, 0 },
	{ "munmap", create_deferred_mapped, unmap, true, 0 },
	{ "GEM_CLOSE of an eager blob", create_eager, destroy, true, 0 },
	{ "GEM_CLOSE of a deferred blob", create_deferred, destroy, true, 0 },
	{ "GEM_CLOSE of a mapped blob", create_deferred_offset, destroy, true, 0 },
	{ "close of the file with a mapped blob", create_deferred_offset, close_file, false, 0 },
};

static void clear_away(void)
{
	if (blob.map != MAP_FAILED)
		munmap(blob.map, SIZE);
	if (blob.imported)
		blob_destroy(blob.other, blob.imported);
	if (blob.dma_buf >= 0)
		close(blob.dma_buf);
	if (blob.handle)
		blob_destroy(blob.fd, blob.handle);
	if (blob.fd < 0 && open_file())
		bail("the render node cannot be opened again");
	blob.map = MAP_FAILED;
	blob.imported = 0;
	blob.dma_buf = -1;
	blob.handle = 0;
}

static void set_fail_nth(unsigned int n)
{
	char text[16];
	int len = snprintf(text, sizeof(text), "%u", n);

	if (pwrite(fail_nth, text, len, 0) != len)
		bail("cannot write fail-nth: %s", strerror(errno));
}

/* Does it with the n-th allocation failing: false if there is none. */
static bool failing(int (*what)(void), unsigned int n, int *ret)
{
	char text[16] = "";
	bool failed;

	set_fail_nth(n);
	*ret = what();
	if (pread(fail_nth, text, sizeof(text) - 1, 0) <= 0)
		bail("cannot read fail-nth: %s", strerror(errno));
	failed = !strtoul(text, NULL, 10);
	set_fail_nth(0);
	return failed;
}

static bool leaves_nothing(void)
{
	commands_wait(CMD_UNREF, commands.sent[CMD_CREATE_BLOB], 5);
	return !window_used() && !commands.lost &&
	       commands.sent[CMD_CREATE_BLOB] == commands.answered[CMD_UNREF] &&
	       commands.sent[CMD_MAP_BLOB] == commands.answered[CMD_UNMAP_BLOB];
}

static void walk(const struct path *path)
{
	unsigned int n, errors = 0, wrong = 0, stuck = 0;
	int ret, last = 0;
	bool clean;

	commands_start();
	for (n = 1; ; n++) {
		bool failed;

		ret = path->before();
		if (ret)
			bail("%s: preparing it fails: %s", path->name, strerror(-ret));
		failed = failing(path->what, n, &ret);
		if (ret) {
			errors++;
			if (!failed || (ret != -ENOMEM && ret != -path->also)) {
				wrong++;
				last = ret;
			}
			if (path->again && path->what())
				stuck++;
		}
		clear_away();
		/* Answers come in time to be freed before the next. */
		commands_read();
		if (!failed)
			break;
	}
	check(n > 1 && !wrong && !stuck,
	      "%s: %u allocations, %u times ENOMEM%s, %u times another errno%s%s, %u times not done again",
	      path->name, n - 1, errors - wrong, path->also ? " or EINVAL" : "", wrong, wrong ? ", last " : "",
	      wrong ? strerror(-last) : "", stuck);
	clean = leaves_nothing();
	check(clean, "%s: nothing is left, %llu bytes of the window; CREATE_BLOB %u, UNREF %u, MAP_BLOB %u, UNMAP_BLOB %u",
	      path->name, (unsigned long long)window_used(), commands.sent[CMD_CREATE_BLOB],
	      commands.answered[CMD_UNREF], commands.sent[CMD_MAP_BLOB],
	      commands.answered[CMD_UNMAP_BLOB]);
}

/* Lines of the report: objects are reported from an age of 5 s on. */
static int leaks(void)
{
	char line[256];
	int count = 0;
	FILE *f;

	write_file(KMEMLEAK, "scan");
	f = fopen(KMEMLEAK, "r");
	if (!f)
		bail("cannot open " KMEMLEAK ": %s", strerror(errno));
	while (fgets(line, sizeof(line), f)) {
		printf("# %s", line);
		count += !strncmp(line, "unreferenced object", 19);
	}
	fclose(f);
	return count;
}

int main(void)
{
	static const char * const settings[][2] = {
		{ DEBUGFS "failslab/ignore-gfp-wait", "N" },
		{ DEBUGFS "failslab/verbose", "0" },
		{ DEBUGFS "fail_page_alloc/ignore-gfp-wait", "N" },
		{ DEBUGFS "fail_page_alloc/ignore-gfp-highmem", "N" },
		{ DEBUGFS "fail_page_alloc/min-order", "0" },
		{ DEBUGFS "fail_page_alloc/verbose", "0" },
	};
	unsigned int i;
	bool kmemleak;
	int fd;

	guest_start();
	for (i = 0; i < sizeof(settings) / sizeof(settings[0]); i++)
		write_file(settings[i][0], settings[i][1]);
	fail_nth = open("/proc/thread-self/fail-nth", O_RDWR | O_CLOEXEC);
	if (fail_nth < 0)
		bail("the kernel has no fail-nth: %s", strerror(errno));
	blob.map = MAP_FAILED;
	blob.dma_buf = -1;
	blob.other = virtgpu_open();
	if (open_file() || blob.other < 0)
		bail("no virtio-gpu with virgl contexts at /dev/dri/renderD128");
	if (virtgpu_param(blob.fd, VIRTGPU_PARAM_HOST_VISIBLE) != 1)
		bail("the device has no window");
	/* It refuses to look for leaks when it is off. */
	fd = open(KMEMLEAK, O_WRONLY | O_CLOEXEC);
	kmemleak = fd >= 0 && write(fd, "scan", 4) == 4;
	close(fd);
	if (kmemleak)
		write_file(KMEMLEAK, "clear");
	else if (!access(KMEMLEAK, F_OK))
		bail("kmemleak is switched off, or switched itself off: boot with kmemleak=on");

	for (i = 0; i < sizeof(paths) / sizeof(paths[0]); i++)
		walk(&paths[i]);

	if (kmemleak) {
		sleep(6);
		/* What moves while it is looked for may be missed once. */
		check(!leaks() || !leaks(), "nothing is leaked");
	} else {
		skip("no search for leaks: the kernel needs DEBUG_KMEMLEAK");
	}
	guest_end();
}

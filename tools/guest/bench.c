// SPDX-License-Identifier: GPL-2.0-only
/*
 * What host blobs cost: eager ones, deferred ones, and, as the floor, blobs that
 * cannot be mapped at all. Prints one line for each sample, which tools/bench
 * reads:
 *
 *	sample MEASURE WAY KIB COUNT ROUND QUANTITY VALUE
 *
 * Samples of two ways with the same round were taken next to each other. Times
 * are in seconds; no measured time holds the removal of a blob of another one.
 *
 * Settings: ROUNDS, and the number of the FIRST; ACROSS=1: only what is compared
 * with another kernel; QEMU_VERSION: before 11, where each UNMAP_BLOB takes
 * 0.1 s, there are fewer eager blobs.
 */
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "guest.h"
#include "virtgpu.h"

#define MAX_BLOBS	4096
#define MAX_PROCESSES	8
/* A host that has not answered after this long never will. */
#define ANSWER_SECONDS(n)	(5 + 0.25 * (n))
#define KIB		1024UL
#define MIB		(1024 * KIB)
#define WINDOW		(256 * MIB)
/* Of memory of the host, for blobs that take none of the window. */
#define HOST_MEMORY	(512 * MIB)
#define SECOND_MMAPS	301

struct way {
	const char *name;
	uint32_t flags, hints;
};

static const struct way eager = { "eager", VIRTGPU_BLOB_FLAG_USE_MAPPABLE, 0 };
static const struct way deferred = {
	"deferred", VIRTGPU_BLOB_FLAG_USE_MAPPABLE, DRM_VIRTGPU_BLOB_FLAG_HINT_DEFER_MAPPING
};
static const struct way unmappable = { "unmappable", 0, 0 };

static const unsigned long sizes[] = { 4 * KIB, 64 * KIB, MIB, 16 * MIB };
#define SIZES (sizeof(sizes) / sizeof(sizes[0]))

static int fd;
static uint32_t handles[MAX_BLOBS];

static void sample(const char *measure, const struct way *way, unsigned long size,
		   unsigned int count, unsigned int round, const char *quantity, double value)
{
	printf("sample %s %s %lu %u %u %s %.9g\n", measure, way->name, size / KIB, count, round,
	       quantity, value);
}

static void create(const struct way *way, unsigned long size, unsigned int i)
{
	struct blob_request request;
	int ret;

	blob_request(&request, size, way->hints);
	request.create.blob_flags = way->flags;
	ret = blob_request_send(fd, &request);
	handles[i] = request.create.bo_handle;
	if (ret)
		bail("creating %s blob %u of %lu KiB: %s", way->name, i, size / KIB,
		     strerror(-ret));
}

static void answered(unsigned int type, unsigned int count)
{
	if (!commands_wait(type, count, ANSWER_SECONDS(count)))
		bail("the host answered %u of %u commands of type 0x%x in %.0f s",
		     commands.answered[type], count, type, ANSWER_SECONDS(count));
}

static void destroy(unsigned int n)
{
	double late;
	unsigned int i;
	int ret;

	for (i = 0; i < n; i++) {
		ret = blob_destroy(fd, handles[i]);
		if (ret)
			bail("destroying blob %u: %s", i, strerror(-ret));
	}
	answered(CMD_UNREF, n);
	late = now() + ANSWER_SECONDS(0);
	while (window_used())
		if (now() > late)
			bail("the window is not empty long after the last answer");
	if (commands.lost)
		bail("the trace buffer is too small for %u blobs", n);
}

/*
 * Blobs that nobody maps. The end of an ioctl says nothing, as most commands are
 * queued and not waited for: creation ends with the host's last answer to it,
 * and destruction with the last answer to that, when the window is empty, too.
 */
static void never_mapped(const char *measure, const struct way *way, unsigned long size,
			 unsigned int n, unsigned int round)
{
	double start, created, destroyed;
	uint64_t window;
	unsigned int i;

	commands_start();
	start = now();
	for (i = 0; i < n; i++)
		create(way, size, i);
	created = now();
	answered(CMD_CREATE_BLOB, n);
	if (commands.last_answer > created)
		created = commands.last_answer;
	created -= start;
	window = window_used();

	start = now();
	destroy(n);
	destroyed = commands.last_answer - start;

	sample(measure, way, size, n, round, "create", created);
	sample(measure, way, size, n, round, "destroy", destroyed);
	sample(measure, way, size, n, round, "both", created + destroyed);
	sample(measure, way, size, n, round, "window", window);
	sample(measure, way, size, n, round, "map_blob", commands.sent[CMD_MAP_BLOB]);
	sample(measure, way, size, n, round, "unmap_blob", commands.sent[CMD_UNMAP_BLOB]);
}

/* One blob after the other, an eager one and a deferred one in turns. */
static void one_by_one(unsigned long size, unsigned int pairs, unsigned int round)
{
	double start, took[2 * pairs];
	volatile char *at;
	unsigned int i;

	commands_start();
	for (i = 0; i < 2 * pairs; i++) {
		start = now();
		create((i ^ i / 2) & 1 ? &eager : &deferred, size, i);
		at = blob_map(fd, handles[i], size);
		took[i] = now() - start;
		if (at == MAP_FAILED)
			bail("mmap of blob %u: %s", i, strerror(errno));
		at[0] = 1;
		munmap((void *)at, size);
		answered(CMD_CREATE_BLOB, i + 1);
	}
	destroy(2 * pairs);
	for (i = 0; i < 2 * pairs; i++)
		sample("one", (i ^ i / 2) & 1 ? &eager : &deferred, size, 1,
		       round * pairs + i / 2, "time", took[i]);
}

/* All are created, then asked for their offset, then mapped. */
static void many(const char *measure, const struct way *way, unsigned long size,
		 unsigned int n, unsigned int round)
{
	static uint64_t offset[MAX_BLOBS];
	static void *at[MAX_BLOBS];
	double start, took, before, span;
	unsigned int i;
	int ret;

	commands_start();
	start = now();
	for (i = 0; i < n; i++)
		create(way, size, i);
	for (i = 0; i < n; i++) {
		ret = blob_offset(fd, handles[i], &offset[i]);
		if (ret)
			bail("the offset of blob %u: %s", i, strerror(-ret));
	}
	for (i = 0; i < n; i++) {
		at[i] = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, offset[i]);
		if (at[i] == MAP_FAILED)
			bail("mmap of blob %u: %s", i, strerror(errno));
	}
	took = now() - start;
	commands_read();
	before = commands.first_map - start;
	span = commands.last_answer - commands.first_map;
	for (i = 0; i < n; i++)
		munmap(at[i], size);
	destroy(n);
	sample(measure, way, size, n, round, "time", took);
	/* until the host was asked to map the first, and from then until it had answered all */
	sample(measure, way, size, n, round, "before", before);
	sample(measure, way, size, n, round, "span", span);
	sample(measure, way, size, n, round, "in_flight", commands.in_flight[CMD_MAP_BLOB]);
}

struct shared {
	atomic_uint ready, mapped;
	double end[MAX_PROCESSES];
};

static _Noreturn void child(struct shared *shared, unsigned int me, unsigned int processes,
			    unsigned long size, unsigned int n, int gate)
{
	unsigned int i;
	char c;

	atomic_fetch_add(&shared->ready, 1);
	if (read(gate, &c, 1))
		_exit(1);
	for (i = me; i < n; i += processes)
		if (blob_map(fd, handles[i], size) != MAP_FAILED)
			atomic_fetch_add(&shared->mapped, 1);
	shared->end[me] = now();
	_exit(0);
}

/* Each process asks for the offset of a blob, maps it, and goes on to the next. */
static void by_processes(unsigned int processes, unsigned long size, unsigned int n,
			 unsigned int round)
{
	static struct shared *shared;
	char name[32];
	unsigned int i;
	double start, end = 0;
	int gate[2];

	if (!shared) {
		shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE,
			      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
		if (shared == MAP_FAILED)
			bail("no memory: %s", strerror(errno));
	}
	memset(shared, 0, sizeof(*shared));

	commands_start();
	for (i = 0; i < n; i++)
		create(&deferred, size, i);
	answered(CMD_CREATE_BLOB, n);
	if (pipe(gate))
		bail("no pipe: %s", strerror(errno));
	fflush(stdout);
	for (i = 0; i < processes; i++) {
		pid_t pid = fork();

		if (pid < 0)
			bail("no process: %s", strerror(errno));
		if (!pid) {
			close(gate[1]);
			child(shared, i, processes, size, n, gate[0]);
		}
	}
	close(gate[0]);
	while (atomic_load(&shared->ready) < processes)
		usleep(1000);
	/* until the last of them sleeps, too */
	usleep(10000);
	start = now();
	close(gate[1]);
	while (wait(NULL) > 0)
		;
	for (i = 0; i < processes; i++)
		if (shared->end[i] > end)
			end = shared->end[i];
	if (atomic_load(&shared->mapped) != n)
		bail("%u of %u blobs were mapped", atomic_load(&shared->mapped), n);
	snprintf(name, sizeof(name), "processes-%u", processes);
	sample(name, &deferred, size, n, round, "time", end - start);
	commands_read();
	sample(name, &deferred, size, n, round, "in_flight", commands.in_flight[CMD_MAP_BLOB]);
	destroy(n);
}

static int compare_times(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

/* A blob that is mapped already; the first mmap() is not counted. */
static void again(unsigned long size, unsigned int round)
{
	static double took[SECOND_MMAPS];
	void *first, *at;
	uint64_t offset;
	unsigned int i;

	commands_start();
	create(&deferred, size, 0);
	first = blob_map(fd, handles[0], size);
	if (first == MAP_FAILED || blob_offset(fd, handles[0], &offset))
		bail("the first mmap: %s", strerror(errno));
	answered(CMD_CREATE_BLOB, 1);
	for (i = 0; i < SECOND_MMAPS; i++) {
		double start = now();

		at = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, offset);
		took[i] = now() - start;
		if (at == MAP_FAILED)
			bail("mmap number %u: %s", i + 2, strerror(errno));
		munmap(at, size);
	}
	munmap(first, size);
	destroy(1);
	qsort(took, SECOND_MMAPS, sizeof(took[0]), compare_times);
	sample("again", &deferred, size, SECOND_MMAPS, round, "time", took[SECOND_MMAPS / 2]);
}

static unsigned int at_most(unsigned int n, unsigned long room, unsigned long size)
{
	return n < room / size ? n : room / size;
}

/* What is compared is next to each other, in another order each time. */
static void round_of(unsigned int round, unsigned int eager_blobs, unsigned int mapped)
{
	static const struct way *const ways[] = { &eager, &deferred, &unmappable };
	unsigned int i, k, n;

	for (i = 0; i < SIZES; i++) {
		n = at_most(eager_blobs, WINDOW, sizes[i]);
		for (k = 0; k < 3; k++) {
			/* what the host has to free or to find memory for is the same before each */
			never_mapped("warm-up", &unmappable, sizes[i], n, round);
			never_mapped("few", ways[(round + k) % 3], sizes[i], n, round);
		}
		n = at_most(MAX_BLOBS, HOST_MEMORY, sizes[i]);
		never_mapped("warm-up", &unmappable, sizes[i], n, round);
		for (k = 0; k < 2; k++)
			never_mapped("lots", ways[1 + (round + k) % 2], sizes[i], n, round);
		one_by_one(sizes[i], at_most(8, WINDOW / 2, sizes[i]), round);
		n = at_most(mapped, WINDOW, sizes[i]);
		for (k = 0; k < 4; k++)
			many("many", ways[(round + k + k / 2) % 2], sizes[i], n, 2 * round + k / 2);
	}
}

static void round_across(unsigned int round)
{
	unsigned int i;

	for (i = 0; i < SIZES; i++)
		again(sizes[i], round);
	for (i = 1; i <= MAX_PROCESSES; i *= 2)
		by_processes(i, 64 * KIB, 16, round);
}

int main(void)
{
	unsigned long first, rounds, i;
	bool across, slow;

	guest_start();
	first = setting("FIRST", 0);
	rounds = setting("ROUNDS", 7);
	across = setting("ACROSS", 0);
	slow = setting("QEMU_VERSION", 11) < 11;
	fd = virtgpu_open();
	if (fd < 0)
		bail("no virtio-gpu with virgl contexts at /dev/dri/renderD128: %s",
		     strerror(-fd));

	/* warm up: the first to do anything pays for more than that */
	never_mapped("warm-up", &unmappable, 64 * KIB, 2, 0);
	many("warm-up", &eager, 64 * KIB, 2, 0);
	many("warm-up", &deferred, 64 * KIB, 2, 0);

	for (i = first; i < first + rounds; i++) {
		if (across)
			round_across(i);
		else
			round_of(i, slow ? 16 : 256, slow ? 16 : 64);
		printf("# end of round %lu\n", i);
	}
	check(true, "%lu rounds were measured", rounds);
	guest_end();
}

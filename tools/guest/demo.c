// SPDX-License-Identifier: GPL-2.0-only
/*
 * Host blobs the eager way and the deferred way, on one boot of one kernel: what
 * each takes of the window, which commands it costs, how long it takes; then a
 * deferred blob's first mmap().
 *
 * Settings: BLOBS, BLOB_KIB, ROUNDS. Counts, bytes and data are checked. Times are
 * printed only: they depend on the load of the host, and tools/bench compares them.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <errno.h>

#include "guest.h"
#include "virtgpu.h"

#define MAX_BLOBS	4096
#define MAX_ROUNDS	15
/* No further eager round once the eager ones have taken this long. */
#define EAGER_SECONDS	10
/* A host that has not answered after this long never will. */
#define ANSWER_SECONDS	120

struct way {
	uint32_t hints;
	unsigned int rounds;
	double create[MAX_ROUNDS], destroy[MAX_ROUNDS], both[MAX_ROUNDS];
	/* of the last round */
	uint64_t window;
	unsigned int created, map_blob, unmap_blob;
};

static int fd;
static unsigned long blobs, blob_size;

/*
 * One round. Both ways are measured to the same point: creation ends when the
 * host has answered every command it caused, destruction when the host has
 * answered every UNREF, and all else, and the window is empty again. The end of
 * an ioctl says nothing, for the driver queues most commands and returns. The
 * time of the last answer is read from the trace, so that looking for it, the
 * printing included, costs the measured time nothing.
 */
static void measure(struct way *way)
{
	static uint32_t handles[MAX_BLOBS];
	uint64_t before = window_used();
	double start, end;
	unsigned int i, n = way->rounds;
	int ret;

	commands_start();
	start = now();
	for (i = 0; i < blobs; i++) {
		ret = blob_create(fd, blob_size, way->hints, &handles[i]);
		if (ret)
			bail("creating blob %u: %s", i, strerror(-ret));
	}
	end = now();
	if (!commands_wait(CMD_CREATE_BLOB, blobs, ANSWER_SECONDS))
		bail("the host answered %u of %lu CREATE_BLOB in %d s",
		     commands.answered[CMD_CREATE_BLOB], blobs, ANSWER_SECONDS);
	if (commands.last_answer > end)
		end = commands.last_answer;
	way->create[n] = end - start;
	way->created = i;
	way->window = window_used() - before;

	start = now();
	for (i = 0; i < blobs; i++) {
		ret = blob_destroy(fd, handles[i]);
		if (ret)
			bail("destroying blob %u: %s", i, strerror(-ret));
	}
	end = now();
	if (!commands_wait(CMD_UNREF, blobs, ANSWER_SECONDS))
		bail("the host answered %u of %lu UNREF in %d s",
		     commands.answered[CMD_UNREF], blobs, ANSWER_SECONDS);
	if (commands.last_answer > end)
		end = commands.last_answer;
	if (window_used() != before) {
		double late = now() + ANSWER_SECONDS;

		while (window_used() != before)
			if (now() > late)
				bail("the window is not empty %d s after the last answer",
				     ANSWER_SECONDS);
		end = now();
	}
	way->destroy[n] = end - start;
	way->both[n] = way->create[n] + way->destroy[n];
	way->map_blob = commands.sent[CMD_MAP_BLOB];
	way->unmap_blob = commands.sent[CMD_UNMAP_BLOB];
	way->rounds++;
	if (commands.lost)
		bail("the trace buffer is too small for %lu blobs", blobs);
	printf("# %-8s round %u: %.4f s to create, %.4f s to destroy\n",
	       way->hints ? "deferred" : "eager", way->rounds,
	       way->create[n], way->destroy[n]);
}

static double median(double *of, unsigned int n)
{
	sort_doubles(of, n);
	return n % 2 ? of[n / 2] : (of[n / 2 - 1] + of[n / 2]) / 2;
}

static void row_count(const char *what, uint64_t eager, uint64_t deferred)
{
	printf("# %-34s %12llu %12llu\n", what,
	       (unsigned long long)eager, (unsigned long long)deferred);
}

static void row_seconds(const char *what, double eager, double deferred)
{
	printf("# %-34s %12.4f %12.4f\n", what, eager, deferred);
}

static void compare_ways(void)
{
	static struct way eager = { .hints = EAGER }, deferred = { .hints = DEFERRED };
	unsigned long rounds = setting("ROUNDS", 8);
	double spent = 0, eager_s, deferred_s;
	unsigned int i;

	if (!rounds || rounds > MAX_ROUNDS || !blobs || blobs > MAX_BLOBS)
		bail("ROUNDS is 1 to %d and BLOBS 1 to %d", MAX_ROUNDS, MAX_BLOBS);

	for (i = 0; i < rounds; i++) {
		measure(&deferred);
		if (spent < EAGER_SECONDS) {
			measure(&eager);
			spent += eager.both[i];
		}
	}

	eager_s = median(eager.both, eager.rounds);
	deferred_s = median(deferred.both, deferred.rounds);

	printf("#\n# %lu blobs of %lu KiB, none of them ever mapped by the guest\n#\n",
	       blobs, blob_size >> 10);
	printf("# %-34s %12s %12s\n", "", "eager", "deferred");
	row_count("blobs created", eager.created, deferred.created);
	row_count("window bytes in use", eager.window, deferred.window);
	row_count("MAP_BLOB sent", eager.map_blob, deferred.map_blob);
	row_count("UNMAP_BLOB sent", eager.unmap_blob, deferred.unmap_blob);
	row_seconds("seconds to create", median(eager.create, eager.rounds),
		    median(deferred.create, deferred.rounds));
	row_seconds("seconds to destroy, window empty", median(eager.destroy, eager.rounds),
		    median(deferred.destroy, deferred.rounds));
	row_seconds("seconds for both", eager_s, deferred_s);
	row_seconds("seconds for both, fastest round", eager.both[0], deferred.both[0]);
	row_count("rounds (other seconds are medians)", eager.rounds, deferred.rounds);
	/* median() sorted the rounds: the first is the one that the host disturbed least. */
	printf("# eager takes %.0f times as long as deferred, %.0f times in the fastest rounds\n#\n",
	       eager_s / deferred_s, eager.both[0] / deferred.both[0]);

	check(eager.window == blobs * blob_size && eager.map_blob == blobs &&
	      eager.unmap_blob == blobs,
	      "eager: %lu blobs take %llu bytes of the window, %u MAP_BLOB, %u UNMAP_BLOB",
	      blobs, (unsigned long long)eager.window, eager.map_blob, eager.unmap_blob);
	check(!deferred.window, "deferred: %lu blobs take %llu bytes of the window",
	      blobs, (unsigned long long)deferred.window);
	check(!deferred.map_blob, "deferred: %u MAP_BLOB sent", deferred.map_blob);
	check(!deferred.unmap_blob, "deferred: %u UNMAP_BLOB sent", deferred.unmap_blob);
}

/* One blob from creation to destruction, written and read through two mappings. */
static void use_blob(uint32_t hints)
{
	const char *way = hints ? "deferred" : "eager";
	uint64_t before = window_used(), used;
	uint32_t handle;
	bool answered;
	void *at;
	int ret;

	commands_start();
	ret = blob_create(fd, blob_size, hints, &handle);
	if (!check(!ret, "%s: a blob is created%s%s", way, ret ? ": " : "",
		   ret ? strerror(-ret) : ""))
		return;
	commands_wait(CMD_CREATE_BLOB, 1, ANSWER_SECONDS);
	used = window_used() - before;
	check(used == (hints ? 0 : blob_size), "%s: it takes %llu bytes of the window", way,
	      (unsigned long long)used);

	at = blob_map(fd, handle, blob_size);
	if (!check(at != MAP_FAILED, "%s: first mmap%s%s", way, at == MAP_FAILED ? ": " : "",
		   at == MAP_FAILED ? strerror(errno) : ""))
		goto destroy;
	commands_read();
	used = window_used() - before;
	check(used == blob_size && commands.sent[CMD_MAP_BLOB] == 1,
	      "%s: mapped, it takes %llu bytes of the window, %u MAP_BLOB sent", way,
	      (unsigned long long)used, commands.sent[CMD_MAP_BLOB]);
	fill(at, blob_size, 0x5eed);
	check(!differences(at, blob_size, 0x5eed), "%s: what is written is read back", way);
	munmap(at, blob_size);

	at = blob_map(fd, handle, blob_size);
	if (!check(at != MAP_FAILED, "%s: second mmap%s%s", way, at == MAP_FAILED ? ": " : "",
		   at == MAP_FAILED ? strerror(errno) : ""))
		goto destroy;
	check(!differences(at, blob_size, 0x5eed),
	      "%s: unmapped and mapped again, the data is intact", way);
	munmap(at, blob_size);
	commands_read();
	check(commands.sent[CMD_MAP_BLOB] == 1, "%s: two mmaps, %u MAP_BLOB sent", way,
	      commands.sent[CMD_MAP_BLOB]);
destroy:
	blob_destroy(fd, handle);
	answered = commands_wait(CMD_UNREF, 1, ANSWER_SECONDS);
	check(answered && window_used() == before &&
	      commands.sent[CMD_UNMAP_BLOB] == commands.sent[CMD_MAP_BLOB],
	      "%s: destroyed, the window is as before, %u UNMAP_BLOB sent", way,
	      commands.sent[CMD_UNMAP_BLOB]);
}

/* Makes the context, which the driver creates on first use, and warms up. */
static void first_blobs(void)
{
	uint32_t eager, deferred;
	int ret;

	ret = blob_create(fd, blob_size, EAGER, &eager);
	if (ret)
		bail("cannot create a host blob: %s", strerror(-ret));
	commands_wait(CMD_CREATE_BLOB, 1, ANSWER_SECONDS);
	if (window_used() != blob_size)
		bail("an eager blob of %lu bytes takes %llu bytes of the window", blob_size,
		     (unsigned long long)window_used());
	ret = blob_create(fd, blob_size, DEFERRED, &deferred);
	if (ret)
		bail("cannot create a blob with the hint: %s", strerror(-ret));
	commands_wait(CMD_CREATE_BLOB, 2, ANSWER_SECONDS);
	if (window_used() != blob_size)
		bail("this kernel lacks the feature: the hint to defer the mapping has no effect");
	check(true, "the kernel knows the hint to defer the mapping");

	blob_destroy(fd, eager);
	blob_destroy(fd, deferred);
	if (!commands_wait(CMD_UNREF, 2, ANSWER_SECONDS))
		bail("the host does not answer");
}

int main(void)
{
	guest_start();
	blobs = setting("BLOBS", 256);
	blob_size = setting("BLOB_KIB", 64) << 10;

	fd = virtgpu_open();
	if (fd < 0)
		bail("no virtio-gpu with virgl contexts at /dev/dri/renderD128: %s",
		     strerror(-fd));
	if (virtgpu_param(fd, VIRTGPU_PARAM_RESOURCE_BLOB) != 1 ||
	    virtgpu_param(fd, VIRTGPU_PARAM_HOST_VISIBLE) != 1)
		bail("the device has no blobs or no host-visible window");

	commands_start();
	first_blobs();
	compare_ways();
	use_blob(DEFERRED);
	use_blob(EAGER);
	check(!window_used(), "in the end %llu bytes of the window are in use",
	      (unsigned long long)window_used());
	guest_end();
}

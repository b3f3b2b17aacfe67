// SPDX-License-Identifier: GPL-2.0-only
/*
 * Users do at random what users can do, one step after the other; a model says
 * what each step returns, which MAP_BLOBs it sends, what the data is and how much
 * of the window is taken. The same SEED does the same again.
 *
 * Settings: SEED (by the clock); STEPS, or WALK_SECONDS (60): how far.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "real.h"

#define USERS		4
#define BLOBS		48
#define VIEWS		96
/* So much of a blob is written and read. */
#define DATA		(16 * KIB)

struct blob {
	unsigned long size;
	bool mapped, unmappable;
	uint32_t seed;		/* of the data, 0: none yet */
	int file;
	long handle;		/* 0: closed */
};

/* What a user has of a blob: a mapping, or a dma-buf. */
struct view {
	int user, blob;
	bool dma_buf;
	long it;		/* address or file; 0: none, as the users' file 0 is the console */
};

static struct user *users[USERS];
/* Which file a user has, and what it is there: that of a child is its parent's. */
static int file_of[USERS];
static long fd_of[USERS];
static int last_file;
static struct blob blobs[BLOBS];
static struct view views[VIEWS];
static unsigned int random_state, maps, full;
static unsigned long step;
static unsigned long long seed;
static char did[256];
static bool failed;

static unsigned int roll(unsigned int n)
{
	return rand_r(&random_state) % n;
}

/* For the line of a step that fails. */
static void note(const char *fmt, ...)
{
	size_t n = strlen(did);
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(did + n, sizeof(did) - n, fmt, ap);
	va_end(ap);
}

static void wrong(const char *fmt, ...)
{
	char text[256];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	if (!failed)
		result(false, "SEED=%llu, step %lu:%s: %s", seed, step, did, text);
	failed = true;
}

static void want(int user, long got, int error)
{
	if (error ? got == -error : got >= 0)
		return;
	wrong("user %d gets %s and not %s%s", user, result_name(got),
	      error ? result_name(-error) : "success", got == STUCK ? ", and is stuck" : "");
}

static bool alive(int b)
{
	int i;

	if (blobs[b].handle)
		return true;
	for (i = 0; i < VIEWS; i++)
		if (views[i].it && views[i].blob == b)
			return true;
	return false;
}

static uint64_t window_wanted(void)
{
	uint64_t used = 0;
	int b;

	for (b = 0; b < BLOBS; b++) {
		if (!blobs[b].size)
			continue;
		if (!alive(b))
			blobs[b].size = 0;
		else if (blobs[b].mapped)
			used += blobs[b].size;
	}
	return used;
}

/* Waits until the host has done what it was told, and the window is as it should be. */
static void settle(void)
{
	uint64_t used = window_wanted();
	double late = now() + patience;

	while (window_used() != used && now() < late) {
		commands_read();
		usleep(1000);
	}
	if (window_used() != used)
		wrong("%llu bytes of the window are in use and not %llu",
		      (unsigned long long)window_used(), (unsigned long long)used);
}

static bool fits(unsigned long size)
{
	/* Ranges are taken by us alone, but given back when the host has answered. */
	if (window_hole() >= size)
		return true;
	settle();
	return window_hole() >= size;
}

static struct view *free_view(void)
{
	int i;

	for (i = 0; i < VIEWS; i++)
		if (!views[i].it)
			return &views[i];
	return NULL;
}

/* Anyone of a user's views of this kind. */
static struct view *some_view(int user, bool dma_buf)
{
	int i, n = roll(VIEWS);

	for (i = 0; i < VIEWS; i++) {
		struct view *view = &views[(i + n) % VIEWS];

		if (view->it && view->user == user && view->dma_buf == dma_buf)
			return view;
	}
	return NULL;
}

/* A blob to which the user has a handle, or -1. */
static int some_blob(int user)
{
	int i, n = roll(BLOBS);

	for (i = 0; i < BLOBS; i++) {
		int b = (i + n) % BLOBS;

		if (blobs[b].size && blobs[b].handle && blobs[b].file == file_of[user])
			return b;
	}
	return -1;
}

static unsigned long data_of(int b)
{
	return blobs[b].size < DATA ? blobs[b].size : DATA;
}

static void create(int user)
{
	unsigned long size = (4 * KIB) << roll(9);
	uint32_t hints = roll(4) ? DEFERRED : EAGER;
	bool unmappable = hints && !roll(8);
	int b, error = 0;
	long ret;

	window_wanted();
	for (b = 0; b < BLOBS && blobs[b].size; b++)
		;
	if (b == BLOBS)
		return;
	if (!roll(12))
		size = (8 + roll(100)) * MIB;
	note(" create %lu KiB %s%s", size / KIB, hints ? "deferred" : "eager",
	     unmappable ? ", unmappable" : "");
	if (!hints && !fits(size)) {
		full++;
		error = ENOSPC;
	}
	ret = call(users[user], unmappable ? op_create_unmappable : op_create, fd_of[user], size,
		   hints);
	want(user, ret, error);
	if (ret < 0)
		return;
	blobs[b] = (struct blob){
		.size = size, .mapped = !hints, .unmappable = unmappable,
		.file = file_of[user], .handle = ret,
	};
	maps += !hints;
}

/* What becomes of a mapping of this blob, and of the blob by it. */
static int map_error(int b)
{
	if (blobs[b].mapped)
		return 0;
	if (!fits(blobs[b].size)) {
		full++;
		return ENOSPC;
	}
	maps++;
	if (blobs[b].unmappable)
		return EIO;
	blobs[b].mapped = true;
	return 0;
}

static void keep_view(int user, int b, bool dma_buf, long it)
{
	struct view *view = free_view();

	if (it > 0)
		*view = (struct view){ .user = user, .blob = b, .dma_buf = dma_buf, .it = it };
}

static void map(int user)
{
	int b = some_blob(user), error;
	long ret;

	/* How often VIRTGPU_MAP and mmap() try what is refused is a matter of time. */
	if (b < 0 || blobs[b].unmappable || !free_view())
		return;
	note(" map blob %d of %lu KiB", b, blobs[b].size / KIB);
	error = map_error(b);
	ret = call(users[user], op_map, fd_of[user], blobs[b].handle, blobs[b].size);
	want(user, ret, error);
	keep_view(user, b, false, ret);
}

static void map_dma_buf(int user)
{
	struct view *of = some_view(user, true);
	int error;
	long ret;

	if (!of || !free_view())
		return;
	note(" map the dma-buf of blob %d of %lu KiB", of->blob, blobs[of->blob].size / KIB);
	error = map_error(of->blob);
	ret = call(users[user], op_mmap, of->it, blobs[of->blob].size, 0);
	want(user, ret, error);
	keep_view(user, of->blob, false, ret);
}

static void export(int user)
{
	int b = some_blob(user);
	long ret;

	if (b < 0 || !free_view())
		return;
	note(" export blob %d", b);
	ret = call(users[user], op_export, fd_of[user], blobs[b].handle);
	want(user, ret, 0);
	keep_view(user, b, true, ret);
}

static void drop_view(int user)
{
	struct view *view = some_view(user, roll(2));

	if (!view)
		return;
	note(" %s blob %d", view->dma_buf ? "close a dma-buf of" : "unmap", view->blob);
	if (view->dma_buf)
		want(user, call(users[user], op_close, view->it), 0);
	else
		want(user, call(users[user], op_unmap, view->it, blobs[view->blob].size), 0);
	view->it = 0;
}

static void close_handle(int user)
{
	int b = some_blob(user);

	if (b < 0)
		return;
	note(" close the handle of blob %d", b);
	want(user, call(users[user], op_destroy, fd_of[user], blobs[b].handle), 0);
	blobs[b].handle = 0;
}

static void write_data(int user)
{
	struct view *view = some_view(user, false);

	if (!view)
		return;
	note(" write to blob %d", view->blob);
	want(user, call(users[user], op_fill, view->it, data_of(view->blob), step), 0);
	blobs[view->blob].seed = step;
}

static void read_data(int user)
{
	struct view *view = some_view(user, false);
	long differ;

	if (!view || !blobs[view->blob].seed)
		return;
	note(" read blob %d", view->blob);
	differ = call(users[user], op_differences, view->it, data_of(view->blob),
		      blobs[view->blob].seed);
	want(user, differ, 0);
	if (differ > 0)
		wrong("%ld words differ", differ);
}

static void host_reads(int user)
{
	int b = some_blob(user);
	long differ;

	if (b < 0 || !blobs[b].seed)
		return;
	note(" the host reads blob %d", b);
	differ = call(users[user], op_host_sees, fd_of[user], blobs[b].handle, data_of(b),
		      blobs[b].seed);
	want(user, differ, 0);
	if (differ > 0)
		wrong("%ld words differ", differ);
}

static void host_write(int user)
{
	int b = some_blob(user);

	if (b < 0)
		return;
	note(" the host writes to blob %d", b);
	want(user, call(users[user], op_host_writes, fd_of[user], blobs[b].handle, data_of(b),
			step), 0);
	blobs[b].seed = step;
}

/* All at once map what they have, each another blob or all the same. */
static void rush(int user)
{
	int b[USERS], error[USERS], i;

	(void)user;
	note(" all map");
	for (i = 0; i < USERS; i++) {
		b[i] = some_blob(i);
		/* Who takes the last hole is a matter of time. */
		if (b[i] >= 0 && (blobs[b[i]].unmappable || blobs[b[i]].size > MIB))
			b[i] = -1;
		if (b[i] >= 0) {
			error[i] = 0;
			if (!blobs[b[i]].mapped && window_hole() < 16 * MIB)
				b[i] = -1;
			else
				error[i] = map_error(b[i]);
		}
		note(" %d", b[i]);
	}
	for (i = 0; i < USERS; i++)
		if (b[i] >= 0)
			begin(users[i], op_map, fd_of[i], blobs[b[i]].handle, blobs[b[i]].size);
	for (i = 0; i < USERS; i++) {
		long ret;

		if (b[i] < 0)
			continue;
		ret = user_result(users[i]);
		want(i, ret, error[i]);
		if (ret > 0)
			want(i, call(users[i], op_unmap, ret, blobs[b[i]].size), 0);
	}
}

static void end_user(int user)
{
	int i;

	if (!user_kill(users[user], patience, NULL)) {
		wrong("user %d cannot be killed, its task is in state %c", user,
		      user_state(users[user]));
		return;
	}
	user_forget(users[user]);
	for (i = 0; i < VIEWS; i++)
		if (views[i].user == user)
			views[i].it = 0;
	for (i = 0; i < USERS; i++)
		if (i != user && file_of[i] == file_of[user])
			return;
	for (i = 0; i < BLOBS; i++)
		if (blobs[i].file == file_of[user])
			blobs[i].handle = 0;
}

static void new_user(int user)
{
	users[user] = user_with_file(&fd_of[user]);
	file_of[user] = ++last_file;
}

static void kill_user(int user)
{
	note(" is killed");
	end_user(user);
	if (!failed)
		new_user(user);
}

/* A child takes the place of another user. */
static void fork_user(int user)
{
	int other = (user + 1 + roll(USERS - 1)) % USERS, i;

	note(" forks, user %d goes", other);
	end_user(other);
	if (failed)
		return;
	users[other] = user_fork(users[user]);
	file_of[other] = file_of[user];
	fd_of[other] = fd_of[user];
	for (i = 0; i < VIEWS; i++) {
		struct view *view = &views[i];

		if (!view->it || view->user != user)
			continue;
		if (free_view())
			keep_view(other, view->blob, view->dma_buf, view->it);
		else if (view->dma_buf)
			want(other, call(users[other], op_close, view->it), 0);
		else
			want(other, call(users[other], op_unmap, view->it, blobs[view->blob].size), 0);
	}
}

static void (* const steps[])(int user) = {
	create, create, create, create, create, map, map, map, map, map, map_dma_buf, map_dma_buf,
	export, export, drop_view, drop_view, drop_view, close_handle, close_handle, close_handle,
	write_data, write_data, read_data, read_data, read_data, host_reads, host_write, rush,
};

void test_walk(void)
{
	unsigned long limit = setting("STEPS", 0);
	double end = now() + setting("WALK_SECONDS", 60);
	struct timespec ts;
	int i;

	clock_gettime(CLOCK_REALTIME, &ts);
	seed = setting("SEED", (ts.tv_sec ^ ts.tv_nsec) & 0x7fffffff);
	random_state = seed;
	printf("# walk: SEED=%llu\n", seed);
	expected_message = "virtio_gpu_dequeue_ctrl_func";
	memset(blobs, 0, sizeof(blobs));
	memset(views, 0, sizeof(views));
	failed = false;
	maps = full = 0;
	last_file = 0;
	for (i = 0; i < USERS; i++)
		new_user(i);

	for (step = 1; !failed && (limit ? step <= limit : now() < end); step++) {
		int user = roll(USERS);

		snprintf(did, sizeof(did), " user %d:", user);
		if (!roll(40))
			kill_user(user);
		else if (!roll(40))
			fork_user(user);
		else
			steps[roll(sizeof(steps) / sizeof(steps[0]))](user);
		commands_read();
		if (commands.sent[CMD_MAP_BLOB] != maps)
			wrong("%u MAP_BLOB are sent and not %u", commands.sent[CMD_MAP_BLOB], maps);
		if (!(step % 100))
			settle();
	}
	if (!failed)
		settle();
	if (!failed)
		result(true, "%lu steps: %u CREATE_BLOB, %u MAP_BLOB, %u of them refused, %u UNMAP_BLOB, %u times ENOSPC",
		       step - 1, commands.sent[CMD_CREATE_BLOB], commands.sent[CMD_MAP_BLOB],
		       commands.refused[CMD_MAP_BLOB], commands.sent[CMD_UNMAP_BLOB], full);
}

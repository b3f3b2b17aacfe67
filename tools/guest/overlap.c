// SPDX-License-Identifier: GPL-2.0-only
/*
 * What a program pays that maps all its blobs in the end: it creates them, asks
 * DRM_IOCTL_VIRTGPU_MAP for the offset of each, then mmap()s and touches each.
 * Deferred blobs shall cost what eager ones cost, whose MAP_BLOBs overlap.
 *
 * Settings: BLOBS (64), BLOB_KIB (64), ROUNDS (9), MAX_PERCENT (120): how long
 * deferred blobs may take, of the time of eager ones; 0: any time.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "guest.h"
#include "virtgpu.h"

#define MAX_BLOBS	4096
#define MAX_ROUNDS	31
#define ANSWER_SECONDS	120

static int fd;
static unsigned long blobs, size;

static double round_of(uint32_t hints)
{
	static uint64_t offset[MAX_BLOBS];
	static uint32_t handle[MAX_BLOBS];
	static char *at[MAX_BLOBS];
	double start, end;
	unsigned int i;
	int ret;

	commands_start();
	start = now();
	for (i = 0; i < blobs; i++) {
		ret = blob_create(fd, size, hints, &handle[i]);
		if (ret)
			bail("creating blob %u: %s", i, strerror(-ret));
	}
	for (i = 0; i < blobs; i++) {
		ret = blob_offset(fd, handle[i], &offset[i]);
		if (ret)
			bail("the offset of blob %u: %s", i, strerror(-ret));
	}
	for (i = 0; i < blobs; i++) {
		at[i] = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, offset[i]);
		if (at[i] == MAP_FAILED)
			bail("mmap of blob %u: %s", i, strerror(errno));
		at[i][0] = i;
	}
	end = now();

	for (i = 0; i < blobs; i++) {
		munmap(at[i], size);
		blob_destroy(fd, handle[i]);
	}
	if (!commands_wait(CMD_UNREF, blobs, ANSWER_SECONDS))
		bail("the host answered %u of %lu UNREF", commands.answered[CMD_UNREF], blobs);
	while (window_used())
		usleep(1000);
	if (commands.sent[CMD_MAP_BLOB] != blobs)
		bail("%u MAP_BLOB sent for %lu blobs", commands.sent[CMD_MAP_BLOB], blobs);
	return end - start;
}

int main(void)
{
	double ratio[MAX_ROUNDS], eager, deferred;
	unsigned long rounds, percent;
	unsigned int i;

	guest_start();
	blobs = setting("BLOBS", 64);
	size = setting("BLOB_KIB", 64) << 10;
	rounds = setting("ROUNDS", 9);
	percent = setting("MAX_PERCENT", 120);
	if (!blobs || blobs > MAX_BLOBS || !rounds || rounds > MAX_ROUNDS)
		bail("1 to %d blobs, 1 to %d rounds", MAX_BLOBS, MAX_ROUNDS);
	fd = virtgpu_open();
	if (fd < 0)
		bail("no virtio-gpu with virgl contexts at /dev/dri/renderD128: %s",
		     strerror(-fd));

	/* warm up: the first to do anything pays for more than that */
	round_of(EAGER);
	round_of(DEFERRED);
	for (i = 0; i < rounds; i++) {
		/* in turns, so that what goes on beside hits both */
		if (i % 2) {
			eager = round_of(EAGER);
			deferred = round_of(DEFERRED);
		} else {
			deferred = round_of(DEFERRED);
			eager = round_of(EAGER);
		}
		ratio[i] = deferred / eager;
		printf("# round %u: eager %.4f s, deferred %.4f s, %.2f times\n", i + 1, eager,
		       deferred, ratio[i]);
	}
	sort_doubles(ratio, rounds);
	check(!percent || ratio[rounds / 2] * 100 <= percent,
	      "%lu blobs created and mapped: deferred ones take %.2f times as long (median of %lu, quartiles %.2f and %.2f)",
	      blobs, ratio[rounds / 2], rounds, ratio[rounds / 4], ratio[3 * rounds / 4]);
	guest_end();
}

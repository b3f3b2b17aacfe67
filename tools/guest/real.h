/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the tests of tools/guest/real.c share. Each of their lines begins with the
 * name of the test.
 */
#ifndef REAL_H
#define REAL_H

#include <stdbool.h>
#include <stdint.h>

#include "guest.h"
#include "ops.h"
#include "user.h"
#include "virtgpu.h"

#define KIB	(1UL << 10)
#define MIB	(1UL << 20)
#define SIZE	(64 * KIB)

extern const char *test_name;
#define result(good, fmt, ...) check(good, "%s: " fmt, test_name, ##__VA_ARGS__)

/* What the kernel's log may hold after this test. */
extern const char *expected_message;

/*
 * One line: what was to succeed, or to fail with this errno, and what it did. A
 * task that is stuck is killed, and one more line tells if that has no effect.
 */
bool expect(struct user *user, long got, int error, const char *what);
/* One line: MAP_BLOB and UNMAP_BLOB sent since the test began, the window's growth since. */
bool expect_window(unsigned int map_blobs, unsigned int unmap_blobs, uint64_t used,
		   const char *when);

/* Bytes of the window that are taken since the test began. */
uint64_t window_growth(void);

/* The file of a new user; ends the program if there is none. */
struct user *user_with_file(long *fd);

/* Another user has the host take down this many regions, so that it answers nothing meanwhile. */
void slow_host_prepare(unsigned int regions);
void slow_host_start(void);

/* The render node is made the users'. */
void give_device(void);

/* Ends the users, and makes sure that the test has left nothing. */
void nothing_left(void);

void test_shown(void);
void test_example(void);
void test_walk(void);
void test_unplug(void);
void test_stale(void);
void test_device_del(void);

#endif

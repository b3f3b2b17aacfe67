/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What every guest program needs: it is /init of a kernel with nothing else, it
 * reports in TAP on the console, and it ends by switching the machine off.
 */
#ifndef GUEST_H
#define GUEST_H

#include <stdbool.h>

void guest_start(void);
_Noreturn void guest_end(void);

/* One TAP line each. check() returns what it was given. */
bool check(bool good, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void skip(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* What makes all the rest pointless: fails, and ends. */
_Noreturn void bail(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* name=value of the kernel command line reaches init as an environment. */
unsigned long setting(const char *name, unsigned long otherwise);

/* Seconds of CLOCK_MONOTONIC, the clock the trace uses too. */
double now(void);
void write_file(const char *path, const char *text);
/*
 * The first warning or worse in the kernel's log since the last call; those that
 * contain "except" do not count. NULL: none.
 */
const char *kernel_message(const char *except);
void sort_doubles(double *of, unsigned int n);

#endif

// SPDX-License-Identifier: GPL-2.0-only
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/klog.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "guest.h"

static int number, passed, failed, skipped;

static void mount_at(const char *type, const char *dir)
{
	mkdir(dir, 0755);
	/* The kernel mounts devtmpfs by itself where it is told to. */
	if (mount(type, dir, type, 0, NULL) && errno != EBUSY)
		bail("cannot mount %s at %s: %s", type, dir, strerror(errno));
}

/*
 * On a busy host the TSC may be calibrated wrong by a factor of ten. The kernel
 * finds out in its first seconds, and leaves tsc-early one way or the other:
 * time is right from then on.
 */
static void settle_clock(void)
{
	char name[32] = "";
	int tries, fd;

	for (tries = 0; tries < 200; tries++) {
		fd = open("/sys/devices/system/clocksource/clocksource0/current_clocksource",
			  O_RDONLY);
		if (fd < 0)
			return;
		if (read(fd, name, sizeof(name) - 1) < 0)
			name[0] = 0;
		close(fd);
		if (strncmp(name, "tsc-early", 9))
			return;
		usleep(100000);
	}
	printf("# the clock did not settle: times may be wrong\n");
}

void guest_start(void)
{
	int fd;

	mount_at("devtmpfs", "/dev");
	/* An initramfs need not hold /dev/console: init then starts with no files. */
	fd = open("/dev/console", O_RDWR);
	if (fd >= 0) {
		dup2(fd, 0);
		dup2(fd, 1);
		dup2(fd, 2);
		if (fd > 2)
			close(fd);
	}
	setvbuf(stdout, NULL, _IOLBF, 0);
	mount_at("proc", "/proc");
	mount_at("sysfs", "/sys");
	mount_at("debugfs", "/sys/kernel/debug");
	mount_at("tracefs", "/sys/kernel/tracing");

	/* From here on only warnings and worse come between our lines. */
	klogctl(8, NULL, 5);
	settle_clock();
	printf("TAP version 13\n");
}

void guest_end(void)
{
	printf("1..%d\n", number);
	printf("%d passed, %d failed, %d skipped\n", passed, failed, skipped);
	fflush(stdout);
	sync();
	reboot(RB_POWER_OFF);
	for (;;)
		pause();
}

bool check(bool good, const char *fmt, ...)
{
	va_list ap;

	if (good)
		passed++;
	else
		failed++;
	printf("%s %d - ", good ? "ok" : "not ok", ++number);
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	printf("\n");
	return good;
}

void skip(const char *fmt, ...)
{
	va_list ap;

	skipped++;
	printf("ok %d - # SKIP ", ++number);
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	printf("\n");
}

void bail(const char *fmt, ...)
{
	va_list ap;

	failed++;
	printf("not ok %d - ", ++number);
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	printf("\n");
	guest_end();
}

unsigned long setting(const char *name, unsigned long otherwise)
{
	const char *text = getenv(name);
	unsigned long value;
	char *end;

	if (!text)
		return otherwise;
	errno = 0;
	value = strtoul(text, &end, 0);
	if (errno || end == text || *end)
		bail("%s=%s on the command line is not a number", name, text);
	return value;
}

double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec + ts.tv_nsec / 1e9;
}

void write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY);

	if (fd < 0 || write(fd, text, strlen(text)) != (ssize_t)strlen(text))
		bail("cannot write '%s' to %s: %s", text, path, strerror(errno));
	close(fd);
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

void sort_doubles(double *of, unsigned int n)
{
	qsort(of, n, sizeof(*of), compare);
}

const char *kernel_message(const char *except)
{
	static char first[256];
	static int fd = -1;
	char record[8192], *text;
	bool found = false;
	ssize_t n;

	if (fd < 0) {
		fd = open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC);
		if (fd < 0 || lseek(fd, 0, SEEK_END) < 0)
			bail("cannot read /dev/kmsg: %s", strerror(errno));
	}
	/* "level and facility,number,time,flag;text"; EPIPE: some are overwritten. */
	while ((n = read(fd, record, sizeof(record) - 1)) > 0 || (n < 0 && errno == EPIPE)) {
		if (n < 0)
			continue;
		record[n] = 0;
		text = strchr(record, ';');
		if (!text || (strtoul(record, NULL, 10) & 7) > 4)
			continue;
		if (except && strstr(text, except))
			continue;
		/* a host that is too busy to run the guest */
		if (strstr(text, ";clocksource: ") || strstr(text, ";hrtimer: interrupt took ") ||
		    strstr(text, ";TSC found unstable after boot"))
			continue;
		text[1 + strcspn(text + 1, "\n")] = 0;
		if (!found)
			snprintf(first, sizeof(first), "%s", text + 1);
		found = true;
	}
	return found ? first : NULL;
}

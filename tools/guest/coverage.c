// SPDX-License-Identifier: GPL-2.0-only
/*
 * What the KUnit suites of the driver, which have run at boot, executed of it: the files of gcov on the console, as
 * lines of "gcov NAME HEX".
 */
#define _GNU_SOURCE
#include <ftw.h>
#include <stdio.h>
#include <string.h>

#include "guest.h"
#include "kunit.h"

static int files;

static int dump(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	const char *name = path + ftw->base;
	unsigned char data[32];
	size_t n, i;
	FILE *f;

	(void)st;
	if (type != FTW_F || !strstr(name, ".gcda"))
		return 0;
	f = fopen(path, "r");
	if (!f)
		bail("cannot open %s", path);
	while ((n = fread(data, 1, sizeof(data), f)) > 0) {
		printf("gcov %s ", name);
		for (i = 0; i < n; i++)
			printf("%02x", data[i]);
		printf("\n");
	}
	fclose(f);
	files++;
	return 0;
}

int main(void)
{
	guest_start();
	kunit_check_all(1);
	nftw("/sys/kernel/debug/gcov", dump, 16, FTW_PHYS);
	check(files > 0, "%d files of counts", files);
	guest_end();
}

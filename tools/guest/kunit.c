// SPDX-License-Identifier: GPL-2.0-only
#include <dirent.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "guest.h"
#include "kunit.h"

#define DIR_SUITES	"/sys/kernel/debug/kunit"
#define PREFIX		"virtio_gpu_"

static int is_suite(const struct dirent *entry)
{
	return !strncmp(entry->d_name, PREFIX, strlen(PREFIX));
}

/* By their verdict. A case is indented by four, each parameter of one by more. */
static void check_suite(const char *suite, unsigned long round)
{
	unsigned int passed = 0, failed = 0, skipped = 0;
	char path[512], line[1024];
	FILE *f;

	snprintf(path, sizeof(path), DIR_SUITES "/%s/results", suite);
	f = fopen(path, "r");
	if (!f)
		bail("cannot open %s", path);
	while (fgets(line, sizeof(line), f)) {
		if (!strncmp(line, "    not ok ", 11)) {
			printf("# %s", line);
			failed++;
		} else if (!strncmp(line, "    ok ", 7)) {
			if (strstr(line, "# SKIP"))
				skipped++;
			else
				passed++;
		}
	}
	fclose(f);
	check(passed && !failed, "round %lu: %s: %u passed, %u failed, %u skipped", round, suite,
	      passed, failed, skipped);
}

static void each(unsigned long round, bool run)
{
	struct dirent **suites;
	int n, i;

	n = scandir(DIR_SUITES, &suites, is_suite, alphasort);
	if (n <= 0)
		bail("no suites in " DIR_SUITES ": boot with kunit.enable=1");
	for (i = 0; i < n; i++) {
		if (run) {
			char path[512];

			snprintf(path, sizeof(path), DIR_SUITES "/%s/run", suites[i]->d_name);
			write_file(path, "1");
		}
		check_suite(suites[i]->d_name, round);
		free(suites[i]);
	}
	free(suites);
}

void kunit_run_all(unsigned long round)
{
	each(round, true);
}

void kunit_check_all(unsigned long round)
{
	each(round, false);
}

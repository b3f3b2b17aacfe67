// SPDX-License-Identifier: GPL-2.0-only
/*
 * Loads the driver as a module, uses it, loads the tests, which run by that, and unloads all of it: again and again.
 *
 * Settings: ROUNDS (10).
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "guest.h"
#include "kunit.h"
#include "virtgpu.h"

#define DIR_MODULES	"/modules"
#define MAX_MODULES	16
#define SIZE		65536

static struct dirent **files;
static int number;
/* In the order in which they were loaded. */
static const char *loaded[MAX_MODULES];
static int n_loaded;

static int is_module(const struct dirent *entry)
{
	return strstr(entry->d_name, ".ko") != NULL;
}

static bool is_loaded(const char *file)
{
	int i;

	for (i = 0; i < n_loaded; i++) {
		if (loaded[i] == file)
			return true;
	}
	return false;
}

static int load(const char *file)
{
	char path[512];
	int fd, ret;

	snprintf(path, sizeof(path), DIR_MODULES "/%s", file);
	fd = open(path, O_RDONLY);
	if (fd < 0)
		bail("cannot open %s", path);
	ret = syscall(SYS_finit_module, fd, "", 0) ? -errno : 0;
	close(fd);
	return ret;
}

/* Each after those whose symbols it needs: it is not known which, so try, as long as that helps. */
static void load_all(bool tests)
{
	int before, i, ret;

	do {
		before = n_loaded;
		for (i = 0; i < number; i++) {
			const char *file = files[i]->d_name;

			if (is_loaded(file) || (!tests && strstr(file, "kunit")))
				continue;
			ret = load(file);
			if (!ret)
				loaded[n_loaded++] = file;
			else if (ret != -ENOENT)
				bail("%s cannot be loaded: %s", file, strerror(-ret));
		}
	} while (n_loaded > before);
}

static bool unload_all(void)
{
	bool good = true;
	char name[256];
	char *c;

	while (n_loaded) {
		snprintf(name, sizeof(name), "%s", loaded[--n_loaded]);
		*strstr(name, ".ko") = 0;
		for (c = name; *c; c++) {
			if (*c == '-')
				*c = '_';
		}
		if (syscall(SYS_delete_module, name, O_NONBLOCK)) {
			printf("# %s: %s\n", name, strerror(errno));
			good = false;
		}
	}
	return good;
}

/* An eager blob and two deferred ones, one of them mapped, all still there when the file is closed. */
static const char *use(void)
{
	uint32_t handle[3];
	int fd, i, ret;
	char *p;

	fd = virtgpu_open();
	if (fd < 0)
		return "the render node cannot be opened";
	for (i = 0; i < 3; i++) {
		ret = blob_create(fd, SIZE, i ? DRM_VIRTGPU_BLOB_FLAG_HINT_DEFER_MAPPING : 0,
				  &handle[i]);
		if (ret)
			return "a blob cannot be created";
	}
	p = blob_map(fd, handle[2], SIZE);
	if (p == MAP_FAILED)
		return "a deferred blob cannot be mapped";
	*p = 1;
	munmap(p, SIZE);
	close(fd);
	return NULL;
}

int main(void)
{
	unsigned long rounds, round;

	guest_start();
	rounds = setting("ROUNDS", 10);
	number = scandir(DIR_MODULES, &files, is_module, alphasort);
	if (number <= 0 || number > MAX_MODULES)
		bail("%d modules in " DIR_MODULES, number);
	for (round = 1; round <= rounds; round++) {
		const char *error;

		load_all(false);
		error = use();
		check(!error, "round %lu: %d modules are loaded, blobs are created and mapped%s%s",
		      round, n_loaded, error ? ": " : "", error ?: "");
		load_all(true);
		check(n_loaded == number, "round %lu: %d of %d modules are loaded with the tests",
		      round, n_loaded, number);
		kunit_check_all(round);
		check(unload_all(), "round %lu: all are unloaded", round);
		check(access("/dev/dri/renderD128", F_OK) && access("/dev/dri/card0", F_OK),
		      "round %lu: the device nodes are gone", round);
	}
	guest_end();
}

// SPDX-License-Identifier: GPL-2.0-only
/*
 * Two clients with blobs of the same size and number, eager and deferred, and what gputop shows of
 * them: tools/top puts it there.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "guest.h"
#include "virtgpu.h"

#define BLOBS	16
#define SIZE	(1UL << 20)
#define GPUTOP	"/usr/bin/gputop"

/* Creates its blobs, maps so many of them, says so and waits for its end. */
static pid_t client(const char *name, uint32_t hints, unsigned int mapped)
{
	int ready[2], fd;
	uint32_t handle;
	unsigned int i;
	pid_t child;
	char c;

	if (pipe(ready))
		bail("pipe: %s", strerror(errno));
	child = fork();
	if (child < 0)
		bail("fork: %s", strerror(errno));
	if (!child) {
		prctl(PR_SET_NAME, name);
		fd = virtgpu_open();
		for (i = 0; i < BLOBS; i++) {
			if (fd < 0 || blob_create(fd, SIZE, hints, &handle) ||
			    (i < mapped && blob_map(fd, handle, SIZE) == MAP_FAILED))
				_exit(1);
		}
		c = 0;
		if (write(ready[1], &c, 1) != 1)
			_exit(1);
		for (;;)
			pause();
	}
	close(ready[1]);
	if (read(ready[0], &c, 1) != 1)
		bail("the client %s has not got its blobs", name);
	close(ready[0]);
	return child;
}

/* "  27   16384K    4096K ... deferred": the second is all of it, the third is resident. */
static bool shows(const char *line, const char *name, unsigned long total, unsigned long resident)
{
	unsigned long got_total, got_resident;
	char *end;

	if (!strstr(line, name))
		return false;
	strtoul(line, &end, 10);
	got_total = strtoul(end, &end, 10);
	if (*end != 'K' && *end != 'M' && *end != ' ')
		return false;
	got_total <<= *end == 'M' ? 20 : *end == 'K' ? 10 : 0;
	end += *end != ' ';
	got_resident = strtoul(end, &end, 10);
	got_resident <<= *end == 'M' ? 20 : *end == 'K' ? 10 : 0;
	return got_total == total && got_resident == resident;
}

int main(void)
{
	bool eager_shown = false, deferred_shown = false;
	pid_t eager, deferred, child;
	char line[1024];
	int out[2];
	FILE *f;

	guest_start();
	if (access(GPUTOP, X_OK))
		bail("there is no " GPUTOP ": start this by tools/top");
	eager = client("eager", EAGER, 4);
	deferred = client("deferred", DEFERRED, 4);
	if (pipe(out))
		bail("pipe: %s", strerror(errno));
	child = fork();
	if (!child) {
		dup2(out[1], STDOUT_FILENO);
		dup2(out[1], STDERR_FILENO);
		setenv("TERM", "linux", 1);
		setenv("LD_PRELOAD", "/engine.so", 1);
		execl(GPUTOP, "gputop", "-d", "1", "-n", "2", (char *)NULL);
		_exit(127);
	}
	close(out[1]);
	f = fdopen(out[0], "r");
	while (f && fgets(line, sizeof(line), f)) {
		printf("# %s", line);
		eager_shown |= shows(line, "eager", BLOBS * SIZE, BLOBS * SIZE);
		deferred_shown |= shows(line, "deferred", BLOBS * SIZE, 4 * SIZE);
	}
	waitpid(child, NULL, 0);
	kill(eager, SIGKILL);
	kill(deferred, SIGKILL);
	waitpid(eager, NULL, 0);
	waitpid(deferred, NULL, 0);
	check(eager_shown, "all eager blobs are resident");
	check(deferred_shown, "of the deferred blobs those that are mapped are resident");
	guest_end();
}

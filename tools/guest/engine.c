// SPDX-License-Identifier: GPL-2.0-only
/*
 * To be preloaded into gputop, which leaves out clients that use no engine: each virtio-gpu
 * client has used one, for a nanosecond. A driver cannot know what the host's engines do.
 */
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define LINE	"drm-engine-unknown:\t1 ns\n"

ssize_t read(int fd, void *buf, size_t n)
{
	ssize_t got = syscall(SYS_read, fd, buf, n);

	if (got > 0 && got + sizeof(LINE) <= n && memmem(buf, got, "drm-driver:\tvirtio_gpu", 22)) {
		memcpy((char *)buf + got, LINE, sizeof(LINE) - 1);
		got += sizeof(LINE) - 1;
	}
	return got;
}

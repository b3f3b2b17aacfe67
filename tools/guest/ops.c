// SPDX-License-Identifier: GPL-2.0-only
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "ops.h"
#include "virtgpu.h"

#define MANY		2048
#define MAX_THREADS	32
#define STORM_BLOBS	8

static void *map_file(int fd, size_t size, off_t offset)
{
	return mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, offset);
}

long op_open(const long *arg)
{
	(void)arg;
	return virtgpu_open();
}

long op_close(const long *arg)
{
	return close(arg[0]) ? -errno : 0;
}

long op_create(const long *arg)
{
	uint32_t handle;
	int ret = blob_create(arg[0], arg[1], arg[2], &handle);

	return ret ? ret : (long)handle;
}

long op_create_unmappable(const long *arg)
{
	uint32_t handle;
	int ret = blob_create_unmappable(arg[0], arg[1], arg[2], &handle);

	return ret ? ret : (long)handle;
}

long op_destroy(const long *arg)
{
	return blob_destroy(arg[0], arg[1]);
}

long op_offset(const long *arg)
{
	uint64_t offset;
	int ret = blob_offset(arg[0], arg[1], &offset);

	return ret ? ret : (long)offset;
}

long op_map(const long *arg)
{
	void *at = blob_map(arg[0], arg[1], arg[2]);

	return at == MAP_FAILED ? -errno : (long)at;
}

long op_mmap(const long *arg)
{
	void *at = map_file(arg[0], arg[1], arg[2]);

	return at == MAP_FAILED ? -errno : (long)at;
}

long op_unmap(const long *arg)
{
	return munmap((void *)arg[0], arg[1]) ? -errno : 0;
}

long op_export(const long *arg)
{
	return blob_export(arg[0], arg[1]);
}

long op_import(const long *arg)
{
	uint32_t handle;
	int ret = blob_import(arg[0], arg[1], &handle);

	return ret ? ret : (long)handle;
}

static sigjmp_buf bus_error;

static void on_bus_error(int signal)
{
	(void)signal;
	siglongjmp(bus_error, 1);
}

long op_fill(const long *arg)
{
	fill((uint32_t *)arg[0], arg[1], arg[2]);
	return 0;
}

long op_differences(const long *arg)
{
	long n = -EFAULT;

	signal(SIGBUS, on_bus_error);
	if (!sigsetjmp(bus_error, 1))
		n = differences((uint32_t *)arg[0], arg[1], arg[2]);
	signal(SIGBUS, SIG_DFL);
	return n;
}

long op_host_sees(const long *arg)
{
	return host_sees(arg[0], arg[1], arg[2], arg[3]);
}

long op_host_writes(const long *arg)
{
	return host_writes(arg[0], arg[1], arg[2], arg[3]);
}

long op_exec(const long *arg)
{
	(void)arg;
	execl("/proc/self/exe", "idle", NULL);
	return -errno;
}

long op_write_file(const long *arg)
{
	const char *text = (const char *)arg[1];
	int fd = open((const char *)arg[0], O_WRONLY | O_CLOEXEC);
	long ret = 0;

	if (fd < 0)
		return -errno;
	if (write(fd, text, strlen(text)) != (ssize_t)strlen(text))
		ret = -errno;
	close(fd);
	return ret;
}

static uint32_t many[MANY];

long op_create_many(const long *arg)
{
	long i;
	int ret;

	for (i = 0; i < arg[3] && i < MANY; i++) {
		ret = blob_create(arg[0], arg[1], arg[2], &many[i]);
		if (ret)
			return ret;
	}
	return i;
}

long op_map_many(const long *arg)
{
	long i, n = 0;

	for (i = 0; i < arg[2]; i++) {
		void *at = blob_map(arg[0], many[i], arg[1]);

		if (at == MAP_FAILED)
			return -errno;
		fill(at, arg[1], arg[3] + i);
		munmap(at, arg[1]);
	}
	for (i = 0; i < arg[2]; i++) {
		void *at = blob_map(arg[0], many[i], arg[1]);

		if (at == MAP_FAILED)
			return -errno;
		n += differences(at, arg[1], arg[3] + i);
		munmap(at, arg[1]);
	}
	return n;
}

long op_destroy_many(const long *arg)
{
	long i;
	int ret;

	for (i = 0; i < arg[1]; i++) {
		ret = blob_destroy(arg[0], many[i]);
		if (ret)
			return ret;
	}
	return 0;
}

struct thread {
	pthread_t thread;
	pthread_barrier_t *barrier;
	const long *arg;
	unsigned long number;
	long result;
};

static void *map_in_thread(void *data)
{
	struct thread *t = data;
	size_t size = t->arg[2], part = size / t->arg[3];
	long i;
	char *at;

	pthread_barrier_wait(t->barrier);
	at = blob_map(t->arg[0], t->arg[1], size);
	t->result = at == MAP_FAILED ? -errno : 0;
	if (!t->result)
		fill((uint32_t *)(at + t->number * part), part, t->number);
	pthread_barrier_wait(t->barrier);
	for (i = 0; i < t->arg[3] && t->result >= 0; i++)
		t->result += differences((uint32_t *)(at + i * part), part, i);
	if (at != MAP_FAILED)
		munmap(at, size);
	return NULL;
}

long op_map_by_threads(const long *arg)
{
	struct thread threads[MAX_THREADS];
	pthread_barrier_t barrier;
	long i, n = 0;

	pthread_barrier_init(&barrier, NULL, arg[3]);
	for (i = 0; i < arg[3]; i++) {
		threads[i] = (struct thread){ .barrier = &barrier, .arg = arg, .number = i };
		if (pthread_create(&threads[i].thread, NULL, map_in_thread, &threads[i]))
			return -EAGAIN;
	}
	for (i = 0; i < arg[3]; i++) {
		pthread_join(threads[i].thread, NULL);
		if (threads[i].result < 0)
			n = threads[i].result;
		else if (n >= 0)
			n += threads[i].result;
	}
	return n;
}

long op_storm(const long *arg)
{
	struct {
		uint32_t handle;
		void *at;
	} blobs[STORM_BLOBS] = { 0 };
	unsigned int seed = arg[2];
	size_t size = arg[1];
	int ret;

	for (;;) {
		unsigned int n = rand_r(&seed) % STORM_BLOBS;

		if (!blobs[n].handle) {
			ret = blob_create(arg[0], size, rand_r(&seed) % 4 ? DEFERRED : EAGER,
					  &blobs[n].handle);
			if (ret)
				return ret;
		} else if (!blobs[n].at) {
			blobs[n].at = blob_map(arg[0], blobs[n].handle, size);
			if (blobs[n].at == MAP_FAILED)
				return -errno;
			if (rand_r(&seed) % 2)
				fill(blobs[n].at, size, seed);
		} else {
			munmap(blobs[n].at, size);
			blobs[n].at = NULL;
			if (rand_r(&seed) % 2)
				continue;
			ret = blob_destroy(arg[0], blobs[n].handle);
			blobs[n].handle = 0;
			if (ret)
				return ret;
		}
	}
}

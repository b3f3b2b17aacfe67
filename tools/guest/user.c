// SPDX-License-Identifier: GPL-2.0-only
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "guest.h"
#include "user.h"

#define MAX_USERS	64

/* Shared with the user. */
struct channel {
	sem_t go, done;
	op_t *op;
	long arg[USER_ARGS];
	long result;
};

double patience;

static struct channel *channels;
static struct user users[MAX_USERS];

void users_init(void)
{
	patience = setting("PATIENCE", 60);
	channels = mmap(NULL, MAX_USERS * sizeof(*channels), PROT_READ | PROT_WRITE,
			MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (channels == MAP_FAILED)
		bail("no memory for the users");
}

static _Noreturn void serve(struct channel *channel)
{
	for (;;) {
		while (sem_wait(&channel->go))
			;
		channel->result = channel->op(channel->arg);
		sem_post(&channel->done);
	}
}

/* The channel of one that cannot be ended is not used again. */
static struct user *new_user(void)
{
	int i;

	for (i = 0; i < MAX_USERS; i++) {
		struct user *user = &users[i];

		if (user->pid)
			continue;
		memset(user, 0, sizeof(*user));
		user->channel = &channels[i];
		sem_init(&user->channel->go, 1, 0);
		sem_init(&user->channel->done, 1, 0);
		return user;
	}
	bail("more than %d users", MAX_USERS);
}

static struct user *start(bool root)
{
	struct user *user = new_user();

	fflush(stdout);
	user->pid = fork();
	if (user->pid < 0)
		bail("cannot fork: %s", strerror(errno));
	if (!user->pid) {
		if (!root && (setgroups(0, NULL) || setgid(USER_UID) || setuid(USER_UID)))
			_exit(1);
		serve(user->channel);
	}
	return user;
}

struct user *user_start(void)
{
	return start(false);
}

struct user *user_start_root(void)
{
	return start(true);
}

/* The new process is a child of init, as its parent is, so that init can wait for it. */
static long op_fork(const long *arg)
{
	/* What the parent is asked to do next may be in arg before the child runs. */
	struct channel *channel = (struct channel *)arg[0];
	long pid = syscall(SYS_clone, CLONE_PARENT | SIGCHLD, 0, NULL, NULL, 0);

	if (pid < 0)
		return -errno;
	if (!pid)
		serve(channel);
	return pid;
}

struct user *user_fork(struct user *of)
{
	struct user *user = new_user();
	long pid = call(of, op_fork, (long)user->channel);

	if (pid < 0)
		bail("a user cannot fork: %s", result_name(pid));
	user->pid = pid;
	return user;
}

void user_begin(struct user *user, op_t *op, const long *arg)
{
	if (user->stuck || user->status)
		return;
	user->channel->op = op;
	memcpy(user->channel->arg, arg, sizeof(user->channel->arg));
	sem_post(&user->channel->go);
}

/* Bit 30 tells a status of 0 from none. */
static bool died(struct user *user)
{
	int status;

	if (!user->status && waitpid(user->pid, &status, WNOHANG) == user->pid)
		user->status = status | 1 << 30;
	return user->status;
}

bool user_returned(struct user *user, double seconds)
{
	double end = now() + seconds;

	for (;;) {
		struct timespec ts;

		if (!sem_trywait(&user->channel->done)) {
			/* for user_result() */
			sem_post(&user->channel->done);
			return true;
		}
		if (died(user))
			return true;
		if (now() >= end)
			return false;
		clock_gettime(CLOCK_REALTIME, &ts);
		ts.tv_nsec += 20000000;
		if (ts.tv_nsec >= 1000000000) {
			ts.tv_nsec -= 1000000000;
			ts.tv_sec++;
		}
		if (!sem_timedwait(&user->channel->done, &ts))
			sem_post(&user->channel->done);
	}
}

long user_result(struct user *user)
{
	if (user->stuck)
		return STUCK;
	if (!user_returned(user, patience)) {
		user->stuck = true;
		return STUCK;
	}
	if (!sem_trywait(&user->channel->done))
		return user->channel->result;
	return DEAD;
}

long user_call(struct user *user, op_t *op, const long *arg)
{
	user_begin(user, op, arg);
	return user_result(user);
}

bool user_kill(struct user *user, double seconds, double *took)
{
	double start = now(), end = start + seconds;

	if (!user->status)
		kill(user->pid, SIGKILL);
	while (!died(user) && now() < end)
		usleep(500);
	if (took)
		*took = now() - start;
	return user->status;
}

void user_forget(struct user *user)
{
	user->pid = 0;
}

bool user_died_of_bus_error(struct user *user)
{
	int status = user->status & ~(1 << 30);

	return user->status && WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS;
}

char user_state(const struct user *user)
{
	char path[64], state = '?';
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/stat", user->pid);
	f = fopen(path, "r");
	if (f) {
		if (fscanf(f, "%*d (%*[^)]) %c", &state) != 1)
			state = '?';
		fclose(f);
	}
	return state;
}

int users_end(void)
{
	int i, found = 0;

	for (i = 0; i < MAX_USERS; i++)
		if (users[i].pid && !users[i].status && !users[i].immortal)
			kill(users[i].pid, SIGKILL);
	for (i = 0; i < MAX_USERS; i++) {
		struct user *user = &users[i];

		if (!user->pid || user->counted)
			continue;
		if (user_kill(user, user->immortal ? 0 : patience, NULL)) {
			user->pid = 0;
			continue;
		}
		user->immortal = true;
		user->counted = true;
		found++;
	}
	return found;
}

const char *result_name(long result)
{
	static char text[4][64];
	static unsigned int turn;

	if (result >= 0)
		return "success";
	if (result == STUCK)
		return "no end";
	if (result == DEAD)
		return "the death of the process";
	turn = (turn + 1) % 4;
	snprintf(text[turn], sizeof(text[turn]), "%s", strerror(-result));
	return text[turn];
}

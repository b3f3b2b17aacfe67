/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Users: processes of an ordinary user that do what init asks for, one operation
 * at a time. Whatever may block is done by one of them, and init waits for it no
 * longer than it wants to.
 */
#ifndef USER_H
#define USER_H

#include <stdbool.h>
#include <sys/types.h>

#define USER_UID	1000
#define USER_ARGS	5

/* What an operation "returned" that has not returned in time, or whose process has died. */
#define STUCK		(-100001L)
#define DEAD		(-100002L)

/* Runs in the user's process; returns 0 or more, or -errno. */
typedef long op_t(const long *arg);

struct user {
	pid_t pid;
	bool stuck;		/* an operation did not return in time */
	bool immortal;		/* nor did SIGKILL end it */
	bool counted;		/* by users_end() */
	int status;		/* of a dead one, as waitpid() has it */
	struct channel *channel;
};

/* Seconds after which a task is called stuck: PATIENCE. */
extern double patience;

void users_init(void);
struct user *user_start(void);
struct user *user_start_root(void);
/* A child of this user, with its files and its mappings. */
struct user *user_fork(struct user *of);

void user_begin(struct user *user, op_t *op, const long *arg);
/* Whether the operation has returned, or its process has died; waits this long for it. */
bool user_returned(struct user *user, double seconds);
/* Waits for the end: what the operation returned, STUCK or DEAD. */
long user_result(struct user *user);
long user_call(struct user *user, op_t *op, const long *arg);
#define call(user, op, ...) user_call(user, op, (const long[USER_ARGS]){ __VA_ARGS__ })
#define begin(user, op, ...) user_begin(user, op, (const long[USER_ARGS]){ __VA_ARGS__ })

/* By SIGKILL. Whether it is gone within the seconds, and how many it took. */
bool user_kill(struct user *user, double seconds, double *took);
/* Of one who is dead: its place is free. */
void user_forget(struct user *user);
bool user_died_of_bus_error(struct user *user);
/* The state of its task, as ps shows it. */
char user_state(const struct user *user);
/* Ends all there are, and forgets them: the number of those of them that cannot be ended. */
int users_end(void);

/* What an operation returned, in words. */
const char *result_name(long result);

#endif

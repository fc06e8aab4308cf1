/*
 * test_process.c - a child does not outlive its parent, even if it hears nothing.
 */
#include "../check.h"
#include "process/parent_death.h"
#include "process/signals.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MS INT64_C(1000000)

static void
clean_up(void)
{
}

static int64_t
now_ns(void)
{
	struct timespec time;

	(void)clock_gettime(CLOCK_MONOTONIC, &time);
	return (int64_t)time.tv_sec * 1000000000 + time.tv_nsec;
}

/* Turn a deaf ear to every signal there is, but to those that cannot be refused and `heard`. */
static void
hear_nothing_but(int heard)
{
	struct sigaction ignored = { .sa_handler = SIG_IGN };
	sigset_t all;

	(void)sigfillset(&all);
	for (int number = 1; number <= SIGRTMAX; number++)
		if (number != heard)
			(void)sigaction(number, &ignored, NULL);
	if (heard > 0)
		(void)sigdelset(&all, heard);
	(void)sigprocmask(SIG_SETMASK, &all, NULL);
}

/* Return how long the grandchild lived on after its parent was killed. From before the kill: a machine that
 * is busy makes the time longer, and never shorter. */
static int64_t
outlived_ns(int64_t grace_ns)
{
	int ready[2], alive[2];
	char byte;
	int64_t began;
	struct pollfd end;
	pid_t parent;

	CHECK(pipe(ready) == 0 && pipe(alive) == 0);
	parent = fork();
	CHECK(parent >= 0);
	if (parent == 0) {
		pid_t me = getpid();

		if (fork() == 0) {
			(void)close(alive[0]);
			if (ipk_die_with_parent(me, grace_ns) != 0)
				_exit(1);
			hear_nothing_but(grace_ns > 0 ? IPK_SIGNAL_PARENT_DEATH : 0);
			(void)!write(ready[1], "r", 1);
			for (volatile int spin = 0;; spin = !spin) {
#ifdef __SANITIZE_THREAD__
				(void)usleep(1000); /* TSan runs handlers at such calls only */
#endif
			}
		}
		(void)close(alive[1]);
		for (;;)
			(void)pause();
	}
	(void)close(alive[1]); /* now only the grandchild has it */
	CHECK(read(ready[0], &byte, 1) == 1);
	began = now_ns();
	CHECK(kill(parent, SIGKILL) == 0);
	CHECK(waitpid(parent, NULL, 0) == parent);
	end.fd = alive[0];
	end.events = POLLIN;
	CHECK(poll(&end, 1, 120000) == 1); /* end of file: the grandchild is gone */
	(void)close(alive[0]);
	(void)close(ready[0]);
	(void)close(ready[1]);
	return now_ns() - began;
}

/* Return what ipk_die_with_parent() says to one whose parent died before it could ask. */
static int
asked_too_late(void)
{
	int told[2], code = 1;
	pid_t parent;

	CHECK(pipe(told) == 0);
	parent = fork();
	CHECK(parent >= 0);
	if (parent == 0) {
		pid_t me = getpid();

		if (fork() == 0) {
			while (getppid() == me)
				(void)usleep(1000);
			code = ipk_die_with_parent(me, 0);
			(void)!write(told[1], &code, sizeof code);
		}
		_exit(0);
	}
	CHECK(waitpid(parent, NULL, 0) == parent);
	CHECK(read(told[0], &code, sizeof code) == sizeof code);
	(void)close(told[0]);
	(void)close(told[1]);
	return code;
}

/* The shortest of some: a busy machine is late now and then. */
static int64_t
soonest_ns(int64_t grace_ns)
{
	int64_t least = outlived_ns(grace_ns);

	for (int turn = 1; turn < 5; turn++) {
		int64_t lived = outlived_ns(grace_ns);

		least = lived < least ? lived : least;
	}
	return least;
}

int
main(void)
{
	int64_t lived;

	CHECK(ipk_die_with_parent(getppid(), -1) == -EINVAL);
	CHECK(ipk_die_with_parent(getppid() + 1, 0) == -ESRCH);
	CHECK(asked_too_late() == -ESRCH);
	CHECK(soonest_ns(0) < 2000 * MS);
	lived = soonest_ns(200 * MS);
	CHECK(lived >= 200 * MS && lived < 3000 * MS);
	return 0;
}

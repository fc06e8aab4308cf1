/*
 * process/parent_death.c - a child that does not outlive its manager.
 *
 * Owns      one POSIX timer of the calling process, and the handler of IPK_SIGNAL_PARENT_DEATH.
 * Stands on libc, prctl(2), timer_create(2).
 * State     the id of that timer, written once before the signal can come, never changed.
 *
 * Invariants
 *   P1  once ipk_die_with_parent() returned 0, the parent's death ends this process within
 *       grace_ns, even if it is deep in C code and runs no Python.
 *   P2  the handler calls only timer_settime(2), which is async-signal-safe.
 *
 * Blocks    never.  Errors  -errno.
 */
#include "process/parent_death.h"
#include "process/signals.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

/* A handler has no argument of its own but these; both are written before it is installed. */
static timer_t death_timer;
static struct itimerspec death_delay;

static void
on_parent_death(int signum)
{
	int saved = errno;

	(void)signum;
	(void)timer_settime(death_timer, 0, &death_delay, NULL); /* P2 */
	errno = saved;
}

int
ipk_die_with_parent(pid_t parent, int64_t grace_ns)
{
	int signum = SIGKILL;

	if (grace_ns < 0)
		return -EINVAL;
	if (grace_ns > 0) {
		struct sigevent event;
		struct sigaction action;

		memset(&event, 0, sizeof event);
		event.sigev_notify = SIGEV_SIGNAL;
		event.sigev_signo = SIGKILL;
		if (timer_create(CLOCK_MONOTONIC, &event, &death_timer) != 0)
			return -errno;
		death_delay.it_value.tv_sec = (time_t)(grace_ns / 1000000000);
		death_delay.it_value.tv_nsec = (long)(grace_ns % 1000000000);
		memset(&action, 0, sizeof action);
		action.sa_handler = on_parent_death;
		action.sa_flags = SA_RESTART;
		signum = IPK_SIGNAL_PARENT_DEATH;
		if (sigaction(signum, &action, NULL) != 0) {
			int code = -errno;

			(void)timer_delete(death_timer);
			return code;
		}
	}
	if (prctl(PR_SET_PDEATHSIG, signum) != 0)
		return -errno;
	if (getppid() != parent) /* it died before the wish was known */
		return -ESRCH;
	return 0;
}

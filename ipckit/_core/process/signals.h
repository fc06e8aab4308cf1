/*
 * process/signals.h - the real-time signals of the toolkit, and timers that send a signal.
 *
 * process/ is what a process asks of the kernel for itself: signals, timers, and to die with its
 * parent.
 *
 * Each signal has one owner, named here and nowhere else: a file that needs a signal takes a
 * constant of its own below. A program that uses one of these for itself loses what its owner does.
 */
#ifndef IPK_PROCESS_SIGNALS_H
#define IPK_PROCESS_SIGNALS_H

#include "base/ipk.h"

#include <signal.h>
#include <time.h>

#define IPK_SIGNAL_PARENT_DEATH (SIGRTMAX - 1) /* parent_death.c, in the server's processes */
#define IPK_SIGNAL_QUEUE_WAIT (SIGRTMAX - 2)   /* queues/sysv.c, during a wait with a time limit */
#define IPK_SIGNAL_RELAY (SIGRTMAX - 3)	       /* queues/relay.c, SysvQueue.areceive() */
#define IPK_SIGNAL_TASK_LIMIT (SIGRTMAX - 4)   /* ipckit/server/tasks/time_limit.py, in task workers */

/* IPK_SIGNAL_TASK_LIMIT, for Python. */
int ipk_signal_task_limit(void);
/* A timer that runs, or none: all zero. No id says so: the first one of a process is 0. */
struct ipk_timer {
	timer_t id;
	int runs;
};
/* Send `signal_number` to the calling process itself after `ns`, whatever it is doing then. The
 * timer, for ipk_signal_not(), is not inherited by fork. 0, -errno: there is no timer then, and
 * *timer is as it was. -EINVAL: also when *timer runs. */
int ipk_signal_after(struct ipk_timer *timer, int signal_number, int64_t ns);
/* End the timer, fired or not; nothing where none runs. 0, -errno. */
int ipk_signal_not(struct ipk_timer *timer);

#endif

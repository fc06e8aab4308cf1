/*
 * process/signals.c - timers that send a signal to the process itself.
 *
 * Owns      nothing.  Stands on timer_create(2).
 * State     in the kernel; the caller keeps struct ipk_timer.
 *
 * Blocks    never.  Errors  -errno, -EINVAL.
 */
#include "process/signals.h"

#include <errno.h>

int
ipk_signal_task_limit(void)
{
	return IPK_SIGNAL_TASK_LIMIT;
}

int
ipk_signal_after(struct ipk_timer *timer, int signal_number, int64_t ns)
{
	struct itimerspec when = {.it_value = {ns / 1000000000, ns % 1000000000}};
	struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = signal_number};
	timer_t made;

	if (ns <= 0 || timer->runs)
		return -EINVAL;
	if (timer_create(CLOCK_MONOTONIC, &event, &made) != 0)
		return -errno;
	if (timer_settime(made, 0, &when, NULL) != 0) {
		int code = -errno;

		(void)timer_delete(made);
		return code;
	}
	timer->id = made;
	timer->runs = 1;
	return 0;
}

int
ipk_signal_not(struct ipk_timer *timer)
{
	if (!timer->runs)
		return 0;
	timer->runs = 0;
	return timer_delete(timer->id) != 0 ? -errno : 0;
}

/*
 * test_signals.c - each real-time signal has one owner, and a timer that cannot be started is not
 * left behind.
 */
#include "../check.h"
#include "process/parent_death.h"
#include "process/signals.h"

#include <errno.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static int refuse;

static void
clean_up(void)
{
}

/* In place of libc's: the core's calls come here. */
int
timer_settime(timer_t timer, int flags, const struct itimerspec *when, struct itimerspec *before)
{
	if (refuse) {
		errno = EINVAL;
		return -1;
	}
	return (int)syscall(SYS_timer_settime, timer, flags, when, before);
}

static int
timers(void)
{
	char line[256];
	int count = 0;
	FILE *file = fopen("/proc/self/timers", "r");

	CHECK(file);
	while (fgets(line, sizeof(line), file))
		count += strncmp(line, "ID:", 3) == 0;
	(void)fclose(file);
	return count;
}

static void
signals_are_not_shared(void)
{
	int numbers[] = {IPK_SIGNAL_PARENT_DEATH, IPK_SIGNAL_QUEUE_WAIT, IPK_SIGNAL_RELAY,
			 IPK_SIGNAL_TASK_LIMIT};

	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
		CHECK(numbers[i] >= SIGRTMIN && numbers[i] <= SIGRTMAX);
		for (size_t other = 0; other < i; other++)
			CHECK(numbers[i] != numbers[other]);
	}
	CHECK(ipk_signal_task_limit() == IPK_SIGNAL_TASK_LIMIT);
}

static void
no_timer_is_left(void)
{
	struct ipk_timer timer = {0};

	refuse = 1;
	CHECK(ipk_signal_after(&timer, SIGKILL, INT64_C(1000000000000)) == -EINVAL);
	refuse = 0;
	CHECK(!timer.runs && timers() == 0);
	CHECK(ipk_signal_not(&timer) == 0);
	CHECK(ipk_signal_after(&timer, SIGKILL, 0) == -EINVAL && timers() == 0);
	CHECK(ipk_signal_after(&timer, SIGKILL, INT64_C(1000000000000)) == 0 && timers() == 1);
	CHECK(ipk_signal_after(&timer, SIGKILL, INT64_C(1000000000000)) == -EINVAL && timers() == 1);
	CHECK(ipk_signal_not(&timer) == 0 && timers() == 0 && !timer.runs);
}

int
main(void)
{
	signals_are_not_shared();
	no_timer_is_left();
	return 0;
}

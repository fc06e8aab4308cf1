/*
 * base/clock.h - the one clock of the core: CLOCK_MONOTONIC, in nanoseconds.
 *
 * All processes of a machine read the same clock. It stands still while the machine is suspended.
 * Blocks    never.
 */
#ifndef IPK_BASE_CLOCK_H
#define IPK_BASE_CLOCK_H

#include "base/ipk.h"

#include <time.h>

static inline uint64_t
ipk_now_ns(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now); /* cannot fail with this clock */
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

/* The same moment for all: what the caller did before the call is visible to every process before
 * it, and nothing of what the caller does later is. */
int64_t ipk_stamp(void);

#endif

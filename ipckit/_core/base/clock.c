/*
 * base/clock.c - a time stamp that is ordered with the loads and stores around it.
 *
 * Stands on clock_gettime(2).  State  none.  Blocks  never.
 */
#include "base/clock.h"

#include "base/atomics.h"

int64_t
ipk_stamp(void)
{
	int64_t now;

	FENCE(__ATOMIC_SEQ_CST);
	now = (int64_t)ipk_now_ns();
	FENCE(__ATOMIC_SEQ_CST);
	return now;
}

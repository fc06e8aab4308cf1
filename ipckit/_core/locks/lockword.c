/*
 * locks/lockword.c - waiting for a lock word, an owner's death, or a moment's pause.
 *
 * Owns      nothing.  Stands on futex(2), futex_waitv(2).  State  in the caller's obstacle.
 * Blocks    ipk_wait, as its head says; a dead owner's lock word does not change, so no wait for
 *           a latch is longer than LATCH_NS, and one for a user's lock watches the owner's mark.
 */
#include "locks/lockword.h"

#include "base/clock.h"
#include "base/kernel.h"

#include <errno.h>
#include <limits.h>
#include <sched.h>
#include <time.h>

#define SECOND_NS 1000000000ull

enum {
	LATCH_NS = 1000000,	 /* death is looked for after each */
	USER_LOCK_NS = 50000000, /* a wake-up may have gone to a thread that was killed */
	BLIND_NS = 5000000,	 /* the same without futex_waitv */
};
static const uint64_t doubt_ns = 3 * SECOND_NS; /* then /proc is asked */

void
ipk_wake(uint32_t *word, int most)
{
	(void)syscall(SYS_futex, word, FUTEX_WAKE, most, NULL, NULL, 0);
}

static struct timespec
as_timespec(uint64_t ns)
{
	return (struct timespec){.tv_sec = (time_t)(ns / SECOND_NS),
				 .tv_nsec = (long)(ns % SECOND_NS)};
}

/* Sleep while *word is `seen`, until `until` (CLOCK_MONOTONIC). -EINTR or 0. */
static int
sleep_on(uint32_t *word, uint32_t seen, uint64_t until)
{
	struct timespec time = as_timespec(until);

	/* FUTEX_WAIT_BITSET takes an absolute time, so a signal does not lengthen the wait. */
	if (syscall(SYS_futex, word, FUTEX_WAIT_BITSET, seen, &time, NULL,
		    FUTEX_BITSET_MATCH_ANY) != 0 &&
	    errno == EINTR)
		return -EINTR;
	return 0;
}

uint32_t
ipk_watch(uint32_t *live)
{
	/* From the exact value only: on a slot that was left the mark would stay for ever. */
	uint32_t seen = __atomic_load_n(live, __ATOMIC_ACQUIRE);

	while (!(seen & (FUTEX_WAITERS | FUTEX_OWNER_DIED)) && (seen & FUTEX_TID_MASK)) {
		if (__atomic_compare_exchange_n(live, &seen, seen | FUTEX_WAITERS, 0,
						__ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
			return seen | FUTEX_WAITERS;
	}
	return seen;
}

static int
sleep_on_both(struct ipk_obstacle *obstacle, uint32_t seen, uint64_t until)
{
	struct timespec time = as_timespec(until);
	uint32_t live = ipk_watch(obstacle->owner_live);
	struct futex_waitv both[2] = {
		{.val = seen, .uaddr = (uintptr_t)obstacle->word, .flags = FUTEX_32},
		{.val = live, .uaddr = (uintptr_t)obstacle->owner_live, .flags = FUTEX_32},
	};

	if ((live & FUTEX_OWNER_DIED) || !(live & FUTEX_TID_MASK))
		return 0;
	if (syscall(SYS_futex_waitv, both, 2, 0, &time, CLOCK_MONOTONIC) < 0) {
		if (errno == EINTR)
			return -EINTR;
		if (errno == ENOSYS || errno == EPERM) { /* before Linux 5.16, or forbidden */
			uint64_t blind = ipk_now_ns() + BLIND_NS;

			return sleep_on(obstacle->word, seen, blind < until ? blind : until);
		}
	}
	return 0;
}

/* Mark the word so that its owner wakes us. 0 when it changed before the mark. */
static int
announce(struct ipk_obstacle *obstacle, uint32_t *seen)
{
	*seen = obstacle->seen;
	if (*seen & IPK_WAITERS)
		return __atomic_load_n(obstacle->word, __ATOMIC_RELAXED) == *seen;
	if (!__atomic_compare_exchange_n(obstacle->word, seen, *seen | IPK_WAITERS, 0,
					 __ATOMIC_RELAXED, __ATOMIC_RELAXED))
		return 0;
	*seen |= IPK_WAITERS;
	return 1;
}

/* A reader asked for a pause: give it, unless another thread takes the latch or the reader is done. */
static int
step_back(const struct ipk_obstacle *obstacle, uint64_t now)
{
	uint64_t until = now + obstacle->pause_ns;

	while (__atomic_load_n(obstacle->word, __ATOMIC_RELAXED) == obstacle->seen &&
	       ipk_now_ns() < until)
		(void)sched_yield();
	return 0;
}

int
ipk_wait(struct ipk_slot *slots, uint32_t count, struct ipk_obstacle *obstacle,
	 uint64_t deadline_ns)
{
	uint64_t now = ipk_now_ns();
	uint64_t until = now + (obstacle->kind == IPK_USER_LOCK ? USER_LOCK_NS : LATCH_NS);
	uint32_t owner = obstacle->seen & IPK_OWNER_MASK;
	uint32_t seen;

	if (deadline_ns) {
		if (now >= deadline_ns)
			return -ETIMEDOUT;
		if (deadline_ns < until)
			until = deadline_ns;
	}
	if (obstacle->kind == IPK_READER)
		return step_back(obstacle, now);
	if (owner != obstacle->blocked_by) {
		obstacle->blocked_by = owner;
		obstacle->blocked_since = now;
	} else if (now - obstacle->blocked_since > doubt_ns) {
		obstacle->blocked_since = now;
		if (ipk_owner_gone(slots, count, owner) == 1)
			return 0;
	}
	if (obstacle->kind == IPK_LATCH)
		obstacle->waited = 1;
	if (!announce(obstacle, &seen))
		return 0;
	if (obstacle->kind == IPK_USER_LOCK && obstacle->owner_live)
		return sleep_on_both(obstacle, seen, until);
	return sleep_on(obstacle->word, seen, until);
}

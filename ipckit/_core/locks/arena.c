/*
 * locks/arena.c - taking and opening locks; numbers that may be waited for.
 *
 * Owns      the cells of an arena.  Stands on locks/slots, locks/lockword, futex(2).
 * State     in the arena.  Blocks  ipk_number_wait, 50 ms at most; the rest never.
 */
#include "locks/arena.h"

#include "base/atomics.h"
#include "base/clock.h"

#include <errno.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { LONGEST_NS = 50000000, SPINS = 50 }; /* a wake-up may have gone to a thread that was killed */

uint64_t
ipk_sync_bytes(uint32_t count)
{
	return IPK_SYNC_SLOTS * sizeof(struct ipk_slot) +
	       (uint64_t)count * sizeof(struct ipk_sync_cell);
}

void
ipk_sync_attach(struct ipk_sync *sync, void *base, uint32_t count)
{
	sync->slots = base;
	sync->cells = (struct ipk_sync_cell *)(sync->slots + IPK_SYNC_SLOTS);
	sync->count = count;
}

int
ipk_sync_join(const struct ipk_sync *sync, const struct ipk_registry *registry,
	      struct ipk_party *party)
{
	int code = ipk_slot_join(registry, sync->slots, IPK_SYNC_SLOTS, party);

	/* What the slot's earlier owners died with: their generation must not come again in it. */
	for (uint32_t i = 0; code == 0 && i < sync->count; i++) {
		uint32_t *word = &sync->cells[i].lock;
		uint32_t seen = __atomic_load_n(word, __ATOMIC_ACQUIRE);

		if ((seen & 0xffff) != (party->owner & 0xffff))
			continue;
		if (__atomic_compare_exchange_n(word, &seen, IPK_MARK, 0, __ATOMIC_ACQ_REL,
						__ATOMIC_RELAXED) &&
		    (seen & IPK_WAITERS))
			ipk_wake(word, 1);
	}
	return code;
}

void
ipk_sync_clear(const struct ipk_sync *sync, uint32_t cell)
{
	ipk_number_store(&sync->cells[cell], 0);
	STORE_SEQ_CST(&sync->cells[cell].lock, 0);
}

uint32_t
ipk_sync_locks_held(const struct ipk_sync *sync, const struct ipk_party *party)
{
	uint32_t count = 0;

	for (uint32_t i = 0; i < sync->count; i++)
		count += (LOAD_RELAXED(&sync->cells[i].lock) & IPK_OWNER_MASK) == party->owner;
	return count;
}

int
ipk_lock_take(const struct ipk_sync *sync, struct ipk_party *party, uint32_t cell,
	      struct ipk_obstacle *obstacle)
{
	uint32_t *word = &sync->cells[cell].lock;
	/* Acquire: the verdict must not see its owner's slot as it was before the owner joined. */
	uint32_t seen = __atomic_load_n(word, __ATOMIC_ACQUIRE);
	/* A thread that has waited cannot know whether others still wait. */
	uint32_t extra = obstacle->waited ? IPK_WAITERS : 0;

	for (uint32_t spin = 0; spin < SPINS; spin++) {
		uint32_t owner = seen & IPK_OWNER_MASK;
		int dead = owner ? ipk_owner_dead(sync->slots, IPK_SYNC_SLOTS, owner) : 0;

		if (dead < 0)
			return dead;
		if (owner == party->owner) {
			obstacle->kind = IPK_LATCH;
			obstacle->word = word;
			obstacle->seen = seen;
			return -EDEADLK;
		}
		if ((!owner || dead) &&
		    __atomic_compare_exchange_n(word, &seen,
						party->owner | (seen & IPK_WAITERS) | extra, 0,
						__ATOMIC_ACQUIRE, __ATOMIC_ACQUIRE))
			return dead || (seen & IPK_MARK);
		if (owner && !dead)
			seen = __atomic_load_n(word, __ATOMIC_ACQUIRE);
	}
	obstacle->kind = IPK_USER_LOCK;
	obstacle->word = word;
	obstacle->seen = seen;
	obstacle->owner_live = ipk_owner_live(sync->slots, IPK_SYNC_SLOTS, seen & IPK_OWNER_MASK);
	obstacle->waited = 1;
	return -EAGAIN;
}

int
ipk_lock_release(const struct ipk_sync *sync, struct ipk_party *party, uint32_t cell)
{
	uint32_t *word = &sync->cells[cell].lock;

	/* Nobody takes it from a living owner, so what is seen here stays. */
	if ((__atomic_load_n(word, __ATOMIC_RELAXED) & IPK_OWNER_MASK) != party->owner)
		return -EPERM;
	if (__atomic_exchange_n(word, 0, __ATOMIC_RELEASE) & IPK_WAITERS)
		ipk_wake(word, 1);
	return 0;
}

int
ipk_lock_is_taken(const struct ipk_sync *sync, uint32_t cell)
{
	uint32_t owner =
		__atomic_load_n(&sync->cells[cell].lock, __ATOMIC_ACQUIRE) & IPK_OWNER_MASK;

	return owner && ipk_owner_dead(sync->slots, IPK_SYNC_SLOTS, owner) == 0;
}

int64_t
ipk_number_load(const struct ipk_sync_cell *cell)
{
	return __atomic_load_n(&cell->value, __ATOMIC_SEQ_CST);
}

void
ipk_number_store(struct ipk_sync_cell *cell, int64_t value)
{
	__atomic_store_n(&cell->value, value, __ATOMIC_SEQ_CST);
}

int
ipk_number_add(struct ipk_sync_cell *cell, int64_t by, int64_t *value)
{
	int64_t seen = __atomic_load_n(&cell->value, __ATOMIC_SEQ_CST);

	do {
		if (__builtin_add_overflow(seen, by, value))
			return -ERANGE;
	} while (!__atomic_compare_exchange_n(&cell->value, &seen, *value, 1, __ATOMIC_SEQ_CST,
					      __ATOMIC_SEQ_CST));
	return 0;
}

int
ipk_number_compare_and_set(struct ipk_sync_cell *cell, int64_t expected, int64_t value)
{
	return __atomic_compare_exchange_n(&cell->value, &expected, value, 0, __ATOMIC_SEQ_CST,
					   __ATOMIC_SEQ_CST);
}

int
ipk_number_wait(struct ipk_sync_cell *cell, int64_t expected, uint64_t deadline_ns)
{
	uint32_t seen = __atomic_load_n(&cell->wakes, __ATOMIC_SEQ_CST);
	uint64_t now = ipk_now_ns();
	uint64_t until = now + LONGEST_NS;
	struct timespec time;

	if (ipk_number_load(cell) != expected)
		return 1;
	if (deadline_ns && now >= deadline_ns)
		return -ETIMEDOUT;
	if (deadline_ns && deadline_ns < until)
		until = deadline_ns;
	time = (struct timespec){.tv_sec = (time_t)(until / 1000000000ull),
				 .tv_nsec = (long)(until % 1000000000ull)};
	if (syscall(SYS_futex, &cell->wakes, FUTEX_WAIT_BITSET, seen, &time, NULL,
		    FUTEX_BITSET_MATCH_ANY) != 0 &&
	    errno == EINTR)
		return -EINTR;
	return 0;
}

int
ipk_number_wake(struct ipk_sync_cell *cell, int most)
{
	(void)__atomic_add_fetch(&cell->wakes, 1, __ATOMIC_SEQ_CST);
	return (int)syscall(SYS_futex, &cell->wakes, FUTEX_WAKE, most, NULL, NULL, 0);
}

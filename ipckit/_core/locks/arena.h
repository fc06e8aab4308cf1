/*
 * locks/arena.h - locks and atomic numbers in shared memory, many of them in one arena.
 *
 * Arena: slots (slots.h), then cells of 64 bytes. A cell is a lock or a number, whatever its
 * user makes of it; a zeroed one is a free lock and the number 0.
 *
 * A lock is a lock word (lockword.h): it belongs to a thread; its mark says that its last
 * owner died with it. Each change of a number is one step. `wakes` goes up with every wake, and a
 * waiter sleeps on it. So a waiter misses no change of the number between its look and its sleep,
 * also not one that leaves the lower half as it was.
 * Crash     the next thread that asks gets a dead owner's lock without a wait; a waiter's death
 *           costs another waiter at most 50 ms.
 */
#ifndef IPK_LOCKS_ARENA_H
#define IPK_LOCKS_ARENA_H

#include "locks/lockword.h"

#define IPK_SYNC_SLOTS 512

struct ipk_sync_cell {
	int64_t value;
	uint32_t wakes;
	uint32_t lock;
	uint32_t unused[12];
};

struct ipk_sync {
	struct ipk_slot *slots;
	struct ipk_sync_cell *cells;
	uint32_t count;
};

/* The arena's bytes for `count` cells; its segment begins as zeros. */
uint64_t ipk_sync_bytes(uint32_t count);
/* The arena in a segment of ipk_sync_bytes(). */
void ipk_sync_attach(struct ipk_sync *sync, void *base, uint32_t count);
/* As ipk_slot_join(); opens the locks of the slot's dead owner. */
int ipk_sync_join(const struct ipk_sync *sync, const struct ipk_registry *registry,
		  struct ipk_party *party);

/* The cell is not in use yet: make it a free lock and the number 0. */
void ipk_sync_clear(const struct ipk_sync *sync, uint32_t cell);
/* How many locks of the arena the party has. */
uint32_t ipk_sync_locks_held(const struct ipk_sync *sync, const struct ipk_party *party);

/* 0 taken, 1 taken from a dead owner; -EAGAIN: the obstacle is for ipk_wait(); -EDEADLK: the
 * calling thread has it, and with the obstacle ipk_wait() only lets the time pass. */
int ipk_lock_take(const struct ipk_sync *sync, struct ipk_party *party, uint32_t cell,
		  struct ipk_obstacle *obstacle);
/* 0; -EPERM: it is not the calling thread's, nothing was changed. */
int ipk_lock_release(const struct ipk_sync *sync, struct ipk_party *party, uint32_t cell);
/* 1 when a living thread has it. */
int ipk_lock_is_taken(const struct ipk_sync *sync, uint32_t cell);

int64_t ipk_number_load(const struct ipk_sync_cell *cell);
void ipk_number_store(struct ipk_sync_cell *cell, int64_t value);
/* 0 and the new value; -ERANGE: it would leave 64 bits, nothing was changed. */
int ipk_number_add(struct ipk_sync_cell *cell, int64_t by, int64_t *value);
/* 1 it was `expected` and is `value` now; 0. */
int ipk_number_compare_and_set(struct ipk_sync_cell *cell, int64_t expected, int64_t value);
/* Sleep while the number is `expected`, at most 50 ms and not after deadline_ns (CLOCK_MONOTONIC,
 * 0: none): 1 it is another, 0 look again, -ETIMEDOUT, -EINTR. */
int ipk_number_wait(struct ipk_sync_cell *cell, int64_t expected, uint64_t deadline_ns);
/* Wake at most `most` waiters; how many it were. */
int ipk_number_wake(struct ipk_sync_cell *cell, int most);

#endif

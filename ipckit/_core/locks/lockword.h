/*
 * locks/lockword.h - a 32-bit lock that says who holds it, and how to wait for one.
 *
 * Bits 0-29 the owner (slots.h; 0: free), bit 30 a mark of whose lock it is, bit 31: waiters
 * sleep on it. Taking it is one compare-and-set that writes the owner, so there is never a lock
 * whose owner is not known. A dead owner's lock is taken over the same way: one new owner wins.
 *
 * Nothing here waits but ipk_wait(). A call that meets a lock it may not have returns -EAGAIN with
 * the obstacle; the caller waits for it, without anything held, and makes the call again.
 */
#ifndef IPK_LOCKS_LOCKWORD_H
#define IPK_LOCKS_LOCKWORD_H

#include "locks/slots.h"

#define IPK_MARK 0x40000000u
#define IPK_WAITERS 0x80000000u

enum ipk_obstacle_kind {
	IPK_NOTHING = 0,
	IPK_LATCH,     /* a thread is inside a call */
	IPK_USER_LOCK, /* a thread holds it across calls */
	IPK_TRANSIT,   /* a cell on its way in or out of a full table */
	IPK_READER,    /* a reader asks for a moment without writers */
};

/* What stands in the way, over all attempts of one call. Zeroed before the first. */
struct ipk_obstacle {
	uint32_t kind;
	uint32_t seen;	      /* the lock word */
	uint32_t *word;	      /* 4-byte aligned, in shared memory */
	uint32_t *owner_live; /* of a user's lock: the owner's mark */
	uint32_t waited;      /* 1: a latch was waited for: others may sleep on it too */
	uint32_t stepped_back;
	uint64_t pause_ns;	/* of IPK_READER */
	uint64_t transit_since; /* CLOCK_MONOTONIC, ns; 0: not yet */
	uint64_t blocked_since; /* on the owner in `seen`, for ipk_owner_gone */
	uint32_t versions;	/* a reader's tries that a writer spoiled */
	uint32_t blocked_by;
};

/*
 * Wait until the obstacle may be gone, at most a few milliseconds (50 for a user's lock), and not
 * after `deadline_ns` (CLOCK_MONOTONIC; 0: none). The death of an owner ends it.
 * 0: try again. -ETIMEDOUT: the deadline has passed. -EINTR: a signal; look at it, then try again.
 */
int ipk_wait(struct ipk_slot *slots, uint32_t count, struct ipk_obstacle *obstacle,
	     uint64_t deadline_ns);

/* Ask the kernel to wake those that sleep on the `live` word of a slot (ipk_owner_live) when its owner
 * dies. Returns the value to sleep on. */
uint32_t ipk_watch(uint32_t *live);

/* Wake at most `most` threads that sleep on `word`. */
void ipk_wake(uint32_t *word, int most);

#endif

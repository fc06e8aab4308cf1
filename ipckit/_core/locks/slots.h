/*
 * locks/slots.h - who takes part in a shared segment, and who of them is dead.
 *
 * locks/ is locks whose owner may die: slots say who is alive, a lock word says who holds it, and
 * an arena has many locks and numbers.
 *
 * A slot belongs to one thread of one process. Its `live` is a robust mutex that the thread holds
 * from joining to leaving; when it dies, or its process dies or calls exec, the kernel marks it.
 * So "is the owner of this lock dead?" is a load of two words, in every pid namespace.
 *
 * An owner is written into a lock as one 30-bit number: slot + 1 (16 bits) and the slot's
 * generation (14 bits). 0 is no owner.
 *
 * Invariants
 *   S1 `live` is locked only under the registry lock, when it is free or marked dead, after its
 *      bytes were written again; so no thread ever waits for it, and no byte of it is trusted.
 *   S2 whatever a thread holds, or is about to take, is in its slot's lists before it is taken.
 *   S3 `generation` goes up under S1; an owner of another generation is dead. A thread that joins recovers
 *      what the lists still name before it takes anything itself.
 * Time is never a reason to call an owner dead.
 */
#ifndef IPK_LOCKS_SLOTS_H
#define IPK_LOCKS_SLOTS_H

#include "base/ipk.h"

#include <pthread.h>

#define IPK_SLOT_LATCHES 2 /* held at the same time, inside one call */
#define IPK_SLOT_LOCKS 8   /* user's locks held at the same time */
#define IPK_OWNER_MASK 0x3fffffffu

struct ipk_slot {
	pthread_mutex_t live;
	uint32_t generation;
	uint32_t tid; /* in its own pid namespace */
	uint64_t pid_namespace;
	uint64_t started; /* clock ticks after boot, as its time namespace counts: proc(5), stat, field 22 */
	uint32_t latches[IPK_SLOT_LATCHES]; /* number + 1; 0: none */
	uint32_t waits_for;		    /* user's lock, number + 1 */
	uint32_t unused;
	uint32_t locks[IPK_SLOT_LOCKS]; /* user's locks, number + 1 */
	uint64_t time_namespace; /* behind what earlier builds have, in what was padding */
} __attribute__((aligned(128)));

_Static_assert(sizeof(struct ipk_slot) == 128, "a slot is two cache lines, or a layout has a new number");

/* A thread's place in one segment. Private memory. */
struct ipk_party {
	struct ipk_slot *slot;
	uint32_t owner; /* what this thread writes into locks */
};

/* An open description of the segment's file that is locked. Private memory. */
struct ipk_registry {
	int fd;	      /* of the segment, in this process */
	uint64_t dev; /* what fstat(2) said of it */
	uint64_t ino;
	int no_wait; /* join and leave answer -EAGAIN where they would wait */
};

/*
 * Take a free or dead slot for the calling thread. Blocks while another thread joins or leaves,
 * unless registry->no_wait is set. No other thread of this process joins or leaves at the same time, or
 * closes a descriptor of the segment, if this process may not open the segment's file any more.
 * The caller then recovers what party->slot's lists still name, and clears them.
 * 0, -EUSERS when all slots belong to living threads, -EINTR, -ESTALE when fd is another file
 * by now, -ENOENT when it is closed or there is no /proc.
 * Killed inside: the kernel frees the registry; the slot is free or marked dead.
 */
int ipk_slot_join(const struct ipk_registry *registry, struct ipk_slot *slots, uint32_t count,
		  struct ipk_party *party);

/* Give the slot back. It must hold nothing. Same errors; on an error it stays taken. */
int ipk_slot_release(const struct ipk_registry *registry, struct ipk_party *party);

/* 1 when `owner` (not 0) is dead, 0 when it is not known to be, -EUCLEAN: no such slot. */
int ipk_owner_dead(const struct ipk_slot *slots, uint32_t count, uint32_t owner);

/* 1 when no living thread has the slot: its last owner died or left, or there was none. */
int ipk_slot_is_dead(const struct ipk_slot *slots, uint32_t index);

/* The word whose change tells that `owner` died or left; NULL: no such slot. */
uint32_t *ipk_owner_live(struct ipk_slot *slots, uint32_t count, uint32_t owner);

/*
 * The slow second opinion, for a waiter of some seconds: asks /proc, for a thread of the caller's
 * pid namespace whose memory was taken by the out-of-memory reaper before its mark could be set. A /proc
 * of another pid namespace is not asked; a start time of another time namespace says nothing.
 * Marks the slot. 1 dead, 0 not known to be.
 */
int ipk_owner_gone(struct ipk_slot *slots, uint32_t count, uint32_t owner);

#endif

/*
 * ledger/internal.h - what the files of the ledger share. No other folder includes it.
 *
 * Layout    head | words | order | dedup | spilled | rings | entries | pending | scan | done | summary
 *           | woken | epochs | asleep | room_requests | block_of | gates | records | arena
 *           each part begins on a cache line of its own.
 */
#ifndef IPK_LEDGER_INTERNAL_H
#define IPK_LEDGER_INTERNAL_H

#include "base/atomics.h"
#include "ledger/ledger.h"
#include "ledger/transitions.h"

#include <limits.h>

enum {
	IPK_LEDGER_GATES = 1 << 16, /* two ordering keys that share one only wait for each other */
	IPK_LEDGER_EPOCH_STEP = IPK_CACHE_LINE / sizeof(uint32_t),
};

/* A body, or a result. */
struct ipk_ledger_body {
	uint64_t size;
	uint32_t block[IPK_LEDGER_BLOCKS]; /* number + 1; slabs are numbered on behind the blocks */
	unsigned char bytes[IPK_LEDGER_INLINE];
};

/* What the owner of its word writes; others only read. */
struct ipk_ledger_record {
	uint64_t id;	       /* of the task */
	uint64_t tally;	       /* tasks that ended here: well << 32 | buried */
	uint64_t tally_before; /* the same, before this one */
	uint64_t gate;	       /* ordering key: number of its gate + 1, 0: none */
	uint64_t ticket;       /* dedup key: its turn among those being stored; 0: choosing */
	uint64_t dedup[2];     /* dedup key, hashed; 0, 0: none */
	int64_t due;	       /* ns of CLOCK_MONOTONIC */
	int64_t created;
	int64_t began;	       /* its last attempt */
	uint32_t flags;
	int32_t dst;	       /* task worker, or IPK_LEDGER_ANY */
	uint32_t submitter;    /* place + 1; 0: none. Others may move it to a successor */
	uint32_t source;       /* the worker's number */
	uint64_t gate_turn;    /* names its time in the gate, which it has once; 0: `id` does */
	uint32_t deliveries;   /* callbacks that were begun with the end of the last attempt */
	uint32_t padding;
	uint64_t spare[2];
	struct ipk_ledger_body body;
	struct ipk_ledger_body result;
};

struct ipk_ledger_head {
	uint64_t magic;
	uint32_t version;
	struct ipk_ledger_shape shape;
	uint64_t bytes;
	_Alignas(IPK_CACHE_LINE) uint64_t turns;   /* the last turn, or task id, that was given */
	uint64_t tickets;			   /* the last ticket */
	_Alignas(IPK_CACHE_LINE) int64_t next_due; /* INT64_MAX: nothing is DELAYED */
};

struct ipk_ledger_ring {
	_Alignas(IPK_CACHE_LINE) uint64_t tail; /* of its producer */
	_Alignas(IPK_CACHE_LINE) uint64_t head; /* of all takers */
};

static inline uint64_t
ipk_ledger_make_word(uint64_t turn, uint32_t attempt, uint32_t owner, uint32_t state)
{
	return turn << 24 | (uint64_t)attempt << 16 | (uint64_t)owner << 4 | state;
}

/* The same turn and attempt, elsewhere. */
static inline uint64_t
ipk_ledger_moved(uint64_t word, uint32_t owner, uint32_t state)
{
	return (word & ~UINT64_C(0xFFFF)) | (uint64_t)owner << 4 | state;
}

static inline uint64_t
ipk_ledger_bit(uint32_t number)
{
	return UINT64_C(1) << (number % 64);
}

static inline uint32_t
ipk_ledger_words_for(uint32_t bits)
{
	return (bits + 63) / 64;
}

static inline uint32_t
ipk_ledger_queues(const struct ipk_ledger *ledger) /* one for each task worker, one for any */
{
	return ledger->shape.task_workers + 1;
}

static inline uint32_t
ipk_ledger_submitters(const struct ipk_ledger *ledger) /* places */
{
	return 2 * ledger->shape.workers;
}

static inline uint32_t
ipk_ledger_queue_of(const struct ipk_ledger *ledger, int32_t dst)
{
	return dst >= 0 && (uint32_t)dst < ledger->shape.task_workers
		       ? (uint32_t)dst
		       : ledger->shape.task_workers;
}

static inline int
ipk_ledger_is_task_worker(const struct ipk_ledger *ledger)
{
	return ledger->place >= ipk_ledger_submitters(ledger) && ledger->place < ledger->places;
}

/* The queue of this process, which is a task worker. */
static inline uint32_t
ipk_ledger_own_queue(const struct ipk_ledger *ledger)
{
	return (ledger->place - ipk_ledger_submitters(ledger)) / 2;
}

/* A queue's map of the rings that may have entries. */
static inline uint64_t *
ipk_ledger_pending_of(const struct ipk_ledger *ledger, uint32_t queue)
{
	return &ledger->pending[(uint64_t)queue *
				ipk_ledger_words_for(ipk_ledger_submitters(ledger))];
}

static inline uint32_t *
ipk_ledger_epoch(const struct ipk_ledger *ledger, uint32_t place)
{
	return &ledger->epoch[(uint64_t)place * IPK_LEDGER_EPOCH_STEP];
}

static inline uint32_t
ipk_ledger_me(const struct ipk_ledger *ledger)
{
	return ledger->place + 1;
}

/* Whether this process may make a call for a task whose word is `word`. A claim and a collect also
 * ask whose the task is. */
static inline int
ipk_ledger_may(const struct ipk_ledger *ledger, enum ipk_ledger_call call, uint64_t word)
{
	const struct ipk_ledger_transition *row = &ipk_ledger_transitions[call];

	if (!(row->from >> ipk_ledger_state_of(word) & 1))
		return 0;
	switch (row->who) {
	case IPK_LEDGER_OWNER:
		return ipk_ledger_owner_of(word) == ipk_ledger_me(ledger) ||
		       ledger->place == ledger->places;
	case IPK_LEDGER_MANAGER:
		return ledger->place == ledger->places;
	default:
		return 1;
	}
}

/* -- word.c -- */

/* lease->word, if it is still what the record has, becomes `word`. 0, -ESTALE. */
int ipk_ledger_step(const struct ipk_ledger *ledger, struct ipk_ledger_lease *lease, uint64_t word);
uint64_t ipk_ledger_next_turn(const struct ipk_ledger *ledger);
/* The word of a task that is BLOCKED, behind all others of now. */
uint64_t ipk_ledger_blocked_again(const struct ipk_ledger *ledger, uint64_t word);

/* -- rings.c -- */

/* The task with the lowest turn so far. */
struct ipk_ledger_best {
	uint64_t entry;		      /* 0: none */
	struct ipk_ledger_ring *ring; /* NULL: a scan found it */
	uint64_t head;
};

/* *best becomes the first entry of a queue's rings, if its turn is lower. */
void ipk_ledger_consider_rings(const struct ipk_ledger *ledger, uint32_t queue,
			       struct ipk_ledger_best *best);
/* Put an entry of a task that is QUEUED now into our ring. */
void ipk_ledger_push_entry(struct ipk_ledger *ledger, uint32_t queue, const struct ipk_ledger_lease *lease);
int ipk_ledger_queue_has_work(const struct ipk_ledger *ledger, uint32_t queue);

/* -- enqueue.c -- */

/* QUEUED from any of the states before it, with this turn. 0, -ESTALE. */
int ipk_ledger_queue(struct ipk_ledger *ledger, struct ipk_ledger_lease *lease, uint64_t turn);

/* -- scan.c -- */

/* Load every word, and remember the tasks of these queues whose turn is next. found[i] grows by
 * how many of queue i are QUEUED, or is 2 where only the lowest were counted. */
void ipk_ledger_scan(struct ipk_ledger *ledger, const uint32_t queues[2], uint32_t found[2]);

/* -- wakeup.c -- */

/* Wake a sleeping process that can take a task of this queue. */
void ipk_ledger_wake_taker(struct ipk_ledger *ledger, uint32_t queue);
/* `record` may be DONE: its submitter checks. */
void ipk_ledger_wake_submitter(struct ipk_ledger *ledger, uint32_t record);
void ipk_ledger_wake_manager(const struct ipk_ledger *ledger);
void ipk_ledger_wake_place(const struct ipk_ledger *ledger, uint32_t place);
void ipk_ledger_room_freed(const struct ipk_ledger *ledger);
/* Something is DELAYED until then; 1: the manager does not know of anything so early. */
int ipk_ledger_lower_due(const struct ipk_ledger *ledger, int64_t due);
/* The same, and wake the manager. */
void ipk_ledger_tell_due(const struct ipk_ledger *ledger, int64_t due);

/* -- payload.c -- */

/* Blocks and slabs. */
static inline uint32_t
ipk_ledger_units(const struct ipk_ledger *ledger)
{
	return ledger->shape.blocks + ledger->shape.slabs;
}

/* Whether as many blocks, or a slab, are free now as a body of this size takes. */
int ipk_ledger_fits(const struct ipk_ledger *ledger, uint64_t size);
/* 0, -ENOSPC: nothing is held then. */
int ipk_ledger_fill(struct ipk_ledger *ledger, uint32_t record, struct ipk_ledger_body *body,
		    const void *bytes, uint64_t size);
void ipk_ledger_empty(const struct ipk_ledger *ledger, uint32_t record,
		      struct ipk_ledger_body *body);
/* Bytes of body or result, gathered; at most `room`. Returns its size. */
uint64_t ipk_ledger_body_bytes(const struct ipk_ledger *ledger,
			       const struct ipk_ledger_body *body, void *bytes, uint64_t room);
/* Free blocks that no record lists. */
void ipk_ledger_reclaim(const struct ipk_ledger *ledger);

/* -- ordering.c -- */

/* A task's time in a gate. */
struct ipk_ledger_pass {
	uint64_t gate;	/* its number + 1, 0: the task has no ordering key */
	uint64_t token; /* the gate's value during this time; no later time has it */
};

/* O4: read it while the word is ours, before the step that gives the word away. */
struct ipk_ledger_pass ipk_ledger_pass_of(const struct ipk_ledger *ledger, uint32_t record);
/* Let the next task through the gate, if none is let through now. */
void ipk_ledger_advance(struct ipk_ledger *ledger, uint64_t gate);
/* That task is over: the next one's turn. Harmless when it was done before. */
void ipk_ledger_release_gate(struct ipk_ledger *ledger, struct ipk_ledger_pass pass);

#endif

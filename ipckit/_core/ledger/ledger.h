/*
 * ledger/ledger.h - the task ledger: every task of a server, in memory that all its processes
 * share.
 *
 * ledger/ is the task ledger: a task's word, the rings, wake-ups, payload, and recovery.
 *
 * A task is one record. Where it stands is one word, changed by one compare-and-set, and nothing
 * else is ever the truth about it:
 *
 *     word = turn : 40 | attempt : 8 | owner : 12 | state : 4
 *
 *                  .-> BLOCKED -.
 *     FREE -> WRITING -> DELAYED -> QUEUED -> RUNNING -> DONE -> DELIVERING -> CLEARING -> FREE
 *                          ^          ^         |  |                 (also straight from RUNNING)
 *                          '----------'--retry--'  '-> BURIED -> DONE
 *
 * An owner is the place of a process (or the manager). What a process holds when it dies - a word
 * that is WRITING, RUNNING, DELIVERING or CLEARING with its number - is recovered by
 * ipk_ledger_sweep(), called once it was reaped and before its place has another process.
 *
 * A task worker learns of a task by an entry (turn, record) in a ring of its submitter; one that
 * sleeps also gets a wake-up. A submitter learns of an end by a bit in its map, and a wake-up.
 * Entries, bits and wake-ups may be late, double, stale, or lost with the process that should have
 * given them. The word decides, and a sweep gives all of them again.
 *
 * All calls but those said otherwise are made by a process that has said which place is its own
 * (ipk_ledger_set_place). They never wait. Nothing here is safe against two threads in one place.
 */
#ifndef IPK_LEDGER_LEDGER_H
#define IPK_LEDGER_LEDGER_H

#include "base/ipk.h"

enum ipk_ledger_state {
	IPK_LEDGER_FREE = 0,
	IPK_LEDGER_WRITING = 1,	   /* its submitter puts it together; task() has not returned */
	IPK_LEDGER_BLOCKED = 2,	   /* an earlier task with its ordering key is not over */
	IPK_LEDGER_DELAYED = 3,	   /* until `due` */
	IPK_LEDGER_QUEUED = 4,	   /* any task worker it is for may claim it */
	IPK_LEDGER_RUNNING = 5,	   /* its owner is at it */
	IPK_LEDGER_BURIED = 6,	   /* given up; the manager has yet to write it down */
	IPK_LEDGER_DONE = 7,	   /* ended, well or buried; its submitter has yet to learn it */
	IPK_LEDGER_DELIVERING = 8, /* its owner tells */
	IPK_LEDGER_CLEARING = 9,   /* its owner gives back what it held */
	IPK_LEDGER_STATES = 10,
};

enum {
	IPK_LEDGER_INLINE = 152,      /* bytes of a body, or a result, inside the record */
	IPK_LEDGER_BLOCK = 512,	      /* bytes of a block of the arena */
	IPK_LEDGER_BLOCKS = 8,	      /* most of them for one body */
	IPK_LEDGER_INSIDE = 4096,     /* the longest body that lies in blocks */
	IPK_LEDGER_SLAB = 1 << 17,    /* bytes of a slab of the arena: a longer body has one alone */
	IPK_LEDGER_MAX_PLACES = 4094, /* the owner's 12 bits: 0 none, the manager one more */
	IPK_LEDGER_MAX_RECORDS = 1 << 24,
	IPK_LEDGER_ANY = -1,	      /* a task that any task worker may take */
	IPK_LEDGER_SEEN = 1024,	      /* tasks that one scan remembers */
};

/* Flags of a record. */
enum {
	IPK_LEDGER_WANTED = 1,	      /* its end is reported even without a result */
	IPK_LEDGER_FOREIGN = 2,	      /* from another program */
	IPK_LEDGER_BODY_SPILLED = 4,   /* the body is in a file, not here */
	IPK_LEDGER_RESULT_SPILLED = 8, /* the result of the last attempt is */
	IPK_LEDGER_HAS_RESULT = 16,
	IPK_LEDGER_LOST = 32,	      /* ended as buried */
	IPK_LEDGER_NOTED = 64,	      /* there may be files of failed attempts */
	IPK_LEDGER_ENDED = 128,	      /* it counts as ended, once it is no longer RUNNING */
};

struct ipk_ledger_record; /* a task, in shared memory: ledger/internal.h */

/* How large a ledger is. */
struct ipk_ledger_shape {
	uint32_t records; /* 1 .. 2^24 */
	uint32_t blocks;
	uint32_t workers;      /* submitters: places 0 .. 2 * workers - 1 */
	uint32_t task_workers; /* takers: the 2 * task_workers places behind them */
	uint32_t slabs;
};

/* A process's view of it; private memory. */
struct ipk_ledger {
	struct ipk_ledger_head *head;
	uint64_t *word;	    /* of each record */
	uint32_t *order;    /* gate + 1 of each, so that they are found quickly */
	uint32_t *dedup;    /* 32 bits of its dedup key, 0: none */
	uint32_t *spilled;   /* KiB of its body that lie in a file */
	uint64_t *gates;    /* ordering: gate turn << 24 | record of the task that is let through */
	uint64_t *block_of; /* each block's and slab's task id << 24 | record; 0: free */
	unsigned char *arena;
	struct ipk_ledger_record *record;
	struct ipk_ledger_ring *rings; /* [submitter place][task worker, or the one for any] */
	uint64_t *entries;
	uint64_t *pending; /* [queue][submitter place / 64]: rings that may have entries */
	uint32_t *scan;	   /* [queue]: there may be tasks without an entry */
	uint64_t *done;	   /* [submitter place][record / 64]: may be DONE */
	uint64_t *summary; /* [submitter place][record / 4096] */
	uint64_t *woken;	   /* [submitter place][waker / 64]: has woken it since it last asked */
	uint32_t *epoch;   /* [place], a cache line each: odd while it sleeps */
	uint64_t *asleep;  /* [place / 64] */
	uint64_t *room_requests;  /* [place / 64]: wants a wake-up when a record is free */
	struct ipk_ledger_shape shape;
	uint32_t ring_size;
	uint32_t places; /* the manager's number */
	/* of this process */
	uint32_t place;
	const int *wakeups; /* [places + 1] descriptors of event files, or NULL */
	uint32_t *woken_in;  /* [places]: the epoch in which we woke it */
	uint32_t *recent; /* [records]: free ones we had; they may be taken by now */
	uint32_t recent_count;
	uint32_t next_record;
	uint32_t next_block;
	uint64_t seen[IPK_LEDGER_SEEN]; /* what a scan found: entries by turn, from seen_at on */
	uint32_t seen_at;
	uint32_t seen_count;
};

/* A task that a process has taken: its record, and its word as the process knows it. A call with a
 * lease is refused once the word has changed. */
struct ipk_ledger_lease {
	uint32_t record;
	uint64_t word;
};

/* -- making -- */

/* Bytes of a ledger, or -EINVAL. A multiple of 4096. */
int64_t ipk_ledger_bytes(const struct ipk_ledger_shape *shape);
/* Write an empty ledger into zeroed memory of that many bytes. 0, -EINVAL. */
int ipk_ledger_format(void *base, uint64_t bytes, const struct ipk_ledger_shape *shape);
/* View a ledger. 0, -EUCLEAN: it is none of this version, or damaged. */
int ipk_ledger_attach(struct ipk_ledger *ledger, void *base, uint64_t bytes);
/* Say which place is ours; `places` is the manager's. The arrays stay the caller's. */
void ipk_ledger_set_place(struct ipk_ledger *ledger, uint32_t place, const int *wakeups, uint32_t *woken_in,
		   uint32_t *recent);
void ipk_ledger_shape_of(const struct ipk_ledger *ledger, struct ipk_ledger_shape *shape);

/* -- a submitter (submit.c) -- */

/* Take a free record and a task id: WRITING. 0, -ENOSPC: none is free. */
int ipk_ledger_take(struct ipk_ledger *ledger, struct ipk_ledger_lease *lease);
/* Put its body into the ledger. 0; -ENOSPC: the arena is full, or no slab holds so many bytes. */
int ipk_ledger_put_body(struct ipk_ledger *ledger, uint32_t record, const void *bytes,
			uint64_t size);
/* Say that its body will be a file of `size` bytes. 0; -ENOSPC: then all of them together would be
 * over `most` bytes (one alone may be larger). */
int ipk_ledger_spill_body(struct ipk_ledger *ledger, uint32_t record, uint64_t size,
			  uint64_t most);
/* It is for this task worker, or for IPK_LEDGER_ANY, which is so without this call. */
void ipk_ledger_set_dst(struct ipk_ledger *ledger, uint32_t record, int32_t dst);
/* Another process is its submitter: that of a place, and of the worker with this number. */
void ipk_ledger_set_submitter(struct ipk_ledger *ledger, uint32_t record, uint32_t place,
			      uint32_t source);
/* It goes through the gate of `key` one at a time, in the order of their ids. */
void ipk_ledger_order(struct ipk_ledger *ledger, uint32_t record, uint64_t key);
/* Look for a task with this dedup key that is not over: its id, 0 when there is none (and later
 * ones find this one); -EAGAIN: another process is at this very step and does not go on. */
int64_t ipk_ledger_dedup(struct ipk_ledger *ledger, uint32_t record, const uint64_t key[2]);
/* Let it go: QUEUED, DELAYED until `due` (0: not), or BLOCKED; and wake a process that can take it. */
void ipk_ledger_publish(struct ipk_ledger *ledger, const struct ipk_ledger_lease *lease,
			int64_t due);
/* Request a wake-up when a record is freed; scan for room again after it. */
void ipk_ledger_request_room(struct ipk_ledger *ledger);
/* Whether there is a free record, and room for a body of this size, `most` as above. Takes nothing,
 * so it wakes no process: an attempt that fails frees its record, and so wakes all that request
 * room. */
int ipk_ledger_has_room(const struct ipk_ledger *ledger, uint64_t size, uint64_t most);
/* Take up to `most` ends: DELIVERING, ours. Returns how many; call again while it is `most`. */
uint32_t ipk_ledger_collect(struct ipk_ledger *ledger, struct ipk_ledger_lease *leases,
			    uint32_t most);
/* A callback is begun with an end that is DELIVERING, ours: say so before it can kill us. */
void ipk_ledger_begin_delivery(struct ipk_ledger *ledger, uint32_t record);
/* A process that ends a task of ours wakes us once, and not again before this call. Then collect
 * once more, and wait. */
void ipk_ledger_request_wakeup(const struct ipk_ledger *ledger);
/* Tasks of this submitter that are not over, DONE included. */
uint32_t ipk_ledger_outstanding(const struct ipk_ledger *ledger);

/* -- a task worker (claim.c) -- */

/* Claim the task whose turn it is: RUNNING, ours. 1, 0: there is none. */
int ipk_ledger_claim(struct ipk_ledger *ledger, struct ipk_ledger_lease *lease);
/* Begin the attempt of a task that we put together ourselves (a foreign one): a retry is for task
 * worker `dst`, and the process of place `submitter` hears of its end. 0, -ESTALE. */
int ipk_ledger_begin(struct ipk_ledger *ledger, struct ipk_ledger_lease *lease, int32_t dst,
		     uint32_t submitter);
/* As ipk_ledger_put_body, for the result. -ENOSPC: put it into a file, and say so by the flag. */
int ipk_ledger_put_result(struct ipk_ledger *ledger, uint32_t record, const void *bytes,
			  uint64_t size);
/* Say that the result is a file of that many bytes. */
void ipk_ledger_spill_result(struct ipk_ledger *ledger, uint32_t record, uint64_t size);
/* Set or clear flags of a record that is ours. */
void ipk_ledger_flag(struct ipk_ledger *ledger, uint32_t record, uint32_t set, uint32_t clear);
/* The attempt ended well: DONE, and its submitter is woken; or FREE if no process wants the end.
 * 0; 1: it is CLEARING, ours: remove its files, then ipk_ledger_clear(). -ESTALE: not ours. */
int ipk_ledger_done(struct ipk_ledger *ledger, struct ipk_ledger_lease *lease);
/* The same with a result. -ENOSPC, as ipk_ledger_put_result(): it still runs. */
int ipk_ledger_done_with(struct ipk_ledger *ledger, struct ipk_ledger_lease *lease, const void *bytes,
			 uint64_t size);
/* The attempt ended badly (RUNNING or DELIVERING, ours): once more, from `due` on (0: now), after
 * those that wait already. 0, -ESTALE. */
int ipk_ledger_retry(struct ipk_ledger *ledger, const struct ipk_ledger_lease *lease, int64_t due);
/* It ended badly, and for the last time, or its result (DELIVERING) cannot be delivered: BURIED,
 * and the manager hears. 0, -ESTALE. */
int ipk_ledger_bury(struct ipk_ledger *ledger, const struct ipk_ledger_lease *lease);
/* Go to sleep: 1, and then wait for the wake-up; 0: there is something to claim, and no sleep. */
int ipk_ledger_sleep(struct ipk_ledger *ledger);
/* Up again; also without a sleep before. */
void ipk_ledger_wake(struct ipk_ledger *ledger);
/* Whether a claim is worth a try. */
int ipk_ledger_has_work(const struct ipk_ledger *ledger);
/* Pass our wake-up on, when we claim nothing more. */
void ipk_ledger_pass_on(struct ipk_ledger *ledger);

/* -- any owner -- */

/* What a record says of its task. */
struct ipk_ledger_task {
	uint64_t id;
	uint64_t body_size;
	uint64_t result_size;
	int64_t began; /* its last attempt */
	uint32_t attempt;
	uint32_t flags;
	uint32_t source;
};

/* Read a task that is ours. */
void ipk_ledger_task_of(const struct ipk_ledger *ledger, const struct ipk_ledger_lease *lease,
			struct ipk_ledger_task *task);
/* Copy the body, or the result, of a task that is ours, of that size (at most IPK_LEDGER_SLAB).
 * 0, -EUCLEAN: it is not where its record says. */
int ipk_ledger_copy_body(const struct ipk_ledger *ledger, uint32_t record, void *bytes,
			 uint64_t size);
int ipk_ledger_copy_result(const struct ipk_ledger *ledger, uint32_t record, void *bytes,
			   uint64_t size);

/* From DELIVERING or WRITING, ours: CLEARING. Then remove its files, then ipk_ledger_clear().
 * 0, -ESTALE. */
int ipk_ledger_end(struct ipk_ledger *ledger, struct ipk_ledger_lease *lease);
/* From CLEARING, ours: give back its blocks and its record. */
void ipk_ledger_clear(struct ipk_ledger *ledger, const struct ipk_ledger_lease *lease);

/* -- the manager (recovery.c) -- */

/* Recover what the dead process of a place held, and give all entries and wake-ups again. What it ran is
 * left RUNNING, for ipk_ledger_next(); what it put together or cleared is CLEARING, the manager's.
 */
void ipk_ledger_sweep(struct ipk_ledger *ledger, uint32_t place);
/* The next record at or after `start` that is in `state`, its owner's place + 1 as given
 * (UINT32_MAX: any). 1, 0. */
int ipk_ledger_next(const struct ipk_ledger *ledger, uint32_t start, uint32_t state,
		    uint32_t owner, struct ipk_ledger_lease *lease);
/* How many callbacks were begun with the end of its last attempt. */
uint32_t ipk_ledger_deliveries(const struct ipk_ledger *ledger, uint32_t record);
/* BURIED, and written down: DONE, and its submitter hears; 1: CLEARING, as ipk_ledger_done(). */
int ipk_ledger_written_down(struct ipk_ledger *ledger, struct ipk_ledger_lease *lease);
/* Queue what is due. Returns when the next one is, 0: none is DELAYED. */
int64_t ipk_ledger_wake_due(struct ipk_ledger *ledger, int64_t now);
/* All tasks of one submitter are from now on another's. */
void ipk_ledger_move(struct ipk_ledger *ledger, uint32_t from, uint32_t to);
/* Take up a ledger that no process is in any more: every place is swept, rings and maps begin
 * empty. What ran is left RUNNING, as by a sweep. */
void ipk_ledger_recover(struct ipk_ledger *ledger);

/* -- looking (verify.c) -- */

/* What a record says of its task, all of one moment. */
struct ipk_ledger_snapshot {
	uint64_t word;
	uint64_t id;
	uint64_t size; /* of the body */
	int64_t due;
	int64_t created;
	int64_t began;
	uint32_t flags;
	int32_t dst;
	uint32_t submitter;
	uint32_t source;
	int has_body; /* its bytes were copied, all `size` of them */
};

/* Copy a record and its body, at most `room` bytes of it, while others may be at work on both: the
 * word is the same before and after. A body that is a file, or that is put together or given back
 * at this moment, is not copied.
 * 0, -ENOSPC: the body is longer than `room`, -EAGAIN: it changed each time, -EUCLEAN: the body is
 * not where the record says. */
int ipk_ledger_snapshot(const struct ipk_ledger *ledger, uint32_t record,
			struct ipk_ledger_snapshot *copy, void *bytes, uint64_t room);

struct ipk_ledger_counts {
	uint64_t in[IPK_LEDGER_STATES];
	uint64_t well;	 /* ended well, told or not */
	uint64_t buried; /* given up */
	uint64_t waiting; /* accepted and not running: BLOCKED, DELAYED, QUEUED */
	int64_t oldest;	 /* when the oldest of the unfinished was created; 0: there is none */
};

/* Count; each record is read one time. Any process. */
void ipk_ledger_count(const struct ipk_ledger *ledger, struct ipk_ledger_counts *counts);
/* Which rule is broken, NULL: none. While no process is at work. */
const char *ipk_ledger_verify(const struct ipk_ledger *ledger);
static inline uint32_t
ipk_ledger_state_of(uint64_t word)
{
	return (uint32_t)(word & 0xF);
}

static inline uint32_t
ipk_ledger_owner_of(uint64_t word) /* place + 1 */
{
	return (uint32_t)(word >> 4 & 0xFFF);
}

static inline uint32_t
ipk_ledger_attempt_of(uint64_t word)
{
	return (uint32_t)(word >> 16 & 0xFF);
}

static inline uint64_t
ipk_ledger_turn_of(uint64_t word)
{
	return word >> 24;
}

#endif

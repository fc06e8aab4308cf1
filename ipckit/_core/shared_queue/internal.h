/*
 * shared_queue/internal.h - what the files of the shared queue share. No other folder includes it.
 *
 * Layout    head | slots | parts | ring | back | page_of | next_page | records | pages
 *           each part begins on a cache line of its own, records and pages on a page.
 */
#ifndef IPK_SHARED_QUEUE_INTERNAL_H
#define IPK_SHARED_QUEUE_INTERNAL_H

#include "base/atomics.h"
#include "shared_queue/shared_queue.h"

#define IPK_QUEUE_POSITIONS ((UINT64_C(1) << 40) - 1) /* positions and turns go round at 2^40 */
#define IPK_QUEUE_RECORDS ((UINT64_C(1) << 24) - 1)   /* of a cell: record + 1 */

enum {
	IPK_QUEUE_TRIES = 1 << 16, /* each that fails is another thread's success: more are damage */
	IPK_QUEUE_MAP = 64, /* bits of a word of `back` and of `asleep` */
	IPK_QUEUE_MAPS = (IPK_QUEUE_SLOTS + IPK_QUEUE_MAP - 1) / IPK_QUEUE_MAP,
};

struct ipk_queue_head {
	char magic[8];
	uint32_t layout;
	uint32_t byte_order;
	uint32_t mutex_size;
	struct ipk_queue_shape shape;
	uint64_t bytes;
	uint64_t checksum; /* of all before it */
	/* what changes */
	_Alignas(IPK_CACHE_LINE) uint64_t tail; /* a hint: no position before it is empty */
	_Alignas(IPK_CACHE_LINE) uint64_t head; /* a hint: no entry before it is left */
	_Alignas(IPK_CACHE_LINE) uint64_t marks; /* bits that were ever set in `back` */
	uint64_t marks_seen;	/* when `marks` was this, no bit was set */
	uint32_t slots_used;	/* no slot at or behind it was ever taken */
	int64_t next_due;	/* INT64_MAX: nothing is DELAYED */
	uint64_t sleeps;	/* the last ticket of a sleeper */
	_Alignas(IPK_CACHE_LINE) uint32_t allocator; /* a lock word: pages are taken under it */
	uint32_t next_free_page;
	_Alignas(IPK_CACHE_LINE) uint64_t asleep[IPK_QUEUE_EVENTS][IPK_QUEUE_MAPS]; /* slots */
};

/* What a slot's owner writes; others only read, except `epoch` and `recovered`. */
struct ipk_queue_part {
	_Alignas(IPK_CACHE_LINE) uint64_t reservations; /* the number of its last one */
	uint64_t frees_begun;
	uint64_t frees_completed;
	uint64_t ticket;     /* of its last sleep */
	uint32_t next_record; /* where it looks for a free one */
	uint32_t epoch;	     /* changes with each wake-up; its owner sleeps on it */
	uint32_t incarnation; /* changes with each thread that joins, before it takes anything */
	uint32_t recovered;  /* the last incarnation whose things were recovered after its death */
	uint64_t redelivered;
	uint64_t unfinished; /* incarnation : 32 | messages : 32, see unfinished.c */
};

struct ipk_queue_record {
	uint64_t word;
	uint64_t size;
	uint64_t reservation; /* slot + 1 : 12 | number : 52, of its pages; 0: the body is inline */
	uint64_t highest;     /* no turn of this record was higher */
	int64_t due;
	int64_t sent;
	uint32_t first_page; /* number + 1 */
	uint32_t extents;
	uint64_t unused;
	unsigned char body[IPK_QUEUE_INLINE];
};

_Static_assert(sizeof(struct ipk_queue_record) == 256, "a record is four cache lines");
_Static_assert(sizeof(struct ipk_queue_part) == IPK_CACHE_LINE, "a part is one");

static inline uint64_t
ipk_queue_make_word(uint64_t turn, uint32_t attempt, uint32_t owner, uint32_t state)
{
	return turn << 24 | (uint64_t)attempt << 16 | (uint64_t)owner << 4 | state;
}

/* The same turn and attempt, elsewhere. */
static inline uint64_t
ipk_queue_moved(uint64_t word, uint32_t owner, uint32_t state)
{
	return (word & ~UINT64_C(0xFFFF)) | (uint64_t)owner << 4 | state;
}

static inline uint32_t
ipk_queue_me(const struct ipk_party *party)
{
	return party->owner & 0xffff;
}

static inline struct ipk_queue_part *
ipk_queue_part_of(const struct ipk_queue *queue, const struct ipk_party *party)
{
	return &queue->parts[ipk_queue_me(party) - 1];
}

/* Whether position `a` is before `b`; they are less than half a round apart. */
static inline int
ipk_queue_before(uint64_t a, uint64_t b)
{
	uint64_t distance = (b - a) & IPK_QUEUE_POSITIONS;

	return distance != 0 && distance <= IPK_QUEUE_POSITIONS / 2;
}

/* Whether the lease is still that of the thread which it was given to. */
static inline int
ipk_queue_is_current(const struct ipk_queue *queue, const struct ipk_queue_lease *lease)
{
	uint32_t owner = ipk_queue_owner_of(lease->word);

	return owner && owner <= IPK_QUEUE_SLOTS &&
	       LOAD_SEQ_CST(&queue->parts[owner - 1].incarnation) == lease->incarnation;
}

/* -- ring.c -- */

/* The cell of one of the first positions is empty. */
void ipk_queue_ring_begin(const struct ipk_queue *queue, uint64_t position);
/* Publish a record that is FILLING, ours. 0, -EUCLEAN. */
int ipk_queue_ring_put(const struct ipk_queue *queue, uint32_t record, uint64_t word);
/* A message of the ring that no receiver has, as it was seen. */
struct ipk_queue_first {
	uint64_t position;
	uint64_t *cell;
	uint64_t seen;
	uint64_t word;
};

/* The first message of the ring. 1; 0: the ring is empty at first->position; -EUCLEAN. */
int ipk_queue_ring_first(const struct ipk_queue *queue, struct ipk_queue_first *first);
/* Lease it. 1; 0: another thread was before. */
int ipk_queue_ring_take(const struct ipk_queue *queue, uint32_t me, struct ipk_queue_first *first,
			struct ipk_queue_lease *lease);
/* Whether the ring is empty at this position, still. */
int ipk_queue_ring_empty_at(const struct ipk_queue *queue, uint64_t position);
/* Whether the ring has a message. 1, 0, -EUCLEAN. */
int ipk_queue_ring_has(const struct ipk_queue *queue);
/* The cell of the first message, at a look. */
uint64_t ipk_queue_ring_peek(const struct ipk_queue *queue);
/* Whether a message has its entry, so that the ring gives it. */
int ipk_queue_ring_names(const struct ipk_queue *queue, uint32_t record, uint64_t position);
/* R4: a message that was at `position` is over: its entry is cleared. */
void ipk_queue_ring_clear(const struct ipk_queue *queue, uint32_t record, uint64_t position);
/* The position at which a record has an entry. 1, 0: it has none. */
int ipk_queue_ring_find(const struct ipk_queue *queue, uint32_t record, uint64_t *position);

/* -- record.c -- */

/* A free record becomes FILLING, of this slot. 0, -ENOSPC. */
int ipk_queue_record_take(const struct ipk_queue *queue, uint32_t me, struct ipk_queue_lease *lease);
/* A record that is FILLING, LEASED or CLEARING, of this slot, is FREE. Its pages are free already. */
void ipk_queue_record_free(const struct ipk_queue *queue, uint32_t me, uint32_t record,
			   uint64_t word);
/* F3. A message that was LEASED, DELAYED or DEAD is QUEUED in its old place, if its word is still `word`.
 * 1; 0: it is not. */
int ipk_queue_requeue(const struct ipk_queue *queue, uint32_t record, uint64_t word, uint64_t queued);
/* Whether one that was given back is QUEUED. */
int ipk_queue_back_has(const struct ipk_queue *queue);
/* Lease the message of the lowest turn among those that were given back. 1; 0: there is none. */
int ipk_queue_back_take(const struct ipk_queue *queue, uint32_t me, struct ipk_queue_lease *lease);
/* A message that has been leased again is not in the map. */
void ipk_queue_forget_back(const struct ipk_queue *queue, uint32_t record);
/* F4. Something is DELAYED until then. Whether it is the first to come due. */
int ipk_queue_lower_due(const struct ipk_queue *queue, int64_t due);
/* Queue what is due by now. */
void ipk_queue_wake_due(const struct ipk_queue *queue);
/* The word of a message that comes back from a lease, whose word is given. */
uint64_t ipk_queue_word_back(const struct ipk_queue *queue, uint64_t word, int64_t due);

/* -- pages.c -- */

/* Take pages for a body of `size` bytes; the record has `reservation` already. 0, -ENOSPC,
 * -EAGAIN: the allocator's latch is the obstacle. */
int ipk_queue_pages_take(const struct ipk_queue *queue, const struct ipk_party *party,
			 struct ipk_queue_record *record, uint64_t size,
			 struct ipk_obstacle *obstacle);
/* Free the pages of a record, by its chain. */
void ipk_queue_pages_free(const struct ipk_queue *queue, struct ipk_queue_record *record);
/* The same, whatever its chain says: for one that its owner did not finish. */
void ipk_queue_pages_reclaim(const struct ipk_queue *queue, struct ipk_queue_record *record);
/* How many are free. */
uint32_t ipk_queue_pages_left(const struct ipk_queue *queue);

/* -- wait.c -- */

/* The slot's last thread does not sleep any more. */
void ipk_queue_forget_sleep(const struct ipk_queue *queue, const struct ipk_party *party);

/* Whether a thread has announced that it waits for this. */
int ipk_queue_has_sleepers(const struct ipk_queue *queue, enum ipk_queue_event event);
/* Wake one thread that waits for this. */
void ipk_queue_wake(const struct ipk_queue *queue, enum ipk_queue_event event);

/* -- unfinished.c -- */

/* What a slot's dead thread has not finished is given up. */
void ipk_queue_give_up_unfinished(const struct ipk_queue *queue, uint32_t slot, uint32_t incarnation);
/* A message may have been the last one that was not finished: wake a thread that waits for that. */
void ipk_queue_wake_if_finished(const struct ipk_queue *queue);

#endif

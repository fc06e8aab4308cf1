/*
 * shared_queue/shared_queue.h - a bounded queue of messages in shared memory, for any number of
 * senders and receivers.
 *
 * shared_queue/ is that queue: records, the ring of their order, pages, recovery, and waiting.
 *
 * A message is one record. Where it stands is one word, changed by one compare-and-set, and nothing
 * else is ever the truth about it:
 *
 *     word = turn : 40 | attempt : 8 | owner : 12 | state : 4
 *
 *     FREE -> FILLING -> QUEUED -> LEASED -> CLEARING -> FREE
 *                          ^  ^      |
 *                          |  '------+---> DEAD
 *                          '- DELAYED'
 *
 * An owner is the number of a thread's slot (locks/slots.h) plus one. What a thread holds when it
 * dies - a word that is FILLING, LEASED or CLEARING with its number - is recovered by the process
 * that meets it, and by the next thread that gets the slot, before that takes anything.
 *
 * All calls but those said otherwise are made by a thread that has joined. They never wait.
 */
#ifndef IPK_SHARED_QUEUE_SHARED_QUEUE_H
#define IPK_SHARED_QUEUE_SHARED_QUEUE_H

#include "locks/lockword.h"

#ifndef IPK_QUEUE_SLOTS
#define IPK_QUEUE_SLOTS 512 /* threads that may have joined at the same time */
#endif

enum ipk_queue_state {
	IPK_QUEUE_FREE = 0,
	IPK_QUEUE_FILLING = 1,	/* its sender puts it together, or it has a place in the ring */
	IPK_QUEUE_QUEUED = 2,	/* any receiver may take it */
	IPK_QUEUE_LEASED = 3,	/* its owner has it */
	IPK_QUEUE_DELAYED = 4,	/* given back; QUEUED again from `due` on */
	IPK_QUEUE_DEAD = 5,	/* its attempts are over; it is kept */
	IPK_QUEUE_CLEARING = 6, /* its owner gives its pages back */
	IPK_QUEUE_STATES = 7,
};

enum {
	IPK_QUEUE_INLINE = 192,	 /* bytes of a body inside the record */
	IPK_QUEUE_PAGE = 4096,	 /* bytes of a page: a longer body has pages alone */
	IPK_QUEUE_ATTEMPTS = 255, /* more attempts than that are not counted */
	IPK_QUEUE_MAX_MESSAGES = 1 << 23,
	IPK_QUEUE_FINDINGS = 16,
};

/* What bodies are; the core does not look into them. */
enum ipk_queue_content {
	IPK_QUEUE_BYTES = 0,
	IPK_QUEUE_PICKLES = 1,
	IPK_QUEUE_PLAIN = 2,
	IPK_QUEUE_CONTENTS = 3,
};

/* How large a queue is, and what for. */
struct ipk_queue_shape {
	uint32_t messages; /* 1 .. 2^23 */
	uint32_t pages;
	uint32_t attempts; /* a message that was leased so often and given back is DEAD; 0: no limit */
	uint32_t content;  /* enum ipk_queue_content: what the program puts into bodies */
};

/* A process's view of it; private memory. */
struct ipk_queue {
	struct ipk_queue_head *head;
	struct ipk_slot *slots;
	struct ipk_queue_part *parts; /* of each slot */
	uint64_t *cells;	      /* the ring */
	uint64_t *back;		      /* a bit for each record: it may have been given back */
	uint64_t *page_of;	      /* each page's reservation; 0: free */
	uint32_t *next_page;	      /* of a body's pages: the one behind it, number + 1; 0: the last */
	struct ipk_queue_record *records;
	unsigned char *pages;
	struct ipk_queue_shape shape;
	uint32_t ring_bits; /* the ring has 2^ring_bits cells */
	uint64_t bytes;
	uint32_t *woken; /* [IPK_QUEUE_SLOTS]: the sleep in which this process woke it; the caller's */
};

/* A message that a thread has: its record, and its word as the thread knows it. */
struct ipk_queue_lease {
	uint32_t record;
	uint32_t incarnation; /* of the thread in its slot */
	uint64_t word;
};

/* What a record says of its message. */
struct ipk_queue_message {
	uint64_t size;
	int64_t sent; /* CLOCK_MONOTONIC, ns, as of the last tick of the kernel */
	uint32_t attempt;
	uint32_t extents; /* parts of memory that its body has; 1: it is all in one */
};

/* -- layout.c -- */

/* Bytes of a queue, or -EINVAL. A multiple of 4096. */
int64_t ipk_queue_bytes(const struct ipk_queue_shape *shape);
/* Write an empty queue into zeroed memory of that many bytes. 0, -EINVAL. */
int ipk_queue_format(void *base, uint64_t bytes, const struct ipk_queue_shape *shape);
/* View a queue. 0, -EUCLEAN: *why says what it is not. */
int ipk_queue_attach(struct ipk_queue *queue, void *base, uint64_t bytes, const char **why);
/* As ipk_slot_join(); recovers what the slot's last owner held. */
int ipk_queue_join(const struct ipk_queue *queue, const struct ipk_registry *registry,
		   struct ipk_party *party);

/* How many messages the thread has: FILLING, LEASED or CLEARING. */
uint32_t ipk_queue_held(const struct ipk_queue *queue, const struct ipk_party *party);

/* -- send.c -- */

/* Take a free record for a body of `size` bytes, and its pages: FILLING. 0; -ENOSPC: no record is free;
 * -ENOBUFS: not so many pages are; -EMSGSIZE: the queue has not so many; -EAGAIN: wait for the
 * obstacle. */
int ipk_queue_reserve(const struct ipk_queue *queue, const struct ipk_party *party, uint64_t size,
		      struct ipk_queue_lease *lease, struct ipk_obstacle *obstacle);
/* Copy the body, of the size that was reserved, into a message that is FILLING, ours. 0, -EUCLEAN. */
int ipk_queue_fill(const struct ipk_queue *queue, const struct ipk_queue_lease *lease,
		   const void *bytes, uint64_t size);
/* Send it: QUEUED, behind all others. 0, -EUCLEAN; -ESTALE: its thread has died. */
int ipk_queue_publish(const struct ipk_queue *queue, const struct ipk_party *party,
		       const struct ipk_queue_lease *lease);
/* It is not sent: its pages and its record are free, unless its thread has died. */
void ipk_queue_abandon(const struct ipk_queue *queue, const struct ipk_party *party,
		       const struct ipk_queue_lease *lease);

/* -- receive.c -- */

/* Lease the message whose turn it is. 1; 0: there is none. -EUCLEAN. */
int ipk_queue_take(const struct ipk_queue *queue, const struct ipk_party *party,
		   struct ipk_queue_lease *lease);
/* Read a message that is LEASED, ours. -EUCLEAN: its size or its pages are out of range. */
int ipk_queue_message_of(const struct ipk_queue *queue, const struct ipk_queue_lease *lease,
			 struct ipk_queue_message *message);
/* Copy its body, of the size that ipk_queue_message_of() told. 0, -EUCLEAN. */
int ipk_queue_copy(const struct ipk_queue *queue, const struct ipk_queue_lease *lease, void *bytes,
		   uint64_t size);
/* It is done, and gone. 0, -ESTALE: it is not ours any more. */
int ipk_queue_acknowledge(const struct ipk_queue *queue, const struct ipk_party *party,
			  const struct ipk_queue_lease *lease);
/* The same in two steps: no receiver gets it any more, and its memory stays as it is between them.
 * The first one changes lease->word. 0, -ESTALE. */
int ipk_queue_begin_clearing(const struct ipk_queue *queue, const struct ipk_party *party,
			     struct ipk_queue_lease *lease);
void ipk_queue_end_clearing(const struct ipk_queue *queue, const struct ipk_party *party,
			    const struct ipk_queue_lease *lease);
/* It is for another receiver, from `due` on (CLOCK_MONOTONIC ns; 0: now), in its old place; DEAD
 * after its last attempt. 0, -ESTALE. */
int ipk_queue_give_back(const struct ipk_queue *queue, const struct ipk_queue_lease *lease,
			int64_t due);

/* -- dead.c -- */

/* Whether the record's message is DEAD; *lease then names it. */
int ipk_queue_find_dead(const struct ipk_queue *queue, uint32_t record,
			struct ipk_queue_lease *lease);
/* What was read of it since then is of that message: nobody has retried or discarded it. */
int ipk_queue_is_still(const struct ipk_queue *queue, const struct ipk_queue_lease *lease);
/* It is QUEUED in its old place, with no attempt counted. 0, -ESTALE. */
int ipk_queue_retry(const struct ipk_queue *queue, const struct ipk_queue_lease *lease);
/* It is gone. 0, -ESTALE. */
int ipk_queue_discard(const struct ipk_queue *queue, const struct ipk_party *party,
		      const struct ipk_queue_lease *lease);

/* -- pages.c -- */

/* One part of a body's memory. Zeroed before the first, except `total`, the bytes of the body: they are
 * read from the record once, so that no process can change how much is copied. */
struct ipk_queue_extent {
	uint64_t total;
	unsigned char *start;
	uint64_t size;
	uint64_t offset; /* of the part in the body */
	uint32_t next_page;
};

/* The next part. 1; 0: that was all; -EUCLEAN. */
int ipk_queue_next_extent(const struct ipk_queue *queue, uint32_t record,
			  struct ipk_queue_extent *extent);

/* -- recovery.c -- */

/* Recover what dead threads held. 1: there was one, look again; 0. */
int ipk_queue_recover(const struct ipk_queue *queue, const struct ipk_party *party);

/* -- wait.c -- */

enum ipk_queue_event {
	IPK_QUEUE_MESSAGE = 0,
	IPK_QUEUE_ROOM = 1,
	IPK_QUEUE_FINISHED = 2, /* all that was sent: see unfinished.c */
	IPK_QUEUE_EVENTS = 3,
};

/* A moment's look, without a change: what a wait may be over for. */
int ipk_queue_seems_ready(const struct ipk_queue *queue, const struct ipk_party *party,
			  enum ipk_queue_event event);
/* Whether there is a message, or a record and pages for `size` bytes, or all is finished. -EUCLEAN. */
int ipk_queue_is_ready(const struct ipk_queue *queue, enum ipk_queue_event event, uint64_t size);
/* Say that this thread is about to wait. It then tries once more what it wants, and calls one of the
 * two below. *ticket: its place among those that wait, over the sleeps of one call; 0 at first. */
void ipk_queue_announce(const struct ipk_queue *queue, const struct ipk_party *party,
			enum ipk_queue_event event, uint64_t *ticket);
/* Wait until there may be a message, or room, or until a thread that has joined dies; not after
 * `deadline_ns` (CLOCK_MONOTONIC; 0: none). 0: try again; -ETIMEDOUT; -EINTR. */
int ipk_queue_sleep(const struct ipk_queue *queue, const struct ipk_party *party,
		    enum ipk_queue_event event, uint64_t deadline_ns);
/* It does not wait. */
void ipk_queue_awake(const struct ipk_queue *queue, const struct ipk_party *party,
		     enum ipk_queue_event event);
/* Another thread of this process: end the sleep of `party`, and refuse the one that it has announced. */
void ipk_queue_interrupt(const struct ipk_queue *queue, const struct ipk_party *party);
/* Wake all that wait: they look again. */
void ipk_queue_wake_all(const struct ipk_queue *queue);
/* A thread finds too few pages for its message: wake the next one behind its ticket, which may need
 * fewer; 0: the first. */
void ipk_queue_pass_on(const struct ipk_queue *queue, enum ipk_queue_event event, uint64_t ticket);
/* A thread that has announced goes away, with what it wanted or without: if there is something for
 * another one, wake that. */
void ipk_queue_leave(const struct ipk_queue *queue, enum ipk_queue_event event);

/* -- unfinished.c -- */

/* As ipk_queue_acknowledge(); the message counts as unfinished, of the calling thread. */
int ipk_queue_consume(const struct ipk_queue *queue, const struct ipk_party *party,
		      const struct ipk_queue_lease *lease);
/* Count one message, which is then acknowledged. */
void ipk_queue_count_unfinished(const struct ipk_queue *queue, const struct ipk_party *party);
/* A message that this thread received is finished, or else one of another thread. 1; 0: there is none. */
int ipk_queue_finish(const struct ipk_queue *queue, const struct ipk_party *party);
/* Whether nothing is in the queue, but dead messages, and nothing unfinished. 1, 0, -EUCLEAN. */
int ipk_queue_is_finished(const struct ipk_queue *queue);
/* The thread gives its slot back: what it has not finished is given up. */
void ipk_queue_leave_slot(const struct ipk_queue *queue, const struct ipk_party *party);

/* -- verify.c -- */

struct ipk_queue_counts {
	uint32_t in[IPK_QUEUE_STATES];
	uint32_t free_pages;
	int64_t oldest; /* when the oldest that is not over was sent; 0: there is none */
	uint64_t sent;	/* since the queue was made */
	uint64_t redelivered; /* leases that were not their message's first */
};

/* Count; each record is read one time. Any process. */
void ipk_queue_count(const struct ipk_queue *queue, struct ipk_queue_counts *counts);
/* How many messages are QUEUED. */
uint32_t ipk_queue_depth(const struct ipk_queue *queue);
/* A message that is LEASED: whose it is (a thread's id in its own pid namespace), 0: it is not leased. */
uint32_t ipk_queue_holder(const struct ipk_queue *queue, uint32_t record,
			  struct ipk_queue_lease *lease);
/* Which rule is broken, NULL: none. While no thread is at work. */
const char *ipk_queue_verify(const struct ipk_queue *queue);

static inline uint32_t
ipk_queue_state_of(uint64_t word)
{
	return (uint32_t)(word & 0xF);
}

static inline uint32_t
ipk_queue_owner_of(uint64_t word) /* slot + 1 */
{
	return (uint32_t)(word >> 4 & 0xFFF);
}

static inline uint32_t
ipk_queue_attempt_of(uint64_t word)
{
	return (uint32_t)(word >> 16 & 0xFF);
}

static inline uint64_t
ipk_queue_turn_of(uint64_t word)
{
	return word >> 24;
}

#endif

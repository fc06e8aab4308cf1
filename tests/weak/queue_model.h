/*
 * queue_model.h - the shared queue's types as its own sources see them here (words.h).
 *
 * A record has room for 8 bytes and a page has 8, so a body is one word, or one for each page. What the
 * sources copy by memcpy() is copied here by words, relaxed: only the order of the queue's own words
 * tells a receiver that they are there.
 */
#ifndef QUEUE_MODEL_H
#define QUEUE_MODEL_H

#include "words.h"

enum { RECORDS = 3, PAGES = 3, RING_BITS = 3, CELLS = 1 << RING_BITS, WORD = 8, LARGE = 2 * WORD, MOST_MAPS = 2 };
inline uint32_t bits_of_a_map = 64;

#define IPK_QUEUE_SLOTS 4
#define IPK_QUEUE_TRIES (1 << 16)
#define IPK_QUEUE_MAP bits_of_a_map /* the scene's */
#define IPK_QUEUE_MAPS ((IPK_QUEUE_SLOTS + IPK_QUEUE_MAP - 1) / IPK_QUEUE_MAP)
#define IPK_QUEUE_POSITIONS ((UINT64_C(1) << 40) - 1)
#define IPK_QUEUE_RECORDS ((UINT64_C(1) << 24) - 1)

enum ipk_queue_state {
	IPK_QUEUE_FREE,
	IPK_QUEUE_FILLING,
	IPK_QUEUE_QUEUED,
	IPK_QUEUE_LEASED,
	IPK_QUEUE_DELAYED,
	IPK_QUEUE_DEAD,
	IPK_QUEUE_CLEARING,
	IPK_QUEUE_STATES,
};
enum { IPK_QUEUE_INLINE = WORD, IPK_QUEUE_PAGE = WORD, IPK_QUEUE_ATTEMPTS = 255 };
enum ipk_queue_event {
	IPK_QUEUE_MESSAGE,
	IPK_QUEUE_ROOM,
	IPK_QUEUE_FINISHED,
	IPK_QUEUE_EVENTS
};

struct ipk_queue_shape {
	uint32_t messages, pages, attempts;
};

struct ipk_queue_head {
	shared64 tail, head;
	shared64 marks, marks_seen;
	shared32 slots_used;
	shared<int64_t> next_due;
	shared64 sleeps;
	shared32 allocator, next_free_page;
	shared64 asleep[IPK_QUEUE_EVENTS][MOST_MAPS];
};

struct ipk_queue_part {
	shared64 reservations, frees_begun, frees_completed, ticket;
	shared32 next_record, epoch, incarnation, recovered;
	shared64 redelivered, unfinished;
};

struct ipk_queue_record {
	shared64 word, size, reservation, highest;
	shared<int64_t> due, sent;
	shared32 first_page, extents;
	unsigned char *body; /* an address inside world->bytes */
};

struct ipk_queue {
	struct ipk_queue_head *head;
	struct ipk_slot *slots;
	struct ipk_queue_part *parts;
	shared64 *cells, *back, *page_of;
	shared32 *next_page;
	struct ipk_queue_record *records;
	unsigned char *pages;
	struct ipk_queue_shape shape;
	uint32_t ring_bits;
	uint64_t bytes;
	uint32_t *woken;
};

struct ipk_queue_lease {
	uint32_t record, incarnation;
	uint64_t word;
};

struct ipk_queue_message {
	uint64_t size;
	int64_t sent;
	uint32_t attempt, extents;
};

struct ipk_queue_extent {
	uint64_t total;
	unsigned char *start;
	uint64_t size, offset;
	uint32_t next_page;
};

struct ipk_registry;

/* The number of a word of the queue's memory that an address is, else -1. */
int word_at(const void *address);
shared64 *body_words();

/* memcpy() of the sources: whole words, of which one side is the queue's. */
inline void *
copy_words(void *to, const void *from, uint64_t bytes)
{
	for (uint64_t at = 0; at < bytes; at += WORD) {
		unsigned char *target = (unsigned char *)to + at;
		const unsigned char *source = (const unsigned char *)from + at;
		uint64_t value;

		if (word_at(source) >= 0)
			value = load_n(&body_words()[word_at(source)], __ATOMIC_RELAXED);
		else
			memcpy(&value, source, WORD);
		if (word_at(target) >= 0)
			store_n(&body_words()[word_at(target)], value, __ATOMIC_RELAXED);
		else
			memcpy(target, &value, WORD);
	}
	return to;
}

int ipk_queue_is_finished(const struct ipk_queue *queue);
int ipk_queue_reserve(const struct ipk_queue *queue, const struct ipk_party *party, uint64_t size,
		      struct ipk_queue_lease *lease, struct ipk_obstacle *obstacle);
int ipk_queue_fill(const struct ipk_queue *queue, const struct ipk_queue_lease *lease,
		   const void *bytes, uint64_t size);
int ipk_queue_publish(const struct ipk_queue *queue, const struct ipk_party *party,
		      const struct ipk_queue_lease *lease);
void ipk_queue_abandon(const struct ipk_queue *queue, const struct ipk_party *party,
		       const struct ipk_queue_lease *lease);
int ipk_queue_take(const struct ipk_queue *queue, const struct ipk_party *party,
		   struct ipk_queue_lease *lease);
int ipk_queue_message_of(const struct ipk_queue *queue, const struct ipk_queue_lease *lease,
			 struct ipk_queue_message *message);
int ipk_queue_copy(const struct ipk_queue *queue, const struct ipk_queue_lease *lease, void *bytes,
		   uint64_t size);
int ipk_queue_acknowledge(const struct ipk_queue *queue, const struct ipk_party *party,
			  const struct ipk_queue_lease *lease);
int ipk_queue_begin_clearing(const struct ipk_queue *queue, const struct ipk_party *party,
			     struct ipk_queue_lease *lease);
void ipk_queue_end_clearing(const struct ipk_queue *queue, const struct ipk_party *party,
			    const struct ipk_queue_lease *lease);
int ipk_queue_give_back(const struct ipk_queue *queue, const struct ipk_queue_lease *lease,
			int64_t due);
int ipk_queue_next_extent(const struct ipk_queue *queue, uint32_t record,
			  struct ipk_queue_extent *extent);
int ipk_queue_recover(const struct ipk_queue *queue, const struct ipk_party *party);
int ipk_queue_is_ready(const struct ipk_queue *queue, enum ipk_queue_event event, uint64_t size);
void ipk_queue_announce(const struct ipk_queue *queue, const struct ipk_party *party,
			enum ipk_queue_event event, uint64_t *ticket);
void ipk_queue_awake(const struct ipk_queue *queue, const struct ipk_party *party,
		     enum ipk_queue_event event);
void ipk_queue_wake_all(const struct ipk_queue *queue);
void ipk_queue_pass_on(const struct ipk_queue *queue, enum ipk_queue_event event, uint64_t ticket);
void ipk_queue_leave(const struct ipk_queue *queue, enum ipk_queue_event event);
int ipk_queue_join(const struct ipk_queue *queue, const struct ipk_registry *registry,
		   struct ipk_party *party);

inline uint32_t
ipk_queue_state_of(uint64_t word)
{
	return (uint32_t)(word & 0xF);
}

inline uint32_t
ipk_queue_owner_of(uint64_t word)
{
	return (uint32_t)(word >> 4 & 0xFFF);
}

inline uint32_t
ipk_queue_attempt_of(uint64_t word)
{
	return (uint32_t)(word >> 16 & 0xFF);
}

inline uint64_t
ipk_queue_turn_of(uint64_t word)
{
	return word >> 24;
}

inline int
ipk_slot_is_dead(const struct ipk_slot *slots, uint32_t index)
{
	uint32_t live = __atomic_load_n(&slots[index].live, __ATOMIC_ACQUIRE);

	return (live & OWNER_DIED) || !(live & TID_MASK);
}

int ipk_slot_join(const struct ipk_registry *registry, struct ipk_slot *slots, uint32_t count,
		  struct ipk_party *party);

#endif

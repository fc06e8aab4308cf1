/*
 * model.h - the table's types as its own sources see them here: each word of the segment is one
 * of relacy's, which shows a reader every value that the C11 memory model allows.
 *
 * tests/weak/run compiles table/{bucket,row,write,read,lock,verify}.c themselves against this, with
 * pointers to words as pointers to `shared` words; so the orders checked are those of the core.
 * Here too: a thread that dies between two steps, the verdict about it (locks/slots.c), and a ghost
 * that knows what is true: the last value of every word, and every state that KEY has had.
 */
#ifndef MODEL_H
#define MODEL_H

#include <cerrno>
#include <climits>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <optional>

#include <relacy/relacy.hpp> /* last: it redefines new and delete */

/* The sources are C: their names are those of the built-ins. */
#define IPK_TABLE_SLOTS 4
#define IPK_TABLE_COLUMNS 2
#define IPK_TABLE_KEY 8
#define IPK_SLOT_LATCHES 2
#define IPK_SLOT_LOCKS 2
#define IPK_OWNER_MASK 0x3fffffffu
#define IPK_MARK 0x40000000u
#define IPK_WAITERS 0x80000000u
#define IPK_VERIFY_FINDINGS 16

struct death {};
void step(); /* may throw it */

template <typename T> struct shared {
	std::optional<rl::atomic<T>> seen; /* what threads see; none: a private word */
	T last = T();			   /* the ghost; all there is of a private word */
	int version_of = -1;		   /* the cell */
	int latch_of = -1;		   /* the bucket */

	/* A plain read: of a private word, or of one that only this thread writes. */
	operator T() const { return seen ? seen->load(rl::mo_relaxed, $) : last; }
	T operator=(T value) { RL_ASSERT(!seen); return last = value; }
	shared &operator=(const shared &other) { *this = (T)other; return *this; }
	void publish(T value)
	{
		last = value;
		seen.emplace();
		seen->store(value, rl::mo_relaxed, $);
	}
};
typedef shared<uint32_t> shared32;
typedef shared<uint64_t> shared64;
typedef uint64_t plain64;

void version_stored(int cell);
void latch_stored(uint32_t before, uint32_t after);

template <typename T>
T load_n(const shared<T> *word, int order)
{
	if (!word->seen)
		return word->last;
	step();
	return word->seen->load((rl::memory_order)order, $);
}

template <typename T, typename U>
void store_n(shared<T> *word, U value, int order)
{
	T before = word->last;

	if (!word->seen) {
		word->last = (T)value;
		return;
	}
	step();
	word->seen->store((T)value, (rl::memory_order)order, $);
	word->last = (T)value;
	if (word->version_of >= 0)
		version_stored(word->version_of);
	if (word->latch_of >= 0)
		latch_stored((uint32_t)before, (uint32_t)value);
}

/* Read-modify-writes act on the last value, here as everywhere. */
template <typename T, typename F>
T change(shared<T> *word, int order, F become)
{
	T before;
	T after;

	step();
	do {
		before = word->last;
		after = become(before);
		/* Between here and the exchange nobody runs but inside the exchange itself. */
	} while (!(*word->seen)($).compare_exchange_strong(before, after, (rl::memory_order)order,
							rl::mo_relaxed));
	word->last = after;
	if (word->latch_of >= 0)
		latch_stored((uint32_t)before, (uint32_t)after);
	return before;
}

template <typename T, typename U>
bool exchange_if(shared<T> *word, T *expected, U value, int order)
{
	T before = *expected;

	step();
	if (!(*word->seen)($).compare_exchange_strong(*expected, (T)value, (rl::memory_order)order,
						   rl::mo_relaxed))
		return false;
	word->last = (T)value;
	if (word->latch_of >= 0)
		latch_stored((uint32_t)before, (uint32_t)value);
	return true;
}

#define __atomic_load_n(word, order) load_n(word, order)
#define __atomic_store_n(word, value, order) store_n(word, value, order)
#define __atomic_fetch_or(word, bits, order) \
	change(word, order, [&](auto was) { return (decltype(was))(was | (bits)); })
#define __atomic_fetch_and(word, bits, order) \
	change(word, order, [&](auto was) { return (decltype(was))(was & (bits)); })
#define __atomic_fetch_add(word, by, order) \
	change(word, order, [&](auto was) { return (decltype(was))(was + (by)); })
#define __atomic_exchange_n(word, value, order) \
	change(word, order, [&](auto was) { return (decltype(was))(value); })
#define __atomic_compare_exchange_n(word, expected, value, weak, order, failure) \
	exchange_if(word, expected, value, order)
#define __atomic_thread_fence(order) \
	(step(), rl::atomic_thread_fence((rl::memory_order)(order), $))
#define __builtin_prefetch(where) ((void)(where))
#define __builtin_ia32_pause() rl::yield(1, $)

struct ipk_slot {
	shared32 live;
	shared32 generation;
	shared32 latches[IPK_SLOT_LATCHES];
	shared32 waits_for;
	shared32 locks[IPK_SLOT_LOCKS];
};

struct ipk_party {
	struct ipk_slot *slot;
	uint32_t owner;
};

enum ipk_obstacle_kind { IPK_NOTHING, IPK_LATCH, IPK_USER_LOCK, IPK_TRANSIT, IPK_READER };

struct ipk_obstacle {
	uint32_t kind;
	uint32_t seen;
	shared32 *word;
	shared32 *owner_live;
	uint32_t waited;
	uint32_t stepped_back;
	uint64_t pause_ns;
	uint64_t transit_since;
	uint32_t versions;
};

enum ipk_type { IPK_INT = 1, IPK_FLOAT, IPK_STRING, IPK_BYTES };
enum ipk_write { IPK_SET, IPK_REPLACE, IPK_ADD };

struct ipk_column {
	uint32_t type, size, first, words;
};

enum { ROW_WORDS = 2, COPY_WORDS = 1 + ROW_WORDS + 1, ROWS = 3, BUCKETS = 2 };

struct ipk_bucket {
	shared32 latch, head, pending, unlinks;
};

struct ipk_cell {
	shared64 version;
	shared32 next, owner, hash, user_lock;
	shared64 key_size;
	shared64 words[1 + 2 * ROW_WORDS];
};

struct ipk_table {
	uint32_t rows, bucket_count, key_size, column_count, key_words, row_words, copy_words;
	uint64_t cell_bytes;
	uint64_t seed[2];
	shared64 *frees;
	struct ipk_slot *slots;
	struct ipk_bucket *buckets;
	shared64 *bitmap;
	unsigned char *cells;
	struct ipk_column columns[IPK_TABLE_COLUMNS];
};

struct ipk_key {
	uint64_t hash;
	uint32_t size, words;
	shared64 word[1];
};

struct ipk_finding {
	uint32_t rule, where;
};

struct ipk_verify {
	uint32_t cells, at, count;
	struct ipk_finding findings[IPK_VERIFY_FINDINGS];
};

struct ipk_lock_load {
	uint32_t locked, waiting;
};

void ipk_table_give_up(struct ipk_party *party);
uint32_t ipk_table_locks_held(const struct ipk_table *table, const struct ipk_party *party);
int ipk_key_make(const struct ipk_table *table, struct ipk_key *key, const void *bytes, size_t size);
int ipk_key_make(const struct ipk_table *table, struct ipk_key *key, const shared64 *words, size_t size);

enum { OWNER_DIED = 0x40000000, TID_MASK = 0x3fffffff };

/* locks/slots.c, ipk_owner_dead: the same loads in the same order. */
inline int
ipk_owner_dead(const struct ipk_slot *slots, uint32_t count, uint32_t owner)
{
	uint32_t index = (owner & 0xffff) - 1;
	uint32_t live;

	if (index >= count)
		return -EUCLEAN;
	if ((__atomic_load_n(&slots[index].generation, __ATOMIC_ACQUIRE) & 0x3fff) !=
	    ((owner >> 16) & 0x3fff))
		return 1;
	live = __atomic_load_n(&slots[index].live, __ATOMIC_ACQUIRE);
	return (live & OWNER_DIED) || !(live & TID_MASK);
}

inline shared32 *
ipk_owner_live(struct ipk_slot *slots, uint32_t, uint32_t owner)
{
	return &slots[(owner & 0xffff) - 1].live;
}

inline uint64_t
ipk_now_ns(void)
{
	return 0; /* a cell in transit is waited for */
}

inline void
ipk_wake(shared32 *, int)
{
}

#endif

/*
 * words.h - words of a segment as relacy's: each shows a reader every value that the C11 memory model
 * allows.
 *
 * tests/weak/run compiles the core's own sources against this, with pointers to words as pointers to
 * `shared` words; so the orders checked are those of the core. Here too: a thread that dies between two
 * steps, the verdict about it (locks/slots.c), and of each word its last value, for the ghost that knows
 * what is true.
 */
#ifndef WORDS_H
#define WORDS_H

#include <cerrno>
#include <climits>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <optional>

#include <relacy/relacy.hpp> /* last: it redefines new and delete */

/* The sources are C: their names are those of the built-ins. */
#define IPK_SLOT_LATCHES 2
#define IPK_SLOT_LOCKS 2
#define IPK_OWNER_MASK 0x3fffffffu
#define IPK_MARK 0x40000000u
#define IPK_WAITERS 0x80000000u

struct death {};
void step(); /* may throw it */

template <typename T> struct shared {
	std::optional<rl::atomic<T>> seen; /* what threads see; none: a private word */
	T last = T();			   /* the ghost; all there is of a private word */
	int watched = -1;		   /* a number of the world's, for stored() */

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

/* The world's: a word that it watches was changed. */
void stored(int watched, uint64_t before, uint64_t after);

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
	if (word->watched >= 0)
		stored(word->watched, (uint64_t)before, (uint64_t)value);
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
	if (word->watched >= 0)
		stored(word->watched, (uint64_t)before, (uint64_t)after);
	return before;
}

template <typename T, typename U>
bool exchange_if(shared<T> *word, T *expected, U value, int order, int failure)
{
	T before = *expected;

	step();
	if (!(*word->seen)($).compare_exchange_strong(*expected, (T)value, (rl::memory_order)order,
						   (rl::memory_order)failure))
		return false;
	word->last = (T)value;
	if (word->watched >= 0)
		stored(word->watched, (uint64_t)before, (uint64_t)value);
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
	exchange_if(word, expected, value, order, failure)
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

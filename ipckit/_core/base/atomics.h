/*
 * base/atomics.h - loads, stores and exchanges of words in shared memory; the name says the order.
 *
 * RELAXED   the word is whole, and nothing follows about other words.
 * ACQUIRE, RELEASE
 *           what was written before a RELEASE store is seen after the ACQUIRE load that sees it.
 * SEQ_CST, and every exchange
 *           all processes agree on one order of them: of two processes that each store a word and
 *           then load the other's, at least one sees the other's store.
 */
#ifndef IPK_BASE_ATOMICS_H
#define IPK_BASE_ATOMICS_H

#define LOAD_RELAXED(place) __atomic_load_n((place), __ATOMIC_RELAXED)
#define LOAD_ACQUIRE(place) __atomic_load_n((place), __ATOMIC_ACQUIRE)
#define LOAD_SEQ_CST(place) __atomic_load_n((place), __ATOMIC_SEQ_CST)
#define STORE_RELAXED(place, value) __atomic_store_n((place), (value), __ATOMIC_RELAXED)
#define STORE_RELEASE(place, value) __atomic_store_n((place), (value), __ATOMIC_RELEASE)
#define STORE_SEQ_CST(place, value) __atomic_store_n((place), (value), __ATOMIC_SEQ_CST)
/* All return the value before. */
#define EXCHANGE(place, value) __atomic_exchange_n((place), (value), __ATOMIC_SEQ_CST)
#define FETCH_ADD(place, value) __atomic_fetch_add((place), (value), __ATOMIC_SEQ_CST)
#define FETCH_SUB(place, value) __atomic_fetch_sub((place), (value), __ATOMIC_SEQ_CST)
#define FETCH_OR(place, bits) __atomic_fetch_or((place), (bits), __ATOMIC_SEQ_CST)
#define FETCH_CLEAR(place, bits) __atomic_fetch_and((place), ~(bits), __ATOMIC_SEQ_CST)
/* 1, or 0: then *expected is the value that was found. */
#define COMPARE_EXCHANGE(place, expected, value)                                                   \
	__atomic_compare_exchange_n((place), (expected), (value), 0, __ATOMIC_SEQ_CST,             \
				    __ATOMIC_SEQ_CST)

#ifdef __SANITIZE_THREAD__ /* it knows no fences; a copy that they guard is checked twice */
#define FENCE(order) ((void)0)
#else
#define FENCE(order) __atomic_thread_fence(order)
#endif

/* In a loop that waits for another CPU: let the sibling thread of this one go on. */
static inline void
cpu_relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
	__builtin_ia32_pause();
#elif defined(__aarch64__)
	__asm__ volatile("yield");
#endif
}

#endif

/*
 * base/word.c - one atomic step on one shared word.
 *
 * Owns      nothing.  Stands on the compiler's atomics.  State  none.
 * Blocks    never.    Errors    none; an unaligned word is the caller's defect.
 */
#include "base/word.h"

uint64_t
ipk_word_load(const uint64_t *word)
{
	return __atomic_load_n(word, __ATOMIC_SEQ_CST);
}

void
ipk_word_store(uint64_t *word, uint64_t value)
{
	__atomic_store_n(word, value, __ATOMIC_SEQ_CST);
}

uint64_t
ipk_word_swap(uint64_t *word, uint64_t value)
{
	return __atomic_exchange_n(word, value, __ATOMIC_SEQ_CST);
}

uint64_t
ipk_word_add(uint64_t *word, int64_t by)
{
	return __atomic_add_fetch(word, (uint64_t)by, __ATOMIC_SEQ_CST);
}

uint64_t
ipk_word_sum(const uint64_t *word, size_t count, size_t stride)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < count; i++)
		sum += __atomic_load_n(word + i * stride, __ATOMIC_RELAXED);
	return sum;
}

int
ipk_word_compare_and_set(uint64_t *word, uint64_t expected, uint64_t value)
{
	return __atomic_compare_exchange_n(word, &expected, value, 0, __ATOMIC_SEQ_CST,
					   __ATOMIC_SEQ_CST);
}

/*
 * base/word.h - 64-bit words that several processes change, one atomic step at a time.
 *
 * A word lies in shared memory (or anywhere), aligned to 8 bytes. Every call is one sequentially
 * consistent step, so a process that is killed has done it whole or not at all.
 */
#ifndef IPK_BASE_WORD_H
#define IPK_BASE_WORD_H

#include "base/ipk.h"

uint64_t ipk_word_load(const uint64_t *word);
void ipk_word_store(uint64_t *word, uint64_t value);
/* Returns the value before. */
uint64_t ipk_word_swap(uint64_t *word, uint64_t value);
/* Returns the new value; wraps at 2^64. */
uint64_t ipk_word_add(uint64_t *word, int64_t by);
/* Returns the sum of `count` words, `stride` words apart; each is loaded for itself. */
uint64_t ipk_word_sum(const uint64_t *word, size_t count, size_t stride);
/* Returns 1 when `word` was `expected` and is `value` now, else 0 and nothing changed. */
int ipk_word_compare_and_set(uint64_t *word, uint64_t expected, uint64_t value);

#endif

/*
 * table/internal.h - what the files of the table share. No other folder includes it.
 *
 * Words of the segment are read and written by base/atomics.h, so a reader that overlaps a
 * writer has a stale or a new word and never anything else; the version tells which.
 */
#ifndef IPK_TABLE_INTERNAL_H
#define IPK_TABLE_INTERNAL_H

#include "base/atomics.h"
#include "table/table.h"

enum { IPK_ROW = 1, IPK_LIVE = 2, IPK_CHANGE = 4 }; /* of a cell's version */

static inline struct ipk_cell *
ipk_cell_at(const struct ipk_table *table, uint32_t index)
{
	return (struct ipk_cell *)(table->cells + index * table->cell_bytes);
}

static inline uint64_t *
ipk_row_at(const struct ipk_table *table, struct ipk_cell *cell, uint64_t version)
{
	return cell->words + table->key_words + (version & IPK_ROW) * table->row_words;
}

static inline uint32_t
ipk_bucket_of(const struct ipk_table *table, const struct ipk_key *key)
{
	return (uint32_t)key->hash & (table->bucket_count - 1);
}

static inline uint32_t
ipk_hash_of(const struct ipk_key *key)
{
	return (uint32_t)(key->hash >> 32);
}

/* How many words of a column are in use, when its first word is `length`. */
static inline uint32_t
ipk_used_words(const struct ipk_column *column, uint64_t length)
{
	if (column->type < IPK_STRING)
		return 1;
	return length > column->size ? column->words : 1 + (uint32_t)((length + 7) / 8);
}

static inline int
ipk_same_key(const struct ipk_cell *cell, const struct ipk_key *key)
{
	if (LOAD_RELAXED(&cell->key_size) != key->size)
		return 0;
	for (uint32_t i = 0; i < key->words; i++)
		if (LOAD_RELAXED(&cell->words[i]) != key->word[i])
			return 0;
	return 1;
}

/* -- bucket.c -- */

/* Take a bucket's latch; from a dead owner with V1..V6 restored. `place`: of slot->latches.
 * 0, -EAGAIN, -EUCLEAN, -EDEADLK (this very thread is inside already). */
int ipk_latch_take(const struct ipk_table *table, struct ipk_party *party, uint32_t bucket,
		   uint32_t place, struct ipk_obstacle *obstacle);
void ipk_latch_release(const struct ipk_table *table, struct ipk_party *party, uint32_t bucket,
		       uint32_t place);

/* All below under the latch of `bucket`. Cells are given as index + 1. */

/* The key's cell, live or reserved, or 0; -EUCLEAN. */
int64_t ipk_chain_find(const struct ipk_table *table, uint32_t bucket, const struct ipk_key *key);
/* A free cell becomes the bucket's and `pending`: > 0, -ENOSPC, -EAGAIN, -EUCLEAN. */
int64_t ipk_cell_claim(const struct ipk_table *table, struct ipk_party *party, uint32_t bucket,
		       const struct ipk_key *key, struct ipk_obstacle *obstacle);
/* Take a cell that is not live out of the chain and free it. Idempotent. */
void ipk_cell_free(const struct ipk_table *table, uint32_t bucket, uint32_t cell);
/* 1: the cell was reserved by a thread that died, and is free now. */
int ipk_cell_free_if_orphan(const struct ipk_table *table, uint32_t bucket, uint32_t cell);
void ipk_bit_set(const struct ipk_table *table, uint32_t index, int on);
/* Free a row's user lock and wake its waiters. `mark`: IPK_MARK when its owner died with it. */
void ipk_user_lock_clear(struct ipk_cell *cell, uint32_t mark);

/* -- read.c -- */

/* Copy the current row of a cell under its bucket's latch: 0, -EUCLEAN. */
int ipk_row_copy(const struct ipk_table *table, struct ipk_cell *cell, uint64_t *copy);

/* -- row.c -- */

/* What a new row has: given[i] from `row` (given NULL: all); or one column from `value`; the rest
 * as it was (keep) or zero. All NULL: zeros. */
struct ipk_source {
	const uint64_t *row;
	const unsigned char *given;
	const uint64_t *value;
	uint32_t column;
	int keep;
};
/* Write the other row of a cell and make it the live one. */
void ipk_row_flip(const struct ipk_table *table, uint32_t cell, const struct ipk_source *source);
/* Write the key and the row into a claimed cell; it is not live yet. */
void ipk_row_begin(const struct ipk_table *table, uint32_t cell, const struct ipk_key *key,
		   const struct ipk_source *source);
/* Put a claimed cell into its bucket's chain. */
void ipk_row_link(const struct ipk_table *table, uint32_t bucket, uint32_t cell);

/* -- lock.c -- */

/* 0: no thread holds the row's user lock; -EDEADLK, -ELOOP, -EAGAIN, -EUCLEAN. */
int ipk_user_lock_check(const struct ipk_table *table, struct ipk_party *party, uint32_t cell,
			struct ipk_obstacle *obstacle);
/* Open the user locks in the slot's list that an earlier owner of the slot died with. One in whose
 * bucket another thread is stays in the list, for another time. */
void ipk_user_locks_recover(const struct ipk_table *table, struct ipk_party *party);

#endif

/*
 * table/read.c - keys, and reading a row without a latch.
 *
 * Owns      nothing.  State  none.
 * Blocks    never. A reader writes nothing, except one mark in the latch word when writers have
 *           spoiled MANY of its tries; it asks the next writer for a moment and is never waited
 *           for longer than that.
 * A found row is proved by its version, a miss by the bucket's `unlinks`: both are read before and
 * after.
 */
#include "table/internal.h"

#include <errno.h>
#include <string.h>

enum {
	MANY = 16,	   /* spoiled tries */
	STRETCH = 512,	   /* words of a long string between two looks at the version */
	SPOILED = 1,	   /* of copy_words and copy_row */
	WHOLE_ROW = -1,	   /* of look_up's `column` */
	NO_COLUMN = -2,
};

/* A fold of the 128-bit product: each half of both numbers reaches every bit of the result. */
static uint64_t
fold(uint64_t a, uint64_t b)
{
	__extension__ typedef unsigned __int128 wide;
	wide product = (wide)a * b;

	return (uint64_t)product ^ (uint64_t)(product >> 64);
}

int
ipk_key_make(const struct ipk_table *table, struct ipk_key *key, const void *bytes, size_t size)
{
	uint64_t hash = table->seed[0] ^ size;

	if (size > table->key_size)
		return -EMSGSIZE;
	key->size = (uint32_t)size;
	key->words = (uint32_t)((size + 7) / 8);
	if (key->words) {
		key->word[key->words - 1] = 0;
		memcpy(key->word, bytes, size);
	}
	for (uint32_t i = 0; i < key->words; i++)
		hash = fold(hash ^ key->word[i], table->seed[1] | 1);
	key->hash = fold(hash, 0x9e3779b97f4a7c15ull);
	return 0;
}

/* Returns 0, or SPOILED when the cell's version is seen to have changed. */
static int
copy_words(struct ipk_cell *cell, uint64_t version, const uint64_t *from, uint64_t *to,
	   uint32_t words)
{
	for (uint32_t i = 0; i < words; i++) {
		if (i % STRETCH == STRETCH - 1 && LOAD_RELAXED(&cell->version) != version)
			return SPOILED;
		to[i] = LOAD_RELAXED(&from[i]);
	}
	return 0;
}

/* 0, SPOILED, or -EUCLEAN: a length is over its limit (unless the version has changed). */
static int
copy_column(struct ipk_cell *cell, uint64_t version, const struct ipk_column *column,
	    const uint64_t *from, uint64_t *to)
{
	uint64_t length = LOAD_RELAXED(&from[0]);

	to[0] = length;
	if (column->type < IPK_STRING)
		return 0;
	if (length > column->size)
		return -EUCLEAN;
	return copy_words(cell, version, from + 1, to + 1, (uint32_t)((length + 7) / 8));
}

static int
copy_row(const struct ipk_table *table, struct ipk_cell *cell, uint64_t version, uint64_t *to)
{
	const uint64_t *from = ipk_row_at(table, cell, version);
	uint64_t key_size = LOAD_RELAXED(&cell->key_size);
	int result = key_size > table->key_size ? -EUCLEAN : 0;

	to[0] = key_size;
	for (uint32_t i = 0; i < table->column_count && result == 0; i++) {
		const struct ipk_column *column = &table->columns[i];

		result = copy_column(cell, version, column, from + column->first,
				     to + 1 + column->first);
	}
	if (result)
		return result;
	return copy_words(cell, version, cell->words, to + 1 + table->row_words,
			  (uint32_t)((key_size + 7) / 8));
}

int
ipk_row_copy(const struct ipk_table *table, struct ipk_cell *cell, uint64_t *copy)
{
	return copy_row(table, cell, LOAD_RELAXED(&cell->version), copy);
}

/* One more try was spoiled: after MANY, ask the bucket's next writer for a moment. */
static void
complain(const struct ipk_table *table, uint32_t bucket, struct ipk_obstacle *obstacle)
{
	uint32_t *latch = &table->buckets[bucket].latch;
	uint32_t seen = LOAD_RELAXED(latch);

	if (++obstacle->versions >= MANY && !(seen & IPK_MARK))
		(void)__atomic_compare_exchange_n(latch, &seen, seen | IPK_MARK, 0,
						  __ATOMIC_RELAXED, __ATOMIC_RELAXED);
}

/* The reader that complained is served. */
static void
content(const struct ipk_table *table, uint32_t bucket, const struct ipk_obstacle *obstacle)
{
	uint32_t *latch = &table->buckets[bucket].latch;

	if (obstacle->versions >= MANY)
		(void)__atomic_fetch_and(latch, ~IPK_MARK, __ATOMIC_RELAXED);
}

/* Copy what was asked for while `version` stands: 0, SPOILED, -EUCLEAN. */
static int
take_copy(const struct ipk_table *table, struct ipk_cell *cell, uint64_t version, int64_t column,
	  uint64_t *out)
{
	int result = 0;

	if (column == WHOLE_ROW)
		result = copy_row(table, cell, version, out);
	else if (column != NO_COLUMN)
		result = copy_column(cell, version, &table->columns[column],
				     ipk_row_at(table, cell, version) + table->columns[column].first,
				     out);
	FENCE(__ATOMIC_ACQUIRE);
	return LOAD_RELAXED(&cell->version) == version ? result : SPOILED;
}

/* In a large table all of this is cold: ask for both rows before the version tells which. */
static void
fetch(const struct ipk_table *table, struct ipk_cell *cell)
{
	__builtin_prefetch(ipk_row_at(table, cell, 0));
	__builtin_prefetch(ipk_row_at(table, cell, IPK_ROW));
}

/* One walk along the chain: 1 found, 0 absent, -EUCLEAN, -EAGAIN: the walk proves nothing. */
static int
walk(const struct ipk_table *table, const struct ipk_key *key, uint32_t bucket, int64_t column,
     uint64_t *out, struct ipk_obstacle *obstacle)
{
	const struct ipk_bucket *home = &table->buckets[bucket];
	uint32_t unlinks = LOAD_ACQUIRE(&home->unlinks);
	uint32_t at = LOAD_ACQUIRE(&home->head);
	uint32_t hops = 0;

	while (at) {
		struct ipk_cell *cell;
		uint64_t version;

		if (at > table->rows)
			return -EUCLEAN;
		if (hops++ > table->rows)
			return LOAD_ACQUIRE(&home->unlinks) == unlinks ? -EUCLEAN : -EAGAIN;
		cell = ipk_cell_at(table, at - 1);
		fetch(table, cell);
		while (((version = LOAD_ACQUIRE(&cell->version)) & IPK_LIVE) &&
		       LOAD_RELAXED(&cell->hash) == ipk_hash_of(key) &&
		       ipk_same_key(cell, key)) {
			int result = take_copy(table, cell, version, column, out);

			if (result != SPOILED)
				return result < 0 ? result : 1;
			complain(table, bucket, obstacle);
		}
		at = LOAD_ACQUIRE(&cell->next);
	}
	FENCE(__ATOMIC_ACQUIRE);
	return LOAD_RELAXED(&home->unlinks) == unlinks ? 0 : -EAGAIN;
}

static int
look_up(const struct ipk_table *table, const struct ipk_key *key, int64_t column, uint64_t *out)
{
	struct ipk_obstacle obstacle;
	uint32_t bucket = ipk_bucket_of(table, key);
	int result;

	obstacle.versions = 0;
	while ((result = walk(table, key, bucket, column, out, &obstacle)) == -EAGAIN)
		complain(table, bucket, &obstacle);
	content(table, bucket, &obstacle);
	return result;
}

int
ipk_table_get(const struct ipk_table *table, const struct ipk_key *key, uint64_t *copy)
{
	return look_up(table, key, WHOLE_ROW, copy);
}

int
ipk_table_get_column(const struct ipk_table *table, const struct ipk_key *key, uint32_t column,
		     uint64_t *value)
{
	return look_up(table, key, column, value);
}

int
ipk_table_has(const struct ipk_table *table, const struct ipk_key *key)
{
	return look_up(table, key, NO_COLUMN, NULL);
}

int
ipk_table_next(const struct ipk_table *table, uint32_t *position, uint64_t *copy)
{
	uint32_t index = *position;

	while (index < table->rows) {
		uint64_t bits = LOAD_ACQUIRE(&table->bitmap[index / 64]) >> index % 64;
		struct ipk_obstacle obstacle;
		struct ipk_cell *cell;
		uint64_t version;

		if (!bits) {
			index = (index / 64 + 1) * 64;
			continue;
		}
		index += (uint32_t)__builtin_ctzll(bits);
		if (index >= table->rows)
			break;
		cell = ipk_cell_at(table, index);
		obstacle.versions = 0;
		while ((version = LOAD_ACQUIRE(&cell->version)) & IPK_LIVE) {
			uint32_t bucket = LOAD_ACQUIRE(&cell->owner) - 1;
			int result = take_copy(table, cell, version, WHOLE_ROW, copy);

			if (result < 0)
				return result;
			if (bucket < table->bucket_count) {
				if (result == SPOILED)
					complain(table, bucket, &obstacle);
				else
					content(table, bucket, &obstacle);
			}
			if (result == 0) {
				*position = index + 1;
				return 1;
			}
		}
		index++;
	}
	*position = table->rows;
	return 0;
}

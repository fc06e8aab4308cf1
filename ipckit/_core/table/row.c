/*
 * table/row.c - a cell's key and its two rows: filling the one that no thread reads.
 *
 * Owns      a cell's version, hash, key and rows, under its bucket's latch.  State  in the segment.
 * Blocks    never.
 * A change is written into the row that no thread reads and becomes true by one store of the
 * version.
 */
#include "table/internal.h"

static void
store_words(uint64_t *to, const uint64_t *from, uint32_t words)
{
	for (uint32_t i = 0; i < words; i++)
		STORE_RELAXED(&to[i], LOAD_RELAXED(&from[i]));
}

/* Where the column's words come from; NULL: it becomes zero. `old`: the row before, or NULL. */
static const uint64_t *
find_source(const struct ipk_source *source, uint32_t column, uint32_t first, const uint64_t *old)
{
	if (source->value && column == source->column)
		return source->value;
	if (source->row && (!source->given || source->given[column]))
		return source->row + first;
	return old ? old + first : NULL;
}

static void
fill(const struct ipk_table *table, uint64_t *row, const struct ipk_source *source,
     const uint64_t *old)
{
	for (uint32_t i = 0; i < table->column_count; i++) {
		const struct ipk_column *column = &table->columns[i];
		const uint64_t *from = find_source(source, i, column->first, old);
		uint64_t *to = row + column->first;

		if (from)
			store_words(to, from, ipk_used_words(column, LOAD_RELAXED(&from[0])));
		else
			STORE_RELAXED(&to[0], 0); /* 0, 0.0 and the length of nothing */
	}
}

void
ipk_row_flip(const struct ipk_table *table, uint32_t cell, const struct ipk_source *source)
{
	struct ipk_cell *changed = ipk_cell_at(table, cell - 1);
	uint64_t version = LOAD_RELAXED(&changed->version);
	const uint64_t *old = ipk_row_at(table, changed, version);

	FENCE(__ATOMIC_RELEASE); /* the words below are not seen before the version above */
	fill(table, ipk_row_at(table, changed, version ^ IPK_ROW), source,
	     source->keep ? old : NULL);
	STORE_RELEASE(&changed->version, ((version + IPK_CHANGE) ^ IPK_ROW) | IPK_LIVE);
}

void
ipk_row_begin(const struct ipk_table *table, uint32_t cell, const struct ipk_key *key,
	      const struct ipk_source *source)
{
	struct ipk_cell *fresh = ipk_cell_at(table, cell - 1);
	uint64_t version = LOAD_RELAXED(&fresh->version);

	/* A reader that still reads the old row sees another version than at its start. */
	FENCE(__ATOMIC_RELEASE);
	STORE_RELAXED(&fresh->key_size, key->size);
	store_words(fresh->words, key->word, key->words);
	fill(table, ipk_row_at(table, fresh, version ^ IPK_ROW), source, NULL);
	STORE_RELAXED(&fresh->hash, ipk_hash_of(key));
	STORE_RELEASE(&fresh->version, (version + IPK_CHANGE) ^ IPK_ROW);
}

void
ipk_row_link(const struct ipk_table *table, uint32_t bucket, uint32_t cell)
{
	struct ipk_bucket *home = &table->buckets[bucket];

	STORE_RELAXED(&ipk_cell_at(table, cell - 1)->next, LOAD_RELAXED(&home->head));
	STORE_RELEASE(&home->head, cell);
}

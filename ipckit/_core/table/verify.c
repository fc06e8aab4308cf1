/*
 * table/verify.c - counting rows, and checking that every invariant holds.
 *
 * Owns      nothing.  State  in the caller's ipk_verify.
 * Blocks    never: see table.h.
 * Each bucket and each cell is looked at under its bucket's latch, so what is found is true even
 * while others work; taking the latch from the dead restores what they left.
 */
#include "table/internal.h"

/* Cells whose bit is set, but which are not live: their writer is inside the bucket, or died
 * there. A slot's lists name all such buckets. */
static uint64_t
count_half(const struct ipk_table *table)
{
	uint64_t half = 0;

	for (uint32_t index = 0; index < IPK_TABLE_SLOTS; index++) {
		for (uint32_t i = 0; i < IPK_SLOT_LATCHES; i++) {
			uint32_t number = LOAD_ACQUIRE(&table->slots[index].latches[i]);
			uint32_t cell;

			if (!number || number > table->bucket_count ||
			    (LOAD_ACQUIRE(&table->buckets[number - 1].latch) & 0xffff) != index + 1)
				continue;
			cell = LOAD_ACQUIRE(&table->buckets[number - 1].pending);
			if (!cell || cell > table->rows)
				continue;
			if (!(LOAD_ACQUIRE(&ipk_cell_at(table, cell - 1)->version) & IPK_LIVE) &&
			    (LOAD_ACQUIRE(&table->bitmap[(cell - 1) / 64]) >> (cell - 1) % 64 & 1))
				half++;
		}
	}
	return half;
}

uint64_t
ipk_table_count(const struct ipk_table *table)
{
	uint64_t count = 0;
	uint64_t half;

	for (uint32_t i = 0; i < (table->rows + 63) / 64; i++)
		count += (uint64_t)__builtin_popcountll(LOAD_ACQUIRE(&table->bitmap[i]));
	half = count_half(table);
	return count > half ? count - half : 0;
}

static void
report(struct ipk_verify *state, uint32_t rule, uint32_t where)
{
	if (state->count < IPK_VERIFY_FINDINGS)
		state->findings[state->count] = (struct ipk_finding){rule, where};
	state->count++;
}

/* A cell's key, hash and lengths: 1 when they are in order. */
static int
is_sound(const struct ipk_table *table, struct ipk_cell *cell, uint32_t bucket)
{
	const uint64_t *row = ipk_row_at(table, cell, LOAD_RELAXED(&cell->version));
	struct ipk_key key;

	if (LOAD_RELAXED(&cell->key_size) > table->key_size ||
	    ipk_key_make(table, &key, cell->words, (size_t)LOAD_RELAXED(&cell->key_size)) ||
	    ipk_bucket_of(table, &key) != bucket || ipk_hash_of(&key) != LOAD_RELAXED(&cell->hash))
		return 0;
	for (uint32_t i = 0; i < table->column_count; i++)
		if (table->columns[i].type >= IPK_STRING &&
		    LOAD_RELAXED(&row[table->columns[i].first]) > table->columns[i].size)
			return 0;
	return 1;
}

static void
check_bucket(const struct ipk_table *table, uint32_t bucket, struct ipk_verify *state)
{
	struct ipk_bucket *home = &table->buckets[bucket];
	uint32_t at = LOAD_RELAXED(&home->head);
	uint32_t hops = 0;

	if (LOAD_RELAXED(&home->pending))
		report(state, 6, bucket);
	while (at) {
		struct ipk_cell *cell;
		uint32_t here = at;

		if (at > table->rows || hops++ > table->rows) {
			report(state, 1, bucket);
			return;
		}
		cell = ipk_cell_at(table, here - 1);
		at = LOAD_RELAXED(&cell->next);
		/* Before an orphan is freed: one that has no owner at all was left by no dead thread. */
		if (!(LOAD_RELAXED(&cell->version) & IPK_LIVE) &&
		    !(LOAD_ACQUIRE(&cell->user_lock) & IPK_OWNER_MASK))
			report(state, 2, bucket);
		if (ipk_cell_free_if_orphan(table, bucket, here))
			continue;
		if (LOAD_RELAXED(&cell->owner) != bucket + 1)
			report(state, 1, bucket);
		if (!is_sound(table, cell, bucket))
			report(state, 3, bucket);
	}
}

static int
is_linked(const struct ipk_table *table, uint32_t bucket, uint32_t cell)
{
	uint32_t at = LOAD_RELAXED(&table->buckets[bucket].head);
	uint32_t hops = 0;

	while (at && at <= table->rows && hops++ <= table->rows) {
		if (at == cell + 1)
			return 1;
		at = LOAD_RELAXED(&ipk_cell_at(table, at - 1)->next);
	}
	return 0;
}

static void
check_cell(const struct ipk_table *table, uint32_t bucket, uint32_t index,
	   struct ipk_verify *state)
{
	struct ipk_cell *cell = ipk_cell_at(table, index);
	int bit = (LOAD_ACQUIRE(&table->bitmap[index / 64]) >> index % 64 & 1) != 0;

	if (LOAD_ACQUIRE(&cell->owner) != bucket + 1)
		return; /* it went while we came */
	if (!is_linked(table, bucket, index))
		report(state, 5, index);
	if (bit != ((LOAD_RELAXED(&cell->version) & IPK_LIVE) != 0))
		report(state, 4, index);
}

static int
verify_bucket(const struct ipk_table *table, struct ipk_party *party, uint32_t bucket,
	      int64_t cell, struct ipk_verify *state, struct ipk_obstacle *obstacle)
{
	int code = ipk_latch_take(table, party, bucket, 0, obstacle);

	if (code)
		return code;
	if (cell < 0)
		check_bucket(table, bucket, state);
	else
		check_cell(table, bucket, (uint32_t)cell, state);
	ipk_latch_release(table, party, bucket, 0);
	return 0;
}

int
ipk_table_verify(const struct ipk_table *table, struct ipk_party *party, struct ipk_verify *state,
		 struct ipk_obstacle *obstacle)
{
	int code;

	for (; !state->cells && state->at < table->bucket_count; state->at++) {
		code = verify_bucket(table, party, state->at, -1, state, obstacle);
		if (code)
			return code;
	}
	if (!state->cells) {
		state->cells = 1;
		state->at = 0;
	}
	for (; state->at < table->rows; state->at++) {
		uint32_t owner = LOAD_ACQUIRE(&ipk_cell_at(table, state->at)->owner);

		if (owner > table->bucket_count)
			report(state, 5, state->at);
		if (owner == 0 || owner > table->bucket_count)
			continue;
		code = verify_bucket(table, party, owner - 1, state->at, state, obstacle);
		if (code)
			return code;
	}
	return 0;
}

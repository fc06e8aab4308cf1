/*
 * table/write.c - set, replace, add, delete, incr, compare_and_set.
 *
 * Owns      nothing: the rows are row.c's.  State  in the segment.
 * Blocks    never: see table.h.
 */
#include "table/internal.h"

#include <errno.h>
#include <string.h>

/* A new row in a claimed cell; 1. */
static int
insert(const struct ipk_table *table, struct ipk_party *party, uint32_t bucket,
       const struct ipk_key *key, const struct ipk_source *source,
       struct ipk_obstacle *obstacle)
{
	int64_t cell = ipk_cell_claim(table, party, bucket, key, obstacle);
	struct ipk_cell *fresh;

	if (cell < 0)
		return (int)cell;
	fresh = ipk_cell_at(table, (uint32_t)cell - 1);
	ipk_row_begin(table, (uint32_t)cell, key, source);
	ipk_row_link(table, bucket, (uint32_t)cell);
	/* Before the row is there: a thread that walks the bitmap checks the version as well. */
	ipk_bit_set(table, (uint32_t)cell - 1, 1);
	STORE_RELEASE(&fresh->version, (LOAD_RELAXED(&fresh->version) + IPK_CHANGE) | IPK_LIVE);
	STORE_RELAXED(&table->buckets[bucket].pending, 0);
	return 1;
}

/* Ask for a line of memory that is written soon: another CPU may have it. */
static void
want(const void *address)
{
#if defined(__x86_64__) /* what the builtin is only with -mprfchw */
	__asm__ volatile("prefetchw %0" : : "m"(*(const char *)address));
#else
	__builtin_prefetch(address, 1);
#endif
}

/* Ask at the same time for all that a change of the bucket's first row writes; its cell is a guess
 * as long as the latch is not ours, and nothing of it is read. */
static void
want_first(const struct ipk_table *table, uint32_t bucket)
{
	const struct ipk_bucket *home = &table->buckets[bucket];
	struct ipk_cell *cell;
	uint32_t first;

	want(home);
	first = LOAD_RELAXED(&home->head);
	if (first == 0 || first > table->rows)
		return;
	cell = ipk_cell_at(table, first - 1);
	want(cell);
	want(ipk_row_at(table, cell, 0));
	want(ipk_row_at(table, cell, IPK_ROW));
}

/* Take the latch and find the row that may be changed: its cell, 0: absent, or an error without
 * the latch. */
static int64_t
enter(const struct ipk_table *table, struct ipk_party *party, uint32_t bucket,
      const struct ipk_key *key, struct ipk_obstacle *obstacle)
{
	int64_t cell;
	int code;

	want_first(table, bucket);
	code = ipk_latch_take(table, party, bucket, 0, obstacle);
	if (code)
		return code;
	cell = ipk_chain_find(table, bucket, key);
	if (cell > 0) {
		code = ipk_user_lock_check(table, party, (uint32_t)cell, obstacle);
		if (code)
			cell = code;
		else if (ipk_cell_free_if_orphan(table, bucket, (uint32_t)cell))
			cell = 0;
	}
	if (cell == 0 && party->slot->waits_for)
		ipk_table_give_up(party); /* the holder that it waited for has deleted the row */
	if (cell < 0)
		ipk_latch_release(table, party, bucket, 0);
	return cell;
}

int
ipk_table_write(const struct ipk_table *table, struct ipk_party *party,
		const struct ipk_key *key, enum ipk_write how, const uint64_t *row,
		const unsigned char *given, struct ipk_obstacle *obstacle)
{
	struct ipk_source source = {.row = row, .given = given, .keep = how == IPK_SET};
	uint32_t bucket = ipk_bucket_of(table, key);
	int64_t cell = enter(table, party, bucket, key, obstacle);
	int result = 0;

	if (cell < 0)
		return (int)cell;
	if (cell == 0)
		result = insert(table, party, bucket, key, &source, obstacle);
	else if (how != IPK_ADD)
		ipk_row_flip(table, (uint32_t)cell, &source);
	ipk_latch_release(table, party, bucket, 0);
	return result;
}

int
ipk_table_delete(const struct ipk_table *table, struct ipk_party *party,
		 const struct ipk_key *key, uint64_t *copy, struct ipk_obstacle *obstacle)
{
	uint32_t bucket = ipk_bucket_of(table, key);
	int64_t cell = enter(table, party, bucket, key, obstacle);
	struct ipk_cell *gone;
	int result = 0;

	if (cell < 0)
		return (int)cell;
	if (cell > 0) {
		gone = ipk_cell_at(table, (uint32_t)cell - 1);
		result = copy ? ipk_row_copy(table, gone, copy) : 0;
		if (result == 0) {
			STORE_RELAXED(&table->buckets[bucket].pending, (uint32_t)cell);
			STORE_RELEASE(&gone->version,
				      (LOAD_RELAXED(&gone->version) + IPK_CHANGE) &
					      ~(uint64_t)IPK_LIVE);
			ipk_cell_free(table, bucket, (uint32_t)cell);
			result = 1;
		}
	}
	ipk_latch_release(table, party, bucket, 0);
	return result;
}

static double
as_double(uint64_t bits)
{
	double value;

	memcpy(&value, &bits, sizeof(value));
	return value;
}

/* 0, or -ERANGE. */
static int
add_to(const struct ipk_column *column, uint64_t before, uint64_t by, uint64_t *after)
{
	int64_t most = INT64_MAX >> (64 - column->size * 8);
	int64_t sum;
	double total;

	if (column->type == IPK_FLOAT) {
		total = as_double(before) + as_double(by);
		memcpy(after, &total, sizeof(total));
		return 0;
	}
	if (__builtin_add_overflow((int64_t)before, (int64_t)by, &sum) || sum > most ||
	    sum < -most - 1)
		return -ERANGE;
	*after = (uint64_t)sum;
	return 0;
}

int
ipk_table_incr(const struct ipk_table *table, struct ipk_party *party, const struct ipk_key *key,
	       uint32_t column, uint64_t by, uint64_t *result, struct ipk_obstacle *obstacle)
{
	const struct ipk_column *which = &table->columns[column];
	uint32_t bucket = ipk_bucket_of(table, key);
	int64_t cell = enter(table, party, bucket, key, obstacle);
	struct ipk_source source = {.value = result, .column = column, .keep = 1};
	struct ipk_cell *row;
	uint64_t before = 0;
	int code;

	if (cell < 0)
		return (int)cell;
	if (cell > 0) {
		row = ipk_cell_at(table, (uint32_t)cell - 1);
		before = LOAD_RELAXED(ipk_row_at(table, row, LOAD_RELAXED(&row->version)) +
				      which->first);
	}
	code = add_to(which, before, by, result);
	if (code == 0 && cell > 0)
		ipk_row_flip(table, (uint32_t)cell, &source);
	else if (code == 0)
		code = insert(table, party, bucket, key, &source, obstacle);
	ipk_latch_release(table, party, bucket, 0);
	return code < 0 ? code : 0;
}

static int
same_value(const struct ipk_column *column, const uint64_t *stored, const uint64_t *expected)
{
	uint32_t words = ipk_used_words(column, expected[0]);

	if (column->type == IPK_FLOAT) {
		double a = as_double(LOAD_RELAXED(&stored[0]));
		double b = as_double(expected[0]);

		return a >= b && a <= b; /* == without the compiler's doubts; NaN is never equal */
	}
	for (uint32_t i = 0; i < words; i++)
		if (LOAD_RELAXED(&stored[i]) != expected[i])
			return 0;
	return 1;
}

int
ipk_table_compare_and_set(const struct ipk_table *table, struct ipk_party *party,
			  const struct ipk_key *key, uint32_t column, const uint64_t *expected,
			  const uint64_t *value, struct ipk_obstacle *obstacle)
{
	const struct ipk_column *which = &table->columns[column];
	uint32_t bucket = ipk_bucket_of(table, key);
	int64_t cell = enter(table, party, bucket, key, obstacle);
	struct ipk_source source = {.value = value, .column = column, .keep = 1};
	struct ipk_cell *row;
	int result = 0;

	if (cell < 0)
		return (int)cell;
	if (cell > 0) {
		row = ipk_cell_at(table, (uint32_t)cell - 1);
		result = same_value(
			which, ipk_row_at(table, row, LOAD_RELAXED(&row->version)) + which->first,
			expected);
	}
	if (result)
		ipk_row_flip(table, (uint32_t)cell, &source);
	ipk_latch_release(table, party, bucket, 0);
	return result;
}

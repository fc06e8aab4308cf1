/*
 * table_damage.h - one copy of a small table's segment, damaged by chance.
 *
 * `whole` says what lies where in it. All chance comes from damage_state.
 */
#ifndef TABLE_DAMAGE_H
#define TABLE_DAMAGE_H

#include "table_support.h"

enum {
	ROWS = 5,
	PAGE = 4096,
	PARTIES = 4, /* slots that the damage prefers */
	COLUMN_COUNT_AT = 28,
	BYTES_AT = 32,
	CHECKSUM_AT = 56,
};

static struct ipk_table whole;
static uint64_t damage_state;

static uint64_t
next_random(void)
{
	uint64_t x = (damage_state += 0x9e3779b97f4a7c15ull);

	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9ull;
	x = (x ^ x >> 27) * 0x94d049bb133111ebull;
	return x ^ x >> 31;
}

static uint32_t
below(uint64_t limit)
{
	return (uint32_t)(next_random() % limit);
}

static uint32_t
odd_number(void)
{
	static const uint32_t odd[] = {0,	   1,	       2,	   ROWS,
				       ROWS + 1,   16,	       17,	   64,
				       0x7fffffff, 0x80000000, UINT32_MAX, UINT32_MAX - 1,
				       0xffff,	   IPK_TABLE_SLOTS, IPK_TABLE_SLOTS + 1};

	switch (below(4)) {
	case 0:
		return below(ROWS + 2);
	case 1: /* an owner: any slot of the first, any generation near */
		return (1 + below(PARTIES)) | below(4) << 16 | below(4) << 30;
	case 2:
		return (uint32_t)next_random();
	default:
		return odd[below(sizeof(odd) / sizeof(odd[0]))];
	}
}

static uint64_t
offset_of(const void *inside)
{
	return (uint64_t)((const unsigned char *)inside - whole.base);
}

static void
set32(unsigned char *base, const uint32_t *where, uint32_t value)
{
	memcpy(base + offset_of(where), &value, sizeof(value));
}

static void
set64(unsigned char *base, const uint64_t *where, uint64_t value)
{
	memcpy(base + offset_of(where), &value, sizeof(value));
}

static void
damage_bucket(unsigned char *base)
{
	const struct ipk_bucket *bucket = &whole.buckets[below(whole.bucket_count)];
	const uint32_t *words[] = {&bucket->latch, &bucket->head, &bucket->pending,
				   &bucket->unlinks};

	set32(base, words[below(4)], odd_number());
}

static void
damage_cell(unsigned char *base)
{
	const struct ipk_cell *cell = ipk_cell_at(&whole, below(ROWS));
	const uint32_t *words[] = {&cell->next, &cell->owner, &cell->hash, &cell->user_lock};

	switch (below(4)) {
	case 0:
		set64(base, &cell->version, below(2) ? below(8) : next_random());
		break;
	case 1: /* lengths */
		set64(base, &cell->key_size + below(1 + whole.key_words + 2 * whole.row_words),
		      below(2) ? odd_number() : next_random());
		break;
	default:
		set32(base, words[below(4)], odd_number());
	}
}

static void
damage_slot(unsigned char *base)
{
	const struct ipk_slot *slot = &whole.slots[below(PARTIES)];
	const uint32_t *words[] = {(const uint32_t *)&slot->live, &slot->generation, &slot->tid,
				   &slot->waits_for, &slot->latches[below(IPK_SLOT_LATCHES)],
				   &slot->locks[below(IPK_SLOT_LOCKS)]};
	static const uint32_t alive[] = {1, 1 | IPK_WAITERS, 77777, IPK_MARK, IPK_WAITERS};

	if (below(3) == 0)
		set32(base, words[0], alive[below(5)]);
	else
		set32(base, words[below(6)], odd_number());
}

/* All chains at random, with cycles, through each other, out of the table. */
static void
damage_chains(unsigned char *base)
{
	for (uint32_t i = 0; i < whole.bucket_count; i++)
		set32(base, &whole.buckets[i].head, below(ROWS + 1 + below(4) / 3));
	for (uint32_t i = 0; i < ROWS; i++) {
		struct ipk_cell *cell = ipk_cell_at(&whole, i);

		set32(base, &cell->next, below(ROWS + 1 + below(4) / 3));
		if (below(2))
			set32(base, &cell->owner, below(whole.bucket_count + 2));
	}
}

static void
damage_bytes(unsigned char *base, uint64_t from, uint64_t to)
{
	for (uint32_t i = 0, most = 1 + below(64); i < most; i++) {
		unsigned char *byte = base + from + next_random() % (to - from);

		*byte = (unsigned char)(below(2) ? next_random() : *byte ^ 1u << below(8));
	}
}

/* The header's sum made right again, as whoever wants to harm would. */
static void
sum_up(unsigned char *base)
{
	uint64_t sum = 0xcbf29ce484222325ull;
	uint32_t columns;

	memcpy(&columns, base + COLUMN_COUNT_AT, sizeof(columns));
	for (uint32_t i = 0; i < CHECKSUM_AT; i++)
		sum = (sum ^ base[i]) * 0x100000001b3ull;
	for (uint64_t i = 0; i < columns * sizeof(struct ipk_column) && i < PAGE; i++)
		sum = (sum ^ base[PAGE + i]) * 0x100000001b3ull;
	memcpy(base + CHECKSUM_AT, &sum, sizeof(sum));
}

static void
damage_header(unsigned char *base)
{
	/* Rows, key size, columns' number; then types, sizes, places of the columns. */
	for (uint32_t i = 0, most = 1 + below(3); i < most; i++) {
		uint32_t value = below(2) ? below(12) : odd_number();
		uint64_t at = below(2) ? 20 + 4 * below(3)
				       : PAGE + below(3) * sizeof(struct ipk_column) + 4 * below(5);

		memcpy(base + at, &value, sizeof(value));
	}
	if (below(4))
		sum_up(base);
}

/* Damage the copy; returns the size that it is said to have. */
static uint64_t
damage(unsigned char *base, uint64_t bytes)
{
	uint32_t kind = below(16);

	if (bytes < whole.bytes)
		return bytes; /* that is the damage */
	switch (kind) {
	case 0:
		damage_bytes(base, 0, 2 * PAGE);
		break;
	case 1:
		damage_header(base);
		break;
	case 2:
		damage_bytes(base, offset_of(whole.slots), offset_of(whole.slots) + 1024);
		break;
	case 3:
		damage_bytes(base, offset_of(whole.buckets), whole.bytes);
		break;
	case 4:
	case 5:
		damage_chains(base);
		/* fall through */
	default:
		for (uint32_t i = 0, most = 1 + below(12); i < most; i++) {
			uint32_t what = below(8);

			if (what == 0)
				set64(base, whole.bitmap, next_random());
			else if (what == 1)
				damage_slot(base);
			else if (what < 5)
				damage_bucket(base);
			else
				damage_cell(base);
		}
	}
	return bytes;
}

#endif

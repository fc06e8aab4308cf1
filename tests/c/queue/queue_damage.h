/*
 * queue_damage.h - one copy of a small queue's segment, damaged by chance.
 *
 * `whole` says what lies where in it. All chance comes from damage_state.
 */
#ifndef QUEUE_DAMAGE_H
#define QUEUE_DAMAGE_H

#include "queue_support.h"

enum { PARTIES = 4 }; /* slots that the damage prefers */

static const struct ipk_queue_shape shape = {8, 6, 2, IPK_QUEUE_BYTES};
static struct ipk_queue whole;
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

static uint64_t
odd_number(void)
{
	static const uint64_t odd[] = {0, 1, 2, 7, 8, 9, 0xffff, 0x7fffffff, 0x80000000, UINT32_MAX,
				       INT64_MAX, UINT64_MAX, IPK_QUEUE_POSITIONS};

	return below(3) ? odd[below(sizeof(odd) / sizeof(odd[0]))] : next_random();
}

static void
set64(unsigned char *base, const void *where, uint64_t value)
{
	memcpy(base + ((const unsigned char *)where - (const unsigned char *)whole.head), &value,
	       sizeof(value));
}

static void
set32(unsigned char *base, const void *where, uint64_t value)
{
	uint32_t word = (uint32_t)value;

	memcpy(base + ((const unsigned char *)where - (const unsigned char *)whole.head), &word,
	       sizeof(word));
}

static void
damage_record(unsigned char *base)
{
	const struct ipk_queue_record *record = &whole.records[below(shape.messages)];

	switch (below(6)) {
	case 0:
	case 1:
		set64(base, &record->word,
		      ipk_queue_make_word(below(2) ? below(12) : odd_number(), below(4),
					  below(2) ? below(PARTIES + 1) : below(4096), below(10)));
		break;
	case 2:
		set64(base, &record->size, below(2) ? below(30000) : odd_number());
		break;
	case 3:
		set64(base, &record->reservation, below(2) ? 0 : odd_number());
		break;
	case 4:
		set32(base, below(2) ? &record->first_page : &record->extents,
		      below(2) ? below(9) : odd_number());
		break;
	default:
		set64(base, below(2) ? (const void *)&record->highest : (const void *)&record->due,
		      odd_number());
	}
}

static void
damage_ring(unsigned char *base)
{
	const uint64_t *cell = &whole.cells[below(UINT64_C(1) << whole.ring_bits)];

	switch (below(3)) {
	case 0:
		set64(base, &whole.head->tail, below(2) ? below(40) : odd_number());
		break;
	case 1:
		set64(base, &whole.head->head, below(2) ? below(40) : odd_number());
		break;
	default:
		set64(base, cell, below(2) ? (uint64_t)below(40) << 24 | below(11) : odd_number());
	}
}

static void
damage_pages(unsigned char *base)
{
	uint32_t page = below(shape.pages);

	switch (below(4)) {
	case 0:
		set64(base, &whole.page_of[page], below(2) ? 0 : odd_number());
		break;
	case 1:
		set32(base, &whole.next_page[page], below(2) ? below(9) : odd_number());
		break;
	case 2:
		set32(base, &whole.head->next_free_page, odd_number());
		break;
	default: /* an owner: any slot of the first, any generation near */
		set32(base, &whole.head->allocator, (1 + below(PARTIES)) | below(4) << 16);
	}
}

static void
damage_others(unsigned char *base)
{
	const struct ipk_queue_part *part = &whole.parts[below(PARTIES)];
	const struct ipk_slot *slot = &whole.slots[below(PARTIES)];

	switch (below(9)) {
	case 0:
		set64(base, whole.back, next_random());
		break;
	case 1:
		set64(base, below(2) ? &whole.head->marks : &whole.head->marks_seen, below(9));
		break;
	case 2:
		set32(base, &whole.head->slots_used, odd_number());
		break;
	case 3:
		set64(base, &whole.head->next_due, odd_number());
		break;
	case 4:
		set64(base, &whole.head->asleep[below(2)][below(IPK_QUEUE_MAPS)], next_random());
		break;
	case 5:
		set64(base, below(2) ? &part->frees_begun : &part->frees_completed, odd_number());
		break;
	case 6:
		set32(base, below(2) ? &part->next_record : below(2) ? &part->recovered : &part->incarnation,
		      odd_number());
		break;
	case 7:
		set32(base, &part->epoch, odd_number());
		break;
	default:
		set32(base, below(2) ? (const void *)&slot->live : (const void *)&slot->generation,
		      odd_number());
	}
}

/* The header's sum made right again, as a process that wants to harm would. */
static void
sum_up(unsigned char *base)
{
	uint64_t sum = UINT64_C(0xcbf29ce484222325);

	for (size_t i = 0; i < offsetof(struct ipk_queue_head, checksum); i++)
		sum = (sum ^ base[i]) * UINT64_C(0x100000001b3);
	memcpy(base + offsetof(struct ipk_queue_head, checksum), &sum, sizeof(sum));
}

static void
damage_head(unsigned char *base)
{
	for (uint32_t i = 0, most = 1 + below(2); i < most; i++)
		set32(base, (const unsigned char *)whole.head + 4 * below(11), odd_number());
	if (below(4))
		sum_up(base);
}

static void
damage(unsigned char *base)
{
	if (below(12) == 0)
		damage_head(base);
	for (uint32_t i = 0, most = 1 + below(12); i < most; i++)
		switch (below(4)) {
		case 0:
			damage_ring(base);
			break;
		case 1:
			damage_pages(base);
			break;
		case 2:
			damage_others(base);
			break;
		default:
			damage_record(base);
		}
}

#endif

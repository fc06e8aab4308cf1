/*
 * ledger/layout.c - the layout of a ledger: computed, written once, and viewed with distrust.
 *
 * Owns      the head.  Stands on internal.h.
 * State     none.
 *
 * Invariants
 *   L1  the layout follows from the shape alone, so two processes that agree on the head agree on
 *       all of it; a head whose bytes do not follow from its shape is refused.
 *
 * Blocks    never.  Errors  -EINVAL, -EUCLEAN.
 */
#include "ledger/internal.h"

#include <errno.h>
#include <string.h>

#define MAGIC UINT64_C(0x72656764656c6b70) /* "pkledger" */

enum {
	VERSION = 2,
	PAGE = 4096,
	MOST_ENTRIES = 1 << 19, /* of all rings */
	SHORTEST_RING = 16,
	LONGEST_RING = 1024,
};

_Static_assert(sizeof(struct ipk_ledger_record) == 512, "records are whole cache lines");
_Static_assert(sizeof(struct ipk_ledger_ring) == 2 * IPK_CACHE_LINE, "no line has two writers");

/* Where each part begins. */
struct plan {
	uint64_t word, order, dedup, spilled, rings, entries, pending, scan, done, summary, woken;
	uint64_t epochs, asleep, room_requests, block_of, gates, records, arena, bytes;
	uint32_t ring_size;
};

static int
shape_fits(const struct ipk_ledger_shape *shape)
{
	return shape->records >= 1 && shape->records <= IPK_LEDGER_MAX_RECORDS &&
	       shape->blocks < UINT32_MAX / 2 && shape->slabs < UINT32_MAX / 2 &&
	       shape->workers >= 1 && shape->task_workers >= 1 &&
	       shape->workers <= IPK_LEDGER_MAX_PLACES / 2 &&
	       shape->task_workers <= IPK_LEDGER_MAX_PLACES / 2 - shape->workers;
}

/* A part of `count` things of `size` bytes; returns where it begins. */
static uint64_t
part(uint64_t *at, uint64_t count, uint64_t size)
{
	uint64_t begins = *at;

	*at = (begins + count * size + IPK_CACHE_LINE - 1) / IPK_CACHE_LINE * IPK_CACHE_LINE;
	return begins;
}

static uint32_t
ring_size_for(uint64_t rings, uint32_t records)
{
	uint32_t size = LONGEST_RING;

	while (size > SHORTEST_RING && (size / 2 >= records || rings * size > MOST_ENTRIES))
		size /= 2;
	return size;
}

static void
plan_for(const struct ipk_ledger_shape *shape, struct plan *plan)
{
	uint64_t submitters = 2 * (uint64_t)shape->workers;
	uint64_t places = submitters + 2 * (uint64_t)shape->task_workers;
	uint64_t queues = (uint64_t)shape->task_workers + 1;
	uint64_t rings = submitters * queues;
	uint32_t bitmap = ipk_ledger_words_for(shape->records);
	uint64_t at = 0;

	plan->ring_size = ring_size_for(rings, shape->records);
	(void)part(&at, 1, sizeof(struct ipk_ledger_head));
	plan->word = part(&at, shape->records, 8);
	plan->order = part(&at, shape->records, 4);
	plan->dedup = part(&at, shape->records, 4);
	plan->spilled = part(&at, shape->records, 4);
	plan->rings = part(&at, rings, sizeof(struct ipk_ledger_ring));
	plan->entries = part(&at, rings * plan->ring_size, 8);
	plan->pending = part(&at, queues * ipk_ledger_words_for((uint32_t)submitters), 8);
	plan->scan = part(&at, queues, 4);
	plan->done = part(&at, submitters * bitmap, 8);
	plan->summary = part(&at, submitters * ipk_ledger_words_for(bitmap), 8);
	plan->woken = part(&at, submitters * ipk_ledger_words_for((uint32_t)places + 1), 8);
	plan->epochs = part(&at, places, IPK_CACHE_LINE);
	plan->asleep = part(&at, ipk_ledger_words_for((uint32_t)places), 8);
	plan->room_requests = part(&at, ipk_ledger_words_for((uint32_t)places), 8);
	plan->block_of = part(&at, (uint64_t)shape->blocks + shape->slabs, 8);
	plan->gates = part(&at, IPK_LEDGER_GATES, 8);
	plan->records = part(&at, shape->records, sizeof(struct ipk_ledger_record));
	plan->arena = part(&at, shape->blocks, IPK_LEDGER_BLOCK);
	(void)part(&at, shape->slabs, IPK_LEDGER_SLAB); /* right behind: both are whole lines */
	plan->bytes = (at + PAGE - 1) / PAGE * PAGE;
}

int64_t
ipk_ledger_bytes(const struct ipk_ledger_shape *shape)
{
	struct plan plan;

	if (!shape_fits(shape))
		return -EINVAL;
	plan_for(shape, &plan);
	return (int64_t)plan.bytes;
}

int
ipk_ledger_format(void *base, uint64_t bytes, const struct ipk_ledger_shape *shape)
{
	struct ipk_ledger_head *head = base;

	if (!shape_fits(shape) || (uint64_t)ipk_ledger_bytes(shape) != bytes)
		return -EINVAL;
	head->version = VERSION;
	head->shape = *shape;
	head->bytes = bytes;
	head->next_due = INT64_MAX;
	STORE_SEQ_CST(&head->magic, MAGIC);
	return 0;
}

int
ipk_ledger_attach(struct ipk_ledger *ledger, void *base, uint64_t bytes)
{
	struct ipk_ledger_head *head = base;
	unsigned char *at = base;
	struct ipk_ledger_shape shape;
	struct plan plan;

	if (bytes < sizeof(*head) || LOAD_SEQ_CST(&head->magic) != MAGIC ||
	    head->version != VERSION || head->bytes != bytes)
		return -EUCLEAN;
	shape = head->shape;
	if (!shape_fits(&shape))
		return -EUCLEAN;
	plan_for(&shape, &plan);
	if (plan.bytes != bytes) /* L1 */
		return -EUCLEAN;
	memset(ledger, 0, sizeof(*ledger));
	ledger->head = head;
	ledger->shape = shape;
	ledger->ring_size = plan.ring_size;
	ledger->places = 2 * (shape.workers + shape.task_workers);
	ledger->word = (uint64_t *)(void *)(at + plan.word);
	ledger->order = (uint32_t *)(void *)(at + plan.order);
	ledger->dedup = (uint32_t *)(void *)(at + plan.dedup);
	ledger->spilled = (uint32_t *)(void *)(at + plan.spilled);
	ledger->rings = (struct ipk_ledger_ring *)(void *)(at + plan.rings);
	ledger->entries = (uint64_t *)(void *)(at + plan.entries);
	ledger->pending = (uint64_t *)(void *)(at + plan.pending);
	ledger->scan = (uint32_t *)(void *)(at + plan.scan);
	ledger->done = (uint64_t *)(void *)(at + plan.done);
	ledger->summary = (uint64_t *)(void *)(at + plan.summary);
	ledger->woken = (uint64_t *)(void *)(at + plan.woken);
	ledger->epoch = (uint32_t *)(void *)(at + plan.epochs);
	ledger->asleep = (uint64_t *)(void *)(at + plan.asleep);
	ledger->room_requests = (uint64_t *)(void *)(at + plan.room_requests);
	ledger->block_of = (uint64_t *)(void *)(at + plan.block_of);
	ledger->gates = (uint64_t *)(void *)(at + plan.gates);
	ledger->record = (struct ipk_ledger_record *)(void *)(at + plan.records);
	ledger->arena = at + plan.arena;
	ledger->place = ledger->places;
	return 0;
}

void
ipk_ledger_set_place(struct ipk_ledger *ledger, uint32_t place, const int *wakeups, uint32_t *woken_in,
	      uint32_t *recent)
{
	ledger->place = place;
	ledger->wakeups = wakeups;
	ledger->woken_in = woken_in;
	ledger->recent = recent;
	ledger->recent_count = 0;
	/* Processes begin to scan in different places. */
	ledger->next_record = (uint32_t)((uint64_t)ledger->shape.records * place / (ledger->places + 1));
	ledger->next_block = (uint32_t)((uint64_t)ledger->shape.blocks * place / (ledger->places + 1));
}

void
ipk_ledger_shape_of(const struct ipk_ledger *ledger, struct ipk_ledger_shape *shape)
{
	*shape = ledger->shape;
}

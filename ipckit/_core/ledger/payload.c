/*
 * ledger/payload.c - bodies: the short ones in the record, others in blocks, long ones in a slab.
 *
 * Owns      block_of, the arena.  Stands on internal.h.
 * State     ledger->next_block, where this process looks first.
 *
 * Invariants
 *   A1  a record lists a block, or slab, before it takes it; so one that was taken is listed, and
 *       one whose record does not list it (any more) can be freed.
 *   A2  a block is taken and freed by one compare-and-set of its whole owner, a task id (used once)
 *       and a record: freeing it twice cannot hit a later owner.
 *   A3  Only the process that has the record frees a block of its task, as it may take that block
 *       again. Once the record has another task, any process may free what the old task left.
 *   A4  what is written into a body is seen after the word, and the block's owner, that allow it.
 *
 * Blocks    never.  Errors  -ENOSPC.
 */
#include "ledger/internal.h"

#include <errno.h>
#include <string.h>

/* A2. */
static uint64_t
owner_of_block(const struct ipk_ledger *ledger, uint32_t record)
{
	return ledger->record[record].id << 24 | record;
}

static unsigned char *
memory_of(const struct ipk_ledger *ledger, uint32_t number)
{
	uint32_t blocks = ledger->shape.blocks;

	if (number < blocks)
		return ledger->arena + (uint64_t)number * IPK_LEDGER_BLOCK;
	return ledger->arena + (uint64_t)blocks * IPK_LEDGER_BLOCK +
	       (uint64_t)(number - blocks) * IPK_LEDGER_SLAB;
}

/* Take a free one of the `count` from `first` on for body->block[slot], those behind `from` tried
 * before the others. 0, -ENOSPC. */
static int
take(struct ipk_ledger *ledger, uint64_t owner, struct ipk_ledger_body *body, uint32_t slot,
     uint32_t first, uint32_t count, uint32_t from)
{
	for (uint32_t step = 0; step < count; step++) {
		uint32_t number = first + (uint32_t)(((uint64_t)from + step) % count);
		uint64_t nobody = 0;

		if (LOAD_SEQ_CST(&ledger->block_of[number]))
			continue;
		STORE_SEQ_CST(&body->block[slot], number + 1); /* A1 */
		if (COMPARE_EXCHANGE(&ledger->block_of[number], &nobody, owner))
			return 0;
	}
	STORE_RELEASE(&body->block[slot], 0);
	return -ENOSPC;
}

void
ipk_ledger_empty(const struct ipk_ledger *ledger, uint32_t record, struct ipk_ledger_body *body)
{
	for (uint32_t slot = 0; slot < IPK_LEDGER_BLOCKS; slot++) {
		uint64_t owner = owner_of_block(ledger, record);
		uint32_t listed = body->block[slot];

		if (listed == 0)
			continue;
		if (listed <= ipk_ledger_units(ledger))
			(void)COMPARE_EXCHANGE(&ledger->block_of[listed - 1], &owner, 0);
		STORE_RELEASE(&body->block[slot], 0);
	}
	STORE_RELEASE(&body->size, 0);
}

/* In blocks. */
static int
fill_blocks(struct ipk_ledger *ledger, uint32_t record, struct ipk_ledger_body *body,
	    const unsigned char *from, uint64_t size)
{
	uint64_t owner = owner_of_block(ledger, record);
	uint32_t slot = 0;

	for (uint64_t begins = 0; begins < size; begins += IPK_LEDGER_BLOCK, slot++) {
		uint64_t part = size - begins < IPK_LEDGER_BLOCK ? size - begins : IPK_LEDGER_BLOCK;

		if (take(ledger, owner, body, slot, 0, ledger->shape.blocks, ledger->next_block)) {
			ipk_ledger_empty(ledger, record, body);
			return -ENOSPC;
		}
		ledger->next_block = body->block[slot];
		FENCE(__ATOMIC_RELEASE); /* A4 */
		memcpy(memory_of(ledger, body->block[slot] - 1), from + begins, part);
	}
	return 0;
}

int
ipk_ledger_fill(struct ipk_ledger *ledger, uint32_t record, struct ipk_ledger_body *body,
		const void *bytes, uint64_t size)
{
	const struct ipk_ledger_shape *shape = &ledger->shape;

	FENCE(__ATOMIC_RELEASE); /* A4 */
	if (size <= IPK_LEDGER_INLINE) {
		memcpy(body->bytes, bytes, size);
	} else if (size <= IPK_LEDGER_INSIDE) {
		if (fill_blocks(ledger, record, body, bytes, size))
			return -ENOSPC;
	} else {
		/* The first that is free, not the next: its pages are there and in the caches. */
		if (size > IPK_LEDGER_SLAB || take(ledger, owner_of_block(ledger, record), body, 0,
						   shape->blocks, shape->slabs, 0))
			return -ENOSPC;
		FENCE(__ATOMIC_RELEASE); /* A4 */
		memcpy(memory_of(ledger, body->block[0] - 1), bytes, size);
	}
	STORE_RELEASE(&body->size, size);
	return 0;
}

int
ipk_ledger_fits(const struct ipk_ledger *ledger, uint64_t size)
{
	int inside = size <= IPK_LEDGER_INSIDE;
	uint32_t number = inside ? 0 : ledger->shape.blocks;
	uint32_t end = inside ? ledger->shape.blocks : ipk_ledger_units(ledger);
	uint64_t wanted = inside ? (size + IPK_LEDGER_BLOCK - 1) / IPK_LEDGER_BLOCK : 1;

	if (size <= IPK_LEDGER_INLINE)
		return 1;
	if (size > IPK_LEDGER_SLAB)
		return 0;
	for (; number < end; number++)
		if (!LOAD_SEQ_CST(&ledger->block_of[number]) && --wanted == 0)
			return 1;
	return 0;
}

uint64_t
ipk_ledger_body_bytes(const struct ipk_ledger *ledger, const struct ipk_ledger_body *body,
		      void *bytes, uint64_t room)
{
	unsigned char *to = bytes;
	uint64_t size = LOAD_ACQUIRE(&body->size);
	uint64_t unit = size > IPK_LEDGER_INSIDE ? IPK_LEDGER_SLAB : IPK_LEDGER_BLOCK;
	uint32_t most = unit == IPK_LEDGER_BLOCK ? ledger->shape.blocks : ipk_ledger_units(ledger);
	uint32_t least = unit == IPK_LEDGER_BLOCK ? 0 : ledger->shape.blocks;

	if (size > room || size > IPK_LEDGER_SLAB)
		return size;
	if (size <= IPK_LEDGER_INLINE) {
		memcpy(to, body->bytes, size);
		return size;
	}
	for (uint64_t begins = 0; begins < size; begins += unit) {
		uint64_t part = size - begins < unit ? size - begins : unit;
		uint32_t listed = LOAD_ACQUIRE(&body->block[begins / unit]);

		if (listed <= least || listed > most)
			return UINT64_MAX;
		memcpy(to + begins, memory_of(ledger, listed - 1), part);
	}
	return size;
}

void
ipk_ledger_reclaim(const struct ipk_ledger *ledger)
{
	for (uint32_t number = 0; number < ipk_ledger_units(ledger); number++) {
		uint64_t owner = LOAD_SEQ_CST(&ledger->block_of[number]);
		uint32_t index = (uint32_t)(owner & 0xFFFFFF);

		if (owner == 0)
			continue;
		if (index < ledger->shape.records &&
		    ipk_ledger_state_of(LOAD_SEQ_CST(&ledger->word[index])) != IPK_LEDGER_FREE &&
		    LOAD_SEQ_CST(&ledger->record[index].id) == owner >> 24)
			continue; /* A1, A3 */
		(void)COMPARE_EXCHANGE(&ledger->block_of[number], &owner, 0);
	}
}

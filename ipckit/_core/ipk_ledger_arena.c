/*
 * ipk_ledger_arena.c - bodies: in the record as long as they are short, else in blocks.
 *
 * Owns      block_of, the arena.  Stands on ipk_ledger_inside.h.
 * State     ledger->next_block, where this process looks first.
 *
 * Invariants
 *   A1  a record lists a block before it takes it; so a block that was taken is listed, and one
 *       whose record does not list it (any more) can be freed.
 *   A2  a block is taken and freed by one compare-and-set of its whole owner, a task id (used once)
 *       and a record: freeing it twice cannot hit a later owner.
 *
 * Blocks    never.  Errors  -ENOSPC.
 */
#include "ipk_ledger_inside.h"

#include <errno.h>
#include <string.h>

/* A2. */
static uint64_t
owner_of_block(const struct ipk_ledger *ledger, uint32_t record)
{
	return ledger->record[record].id << 24 | record;
}

/* Take a block for body->block[slot]. 0, -ENOSPC. */
static int
take_block(struct ipk_ledger *ledger, uint64_t owner, struct ipk_ledger_body *body, uint32_t slot)
{
	uint32_t count = ledger->shape.blocks;

	for (uint32_t step = 0; step < count; step++) {
		uint32_t number = (uint32_t)(((uint64_t)ledger->next_block + step) % count);
		uint64_t nobody = 0;

		if (IPK_LOAD_NOW(&ledger->block_of[number]))
			continue;
		IPK_STORE_NOW(&body->block[slot], number + 1); /* A1 */
		if (IPK_REPLACE(&ledger->block_of[number], &nobody, owner)) {
			ledger->next_block = number + 1;
			return 0;
		}
	}
	IPK_STORE(&body->block[slot], 0);
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
		if (listed <= ledger->shape.blocks)
			(void)IPK_REPLACE(&ledger->block_of[listed - 1], &owner, 0);
		IPK_STORE(&body->block[slot], 0);
	}
	body->size = 0;
}

int
ipk_ledger_fill(struct ipk_ledger *ledger, uint32_t record, struct ipk_ledger_body *body,
		const void *bytes, uint64_t size)
{
	const unsigned char *from = bytes;
	uint32_t blocks = (uint32_t)((size + IPK_LEDGER_BLOCK - 1) / IPK_LEDGER_BLOCK);

	if (size <= IPK_LEDGER_INLINE) {
		memcpy(body->bytes, from, size);
		body->size = size;
		return 0;
	}
	for (uint32_t slot = 0; slot < blocks; slot++) {
		uint64_t begins = (uint64_t)slot * IPK_LEDGER_BLOCK;
		uint64_t part = size - begins < IPK_LEDGER_BLOCK ? size - begins : IPK_LEDGER_BLOCK;

		if (take_block(ledger, owner_of_block(ledger, record), body, slot)) {
			ipk_ledger_empty(ledger, record, body);
			return -ENOSPC;
		}
		memcpy(ledger->arena + (uint64_t)(body->block[slot] - 1) * IPK_LEDGER_BLOCK,
		       from + begins, part);
	}
	body->size = size;
	return 0;
}

uint64_t
ipk_ledger_body_bytes(const struct ipk_ledger *ledger, const struct ipk_ledger_body *body,
		      void *bytes, uint64_t room)
{
	unsigned char *to = bytes;
	uint64_t size = body->size;

	if (size > room || size > IPK_LEDGER_INSIDE)
		return size;
	if (size <= IPK_LEDGER_INLINE) {
		memcpy(to, body->bytes, size);
		return size;
	}
	for (uint64_t begins = 0; begins < size; begins += IPK_LEDGER_BLOCK) {
		uint64_t part = size - begins < IPK_LEDGER_BLOCK ? size - begins : IPK_LEDGER_BLOCK;
		uint32_t listed = body->block[begins / IPK_LEDGER_BLOCK];

		if (listed == 0 || listed > ledger->shape.blocks)
			return UINT64_MAX;
		memcpy(to + begins, ledger->arena + (uint64_t)(listed - 1) * IPK_LEDGER_BLOCK, part);
	}
	return size;
}

static int
lists(const struct ipk_ledger_body *body, uint32_t number)
{
	for (uint32_t slot = 0; slot < IPK_LEDGER_BLOCKS; slot++)
		if (IPK_LOAD_NOW(&body->block[slot]) == number + 1)
			return 1;
	return 0;
}

void
ipk_ledger_reclaim(const struct ipk_ledger *ledger)
{
	for (uint32_t number = 0; number < ledger->shape.blocks; number++) {
		uint64_t owner = IPK_LOAD_NOW(&ledger->block_of[number]);
		uint32_t index = (uint32_t)(owner & 0xFFFFFF);
		const struct ipk_ledger_record *record;

		if (owner == 0)
			continue;
		record = &ledger->record[index < ledger->shape.records ? index : 0];
		if (index < ledger->shape.records && record->id == owner >> 24 &&
		    (lists(&record->body, number) || lists(&record->result, number)))
			continue; /* A1: who lists it will free it */
		(void)IPK_REPLACE(&ledger->block_of[number], &owner, 0);
	}
}

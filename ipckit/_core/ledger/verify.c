/*
 * ledger/verify.c - counting what is in a ledger, and the rules it must obey at rest.
 *
 * Owns      nothing; it only reads.
 * State     none.
 *
 * Invariants
 *   V1  what others may be at work on is copied between two loads of its word, and is of use if
 *       both give the same. Without a change of its word a record changes while it is WRITING, or
 *       CLEARING, or its result while it is RUNNING: these are not copied.
 *
 * Blocks    never.  Errors  -EAGAIN, -EUCLEAN.
 */
#include "ledger/internal.h"

#include <errno.h>

enum { PATIENCE = 8 };

int
ipk_ledger_snapshot(const struct ipk_ledger *ledger, uint32_t index,
		    struct ipk_ledger_snapshot *copy, void *bytes, uint64_t room)
{
	const struct ipk_ledger_record *record = &ledger->record[index];

	for (int look = 0; look < PATIENCE; look++) {
		uint64_t word = LOAD_SEQ_CST(&ledger->word[index]);
		uint32_t state = ipk_ledger_state_of(word);
		int in_flux = state == IPK_LEDGER_WRITING || state == IPK_LEDGER_CLEARING ||
			      state == IPK_LEDGER_FREE;
		uint64_t found = 0;

		copy->word = word;
		copy->id = LOAD_ACQUIRE(&record->id);
		copy->size = LOAD_ACQUIRE(&record->body.size);
		copy->due = LOAD_ACQUIRE(&record->due);
		copy->created = LOAD_ACQUIRE(&record->created);
		copy->began = LOAD_ACQUIRE(&record->began);
		copy->flags = LOAD_ACQUIRE(&record->flags);
		copy->dst = LOAD_ACQUIRE(&record->dst);
		copy->submitter = LOAD_ACQUIRE(&record->submitter);
		copy->source = LOAD_ACQUIRE(&record->source);
		copy->has_body = !in_flux && !(copy->flags & IPK_LEDGER_BODY_SPILLED);
		if (copy->has_body)
			found = ipk_ledger_body_bytes(ledger, &record->body, bytes, room);
		FENCE(__ATOMIC_ACQUIRE); /* the bytes before the word */
		if (LOAD_SEQ_CST(&ledger->word[index]) != word)
			continue;
		if (!copy->has_body || (found == copy->size && found <= room))
			return 0;
		return found == copy->size && found <= IPK_LEDGER_SLAB ? -ENOSPC : -EUCLEAN;
	}
	return -EAGAIN;
}

/* One record, as it was at one moment: its word, and what it counts for. */
static uint64_t
read_record(const struct ipk_ledger *ledger, uint32_t index, uint64_t *tally, int64_t *created)
{
	const struct ipk_ledger_record *record = &ledger->record[index];
	uint64_t word = LOAD_SEQ_CST(&ledger->word[index]);

	for (int look = 0; look < PATIENCE; look++) {
		uint64_t again;
		uint32_t flags = LOAD_ACQUIRE(&record->flags);
		uint32_t state = ipk_ledger_state_of(word);

		*created = LOAD_ACQUIRE(&record->created);
		if (state == IPK_LEDGER_FREE || state == IPK_LEDGER_WRITING)
			*tally = LOAD_ACQUIRE(&record->tally);
		else
			*tally = LOAD_ACQUIRE(&record->tally_before);
		if (state == IPK_LEDGER_BURIED)
			*tally += 1;
		else if (state >= IPK_LEDGER_DONE && (flags & IPK_LEDGER_ENDED))
			*tally += flags & IPK_LEDGER_LOST ? 1 : UINT64_C(1) << 32;
		again = LOAD_SEQ_CST(&ledger->word[index]);
		if (again == word)
			break;
		word = again;
	}
	return word;
}

void
ipk_ledger_count(const struct ipk_ledger *ledger, struct ipk_ledger_counts *counts)
{
	*counts = (struct ipk_ledger_counts){0};
	for (uint32_t index = 0; index < ledger->shape.records; index++) {
		uint64_t tally;
		int64_t created;
		uint32_t state = ipk_ledger_state_of(read_record(ledger, index, &tally, &created));

		if (state >= IPK_LEDGER_STATES)
			continue;
		counts->in[state]++;
		counts->well += tally >> 32;
		counts->buried += tally & UINT32_MAX;
		if (state < IPK_LEDGER_BLOCKED || state > IPK_LEDGER_RUNNING)
			continue;
		counts->waiting += state != IPK_LEDGER_RUNNING;
		if (!counts->oldest || created < counts->oldest)
			counts->oldest = created;
	}
}

static const char *
verify_body(const struct ipk_ledger *ledger, uint32_t index, const struct ipk_ledger_body *body)
{
	uint64_t owner = ledger->record[index].id << 24 | index;

	for (uint32_t slot = 0; slot < IPK_LEDGER_BLOCKS; slot++) {
		uint32_t listed = body->block[slot];

		if (listed > ipk_ledger_units(ledger))
			return "a record lists a block that there is not";
		if (listed && ledger->block_of[listed - 1] != owner)
			return "a record lists a block that is not its own";
	}
	return NULL;
}

static const char *
verify_record(const struct ipk_ledger *ledger, uint32_t index)
{
	const struct ipk_ledger_record *record = &ledger->record[index];
	uint64_t word = ledger->word[index];
	uint32_t state = ipk_ledger_state_of(word);
	uint32_t owner = ipk_ledger_owner_of(word);
	int owned = state == IPK_LEDGER_WRITING || state == IPK_LEDGER_RUNNING ||
		    state == IPK_LEDGER_DELIVERING || state == IPK_LEDGER_CLEARING;
	const char *wrong;

	if (state >= IPK_LEDGER_STATES)
		return "a word is in no state that there is";
	if (owned ? owner < 1 || owner > ledger->places + 1 : owner != 0)
		return "a word's owner does not fit its state";
	if (ipk_ledger_turn_of(word) > ledger->head->turns)
		return "a word has a turn that was not given yet";
	if (state == IPK_LEDGER_FREE) {
		if (ledger->order[index] || ledger->dedup[index] || ledger->spilled[index])
			return "a free record has a key, or a spilled body";
		for (uint32_t slot = 0; slot < IPK_LEDGER_BLOCKS; slot++)
			if (record->body.block[slot] || record->result.block[slot])
				return "a free record lists a block";
		return NULL;
	}
	wrong = verify_body(ledger, index, &record->body);
	if (!wrong && (record->flags & IPK_LEDGER_HAS_RESULT)) /* else a dead attempt's, half made */
		wrong = verify_body(ledger, index, &record->result);
	if (wrong)
		return wrong;
	if ((state == IPK_LEDGER_QUEUED || state == IPK_LEDGER_RUNNING) && record->gate &&
	    ledger->gates[record->gate - 1] != ipk_ledger_pass_of(ledger, index).token)
		return "a task with an ordering key waits or runs, and its gate holds another";
	if (record->submitter > ipk_ledger_submitters(ledger))
		return "a record's submitter is no worker";
	return NULL;
}

const char *
ipk_ledger_verify(const struct ipk_ledger *ledger)
{
	for (uint32_t index = 0; index < ledger->shape.records; index++) {
		const char *wrong = verify_record(ledger, index);

		if (wrong)
			return wrong;
	}
	for (uint32_t number = 0; number < ipk_ledger_units(ledger); number++) {
		uint64_t owner = ledger->block_of[number];
		uint32_t index = (uint32_t)(owner & 0xFFFFFF);

		if (!owner)
			continue;
		if (index >= ledger->shape.records || ledger->record[index].id != owner >> 24)
			return "a block's owner is no task that there is";
		if (ipk_ledger_state_of(ledger->word[index]) == IPK_LEDGER_FREE)
			return "a free record owns a block";
	}
	return NULL;
}

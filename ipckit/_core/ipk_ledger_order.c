/*
 * ipk_ledger_order.c - ordering keys: of the tasks with one key, one at a time, in their order.
 *
 * A key is hashed to a gate. A gate lets one task through: it holds that task's id and record from
 * before the task is QUEUED until its last attempt is over, retries and their delays included.
 *
 * Owns      gates.  Stands on ipk_ledger_bell.
 * State     none.
 *
 * Invariants
 *   O1  a task with a key is QUEUED only while its gate holds it.
 *   O2  who makes a gate free, or a task BLOCKED, looks at the gate after it. Whoever finds it
 *       free chooses the BLOCKED task with the lowest id; whoever finds it taken by a task that is
 *       still BLOCKED queues that one. So no task is forgotten, whoever is killed where.
 *   O3  task ids are never used twice, so a gate is never given up for a later task by mistake.
 *
 * Blocks    never.
 */
#include "ipk_ledger_inside.h"

static uint64_t
token_of(const struct ipk_ledger *ledger, uint32_t record)
{
	return ledger->record[record].id << 24 | record;
}

/* The token of the BLOCKED task with the lowest id; 0: there is none. */
static uint64_t
first_blocked(const struct ipk_ledger *ledger, uint64_t gate)
{
	uint64_t first = 0;

	for (uint32_t record = 0; record < ledger->shape.records; record++) {
		uint64_t token;

		if (IPK_LOAD(&ledger->order[record]) != gate)
			continue;
		if (ipk_ledger_state_of(IPK_LOAD_NOW(&ledger->word[record])) != IPK_LEDGER_BLOCKED)
			continue;
		token = token_of(ledger, record);
		if (!first || token < first)
			first = token;
	}
	return first;
}

/* What the gate's holder is at: its hold, with its word; 1, or 0: it is over, or never was. */
static int
is_under_way(const struct ipk_ledger *ledger, uint64_t token, struct ipk_ledger_hold *hold)
{
	uint64_t id;

	hold->record = (uint32_t)(token & 0xFFFFFF);
	if (hold->record >= ledger->shape.records)
		return 0;
	do { /* word and id of one moment */
		hold->word = IPK_LOAD_NOW(&ledger->word[hold->record]);
		id = IPK_LOAD_NOW(&ledger->record[hold->record].id);
	} while (IPK_LOAD_NOW(&ledger->word[hold->record]) != hold->word);
	switch (ipk_ledger_state_of(hold->word)) {
	case IPK_LEDGER_BLOCKED:
	case IPK_LEDGER_DELAYED:
	case IPK_LEDGER_QUEUED:
	case IPK_LEDGER_RUNNING:
		return id == token >> 24;
	default:
		return 0;
	}
}

void
ipk_ledger_advance(struct ipk_ledger *ledger, uint64_t gate)
{
	uint64_t *place = &ledger->gates[gate - 1];

	for (;;) {
		uint64_t through = IPK_LOAD_NOW(place);
		struct ipk_ledger_hold hold;
		uint64_t token;

		if (through && is_under_way(ledger, through, &hold)) {
			if (ipk_ledger_state_of(hold.word) == IPK_LEDGER_BLOCKED)
				(void)ipk_ledger_queue(ledger, &hold,
						       ipk_ledger_turn_of(hold.word));
			return;
		}
		if (through) { /* chosen by somebody slow, when it was over already */
			(void)IPK_REPLACE(place, &through, 0);
			continue;
		}
		token = first_blocked(ledger, gate);
		if (!token)
			return;
		(void)IPK_REPLACE(place, &through, token); /* then once more: is it still so? */
	}
}

void
ipk_ledger_leave_gate(struct ipk_ledger *ledger, uint32_t record)
{
	uint64_t gate = ledger->record[record].gate;
	uint64_t token = token_of(ledger, record);

	if (gate == 0 || gate > IPK_LEDGER_GATES)
		return;
	if (IPK_REPLACE(&ledger->gates[gate - 1], &token, 0))
		ipk_ledger_advance(ledger, gate);
}

/*
 * ledger/ordering.c - ordering keys: of the tasks with one key, one at a time, in their order.
 *
 * A key is hashed to a gate. A gate lets one task through: it holds that task's token, a turn and
 * its record, from before the task is QUEUED until its last attempt is over, retries and their
 * delays included. Then it holds LEFT and the same turn, and is free.
 *
 * Owns      gates.  Stands on ipk_ledger_bell.
 * State     none.
 *
 * Invariants
 *   O1  a task with a key is QUEUED only while its gate holds it.
 *   O2  A process that frees a gate, or makes a task BLOCKED, checks the gate after it. If the gate
 *       is free, it chooses the BLOCKED task with the lowest id. If the gate holds a task that is
 *       still BLOCKED, it queues that one. So no kill, at any instruction, loses a task.
 *   O3  A gate never holds a value twice: a turn is given once, a task that comes back to its gate
 *       has a new turn, and a free gate keeps the turn of the last task. So a late choice, or a
 *       second release, changes nothing.
 *   O4  a record is read by the owner of its word, or by others between two loads of that word
 *       that give the same. What is needed after a step that gives the word away is read before.
 *
 * Blocks    never.
 */
#include "ledger/internal.h"

enum { LEFT = 0xFFFFFF }; /* for a record; a ledger with so many has none with such a turn */

static uint64_t
token_of(const struct ipk_ledger *ledger, uint32_t record)
{
	uint64_t turn = LOAD_ACQUIRE(&ledger->record[record].gate_turn);

	return (turn ? turn : LOAD_ACQUIRE(&ledger->record[record].id)) << 24 | record;
}

struct ipk_ledger_pass
ipk_ledger_pass_of(const struct ipk_ledger *ledger, uint32_t record)
{
	uint64_t gate = LOAD_ACQUIRE(&ledger->record[record].gate);

	if (gate == 0 || gate > IPK_LEDGER_GATES)
		return (struct ipk_ledger_pass){0, 0};
	return (struct ipk_ledger_pass){gate, token_of(ledger, record)};
}

/* The token of the BLOCKED task with the lowest id; 0: there is none. */
static uint64_t
first_blocked(const struct ipk_ledger *ledger, uint64_t gate)
{
	uint64_t first = 0;
	uint64_t lowest = 0;

	for (uint32_t record = 0; record < ledger->shape.records; record++) {
		uint64_t word;
		uint64_t token = 0;
		uint64_t id;

		if (LOAD_ACQUIRE(&ledger->order[record]) != gate)
			continue;
		do { /* O4 */
			word = LOAD_SEQ_CST(&ledger->word[record]);
			id = 0;
			if (ipk_ledger_state_of(word) != IPK_LEDGER_BLOCKED ||
			    LOAD_ACQUIRE(&ledger->record[record].gate) != gate)
				continue;
			id = LOAD_ACQUIRE(&ledger->record[record].id);
			token = token_of(ledger, record);
		} while (LOAD_SEQ_CST(&ledger->word[record]) != word);
		if (id && (!first || id < lowest)) {
			first = token;
			lowest = id;
		}
	}
	return first;
}

/* What the gate's holder is at: its lease, with its word; 1, or 0: it is over, or never was. */
static int
is_under_way(const struct ipk_ledger *ledger, uint64_t token, struct ipk_ledger_lease *lease)
{
	uint64_t its;

	lease->record = (uint32_t)(token & 0xFFFFFF);
	if (lease->record >= ledger->shape.records)
		return 0;
	do { /* O4 */
		lease->word = LOAD_SEQ_CST(&ledger->word[lease->record]);
		its = token_of(ledger, lease->record);
	} while (LOAD_SEQ_CST(&ledger->word[lease->record]) != lease->word);
	switch (ipk_ledger_state_of(lease->word)) {
	case IPK_LEDGER_BLOCKED:
	case IPK_LEDGER_DELAYED:
	case IPK_LEDGER_QUEUED:
	case IPK_LEDGER_RUNNING:
		return its == token;
	default:
		return 0;
	}
}

void
ipk_ledger_advance(struct ipk_ledger *ledger, uint64_t gate)
{
	uint64_t *place = &ledger->gates[gate - 1];

	for (;;) {
		uint64_t through = LOAD_SEQ_CST(place);
		struct ipk_ledger_lease lease;
		uint64_t token;

		if (is_under_way(ledger, through, &lease)) {
			if (ipk_ledger_state_of(lease.word) == IPK_LEDGER_BLOCKED)
				(void)ipk_ledger_queue(ledger, &lease,
						       ipk_ledger_turn_of(lease.word));
			return;
		}
		token = first_blocked(ledger, gate);
		if (!token)
			return;
		(void)COMPARE_EXCHANGE(place, &through, token); /* then once more: is it still so? */
	}
}

void
ipk_ledger_release_gate(struct ipk_ledger *ledger, struct ipk_ledger_pass pass)
{
	uint64_t seen = pass.token;

	if (pass.gate == 0)
		return;
	if (COMPARE_EXCHANGE(&ledger->gates[pass.gate - 1], &seen, pass.token | LEFT) ||
	    seen != (pass.token | LEFT)) /* the process that let another task through may have died */
		ipk_ledger_advance(ledger, pass.gate);
}

/*
 * ledger/recovery.c - the manager: what the dead held, what is due, whose tasks are whose.
 *
 * Owns      nothing of its own.  Stands on all other files of the ledger.
 * State     none.
 *
 * Invariants
 *   W1  a sweep may be cut short and done again, and two of them do no more than one.
 *   W2  A sweep comes after the dead process was reaped, so no step of it can follow. It comes
 *       before the place is used again, so nothing of a successor is taken for the dead one's.
 *   W3  After it each task that waits is announced again: the entries and wake-ups that the dead
 *       process owed are given.
 *
 * Blocks    never.  Costs one scan at every word (a few us for 4,096) and at every block.
 */
#include "ledger/internal.h"

#include <errno.h>
#include <string.h>

static void
tell_again(struct ipk_ledger *ledger, uint32_t index)
{
	const struct ipk_ledger_record *record = &ledger->record[index];
	struct ipk_ledger_pass pass;
	uint64_t word;
	int64_t due;
	int32_t dst;

	do { /* others are at work: all of one moment (O4) */
		word = LOAD_SEQ_CST(&ledger->word[index]);
		pass = ipk_ledger_pass_of(ledger, index);
		due = LOAD_ACQUIRE(&record->due);
		dst = LOAD_ACQUIRE(&record->dst);
	} while (LOAD_SEQ_CST(&ledger->word[index]) != word);
	switch (ipk_ledger_state_of(word)) {
	case IPK_LEDGER_BLOCKED:
		if (pass.gate)
			ipk_ledger_advance(ledger, pass.gate);
		break;
	case IPK_LEDGER_DELAYED:
		ipk_ledger_tell_due(ledger, due);
		break;
	case IPK_LEDGER_QUEUED:
		STORE_SEQ_CST(&ledger->scan[ipk_ledger_queue_of(ledger, dst)], 1);
		break;
	case IPK_LEDGER_DONE:
		ipk_ledger_release_gate(ledger, pass);
		ipk_ledger_wake_submitter(ledger, index);
		break;
	case IPK_LEDGER_BURIED:
	case IPK_LEDGER_DELIVERING:
	case IPK_LEDGER_CLEARING:
		ipk_ledger_release_gate(ledger, pass);
		break;
	default:
		break;
	}
}

/* W1: each step is from a word with the dead owner to one without. */
static void
take_over(struct ipk_ledger *ledger, uint32_t index)
{
	struct ipk_ledger_lease lease = {index, LOAD_SEQ_CST(&ledger->word[index])};
	struct ipk_ledger_record *record = &ledger->record[index];
	uint32_t manager = ledger->places + 1;

	switch (ipk_ledger_state_of(lease.word)) {
	case IPK_LEDGER_WRITING: /* task() never returned: it counts for nothing, however far it
				  * came; the record may yet have the flags and id of the last one */
		record->tally_before = record->tally;
		record->flags &= IPK_LEDGER_BODY_SPILLED;
		STORE_RELEASE(&record->id, ipk_ledger_turn_of(lease.word));
		(void)ipk_ledger_step(ledger, &lease,
				      ipk_ledger_moved(lease.word, manager, IPK_LEDGER_CLEARING));
		break;
	case IPK_LEDGER_DELIVERING: /* told once more */
		(void)ipk_ledger_step(ledger, &lease,
				      ipk_ledger_moved(lease.word, 0, IPK_LEDGER_DONE));
		break;
	case IPK_LEDGER_CLEARING:
		(void)ipk_ledger_step(ledger, &lease,
				      ipk_ledger_moved(lease.word, manager, IPK_LEDGER_CLEARING));
		break;
	default:
		break;
	}
}

void
ipk_ledger_sweep(struct ipk_ledger *ledger, uint32_t place)
{
	for (uint32_t index = 0; index < ledger->shape.records; index++)
		if (ipk_ledger_owner_of(LOAD_SEQ_CST(&ledger->word[index])) == place + 1)
			take_over(ledger, index);
	if (place < ledger->places) {
		uint32_t *epoch = ipk_ledger_epoch(ledger, place);

		(void)FETCH_CLEAR(&ledger->asleep[place / 64], ipk_ledger_bit(place));
		(void)FETCH_CLEAR(&ledger->room_requests[place / 64], ipk_ledger_bit(place));
		if (*epoch & 1)
			STORE_SEQ_CST(epoch, *epoch + 1);
	}
	ipk_ledger_reclaim(ledger);
	for (uint32_t index = 0; index < ledger->shape.records; index++)
		tell_again(ledger, index);
	for (uint32_t other = 0; other < ledger->places; other++) /* W3 */
		ipk_ledger_wake_place(ledger, other);
}

int
ipk_ledger_next(const struct ipk_ledger *ledger, uint32_t start, uint32_t state, uint32_t owner,
		struct ipk_ledger_lease *lease)
{
	for (uint32_t record = start; record < ledger->shape.records; record++) {
		uint64_t word = LOAD_SEQ_CST(&ledger->word[record]);

		if (ipk_ledger_state_of(word) != state)
			continue;
		if (owner != UINT32_MAX && ipk_ledger_owner_of(word) != owner)
			continue;
		*lease = (struct ipk_ledger_lease){record, word};
		return 1;
	}
	return 0;
}

/* One that is due. */
static void
let_go(struct ipk_ledger *ledger, struct ipk_ledger_lease *lease)
{
	uint64_t gate = ledger->record[lease->record].gate;

	if (!gate) {
		(void)ipk_ledger_queue(ledger, lease, ipk_ledger_next_turn(ledger));
		return;
	}
	if (ipk_ledger_step(ledger, lease, ipk_ledger_blocked_again(ledger, lease->word)) == 0)
		ipk_ledger_advance(ledger, gate);
}

int64_t
ipk_ledger_wake_due(struct ipk_ledger *ledger, int64_t now)
{
	int64_t next = INT64_MAX;

	/* First this: a process that delays a task from here on wakes us again. */
	(void)EXCHANGE(&ledger->head->next_due, INT64_MAX);
	for (uint32_t record = 0; record < ledger->shape.records; record++) {
		struct ipk_ledger_lease lease = {record, LOAD_SEQ_CST(&ledger->word[record])};
		int64_t due;

		if (!ipk_ledger_may(ledger, IPK_LEDGER_CALL_WAKE_DUE, lease.word))
			continue;
		due = LOAD_ACQUIRE(&ledger->record[record].due);
		if (due <= now)
			let_go(ledger, &lease);
		else if (due < next)
			next = due;
	}
	if (next == INT64_MAX)
		return 0;
	(void)ipk_ledger_lower_due(ledger, next); /* the result says so, without a wake-up */
	return next;
}

void
ipk_ledger_move(struct ipk_ledger *ledger, uint32_t from, uint32_t to)
{
	for (uint32_t index = 0; index < ledger->shape.records; index++) {
		uint32_t seen = from + 1;

		/* Change the submitter first, then test for DONE. The process that makes it DONE does
		 * the two in the opposite order, so one of the two always wakes the new submitter. */
		if (COMPARE_EXCHANGE(&ledger->record[index].submitter, &seen, to + 1) &&
		    ipk_ledger_state_of(LOAD_SEQ_CST(&ledger->word[index])) == IPK_LEDGER_DONE)
			ipk_ledger_wake_submitter(ledger, index);
	}
}

void
ipk_ledger_recover(struct ipk_ledger *ledger)
{
	uint32_t submitters = ipk_ledger_submitters(ledger);
	uint32_t bitmap = ipk_ledger_words_for(ledger->shape.records);
	uint32_t places = ipk_ledger_words_for(ledger->places);
	uint32_t queues = ipk_ledger_queues(ledger);

	memset(ledger->rings, 0, sizeof(*ledger->rings) * submitters * queues);
	memset(ledger->pending, 0, 8ul * queues * ipk_ledger_words_for(submitters));
	memset(ledger->scan, 0, 4ul * queues);
	memset(ledger->done, 0, 8ul * submitters * bitmap);
	memset(ledger->summary, 0, 8ul * submitters * ipk_ledger_words_for(bitmap));
	memset(ledger->woken, 0, 8ul * submitters * ipk_ledger_words_for(ledger->places + 1));
	memset(ledger->epoch, 0, (size_t)IPK_CACHE_LINE * ledger->places);
	memset(ledger->asleep, 0, 8ul * places);
	memset(ledger->room_requests, 0, 8ul * places);
	STORE_SEQ_CST(&ledger->head->next_due, INT64_MAX);
	for (uint32_t index = 0; index < ledger->shape.records; index++)
		if (ipk_ledger_owner_of(LOAD_SEQ_CST(&ledger->word[index])))
			take_over(ledger, index);
	ipk_ledger_sweep(ledger, ledger->places);
}

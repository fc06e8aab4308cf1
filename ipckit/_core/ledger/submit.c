/*
 * ledger/submit.c - a submitter: putting tasks together, letting them go, hearing their ends.
 *
 * Owns      tickets.  Stands on ledger/{word,enqueue,payload,wakeup,ordering}.
 * State     ledger->recent and next_record: where this process looks for a free record first.
 *
 * Invariants
 *   S1  A record is written by the owner of its word, and only while it is the owner. What other
 *       processes read of a record is stored with STORE_RELEASE, so a process that sees the value
 *       also sees the owner's word.
 *
 * Blocks    never.  Errors  -ENOSPC, -ESTALE, -EAGAIN.
 */
#include "base/clock.h"
#include "ledger/internal.h"

#include <errno.h>
#include <sched.h>
#include <string.h>

enum { DEDUP_PATIENCE_NS = 1000000 };

/* The record, if it is free, becomes ours. */
static int
take_record(struct ipk_ledger *ledger, uint32_t record, struct ipk_ledger_lease *lease)
{
	struct ipk_ledger_record *taken = &ledger->record[record];
	uint64_t id;

	lease->record = record;
	lease->word = LOAD_SEQ_CST(&ledger->word[record]);
	if (!ipk_ledger_may(ledger, IPK_LEDGER_CALL_TAKE, lease->word))
		return 0;
	id = ipk_ledger_next_turn(ledger);
	if (ipk_ledger_step(ledger, lease,
			    ipk_ledger_make_word(id, 0, ipk_ledger_me(ledger), IPK_LEDGER_WRITING)))
		return 0;
	STORE_RELEASE(&taken->id, id); /* S1 */
	taken->tally_before = taken->tally;
	STORE_RELEASE(&taken->gate, 0);
	STORE_RELEASE(&taken->gate_turn, 0);
	STORE_RELEASE(&taken->dedup[0], 0);
	STORE_RELEASE(&taken->dedup[1], 0);
	STORE_RELEASE(&taken->due, 0);
	STORE_RELEASE(&taken->created, (int64_t)ipk_now_ns());
	STORE_RELEASE(&taken->began, 0);
	STORE_RELEASE(&taken->flags, 0);
	taken->deliveries = 0;
	STORE_RELEASE(&taken->dst, IPK_LEDGER_ANY);
	STORE_RELEASE(&taken->source, ledger->place / 2);
	STORE_RELEASE(&taken->submitter,
		  ledger->place < ipk_ledger_submitters(ledger) ? ipk_ledger_me(ledger) : 0);
	STORE_RELEASE(&taken->body.size, 0);
	STORE_RELEASE(&taken->result.size, 0);
	return 1;
}

int
ipk_ledger_take(struct ipk_ledger *ledger, struct ipk_ledger_lease *lease)
{
	uint32_t count = ledger->shape.records;

	while (ledger->recent_count)
		if (take_record(ledger, ledger->recent[--ledger->recent_count], lease))
			return 0;
	for (uint32_t step = 0; step < count; step++) {
		uint32_t record = (uint32_t)(((uint64_t)ledger->next_record + step) % count);

		if (take_record(ledger, record, lease)) {
			ledger->next_record = record + 1;
			return 0;
		}
	}
	return -ENOSPC;
}

int
ipk_ledger_put_body(struct ipk_ledger *ledger, uint32_t record, const void *bytes, uint64_t size)
{
	return ipk_ledger_fill(ledger, record, &ledger->record[record].body, bytes, size);
}

/* Whether a body of so many KiB may be spilled into a file, with those of the other records. */
static int
fits_spilled(const struct ipk_ledger *ledger, uint32_t record, uint64_t kib, uint64_t most)
{
	uint64_t sum = 0;

	for (uint32_t other = 0; other < ledger->shape.records; other++)
		if (other != record)
			sum += LOAD_SEQ_CST(&ledger->spilled[other]);
	return !sum || (sum + kib) * 1024 <= most;
}

int
ipk_ledger_has_room(const struct ipk_ledger *ledger, uint64_t size, uint64_t most)
{
	uint32_t count = ledger->shape.records;
	uint32_t record = 0;

	while (record < count &&
	       ipk_ledger_state_of(LOAD_SEQ_CST(&ledger->word[record])) != IPK_LEDGER_FREE)
		record++;
	if (record == count)
		return 0;
	return ipk_ledger_fits(ledger, size) ||
	       (size > IPK_LEDGER_INSIDE && fits_spilled(ledger, record, (size + 1023) / 1024, most));
}

int
ipk_ledger_spill_body(struct ipk_ledger *ledger, uint32_t record, uint64_t size, uint64_t most)
{
	uint64_t kib = (size + 1023) / 1024;

	STORE_SEQ_CST(&ledger->spilled[record], kib < UINT32_MAX ? (uint32_t)kib : UINT32_MAX);
	if (!fits_spilled(ledger, record, kib, most)) {
		STORE_SEQ_CST(&ledger->spilled[record], 0);
		return -ENOSPC;
	}
	STORE_RELEASE(&ledger->record[record].body.size, size);
	ipk_ledger_flag(ledger, record, IPK_LEDGER_BODY_SPILLED, 0);
	return 0;
}

void
ipk_ledger_order(struct ipk_ledger *ledger, uint32_t record, uint64_t key)
{
	uint64_t gate = key % IPK_LEDGER_GATES + 1;

	STORE_RELEASE(&ledger->record[record].gate, gate);
	STORE_SEQ_CST(&ledger->order[record], (uint32_t)gate);
}

/* What another task with our dedup key is at: its id, 0: it is over, or stored after ours; -EAGAIN:
 * not known yet. */
static int64_t
other_with_key(const struct ipk_ledger *ledger, uint32_t record, uint64_t ticket,
	       const uint64_t key[2])
{
	const struct ipk_ledger_record *other = &ledger->record[record];
	uint64_t word = LOAD_SEQ_CST(&ledger->word[record]);
	uint64_t id = LOAD_SEQ_CST(&other->id);
	uint64_t its = LOAD_SEQ_CST(&other->ticket);
	int same = LOAD_ACQUIRE(&other->dedup[0]) == key[0] &&
		   LOAD_ACQUIRE(&other->dedup[1]) == key[1];

	if (LOAD_SEQ_CST(&ledger->word[record]) != word)
		return -EAGAIN;
	switch (ipk_ledger_state_of(word)) {
	case IPK_LEDGER_WRITING:
		if (same && its && its > ticket)
			return 0; /* it finds ours */
		return same ? -EAGAIN : 0;
	case IPK_LEDGER_BLOCKED:
	case IPK_LEDGER_DELAYED:
	case IPK_LEDGER_QUEUED:
	case IPK_LEDGER_RUNNING:
		return same ? (int64_t)id : 0;
	default:
		return 0;
	}
}

int64_t
ipk_ledger_dedup(struct ipk_ledger *ledger, uint32_t record, const uint64_t key[2])
{
	struct ipk_ledger_record *ours = &ledger->record[record];
	uint32_t mark = (uint32_t)key[0] | 1;
	uint64_t give_up = ipk_now_ns() + DEDUP_PATIENCE_NS;
	uint64_t ticket;

	/* Lamport's bakery: a process that draws a ticket says so first, and others wait until it has
	 * one. So of two tasks with one key, the one with the later ticket sees the other. */
	STORE_SEQ_CST(&ours->ticket, 0);
	STORE_RELEASE(&ours->dedup[0], key[0]);
	STORE_RELEASE(&ours->dedup[1], key[1]);
	STORE_SEQ_CST(&ledger->dedup[record], mark);
	ticket = __atomic_add_fetch(&ledger->head->tickets, 1, __ATOMIC_SEQ_CST);
	STORE_SEQ_CST(&ours->ticket, ticket);
	for (uint32_t other = 0; other < ledger->shape.records; other++) {
		int64_t found;

		if (other == record || LOAD_SEQ_CST(&ledger->dedup[other]) != mark)
			continue;
		while ((found = other_with_key(ledger, other, ticket, key)) == -EAGAIN &&
		       ipk_now_ns() < give_up)
			(void)sched_yield();
		if (found)
			return found;
	}
	return 0;
}

void
ipk_ledger_publish(struct ipk_ledger *ledger, const struct ipk_ledger_lease *lease, int64_t due)
{
	struct ipk_ledger_record *record = &ledger->record[lease->record];
	struct ipk_ledger_lease now = *lease;

	if (!ipk_ledger_may(ledger, IPK_LEDGER_CALL_PUBLISH, lease->word))
		return;
	STORE_RELEASE(&record->due, due);
	if (due) {
		if (ipk_ledger_step(ledger, &now,
				    ipk_ledger_moved(now.word, 0, IPK_LEDGER_DELAYED)) == 0)
			ipk_ledger_tell_due(ledger, due);
		return;
	}
	if (record->gate) {
		uint64_t gate = record->gate;

		if (ipk_ledger_step(ledger, &now,
				    ipk_ledger_moved(now.word, 0, IPK_LEDGER_BLOCKED)) == 0)
			ipk_ledger_advance(ledger, gate);
		return;
	}
	(void)ipk_ledger_queue(ledger, &now, ipk_ledger_turn_of(now.word));
}

/* The record may be DONE: take it into our hands. */
static int
take_end(struct ipk_ledger *ledger, uint32_t record, struct ipk_ledger_lease *lease)
{
	lease->record = record;
	lease->word = LOAD_SEQ_CST(&ledger->word[record]);
	if (!ipk_ledger_may(ledger, IPK_LEDGER_CALL_COLLECT, lease->word) ||
	    LOAD_SEQ_CST(&ledger->record[record].submitter) != ipk_ledger_me(ledger))
		return 0;
	return ipk_ledger_step(ledger, lease,
			       ipk_ledger_moved(lease->word, ipk_ledger_me(ledger),
						IPK_LEDGER_DELIVERING)) == 0;
}

uint32_t
ipk_ledger_collect(struct ipk_ledger *ledger, struct ipk_ledger_lease *leases, uint32_t most)
{
	uint32_t bitmap = ipk_ledger_words_for(ledger->shape.records);
	uint32_t summaries = ipk_ledger_words_for(bitmap);
	uint64_t *done = &ledger->done[(uint64_t)ledger->place * bitmap];
	uint64_t *summary = &ledger->summary[(uint64_t)ledger->place * summaries];
	uint32_t count = 0;

	if (ledger->place >= ipk_ledger_submitters(ledger))
		return 0;
	for (uint32_t top = 0; top < summaries; top++) {
		uint64_t words = LOAD_SEQ_CST(&summary[top]) ? EXCHANGE(&summary[top], 0) : 0;

		for (; words; words &= words - 1) {
			uint32_t word = top * 64 + (uint32_t)__builtin_ctzll(words);
			uint64_t bits = word < bitmap ? EXCHANGE(&done[word], 0) : 0;

			for (; bits && count < most; bits &= bits - 1) {
				uint32_t record = word * 64 + (uint32_t)__builtin_ctzll(bits);

				if (record < ledger->shape.records)
					count += (uint32_t)take_end(ledger, record, &leases[count]);
			}
			if (count < most)
				continue;
			if (bits) /* what is left is for the next call */
				(void)FETCH_OR(&done[word], bits);
			(void)FETCH_OR(&summary[top], words);
			return count;
		}
	}
	return count;
}

void
ipk_ledger_begin_delivery(struct ipk_ledger *ledger, uint32_t record)
{
	ledger->record[record].deliveries++; /* S1 */
}

uint32_t
ipk_ledger_outstanding(const struct ipk_ledger *ledger)
{
	uint32_t count = 0;

	for (uint32_t record = 0; record < ledger->shape.records; record++)
		count += ipk_ledger_state_of(LOAD_ACQUIRE(&ledger->word[record])) !=
				 IPK_LEDGER_FREE &&
			 LOAD_ACQUIRE(&ledger->record[record].submitter) == ipk_ledger_me(ledger);
	return count;
}

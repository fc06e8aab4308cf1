/*
 * ledger/claim.c - a task worker: whose turn it is, and how an attempt ends.
 *
 * Owns      scan.  Stands on ledger/{word,rings,enqueue,payload,wakeup,ordering}.
 * State     none.
 *
 * Invariants
 *   C1  A claim takes the task with the lowest turn among the entries of its rings and what it
 *       remembers of a scan. It does not know a task that was queued after the scan and has no
 *       entry, as when its submitter died before adding one: that one waits for the next scan.
 *   C2  An entry is used up by each claim that reads it. A stale one costs one load of the word.
 *   C3  A process that clears `scan` sets it again for the others, unless it claimed all that the
 *       scan found: what it remembers dies with it. It scans again when it has used that up.
 *   C4  all that a submitter will read of an end is written before the word says DONE.
 *   C5  what a flag says of an attempt is taken back when the next attempt begins; the file of a
 *       result that is taken back stays until the task is over, and NOTED says so.
 *
 * Blocks    never.  Errors  -ENOSPC; -ESTALE: the word changed, or is in no state for the call.
 */
#include "base/clock.h"
#include "ledger/internal.h"

#include <errno.h>

enum {
	FLAGS_OF_AN_ATTEMPT = IPK_LEDGER_HAS_RESULT | IPK_LEDGER_RESULT_SPILLED | IPK_LEDGER_LOST |
			      IPK_LEDGER_ENDED
};
enum { FLAGS_OF_FILES = IPK_LEDGER_BODY_SPILLED | IPK_LEDGER_RESULT_SPILLED | IPK_LEDGER_NOTED };

/* What the last scan found and no process has claimed since. */
static void
consider_seen(struct ipk_ledger *ledger, struct ipk_ledger_best *best)
{
	for (; ledger->seen_at < ledger->seen_count; ledger->seen_at++) {
		uint64_t entry = ledger->seen[ledger->seen_at];
		uint64_t word = LOAD_ACQUIRE(&ledger->word[entry & 0xFFFFFF]);

		if (ipk_ledger_state_of(word) != IPK_LEDGER_QUEUED ||
		    ipk_ledger_turn_of(word) != entry >> 24)
			continue;
		if (!best->entry || entry < best->entry)
			*best = (struct ipk_ledger_best){entry, NULL, 0};
		return;
	}
}

static void
begin(struct ipk_ledger *ledger, const struct ipk_ledger_lease *lease)
{
	struct ipk_ledger_record *record = &ledger->record[lease->record];

	STORE_RELEASE(&record->began, (int64_t)ipk_now_ns());
	if (ipk_ledger_attempt_of(lease->word) > 1) /* what the one before left */
		ipk_ledger_empty(ledger, lease->record, &record->result);
	record->deliveries = 0;
	ipk_ledger_flag(ledger, lease->record,
			record->flags & IPK_LEDGER_RESULT_SPILLED ? IPK_LEDGER_NOTED : 0,
			FLAGS_OF_AN_ATTEMPT);
}

static uint64_t
running(const struct ipk_ledger *ledger, uint64_t word)
{
	uint32_t attempt = ipk_ledger_attempt_of(word);

	return ipk_ledger_make_word(ipk_ledger_turn_of(word), attempt < 255 ? attempt + 1 : 255,
				    ipk_ledger_me(ledger), IPK_LEDGER_RUNNING);
}

/* C2. Whether the task of the best entry is ours now. */
static int
claim_best(const struct ipk_ledger *ledger, const struct ipk_ledger_best *best, struct ipk_ledger_lease *lease)
{
	uint32_t record = (uint32_t)(best->entry & 0xFFFFFF);
	uint64_t head = best->head;
	int claimed = 0;

	if (record < ledger->shape.records) {
		lease->record = record;
		lease->word = LOAD_SEQ_CST(&ledger->word[record]);
		claimed = ipk_ledger_may(ledger, IPK_LEDGER_CALL_CLAIM, lease->word) &&
			  ipk_ledger_turn_of(lease->word) == best->entry >> 24 &&
			  ipk_ledger_step(ledger, lease, running(ledger, lease->word)) == 0;
	}
	if (best->ring)
		(void)COMPARE_EXCHANGE(&best->ring->head, &head, head + 1);
	return claimed;
}

/* C3. Clear what asks for a scan, and scan; found[] counts what was found. */
static void
scan_if_asked(struct ipk_ledger *ledger, const uint32_t queues[2], uint32_t found[2])
{
	int asked = 0;

	for (int i = 0; i < 2; i++)
		asked |= LOAD_ACQUIRE(&ledger->scan[queues[i]]) &&
			EXCHANGE(&ledger->scan[queues[i]], 0);
	if (asked)
		ipk_ledger_scan(ledger, queues, found);
}

int
ipk_ledger_claim(struct ipk_ledger *ledger, struct ipk_ledger_lease *lease)
{
	uint32_t queues[2] = {ipk_ledger_own_queue(ledger), ledger->shape.task_workers};

	if (!ipk_ledger_is_task_worker(ledger))
		return 0;
	for (;;) {
		struct ipk_ledger_best best = {0, NULL, 0};
		uint32_t found[2] = {0, 0};
		int claimed;

		for (int i = 0; i < 2; i++)
			ipk_ledger_consider_rings(ledger, queues[i], &best);
		consider_seen(ledger, &best);
		if (ledger->seen_at == ledger->seen_count) {
			scan_if_asked(ledger, queues, found);
			consider_seen(ledger, &best);
		}
		if (!best.entry)
			return 0;
		claimed = claim_best(ledger, &best, lease);
		if (found[0] + found[1] > (claimed && !best.ring ? 1u : 0u)) /* C3 */
			for (int i = 0; i < 2; i++)
				if (found[i])
					STORE_SEQ_CST(&ledger->scan[queues[i]], 1);
		if (!claimed)
			continue;
		begin(ledger, lease);
		ipk_ledger_pass_on(ledger);
		return 1;
	}
}

/* Whether a call for a task in our hands comes too late, or is not for its state. */
static int
is_stale(const struct ipk_ledger *ledger, enum ipk_ledger_call call,
	 const struct ipk_ledger_lease *lease)
{
	return !ipk_ledger_may(ledger, call, lease->word) ||
	       LOAD_SEQ_CST(&ledger->word[lease->record]) != lease->word;
}

int
ipk_ledger_begin(struct ipk_ledger *ledger, struct ipk_ledger_lease *lease, int32_t dst,
		 uint32_t submitter)
{
	struct ipk_ledger_record *record = &ledger->record[lease->record];

	if (is_stale(ledger, IPK_LEDGER_CALL_BEGIN, lease))
		return -ESTALE;
	STORE_RELEASE(&record->dst, dst);
	STORE_RELEASE(&record->submitter, submitter + 1);
	if (ipk_ledger_step(ledger, lease, running(ledger, lease->word)))
		return -ESTALE;
	begin(ledger, lease);
	return 0;
}

void
ipk_ledger_pass_on(struct ipk_ledger *ledger)
{
	uint64_t asleep = 0;

	for (uint32_t at = 0; at < ipk_ledger_words_for(ledger->places); at++)
		asleep |= LOAD_SEQ_CST(&ledger->asleep[at]);
	if (!asleep)
		return;
	for (int i = 0; i < 2; i++) {
		uint32_t queue = i ? ledger->shape.task_workers : ipk_ledger_own_queue(ledger);

		if (ipk_ledger_queue_has_work(ledger, queue))
			ipk_ledger_wake_taker(ledger, queue);
	}
}

int
ipk_ledger_put_result(struct ipk_ledger *ledger, uint32_t record, const void *bytes, uint64_t size)
{
	int code = ipk_ledger_fill(ledger, record, &ledger->record[record].result, bytes, size);

	if (code == 0)
		ipk_ledger_flag(ledger, record, IPK_LEDGER_HAS_RESULT, 0);
	return code;
}

/* DONE, and its submitter hears; or CLEARING, ours: 1 if there are files to remove. */
static int
finish(struct ipk_ledger *ledger, struct ipk_ledger_lease *lease)
{
	struct ipk_ledger_record *record = &ledger->record[lease->record];
	struct ipk_ledger_pass pass = ipk_ledger_pass_of(ledger, lease->record);
	uint32_t flags = record->flags;
	int told = record->submitter &&
		   (flags & (IPK_LEDGER_HAS_RESULT | IPK_LEDGER_WANTED | IPK_LEDGER_LOST));

	if (told) {
		if (ipk_ledger_step(ledger, lease,
				    ipk_ledger_moved(lease->word, 0, IPK_LEDGER_DONE)))
			return -ESTALE;
		ipk_ledger_release_gate(ledger, pass);
		ipk_ledger_wake_submitter(ledger, lease->record);
		return 0;
	}
	if (ipk_ledger_step(ledger, lease, ipk_ledger_moved(lease->word, ipk_ledger_me(ledger),
							   IPK_LEDGER_CLEARING)))
		return -ESTALE;
	if (flags & FLAGS_OF_FILES)
		return 1;
	ipk_ledger_clear(ledger, lease);
	return 0;
}

int
ipk_ledger_done(struct ipk_ledger *ledger, struct ipk_ledger_lease *lease)
{
	if (is_stale(ledger, IPK_LEDGER_CALL_DONE, lease))
		return -ESTALE;
	ipk_ledger_flag(ledger, lease->record, IPK_LEDGER_ENDED, 0); /* C4 */
	return finish(ledger, lease);
}

int
ipk_ledger_done_with(struct ipk_ledger *ledger, struct ipk_ledger_lease *lease, const void *bytes,
		     uint64_t size)
{
	if (is_stale(ledger, IPK_LEDGER_CALL_DONE, lease))
		return -ESTALE;
	if (ipk_ledger_put_result(ledger, lease->record, bytes, size))
		return -ENOSPC;
	return ipk_ledger_done(ledger, lease);
}

int
ipk_ledger_written_down(struct ipk_ledger *ledger, struct ipk_ledger_lease *lease)
{
	return ipk_ledger_may(ledger, IPK_LEDGER_CALL_WRITTEN_DOWN, lease->word)
		       ? finish(ledger, lease)
		       : -ESTALE;
}

int
ipk_ledger_retry(struct ipk_ledger *ledger, const struct ipk_ledger_lease *lease, int64_t due)
{
	struct ipk_ledger_record *record = &ledger->record[lease->record];
	struct ipk_ledger_lease now = *lease;
	int told_of = ipk_ledger_state_of(lease->word) == IPK_LEDGER_DELIVERING;

	if (is_stale(ledger, IPK_LEDGER_CALL_RETRY, lease))
		return -ESTALE;
	STORE_RELEASE(&record->due, due);
	if (told_of && record->gate) /* it has left its gate, and goes there once more */
		STORE_RELEASE(&record->gate_turn, ipk_ledger_next_turn(ledger));
	if (due) {
		if (ipk_ledger_step(ledger, &now, ipk_ledger_moved(now.word, 0, IPK_LEDGER_DELAYED)))
			return -ESTALE;
		ipk_ledger_tell_due(ledger, due);
		return 0;
	}
	if (told_of && record->gate) {
		uint64_t gate = record->gate;

		if (ipk_ledger_step(ledger, &now, ipk_ledger_blocked_again(ledger, now.word)))
			return -ESTALE;
		ipk_ledger_advance(ledger, gate);
		return 0;
	}
	return ipk_ledger_queue(ledger, &now, ipk_ledger_next_turn(ledger));
}

int
ipk_ledger_bury(struct ipk_ledger *ledger, const struct ipk_ledger_lease *lease)
{
	struct ipk_ledger_pass pass = ipk_ledger_pass_of(ledger, lease->record);
	struct ipk_ledger_lease now = *lease;

	if (is_stale(ledger, IPK_LEDGER_CALL_BURY, lease))
		return -ESTALE;
	ipk_ledger_flag(ledger, lease->record, IPK_LEDGER_LOST | IPK_LEDGER_ENDED, 0);
	ledger->record[lease->record].deliveries = 0; /* of another end: that it is given up */
	if (ipk_ledger_step(ledger, &now, ipk_ledger_moved(now.word, 0, IPK_LEDGER_BURIED)))
		return -ESTALE;
	ipk_ledger_release_gate(ledger, pass);
	ipk_ledger_wake_manager(ledger);
	return 0;
}

int
ipk_ledger_end(struct ipk_ledger *ledger, struct ipk_ledger_lease *lease)
{
	if (!ipk_ledger_may(ledger, IPK_LEDGER_CALL_END, lease->word))
		return -ESTALE;
	return ipk_ledger_step(ledger, lease, ipk_ledger_moved(lease->word, ipk_ledger_me(ledger),
							      IPK_LEDGER_CLEARING));
}

void
ipk_ledger_clear(struct ipk_ledger *ledger, const struct ipk_ledger_lease *lease)
{
	struct ipk_ledger_record *record = &ledger->record[lease->record];
	struct ipk_ledger_lease now = *lease;
	uint64_t ended = 0;

	if (is_stale(ledger, IPK_LEDGER_CALL_CLEAR, lease))
		return;
	if (record->flags & IPK_LEDGER_ENDED)
		ended = record->flags & IPK_LEDGER_LOST ? 1 : UINT64_C(1) << 32;
	record->tally = record->tally_before + ended; /* the same, however often it is done */
	ipk_ledger_empty(ledger, lease->record, &record->body);
	ipk_ledger_empty(ledger, lease->record, &record->result);
	ipk_ledger_release_gate(ledger, ipk_ledger_pass_of(ledger, lease->record));
	STORE_RELEASE(&ledger->order[lease->record], 0);
	STORE_RELEASE(&ledger->dedup[lease->record], 0);
	STORE_RELEASE(&ledger->spilled[lease->record], 0);
	if (ipk_ledger_step(ledger, &now, ipk_ledger_moved(now.word, 0, IPK_LEDGER_FREE)))
		return;
	if (ledger->recent && ledger->place < ipk_ledger_submitters(ledger) &&
	    ledger->recent_count < ledger->shape.records)
		ledger->recent[ledger->recent_count++] = lease->record;
	ipk_ledger_room_freed(ledger);
}

/*
 * ledger/rings.c - rings of tasks that are ready, from each submitter to each queue.
 *
 * Owns      rings, entries, pending.  State  none.
 *
 * Invariants
 *   S3  A ring has one producer at a time. An entry is written before the tail that includes it.
 *
 * Blocks    never.
 */
#include "ledger/internal.h"

/* Whether a ring has entries; an empty one is marked so. */
static int
ring_has_entries(const struct ipk_ledger *ledger, uint32_t queue, uint32_t place)
{
	struct ipk_ledger_ring *ring =
		&ledger->rings[(uint64_t)place * ipk_ledger_queues(ledger) + queue];
	uint64_t *pending = &ipk_ledger_pending_of(ledger, queue)[place / 64];

	if (LOAD_SEQ_CST(&ring->head) != LOAD_SEQ_CST(&ring->tail))
		return 1;
	(void)FETCH_CLEAR(pending, ipk_ledger_bit(place));
	if (LOAD_SEQ_CST(&ring->head) == LOAD_SEQ_CST(&ring->tail))
		return 0;
	(void)FETCH_OR(pending, ipk_ledger_bit(place));
	return 1;
}

void
ipk_ledger_consider_rings(const struct ipk_ledger *ledger, uint32_t queue,
			  struct ipk_ledger_best *best)
{
	uint32_t submitters = ipk_ledger_submitters(ledger);

	for (uint32_t at = 0; at < ipk_ledger_words_for(submitters); at++) {
		uint64_t bits = LOAD_ACQUIRE(&ipk_ledger_pending_of(ledger, queue)[at]);

		for (; bits; bits &= bits - 1) {
			uint32_t place = at * 64 + (uint32_t)__builtin_ctzll(bits);
			uint64_t number = (uint64_t)place * ipk_ledger_queues(ledger) + queue;
			struct ipk_ledger_ring *ring = &ledger->rings[number];
			uint64_t head;
			uint64_t entry;

			if (place >= submitters || !ring_has_entries(ledger, queue, place))
				continue;
			head = LOAD_SEQ_CST(&ring->head);
			if (head == LOAD_ACQUIRE(&ring->tail))
				continue;
			entry = LOAD_ACQUIRE(&ledger->entries[number * ledger->ring_size +
						       head % ledger->ring_size]);
			if (!best->entry || entry < best->entry)
				*best = (struct ipk_ledger_best){entry, ring, head};
		}
	}
}

/* S3. The ring is full, or this process has none: a scan finds the task. */
void
ipk_ledger_push_entry(struct ipk_ledger *ledger, uint32_t queue, const struct ipk_ledger_lease *lease)
{
	uint32_t submitters = ipk_ledger_submitters(ledger);
	uint64_t *pending = &ipk_ledger_pending_of(ledger, queue)[ledger->place / 64];
	uint64_t number = (uint64_t)ledger->place * ipk_ledger_queues(ledger) + queue;
	struct ipk_ledger_ring *ring = &ledger->rings[number];

	if (ledger->place >= submitters ||
	    ring->tail - LOAD_ACQUIRE(&ring->head) >= ledger->ring_size) {
		STORE_SEQ_CST(&ledger->scan[queue], 1);
		return;
	}
	STORE_RELEASE(&ledger->entries[number * ledger->ring_size + ring->tail % ledger->ring_size],
		  ipk_ledger_turn_of(lease->word) << 24 | lease->record);
	STORE_SEQ_CST(&ring->tail, ring->tail + 1);
	if (!(LOAD_SEQ_CST(pending) & ipk_ledger_bit(ledger->place)))
		(void)FETCH_OR(pending, ipk_ledger_bit(ledger->place));
}

int
ipk_ledger_queue_has_work(const struct ipk_ledger *ledger, uint32_t queue)
{
	uint32_t submitters = ipk_ledger_submitters(ledger);

	if (LOAD_SEQ_CST(&ledger->scan[queue]))
		return 1;
	for (uint32_t at = 0; at < ipk_ledger_words_for(submitters); at++) {
		uint64_t bits = LOAD_SEQ_CST(&ipk_ledger_pending_of(ledger, queue)[at]);

		for (; bits; bits &= bits - 1) {
			uint32_t place = at * 64 + (uint32_t)__builtin_ctzll(bits);

			if (place < submitters && ring_has_entries(ledger, queue, place))
				return 1;
		}
	}
	return 0;
}

int
ipk_ledger_has_work(const struct ipk_ledger *ledger)
{
	if (!ipk_ledger_is_task_worker(ledger))
		return 0;
	return ipk_ledger_queue_has_work(ledger, ipk_ledger_own_queue(ledger)) ||
	       ipk_ledger_queue_has_work(ledger, ledger->shape.task_workers);
}

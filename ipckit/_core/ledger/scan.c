/*
 * ledger/scan.c - a scan of all words, for tasks without an entry in a ring.
 *
 * A scan costs as much as there are records, so it remembers the next IPK_LEDGER_SEEN tasks, by
 * turn, in memory of this process: a task then costs the same however many wait.
 *
 * Owns      ledger->seen, seen_at, seen_count.  State  these.  Blocks  never.  Errors  none.
 */
#include "ledger/internal.h"

/* Let the highest of a heap go down to its place. */
static void
sift(uint64_t *heap, uint32_t count, uint32_t at)
{
	uint64_t moved = heap[at];

	for (uint32_t child; (child = 2 * at + 1) < count; at = child) {
		if (child + 1 < count && heap[child + 1] > heap[child])
			child++;
		if (heap[child] <= moved)
			break;
		heap[at] = heap[child];
	}
	heap[at] = moved;
}

/* Keep an entry if it is one of the lowest; the highest of those kept is in front. */
static void
keep(struct ipk_ledger *ledger, uint64_t entry)
{
	uint64_t *heap = ledger->seen;

	if (ledger->seen_count == IPK_LEDGER_SEEN) {
		heap[0] = entry;
		sift(heap, IPK_LEDGER_SEEN, 0);
		return;
	}
	heap[ledger->seen_count++] = entry;
	for (uint32_t at = ledger->seen_count - 1; at && heap[(at - 1) / 2] < heap[at];
	     at = (at - 1) / 2) {
		uint64_t above = heap[(at - 1) / 2];

		heap[(at - 1) / 2] = heap[at];
		heap[at] = above;
	}
}

void
ipk_ledger_scan(struct ipk_ledger *ledger, const uint32_t queues[2], uint32_t found[2])
{
	ledger->seen_at = ledger->seen_count = 0;
	for (uint32_t record = 0; record < ledger->shape.records; record++) {
		uint64_t word = LOAD_ACQUIRE(&ledger->word[record]);
		uint64_t entry = ipk_ledger_turn_of(word) << 24 | record;
		uint32_t queue;

		if (ipk_ledger_state_of(word) != IPK_LEDGER_QUEUED)
			continue;
		if (ledger->seen_count == IPK_LEDGER_SEEN && entry > ledger->seen[0]) {
			found[0] = found[1] = 2;
			continue;
		}
		queue = ipk_ledger_queue_of(ledger, LOAD_ACQUIRE(&ledger->record[record].dst));
		if (queue != queues[0] && queue != queues[1])
			continue;
		found[queue == queues[1]]++;
		keep(ledger, entry);
	}
	for (uint32_t left = ledger->seen_count; left > 1; left--) { /* by turn */
		uint64_t highest = ledger->seen[0];

		ledger->seen[0] = ledger->seen[left - 1];
		ledger->seen[left - 1] = highest;
		sift(ledger->seen, left - 1, 0);
	}
}

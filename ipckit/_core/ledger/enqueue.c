/*
 * ledger/enqueue.c - a task becomes QUEUED: its word, its entry in a ring, and a wake-up.
 *
 * Owns      nothing.  Stands on ledger/{word,rings,wakeup}.  State  none.
 *
 * Invariants
 *   S4  A task is QUEUED before its entry is in a ring. An entry without its task is stale, and
 *       harmless.
 *
 * Blocks    never.  Errors  -ESTALE.
 */
#include "ledger/internal.h"

#include <errno.h>

int
ipk_ledger_queue(struct ipk_ledger *ledger, struct ipk_ledger_lease *lease, uint64_t turn)
{
	uint32_t queue = ipk_ledger_queue_of(ledger, ledger->record[lease->record].dst);
	uint64_t word = ipk_ledger_make_word(turn, ipk_ledger_attempt_of(lease->word), 0,
					     IPK_LEDGER_QUEUED);

	if (ipk_ledger_step(ledger, lease, word))
		return -ESTALE;
	ipk_ledger_push_entry(ledger, queue, lease);
	ipk_ledger_wake_taker(ledger, queue);
	return 0;
}

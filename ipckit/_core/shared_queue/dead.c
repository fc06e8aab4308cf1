/*
 * shared_queue/dead.c - the messages whose attempts are over: looking at them, retrying, discarding.
 *
 * Owns      nothing.  Stands on record.c, receive.c, wait.c.  State  none.  Blocks  never.
 *
 * Invariant
 *   X1  A DEAD word has no owner. It is left by one compare-and-set from the word that was seen, so a
 *       message is retried once, or discarded once, by one of the processes that try.
 */
#include "shared_queue/internal.h"

#include <errno.h>

int
ipk_queue_find_dead(const struct ipk_queue *queue, uint32_t record, struct ipk_queue_lease *lease)
{
	if (record >= queue->shape.messages)
		return 0;
	lease->record = record;
	lease->word = LOAD_SEQ_CST(&queue->records[record].word);
	return ipk_queue_state_of(lease->word) == IPK_QUEUE_DEAD;
}

int
ipk_queue_is_still(const struct ipk_queue *queue, const struct ipk_queue_lease *lease)
{
	FENCE(__ATOMIC_ACQUIRE);
	return LOAD_SEQ_CST(&queue->records[lease->record].word) == lease->word;
}

int
ipk_queue_retry(const struct ipk_queue *queue, const struct ipk_queue_lease *lease)
{
	uint64_t word = lease->word;

	if (!ipk_queue_is_still(queue, lease))
		return -ESTALE;
	if (!ipk_queue_requeue(queue, lease->record, word,
			       ipk_queue_make_word(ipk_queue_turn_of(word), 0, 0, IPK_QUEUE_QUEUED)))
		return -ESTALE;
	ipk_queue_wake(queue, IPK_QUEUE_MESSAGE);
	return 0;
}

int
ipk_queue_discard(const struct ipk_queue *queue, const struct ipk_party *party,
		  const struct ipk_queue_lease *lease)
{
	uint64_t word = lease->word;
	struct ipk_queue_lease clearing = {
		.record = lease->record,
		.word = ipk_queue_moved(word, ipk_queue_me(party), IPK_QUEUE_CLEARING),
	};

	if (!COMPARE_EXCHANGE(&queue->records[lease->record].word, &word, clearing.word))
		return -ESTALE;
	ipk_queue_end_clearing(queue, party, &clearing);
	return 0;
}

/*
 * shared_queue/unfinished.c - messages that were received and are not finished, for a queue's join().
 *
 * Owns      unfinished of a part.  Stands on ring.c, receive.c, wait.c.  State  none.  Blocks  never.
 *
 * A count is one word: incarnation : 32 | messages : 32. It is of the thread that received them; any
 * thread may finish one of them.
 *
 * Invariants
 *   N1  A message is counted before its record leaves LEASED. So a message that was sent and is not
 *       finished is in a record - QUEUED, LEASED or DELAYED - or in a count, at each moment.
 *   N2  A count holds for the incarnation in it. A thread that joins has another one, and who recovers
 *       a dead thread sets the word that it read to 0 by a compare-and-set. So no count of a living
 *       thread is lost.
 *   N3  "All is finished" is answered when the ring is empty at a position, no record after that look has
 *       a message, no count after that is over 0, the ring is then still empty at that position, and
 *       nothing was given back in between. So no message came into a record during the looks, no count
 *       rose after the records were looked at, and at the end of the looks nothing was unfinished. A
 *       retry() of a dead message during the looks may count as one after them.
 *   N4  A thread that finishes a message, or gives its count up, does so and then looks for sleepers (W1).
 */
#include "shared_queue/internal.h"

/* What the thread of a slot has not finished, by a word that was read there. */
static uint32_t
count_in(const struct ipk_queue *queue, uint32_t slot, uint64_t word)
{
	return word >> 32 == LOAD_SEQ_CST(&queue->parts[slot].incarnation) ? (uint32_t)word : 0;
}

static uint32_t
slots_used(const struct ipk_queue *queue)
{
	uint32_t used = LOAD_SEQ_CST(&queue->head->slots_used);

	return used < IPK_QUEUE_SLOTS ? used : IPK_QUEUE_SLOTS;
}

void
ipk_queue_count_unfinished(const struct ipk_queue *queue, const struct ipk_party *party)
{
	struct ipk_queue_part *part = ipk_queue_part_of(queue, party);
	uint64_t none = (uint64_t)LOAD_RELAXED(&part->incarnation) << 32;
	uint64_t seen = LOAD_RELAXED(&part->unfinished);
	uint64_t next;

	do {
		next = seen >> 32 != none >> 32 ? none + 1 : seen;
		if (next == seen && (uint32_t)seen != UINT32_MAX) /* of a program that finishes none */
			next++;
	} while (!COMPARE_EXCHANGE(&part->unfinished, &seen, next));
}

/* Finish one message of a slot. 1; 0: it has none. */
static int
finish_one(const struct ipk_queue *queue, uint32_t slot)
{
	uint64_t *place = &queue->parts[slot].unfinished;
	uint64_t word = LOAD_SEQ_CST(place);

	while (count_in(queue, slot, word))
		if (COMPARE_EXCHANGE(place, &word, word - 1))
			return 1;
	return 0;
}

int
ipk_queue_consume(const struct ipk_queue *queue, const struct ipk_party *party,
		  const struct ipk_queue_lease *lease)
{
	int code;

	ipk_queue_count_unfinished(queue, party); /* N1 */
	code = ipk_queue_acknowledge(queue, party, lease);
	if (code)
		(void)finish_one(queue, ipk_queue_me(party) - 1);
	return code;
}

int
ipk_queue_finish(const struct ipk_queue *queue, const struct ipk_party *party)
{
	uint32_t used = slots_used(queue);
	uint32_t me = ipk_queue_me(party) - 1;
	int found = finish_one(queue, me);

	for (uint32_t slot = 0; slot < used && !found; slot++)
		found = finish_one(queue, slot);
	if (found)
		ipk_queue_wake_if_finished(queue); /* N4 */
	return found;
}

void
ipk_queue_give_up_unfinished(const struct ipk_queue *queue, uint32_t slot, uint32_t incarnation)
{
	uint64_t *place = &queue->parts[slot].unfinished;
	uint64_t word = LOAD_SEQ_CST(place);

	while (word >> 32 == incarnation && (uint32_t)word) /* N2 */
		if (COMPARE_EXCHANGE(place, &word, 0))
			return;
}

void
ipk_queue_leave_slot(const struct ipk_queue *queue, const struct ipk_party *party)
{
	uint32_t slot = ipk_queue_me(party) - 1;

	ipk_queue_give_up_unfinished(queue, slot, LOAD_RELAXED(&queue->parts[slot].incarnation));
	ipk_queue_wake_if_finished(queue); /* N4 */
}

static int
has_message(uint32_t state)
{
	return state == IPK_QUEUE_QUEUED || state == IPK_QUEUE_LEASED || state == IPK_QUEUE_DELAYED;
}

int
ipk_queue_is_finished(const struct ipk_queue *queue)
{
	uint64_t marks = LOAD_SEQ_CST(&queue->head->marks);
	struct ipk_queue_first first;
	uint32_t used;
	int code = ipk_queue_ring_first(queue, &first);

	if (code)
		return code < 0 ? code : 0;
	for (uint32_t index = 0; index < queue->shape.messages; index++)
		if (has_message(ipk_queue_state_of(LOAD_SEQ_CST(&queue->records[index].word))))
			return 0;
	used = slots_used(queue); /* now: a thread that received from one of the records had joined by then */
	for (uint32_t slot = 0; slot < used; slot++)
		if (count_in(queue, slot, LOAD_SEQ_CST(&queue->parts[slot].unfinished)))
			return 0;
	return ipk_queue_ring_empty_at(queue, first.position) && LOAD_SEQ_CST(&queue->head->marks) == marks; /* N3 */
}

void
ipk_queue_wake_if_finished(const struct ipk_queue *queue)
{
	if (ipk_queue_has_sleepers(queue, IPK_QUEUE_FINISHED) && ipk_queue_is_finished(queue))
		ipk_queue_wake(queue, IPK_QUEUE_FINISHED);
}

/*
 * shared_queue/recovery.c - what a thread held when it died.
 *
 * Owns      incarnation, recovered of a part.  Stands on locks/slots, record.c, pages.c, ring.c, wait.c.
 * State     none.  Blocks  never.
 *
 * Invariants
 *   D1  Every step is a compare-and-set from a word of the dead thread, so several processes may
 *       recover one slot at the same time, and each word is recovered by one of them.
 *   D2  What is not yet whole belongs to the process that recovers it: CLEARING, its own. So it is
 *       recovered again when that process is killed.
 *   D3  A thread that gets the slot first counts up its incarnation, and then recovers what it finds
 *       there, before it takes anything.
 *   D4  Another process recovers a word that it read when, after reading it, the slot is still dead in
 *       the incarnation that it began with. So no word of a living thread is recovered.
 *   D5  `recovered` is an incarnation that was dead when all its words were looked at. A thread that
 *       takes something has another one, so its death is not passed over.
 */
#include "shared_queue/internal.h"

/* Give back what a record that was not sent, or is acknowledged, still holds. */
static void
clear(const struct ipk_queue *queue, uint32_t me, uint32_t index, uint64_t word)
{
	struct ipk_queue_record *record = &queue->records[index];
	/* Another attempt, so that it is another word also where the owner stays the same slot. */
	uint64_t mine = ipk_queue_make_word(ipk_queue_turn_of(word),
					    (ipk_queue_attempt_of(word) + 1) & 0xFF, me,
					    IPK_QUEUE_CLEARING);

	if (!COMPARE_EXCHANGE(&record->word, &word, mine))
		return;
	ipk_queue_pages_reclaim(queue, record);
	ipk_queue_record_free(queue, me, index, mine);
}

static void
recover_record(const struct ipk_queue *queue, uint32_t me, uint32_t index, uint64_t word)
{
	uint64_t *place = &queue->records[index].word;
	uint64_t position;
	uint64_t back;

	switch (ipk_queue_state_of(word)) {
	case IPK_QUEUE_FILLING:
		if (ipk_queue_ring_find(queue, index, &position))
			(void)COMPARE_EXCHANGE(
				place, &word,
				ipk_queue_make_word(position, 0, 0, IPK_QUEUE_QUEUED));
		else
			clear(queue, me, index, word);
		break;
	case IPK_QUEUE_LEASED:
		back = ipk_queue_word_back(queue, word, 0);
		if (ipk_queue_state_of(back) == IPK_QUEUE_QUEUED)
			(void)ipk_queue_requeue(queue, index, word, back);
		else
			(void)COMPARE_EXCHANGE(place, &word, back);
		break;
	case IPK_QUEUE_CLEARING:
		clear(queue, me, index, word);
		break;
	default: /* no thread has it */
		break;
	}
}

/* D4. The calling thread's own slot is its own to recover. */
static int
may_recover(const struct ipk_queue *queue, uint32_t me, uint32_t slot, uint32_t incarnation)
{
	return slot + 1 == me ||
	       (LOAD_SEQ_CST(&queue->parts[slot].incarnation) == incarnation &&
		ipk_slot_is_dead(queue->slots, slot));
}

/* All that the slot's dead thread held; `me` is this thread's slot + 1. 1; 0: another thread has joined
 * it, which does that. */
static int
recover_slot(const struct ipk_queue *queue, uint32_t me, uint32_t slot, uint32_t incarnation)
{
	struct ipk_queue_part *part = &queue->parts[slot];
	uint64_t completed;
	uint64_t begun;

	for (uint32_t index = 0; index < queue->shape.messages; index++) {
		uint64_t word = LOAD_SEQ_CST(&queue->records[index].word);

		if (ipk_queue_state_of(word) == IPK_QUEUE_DELAYED) /* perhaps it did not say so */
			(void)ipk_queue_lower_due(queue, LOAD_RELAXED(&queue->records[index].due));
		if (ipk_queue_owner_of(word) != slot + 1)
			continue;
		if (!may_recover(queue, me, slot, incarnation))
			return 0;
		recover_record(queue, me, index, word);
	}
	completed = LOAD_SEQ_CST(&part->frees_completed);
	begun = LOAD_SEQ_CST(&part->frees_begun);
	if (!may_recover(queue, me, slot, incarnation))
		return 0;
	(void)COMPARE_EXCHANGE(&part->frees_completed, &completed, begun); /* F2 */
	ipk_queue_give_up_unfinished(queue, slot, incarnation);
	return 1;
}

int
ipk_queue_recover(const struct ipk_queue *queue, const struct ipk_party *party)
{
	uint32_t used = LOAD_SEQ_CST(&queue->head->slots_used);
	uint32_t me = ipk_queue_me(party);
	int found = 0;

	for (uint32_t slot = 0; slot < used && slot < IPK_QUEUE_SLOTS; slot++) {
		struct ipk_queue_part *part = &queue->parts[slot];
		uint32_t incarnation = LOAD_SEQ_CST(&part->incarnation);

		if (slot + 1 == me || LOAD_SEQ_CST(&part->recovered) == incarnation ||
		    !ipk_slot_is_dead(queue->slots, slot))
			continue;
		if (recover_slot(queue, me, slot, incarnation)) /* D5 */
			STORE_SEQ_CST(&part->recovered, incarnation);
		ipk_queue_wake_all(queue); /* its wake-ups may be lost, too */
		found = 1;
	}
	return found;
}

uint32_t
ipk_queue_held(const struct ipk_queue *queue, const struct ipk_party *party)
{
	uint32_t me = ipk_queue_me(party);
	uint32_t held = 0;

	for (uint32_t index = 0; index < queue->shape.messages; index++)
		held += ipk_queue_owner_of(LOAD_ACQUIRE(&queue->records[index].word)) == me;
	return held;
}

int
ipk_queue_join(const struct ipk_queue *queue, const struct ipk_registry *registry,
	       struct ipk_party *party)
{
	int code = ipk_slot_join(registry, queue->slots, IPK_QUEUE_SLOTS, party);
	uint32_t me;
	uint32_t used;

	if (code)
		return code;
	me = ipk_queue_me(party);
	used = LOAD_SEQ_CST(&queue->head->slots_used);
	while (used < me && !COMPARE_EXCHANGE(&queue->head->slots_used, &used, me))
		;
	(void)FETCH_ADD(&queue->parts[me - 1].incarnation, 1); /* D3 */
	ipk_queue_forget_sleep(queue, party);
	(void)recover_slot(queue, me, me - 1, 0);
	ipk_queue_wake_all(queue); /* sleepers watch this thread, too */
	return 0;
}

/*
 * shared_queue/receive.c - a message on its way out: leased, and acknowledged or given back.
 *
 * Owns      nothing.  Stands on record.c, pages.c, ring.c, wait.c.
 * State     none.  Blocks  never.
 *
 * Invariants
 *   T1  The ring is looked at first, and then what was given back (F5). When the second look finds no
 *       message, the first one of the ring was the first of the queue at its end, if it is still there to
 *       take; when the ring is empty at a position before and after it, the queue was empty at its end.
 *   T2  A message is acknowledged by the thread in whose slot it is LEASED or CLEARING. Another thread
 *       first makes it its own, CLEARING, by a compare-and-set. So it does not end what
 *       another process has recovered.
 */
#include "shared_queue/internal.h"

#include <errno.h>
#include <limits.h>
#include <string.h>

/* Lease the first message. 1; 0: there is none; -EAGAIN: another thread was before; -EUCLEAN. */
static int
take_first(const struct ipk_queue *queue, uint32_t me, struct ipk_queue_lease *lease)
{
	struct ipk_queue_first first;
	int code = ipk_queue_ring_first(queue, &first);

	if (code < 0)
		return code;
	if (ipk_queue_back_take(queue, me, lease)) /* T1: after the look at the ring */
		return 1;
	if (code == 0)
		return ipk_queue_ring_empty_at(queue, first.position) ? 0 : -EAGAIN;
	return ipk_queue_ring_take(queue, me, &first, lease) ? 1 : -EAGAIN;
}

int
ipk_queue_take(const struct ipk_queue *queue, const struct ipk_party *party,
	       struct ipk_queue_lease *lease)
{
	struct ipk_queue_part *part = ipk_queue_part_of(queue, party);
	int code = -EAGAIN;

	for (uint32_t tries = 0; code == -EAGAIN && tries < IPK_QUEUE_TRIES; tries++) {
		ipk_queue_wake_due(queue);
		code = take_first(queue, ipk_queue_me(party), lease);
	}
	if (code > 0 && ipk_queue_attempt_of(lease->word) > 1) {
		ipk_queue_forget_back(queue, lease->record);
		STORE_RELAXED(&part->redelivered, LOAD_RELAXED(&part->redelivered) + 1);
	}
	return code == -EAGAIN ? -EUCLEAN : code;
}

int
ipk_queue_message_of(const struct ipk_queue *queue, const struct ipk_queue_lease *lease,
		     struct ipk_queue_message *message)
{
	const struct ipk_queue_record *record = &queue->records[lease->record];
	uint64_t room = LOAD_RELAXED(&record->reservation)
				? (uint64_t)queue->shape.pages * IPK_QUEUE_PAGE
				: IPK_QUEUE_INLINE;

	message->size = LOAD_RELAXED(&record->size);
	message->sent = LOAD_RELAXED(&record->sent);
	message->extents = LOAD_RELAXED(&record->extents);
	message->attempt = ipk_queue_attempt_of(lease->word);
	return message->size > room ? -EUCLEAN : 0;
}

int
ipk_queue_copy(const struct ipk_queue *queue, const struct ipk_queue_lease *lease, void *bytes,
	       uint64_t size)
{
	struct ipk_queue_extent extent = {.total = size};
	int more;

	while ((more = ipk_queue_next_extent(queue, lease->record, &extent)) > 0)
		memcpy((unsigned char *)bytes + extent.offset, extent.start, extent.size);
	return more;
}

int
ipk_queue_begin_clearing(const struct ipk_queue *queue, const struct ipk_party *party,
			 struct ipk_queue_lease *lease)
{
	uint64_t word = lease->word;
	uint64_t clearing = ipk_queue_moved(word, ipk_queue_me(party), IPK_QUEUE_CLEARING);

	if (!ipk_queue_is_current(queue, lease) ||
	    !COMPARE_EXCHANGE(&queue->records[lease->record].word, &word, clearing))
		return -ESTALE;
	lease->word = clearing;
	lease->incarnation = LOAD_RELAXED(&ipk_queue_part_of(queue, party)->incarnation);
	return 0;
}

void
ipk_queue_end_clearing(const struct ipk_queue *queue, const struct ipk_party *party,
		       const struct ipk_queue_lease *lease)
{
	struct ipk_queue_record *record = &queue->records[lease->record];
	struct ipk_queue_lease own = *lease;

	if (ipk_queue_owner_of(own.word) != ipk_queue_me(party)) { /* T2 */
		if (ipk_queue_begin_clearing(queue, party, &own))
			return; /* its thread ended, and another process has cleared it */
	} else if (LOAD_SEQ_CST(&record->word) != own.word) {
		return;
	}
	if (LOAD_RELAXED(&record->reservation))
		ipk_queue_pages_free(queue, record);
	ipk_queue_record_free(queue, ipk_queue_me(party), own.record, own.word);
	ipk_queue_wake(queue, IPK_QUEUE_ROOM);
	ipk_queue_wake_if_finished(queue);
}

int
ipk_queue_acknowledge(const struct ipk_queue *queue, const struct ipk_party *party,
		      const struct ipk_queue_lease *lease)
{
	struct ipk_queue_record *record = &queue->records[lease->record];
	struct ipk_queue_lease clearing = *lease;

	if (LOAD_RELAXED(&record->reservation) ||
	    ipk_queue_owner_of(lease->word) != ipk_queue_me(party)) {
		if (ipk_queue_begin_clearing(queue, party, &clearing))
			return -ESTALE;
		ipk_queue_end_clearing(queue, party, &clearing);
		return 0;
	}
	if (!ipk_queue_is_current(queue, lease) || LOAD_SEQ_CST(&record->word) != lease->word)
		return -ESTALE;
	ipk_queue_record_free(queue, ipk_queue_me(party), lease->record, lease->word);
	ipk_queue_wake(queue, IPK_QUEUE_ROOM);
	ipk_queue_wake_if_finished(queue);
	return 0;
}

int
ipk_queue_give_back(const struct ipk_queue *queue, const struct ipk_queue_lease *lease, int64_t due)
{
	struct ipk_queue_record *record = &queue->records[lease->record];
	uint64_t word = lease->word;
	uint64_t back = ipk_queue_word_back(queue, word, due);

	if (!ipk_queue_is_current(queue, lease) || LOAD_SEQ_CST(&record->word) != word)
		return -ESTALE;
	STORE_RELAXED(&record->due, due);
	if (ipk_queue_state_of(back) == IPK_QUEUE_QUEUED) {
		if (!ipk_queue_requeue(queue, lease->record, word, back))
			return -ESTALE;
		ipk_queue_wake(queue, IPK_QUEUE_MESSAGE);
		return 0;
	}
	if (!COMPARE_EXCHANGE(&record->word, &word, back))
		return -ESTALE;
	if (ipk_queue_state_of(back) == IPK_QUEUE_DELAYED && ipk_queue_lower_due(queue, due))
		ipk_queue_wake_all(queue); /* each of them sleeps until then, at most */
	else
		ipk_queue_wake_if_finished(queue); /* it is dead */
	return 0;
}

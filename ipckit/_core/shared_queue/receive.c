/*
 * shared_queue/receive.c - a message on its way out: leased, and acknowledged or given back.
 *
 * Owns      nothing.  Stands on record.c, pages.c, ring.c, wait.c.
 * State     none.  Blocks  never.
 *
 * Invariant
 *   T1  "There is none" is answered when the ring is empty at a position, no message that was given
 *       back is QUEUED after that, and the ring is still empty at that position.
 */
#include "shared_queue/internal.h"

#include <errno.h>
#include <limits.h>
#include <string.h>

/* One that was given back by a lease before, or perhaps was. 1, 0. */
static int
take_back(const struct ipk_queue *queue, const struct ipk_party *party,
	  struct ipk_queue_lease *lease)
{
	struct ipk_queue_part *part = ipk_queue_part_of(queue, party);

	if (!ipk_queue_back_take(queue, ipk_queue_me(party), lease))
		return 0;
	if (ipk_queue_attempt_of(lease->word) > 1)
		STORE_RELAXED(&part->redelivered, LOAD_RELAXED(&part->redelivered) + 1);
	return 1;
}

int
ipk_queue_take(const struct ipk_queue *queue, const struct ipk_party *party,
	       struct ipk_queue_lease *lease)
{
	struct ipk_queue_part *part = ipk_queue_part_of(queue, party);

	for (;;) {
		uint64_t position;
		int code;

		ipk_queue_wake_due(queue);
		if (take_back(queue, party, lease))
			return 1;
		code = ipk_queue_ring_take(queue, ipk_queue_me(party), lease, &position);
		if (code > 0 && ipk_queue_attempt_of(lease->word) > 1) {
			ipk_queue_forget_back(queue, lease->record);
			STORE_RELAXED(&part->redelivered, LOAD_RELAXED(&part->redelivered) + 1);
		}
		if (code)
			return code;
		if (take_back(queue, party, lease))
			return 1;
		if (ipk_queue_ring_empty_at(queue, position)) /* T1 */
			return 0;
	}
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

	if (!COMPARE_EXCHANGE(&queue->records[lease->record].word, &word, clearing))
		return -ESTALE;
	lease->word = clearing;
	return 0;
}

void
ipk_queue_end_clearing(const struct ipk_queue *queue, const struct ipk_party *party,
		       const struct ipk_queue_lease *lease)
{
	struct ipk_queue_record *record = &queue->records[lease->record];

	if (LOAD_RELAXED(&record->word) != lease->word)
		return; /* its thread ended, and another process has cleared it */
	if (LOAD_RELAXED(&record->reservation))
		ipk_queue_pages_free(queue, record);
	ipk_queue_record_free(queue, ipk_queue_me(party), lease->record, lease->word);
	ipk_queue_wake(queue, IPK_QUEUE_ROOM);
}

int
ipk_queue_acknowledge(const struct ipk_queue *queue, const struct ipk_party *party,
		      const struct ipk_queue_lease *lease)
{
	struct ipk_queue_record *record = &queue->records[lease->record];
	struct ipk_queue_lease clearing = *lease;

	if (LOAD_RELAXED(&record->word) != lease->word)
		return -ESTALE;
	if (LOAD_RELAXED(&record->reservation)) {
		if (ipk_queue_begin_clearing(queue, party, &clearing))
			return -ESTALE;
		ipk_queue_end_clearing(queue, party, &clearing);
		return 0;
	}
	ipk_queue_record_free(queue, ipk_queue_me(party), lease->record, lease->word);
	ipk_queue_wake(queue, IPK_QUEUE_ROOM);
	return 0;
}

int
ipk_queue_give_back(const struct ipk_queue *queue, const struct ipk_queue_lease *lease, int64_t due)
{
	struct ipk_queue_record *record = &queue->records[lease->record];
	uint64_t word = lease->word;
	uint64_t back = ipk_queue_word_back(queue, word, due);

	if (LOAD_RELAXED(&record->word) != word)
		return -ESTALE;
	if (ipk_queue_state_of(back) == IPK_QUEUE_QUEUED)
		ipk_queue_mark_back(queue, lease->record); /* F3 */
	STORE_RELAXED(&record->due, due);
	if (!COMPARE_EXCHANGE(&record->word, &word, back))
		return -ESTALE;
	if (ipk_queue_state_of(back) == IPK_QUEUE_DELAYED)
		ipk_queue_lower_due(queue, due);
	ipk_queue_wake(queue, IPK_QUEUE_MESSAGE); /* also for a delay: its end may be the first */
	return 0;
}

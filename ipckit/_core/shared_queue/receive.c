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
#include "base/clock.h"
#include "shared_queue/internal.h"

#include <errno.h>
#include <limits.h>
#include <string.h>

static void
look_for_due(const struct ipk_queue *queue)
{
	int64_t due = LOAD_RELAXED(&queue->head->next_due);
	int64_t now;

	if (due == INT64_MAX)
		return;
	now = (int64_t)ipk_now_ns();
	if (due <= now)
		ipk_queue_wake_due(queue, now);
}

int
ipk_queue_take(const struct ipk_queue *queue, const struct ipk_party *party,
	       struct ipk_queue_lease *lease)
{
	uint32_t me = ipk_queue_me(party);

	for (;;) {
		uint64_t position;
		int code;

		look_for_due(queue);
		if (ipk_queue_back_take(queue, me, lease))
			return 1;
		code = ipk_queue_ring_take(queue, me, lease, &position);
		if (code > 0 && ipk_queue_attempt_of(lease->word) > 1)
			ipk_queue_forget_back(queue, lease->record);
		if (code)
			return code;
		if (ipk_queue_back_take(queue, me, lease))
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
ipk_queue_copy(const struct ipk_queue *queue, const struct ipk_queue_lease *lease, void *bytes)
{
	struct ipk_queue_extent extent = {0};
	int more;

	while ((more = ipk_queue_next_extent(queue, lease->record, &extent)) > 0)
		memcpy((unsigned char *)bytes + extent.offset, extent.start, extent.size);
	return more;
}

int
ipk_queue_acknowledge(const struct ipk_queue *queue, const struct ipk_party *party,
		      const struct ipk_queue_lease *lease)
{
	struct ipk_queue_record *record = &queue->records[lease->record];
	uint32_t me = ipk_queue_me(party);
	uint64_t word = lease->word;

	if (LOAD_RELAXED(&record->word) != word)
		return -ESTALE;
	if (LOAD_RELAXED(&record->reservation)) {
		uint64_t clearing = ipk_queue_moved(word, me, IPK_QUEUE_CLEARING);

		if (!COMPARE_EXCHANGE(&record->word, &word, clearing))
			return -ESTALE;
		word = clearing;
		ipk_queue_pages_free(queue, record);
	}
	ipk_queue_record_free(queue, me, lease->record, word);
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

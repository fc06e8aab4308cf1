/*
 * shared_queue/send.c - a message on its way into the queue.
 *
 * Owns      size, sent of a record that is FILLING.  Stands on record.c, pages.c, ring.c, wait.c.
 * State     none.  Blocks  never.
 *
 * Invariant
 *   N1  A message is published or abandoned by the thread in whose slot it is FILLING. Another thread
 *       first makes it its own by a compare-and-set. So it is not ended beside its recovery.
 */
#include "shared_queue/internal.h"

#include <errno.h>
#include <string.h>
#include <time.h>

/* As of the last tick: reading it costs a few nanoseconds. */
static int64_t
coarse_now(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
	return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static uint64_t
next_reservation(const struct ipk_queue *queue, const struct ipk_party *party)
{
	struct ipk_queue_part *part = ipk_queue_part_of(queue, party);
	uint64_t number = (LOAD_RELAXED(&part->reservations) + 1) & ((UINT64_C(1) << 52) - 1);

	STORE_RELAXED(&part->reservations, number);
	return (uint64_t)ipk_queue_me(party) << 52 | number;
}

int
ipk_queue_reserve(const struct ipk_queue *queue, const struct ipk_party *party, uint64_t size,
		  struct ipk_queue_lease *lease, struct ipk_obstacle *obstacle)
{
	uint32_t me = ipk_queue_me(party);
	struct ipk_queue_record *record;
	int code;

	if (size > IPK_QUEUE_INLINE && size > (uint64_t)queue->shape.pages * IPK_QUEUE_PAGE)
		return -EMSGSIZE;
	code = ipk_queue_record_take(queue, me, lease);
	if (code)
		return code;
	record = &queue->records[lease->record];
	STORE_RELAXED(&record->size, size);
	STORE_RELAXED(&record->extents, 1);
	STORE_RELAXED(&record->due, 0);
	if (size <= IPK_QUEUE_INLINE) {
		STORE_RELAXED(&record->reservation, 0);
		return 0;
	}
	STORE_RELEASE(&record->reservation, next_reservation(queue, party)); /* G2 */
	code = ipk_queue_pages_take(queue, party, record, size, obstacle);
	if (code) {
		STORE_RELAXED(&record->reservation, 0);
		ipk_queue_record_free(queue, me, lease->record, lease->word);
	}
	return code == -ENOSPC ? -ENOBUFS : code;
}

int
ipk_queue_fill(const struct ipk_queue *queue, const struct ipk_queue_lease *lease,
	       const void *bytes, uint64_t size)
{
	struct ipk_queue_extent extent = {.total = size};
	int more;

	while ((more = ipk_queue_next_extent(queue, lease->record, &extent)) > 0)
		memcpy(extent.start, (const unsigned char *)bytes + extent.offset, extent.size);
	return more;
}

/* The message is FILLING, of the calling thread, or becomes so. 0, -ESTALE. */
static int
make_own(const struct ipk_queue *queue, const struct ipk_party *party, struct ipk_queue_lease *lease)
{
	uint64_t *place = &queue->records[lease->record].word;
	uint32_t me = ipk_queue_me(party);
	uint64_t word = lease->word;

	if (ipk_queue_owner_of(word) == me)
		return LOAD_SEQ_CST(place) == word ? 0 : -ESTALE; /* it lives: no process recovers it */
	lease->word = ipk_queue_moved(word, me, IPK_QUEUE_FILLING);
	return COMPARE_EXCHANGE(place, &word, lease->word) ? 0 : -ESTALE;
}

int
ipk_queue_publish(const struct ipk_queue *queue, const struct ipk_party *party,
		  const struct ipk_queue_lease *lease)
{
	struct ipk_queue_lease own = *lease;
	int code = make_own(queue, party, &own);

	if (code)
		return code;
	STORE_RELAXED(&queue->records[own.record].sent, coarse_now());
	code = ipk_queue_ring_put(queue, own.record, own.word);
	if (code == 0)
		ipk_queue_wake(queue, IPK_QUEUE_MESSAGE);
	return code;
}

void
ipk_queue_abandon(const struct ipk_queue *queue, const struct ipk_party *party,
		  const struct ipk_queue_lease *lease)
{
	struct ipk_queue_record *record = &queue->records[lease->record];
	struct ipk_queue_lease own = *lease;

	if (make_own(queue, party, &own))
		return;
	if (LOAD_RELAXED(&record->reservation))
		ipk_queue_pages_free(queue, record);
	ipk_queue_record_free(queue, ipk_queue_me(party), own.record, own.word);
	ipk_queue_wake(queue, IPK_QUEUE_ROOM);
}

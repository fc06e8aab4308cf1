/*
 * shared_queue/verify.c - looking at a queue, and checking its rules.
 *
 * Owns      nothing.  State  none.  Blocks  never.
 */
#include "shared_queue/internal.h"

void
ipk_queue_count(const struct ipk_queue *queue, struct ipk_queue_counts *counts)
{
	*counts = (struct ipk_queue_counts){0};
	for (uint32_t index = 0; index < queue->shape.messages; index++) {
		const struct ipk_queue_record *record = &queue->records[index];
		uint32_t state = ipk_queue_state_of(LOAD_ACQUIRE(&record->word));
		int64_t sent = LOAD_RELAXED(&record->sent);

		if (state >= IPK_QUEUE_STATES)
			continue;
		counts->in[state]++;
		if (state >= IPK_QUEUE_QUEUED && state <= IPK_QUEUE_DELAYED &&
		    (!counts->oldest || sent < counts->oldest))
			counts->oldest = sent;
	}
	counts->free_pages = ipk_queue_pages_left(queue);
	counts->sent = LOAD_RELAXED(&queue->head->tail);
	for (uint32_t slot = 0; slot < IPK_QUEUE_SLOTS; slot++)
		counts->redelivered += LOAD_RELAXED(&queue->parts[slot].redelivered);
}

uint32_t
ipk_queue_depth(const struct ipk_queue *queue)
{
	uint32_t depth = 0;

	for (uint32_t index = 0; index < queue->shape.messages; index++)
		depth += ipk_queue_state_of(LOAD_ACQUIRE(&queue->records[index].word)) ==
			 IPK_QUEUE_QUEUED;
	return depth;
}

uint32_t
ipk_queue_holder(const struct ipk_queue *queue, uint32_t record, struct ipk_queue_lease *lease)
{
	uint64_t word = LOAD_ACQUIRE(&queue->records[record].word);
	uint32_t owner = ipk_queue_owner_of(word);

	*lease = (struct ipk_queue_lease){.record = record, .word = word};
	if (ipk_queue_state_of(word) != IPK_QUEUE_LEASED || owner == 0 || owner > IPK_QUEUE_SLOTS)
		return 0;
	return LOAD_RELAXED(&queue->slots[owner - 1].tid);
}

/* How many pages a record has by its chain; UINT32_MAX: the chain is broken. */
static uint32_t
chain(const struct ipk_queue *queue, const struct ipk_queue_record *record)
{
	uint32_t page = record->first_page;
	uint32_t count = 0;

	for (; page; count++) {
		if (page > queue->shape.pages || count == queue->shape.pages ||
		    queue->page_of[page - 1] != record->reservation)
			return UINT32_MAX;
		page = queue->next_page[page - 1];
	}
	return count;
}

static const char *
check_record(const struct ipk_queue *queue, uint32_t index, uint32_t *pages)
{
	const struct ipk_queue_record *record = &queue->records[index];
	uint32_t state = ipk_queue_state_of(record->word);
	uint32_t owner = ipk_queue_owner_of(record->word);
	uint64_t size = record->size;
	uint64_t position;
	uint32_t count = 0;

	if (state >= IPK_QUEUE_STATES)
		return "a word has no state";
	if (owner > IPK_QUEUE_SLOTS)
		return "a word has no owner that there is";
	if ((owner != 0) != (state == IPK_QUEUE_FILLING || state == IPK_QUEUE_LEASED ||
			     state == IPK_QUEUE_CLEARING))
		return "D1: a word has an owner, or none, against its state";
	if (ipk_queue_ring_find(queue, index, &position)) {
		if (state == IPK_QUEUE_FREE)
			return "R4: an entry names a record that is free";
		if (state != IPK_QUEUE_FILLING && ipk_queue_turn_of(record->word) != position)
			return "R2: an entry names another turn";
	} else if (state == IPK_QUEUE_QUEUED &&
		   !(queue->back[index / IPK_QUEUE_MAP] >> index % IPK_QUEUE_MAP & 1)) {
		return "F3: a message is in no place where a receiver looks";
	}
	if (state == IPK_QUEUE_FREE)
		return record->reservation ? "G2: a free record has pages" : NULL;
	if (state == IPK_QUEUE_FILLING || state == IPK_QUEUE_CLEARING)
		return NULL;
	if (record->reservation) {
		count = chain(queue, record);
		if (count == UINT32_MAX || (uint64_t)count * IPK_QUEUE_PAGE < size ||
		    (uint64_t)count * IPK_QUEUE_PAGE >= size + IPK_QUEUE_PAGE)
			return "G3: a body has other pages than its size needs";
	} else if (size > IPK_QUEUE_INLINE) {
		return "G3: a body is longer than its record";
	}
	*pages += count;
	return NULL;
}

const char *
ipk_queue_verify(const struct ipk_queue *queue)
{
	uint32_t held = 0;
	uint32_t taken = 0;
	int open = 0;

	for (uint32_t index = 0; index < queue->shape.messages; index++) {
		uint32_t state = ipk_queue_state_of(queue->records[index].word);
		const char *broken = check_record(queue, index, &held);

		if (broken)
			return broken;
		open |= state == IPK_QUEUE_FILLING || state == IPK_QUEUE_CLEARING;
	}
	for (uint32_t page = 0; page < queue->shape.pages; page++)
		taken += queue->page_of[page] != 0;
	if (!open && taken != held)
		return "G1: a page is taken, and no message has it";
	return NULL;
}

/*
 * shared_queue/ring.c - the order of messages: a ring of record numbers.
 *
 * Owns      cells, tail, head.  Stands on atomics.  State  none.
 *
 * A cell of position p is (p, 0) until a record is published there, (p, record + 1) until the
 * message was taken, and then (p + cells, 0).
 *
 * Invariants
 *   R1  A record is published by one compare-and-set of the cell at the tail. So a position is
 *       filled when all positions before it were.
 *   R2  A FILLING word whose record has an entry counts as QUEUED at that position. The process that
 *       meets it reads the cell, the word, and the cell again. When the cell is the same, the word
 *       is that of the entry, and it is written as QUEUED.
 *   R3  tail and head only say where to look. Each process moves them on past what it has seen.
 *   R4  An entry is cleared before its record is free, so no entry names a later message.
 * Blocks    never.
 */
#include "shared_queue/internal.h"

#include <errno.h>

/* Positions that follow each other lie in different cache lines. */
static uint64_t *
cell_of(const struct ipk_queue *queue, uint64_t position)
{
	uint64_t cells = UINT64_C(1) << queue->ring_bits;
	uint64_t at = position & (cells - 1);

	return &queue->cells[(at << 3 | at >> (queue->ring_bits - 3)) & (cells - 1)];
}

void
ipk_queue_ring_begin(const struct ipk_queue *queue, uint64_t position)
{
	*cell_of(queue, position) = position << 24;
}

static uint64_t
entry(uint64_t position, uint32_t record)
{
	return position << 24 | (record + 1);
}

/* What the cell is when the message of `position` was taken. */
static uint64_t
emptied(const struct ipk_queue *queue, uint64_t position)
{
	return ((position + (UINT64_C(1) << queue->ring_bits)) & IPK_QUEUE_POSITIONS) << 24;
}

/* R3. Whether a hint is behind a cell that is more than a round ahead of it: only damage leaves that. */
static int
is_lost(const struct ipk_queue *queue, const uint64_t *hint, uint64_t position, uint64_t seen)
{
	uint64_t ahead = ((seen >> 24) - position) & IPK_QUEUE_POSITIONS;

	return ahead > UINT64_C(1) << queue->ring_bits && LOAD_SEQ_CST(hint) == position;
}

static void
advance(uint64_t *hint, uint64_t position)
{
	uint64_t seen = position;

	(void)COMPARE_EXCHANGE(hint, &seen, (position + 1) & IPK_QUEUE_POSITIONS);
}

/* R2. The word of a record that has this entry, written as QUEUED if it was FILLING. */
static uint64_t
word_of_entry(const struct ipk_queue *queue, const uint64_t *cell, uint64_t seen)
{
	uint64_t *place = &queue->records[(seen & IPK_QUEUE_RECORDS) - 1].word;
	uint64_t word = LOAD_SEQ_CST(place);
	uint64_t queued;

	if (ipk_queue_state_of(word) != IPK_QUEUE_FILLING || LOAD_SEQ_CST(cell) != seen)
		return word;
	queued = ipk_queue_make_word(seen >> 24, 0, 0, IPK_QUEUE_QUEUED);
	return COMPARE_EXCHANGE(place, &word, queued) ? queued : word;
}

static int
is_record(const struct ipk_queue *queue, uint64_t cell)
{
	return (cell & IPK_QUEUE_RECORDS) <= queue->shape.messages;
}

static int
waits_there(uint64_t word, uint64_t position)
{
	return ipk_queue_state_of(word) == IPK_QUEUE_QUEUED && ipk_queue_turn_of(word) == position;
}

/* The ring came round to an entry that is taken and not cleared: clear it. 0; -EUCLEAN: it is not taken,
 * though the ring has more cells than there are messages. */
static int
settle(const struct ipk_queue *queue, uint64_t *cell, uint64_t seen)
{
	uint64_t position = seen >> 24;
	uint64_t word;

	if ((seen & IPK_QUEUE_RECORDS) == 0 || !is_record(queue, seen))
		return -EUCLEAN;
	word = word_of_entry(queue, cell, seen);
	if (waits_there(word, position))
		return -EUCLEAN;
	if (ipk_queue_state_of(word) == IPK_QUEUE_FILLING)
		return 0; /* the entry is gone */
	(void)COMPARE_EXCHANGE(cell, &seen, emptied(queue, position));
	advance(&queue->head->head, position);
	return 0;
}

int
ipk_queue_ring_put(const struct ipk_queue *queue, uint32_t record, uint64_t word)
{
	for (uint32_t tries = 0; tries < IPK_QUEUE_TRIES; tries++) {
		uint64_t position = LOAD_SEQ_CST(&queue->head->tail);
		uint64_t *cell = cell_of(queue, position);
		uint64_t seen = LOAD_SEQ_CST(cell);
		int code = 0;

		if (position > IPK_QUEUE_POSITIONS)
			return -EUCLEAN;
		if (seen == position << 24) {
			if (!COMPARE_EXCHANGE(cell, &seen, entry(position, record)))
				continue;
			advance(&queue->head->tail, position);
			(void)COMPARE_EXCHANGE(
				&queue->records[record].word, &word,
				ipk_queue_make_word(position, 0, 0, IPK_QUEUE_QUEUED));
			return 0;
		}
		if (seen >> 24 != position && !ipk_queue_before(position, seen >> 24))
			code = settle(queue, cell, seen);
		else if (!is_lost(queue, &queue->head->tail, position, seen))
			advance(&queue->head->tail, position); /* R3: published, or taken since */
		else
			code = -EUCLEAN;
		if (code && LOAD_SEQ_CST(&queue->head->tail) == position)
			return code;
	}
	return -EUCLEAN;
}

int
ipk_queue_ring_first(const struct ipk_queue *queue, struct ipk_queue_first *first)
{
	for (uint32_t tries = 0; tries < IPK_QUEUE_TRIES; tries++) {
		uint64_t at = LOAD_SEQ_CST(&queue->head->head);
		uint64_t *cell = cell_of(queue, at);
		uint64_t seen = LOAD_SEQ_CST(cell);
		uint64_t word;

		if (seen >> 24 != at) {
			if (at > IPK_QUEUE_POSITIONS || ipk_queue_before(seen >> 24, at) ||
			    is_lost(queue, &queue->head->head, at, seen))
				return -EUCLEAN;
			advance(&queue->head->head, at);
			continue;
		}
		*first = (struct ipk_queue_first){at, cell, seen, 0};
		if ((seen & IPK_QUEUE_RECORDS) == 0)
			return 0;
		if (!is_record(queue, seen))
			return -EUCLEAN;
		word = word_of_entry(queue, cell, seen);
		first->word = word;
		if (waits_there(word, at))
			return 1;
		if (ipk_queue_state_of(word) == IPK_QUEUE_FILLING)
			continue; /* the entry is gone */
		(void)COMPARE_EXCHANGE(cell, &seen, emptied(queue, at));
		advance(&queue->head->head, at);
	}
	return -EUCLEAN;
}

int
ipk_queue_ring_take(const struct ipk_queue *queue, uint32_t me, struct ipk_queue_first *first,
		    struct ipk_queue_lease *lease)
{
	uint32_t attempt = ipk_queue_attempt_of(first->word);

	attempt += attempt < IPK_QUEUE_ATTEMPTS;
	lease->record = (uint32_t)(first->seen & IPK_QUEUE_RECORDS) - 1;
	lease->incarnation = LOAD_RELAXED(&queue->parts[me - 1].incarnation);
	lease->word = ipk_queue_make_word(first->position, attempt, me, IPK_QUEUE_LEASED);
	if (!COMPARE_EXCHANGE(&queue->records[lease->record].word, &first->word, lease->word))
		return 0;
	(void)COMPARE_EXCHANGE(first->cell, &first->seen, emptied(queue, first->position));
	advance(&queue->head->head, first->position);
	return 1;
}

int
ipk_queue_ring_has(const struct ipk_queue *queue)
{
	struct ipk_queue_first first;

	return ipk_queue_ring_first(queue, &first);
}

uint64_t
ipk_queue_ring_peek(const struct ipk_queue *queue)
{
	return LOAD_RELAXED(cell_of(queue, LOAD_RELAXED(&queue->head->head) & IPK_QUEUE_POSITIONS));
}

int
ipk_queue_ring_empty_at(const struct ipk_queue *queue, uint64_t position)
{
	return LOAD_SEQ_CST(cell_of(queue, position)) == position << 24;
}

int
ipk_queue_ring_names(const struct ipk_queue *queue, uint32_t record, uint64_t position)
{
	return LOAD_SEQ_CST(cell_of(queue, position)) == entry(position, record);
}

void
ipk_queue_ring_clear(const struct ipk_queue *queue, uint32_t record, uint64_t position)
{
	uint64_t seen = entry(position, record);
	uint64_t *cell = cell_of(queue, position);

	if (LOAD_SEQ_CST(cell) == seen)
		(void)COMPARE_EXCHANGE(cell, &seen, emptied(queue, position));
}

int
ipk_queue_ring_find(const struct ipk_queue *queue, uint32_t record, uint64_t *position)
{
	for (uint64_t at = 0; at < UINT64_C(1) << queue->ring_bits; at++) {
		uint64_t seen = LOAD_SEQ_CST(&queue->cells[at]);

		if ((seen & IPK_QUEUE_RECORDS) == record + 1) {
			*position = seen >> 24;
			return 1;
		}
	}
	return 0;
}

/*
 * shared_queue/record.c - taking and freeing records, and the messages that were given back.
 *
 * Owns      words, except where ring.c changes them; back, marks, marks_seen, next_due; frees_begun,
 *           frees_completed.
 * Stands on ring.c.  State  none.
 *
 * Invariants
 *   F1  A free record's turn is higher than every turn that the record had, so no two FILLING words
 *       of a record are equal.
 *   F2  A free is counted as begun before the record is free, and as completed after it. When no
 *       free record is found, and all frees that were begun by the end were completed at the
 *       beginning, none took place in between: the queue was full.
 *   F3  A message that was given back has its old turn, which is lower than that of every entry of
 *       the ring that is not taken. Its bit in `back` is set before its word is QUEUED; `marks` is
 *       counted up between the two, and after them. The bit is cleared by the thread that leased the
 *       message, or frees its record, so no bit of a message that waits is cleared. A bit may be late: of a record
 *       that is not QUEUED, or whose message the ring gives; such a one is passed over.
 *   F4  next_due is at most the `due` of every message that is DELAYED, or its process is about to lower
 *       it. Lowering always changes it, by 1 ns at least. It is raised, by one compare-and-set from the
 *       value that was there before all records were looked at, so not past a message that became DELAYED
 *       during the look.
 *   F5  A look at what was given back is made again when `marks` has changed during it. So its answer is
 *       that of its end: the message of the lowest turn, or none. A message whose return is not complete
 *       by then may be passed over. After LOOKS looks that are all disturbed the last one counts.
 * Blocks    never.
 */
#include "base/clock.h"
#include "shared_queue/internal.h"

#include <errno.h>
#include <limits.h>

enum { STEADY = 3, LOOKS = 64 };

static uint64_t
record_bit(uint32_t record)
{
	return UINT64_C(1) << (record % IPK_QUEUE_MAP);
}

static uint32_t
maps(const struct ipk_queue *queue)
{
	return (queue->shape.messages + IPK_QUEUE_MAP - 1) / IPK_QUEUE_MAP;
}

/* -- free records -- */

static int
claim(const struct ipk_queue *queue, uint32_t me, uint32_t record, struct ipk_queue_lease *lease)
{
	uint64_t *place = &queue->records[record].word;
	uint64_t word = LOAD_RELAXED(place);

	if (ipk_queue_state_of(word) != IPK_QUEUE_FREE)
		return 0;
	lease->record = record;
	lease->incarnation = LOAD_RELAXED(&queue->parts[me - 1].incarnation);
	lease->word = ipk_queue_make_word(ipk_queue_turn_of(word), 0, me, IPK_QUEUE_FILLING);
	return COMPARE_EXCHANGE(place, &word, lease->word);
}

/* Look at every record once, from where the last look ended. */
static int
find_free(const struct ipk_queue *queue, uint32_t me, struct ipk_queue_lease *lease)
{
	uint32_t *next = &queue->parts[me - 1].next_record;
	uint32_t record = LOAD_RELAXED(next) % queue->shape.messages;

	for (uint32_t looked = 0; looked < queue->shape.messages; looked++) {
		int found = claim(queue, me, record, lease);

		record = record + 1 == queue->shape.messages ? 0 : record + 1;
		if (found) {
			STORE_RELAXED(next, record);
			return 1;
		}
	}
	return 0;
}

static uint64_t
frees(const struct ipk_queue *queue, int begun)
{
	uint32_t used = LOAD_SEQ_CST(&queue->head->slots_used);
	uint64_t sum = 0;

	for (uint32_t slot = 0; slot < used && slot < IPK_QUEUE_SLOTS; slot++)
		sum += begun ? LOAD_SEQ_CST(&queue->parts[slot].frees_begun)
			     : LOAD_SEQ_CST(&queue->parts[slot].frees_completed);
	return sum;
}

int
ipk_queue_record_take(const struct ipk_queue *queue, uint32_t me, struct ipk_queue_lease *lease)
{
	uint64_t last = 0;
	uint32_t steady = 0;

	if (find_free(queue, me, lease)) /* the counts below are in cache lines of other processes */
		return 0;
	for (;;) {
		uint64_t completed = frees(queue, 0);
		uint64_t begun;

		if (find_free(queue, me, lease))
			return 0;
		FENCE(__ATOMIC_ACQUIRE);
		begun = frees(queue, 1);
		/* A thread that was stopped inside a free holds up no other. */
		steady = begun == last ? steady + 1 : 0;
		if (begun == completed || steady == STEADY) /* F2 */
			return -ENOSPC;
		last = begun;
	}
}

void
ipk_queue_record_free(const struct ipk_queue *queue, uint32_t me, uint32_t index, uint64_t word)
{
	struct ipk_queue_record *record = &queue->records[index];
	struct ipk_queue_part *part = &queue->parts[me - 1];
	uint64_t turn = ipk_queue_turn_of(word);
	uint64_t highest = LOAD_RELAXED(&record->highest);
	uint64_t begun;

	if (ipk_queue_state_of(word) != IPK_QUEUE_FILLING) {
		ipk_queue_ring_clear(queue, index, turn); /* R4 */
		ipk_queue_forget_back(queue, index);
	}
	highest = (turn > highest ? turn : highest) + 1;
	STORE_RELAXED(&record->highest, highest); /* F1 */
	begun = LOAD_RELAXED(&part->frees_begun) + 1;
	STORE_RELEASE(&part->frees_begun, begun);
	(void)COMPARE_EXCHANGE(&record->word, &word,
			       ipk_queue_make_word(highest & IPK_QUEUE_POSITIONS, 0, 0,
						   IPK_QUEUE_FREE));
	STORE_RELEASE(&part->frees_completed, begun);
}

/* -- what was given back -- */

int
ipk_queue_requeue(const struct ipk_queue *queue, uint32_t record, uint64_t word, uint64_t queued)
{
	int done;

	(void)FETCH_OR(&queue->back[record / IPK_QUEUE_MAP], record_bit(record));
	(void)FETCH_ADD(&queue->head->marks, 1);
	done = COMPARE_EXCHANGE(&queue->records[record].word, &word, queued);
	(void)FETCH_ADD(&queue->head->marks, 1); /* F5 */
	return done;
}

/* The message of the lowest turn that waits; whether there was any bit. */
static int
find_back(const struct ipk_queue *queue, struct ipk_queue_lease *best, int *any)
{
	int found = 0;

	*any = 0;
	for (uint32_t at = 0; at < maps(queue); at++) {
		uint64_t bits = LOAD_SEQ_CST(&queue->back[at]);

		for (; bits; bits &= bits - 1) {
			uint32_t record = at * IPK_QUEUE_MAP + (uint32_t)__builtin_ctzll(bits);
			uint64_t word;

			if (record >= queue->shape.messages)
				break;
			*any = 1;
			word = LOAD_SEQ_CST(&queue->records[record].word);
			if (ipk_queue_state_of(word) != IPK_QUEUE_QUEUED ||
			    ipk_queue_ring_names(queue, record, ipk_queue_turn_of(word)))
				continue;
			if (!found || ipk_queue_before(ipk_queue_turn_of(word),
						       ipk_queue_turn_of(best->word)))
				*best = (struct ipk_queue_lease){.record = record, .word = word};
			found = 1;
		}
	}
	return found;
}

/* F5. The same, unless no bit was set since a look that found none. */
static int
look_back(const struct ipk_queue *queue, struct ipk_queue_lease *best)
{
	uint64_t marks = LOAD_SEQ_CST(&queue->head->marks);
	uint64_t before = marks;
	int found;
	int any;

	if (marks == LOAD_SEQ_CST(&queue->head->marks_seen))
		return 0;
	for (uint32_t looks = 1;; looks++) {
		found = find_back(queue, best, &any);
		marks = LOAD_SEQ_CST(&queue->head->marks);
		if (marks == before || looks == LOOKS)
			break;
		before = marks;
	}
	if (!any)
		STORE_SEQ_CST(&queue->head->marks_seen, before);
	return found;
}

int
ipk_queue_back_has(const struct ipk_queue *queue)
{
	struct ipk_queue_lease best;

	return look_back(queue, &best);
}

int
ipk_queue_back_take(const struct ipk_queue *queue, uint32_t me, struct ipk_queue_lease *lease)
{
	struct ipk_queue_lease best;

	while (look_back(queue, &best)) {
		uint32_t attempt = ipk_queue_attempt_of(best.word);

		attempt += attempt < IPK_QUEUE_ATTEMPTS;
		lease->record = best.record;
		lease->incarnation = LOAD_RELAXED(&queue->parts[me - 1].incarnation);
		lease->word = ipk_queue_make_word(ipk_queue_turn_of(best.word), attempt, me,
						  IPK_QUEUE_LEASED);
		if (COMPARE_EXCHANGE(&queue->records[best.record].word, &best.word, lease->word)) {
			ipk_queue_forget_back(queue, best.record);
			return 1;
		}
	}
	return 0;
}

void
ipk_queue_forget_back(const struct ipk_queue *queue, uint32_t record)
{
	if (LOAD_RELAXED(&queue->back[record / IPK_QUEUE_MAP]) & record_bit(record))
		(void)FETCH_CLEAR(&queue->back[record / IPK_QUEUE_MAP], record_bit(record));
}

/* -- delays -- */

int
ipk_queue_lower_due(const struct ipk_queue *queue, int64_t due)
{
	int64_t now = LOAD_SEQ_CST(&queue->head->next_due);
	int64_t lower;

	do
		lower = due < now ? due : now - 1;
	while (!COMPARE_EXCHANGE(&queue->head->next_due, &now, lower));
	return lower == due;
}

/* Queue what is due at `now`; the least `due` of the others. */
static int64_t
queue_due(const struct ipk_queue *queue, int64_t now)
{
	int64_t least = INT64_MAX;

	for (uint32_t record = 0; record < queue->shape.messages; record++) {
		uint64_t word = LOAD_SEQ_CST(&queue->records[record].word);
		int64_t due = LOAD_RELAXED(&queue->records[record].due);

		if (ipk_queue_state_of(word) != IPK_QUEUE_DELAYED)
			continue;
		if (due > now) {
			least = due < least ? due : least;
			continue;
		}
		if (ipk_queue_requeue(queue, record, word, ipk_queue_moved(word, 0, IPK_QUEUE_QUEUED)))
			ipk_queue_wake(queue, IPK_QUEUE_MESSAGE);
	}
	return least;
}

void
ipk_queue_wake_due(const struct ipk_queue *queue)
{
	int64_t first = LOAD_SEQ_CST(&queue->head->next_due);
	int64_t least;
	int64_t now;

	if (first == INT64_MAX)
		return;
	now = (int64_t)ipk_now_ns();
	if (first > now)
		return;
	/* F4. Until it is raised, each process that looks does the same. */
	least = queue_due(queue, now);
	(void)COMPARE_EXCHANGE(&queue->head->next_due, &first, least);
}

uint64_t
ipk_queue_word_back(const struct ipk_queue *queue, uint64_t word, int64_t due)
{
	uint32_t attempts = queue->shape.attempts;

	if (attempts && ipk_queue_attempt_of(word) >= attempts)
		return ipk_queue_moved(word, 0, IPK_QUEUE_DEAD);
	return ipk_queue_moved(word, 0, due ? IPK_QUEUE_DELAYED : IPK_QUEUE_QUEUED);
}

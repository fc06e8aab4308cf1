/*
 * shared_queue/wait.c - sleeping until there may be a message, or room, and waking one that does.
 *
 * Owns      asleep, sleeps; epoch and ticket of a part.  Stands on locks, futex(2), futex_waitv(2).
 * State     queue->woken, private to the process.
 *
 * Invariants
 *   W1  A thread that is about to sleep says so and then tries once more. A thread that leaves a
 *       message, or room, does so and then looks for sleepers. The four accesses are sequentially
 *       consistent, so at least one of the two sees the other.
 *   W2  A sleeper's epoch is odd, and sleeping is refused once it is even. A wake-up is the
 *       compare-and-set that makes it even: one wake-up for each sleep, of the sleeper that has waited
 *       longest. A waker that finds an even epoch wakes that thread all the same, once for each sleep,
 *       as the one that made it even may be stopped; and it goes on to the next sleeper.
 *   W3  A sleeper also sleeps on the `live` words of the other slots, so the death of a thread that
 *       should have woken it, or that has a message, wakes it. A thread that joins wakes all. One death
 *       wakes one sleeper, which recovers before it does anything else, and then wakes all.
 *   W4  A thread that has announced and goes away, whatever with, wakes another one if there is something
 *       for it. So a wake-up is not lost with a thread that did not need it. One that finds too few
 *       pages for its message wakes the next behind it, which may need fewer.
 *   W5  A sleep lasts a second at most. So what a stopped thread was woken for waits no longer.
 * Blocks    ipk_queue_sleep.
 */
#include "base/clock.h"
#include "base/kernel.h"
#include "shared_queue/internal.h"

#include <errno.h>
#include <limits.h>
#include <time.h>

#define SECOND_NS UINT64_C(1000000000)

enum {
	MOST_WORDS = 128,	/* of futex_waitv(2) */
	BLIND_NS = 5000000,	/* without futex_waitv(2): deaths are looked for after each */
	CROWD_NS = 150000000,	/* with more threads than words */
	LONGEST_NS = 1000000000, /* W5 */
};

static uint64_t *
map_of(const struct ipk_queue *queue, enum ipk_queue_event event, uint32_t slot)
{
	return &queue->head->asleep[event][slot / IPK_QUEUE_MAP];
}

static uint64_t
slot_bit(uint32_t slot)
{
	return UINT64_C(1) << slot % IPK_QUEUE_MAP;
}

/* W2. Wake a thread that has announced. 1: this was the wake-up of its sleep; 0: it had one before. */
static int
wake_slot(const struct ipk_queue *queue, uint32_t slot)
{
	uint32_t *word = &queue->parts[slot].epoch;
	uint32_t epoch = LOAD_SEQ_CST(word);
	uint32_t sleep; /* its odd number */
	int first = 0;

	while ((epoch & 1) && !first)
		first = COMPARE_EXCHANGE(word, &epoch, epoch + 1);
	sleep = first ? epoch : epoch - 1;
	if (!first && queue->woken && queue->woken[slot] == sleep)
		return 0;
	if (queue->woken)
		queue->woken[slot] = sleep;
	ipk_wake(word, 1);
	return first;
}

/* The living sleeper of the lowest ticket that is higher than *after, which becomes that ticket; none:
 * UINT32_MAX. */
static uint32_t
next_sleeper(const struct ipk_queue *queue, enum ipk_queue_event event, uint64_t *after)
{
	uint32_t best = UINT32_MAX;
	uint64_t first = UINT64_MAX;

	for (uint32_t map = 0; map < IPK_QUEUE_MAPS; map++) {
		uint64_t bits = LOAD_SEQ_CST(&queue->head->asleep[event][map]); /* W1 */

		for (; bits; bits &= bits - 1) {
			uint32_t slot = map * IPK_QUEUE_MAP + (uint32_t)__builtin_ctzll(bits);
			uint64_t ticket;

			if (slot >= IPK_QUEUE_SLOTS)
				break;
			ticket = LOAD_RELAXED(&queue->parts[slot].ticket);
			if (ticket > *after && ticket < first &&
			    !ipk_slot_is_dead(queue->slots, slot)) {
				first = ticket;
				best = slot;
			}
		}
	}
	*after = first;
	return best;
}

/* Wake the first that has not been woken, of those whose ticket is higher than `after`. */
static void
wake_next(const struct ipk_queue *queue, enum ipk_queue_event event, uint64_t after)
{
	uint32_t slot;

	while ((slot = next_sleeper(queue, event, &after)) != UINT32_MAX)
		if (wake_slot(queue, slot))
			return;
}

void
ipk_queue_wake(const struct ipk_queue *queue, enum ipk_queue_event event)
{
	wake_next(queue, event, 0);
}

void
ipk_queue_pass_on(const struct ipk_queue *queue, enum ipk_queue_event event, uint64_t ticket)
{
	wake_next(queue, event, ticket);
}

void
ipk_queue_wake_all(const struct ipk_queue *queue)
{
	for (int event = 0; event < IPK_QUEUE_EVENTS; event++)
		for (uint32_t map = 0; map < IPK_QUEUE_MAPS; map++) {
			uint64_t bits = LOAD_SEQ_CST(&queue->head->asleep[event][map]);

			for (; bits; bits &= bits - 1) {
				uint32_t slot = map * IPK_QUEUE_MAP + (uint32_t)__builtin_ctzll(bits);

				if (slot < IPK_QUEUE_SLOTS)
					(void)wake_slot(queue, slot);
			}
		}
}

int
ipk_queue_has_sleepers(const struct ipk_queue *queue, enum ipk_queue_event event)
{
	uint64_t any = 0;

	for (uint32_t map = 0; map < IPK_QUEUE_MAPS; map++)
		any |= LOAD_SEQ_CST(&queue->head->asleep[event][map]); /* W1 */
	return any != 0;
}

int
ipk_queue_seems_ready(const struct ipk_queue *queue, const struct ipk_party *party,
		      enum ipk_queue_event event)
{
	uint32_t record;

	if (event == IPK_QUEUE_FINISHED)
		return 0;
	if (event == IPK_QUEUE_MESSAGE)
		return (ipk_queue_ring_peek(queue) & IPK_QUEUE_RECORDS) != 0 ||
		       LOAD_RELAXED(&queue->head->marks) !=
			       LOAD_RELAXED(&queue->head->marks_seen);
	record = LOAD_RELAXED(&ipk_queue_part_of(queue, party)->next_record) % queue->shape.messages;
	return ipk_queue_state_of(LOAD_RELAXED(&queue->records[record].word)) == IPK_QUEUE_FREE;
}

int
ipk_queue_is_ready(const struct ipk_queue *queue, enum ipk_queue_event event, uint64_t size)
{
	if (event == IPK_QUEUE_MESSAGE) {
		ipk_queue_wake_due(queue);
		return ipk_queue_back_has(queue) ? 1 : ipk_queue_ring_has(queue);
	}
	if (event == IPK_QUEUE_FINISHED)
		return ipk_queue_is_finished(queue);
	if (size > IPK_QUEUE_INLINE &&
	    (uint64_t)ipk_queue_pages_left(queue) * IPK_QUEUE_PAGE < size)
		return 0;
	for (uint32_t index = 0; index < queue->shape.messages; index++)
		if (ipk_queue_state_of(LOAD_SEQ_CST(&queue->records[index].word)) == IPK_QUEUE_FREE)
			return 1;
	return 0;
}

void
ipk_queue_announce(const struct ipk_queue *queue, const struct ipk_party *party,
		   enum ipk_queue_event event, uint64_t *ticket)
{
	struct ipk_queue_part *part = ipk_queue_part_of(queue, party);
	uint32_t slot = ipk_queue_me(party) - 1;
	uint32_t epoch = LOAD_RELAXED(&part->epoch);

	if (!*ticket)
		*ticket = FETCH_ADD(&queue->head->sleeps, 1) + 1;
	STORE_RELAXED(&part->ticket, *ticket);
	if (!(epoch & 1))
		STORE_SEQ_CST(&part->epoch, epoch + 1);
	(void)FETCH_OR(map_of(queue, event, slot), slot_bit(slot));
	FENCE(__ATOMIC_SEQ_CST); /* W1, also for what is then looked at by plain loads */
}

void
ipk_queue_awake(const struct ipk_queue *queue, const struct ipk_party *party,
		enum ipk_queue_event event)
{
	struct ipk_queue_part *part = ipk_queue_part_of(queue, party);
	uint32_t slot = ipk_queue_me(party) - 1;
	uint32_t epoch = LOAD_SEQ_CST(&part->epoch);

	(void)FETCH_CLEAR(map_of(queue, event, slot), slot_bit(slot));
	if (epoch & 1)
		(void)COMPARE_EXCHANGE(&part->epoch, &epoch, epoch + 1);
}

void
ipk_queue_leave(const struct ipk_queue *queue, enum ipk_queue_event event)
{
	if (ipk_queue_is_ready(queue, event, 0) > 0)
		ipk_queue_wake(queue, event);
}

void
ipk_queue_forget_sleep(const struct ipk_queue *queue, const struct ipk_party *party)
{
	for (int event = 0; event < IPK_QUEUE_EVENTS; event++)
		ipk_queue_awake(queue, party, (enum ipk_queue_event)event);
}

void
ipk_queue_interrupt(const struct ipk_queue *queue, const struct ipk_party *party)
{
	uint32_t *word = &ipk_queue_part_of(queue, party)->epoch;
	uint32_t epoch = LOAD_SEQ_CST(word);

	if (epoch & 1)
		(void)COMPARE_EXCHANGE(word, &epoch, epoch + 1);
	ipk_wake(word, 1);
}

/* W3. The words of all other threads; how many, or -1: one of them died. */
static int
watch_others(const struct ipk_queue *queue, uint32_t me, struct futex_waitv *words, int *crowd)
{
	uint32_t used = LOAD_SEQ_CST(&queue->head->slots_used);
	int count = 0;

	*crowd = 0;
	for (uint32_t slot = 0; slot < used && slot < IPK_QUEUE_SLOTS; slot++) {
		uint32_t *live = ipk_owner_live(queue->slots, IPK_QUEUE_SLOTS, slot + 1);
		const struct ipk_queue_part *part = &queue->parts[slot];
		uint32_t seen;

		if (slot + 1 == me ||
		    LOAD_SEQ_CST(&part->incarnation) == LOAD_SEQ_CST(&part->recovered))
			continue; /* nothing is in it; a thread that joins wakes this one */
		seen = ipk_watch(live);
		if (ipk_slot_is_dead(queue->slots, slot))
			return -1;
		if (count == MOST_WORDS - 1) {
			*crowd = 1;
			break;
		}
		words[count++] = (struct futex_waitv){
			.val = seen, .uaddr = (uintptr_t)live, .flags = FUTEX_32};
	}
	return count;
}

static uint64_t
earlier(uint64_t a, uint64_t b) /* 0: never */
{
	return a && (!b || a < b) ? a : b;
}

int
ipk_queue_sleep(const struct ipk_queue *queue, const struct ipk_party *party,
		enum ipk_queue_event event, uint64_t deadline_ns)
{
	struct ipk_queue_part *part = ipk_queue_part_of(queue, party);
	struct futex_waitv words[MOST_WORDS];
	uint32_t epoch = LOAD_SEQ_CST(&part->epoch);
	uint64_t now = ipk_now_ns();
	uint64_t until = earlier(deadline_ns, now + LONGEST_NS);
	int64_t due = LOAD_SEQ_CST(&queue->head->next_due);
	struct timespec time;
	int crowd;
	int count;
	int code = 0;

	if (deadline_ns && now >= deadline_ns) {
		code = -ETIMEDOUT;
		goto out;
	}
	count = epoch & 1 ? watch_others(queue, ipk_queue_me(party), words + 1, &crowd) : -1;
	if (count < 0)
		goto out;
	if (event == IPK_QUEUE_MESSAGE && due != INT64_MAX)
		until = earlier(until, due > 0 ? (uint64_t)due : 1);
	if (crowd)
		until = earlier(until, now + CROWD_NS);
	words[0] = (struct futex_waitv){
		.val = epoch, .uaddr = (uintptr_t)&part->epoch, .flags = FUTEX_32};
	time = (struct timespec){.tv_sec = (time_t)(until / SECOND_NS),
				 .tv_nsec = (long)(until % SECOND_NS)};
	if (syscall(SYS_futex_waitv, words, (unsigned int)count + 1, 0, until ? &time : NULL,
		    CLOCK_MONOTONIC) < 0) {
		if (errno == EINTR) {
			code = -EINTR;
		} else if (errno == ENOSYS || errno == EPERM) { /* before Linux 5.16, or forbidden */
			until = earlier(until, now + BLIND_NS);
			time = (struct timespec){.tv_sec = (time_t)(until / SECOND_NS),
						 .tv_nsec = (long)(until % SECOND_NS)};
			if (syscall(SYS_futex, &part->epoch, FUTEX_WAIT_BITSET, epoch, &time, NULL,
				    FUTEX_BITSET_MATCH_ANY) != 0 &&
			    errno == EINTR)
				code = -EINTR;
		}
	}
out:
	ipk_queue_awake(queue, party, event);
	return code;
}

/*
 * ledger/wakeup.c - waking the processes that sleep, and no others.
 *
 * A process sleeps at its event file (eventfd(2)); a wake-up is a write to it, the only system call
 * of the ledger.
 *
 * Owns      epochs, asleep, woken, room_requests, next_due.  Stands on eventfd(2).
 * State     ledger->woken_in, private to the process.
 *
 * Invariants
 *   B1  A process that goes to sleep says so and then looks for work once more. A process that
 *       leaves work does so and then looks for sleepers. The four accesses are sequentially
 *       consistent, so at least one of the two sees the other.
 *   B2  No process withdraws what another one said. A waker that is killed or stopped before its
 *       wake-up keeps no other from waking. So each process wakes for itself, once per sleep.
 *   B3  A process that claims a task and sees more of them wakes the next sleeper.
 *
 * Blocks    never: an event file takes 2^64 - 2 wake-ups.
 */
#include "ledger/internal.h"

#include <errno.h>
#include <unistd.h>

void
ipk_ledger_wake_place(const struct ipk_ledger *ledger, uint32_t place)
{
	uint64_t one = 1;
	ssize_t written;

	if (!ledger->wakeups)
		return;
	do {
		written = write(ledger->wakeups[place], &one, sizeof(one));
	} while (written < 0 && errno == EINTR); /* EAGAIN: it is readable already */
}

void
ipk_ledger_wake_manager(const struct ipk_ledger *ledger)
{
	ipk_ledger_wake_place(ledger, ledger->places);
}

/* B2. Whether it was asleep; then it is woken. */
static int
wake_if_asleep(struct ipk_ledger *ledger, uint32_t place)
{
	uint32_t epoch = LOAD_SEQ_CST(ipk_ledger_epoch(ledger, place)); /* B1 */

	if (!(epoch & 1) || !ledger->woken_in || ledger->woken_in[place] == epoch)
		return 0;
	ledger->woken_in[place] = epoch;
	ipk_ledger_wake_place(ledger, place);
	return 1;
}

void
ipk_ledger_wake_taker(struct ipk_ledger *ledger, uint32_t queue)
{
	uint32_t first = ipk_ledger_submitters(ledger);

	if (queue < ledger->shape.task_workers) {
		(void)wake_if_asleep(ledger, first + 2 * queue);
		(void)wake_if_asleep(ledger, first + 2 * queue + 1);
		return;
	}
	for (uint32_t at = first / 64; at < ipk_ledger_words_for(ledger->places); at++) {
		uint64_t asleep = LOAD_SEQ_CST(&ledger->asleep[at]); /* B1 */

		for (; asleep; asleep &= asleep - 1) {
			uint32_t place = at * 64 + (uint32_t)__builtin_ctzll(asleep);

			if (place >= first && place < ledger->places &&
			    wake_if_asleep(ledger, place))
				return;
		}
	}
}

void
ipk_ledger_wake_submitter(struct ipk_ledger *ledger, uint32_t record)
{
	uint32_t bitmap = ipk_ledger_words_for(ledger->shape.records);
	uint32_t summaries = ipk_ledger_words_for(bitmap);
	uint32_t wakers = ipk_ledger_words_for(ledger->places + 1);
	uint32_t submitter = LOAD_SEQ_CST(&ledger->record[record].submitter);
	uint32_t word = record / 64;
	uint32_t place;

	if (submitter == 0 || submitter > ipk_ledger_submitters(ledger))
		return;
	place = submitter - 1;
	(void)FETCH_OR(&ledger->done[(uint64_t)place * bitmap + word], ipk_ledger_bit(record));
	(void)FETCH_OR(&ledger->summary[(uint64_t)place * summaries + word / 64],
			   ipk_ledger_bit(word));
	if (!(FETCH_OR(&ledger->woken[(uint64_t)place * wakers + ledger->place / 64],
			   ipk_ledger_bit(ledger->place)) &
	      ipk_ledger_bit(ledger->place)))
		ipk_ledger_wake_place(ledger, place);
}

void
ipk_ledger_request_wakeup(const struct ipk_ledger *ledger)
{
	uint32_t wakers = ipk_ledger_words_for(ledger->places + 1);
	uint64_t *woken = &ledger->woken[(uint64_t)ledger->place * wakers];

	for (uint32_t at = 0; at < wakers; at++)
		if (LOAD_SEQ_CST(&woken[at]))
			(void)EXCHANGE(&woken[at], 0);
}

/* Set or clear a place's bit. */
static void
mark(uint64_t *bits, uint32_t place, int on)
{
	if (on)
		(void)FETCH_OR(&bits[place / 64], ipk_ledger_bit(place));
	else
		(void)FETCH_CLEAR(&bits[place / 64], ipk_ledger_bit(place));
}

int
ipk_ledger_sleep(struct ipk_ledger *ledger)
{
	uint32_t *epoch = ipk_ledger_epoch(ledger, ledger->place);

	if (!(*epoch & 1))
		STORE_SEQ_CST(epoch, *epoch + 1);
	mark(ledger->asleep, ledger->place, 1);
	if (!ipk_ledger_has_work(ledger))
		return 1;
	ipk_ledger_wake(ledger);
	return 0;
}

void
ipk_ledger_wake(struct ipk_ledger *ledger)
{
	uint32_t *epoch = ipk_ledger_epoch(ledger, ledger->place);

	if (*epoch & 1) {
		mark(ledger->asleep, ledger->place, 0);
		STORE_SEQ_CST(epoch, *epoch + 1);
	}
}

void
ipk_ledger_request_room(struct ipk_ledger *ledger)
{
	mark(ledger->room_requests, ledger->place, 1);
}

void
ipk_ledger_room_freed(const struct ipk_ledger *ledger)
{
	for (uint32_t at = 0; at < ipk_ledger_words_for(ledger->places); at++) {
		uint64_t room_requests = LOAD_SEQ_CST(&ledger->room_requests[at]); /* B1 */

		if (room_requests)
			room_requests = EXCHANGE(&ledger->room_requests[at], 0);
		for (; room_requests; room_requests &= room_requests - 1) {
			uint32_t place = at * 64 + (uint32_t)__builtin_ctzll(room_requests);

			if (place < ledger->places)
				ipk_ledger_wake_place(ledger, place);
		}
	}
}

int
ipk_ledger_lower_due(const struct ipk_ledger *ledger, int64_t due)
{
	int64_t now = LOAD_SEQ_CST(&ledger->head->next_due);

	while (due < now)
		if (COMPARE_EXCHANGE(&ledger->head->next_due, &now, due))
			return 1;
	return 0;
}

void
ipk_ledger_tell_due(const struct ipk_ledger *ledger, int64_t due)
{
	if (ipk_ledger_lower_due(ledger, due))
		ipk_ledger_wake_manager(ledger);
}

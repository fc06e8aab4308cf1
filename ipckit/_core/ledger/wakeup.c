/*
 * ledger/wakeup.c - waking who sleeps, and nobody else.
 *
 * A bell is an event file (eventfd(2)); writing to one is the only system call of the ledger.
 *
 * Owns      epochs, asleep, rung, wishes, next_due.  Stands on eventfd(2).
 * State     ledger->heard, private to the process.
 *
 * Invariants
 *   B1  who goes to sleep says so, then looks once more; who leaves something to do leaves it,
 *       then looks who sleeps. Both are in the one order of all (STORE_SEQ_CST, LOAD_SEQ_CST), so
 *       one of them sees the other.
 *   B2  nobody takes back what another said: a ringer that is killed or stopped between looking
 *       and ringing keeps no other from ringing. So each rings for himself, once per sleep.
 *   B3  who claims a task and sees that there are more rings the next sleeper.
 *
 * Blocks    never: an event file takes 2^64 - 2 rings.
 */
#include "ledger/internal.h"

#include <errno.h>
#include <unistd.h>

void
ipk_ledger_ring_place(const struct ipk_ledger *ledger, uint32_t place)
{
	uint64_t one = 1;
	ssize_t written;

	if (!ledger->bells)
		return;
	do {
		written = write(ledger->bells[place], &one, sizeof(one));
	} while (written < 0 && errno == EINTR); /* EAGAIN: it is readable, as it shall be */
}

void
ipk_ledger_ring_manager(const struct ipk_ledger *ledger)
{
	ipk_ledger_ring_place(ledger, ledger->places);
}

/* B2. Whether it was asleep, and is rung now. */
static int
ring_if_asleep(struct ipk_ledger *ledger, uint32_t place)
{
	uint32_t epoch = LOAD_SEQ_CST(ipk_ledger_epoch(ledger, place)); /* B1 */

	if (!(epoch & 1) || !ledger->heard || ledger->heard[place] == epoch)
		return 0;
	ledger->heard[place] = epoch;
	ipk_ledger_ring_place(ledger, place);
	return 1;
}

void
ipk_ledger_ring_taker(struct ipk_ledger *ledger, uint32_t queue)
{
	uint32_t first = ipk_ledger_submitters(ledger);

	if (queue < ledger->shape.task_workers) {
		(void)ring_if_asleep(ledger, first + 2 * queue);
		(void)ring_if_asleep(ledger, first + 2 * queue + 1);
		return;
	}
	for (uint32_t at = first / 64; at < ipk_ledger_words_for(ledger->places); at++) {
		uint64_t asleep = LOAD_SEQ_CST(&ledger->asleep[at]); /* B1 */

		for (; asleep; asleep &= asleep - 1) {
			uint32_t place = at * 64 + (uint32_t)__builtin_ctzll(asleep);

			if (place >= first && place < ledger->places &&
			    ring_if_asleep(ledger, place))
				return;
		}
	}
}

void
ipk_ledger_ring_submitter(struct ipk_ledger *ledger, uint32_t record)
{
	uint32_t bitmap = ipk_ledger_words_for(ledger->shape.records);
	uint32_t summaries = ipk_ledger_words_for(bitmap);
	uint32_t ringers = ipk_ledger_words_for(ledger->places + 1);
	uint32_t submitter = LOAD_SEQ_CST(&ledger->record[record].submitter);
	uint32_t word = record / 64;
	uint32_t place;

	if (submitter == 0 || submitter > ipk_ledger_submitters(ledger))
		return;
	place = submitter - 1;
	(void)FETCH_OR(&ledger->done[(uint64_t)place * bitmap + word], ipk_ledger_bit(record));
	(void)FETCH_OR(&ledger->summary[(uint64_t)place * summaries + word / 64],
			   ipk_ledger_bit(word));
	if (!(FETCH_OR(&ledger->rung[(uint64_t)place * ringers + ledger->place / 64],
			   ipk_ledger_bit(ledger->place)) &
	      ipk_ledger_bit(ledger->place)))
		ipk_ledger_ring_place(ledger, place);
}

void
ipk_ledger_want_bell(const struct ipk_ledger *ledger)
{
	uint32_t ringers = ipk_ledger_words_for(ledger->places + 1);
	uint64_t *rung = &ledger->rung[(uint64_t)ledger->place * ringers];

	for (uint32_t at = 0; at < ringers; at++)
		if (LOAD_SEQ_CST(&rung[at]))
			(void)EXCHANGE(&rung[at], 0);
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
ipk_ledger_wish_room(struct ipk_ledger *ledger)
{
	mark(ledger->wishes, ledger->place, 1);
}

void
ipk_ledger_room_freed(const struct ipk_ledger *ledger)
{
	for (uint32_t at = 0; at < ipk_ledger_words_for(ledger->places); at++) {
		uint64_t wishes = LOAD_SEQ_CST(&ledger->wishes[at]); /* B1 */

		if (wishes)
			wishes = EXCHANGE(&ledger->wishes[at], 0);
		for (; wishes; wishes &= wishes - 1) {
			uint32_t place = at * 64 + (uint32_t)__builtin_ctzll(wishes);

			if (place < ledger->places)
				ipk_ledger_ring_place(ledger, place);
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
		ipk_ledger_ring_manager(ledger);
}

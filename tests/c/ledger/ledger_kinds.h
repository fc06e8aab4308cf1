/*
 * ledger_kinds.h - the calls of the ledger that kill_ledger.c cuts, each in one state of a ledger.
 *
 * For one including file: what is here is its own.
 */
#ifndef LEDGER_KINDS_H
#define LEDGER_KINDS_H

#include "ledger_support.h"

enum { KEY = 5, MOST_TASKS = 64 };

/* One call, in one state of the ledger. */
struct kind {
	const char *name;
	uint32_t place;		/* of the victim */
	void (*prepare)(void);	/* by the others */
	void (*ready)(void);	/* by the victim, before the call */
	void (*entry)(void);	/* what is cut */
	void (*call)(void);
	int may_add;		/* a task may have come */
};

/* Tasks that were accepted before the call, and how often the end of each was delivered. */
static int64_t accepted[MOST_TASKS];
static int told[MOST_TASKS];
static int accepted_count;
static int64_t *ending; /* shared: tasks that the victim may have ended */
static struct ipk_ledger_lease *in_hand; /* shared: what the victim had in hand */

static void
accept(int64_t id)
{
	if (id > 0)
		accepted[accepted_count++] = id;
}

static void
add(uint64_t size, int32_t dst, uint64_t order, int64_t due)
{
	accept(post(at(2), size, dst, order, due));
}

static void
nothing(void)
{
}

/* -- what is there before -- */

static void
one(void)
{
	add(600, IPK_LEDGER_ANY, 0, 0);
}

static void
one_for_each(void)
{
	add(600, IPK_LEDGER_ANY, 0, 0);
	add(1, 0, 0, 0);
	add(1, 1, 0, 0);
}

static void
two_with_a_key(void)
{
	add(1, IPK_LEDGER_ANY, KEY, 0);
	add(600, IPK_LEDGER_ANY, KEY, 0);
}

static void
all_asleep(void)
{
	for (uint32_t place = TAKER; place < PLACES; place += 2)
		(void)ipk_ledger_sleep(at(place));
}

static void
many_and_asleep(void)
{
	all_asleep();
	one_for_each();
}

static void
a_stale_entry(void)
{
	struct ipk_ledger_lease lease;

	one(); /* and once more, at the end of the line: the first entry is stale */
	if (ipk_ledger_next(at(MANAGER), 0, IPK_LEDGER_QUEUED, UINT32_MAX, &lease))
		(void)ipk_ledger_retry(at(MANAGER), &lease, 0);
	one();
}

static void
without_entries(void)
{
	one_for_each();
	for (uint32_t ring = 0; ring < 2 * WORKERS * (TASK_WORKERS + 1); ring++)
		at(2)->rings[ring].head = at(2)->rings[ring].tail;
	for (uint32_t queue = 0; queue <= TASK_WORKERS; queue++)
		at(2)->scan[queue] = 1;
}

static void
delayed(void)
{
	add(1, IPK_LEDGER_ANY, 0, 5);
	add(1, IPK_LEDGER_ANY, KEY, 6);
	add(1, IPK_LEDGER_ANY, KEY, 7);
	add(1, IPK_LEDGER_ANY, 0, 700);
}

static void
arena_nearly_full(void)
{
	add(4096, IPK_LEDGER_ANY, 0, 0);
	add(4096, IPK_LEDGER_ANY, 0, 0);
	add(600, IPK_LEDGER_ANY, 0, 0);
}

static void
others_request_room(void)
{
	two_with_a_key();
	ipk_ledger_request_room(at(0));
	ipk_ledger_request_room(at(2));
}

/* One ended task waits for place 2. */
static void
ended(void)
{
	unsigned char bytes[700];
	struct ipk_ledger_lease lease;

	two_with_a_key();
	(void)ipk_ledger_claim(at(TAKER + 2), &lease);
	body_of(bytes, sizeof(bytes));
	(void)ipk_ledger_put_result(at(TAKER + 2), lease.record, bytes, sizeof(bytes));
	(void)ipk_ledger_done(at(TAKER + 2), &lease);
}

static void
buried(void)
{
	struct ipk_ledger_lease lease;

	two_with_a_key();
	(void)ipk_ledger_claim(at(TAKER + 2), &lease);
	(void)ipk_ledger_bury(at(TAKER + 2), &lease);
}

/* A process of each kind has died with its hands full, and was not swept yet. */
static void
dead_hands(void)
{
	unsigned char bytes[700] = {0};
	struct ipk_ledger_lease lease;

	ended();
	accept(post(at(0), 1, IPK_LEDGER_ANY, 0, 0));
	(void)ipk_ledger_collect(at(2), &lease, 1);
	(void)ipk_ledger_take(at(2), &lease);
	(void)ipk_ledger_put_body(at(2), lease.record, bytes, sizeof(bytes));
	(void)ipk_ledger_claim(at(TAKER), &lease);
}

/* -- the victim's hands -- */

static void
take(void)
{
	(void)ipk_ledger_take(at(0), in_hand);
}

static void
take_and_fill(void)
{
	unsigned char bytes[IPK_LEDGER_INSIDE];

	take();
	body_of(bytes, 1000);
	(void)ipk_ledger_put_body(at(0), in_hand->record, bytes, 1000);
}

static void
take_in_order(void)
{
	take_and_fill();
	ipk_ledger_order(at(0), in_hand->record, KEY);
}

static void
take_for_one(void)
{
	take_and_fill();
	at(0)->record[in_hand->record].dst = 1;
}

static void
claim(void)
{
	(void)ipk_ledger_claim(at(TAKER), in_hand);
}

static void
claim_and_answer(void)
{
	unsigned char bytes[700];

	claim();
	body_of(bytes, sizeof(bytes));
	(void)ipk_ledger_put_result(at(TAKER), in_hand->record, bytes, sizeof(bytes));
}

static void
claim_to_end(void)
{
	claim();
	ending[0] = (int64_t)at(TAKER)->record[in_hand->record].id;
}

static void
collect(void)
{
	(void)ipk_ledger_collect(at(2), in_hand, 1);
	ending[0] = (int64_t)at(2)->record[in_hand->record].id;
}

static void
collect_and_end(void)
{
	collect();
	(void)ipk_ledger_end(at(2), in_hand);
}

static void
find_buried(void)
{
	(void)ipk_ledger_next(at(MANAGER), 0, IPK_LEDGER_BURIED, UINT32_MAX, in_hand);
}

/* -- the calls -- */

static const unsigned char zeroes[5000];

static void
call_put_body(void)
{
	(void)ipk_ledger_put_body(at(0), in_hand->record, zeroes, 2000);
}

static void
call_put_result(void)
{
	(void)ipk_ledger_put_result(at(TAKER), in_hand->record, zeroes, 2000);
}

static void
call_put_long_body(void)
{
	(void)ipk_ledger_put_body(at(0), in_hand->record, zeroes, sizeof(zeroes));
}

static void
call_put_long_result(void)
{
	(void)ipk_ledger_put_result(at(TAKER), in_hand->record, zeroes, sizeof(zeroes));
}

static void
call_dedup(void)
{
	static const uint64_t key[2] = {3, 4};

	(void)ipk_ledger_dedup(at(0), in_hand->record, key);
}

static void
call_publish(void)
{
	ipk_ledger_publish(at(0), in_hand, 0);
}

static void
call_publish_later(void)
{
	ipk_ledger_publish(at(0), in_hand, 1000);
}

static void
call_done(void)
{
	(void)ipk_ledger_done(at(TAKER), in_hand);
}

static void
call_retry(void)
{
	(void)ipk_ledger_retry(at(TAKER), in_hand, 0);
}

static void
call_retry_later(void)
{
	(void)ipk_ledger_retry(at(TAKER), in_hand, 1000);
}

static void
call_retry_told(void)
{
	(void)ipk_ledger_retry(at(2), in_hand, 0);
}

static void
call_bury(void)
{
	(void)ipk_ledger_bury(at(TAKER), in_hand);
}

static void
call_collect(void)
{
	struct ipk_ledger_lease leases[4];

	(void)ipk_ledger_collect(at(2), leases, 4);
}

static void
call_end(void)
{
	(void)ipk_ledger_end(at(2), in_hand);
}

static void
call_drop(void)
{
	if (ipk_ledger_end(at(0), in_hand) == 0)
		ipk_ledger_clear(at(0), in_hand);
}

static void
call_clear(void)
{
	ipk_ledger_clear(at(2), in_hand);
}

static void
call_sleep(void)
{
	(void)ipk_ledger_sleep(at(TAKER));
}

static void
call_wake(void)
{
	ipk_ledger_wake(at(TAKER));
}

static void
call_written_down(void)
{
	(void)ipk_ledger_written_down(at(MANAGER), in_hand);
}

static void
call_wake_due(void)
{
	(void)ipk_ledger_wake_due(at(MANAGER), 10);
}

static void
call_move(void)
{
	ipk_ledger_move(at(MANAGER), 2, 3);
}

static void
call_sweep(void)
{
	ipk_ledger_sweep(at(MANAGER), 2);
}

static void
call_recover(void)
{
	ipk_ledger_recover(at(MANAGER));
}

static void
fall_asleep(void)
{
	call_sleep();
}

#define ENTRY(function) (void (*)(void))(function)

static const struct kind kinds[] = {
	{"take", 0, one, nothing, ENTRY(ipk_ledger_take), take, 0},
	{"put_body, long", 0, one, take, ENTRY(ipk_ledger_put_body), call_put_long_body, 0},
	{"put_body", 0, one, take, ENTRY(ipk_ledger_put_body), call_put_body, 0},
	{"put_body, no room", 0, arena_nearly_full, take, ENTRY(ipk_ledger_put_body),
	 call_put_body, 0},
	{"dedup", 0, one, take, ENTRY(ipk_ledger_dedup), call_dedup, 0},
	{"publish", 0, one, take_and_fill, ENTRY(ipk_ledger_publish), call_publish, 1},
	{"publish, all asleep", 0, many_and_asleep, take_and_fill, ENTRY(ipk_ledger_publish),
	 call_publish, 1},
	{"publish, for one", 0, all_asleep, take_for_one, ENTRY(ipk_ledger_publish), call_publish,
	 1},
	{"publish, later", 0, one, take_and_fill, ENTRY(ipk_ledger_publish), call_publish_later, 1},
	{"publish, in order", 0, one, take_in_order, ENTRY(ipk_ledger_publish), call_publish, 1},
	{"publish, behind others", 0, two_with_a_key, take_in_order, ENTRY(ipk_ledger_publish),
	 call_publish, 1},
	{"drop", 0, one, take_in_order, ENTRY(ipk_ledger_end), call_drop, 0},
	{"claim", TAKER, one_for_each, nothing, ENTRY(ipk_ledger_claim), claim, 0},
	{"claim, none", TAKER, nothing, nothing, ENTRY(ipk_ledger_claim), claim, 0},
	{"claim, others asleep", TAKER, many_and_asleep, nothing, ENTRY(ipk_ledger_claim), claim,
	 0},
	{"claim, a stale entry", TAKER, a_stale_entry, nothing, ENTRY(ipk_ledger_claim), claim, 0},
	{"claim, without entries", TAKER, without_entries, nothing, ENTRY(ipk_ledger_claim), claim, 0},
	{"put_result, long", TAKER, one, claim, ENTRY(ipk_ledger_put_result), call_put_long_result, 0},
	{"put_result", TAKER, one, claim, ENTRY(ipk_ledger_put_result), call_put_result, 0},
	{"done", TAKER, one_for_each, claim_and_answer, ENTRY(ipk_ledger_done), call_done, 0},
	{"done, nobody to tell", TAKER, others_request_room, claim_to_end, ENTRY(ipk_ledger_done),
	 call_done, 0},
	{"done, others behind", TAKER, two_with_a_key, claim_and_answer, ENTRY(ipk_ledger_done),
	 call_done, 0},
	{"retry", TAKER, two_with_a_key, claim, ENTRY(ipk_ledger_retry), call_retry, 0},
	{"retry, later", TAKER, two_with_a_key, claim, ENTRY(ipk_ledger_retry), call_retry_later,
	 0},
	{"retry, told of", 2, ended, collect, ENTRY(ipk_ledger_retry), call_retry_told, 0},
	{"bury", TAKER, two_with_a_key, claim, ENTRY(ipk_ledger_bury), call_bury, 0},
	{"collect", 2, ended, nothing, ENTRY(ipk_ledger_collect), call_collect, 0},
	{"end", 2, ended, collect, ENTRY(ipk_ledger_end), call_end, 0},
	{"clear", 2, ended, collect_and_end, ENTRY(ipk_ledger_clear), call_clear, 0},
	{"sleep", TAKER, nothing, nothing, ENTRY(ipk_ledger_sleep), call_sleep, 0},
	{"sleep, work is there", TAKER, one, nothing, ENTRY(ipk_ledger_sleep), call_sleep, 0},
	{"wake", TAKER, nothing, fall_asleep, ENTRY(ipk_ledger_wake), call_wake, 0},
	{"written_down", MANAGER, buried, find_buried, ENTRY(ipk_ledger_written_down),
	 call_written_down, 0},
	{"wake_due", MANAGER, delayed, nothing, ENTRY(ipk_ledger_wake_due), call_wake_due, 0},
	{"move", MANAGER, ended, nothing, ENTRY(ipk_ledger_move), call_move, 0},
	{"sweep", MANAGER, dead_hands, nothing, ENTRY(ipk_ledger_sweep), call_sweep, 0},
	{"recover", MANAGER, dead_hands, nothing, ENTRY(ipk_ledger_recover), call_recover, 0},
};

#endif

/*
 * test_ledger_deaths.c - what is left of the task ledger's processes is settled.
 */
#include "ledger_checks.h"

#include <errno.h>
#include <stdint.h>

/* Its place dies with something in each hand. */
static void
a_submitter_dies(void)
{
	unsigned char bytes[IPK_LEDGER_INSIDE] = {0};
	struct ipk_ledger_hold hold[4];

	begin_again();
	CHECK(post(at(0), 300, IPK_LEDGER_ANY, 0, 0) == 1);
	CHECK(post(at(0), 1, IPK_LEDGER_ANY, 0, 0) == 2);
	CHECK(ipk_ledger_claim(at(TAKER), &hold[0]) == 1);
	CHECK(ipk_ledger_put_result(at(TAKER), hold[0].record, bytes, 700) == 0);
	CHECK(ipk_ledger_done(at(TAKER), &hold[0]) == 0);
	CHECK(ipk_ledger_collect(at(0), &hold[0], 1) == 1);
	CHECK(ipk_ledger_take(at(0), &hold[1]) == 0);
	CHECK(ipk_ledger_put_body(at(0), hold[1].record, bytes, 4096) == 0);
	at(0)->rings[0].head = at(0)->rings[0].tail; /* the entry of task 2 was never given */
	(void)wakeups_of(1);
	ipk_ledger_sweep(at(MANAGER), 0);
	ipk_ledger_move(at(MANAGER), 0, 1);
	while (ipk_ledger_next(at(MANAGER), 0, IPK_LEDGER_CLEARING, MANAGER + 1, &hold[2]))
		ipk_ledger_clear(at(MANAGER), &hold[2]);
	CHECK(count_in(IPK_LEDGER_WRITING) == 0 && count_in(IPK_LEDGER_FREE) == RECORDS - 2);
	CHECK(wakeups_of(1) > 0);
	CHECK(ipk_ledger_collect(at(1), hold, 4) == 1 && id_of(&hold[0]) == 1);
	CHECK(at(1)->record[hold[0].record].result.size == 700);
	CHECK(ipk_ledger_claim(at(TAKER), &hold[3]) == 1 && id_of(&hold[3]) == 2);
	sound();
}

static void
a_task_worker_dies(void)
{
	struct ipk_ledger_hold hold;
	struct ipk_ledger_hold his;

	begin_again();
	CHECK(post(at(0), 1, IPK_LEDGER_ANY, 5, 0) == 1);
	CHECK(post(at(0), 1, IPK_LEDGER_ANY, 5, 0) == 2);
	CHECK(ipk_ledger_claim(at(TAKER), &hold) == 1);
	ipk_ledger_sweep(at(MANAGER), TAKER);
	CHECK(ipk_ledger_next(at(MANAGER), 0, IPK_LEDGER_RUNNING, TAKER + 1, &his) == 1);
	CHECK(his.record == hold.record && his.word == hold.word);
	CHECK(ipk_ledger_retry(at(MANAGER), &his, 0) == 0);
	CHECK(ipk_ledger_done(at(TAKER), &hold) == -ESTALE);
	CHECK(ipk_ledger_claim(at(TAKER + 2), &hold) == 1 && id_of(&hold) == 1);
	CHECK(ipk_ledger_attempt_of(hold.word) == 2);
	CHECK(ipk_ledger_done(at(TAKER + 2), &hold) == 0);
	CHECK(ipk_ledger_claim(at(TAKER + 2), &hold) == 1 && id_of(&hold) == 2);
	sound();
}

static void
all_die(void)
{
	struct ipk_ledger_hold hold[3];

	begin_again();
	for (int i = 0; i < 4; i++)
		CHECK(post(at(i % 2 ? 2 : 0), 1, IPK_LEDGER_ANY, 0, 0) > 0);
	CHECK(ipk_ledger_claim(at(TAKER), &hold[0]) == 1);
	CHECK(ipk_ledger_claim(at(TAKER), &hold[1]) == 1);
	ipk_ledger_flag(at(TAKER), hold[1].record, IPK_LEDGER_WANTED, 0);
	CHECK(ipk_ledger_done(at(TAKER), &hold[1]) == 0);
	CHECK(ipk_ledger_take(at(0), &hold[2]) == 0);
	for (uint32_t place = 0; place <= PLACES; place++)
		be(&parties[place], place);
	ipk_ledger_recover(at(MANAGER));
	CHECK(ipk_ledger_next(at(MANAGER), 0, IPK_LEDGER_CLEARING, MANAGER + 1, &hold[2]) == 1);
	ipk_ledger_clear(at(MANAGER), &hold[2]);
	CHECK(ipk_ledger_next(at(MANAGER), 0, IPK_LEDGER_RUNNING, UINT32_MAX, &hold[0]) == 1);
	CHECK(ipk_ledger_retry(at(MANAGER), &hold[0], 0) == 0);
	for (uint64_t id = 3; id < 5; id++)
		CHECK(ipk_ledger_claim(at(TAKER + 2), &hold[2]) == 1 && id_of(&hold[2]) == id);
	CHECK(ipk_ledger_claim(at(TAKER + 2), &hold[2]) == 1 && id_of(&hold[2]) == 1);
	CHECK(ipk_ledger_collect(at(2), hold, 3) == 1 && id_of(&hold[0]) == 2);
	CHECK(post(at(0), 1, IPK_LEDGER_ANY, 0, 0) > 5); /* ids go on */
	sound();
}

int
main(void)
{
	make_memory();
	a_submitter_dies();
	a_task_worker_dies();
	all_die();
	return 0;
}

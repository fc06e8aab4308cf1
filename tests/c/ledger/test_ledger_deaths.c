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
	struct ipk_ledger_lease lease[4];

	begin_again();
	CHECK(post(at(0), 300, IPK_LEDGER_ANY, 0, 0) == 1);
	CHECK(post(at(0), 1, IPK_LEDGER_ANY, 0, 0) == 2);
	CHECK(ipk_ledger_claim(at(TAKER), &lease[0]) == 1);
	CHECK(ipk_ledger_put_result(at(TAKER), lease[0].record, bytes, 700) == 0);
	CHECK(ipk_ledger_done(at(TAKER), &lease[0]) == 0);
	CHECK(ipk_ledger_collect(at(0), &lease[0], 1) == 1);
	CHECK(ipk_ledger_take(at(0), &lease[1]) == 0);
	CHECK(ipk_ledger_put_body(at(0), lease[1].record, bytes, 4096) == 0);
	at(0)->rings[0].head = at(0)->rings[0].tail; /* the entry of task 2 was never given */
	(void)wakeups_of(1);
	ipk_ledger_sweep(at(MANAGER), 0);
	ipk_ledger_move(at(MANAGER), 0, 1);
	while (ipk_ledger_next(at(MANAGER), 0, IPK_LEDGER_CLEARING, MANAGER + 1, &lease[2]))
		ipk_ledger_clear(at(MANAGER), &lease[2]);
	CHECK(count_in(IPK_LEDGER_WRITING) == 0 && count_in(IPK_LEDGER_FREE) == RECORDS - 2);
	CHECK(wakeups_of(1) > 0);
	CHECK(ipk_ledger_collect(at(1), lease, 4) == 1 && id_of(&lease[0]) == 1);
	CHECK(at(1)->record[lease[0].record].result.size == 700);
	CHECK(ipk_ledger_claim(at(TAKER), &lease[3]) == 1 && id_of(&lease[3]) == 2);
	sound();
}

static void
a_task_worker_dies(void)
{
	struct ipk_ledger_lease lease;
	struct ipk_ledger_lease his;

	begin_again();
	CHECK(post(at(0), 1, IPK_LEDGER_ANY, 5, 0) == 1);
	CHECK(post(at(0), 1, IPK_LEDGER_ANY, 5, 0) == 2);
	CHECK(ipk_ledger_claim(at(TAKER), &lease) == 1);
	ipk_ledger_sweep(at(MANAGER), TAKER);
	CHECK(ipk_ledger_next(at(MANAGER), 0, IPK_LEDGER_RUNNING, TAKER + 1, &his) == 1);
	CHECK(his.record == lease.record && his.word == lease.word);
	CHECK(ipk_ledger_retry(at(MANAGER), &his, 0) == 0);
	CHECK(ipk_ledger_done(at(TAKER), &lease) == -ESTALE);
	CHECK(ipk_ledger_claim(at(TAKER + 2), &lease) == 1 && id_of(&lease) == 1);
	CHECK(ipk_ledger_attempt_of(lease.word) == 2);
	CHECK(ipk_ledger_done(at(TAKER + 2), &lease) == 0);
	CHECK(ipk_ledger_claim(at(TAKER + 2), &lease) == 1 && id_of(&lease) == 2);
	sound();
}

static void
all_die(void)
{
	struct ipk_ledger_lease lease[3];

	begin_again();
	for (int i = 0; i < 4; i++)
		CHECK(post(at(i % 2 ? 2 : 0), 1, IPK_LEDGER_ANY, 0, 0) > 0);
	CHECK(ipk_ledger_claim(at(TAKER), &lease[0]) == 1);
	CHECK(ipk_ledger_claim(at(TAKER), &lease[1]) == 1);
	ipk_ledger_flag(at(TAKER), lease[1].record, IPK_LEDGER_WANTED, 0);
	CHECK(ipk_ledger_done(at(TAKER), &lease[1]) == 0);
	CHECK(ipk_ledger_take(at(0), &lease[2]) == 0);
	for (uint32_t place = 0; place <= PLACES; place++)
		be(&parties[place], place);
	ipk_ledger_recover(at(MANAGER));
	CHECK(ipk_ledger_next(at(MANAGER), 0, IPK_LEDGER_CLEARING, MANAGER + 1, &lease[2]) == 1);
	ipk_ledger_clear(at(MANAGER), &lease[2]);
	CHECK(ipk_ledger_next(at(MANAGER), 0, IPK_LEDGER_RUNNING, UINT32_MAX, &lease[0]) == 1);
	CHECK(ipk_ledger_retry(at(MANAGER), &lease[0], 0) == 0);
	for (uint64_t id = 3; id < 5; id++)
		CHECK(ipk_ledger_claim(at(TAKER + 2), &lease[2]) == 1 && id_of(&lease[2]) == id);
	CHECK(ipk_ledger_claim(at(TAKER + 2), &lease[2]) == 1 && id_of(&lease[2]) == 1);
	CHECK(ipk_ledger_collect(at(2), lease, 3) == 1 && id_of(&lease[0]) == 2);
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

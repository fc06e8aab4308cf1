/*
 * test_ledger.c - the task ledger, call by call: one process plays all of them.
 */
#include "ledger_checks.h"

#include <errno.h>
#include <stdint.h>

/* Claim, answer with a body of that size, and collect the end. */
static uint64_t
one_round(uint32_t taker, uint32_t submitter, uint64_t size)
{
	static unsigned char bytes[IPK_LEDGER_SLAB];
	struct ipk_ledger_lease lease;
	struct ipk_ledger_lease told;
	uint64_t id;

	CHECK(ipk_ledger_claim(at(taker), &lease) == 1);
	CHECK(is_whole(at(taker), &at(taker)->record[lease.record].body));
	id = id_of(&lease);
	body_of(bytes, size);
	CHECK(ipk_ledger_put_result(at(taker), lease.record, bytes, size) == 0);
	CHECK(ipk_ledger_done(at(taker), &lease) == 0);
	CHECK(ipk_ledger_collect(at(submitter), &told, 1) == 1);
	CHECK(told.record == lease.record && id_of(&told) == id);
	CHECK(is_whole(at(submitter), &at(submitter)->record[told.record].result));
	CHECK(ipk_ledger_end(at(submitter), &told) == 0);
	ipk_ledger_clear(at(submitter), &told);
	sound();
	return id;
}

static void
there_and_back(void)
{
	static const uint64_t sizes[] = {0,   1,    151,  152,  153,   511,
					 512, 513, 4095, 4096, 4097, IPK_LEDGER_SLAB};

	begin_again();
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		CHECK(post(at(0), sizes[i], IPK_LEDGER_ANY, 0, 0) > 0);
		(void)one_round(TAKER + 2, 0, sizes[i]);
	}
	CHECK(count_in(IPK_LEDGER_FREE) == RECORDS);
}

/* The oldest first, over all submitters; those of a task worker only by it. */
static void
whose_turn(void)
{
	struct ipk_ledger_lease lease;
	int64_t ids[6];

	begin_again();
	ids[0] = post(at(0), 1, IPK_LEDGER_ANY, 0, 0);
	ids[1] = post(at(2), 1, 0, 0, 0);
	ids[2] = post(at(0), 1, 1, 0, 0);
	ids[3] = post(at(2), 1, IPK_LEDGER_ANY, 0, 0);
	CHECK(ids[3] == ids[0] + 3);
	CHECK(ipk_ledger_claim(at(TAKER), &lease) == 1 && id_of(&lease) == (uint64_t)ids[0]);
	CHECK(ipk_ledger_claim(at(TAKER), &lease) == 1 && id_of(&lease) == (uint64_t)ids[1]);
	CHECK(ipk_ledger_claim(at(TAKER + 2), &lease) == 1 && id_of(&lease) == (uint64_t)ids[2]);
	CHECK(ipk_ledger_claim(at(TAKER), &lease) == 1 && id_of(&lease) == (uint64_t)ids[3]);
	CHECK(ipk_ledger_claim(at(TAKER), &lease) == 0);
	CHECK(ipk_ledger_claim(at(TAKER + 2), &lease) == 0);
	CHECK(at(TAKER)->record[lease.record].began > 0);
	sound();
}

static void
full(void)
{
	struct ipk_ledger_lease lease;
	struct ipk_ledger_counts counts;

	begin_again();
	for (int i = 0; i < 3; i++) /* 8 blocks each: the arena has 24 */
		CHECK(post(at(0), 4096, IPK_LEDGER_ANY, 0, 0) > 0);
	CHECK(post(at(0), 153, IPK_LEDGER_ANY, 0, 0) == -ENOSPC);
	/* A look says the same, and wakes nobody. */
	ipk_ledger_request_room(at(2));
	(void)wakeups_of(2);
	CHECK(!ipk_ledger_has_room(at(2), 153, 0) && ipk_ledger_has_room(at(2), 152, 0));
	CHECK(wakeups_of(2) == 0);
	CHECK(ipk_ledger_has_room(at(2), 4097, 0));
	CHECK(ipk_ledger_has_room(at(2), IPK_LEDGER_SLAB + 1, 0)); /* the only one in a file */
	CHECK(post(at(0), IPK_LEDGER_SLAB + 1, IPK_LEDGER_ANY, 0, 0) == -ENOSPC);
	for (int i = 0; i < SLABS; i++)
		CHECK(post(at(2), 4097, IPK_LEDGER_ANY, 0, 0) > 0);
	CHECK(post(at(0), 4097, IPK_LEDGER_ANY, 0, 0) == -ENOSPC);
	CHECK(count_in(IPK_LEDGER_FREE) == RECORDS - 3 - SLABS);
	sound();
	for (int i = 3 + SLABS; i < RECORDS; i++)
		CHECK(post(at(0), 100, IPK_LEDGER_ANY, 0, 0) > 0);
	CHECK(post(at(2), 1, IPK_LEDGER_ANY, 0, 0) == -ENOSPC);
	CHECK(!ipk_ledger_has_room(at(2), 1, 0));
	(void)wakeups_of(2);
	ipk_ledger_request_room(at(2));
	CHECK(post(at(2), 1, IPK_LEDGER_ANY, 0, 0) == -ENOSPC);
	CHECK(ipk_ledger_claim(at(TAKER), &lease) == 1);
	CHECK(wakeups_of(2) == 0);
	CHECK(ipk_ledger_done(at(TAKER), &lease) == 0); /* no result, and nobody waits: free at once */
	CHECK(wakeups_of(2) == 1);
	CHECK(post(at(2), 1, IPK_LEDGER_ANY, 0, 0) > 0);
	ipk_ledger_count(at(0), &counts);
	CHECK(counts.well == 1 && counts.buried == 0 && counts.waiting == RECORDS);
	sound();
}

/* More tasks than a ring holds: those without an entry are found by a scan, in order. */
static void
more_than_a_ring(void)
{
	static const struct ipk_ledger_shape wide = {64, 8, 1, 1, 0};
	struct ipk_ledger_lease lease;
	struct ipk_ledger ledgers[2];
	uint32_t woken_in[4] = {0};
	uint32_t recent[64];
	uint64_t last = 0;
	uint64_t bytes = (uint64_t)ipk_ledger_bytes(&wide);
	void *base = calloc(1, bytes);

	CHECK(base && ipk_ledger_format(base, bytes, &wide) == 0);
	for (int i = 0; i < 2; i++) {
		CHECK(ipk_ledger_attach(&ledgers[i], base, bytes) == 0);
		ipk_ledger_set_place(&ledgers[i], i ? 2 : 0, NULL, woken_in, recent);
	}
	ledgers[0].ring_size = ledgers[1].ring_size = 16;
	for (int i = 0; i < 64; i++)
		CHECK(post(&ledgers[0], 1, i % 2 ? 0 : IPK_LEDGER_ANY, 0, 0) == i + 1);
	for (int i = 0; i < 64; i++) {
		CHECK(ipk_ledger_claim(&ledgers[1], &lease) == 1);
		CHECK(ledgers[1].record[lease.record].id > last);
		last = ledgers[1].record[lease.record].id;
	}
	CHECK(ipk_ledger_claim(&ledgers[1], &lease) == 0 && last == 64);
	free(base);
}

/* Far more than a ring holds, and more than one scan remembers: in order, and what one process
 * remembers and does not claim is found by the other one. */
static void
remembered_and_not_claimed(void)
{
	static const struct ipk_ledger_shape wide = {3000, 8, 1, 2, 0};
	static struct ipk_ledger ledgers[3];
	static uint32_t recent[3000];
	struct ipk_ledger_lease lease;
	uint32_t woken_in[6] = {0};
	uint64_t bytes = (uint64_t)ipk_ledger_bytes(&wide);
	void *base = calloc(1, bytes);

	CHECK(base && ipk_ledger_format(base, bytes, &wide) == 0);
	for (uint32_t i = 0; i < 3; i++) {
		CHECK(ipk_ledger_attach(&ledgers[i], base, bytes) == 0);
		ipk_ledger_set_place(&ledgers[i], 2 * i, NULL, woken_in, recent);
		ledgers[i].ring_size = 16;
	}
	for (int i = 0; i < 3000; i++)
		CHECK(post(&ledgers[0], 1, IPK_LEDGER_ANY, 0, 0) == i + 1);
	for (uint64_t id = 1; id <= 100; id++) { /* so the first one has scanned, and remembers */
		CHECK(ipk_ledger_claim(&ledgers[1], &lease) == 1);
		CHECK(ledgers[1].record[lease.record].id == id);
	}
	for (uint64_t id = 101; id <= 2990; id++) {
		CHECK(ipk_ledger_claim(&ledgers[2], &lease) == 1);
		CHECK(ledgers[2].record[lease.record].id == id);
	}
	for (uint64_t id = 2991; id <= 3000; id++) {
		CHECK(ipk_ledger_has_work(&ledgers[1]) && ipk_ledger_has_work(&ledgers[2]));
		CHECK(ipk_ledger_claim(&ledgers[1 + id % 2], &lease) == 1);
		CHECK(ledgers[1].record[lease.record].id == id);
	}
	CHECK(ipk_ledger_claim(&ledgers[1], &lease) == 0);
	CHECK(ipk_ledger_claim(&ledgers[2], &lease) == 0);
	CHECK(!ipk_ledger_has_work(&ledgers[1]) && !ipk_ledger_has_work(&ledgers[2]));
	free(base);
}

static void
again_and_for_the_last_time(void)
{
	struct ipk_ledger_lease lease;
	struct ipk_ledger_lease stale;
	struct ipk_ledger_counts counts;
	int64_t second;

	begin_again();
	CHECK(post(at(0), 600, IPK_LEDGER_ANY, 0, 0) == 1);
	second = post(at(0), 1, IPK_LEDGER_ANY, 0, 0);
	CHECK(ipk_ledger_claim(at(TAKER), &lease) == 1 && ipk_ledger_attempt_of(lease.word) == 1);
	stale = lease;
	CHECK(ipk_ledger_retry(at(TAKER), &lease, 0) == 0);
	CHECK(ipk_ledger_done(at(TAKER), &stale) == -ESTALE); /* fenced: that attempt is over */
	CHECK(ipk_ledger_bury(at(TAKER), &stale) == -ESTALE);
	CHECK(ipk_ledger_retry(at(TAKER), &stale, 0) == -ESTALE);
	CHECK(ipk_ledger_claim(at(TAKER), &lease) == 1 && id_of(&lease) == (uint64_t)second);
	CHECK(ipk_ledger_done(at(TAKER), &lease) == 0);
	CHECK(ipk_ledger_claim(at(TAKER), &lease) == 1 && id_of(&lease) == 1);
	CHECK(ipk_ledger_attempt_of(lease.word) == 2);
	CHECK(ipk_ledger_retry(at(TAKER), &lease, 1000) == 0);
	CHECK(ipk_ledger_claim(at(TAKER), &lease) == 0);
	CHECK(wakeups_of(MANAGER) == 1);
	CHECK(ipk_ledger_wake_due(at(MANAGER), 999) == 1000);
	CHECK(wakeups_of(MANAGER) == 0); /* it does not keep itself awake */
	CHECK(ipk_ledger_claim(at(TAKER), &lease) == 0);
	CHECK(ipk_ledger_wake_due(at(MANAGER), 1000) == 0);
	CHECK(ipk_ledger_claim(at(TAKER), &lease) == 1 && ipk_ledger_attempt_of(lease.word) == 3);
	CHECK(ipk_ledger_bury(at(TAKER), &lease) == 0);
	CHECK(wakeups_of(MANAGER) > 0);
	CHECK(ipk_ledger_collect(at(0), &lease, 1) == 0); /* not before it is written down */
	ipk_ledger_count(at(0), &counts);
	CHECK(counts.well == 1 && counts.buried == 1 && counts.in[IPK_LEDGER_BURIED] == 1);
	CHECK(ipk_ledger_next(at(MANAGER), 0, IPK_LEDGER_BURIED, UINT32_MAX, &lease) == 1);
	CHECK(ipk_ledger_written_down(at(MANAGER), &lease) == 0);
	CHECK(ipk_ledger_collect(at(0), &lease, 1) == 1);
	CHECK(at(0)->record[lease.record].flags & IPK_LEDGER_LOST);
	CHECK(ipk_ledger_end(at(0), &lease) == 0);
	ipk_ledger_clear(at(0), &lease);
	ipk_ledger_count(at(0), &counts);
	CHECK(counts.well == 1 && counts.buried == 1 && counts.in[IPK_LEDGER_FREE] == RECORDS);
	sound();
}

static void
one_at_a_time(void)
{
	struct ipk_ledger_lease first;
	struct ipk_ledger_lease other;
	struct ipk_ledger_lease lease;

	begin_again();
	for (int i = 1; i <= 3; i++)
		CHECK(post(at(i % 2 ? 0 : 2), 1, IPK_LEDGER_ANY, 42, 0) == i);
	CHECK(post(at(0), 1, IPK_LEDGER_ANY, 43, 0) > 3);
	CHECK(ipk_ledger_claim(at(TAKER), &first) == 1 && id_of(&first) == 1);
	CHECK(ipk_ledger_claim(at(TAKER + 2), &other) == 1 && id_of(&other) > 3);
	CHECK(ipk_ledger_claim(at(TAKER + 2), &lease) == 0);
	CHECK(ipk_ledger_retry(at(TAKER), &first, 5) == 0); /* it keeps its turn over the delay */
	CHECK(ipk_ledger_claim(at(TAKER + 2), &lease) == 0);
	CHECK(ipk_ledger_wake_due(at(MANAGER), 5) == 0);
	CHECK(ipk_ledger_claim(at(TAKER + 2), &lease) == 1 && id_of(&lease) == 1);
	CHECK(ipk_ledger_done(at(TAKER + 2), &lease) == 0);
	CHECK(ipk_ledger_claim(at(TAKER), &lease) == 1 && id_of(&lease) == 2);
	sound();
	CHECK(ipk_ledger_bury(at(TAKER), &lease) == 0); /* over is over */
	CHECK(ipk_ledger_claim(at(TAKER), &lease) == 1 && id_of(&lease) == 3);
	CHECK(ipk_ledger_done(at(TAKER), &lease) == 0);
	CHECK(ipk_ledger_claim(at(TAKER), &lease) == 0);
	sound();
}

static void
only_once(void)
{
	static const uint64_t key[2] = {7, 9};
	static const uint64_t another[2] = {7, 8};
	struct ipk_ledger_lease lease[4];

	begin_again();
	CHECK(ipk_ledger_take(at(0), &lease[0]) == 0);
	CHECK(ipk_ledger_dedup(at(0), lease[0].record, key) == 0);
	CHECK(ipk_ledger_take(at(2), &lease[1]) == 0);
	CHECK(ipk_ledger_dedup(at(2), lease[1].record, key) == -EAGAIN); /* the other may yet die */
	ipk_ledger_publish(at(0), &lease[0], 0);
	CHECK(ipk_ledger_dedup(at(2), lease[1].record, key) == 1);
	CHECK(ipk_ledger_end(at(2), &lease[1]) == 0);
	ipk_ledger_clear(at(2), &lease[1]);
	CHECK(ipk_ledger_take(at(2), &lease[1]) == 0);
	CHECK(ipk_ledger_dedup(at(2), lease[1].record, another) == 0);
	ipk_ledger_publish(at(2), &lease[1], 0);
	CHECK(ipk_ledger_claim(at(TAKER), &lease[2]) == 1 && id_of(&lease[2]) == 1);
	CHECK(ipk_ledger_done(at(TAKER), &lease[2]) == 0);
	CHECK(ipk_ledger_take(at(2), &lease[3]) == 0); /* it is over: the key is free again */
	CHECK(ipk_ledger_dedup(at(2), lease[3].record, key) == 0);
	ipk_ledger_publish(at(2), &lease[3], 0);
	sound();
}

static void
spilled(void)
{
	struct ipk_ledger_lease lease[3];

	begin_again();
	for (int i = 0; i < 3; i++)
		CHECK(ipk_ledger_take(at(0), &lease[i]) == 0);
	CHECK(ipk_ledger_spill_body(at(0), lease[0].record, 1 << 20, 1000) == 0); /* alone */
	CHECK(ipk_ledger_spill_body(at(0), lease[1].record, 5000, 1000) == -ENOSPC);
	CHECK(ipk_ledger_spill_body(at(0), lease[1].record, 5000, 2 << 20) == 0);
	ipk_ledger_publish(at(0), &lease[0], 0);
	CHECK(ipk_ledger_claim(at(TAKER), &lease[2]) == 1);
	CHECK(ipk_ledger_done(at(TAKER), &lease[2]) == 1); /* there is a file to remove first */
	CHECK(count_in(IPK_LEDGER_CLEARING) == 1);
	ipk_ledger_clear(at(TAKER), &lease[2]);
	CHECK(count_in(IPK_LEDGER_CLEARING) == 0);
	sound();
}

static void
bells_for_sleepers_only(void)
{
	struct ipk_ledger_lease lease;

	begin_again();
	CHECK(post(at(0), 1, IPK_LEDGER_ANY, 0, 0) == 1);
	CHECK(wakeups_of(TAKER) == 0 && wakeups_of(TAKER + 2) == 0);
	CHECK(ipk_ledger_sleep(at(TAKER)) == 0); /* there is something */
	CHECK(ipk_ledger_claim(at(TAKER), &lease) == 1);
	CHECK(ipk_ledger_sleep(at(TAKER)) == 1 && ipk_ledger_sleep(at(TAKER + 2)) == 1);
	CHECK(post(at(0), 1, IPK_LEDGER_ANY, 0, 0) == 2);
	CHECK(wakeups_of(TAKER) + wakeups_of(TAKER + 2) == 1);
	CHECK(post(at(0), 1, IPK_LEDGER_ANY, 0, 0) == 3);
	CHECK(post(at(0), 1, IPK_LEDGER_ANY, 0, 0) == 4);
	CHECK(wakeups_of(TAKER) + wakeups_of(TAKER + 2) == 1); /* once per sleep */
	ipk_ledger_wake(at(TAKER));
	CHECK(ipk_ledger_claim(at(TAKER), &lease) == 1);
	CHECK(wakeups_of(TAKER + 2) == 1); /* who claims and sees more rings for himself */
	CHECK(post(at(0), 1, 1, 0, 0) == 5);
	CHECK(wakeups_of(TAKER + 2) == 0);
	ipk_ledger_wake(at(TAKER + 2));
	while (ipk_ledger_claim(at(TAKER + 2), &lease) == 1)
		;
	CHECK(ipk_ledger_sleep(at(TAKER + 2)) == 1);
	CHECK(post(at(0), 1, 1, 0, 0) == 6);
	CHECK(wakeups_of(TAKER + 2) == 1 && wakeups_of(TAKER) == 0);
	sound();
}

static void
a_bell_for_many_ends(void)
{
	struct ipk_ledger_lease lease[RECORDS];

	begin_again();
	for (int i = 0; i < 5; i++)
		CHECK(post(at(2), 1, IPK_LEDGER_ANY, 0, 0) > 0);
	for (int i = 0; i < 5; i++) {
		CHECK(ipk_ledger_claim(at(TAKER), &lease[0]) == 1);
		ipk_ledger_flag(at(TAKER), lease[0].record, IPK_LEDGER_WANTED, 0);
		CHECK(ipk_ledger_done(at(TAKER), &lease[0]) == 0);
	}
	CHECK(wakeups_of(2) == 1 && wakeups_of(0) == 0);
	CHECK(ipk_ledger_outstanding(at(2)) == 5 && ipk_ledger_outstanding(at(0)) == 0);
	CHECK(ipk_ledger_collect(at(0), lease, RECORDS) == 0);
	CHECK(ipk_ledger_collect(at(2), lease, 2) == 2);
	CHECK(ipk_ledger_collect(at(2), lease, 2) == 2);
	CHECK(ipk_ledger_collect(at(2), lease, 2) == 1);
	CHECK(ipk_ledger_collect(at(2), lease, 2) == 0);
	for (uint64_t wanted = 0; wanted < 2; wanted++) { /* it rings when it is asked to */
		if (wanted)
			ipk_ledger_request_wakeup(at(2));
		CHECK(post(at(2), 1, IPK_LEDGER_ANY, 0, 0) > 0);
		CHECK(ipk_ledger_claim(at(TAKER), &lease[0]) == 1);
		lease[1] = lease[0];
		CHECK(ipk_ledger_done_with(at(TAKER), &lease[0], "end", 3) == 0);
		CHECK(ipk_ledger_done_with(at(TAKER), &lease[1], "late", 4) == -ESTALE);
		CHECK(wakeups_of(2) == wanted);
		CHECK(ipk_ledger_collect(at(2), lease, 2) == 1);
		CHECK(at(2)->record[lease[0].record].result.size == 3);
	}
	sound();
}

static void
refusals(void)
{
	static const struct ipk_ledger_shape wrong[] = {
		{0, 1, 1, 1, 0},	     {(1 << 24) + 1, 1, 1, 1, 0}, {1, 1, 0, 1, 0},
		{1, 1, 1, 0, 0},	     {1, 1, 2000, 48, 0},	  {1, 1, 1, 1, UINT32_MAX},
	};
	struct ipk_ledger ledger;

	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		CHECK(ipk_ledger_bytes(&wrong[i]) == -EINVAL);
	begin_again();
	CHECK(ipk_ledger_attach(&ledger, memory, memory_bytes - 4096) == -EUCLEAN);
	at(0)->head->shape.records += 1000;
	CHECK(ipk_ledger_attach(&ledger, memory, memory_bytes) == -EUCLEAN);
	at(0)->head->shape.records -= 1000;
	at(0)->head->version++;
	CHECK(ipk_ledger_attach(&ledger, memory, memory_bytes) == -EUCLEAN);
	CHECK(ipk_ledger_format(memory, memory_bytes + 4096, &small) == -EINVAL);
}

int
main(void)
{
	make_memory();
	there_and_back();
	whose_turn();
	full();
	more_than_a_ring();
	remembered_and_not_claimed();
	again_and_for_the_last_time();
	one_at_a_time();
	only_once();
	spilled();
	bells_for_sleepers_only();
	a_bell_for_many_ends();
	refusals();
	return 0;
}

/*
 * test_ledger_preempted.c - what a process does that was stopped between two steps, while others
 * went on: it may neither give away what another task holds now, nor take what is another's.
 *
 * The ledger's own sources are compiled into this file; each of their loads and exchanges can be
 * where the process loses the CPU. One process plays all parties, so the moment is exact.
 */
#include "ledger_checks.h"

#include <errno.h>
#include <setjmp.h>
#include <stdint.h>

enum moment { AFTER_LOAD, BEFORE_EXCHANGE, AFTER_EXCHANGE };

/* Where the CPU is lost: at the `nth` such step at `place`, once. */
struct preemption {
	const void *place;
	void (*meanwhile)(void);
	enum moment moment;
	int nth;
};
static struct preemption preemptions[2];
static jmp_buf killed;

static void
lose_cpu_at(int which, enum moment moment, const void *place, int nth, void (*meanwhile)(void))
{
	preemptions[which] = (struct preemption){place, meanwhile, moment, nth};
}

static void
may_lose_cpu(enum moment moment, const void *place)
{
	for (int i = 0; i < 2; i++) {
		struct preemption *now = &preemptions[i];

		if (now->place != place || now->moment != moment || --now->nth)
			continue;
		now->place = NULL;
		now->meanwhile();
	}
}

static int
all_happened(void)
{
	return !preemptions[0].place && !preemptions[1].place;
}

#undef LOAD_ACQUIRE
#undef LOAD_SEQ_CST
#undef COMPARE_EXCHANGE
#define LOADED(place, order)                                                                       \
	__extension__({                                                                            \
		__auto_type loaded_ = __atomic_load_n((place), (order));                           \
		may_lose_cpu(AFTER_LOAD, (place));                                                         \
		loaded_;                                                                           \
	})
#define LOAD_ACQUIRE(place) LOADED(place, __ATOMIC_ACQUIRE)
#define LOAD_SEQ_CST(place) LOADED(place, __ATOMIC_SEQ_CST)
#define COMPARE_EXCHANGE(place, seen, value)                                                            \
	__extension__({                                                                            \
		int replaced_;                                                                     \
		may_lose_cpu(BEFORE_EXCHANGE, (place));                                                    \
		replaced_ = __atomic_compare_exchange_n((place), (seen), (value), 0,               \
							__ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);       \
		may_lose_cpu(AFTER_EXCHANGE, (place));                                                     \
		replaced_;                                                                         \
	})

#include "ledger/payload.c"
#include "ledger/claim.c"
#include "ledger/enqueue.c"
#include "ledger/ordering.c"
#include "ledger/rings.c"
#include "ledger/submit.c"
#include "ledger/recovery.c"
#include "ledger/verify.c"
#include "ledger/word.c"

enum { FIRST_KEY = 5, OTHER_KEY = 7 };

static void
dies(void)
{
	longjmp(killed, 1);
}

/* A task that is put together and not let go yet. */
static struct ipk_ledger_lease
begin_task(struct ipk_ledger *ledger, uint64_t key)
{
	struct ipk_ledger_lease lease;

	CHECK(ipk_ledger_take(ledger, &lease) == 0);
	CHECK(ipk_ledger_put_body(ledger, lease.record, "d", 1) == 0);
	ipk_ledger_flag(ledger, lease.record, IPK_LEDGER_WANTED, 0);
	ipk_ledger_order(ledger, lease.record, key);
	return lease;
}

static struct ipk_ledger_lease
ordered(struct ipk_ledger *ledger, uint64_t key)
{
	struct ipk_ledger_lease lease = begin_task(ledger, key);

	ipk_ledger_publish(ledger, &lease, 0);
	return lease;
}

static struct ipk_ledger_lease
claimed(uint32_t taker, uint64_t id)
{
	struct ipk_ledger_lease lease;

	CHECK(ipk_ledger_claim(at(taker), &lease) == 1 && id_of(&lease) == id);
	return lease;
}

static struct ipk_ledger_lease
delivering(uint32_t submitter)
{
	struct ipk_ledger_lease lease;

	CHECK(ipk_ledger_next(at(submitter), 0, IPK_LEDGER_DONE, 0, &lease) == 1);
	CHECK(ipk_ledger_step(at(submitter), &lease,
			      ipk_ledger_moved(lease.word, submitter + 1,
					       IPK_LEDGER_DELIVERING)) == 0);
	return lease;
}

static void
forget(uint32_t submitter, struct ipk_ledger_lease lease)
{
	CHECK(ipk_ledger_end(at(submitter), &lease) == 0);
	ipk_ledger_clear(at(submitter), &lease);
}

static void
nothing_to_claim(uint32_t taker)
{
	struct ipk_ledger_lease lease;

	CHECK(all_happened());
	CHECK(ipk_ledger_claim(at(taker), &lease) == 0);
	sound();
}

static struct ipk_ledger_lease mine; /* what the process that loses the CPU is at */

/* -- F14: a gate lets a stranger through -- */

static uint64_t stranger;

/* Task 1 is run to its end; its record goes to a task of another key, which waits for its turn. */
static void
its_record_goes_to_another_key(void)
{
	struct ipk_ledger_lease lease;

	ipk_ledger_advance(at(2), FIRST_KEY + 1);
	lease = claimed(TAKER, 1);
	CHECK(ipk_ledger_done(at(TAKER), &lease) == 0);
	forget(0, delivering(0));
	(void)ordered(at(2), OTHER_KEY);
	lease = begin_task(at(0), OTHER_KEY); /* its last record first */
	CHECK(lease.record == mine.record);
	stranger = id_of(&lease);
	ipk_ledger_publish(at(0), &lease, 0);
}

static int
a_gate_chooses_for_its_own_key(const void *place, int nth)
{
	begin_again();
	mine = begin_task(at(0), FIRST_KEY);
	lose_cpu_at(0, AFTER_LOAD, place, nth, its_record_goes_to_another_key);
	ipk_ledger_publish(at(0), &mine, 0);
	if (!all_happened()) { /* there are not so many loads of it */
		preemptions[0].place = NULL;
		return 0;
	}
	(void)claimed(TAKER, stranger - 1);
	nothing_to_claim(TAKER + 2);
	return 1;
}

/* -- F14: the end of a task leaves the gate of another one as it is -- */

static void
its_record_runs_for_another_key(void)
{
	struct ipk_ledger_lease lease;

	forget(0, delivering(0));
	lease = ordered(at(0), OTHER_KEY);
	CHECK(lease.record == mine.record);
	(void)claimed(TAKER + 2, ipk_ledger_turn_of(lease.word));
	(void)ordered(at(2), OTHER_KEY);
}

static void
its_letter_is_written_first(void)
{
	struct ipk_ledger_lease lease;

	CHECK(ipk_ledger_next(at(MANAGER), 0, IPK_LEDGER_BURIED, UINT32_MAX, &lease) == 1);
	CHECK(ipk_ledger_written_down(at(MANAGER), &lease) == 0);
	its_record_runs_for_another_key();
}

static void
an_end_leaves_its_own_gate(int buried)
{
	begin_again();
	(void)ordered(at(0), FIRST_KEY);
	mine = claimed(TAKER, 1);
	lose_cpu_at(0, AFTER_EXCHANGE, &at(0)->word[mine.record], 1,
		    buried ? its_letter_is_written_first : its_record_runs_for_another_key);
	CHECK((buried ? ipk_ledger_bury(at(TAKER), &mine) : ipk_ledger_done(at(TAKER), &mine)) == 0);
	nothing_to_claim(TAKER);
}

static void
a_sweep_leaves_no_gate_of_others(void)
{
	begin_again();
	(void)ordered(at(0), FIRST_KEY);
	mine = claimed(TAKER, 1);
	CHECK(ipk_ledger_done(at(TAKER), &mine) == 0);
	lose_cpu_at(0, AFTER_LOAD, &at(0)->word[mine.record], 2, its_record_runs_for_another_key);
	ipk_ledger_sweep(at(MANAGER), 3);
	nothing_to_claim(TAKER);
}

/* Its result cannot be read: it goes to its gate once more, and is let through. */
static void
it_runs_once_more(void)
{
	struct ipk_ledger_lease lease = delivering(0);

	CHECK(ipk_ledger_retry(at(0), &lease, 0) == 0);
	(void)claimed(TAKER + 2, 1);
}

static void
an_end_leaves_its_gate_once(void)
{
	begin_again();
	(void)ordered(at(0), FIRST_KEY);
	(void)ordered(at(0), FIRST_KEY);
	mine = claimed(TAKER, 1);
	lose_cpu_at(0, AFTER_EXCHANGE, &at(0)->word[mine.record], 1, it_runs_once_more);
	CHECK(ipk_ledger_done(at(TAKER), &mine) == 0);
	nothing_to_claim(TAKER);
}

/* A task whose worker is killed before it leaves the gate comes back to it, while another process
 * has just seen that it is over. */
static void
who_helps_throws_nobody_out(void)
{
	begin_again();
	(void)ordered(at(0), FIRST_KEY);
	mine = claimed(TAKER, 1);
	lose_cpu_at(0, AFTER_EXCHANGE, &at(0)->word[mine.record], 1, dies);
	if (!setjmp(killed))
		CHECK(ipk_ledger_done(at(TAKER), &mine) == 0);
	lose_cpu_at(0, BEFORE_EXCHANGE, &at(0)->gates[FIRST_KEY], 1, it_runs_once_more);
	(void)ordered(at(2), FIRST_KEY);
	nothing_to_claim(TAKER + 1);
}

/* -- F14: the order -- */

static void
three_more_are_posted(void)
{
	for (uint64_t id = 2; id <= 4; id++)
		CHECK(id_of(&(struct ipk_ledger_lease){ordered(at(0), FIRST_KEY).record, 0}) == id);
}

static void
the_first_of_them_ends(void)
{
	struct ipk_ledger_lease lease = claimed(TAKER + 2, 2);
	jmp_buf outer;

	memcpy(&outer, &killed, sizeof(outer));
	lose_cpu_at(0, AFTER_EXCHANGE, &at(0)->gates[FIRST_KEY], 1, dies);
	if (!setjmp(killed))
		CHECK(ipk_ledger_done(at(TAKER + 2), &lease) == 0);
	memcpy(&killed, &outer, sizeof(outer));
}

/* It looked for the next one before task 3 was there, and chooses task 4 in the moment in which
 * the gate is free for the second time. */
static void
a_late_choice_changes_nothing(void)
{
	begin_again();
	(void)ordered(at(0), FIRST_KEY);
	mine = claimed(TAKER, 1);
	lose_cpu_at(0, AFTER_LOAD, &at(0)->order[mine.record + 2], 1, three_more_are_posted);
	lose_cpu_at(1, BEFORE_EXCHANGE, &at(0)->gates[FIRST_KEY], 3, the_first_of_them_ends);
	CHECK(ipk_ledger_done(at(TAKER), &mine) == 0);
	(void)claimed(TAKER, 3);
	nothing_to_claim(TAKER + 1);
}

/* -- blocks, and bodies -- */

static const unsigned char ones[700] = {1};

static void
the_task_is_tried_again(void)
{
	mine = claimed(TAKER + 2, 1);
}

static void
it_takes_the_same_block(void)
{
	at(TAKER + 2)->next_block = 0;
	CHECK(ipk_ledger_put_result(at(TAKER + 2), mine.record, ones, 300) == 0);
}

/* F14: the manager frees what no record lists, while the record's owner lists it again. */
static void
a_sweep_frees_no_block_in_use(void)
{
	begin_again();
	CHECK(post(at(0), 1, IPK_LEDGER_ANY, 0, 0) == 1);
	mine = claimed(TAKER, 1);
	at(TAKER)->next_block = 0;
	CHECK(ipk_ledger_put_result(at(TAKER), mine.record, ones, 300) == 0);
	ipk_ledger_sweep(at(MANAGER), TAKER);
	CHECK(ipk_ledger_retry(at(MANAGER), &mine, 0) == 0);
	lose_cpu_at(0, AFTER_LOAD, &at(0)->block_of[0], 1, the_task_is_tried_again);
	lose_cpu_at(1, BEFORE_EXCHANGE, &at(0)->block_of[0], 2, it_takes_the_same_block);
	ipk_ledger_sweep(at(MANAGER), 3);
	if (preemptions[1].place) { /* the block was not touched */
		preemptions[1].place = NULL;
		it_takes_the_same_block();
	}
	CHECK(ipk_ledger_done(at(TAKER + 2), &mine) == 0);
	nothing_to_claim(TAKER + 2);
}

static void
its_blocks_go_to_another(void)
{
	struct ipk_ledger_lease lease = claimed(TAKER, 1);

	CHECK(ipk_ledger_done(at(TAKER), &lease) == 0);
	at(2)->next_block = 0;
	CHECK(post(at(2), 2000, IPK_LEDGER_ANY, 0, 0) == 2);
}

/* F24: a body is copied while its task ends and its blocks go to another. */
static void
a_look_sees_a_whole_body(enum moment moment, const void *(*place)(void))
{
	static const uint64_t sizes[] = {100, 600, 1000, 3000};

	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		struct ipk_ledger_snapshot seen;
		unsigned char bytes[IPK_LEDGER_INSIDE];
		unsigned char wanted[IPK_LEDGER_INSIDE];

		begin_again();
		at(0)->next_block = 0;
		CHECK(post(at(0), sizes[i], IPK_LEDGER_ANY, 0, 0) == 1);
		lose_cpu_at(0, moment, place(), 1, its_blocks_go_to_another);
		CHECK(ipk_ledger_snapshot(at(MANAGER), 0, &seen, bytes, sizeof(bytes)) == 0);
		CHECK(all_happened() || sizes[i] < 153);
		if (all_happened()) { /* it is another task, or none, by now */
			CHECK(seen.id != 1 || ipk_ledger_state_of(seen.word) == IPK_LEDGER_FREE);
			continue;
		}
		preemptions[0].place = NULL;
		body_of(wanted, sizes[i]);
		CHECK(seen.has_body && seen.size == sizes[i] && !memcmp(bytes, wanted, sizes[i]));
	}
}

static const void *
the_size(void)
{
	return &at(0)->record[0].body.size;
}

static const void *
the_first_block(void)
{
	return &at(0)->record[0].body.block[0];
}

static void
a_look_says_what_it_cannot_copy(void)
{
	struct ipk_ledger_snapshot seen;
	struct ipk_ledger_lease lease;
	unsigned char bytes[IPK_LEDGER_SLAB];

	begin_again();
	CHECK(post(at(0), 600, IPK_LEDGER_ANY, 0, 0) == 1);
	CHECK(ipk_ledger_snapshot(at(2), 0, &seen, bytes, 599) == -ENOSPC && seen.size == 600);
	CHECK(ipk_ledger_snapshot(at(2), 0, &seen, bytes, 600) == 0 && seen.has_body);
	CHECK(ipk_ledger_snapshot(at(2), 1, &seen, bytes, 600) == 0 && !seen.has_body);
	CHECK(ipk_ledger_take(at(0), &lease) == 0);
	CHECK(ipk_ledger_put_body(at(0), lease.record, bytes, 600) == 0);
	CHECK(ipk_ledger_snapshot(at(2), lease.record, &seen, bytes, 600) == 0 && !seen.has_body);
	at(0)->record[0].body.block[1] = BLOCKS + SLABS + 1;
	CHECK(ipk_ledger_snapshot(at(2), 0, &seen, bytes, 600) == -EUCLEAN);
	at(0)->record[0].body.size = UINT64_MAX;
	CHECK(ipk_ledger_snapshot(at(2), 0, &seen, bytes, sizeof(bytes)) == -EUCLEAN);
}

int
main(void)
{
	make_memory();
	begin_again();
	for (int nth = 1; a_gate_chooses_for_its_own_key(&at(0)->word[0], nth); nth++)
		CHECK(nth < 100);
	CHECK(a_gate_chooses_for_its_own_key(&at(0)->order[0], 1));
	an_end_leaves_its_own_gate(0);
	an_end_leaves_its_own_gate(1);
	a_sweep_leaves_no_gate_of_others();
	an_end_leaves_its_gate_once();
	who_helps_throws_nobody_out();
	a_late_choice_changes_nothing();
	a_sweep_frees_no_block_in_use();
	a_look_sees_a_whole_body(AFTER_LOAD, the_size);
	a_look_sees_a_whole_body(AFTER_LOAD, the_first_block);
	a_look_says_what_it_cannot_copy();
	return 0;
}

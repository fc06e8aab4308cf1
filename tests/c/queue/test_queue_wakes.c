/*
 * test_queue_wakes.c - which thread a wake-up is for: one for each sleep, in the order of the tickets, of
 * those that live; whatever other processes woke before.
 */
#include "queue_support.h"

enum { SLEEPERS = 3, ATTEMPTS = 3 };

static const struct ipk_queue_shape shape = {8, 8, ATTEMPTS, IPK_QUEUE_BYTES};
static struct ipk_queue views[2]; /* of two processes */
static struct ipk_party parties[SLEEPERS];
static uint32_t woken[2][IPK_QUEUE_SLOTS];

static uint32_t
epoch_of(int sleeper)
{
	return LOAD_SEQ_CST(&ipk_queue_part_of(&queue, &parties[sleeper])->epoch);
}

/* Which of them would sleep, as bits. */
static int
asleep(void)
{
	int bits = 0;

	for (int i = 0; i < SLEEPERS; i++)
		bits |= (int)(epoch_of(i) & 1) << i;
	return bits;
}

static void
announce(int sleeper, enum ipk_queue_event event)
{
	uint64_t ticket = 0;

	ipk_queue_announce(&queue, &parties[sleeper], event, &ticket);
}

static void
announce_all(enum ipk_queue_event event)
{
	for (int i = 0; i < SLEEPERS; i++) {
		ipk_queue_awake(&queue, &parties[i], event);
		announce(i, event);
	}
	CHECK(asleep() == 7);
}

static void
awake_all(enum ipk_queue_event event)
{
	for (int i = 0; i < SLEEPERS; i++)
		ipk_queue_awake(&queue, &parties[i], event);
}

/* A message that was sent, and is with that thread. */
static void
send_and_take(int receiver, struct ipk_queue_lease *lease)
{
	struct ipk_obstacle obstacle = {0};

	CHECK(ipk_queue_reserve(&queue, &parties[receiver], 1, lease, &obstacle) == 0);
	CHECK(ipk_queue_publish(&queue, &parties[receiver], lease) == 0);
	CHECK(ipk_queue_take(&queue, &parties[receiver], lease) == 1);
}

/* Whatever finishes the last message wakes the first that waits for that, and it the next one. What
 * leaves one unfinished wakes none. */
static void
test_finished(void)
{
	struct ipk_queue_lease lease;
	struct ipk_queue_lease other;

	send_and_take(0, &lease);
	CHECK(ipk_queue_consume(&queue, &parties[0], &lease) == 0);
	send_and_take(1, &lease);
	announce_all(IPK_QUEUE_FINISHED);
	CHECK(ipk_queue_consume(&queue, &parties[1], &lease) == 0);
	CHECK(asleep() == 7);
	CHECK(ipk_queue_finish(&queue, &parties[1]) == 1);
	CHECK(asleep() == 7);
	CHECK(ipk_queue_finish(&queue, &parties[1]) == 1); /* of the other thread */
	CHECK(asleep() == 6);
	ipk_queue_leave(&queue, IPK_QUEUE_FINISHED);
	CHECK(asleep() == 4);
	CHECK(ipk_queue_finish(&queue, &parties[0]) == 0);
	CHECK(asleep() == 4);
	awake_all(IPK_QUEUE_FINISHED);

	send_and_take(0, &lease);
	announce_all(IPK_QUEUE_FINISHED);
	CHECK(ipk_queue_acknowledge(&queue, &parties[0], &lease) == 0);
	CHECK(asleep() == 6);
	awake_all(IPK_QUEUE_FINISHED);

	send_and_take(0, &lease);
	announce_all(IPK_QUEUE_FINISHED);
	CHECK(ipk_queue_begin_clearing(&queue, &parties[0], &lease) == 0);
	ipk_queue_end_clearing(&queue, &parties[0], &lease);
	CHECK(asleep() == 6);
	awake_all(IPK_QUEUE_FINISHED);

	send_and_take(0, &lease);
	announce_all(IPK_QUEUE_FINISHED);
	for (int attempt = 1; attempt < ATTEMPTS; attempt++) {
		CHECK(ipk_queue_give_back(&queue, &lease, 0) == 0);
		CHECK(asleep() == 7);
		CHECK(ipk_queue_take(&queue, &parties[0], &lease) == 1);
	}
	CHECK(ipk_queue_give_back(&queue, &lease, 0) == 0); /* it is dead */
	CHECK(asleep() == 6);
	CHECK(ipk_queue_find_dead(&queue, lease.record, &other));
	CHECK(ipk_queue_discard(&queue, &parties[0], &other) == 0);
	awake_all(IPK_QUEUE_FINISHED);

	send_and_take(1, &lease);
	CHECK(ipk_queue_consume(&queue, &parties[1], &lease) == 0);
	announce_all(IPK_QUEUE_FINISHED);
	ipk_queue_leave_slot(&queue, &parties[1]);
	CHECK(asleep() == 6);
	awake_all(IPK_QUEUE_FINISHED);
}

/* Two messages before the first sleeper runs: each wakes another one, also from two processes. */
static void
test_one_for_each(void)
{
	announce_all(IPK_QUEUE_MESSAGE);
	ipk_queue_pass_on(&views[0], IPK_QUEUE_MESSAGE, 0);
	CHECK(asleep() == 6);
	ipk_queue_pass_on(&views[1], IPK_QUEUE_MESSAGE, 0);
	CHECK(asleep() == 4);
	ipk_queue_pass_on(&views[0], IPK_QUEUE_MESSAGE, 0);
	CHECK(asleep() == 0);
	ipk_queue_pass_on(&views[1], IPK_QUEUE_MESSAGE, 0); /* none is left */
	for (int i = 0; i < SLEEPERS; i++)
		ipk_queue_awake(&queue, &parties[i], IPK_QUEUE_MESSAGE);
}

static void
test_order(void)
{
	announce_all(IPK_QUEUE_ROOM);
	ipk_queue_pass_on(&views[0], IPK_QUEUE_MESSAGE, 0); /* for others */
	CHECK(asleep() == 7);
	ipk_queue_pass_on(&views[0], IPK_QUEUE_ROOM,
			  LOAD_RELAXED(&ipk_queue_part_of(&queue, &parties[0])->ticket));
	CHECK(asleep() == 5); /* the next behind the first */
	ipk_queue_awake(&queue, &parties[1], IPK_QUEUE_ROOM);
	announce(1, IPK_QUEUE_ROOM); /* it sleeps again, with a new ticket */
	ipk_queue_pass_on(&views[0], IPK_QUEUE_ROOM, 0);
	ipk_queue_pass_on(&views[0], IPK_QUEUE_ROOM, 0);
	CHECK(asleep() == 2);
	ipk_queue_wake_all(&views[0]);
	CHECK(asleep() == 0);
	for (int i = 0; i < SLEEPERS; i++)
		ipk_queue_awake(&queue, &parties[i], IPK_QUEUE_ROOM);
}

/* A process that died asleep is passed over. */
static void
test_the_dead(void)
{
	pid_t pid = fork();

	CHECK(pid >= 0);
	if (pid == 0) {
		struct ipk_party party;
		uint64_t ticket = 0;

		CHECK(ipk_queue_join(&queue, &registry, &party) == 0);
		ipk_queue_announce(&queue, &party, IPK_QUEUE_MESSAGE, &ticket);
		_exit(0);
	}
	CHECK(waitpid(pid, NULL, 0) == pid);
	announce(2, IPK_QUEUE_MESSAGE);
	ipk_queue_pass_on(&views[0], IPK_QUEUE_MESSAGE, 0);
	CHECK(asleep() == 0);
	ipk_queue_awake(&queue, &parties[2], IPK_QUEUE_MESSAGE);
}

/* One that goes away leaves what is there to the next, and only then. */
static void
test_leaving(void)
{
	struct ipk_obstacle obstacle = {0};
	struct ipk_queue_lease lease;

	announce_all(IPK_QUEUE_MESSAGE);
	ipk_queue_leave(&views[0], IPK_QUEUE_MESSAGE);
	CHECK(asleep() == 7);
	CHECK(ipk_queue_reserve(&views[0], &parties[0], 1, &lease, &obstacle) == 0);
	CHECK(ipk_queue_publish(&views[0], &parties[0], &lease) == 0);
	CHECK(asleep() == 6);
	ipk_queue_leave(&views[1], IPK_QUEUE_MESSAGE);
	CHECK(asleep() == 4);
	CHECK(ipk_queue_take(&views[0], &parties[0], &lease) == 1);
	ipk_queue_leave(&views[1], IPK_QUEUE_MESSAGE);
	CHECK(asleep() == 4);
	CHECK(ipk_queue_give_back(&views[0], &lease, 0) == 0);
	CHECK(asleep() == 0);
	for (int i = 0; i < SLEEPERS; i++)
		ipk_queue_awake(&queue, &parties[i], IPK_QUEUE_MESSAGE);
}

/* A delay that is the first to end wakes all: each of them then sleeps until that. */
static void
test_delays(void)
{
	struct ipk_queue_lease lease;

	CHECK(ipk_queue_take(&views[0], &parties[0], &lease) == 1);
	announce_all(IPK_QUEUE_MESSAGE);
	CHECK(ipk_queue_give_back(&views[0], &lease, INT64_MAX - 5) == 0);
	CHECK(asleep() == 0);
	CHECK(LOAD_SEQ_CST(&queue.head->next_due) <= INT64_MAX - 5);
	for (int i = 0; i < SLEEPERS; i++)
		ipk_queue_awake(&queue, &parties[i], IPK_QUEUE_MESSAGE);
}

int
main(void)
{
	queue_make(&shape);
	for (int i = 0; i < 2; i++) {
		views[i] = queue;
		views[i].woken = woken[i];
	}
	for (int i = 0; i < SLEEPERS; i++)
		CHECK(ipk_queue_join(&queue, &registry, &parties[i]) == 0);
	test_finished();
	test_one_for_each();
	test_order();
	test_the_dead();
	test_leaving();
	test_delays();
	for (int i = 0; i < SLEEPERS; i++)
		CHECK(ipk_slot_release(&registry, &parties[i]) == 0);
	return 0;
}

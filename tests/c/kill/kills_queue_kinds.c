/*
 * kills_queue_kinds.c - the calls, and what is in the queue before each.
 */
#include "kills_queue_kinds.h"

#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

const struct ipk_queue_shape queue_shape = {MESSAGES, PAGES, ATTEMPTS, IPK_QUEUE_BYTES};
struct ipk_queue queue;
struct ipk_registry registry;
struct ipk_party party;
static struct ipk_obstacle obstacle;
static struct ipk_queue_lease lease;
static unsigned char body[LARGEST];

void
queue_join(void)
{
	if (ipk_queue_join(&queue, &registry, &party))
		exit(2);
}

uint64_t
queue_size_of(char letter)
{
	return letter >= 'A' && letter <= 'Z' ? LARGE : SMALL;
}

/* -- what a victim does: `lease` is what it has -- */

static int
reserve(char letter)
{
	int code;

	memset(&obstacle, 0, sizeof(obstacle));
	code = ipk_queue_reserve(&queue, &party, queue_size_of(letter), &lease, &obstacle);
	if (code)
		return code;
	memset(body, letter, sizeof(body));
	return ipk_queue_fill(&queue, &lease, body, queue_size_of(letter));
}

int
queue_send_letter(char letter)
{
	int code = reserve(letter);

	return code ? code : ipk_queue_publish(&queue, &party, &lease);
}

static void
send_all(const char *letters)
{
	for (; *letters; letters++)
		if (queue_send_letter(*letters))
			exit(2);
}

static void
take(void)
{
	if (ipk_queue_take(&queue, &party, &lease) != 1)
		exit(2);
}

static void
reserve_x(void)
{
	if (reserve('x'))
		exit(2);
}

static void
reserve_big(void)
{
	if (reserve('X'))
		exit(2);
}

static int
call_send(void)
{
	return queue_send_letter('x');
}

static int
call_send_large(void)
{
	return queue_send_letter('X');
}

static int
call_publish(void)
{
	return ipk_queue_publish(&queue, &party, &lease);
}

static int
call_abandon(void)
{
	ipk_queue_abandon(&queue, &party, &lease);
	return 0;
}

static int
call_take(void)
{
	return ipk_queue_take(&queue, &party, &lease);
}

static int
call_acknowledge(void)
{
	return ipk_queue_acknowledge(&queue, &party, &lease);
}

static int
call_clear(void)
{
	int code = ipk_queue_begin_clearing(&queue, &party, &lease);

	if (code == 0)
		ipk_queue_end_clearing(&queue, &party, &lease);
	return code;
}

static int
call_retry(void)
{
	return ipk_queue_retry(&queue, &lease);
}

static int
call_discard(void)
{
	return ipk_queue_discard(&queue, &party, &lease);
}

static int
call_give_back(void)
{
	return ipk_queue_give_back(&queue, &lease, 0);
}

static int
call_delay(void)
{
	return ipk_queue_give_back(&queue, &lease, 1); /* it is due already */
}

static int
call_recover(void)
{
	return ipk_queue_recover(&queue, &party);
}

static int
call_consume(void)
{
	return ipk_queue_consume(&queue, &party, &lease);
}

static int
call_finish(void)
{
	return ipk_queue_finish(&queue, &party);
}

static int
call_leave_slot(void)
{
	ipk_queue_leave_slot(&queue, &party);
	return 0;
}

static int
call_wait_until_finished(void)
{
	uint64_t ticket = 0;

	ipk_queue_announce(&queue, &party, IPK_QUEUE_FINISHED, &ticket);
	if (ipk_queue_is_finished(&queue))
		return 1;
	return ipk_queue_sleep(&queue, &party, IPK_QUEUE_FINISHED, 1);
}

static int
call_wait(void)
{
	uint64_t ticket = 0;

	ipk_queue_announce(&queue, &party, IPK_QUEUE_MESSAGE, &ticket);
	return ipk_queue_sleep(&queue, &party, IPK_QUEUE_MESSAGE, 1);
}

/* -- what was there before: the parent has joined -- */

static void
empty(void)
{
}

static void
abc(void)
{
	send_all("aBc");
}

static void
full(void)
{
	send_all("abcdef");
}

/* Free pages that do not lie beside each other. */
static void
scattered(void)
{
	struct ipk_queue_lease first;

	send_all("ABC");
	take();
	first = lease;
	take();
	(void)ipk_queue_acknowledge(&queue, &party, &lease); /* B: two pages */
	send_all("xYz");
	take();
	(void)ipk_queue_acknowledge(&queue, &party, &lease); /* C: two others */
	(void)ipk_queue_acknowledge(&queue, &party, &first); /* A */
	take();
	(void)ipk_queue_acknowledge(&queue, &party, &lease); /* x */
}

static void
given_back(void)
{
	abc();
	take();
	if (ipk_queue_give_back(&queue, &lease, 0))
		exit(2);
}

static void
tried_twice(void)
{
	for (int i = 0; i < ATTEMPTS - 1; i++) {
		if (i == 0)
			abc();
		take();
		if (ipk_queue_give_back(&queue, &lease, 0))
			exit(2);
	}
}

/* B is dead; its name is in `lease`. */
static void
dead_message(void)
{
	send_all("B");
	for (int i = 0; i < ATTEMPTS; i++) {
		take();
		if (ipk_queue_give_back(&queue, &lease, 0))
			exit(2);
	}
	send_all("ac");
	for (uint32_t record = 0; !ipk_queue_find_dead(&queue, record, &lease); record++)
		if (record == MESSAGES)
			exit(2);
}

/* A child of the victim, which has joined, does something and ends: the victim recovers it. */
static void
dies(void (*what)(void))
{
	pid_t pid = fork();

	if (pid == 0) {
		queue_join();
		what();
		_exit(0);
	}
	(void)waitpid(pid, NULL, 0);
}

static void
dead_sender(void)
{
	dies(reserve_big);
}

static void
dead_receiver(void)
{
	dies(take);
}

static void
take_two(void)
{
	take();
	take();
}

static void
dead_receiver_of_two(void)
{
	dies(take_two);
}

static void
consume(void)
{
	take();
	if (ipk_queue_consume(&queue, &party, &lease))
		exit(2);
}

static void
consumed(void)
{
	abc();
	consume();
}

static void
dead_consumer(void)
{
	dies(consume);
}

const struct kind queue_kinds[] = {
	{"send, into an empty queue", empty, NULL, ENTRY(ipk_queue_reserve), call_send, "", "x", 0, 0},
	{"send, behind others", abc, NULL, ENTRY(ipk_queue_reserve), call_send, "aBc", "aBcx", 0, 0},
	{"send, pages", abc, NULL, ENTRY(ipk_queue_reserve), call_send_large, "aBc", "aBcX", 0, 0},
	{"send, scattered pages", scattered, NULL, ENTRY(ipk_queue_reserve), call_send_large, "Yz",
	 "YzX", 0, 0},
	{"send, full", full, NULL, ENTRY(ipk_queue_reserve), call_send, "abcdef", "abcdef", 0, 0},
	{"publish", abc, reserve_x, ENTRY(ipk_queue_publish), call_publish, "aBc", "aBcx", 0, 0},
	{"abandon", abc, reserve_x, ENTRY(ipk_queue_abandon), call_abandon, "aBc", "aBc", 0, 0},
	{"abandon, pages", abc, reserve_big, ENTRY(ipk_queue_abandon), call_abandon, "aBc", "aBc", 0, 0},
	{"take", abc, NULL, ENTRY(ipk_queue_take), call_take, "aBc", "aBc", 0, 0},
	{"take, from an empty queue", empty, NULL, ENTRY(ipk_queue_take), call_take, "", "", 0, 0},
	{"take, given back", given_back, NULL, ENTRY(ipk_queue_take), call_take, "aBc", "aBc", 0, 0},
	{"acknowledge", abc, take, ENTRY(ipk_queue_acknowledge), call_acknowledge, "aBc", "Bc", 0, 0},
	{"acknowledge, pages", abc, take_two, ENTRY(ipk_queue_acknowledge), call_acknowledge, "aBc",
	 "ac", 0, 0},
	{"give back", abc, take, ENTRY(ipk_queue_give_back), call_give_back, "aBc", "aBc", 0, 0},
	{"give back, with a delay", abc, take, ENTRY(ipk_queue_give_back), call_delay, "aBc", "aBc",
	 0, 0},
	{"give back, the last attempt", tried_twice, take, ENTRY(ipk_queue_give_back),
	 call_give_back, "Bc", "Bc", 1, 0},
	{"recover a sender", abc, dead_sender, ENTRY(ipk_queue_recover), call_recover, "aBc", "aBc",
	 0, 0},
	{"recover a receiver", abc, dead_receiver, ENTRY(ipk_queue_recover), call_recover, "aBc",
	 "aBc", 0, 0},
	{"recover a receiver of two", abc, dead_receiver_of_two, ENTRY(ipk_queue_recover),
	 call_recover, "aBc", "aBc", 0, 0},
	{"acknowledge in two steps", abc, take_two, ENTRY(ipk_queue_begin_clearing), call_clear,
	 "aBc", "ac", 0, 0},
	{"retry a dead one", dead_message, NULL, ENTRY(ipk_queue_retry), call_retry, "ac", "Bac", 1, 0},
	{"discard a dead one", dead_message, NULL, ENTRY(ipk_queue_discard), call_discard, "ac", "ac",
	 1, 0},
	{"consume", abc, take, ENTRY(ipk_queue_consume), call_consume, "aBc", "Bc", 0, 0},
	{"consume, pages", abc, take_two, ENTRY(ipk_queue_consume), call_consume, "aBc", "ac", 0, 0},
	{"finish", abc, consume, ENTRY(ipk_queue_finish), call_finish, "Bc", "Bc", 0, 0},
	{"finish another thread's", consumed, NULL, ENTRY(ipk_queue_finish), call_finish, "Bc", "Bc", 0,
	 1},
	{"leave its slot", abc, consume, ENTRY(ipk_queue_leave_slot), call_leave_slot, "Bc", "Bc", 0, 0},
	{"recover a consumer", abc, dead_consumer, ENTRY(ipk_queue_recover), call_recover, "Bc", "Bc",
	 0, 0},
	{"wait until all is finished", consumed, NULL, ENTRY(ipk_queue_announce),
	 call_wait_until_finished, "Bc", "Bc", 0, 1},
	{"wait, all is finished", empty, NULL, ENTRY(ipk_queue_announce), call_wait_until_finished, "",
	 "", 0, 0},
	{"wait", empty, NULL, ENTRY(ipk_queue_announce), call_wait, "", "", 0, 0},
};
const size_t queue_kinds_count = sizeof(queue_kinds) / sizeof(queue_kinds[0]);

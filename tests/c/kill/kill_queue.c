/*
 * kill_queue.c - kill -9 after every instruction of the calls of a shared queue.
 *
 * After each: the queue is recovered without a wait and is sound (ipk_queue_verify); what it gives is
 * what it held before the call, or what it holds after it, in order and whole; nothing is taken.
 * usage: kill_queue [stride [shard shards]]     every stride-th instruction
 * Prints the counts; ends with 1 if any trial failed.
 */
#include "kills_victim.h"
#include "shared_queue/shared_queue.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
	MESSAGES = 6,
	PAGES = 6,
	ATTEMPTS = 3,
	SMALL = 100,
	LARGE = 2 * IPK_QUEUE_PAGE - 7,
	LARGEST = PAGES * IPK_QUEUE_PAGE,
};

struct kind {
	const char *name;
	void (*prepare)(void);
	void (*ready)(void); /* in the victim, joined; NULL: nothing */
	void (*entry)(void);
	int (*call)(void);
	const char *before; /* what a receiver gets: a letter for each message, small or LARGE */
	const char *after;
	uint32_t dead; /* messages that are DEAD afterwards, at most */
};

static const struct ipk_queue_shape shape = {MESSAGES, PAGES, ATTEMPTS};
static struct ipk_queue queue;
static struct ipk_registry registry;
static struct ipk_party party;
static struct ipk_obstacle obstacle;
static struct ipk_queue_lease lease;
static unsigned char body[LARGEST];
static unsigned char copy[LARGEST];
static void *base;

static void
join(void)
{
	if (ipk_queue_join(&queue, &registry, &party))
		exit(2);
}

static uint64_t
size_of(char letter)
{
	return letter >= 'A' && letter <= 'Z' ? LARGE : SMALL;
}

/* -- what a victim does: `lease` is what it has -- */

static int
reserve(char letter)
{
	int code;

	memset(&obstacle, 0, sizeof(obstacle));
	code = ipk_queue_reserve(&queue, &party, size_of(letter), &lease, &obstacle);
	if (code)
		return code;
	memset(body, letter, sizeof(body));
	return ipk_queue_fill(&queue, &lease, body);
}

static int
send_letter(char letter)
{
	int code = reserve(letter);

	return code ? code : ipk_queue_publish(&queue, &party, &lease);
}

static void
send_all(const char *letters)
{
	for (; *letters; letters++)
		if (send_letter(*letters))
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
	return send_letter('x');
}

static int
call_send_large(void)
{
	return send_letter('X');
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
call_wait(void)
{
	ipk_queue_announce(&queue, &party, IPK_QUEUE_MESSAGE);
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

/* A child does something and ends; nobody has recovered it yet. The slot stays behind ours. */
static void
dies(void (*what)(void))
{
	pid_t pid = fork();

	if (pid == 0) {
		join();
		what();
		_exit(0);
	}
	(void)waitpid(pid, NULL, 0);
}

static void
dead_sender(void)
{
	abc();
	dies(reserve_big);
}

static void
dead_receiver(void)
{
	abc();
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
	abc();
	dies(take_two);
}

#define ENTRY(function) (void (*)(void))(function)

static const struct kind kinds[] = {
	{"send, into an empty queue", empty, NULL, ENTRY(ipk_queue_reserve), call_send, "", "x", 0},
	{"send, behind others", abc, NULL, ENTRY(ipk_queue_reserve), call_send, "aBc", "aBcx", 0},
	{"send, pages", abc, NULL, ENTRY(ipk_queue_reserve), call_send_large, "aBc", "aBcX", 0},
	{"send, scattered pages", scattered, NULL, ENTRY(ipk_queue_reserve), call_send_large, "Yz",
	 "YzX", 0},
	{"send, full", full, NULL, ENTRY(ipk_queue_reserve), call_send, "abcdef", "abcdef", 0},
	{"publish", abc, reserve_x, ENTRY(ipk_queue_publish), call_publish, "aBc", "aBcx", 0},
	{"abandon", abc, reserve_x, ENTRY(ipk_queue_abandon), call_abandon, "aBc", "aBc", 0},
	{"abandon, pages", abc, reserve_big, ENTRY(ipk_queue_abandon), call_abandon, "aBc", "aBc", 0},
	{"take", abc, NULL, ENTRY(ipk_queue_take), call_take, "aBc", "aBc", 0},
	{"take, from an empty queue", empty, NULL, ENTRY(ipk_queue_take), call_take, "", "", 0},
	{"take, given back", given_back, NULL, ENTRY(ipk_queue_take), call_take, "aBc", "aBc", 0},
	{"acknowledge", abc, take, ENTRY(ipk_queue_acknowledge), call_acknowledge, "aBc", "Bc", 0},
	{"acknowledge, pages", abc, take_two, ENTRY(ipk_queue_acknowledge), call_acknowledge, "aBc",
	 "ac", 0},
	{"give back", abc, take, ENTRY(ipk_queue_give_back), call_give_back, "aBc", "aBc", 0},
	{"give back, with a delay", abc, take, ENTRY(ipk_queue_give_back), call_delay, "aBc", "aBc",
	 0},
	{"give back, the last attempt", tried_twice, take, ENTRY(ipk_queue_give_back),
	 call_give_back, "Bc", "Bc", 1},
	{"recover a sender", dead_sender, NULL, ENTRY(ipk_queue_recover), call_recover, "aBc", "aBc",
	 0},
	{"recover a receiver", dead_receiver, NULL, ENTRY(ipk_queue_recover), call_recover, "aBc",
	 "aBc", 0},
	{"recover a receiver of two", dead_receiver_of_two, NULL, ENTRY(ipk_queue_recover),
	 call_recover, "aBc", "aBc", 0},
	{"wait", empty, NULL, ENTRY(ipk_queue_announce), call_wait, "", "", 0},
};

static void
get_ready(const void *what)
{
	const struct kind *kind = what;

	join();
	if (kind->ready)
		kind->ready();
}

/* What a receiver gets, as letters; a body that is not whole is a '?'. */
static void
drain(char *letters)
{
	while (ipk_queue_take(&queue, &party, &lease) == 1) {
		struct ipk_queue_message message;
		char letter = '?';

		if (ipk_queue_message_of(&queue, &lease, &message) == 0 &&
		    message.size <= sizeof(copy) && ipk_queue_copy(&queue, &lease, copy) == 0) {
			memset(body, copy[0], sizeof(body));
			if (message.size == size_of((char)copy[0]) &&
			    memcmp(body, copy, message.size) == 0)
				letter = (char)copy[0];
		}
		*letters++ = letter;
		(void)ipk_queue_acknowledge(&queue, &party, &lease);
	}
	*letters = '\0';
}

/* What is wrong, or NULL. */
static const char *
judge(const struct kind *kind, char *letters)
{
	struct ipk_queue_counts counts;
	const char *broken;

	while (ipk_queue_recover(&queue, &party))
		;
	broken = ipk_queue_verify(&queue);
	if (broken)
		return broken;
	drain(letters);
	if (strcmp(letters, kind->before) != 0 && strcmp(letters, kind->after) != 0)
		return "it gives other messages";
	ipk_queue_count(&queue, &counts);
	if (counts.in[IPK_QUEUE_DEAD] > kind->dead ||
	    counts.in[IPK_QUEUE_FREE] + counts.in[IPK_QUEUE_DEAD] != MESSAGES)
		return "a record is lost";
	if (counts.free_pages != PAGES)
		return "a page is lost";
	broken = ipk_queue_verify(&queue);
	if (broken)
		return broken;
	for (uint32_t i = 0; i < counts.in[IPK_QUEUE_FREE]; i++)
		if (send_letter('y'))
			return "the queue does not take as many messages as it holds";
	if (send_letter('y') != -ENOSPC)
		return "the queue takes more messages than it holds";
	return NULL;
}

static void
make(void)
{
	int64_t bytes = ipk_queue_bytes(&shape);
	int fd = memfd_create("kill_queue", MFD_CLOEXEC);
	struct stat seen;

	if (bytes < 0 || fd < 0 || ftruncate(fd, bytes) != 0 || fstat(fd, &seen) != 0)
		exit(2);
	base = mmap(NULL, (size_t)bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (base == MAP_FAILED)
		exit(2);
	registry = (struct ipk_registry){
		.fd = fd, .dev = (uint64_t)seen.st_dev, .ino = (uint64_t)seen.st_ino};
}

static void
begin(const struct kind *kind)
{
	int64_t bytes = ipk_queue_bytes(&shape);
	const char *why;

	memset(base, 0, (size_t)bytes);
	if (ipk_queue_format(base, (uint64_t)bytes, &shape) ||
	    ipk_queue_attach(&queue, base, (uint64_t)bytes, &why))
		exit(2);
	join();
	kind->prepare();
}

int
main(int argc, char **argv)
{
	uint32_t stride = argc > 1 ? (uint32_t)strtoul(argv[1], NULL, 10) : 1;
	uint32_t wrong = 0;
	uint32_t kills = 0;

	victim_pin(0);
	make();
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		const struct kind *kind = &kinds[i];
		uint32_t before = kills;
		int over = 0;

		for (uint32_t outer = 0; !over; outer += stride, kills++) {
			struct ipk_trace victim;
			char letters[MESSAGES + 1];
			const char *what;

			begin(kind);
			if (victim_begin(&victim, get_ready, kind, kind->entry, kind->call))
				exit(2);
			over = ipk_trace_step(&victim, outer) != 0;
			(void)ipk_trace_kill(&victim);
			letters[0] = '\0';
			what = judge(kind, letters);
			if (what) {
				fprintf(stderr, "%s, after %u instructions: %s (%s)\n", kind->name,
					outer, what, letters);
				wrong++;
			}
		}
		printf("  %-28s %7u kills\n", kind->name, kills - before);
	}
	printf("shared queue: %u kills, %u wrong\n", kills, wrong);
	return wrong != 0;
}

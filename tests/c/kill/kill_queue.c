/*
 * kill_queue.c - kill -9 after every instruction of the calls of a shared queue.
 *
 * After each: the queue is recovered without a wait and is sound (ipk_queue_verify); what it gives is
 * what it held before the call, or what it holds after it, in order and whole; nothing is taken.
 * After every `every`-th, the thread that gets the dead one's slot is killed as well, after each
 * instruction of its recovery.
 * Then each call is stopped there instead, and goes on to its end. In between no other process
 * waits for it or takes what it has; afterwards each message was received once.
 * usage: kill_queue [stride [every]]     every stride-th instruction, of all three
 * Prints the counts; ends with 1 if any trial failed.
 */
#include "kills_queue_kinds.h"
#include "kills_victim.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static unsigned char body[LARGEST];
static unsigned char copy[LARGEST];
static void *base;

static void
get_ready(const void *what)
{
	const struct kind *kind = what;

	queue_join();
	if (kind->ready)
		kind->ready();
}

/* What a receiver gets, as letters; a body that is not whole is a '?'. */
static void
drain(char *letters)
{
	struct ipk_queue_lease lease;

	for (int got = 0; got < MESSAGES && ipk_queue_take(&queue, &party, &lease) == 1; got++) {
		struct ipk_queue_message message;
		char letter = '?';

		if (ipk_queue_message_of(&queue, &lease, &message) == 0 &&
		    message.size <= sizeof(copy) && ipk_queue_copy(&queue, &lease, copy, message.size) == 0) {
			memset(body, copy[0], sizeof(body));
			if (message.size == queue_size_of((char)copy[0]) &&
			    memcmp(body, copy, message.size) == 0)
				letter = (char)copy[0];
		}
		*letters++ = letter;
		(void)ipk_queue_acknowledge(&queue, &party, &lease);
	}
	*letters = '\0';
}

/* Pages of the messages that are DEAD. */
static uint32_t
pages_of_dead(void)
{
	uint32_t pages = 0;

	for (uint32_t record = 0; record < MESSAGES; record++) {
		struct ipk_queue_message message;
		struct ipk_queue_lease lease;

		if (ipk_queue_find_dead(&queue, record, &lease) &&
		    ipk_queue_message_of(&queue, &lease, &message) == 0 &&
		    message.size > IPK_QUEUE_INLINE)
			pages += (uint32_t)((message.size + IPK_QUEUE_PAGE - 1) / IPK_QUEUE_PAGE);
	}
	return pages;
}

/* Whether both have the same letters, in any order. */
static int
is_permuted(const char *one, const char *other)
{
	int count[256] = {0};

	for (; *one; one++)
		count[(unsigned char)*one]++;
	for (; *other; other++)
		count[(unsigned char)*other]--;
	for (size_t i = 0; i < 256; i++)
		if (count[i])
			return 0;
	return 1;
}

/* Whether these are the letters after a call that was killed, or with `early`, those that were received
 * while it was stopped, after one that went on: it may have found room that there was not before. */
static int
is_right(const struct kind *kind, const char *letters, const char *early)
{
	char all[2 * MESSAGES + 1];
	char room[MESSAGES + 2];

	if (!early)
		return strcmp(letters, kind->before) == 0 || strcmp(letters, kind->after) == 0;
	(void)snprintf(all, sizeof(all), "%s%s", early, letters);
	(void)snprintf(room, sizeof(room), "%sx", kind->before);
	return is_permuted(all, kind->after) || is_permuted(all, room);
}

/* What is wrong, or NULL. */
static const char *
judge(const struct kind *kind, char *letters, const char *early)
{
	struct ipk_queue_counts counts;
	const char *broken;
	uint32_t unfinished = 0;
	int finished;

	while (ipk_queue_recover(&queue, &party))
		;
	broken = ipk_queue_verify(&queue);
	if (broken)
		return broken;
	finished = ipk_queue_is_finished(&queue);
	drain(letters);
	while (ipk_queue_finish(&queue, &party))
		unfinished++;
	if (unfinished > kind->unfinished)
		return "a dead thread has not given up what it did not finish";
	if (finished != (!*letters && !unfinished) || !ipk_queue_is_finished(&queue))
		return "all is finished, or is not, and the queue says otherwise";
	if (!is_right(kind, letters, early))
		return "it gives other messages";
	ipk_queue_count(&queue, &counts);
	if (counts.in[IPK_QUEUE_DEAD] > kind->dead ||
	    counts.in[IPK_QUEUE_FREE] + counts.in[IPK_QUEUE_DEAD] != MESSAGES)
		return "a record is lost";
	if (counts.free_pages + pages_of_dead() != PAGES)
		return "a page is lost";
	broken = ipk_queue_verify(&queue);
	if (broken)
		return broken;
	for (uint32_t i = 0; i < counts.in[IPK_QUEUE_FREE]; i++)
		if (queue_send_letter('y'))
			return "the queue does not take as many messages as it holds";
	if (queue_send_letter('y') != -ENOSPC)
		return "the queue takes more messages than it holds";
	return NULL;
}

static void
make(void)
{
	int64_t bytes = ipk_queue_bytes(&queue_shape);
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
	int64_t bytes = ipk_queue_bytes(&queue_shape);
	const char *why;

	memset(base, 0, (size_t)bytes);
	if (ipk_queue_format(base, (uint64_t)bytes, &queue_shape) ||
	    ipk_queue_attach(&queue, base, (uint64_t)bytes, &why))
		exit(2);
	queue_join();
	kind->prepare();
}

static uint32_t wrong;

static void
note(const struct kind *kind, const char *what, uint32_t outer, const char *where, uint32_t inner,
     const char *letters)
{
	if (!what)
		return;
	fprintf(stderr, "%s, after %u instructions%s %u: %s (%s)\n", kind->name, outer, where, inner,
		what, letters);
	wrong++;
}

static void
check(const struct kind *kind, uint32_t outer, const char *where, uint32_t inner)
{
	char letters[MESSAGES + 1] = "";
	const char *what = judge(kind, letters, NULL);

	note(kind, what, outer, where, inner, letters);
}

static void
nothing(const void *unused)
{
	(void)unused;
}

static int
call_join(void)
{
	queue_join();
	return 0;
}

/* A victim of `kind`, or its successor, before its call. */
typedef void starter(struct ipk_trace *victim, const void *what);

/* Lead what `start` gives `count` instructions into its call, which takes that path; 1: it has
 * returned. */
static int
lead(struct ipk_trace *victim, starter *start, const void *what, const struct path *path, uint32_t count)
{
	int over;

	start(victim, what);
	over = path_follow(victim, path, count);
	if (over == -ECHILD) { /* another path, and it ended */
		start(victim, what);
		over = ipk_trace_step(victim, count);
	}
	return over != 0;
}

static int
cut(starter *start, const void *what, const struct path *path, uint32_t count)
{
	struct ipk_trace victim;
	int over = lead(&victim, start, what, path, count);

	(void)ipk_trace_kill(&victim);
	return over;
}

static void
start_victim(struct ipk_trace *victim, const void *what)
{
	const struct kind *kind = what;

	begin(kind);
	if (victim_begin(victim, get_ready, kind, kind->entry, kind->call))
		exit(2);
}

/* One that gets the slot of a victim that died as `saved` shows; from when it has it. */
static void
start_successor(struct ipk_trace *victim, const void *saved)
{
	memcpy(base, saved, (size_t)ipk_queue_bytes(&queue_shape));
	if (victim_begin(victim, nothing, NULL, ENTRY(ipk_queue_forget_sleep), call_join))
		exit(2);
}

/* Kill the successors. How many. */
static uint32_t
kill_successors(const struct kind *kind, uint32_t outer, uint32_t stride, const void *saved)
{
	static struct path path;
	struct ipk_trace victim;
	uint32_t kills = 0;

	start_successor(&victim, saved);
	path_note(&victim, &path);
	for (int over = 0; !over; kills++) {
		over = cut(start_successor, saved, &path, kills * stride);
		check(kind, outer, ", its successor after", kills * stride);
	}
	return kills;
}

static uint32_t
kill_all(const struct kind *kind, uint32_t stride, uint32_t every)
{
	size_t bytes = (size_t)ipk_queue_bytes(&queue_shape);
	void *saved = malloc(bytes);
	static struct path path;
	struct ipk_trace victim;
	uint32_t kills = 0;
	uint32_t trials = 0;

	if (!saved)
		exit(2);
	start_victim(&victim, kind);
	path_note(&victim, &path);
	for (int over = 0; !over; trials++) {
		over = cut(start_victim, kind, &path, trials * stride);
		memcpy(saved, base, bytes);
		check(kind, trials * stride, "", 0);
		if (every && trials % every == 0)
			kills += kill_successors(kind, trials * stride, stride, saved);
	}
	free(saved);
	return kills + trials;
}

/* The words of the messages that a process has received, 0 for other records. One that it sends may be
 * QUEUED by a receiver: once it has its place in the ring it is sent. */
static void
words_of(pid_t pid, uint64_t words[MESSAGES])
{
	for (uint32_t i = 0; i < MESSAGES; i++) {
		uint64_t word = LOAD_SEQ_CST(&queue.records[i].word);
		uint32_t owner = ipk_queue_owner_of(word);

		if (owner == 0 || queue.slots[owner - 1].tid != (uint32_t)pid ||
		    ipk_queue_state_of(word) == IPK_QUEUE_FILLING)
			word = 0;
		words[i] = word;
	}
}

/* Send and receive beside a process that is stopped. What is wrong, or NULL. */
static const char *
go_on_beside(pid_t pid, char *early)
{
	uint64_t before[MESSAGES];
	uint64_t after[MESSAGES];
	char own[MESSAGES + 1];

	words_of(pid, before);
	while (ipk_queue_recover(&queue, &party))
		;
	drain(early);
	if (queue_send_letter('y'))
		return "a message is not sent beside a stopped process";
	drain(own);
	if (strcmp(own, "y") != 0)
		return "a message is not received beside a stopped process";
	words_of(pid, after);
	return memcmp(before, after, sizeof(before)) ? "a stopped process has lost what it received" : NULL;
}

static uint32_t
stop_all(const struct kind *kind, uint32_t stride)
{
	static struct path path;
	struct ipk_trace victim;
	uint32_t stops = 0;

	start_victim(&victim, kind);
	path_note(&victim, &path);
	for (int over = 0; !over; stops++) {
		char early[MESSAGES + 1];
		char letters[MESSAGES + 1] = "";
		const char *what;
		int status;

		over = lead(&victim, start_victim, kind, &path, stops * stride);
		what = go_on_beside(victim.pid, early);
		if (ipk_trace_let_go(&victim) || waitpid(victim.pid, &status, 0) != victim.pid)
			exit(2);
		if (!what && status)
			what = "the one that was stopped did not end well";
		if (!what)
			what = judge(kind, letters, early);
		note(kind, what, stops * stride, ", stopped; received early", 0, early);
	}
	return stops;
}

int
main(int argc, char **argv)
{
	uint32_t stride = argc > 1 ? (uint32_t)strtoul(argv[1], NULL, 10) : 1;
	uint32_t every = argc > 2 ? (uint32_t)strtoul(argv[2], NULL, 10) : 16;
	uint32_t kills = 0;
	uint32_t stops = 0;

	victim_pin(0);
	make();
	for (size_t i = 0; i < queue_kinds_count; i++) {
		uint32_t kills_of_kind = kill_all(&queue_kinds[i], stride, every);
		uint32_t stops_of_kind = stop_all(&queue_kinds[i], stride);

		printf("  %-28s %7u kills %6u stops\n", queue_kinds[i].name, kills_of_kind, stops_of_kind);
		kills += kills_of_kind;
		stops += stops_of_kind;
	}
	printf("shared queue: %u kills, %u stops, %u wrong\n", kills, stops, wrong);
	return wrong != 0;
}

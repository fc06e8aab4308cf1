/*
 * kill_queue.c - kill -9 after every instruction of the calls of a shared queue.
 *
 * After each: the queue is recovered without a wait and is sound (ipk_queue_verify); what it gives is
 * what it held before the call, or what it holds after it, in order and whole; nothing is taken.
 * After every `every`-th, the thread that gets the dead one's slot is killed as well, after each
 * instruction of its recovery.
 * usage: kill_queue [stride [every]]     every stride-th instruction, of both
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

	while (ipk_queue_take(&queue, &party, &lease) == 1) {
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

/* What is wrong, or NULL. */
static const char *
judge(const struct kind *kind, char *letters)
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
	if (strcmp(letters, kind->before) != 0 && strcmp(letters, kind->after) != 0)
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
check(const struct kind *kind, uint32_t outer, const char *where, uint32_t inner)
{
	char letters[MESSAGES + 1] = "";
	const char *what = judge(kind, letters);

	if (!what)
		return;
	fprintf(stderr, "%s, after %u instructions%s %u: %s (%s)\n", kind->name, outer, where, inner,
		what, letters);
	wrong++;
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

/* Kill what `start` gives, `count` instructions into its call, which takes that path; 1: it had
 * returned. */
static int
cut(starter *start, const void *what, const struct path *path, uint32_t count)
{
	struct ipk_trace victim;
	int over;

	start(&victim, what);
	over = path_follow(&victim, path, count);
	if (over == -ECHILD) { /* another path, and it ended */
		start(&victim, what);
		over = ipk_trace_step(&victim, count);
	}
	(void)ipk_trace_kill(&victim);
	return over != 0;
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

int
main(int argc, char **argv)
{
	uint32_t stride = argc > 1 ? (uint32_t)strtoul(argv[1], NULL, 10) : 1;
	uint32_t every = argc > 2 ? (uint32_t)strtoul(argv[2], NULL, 10) : 16;
	uint32_t kills = 0;

	victim_pin(0);
	make();
	for (size_t i = 0; i < queue_kinds_count; i++) {
		uint32_t of_kind = kill_all(&queue_kinds[i], stride, every);

		printf("  %-28s %7u kills\n", queue_kinds[i].name, of_kind);
		kills += of_kind;
	}
	printf("shared queue: %u kills, %u wrong\n", kills, wrong);
	return wrong != 0;
}

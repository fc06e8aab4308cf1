/*
 * ledger_world.h - the scenes, a small ledger for them, and what is true of its tasks: included once,
 * by ledger.c.
 */
#ifndef LEDGER_WORLD_H
#define LEDGER_WORLD_H

#include "ledger/internal.h"
#include "search.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
	RECORDS = 3,
	BLOCKS = 4,
	WORKERS = 2,
	TASK_WORKERS = 1,
	PLACES = 2 * (WORKERS + TASK_WORKERS),
	FIRST = 0, /* the submitters */
	SECOND = 2,
	NOBODY = 1, /* a place whose process is gone */
	HOLDER = 3, /* of records that are held */
	TAKER = 2 * WORKERS,
	OTHER_TAKER = TAKER + 1,
	MANAGER = PLACES,
	LOOKER = PLACES + 1, /* no place: it only looks */
	MOST_IDS = 128,
	MOST_POSTS = 4,
	LONG = 600, /* bytes, in two blocks */
	BODIES = 1200,
};

/* What becomes of a task. */
struct post {
	uint32_t key;	     /* ordering; 0: none */
	uint32_t size;	     /* of its body */
	uint32_t answer;     /* size of its result */
	uint32_t fails;	     /* attempts, before one ends well */
	uint32_t unreadable; /* deliveries after which it is run again */
	int quiet;	     /* nobody is delivered */
	int late;	     /* its attempts that fail are tried again after a delay */
	int given_up;	     /* its last attempt fails as well */
	int dropped;	     /* it is not stored: its dedup_key is there, say */
};

struct scene {
	const char *name;
	struct post posts[2][MOST_POSTS]; /* of both submitters; size 0: no more */
	int takers;
	int sweeps;
	int looks;
	int held;	/* records that nobody gives back */
	uint32_t hints; /* in a ring */
};

static const struct scene scenes[] = {
	{"keys",
	 {{{.key = 5, .size = 1, .quiet = 1},
	   {.key = 5, .size = 1, .dropped = 1},
	   {.key = 7, .size = 1, .quiet = 1},
	   {.key = 5, .size = 1, .quiet = 1}},
	  {{.key = 7, .size = 1, .quiet = 1},
	   {.key = 7, .size = 1, .dropped = 1},
	   {.key = 7, .size = 1, .quiet = 1},
	   {.key = 5, .size = 1, .quiet = 1}}},
	 .takers = 2, .hints = 4},
	{"order",
	 {{{.key = 5, .size = 1, .quiet = 1},
	   {.key = 5, .size = 1, .quiet = 1},
	   {.key = 5, .size = 1, .quiet = 1},
	   {.key = 5, .size = 1, .quiet = 1}}},
	 .takers = 2, .hints = 4},
	{"ends",
	 {{{.key = 5, .size = 1, .answer = 1},
	   {.key = 7, .size = 1, .answer = 1},
	   {.key = 7, .size = 1, .answer = 1}},
	  {{.key = 7, .size = 1, .answer = 1},
	   {.key = 7, .size = 1, .given_up = 1},
	   {.key = 5, .size = 1, .answer = 1}}},
	 .takers = 2, .sweeps = 4, .hints = 4},
	{"once more",
	 {{{.key = 5, .size = 1, .answer = 1, .unreadable = 1}, {.key = 5, .size = 1, .quiet = 1}},
	  {{.key = 5, .size = 1, .fails = 1, .late = 1, .quiet = 1}}},
	 .takers = 2, .hints = 4},
	{"sweep",
	 {{{.key = 5, .size = 1, .answer = 1},
	   {.key = 7, .size = 1, .answer = 1},
	   {.key = 7, .size = 1, .quiet = 1}},
	  {{.key = 7, .size = LONG, .answer = LONG, .fails = 1}, {.key = 5, .size = 1, .answer = 1}}},
	 .takers = 2, .sweeps = 4, .hints = 4},
	{"bodies",
	 {{{.size = LONG, .answer = 1}, {.size = LONG, .answer = LONG}},
	  {{.size = LONG, .answer = 1}, {.size = 200, .answer = LONG, .fails = 1}}},
	 .takers = 2, .looks = 6, .hints = 4},
	{"hints",
	 {{{.size = 1, .quiet = 1}, {.size = 1, .quiet = 1}, {.size = 1, .quiet = 1},
	   {.size = 1, .answer = 1}},
	  {{.size = 1, .quiet = 1}, {.size = 1, .answer = 1}, {.size = 1, .quiet = 1}}},
	 .takers = 2, .hints = 2},
	{"room",
	 {{{.size = 1, .quiet = 1}, {.size = 1, .quiet = 1}, {.size = 1, .quiet = 1}},
	  {{.size = 1, .quiet = 1}, {.size = 1, .quiet = 1}}},
	 .takers = 2, .held = RECORDS - 1, .hints = 4},
};
static const struct scene *now_played;

/* -- the world -- */

static const struct ipk_ledger_shape shape = {RECORDS, BLOCKS, WORKERS, TASK_WORKERS, 0};
static unsigned char *memory;
static uint64_t memory_bytes;
static struct ipk_ledger views[PLACES + 2];
static uint32_t woken_in[PLACES + 2][PLACES];
static uint32_t recent[PLACES + 2][RECORDS];
static int wakeups[PLACES + 1];

/* What is true of the task with an id, whoever sees it. */
struct task {
	const struct post *post;
	uint64_t before; /* tasks of its key that were stored before it was begun to be stored */
	uint32_t submitter;
	uint32_t answer; /* the size of its result */
	uint32_t runs, deliveries;
	int stored, over;
};
static struct task tasks[MOST_IDS];
static uint64_t under_way[16]; /* [key]: the id */
static uint64_t running_now;   /* ids */
static uint32_t total, finished, buried;
static int all_over;

#define RULE(held, rule)                                                                           \
	do {                                                                                       \
		if (!(held))                                                                       \
			search_failed(rule);                                                       \
	} while (0)

static uint64_t
bit(uint64_t id)
{
	return UINT64_C(1) << (id % 64);
}

static void
make_world(void)
{
	memory_bytes = (uint64_t)ipk_ledger_bytes(&shape);
	memory = aligned_alloc(4096, memory_bytes);
	if (!memory)
		abort();
	memset(memory, 0, memory_bytes);
	search_shares(memory, memory_bytes);
	for (int i = 0; i <= PLACES; i++)
		wakeups[i] = i;
}

/* As new; the gates that no scene has used are so already. */
static void
begin_run(void)
{
	struct ipk_ledger *any = &views[0];

	if (!any->head) {
		if (ipk_ledger_format(memory, memory_bytes, &shape) ||
		    ipk_ledger_attach(any, memory, memory_bytes))
			abort();
	}
	memset(memory + sizeof(struct ipk_ledger_head), 0,
	       (size_t)((unsigned char *)any->gates - memory) - sizeof(struct ipk_ledger_head));
	memset(any->gates, 0, 16 * sizeof(*any->gates));
	memset(any->record, 0, RECORDS * sizeof(*any->record));
	any->head->turns = any->head->tickets = 0;
	any->head->next_due = INT64_MAX;
	for (uint32_t place = 0; place < PLACES + 2; place++) {
		(void)ipk_ledger_attach(&views[place], memory, memory_bytes);
		ipk_ledger_set_place(&views[place], place <= PLACES ? place : PLACES, wakeups, woken_in[place],
			      recent[place]);
		views[place].ring_size = now_played->hints;
	}
	memset(woken_in, 0, sizeof(woken_in));
	memset(tasks, 0, sizeof(tasks));
	memset(under_way, 0, sizeof(under_way));
	running_now = 0;
	total = finished = buried = 0;
	all_over = 0;
	for (int i = 0; i < now_played->held; i++) {
		struct ipk_ledger_lease lease;

		(void)ipk_ledger_take(&views[HOLDER], &lease);
	}
	for (int side = 0; side < 2; side++)
		for (int i = 0; i < MOST_POSTS; i++)
			total += now_played->posts[side][i].size && !now_played->posts[side][i].dropped;
}

static void
body_of(unsigned char *bytes, uint64_t size, uint64_t id, uint64_t attempt)
{
	for (uint64_t i = 0; i < size; i++)
		bytes[i] = (unsigned char)(id * 31 + attempt * 7 + i / 64);
}

static int
is_whole(const unsigned char *bytes, uint64_t size, uint64_t id, uint64_t attempt)
{
	unsigned char wanted[BODIES];

	body_of(wanted, size, id, attempt);
	return memcmp(bytes, wanted, size) == 0;
}

static void
check_body(const struct ipk_ledger *ledger, const struct ipk_ledger_body *body, uint64_t size,
	   uint64_t id, uint64_t attempt, const char *rule)
{
	unsigned char found[BODIES];

	RULE(body->size == size, rule);
	RULE(ipk_ledger_body_bytes(ledger, body, found, sizeof(found)) == size, rule);
	RULE(is_whole(found, size, id, attempt), rule);
}

static void
is_over(struct task *task)
{
	RULE(!task->over, "a task ends twice");
	task->over = 1;
	if (++finished == total)
		all_over = 1;
}

#endif

/*
 * search.c - coroutines, their order, and their late stores (search.h).
 */
#include "search_inside.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <ucontext.h>

enum {
	STACK = 1 << 16,
	MOST_STEPS = 40000,
	MOST_CHANGES = 6,
	LATE_STORES = 16,
	LONGEST_DELAY = 300, /* steps until a store reaches the others */
};

struct late_store {
	char *place;
	uint64_t value;
	uint32_t bytes;
	uint32_t due; /* the step */
};

struct process {
	ucontext_t context;
	void (*body)(void);
	const uint64_t *event; /* it waits for this one */
	const int *stop;
	int priority;
	int ended;
	struct late_store late[LATE_STORES];
	uint32_t late_count;
};

uint64_t search_events[16];

static struct process processes[SEARCH_PROCESSES];
static char stacks[SEARCH_PROCESSES][STACK] __attribute__((aligned(16)));
static ucontext_t judge;
static char *shared;
static size_t shared_bytes;
static int count, running; /* -1: the judge */
static uint64_t chance;
static uint32_t steps, usual_steps = 500;
static uint32_t exchanges, usual_exchanges = 50; /* what others may act on, as a rule */
static int after_exchanges; /* moments are counted in exchanges, each just after one */
static int exchanged;	    /* the last step was one */
static uint32_t changes[MOST_CHANGES], change_count;
static int lowest;
static int by_chance; /* each step may be the last of its turn */
static int stores_are_late;
static uint32_t late_total, next_due;
static int64_t clock_ns;
static const char *broken;

uint32_t
search_chance(uint32_t limit)
{
	chance = chance * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return (uint32_t)((chance >> 33) * limit >> 31);
}

uint32_t
search_steps(void)
{
	return steps;
}

void
search_shares(void *memory, size_t bytes)
{
	shared = memory;
	shared_bytes = bytes;
	running = -1;
}

/* -- late stores -- */

static void
store(char *place, uint64_t value, uint32_t bytes)
{
	memcpy(place, &value, bytes); /* little-endian, as all that the ledger runs on here */
}

/* The oldest `most` stores of a process reach the others. */
static void
arrive(struct process *process, uint32_t most)
{
	for (uint32_t i = 0; i < most; i++)
		store(process->late[i].place, process->late[i].value, process->late[i].bytes);
	process->late_count -= most;
	late_total -= most;
	memmove(process->late, process->late + most, process->late_count * sizeof(*process->late));
}

static void
all_arrive(struct process *process)
{
	arrive(process, process->late_count);
}

static void
due_ones_arrive(void)
{
	next_due = UINT32_MAX;
	for (int i = 0; i < count; i++) {
		uint32_t most = 0;

		for (uint32_t at = 0; at < processes[i].late_count; at++)
			if (processes[i].late[at].due <= steps)
				most = at + 1;
		arrive(&processes[i], most);
		for (uint32_t at = 0; at < processes[i].late_count; at++)
			if (processes[i].late[at].due < next_due)
				next_due = processes[i].late[at].due;
	}
}

/* Whether this process has stored into these bytes, and only it sees that: its newest value. */
static const struct late_store *
own_store(const char *place, uint32_t bytes)
{
	struct process *own = &processes[running];

	for (uint32_t at = own->late_count; at-- > 0;) {
		const struct late_store *late = &own->late[at];

		if (late->place + late->bytes <= place || place + bytes <= late->place)
			continue;
		if (late->place == place && late->bytes == bytes)
			return late;
		all_arrive(own); /* of another size */
		return NULL;
	}
	return NULL;
}

/* -- order -- */

static void
go_to(int next)
{
	int from = running;

	if (next == from)
		return;
	running = next;
	(void)swapcontext(from < 0 ? &judge : &processes[from].context,
			  next < 0 ? &judge : &processes[next].context);
}

static int
is_ready(const struct process *process)
{
	return !process->ended && (!process->event || *process->event || *process->stop);
}

/* The one that runs next; -1: none can. */
static int
choose(void)
{
	int best = -1;
	int ready = 0;

	for (int i = 0; i < count; i++) {
		if (!is_ready(&processes[i]))
			continue;
		ready++;
		if (by_chance ? search_chance((uint32_t)ready) == 0
			      : best < 0 || processes[i].priority > processes[best].priority)
			best = i;
	}
	return best;
}

_Noreturn void
search_failed(const char *rule)
{
	broken = rule;
	go_to(-1);
	abort(); /* nobody comes back */
}

/* Whose turn it is; when all wait, what is late arrives, and then it is an error. */
static void
next_turn(void)
{
	int next = choose();

	if (next < 0)
		for (int i = 0; i < count; i++)
			if (!processes[i].ended)
				search_failed("all sleep, and there is work");
	go_to(next);
}

void
search_step(void)
{
	int change = by_chance && search_chance(12) == 0;
	uint32_t moment = after_exchanges ? exchanges * (uint32_t)exchanged : steps + 1;

	exchanged = 0;
	if (++steps > MOST_STEPS)
		search_failed("it does not end");
	if (steps >= next_due)
		due_ones_arrive();
	for (uint32_t i = 0; i < change_count; i++)
		if (changes[i] == moment) {
			processes[running].priority = --lowest;
			change = 1;
		}
	if (change)
		next_turn();
}

void
search_wait(const uint64_t *event, const int *stop)
{
	struct process *own = &processes[running];

	all_arrive(own); /* it is a system call */
	own->event = event;
	own->stop = stop;
	while (!is_ready(own))
		next_turn();
	own->event = NULL;
	search_step();
}

static void
begin(void)
{
	processes[running].body();
	all_arrive(&processes[running]);
	processes[running].ended = 1;
	next_turn();
	abort();
}

const char *
search_run(uint64_t number, void (*const *bodies)(void), int how_many)
{
	count = how_many;
	chance = number * UINT64_C(0x9E3779B97F4A7C15) + 1;
	for (int i = 0; i < 4; i++)
		(void)search_chance(2);
	usual_steps = steps > 100 ? (usual_steps * 7 + steps) / 8 : usual_steps;
	usual_exchanges = steps > 100 ? (usual_exchanges * 7 + exchanges) / 8 : usual_exchanges;
	steps = exchanges = 0;
	exchanged = 0;
	lowest = 0;
	broken = NULL;
	clock_ns = 1;
	late_total = 0;
	next_due = UINT32_MAX;
	by_chance = search_chance(4) == 0;
	stores_are_late = (int)search_chance(2);
	after_exchanges = (int)search_chance(2);
	change_count = 1 + search_chance(MOST_CHANGES);
	for (uint32_t i = 0; i < change_count; i++)
		changes[i] = 1 + search_chance(after_exchanges ? usual_exchanges : usual_steps);
	memset(search_events, 0, sizeof(search_events));
	for (int i = 0; i < count; i++) {
		struct process *process = &processes[i];

		process->body = bodies[i];
		process->event = NULL;
		process->ended = 0;
		process->late_count = 0;
		process->priority = 1 + (int)search_chance(1000);
		(void)getcontext(&process->context);
		process->context.uc_stack.ss_sp = stacks[i];
		process->context.uc_stack.ss_size = STACK;
		process->context.uc_link = NULL;
		makecontext(&process->context, begin, 0);
	}
	running = -1;
	go_to(choose());
	running = -1;
	return broken;
}

/* -- accesses -- */

int
search_is_shared(const void *place)
{
	return running >= 0 && (size_t)((const char *)place - shared) < shared_bytes;
}

void
search_plain(void *place, uint32_t bytes)
{
	if (!search_is_shared(place))
		return;
	search_step();
	if (late_total && own_store(place, bytes))
		all_arrive(&processes[running]);
}

uint64_t
search_load(const void *place, uint32_t bytes)
{
	const struct late_store *own = NULL;
	uint64_t value = 0;

	if (search_is_shared(place)) {
		search_step();
		own = late_total ? own_store(place, bytes) : NULL;
	}
	if (own)
		return own->value;
	memcpy(&value, place, bytes);
	return value;
}

void
search_store(void *place, uint64_t value, uint32_t bytes, int order)
{
	struct process *own;

	if (!search_is_shared(place)) {
		store(place, value, bytes);
		return;
	}
	search_step();
	own = &processes[running];
	if (!stores_are_late || order == __ATOMIC_SEQ_CST) {
		all_arrive(own);
		store(place, value, bytes);
		return;
	}
	if (own->late_count == LATE_STORES)
		arrive(own, 1);
	own->late[own->late_count++] = (struct late_store){
		place, value, bytes, steps + 1 + search_chance(LONGEST_DELAY)};
	late_total++;
	if (own->late[own->late_count - 1].due < next_due)
		next_due = own->late[own->late_count - 1].due;
}

/* Before an exchange: it acts on what all see. */
void
search_exchange(const void *place)
{
	if (running < 0 || (place && !search_is_shared(place)))
		return;
	search_step();
	all_arrive(&processes[running]);
	exchanges++;
	exchanged = 1;
}

void
search_all_arrive(void)
{
	if (running >= 0)
		all_arrive(&processes[running]);
}

int64_t
search_clock_ns(void)
{
	return clock_ns += 100000;
}

int
search_yield(void)
{
	if (running >= 0) {
		processes[running].priority = --lowest;
		next_turn();
	}
	return 0;
}

/*
 * fates.h - what chance has in store for the threads of a scene: a death, and a loss of the processor,
 * before any one of their steps.
 */
#ifndef FATES_H
#define FATES_H

#include "words.h"

enum { THREADS = 3, MORTALS = 2, JUDGE = THREADS, LONGEST_STALL = 150, USUAL_STEPS = 30 };

/* What chance has in store for a thread; in steps, negative: not at all. */
struct fate {
	int dies_in;
	int stalls_in;
	int stalls_for; /* steps of the others */
	int taken;	/* steps so far */
};
static fate fates[THREADS + 1];
static int usual_steps[THREADS]; /* that a thread takes in this scene */
static int steps, running, stalled;
static bool in_play; /* else the judge alone is at work */

static int
me()
{
	return in_play ? (int)rl::thread_index() : JUDGE;
}

void
step()
{
	fate &mine = fates[me()];

	steps++;
	mine.taken++;
	if (mine.dies_in >= 0 && mine.dies_in-- == 0)
		throw death();
	if (mine.stalls_in >= 0 && mine.stalls_in-- == 0) {
		int until = steps + mine.stalls_for;

		/* Chance alone would rarely let others do so much between two steps. */
		stalled++;
		while (steps < until && running > stalled)
			rl::yield(1, $);
		stalled--;
	}
}

static void
no_fates()
{
	for (fate &each : fates)
		each = {-1, -1, 0, 0};
}

static void
begin_play()
{
	in_play = true;
	steps = stalled = 0;
	running = THREADS;
}

/* Once in `cases` below `limit`, else negative. */
static int
in_one_of(unsigned cases, unsigned limit)
{
	return rl::rand(cases) ? -1 : (int)rl::rand(limit);
}

/* Do what a thread has to do in a scene; whether it died. `stalls`: it loses the processor once, and few
 * die. */
static bool
live(unsigned number, void (*act)(), bool stalls, bool *any_died = nullptr)
{
	bool died = false;
	int usual = usual_steps[number] ? usual_steps[number] : USUAL_STEPS;

	fates[number].taken = 0;
	if (number < MORTALS) /* one of both may die, or both, or none */
		fates[number].dies_in = in_one_of(stalls ? 8 : 4, (unsigned)usual);
	fates[number].stalls_in = in_one_of(stalls ? 1 : 2, (unsigned)usual);
	fates[number].stalls_for = (int)rl::rand(LONGEST_STALL);
	try {
		act();
	} catch (const death &) {
		died = true;
		if (any_died)
			*any_died = true; /* before another thread can see that this one has ended */
	}
	if (!died) /* so that the next ones lose the processor where they do something */
		usual_steps[number] = (7 * usual + fates[number].taken + 7) / 8;
	fates[number] = {-1, -1, 0, 0};
	running--;
	return died;
}

/* ipk_slot_join: generation, then the mutex made and locked; each slot has one owner here. */
static void
join_slot(struct ipk_slot *slot, int number, struct ipk_party *party)
{
	uint32_t generation = __atomic_fetch_add(&slot->generation, 1, __ATOMIC_ACQ_REL) + 1;
	uint32_t nobody = 0;

	__atomic_store_n(&slot->live, 0, __ATOMIC_RELAXED);
	(void)__atomic_compare_exchange_n(&slot->live, &nobody, number + 1000, 0, __ATOMIC_ACQUIRE,
					  __ATOMIC_RELAXED);
	*party = {slot, (uint32_t)(number + 1) | generation << 16};
}

/* The kernel's mark. */
static void
mark_dead(struct ipk_slot *slot)
{
	(void)__atomic_fetch_or(&slot->live, OWNER_DIED, __ATOMIC_RELEASE);
}

/* In a loop that waits for the others: one that has lost the processor counts this as a step. */
static void
let_others_go_on()
{
	steps++;
	rl::yield(1, $);
}

#define UNTIL_DONE(code, call)                                                                     \
	do {                                                                                       \
		struct ipk_obstacle obstacle = {};                                                 \
		while (((code) = (call)) == -EAGAIN)                                               \
			rl::yield(1, $);                                                           \
	} while (0)

/* Play every scene, or the named one, so often. 0; 1: a run failed, told with its number. */
template <typename Play, typename Scene, size_t COUNT>
static int
play_all(const Scene (&scenes)[COUNT], const Scene *&now_played, int count, char **arguments)
{
	unsigned iterations = count > 1 ? (unsigned)strtoul(arguments[1], NULL, 10) : 100000;

	for (const Scene &next : scenes) {
		rl::test_params params;

		if (count > 2 && strcmp(arguments[2], next.name) != 0)
			continue;
		now_played = &next;
		memset(usual_steps, 0, sizeof(usual_steps));
		params.iteration_count = iterations;
		params.execution_depth_limit = 20000;
		params.progress_output_period = UINT_MAX;
		params.search_type = rl::random_scheduler_type;
		if (!rl::simulate<Play>(params)) {
			printf("%s, run %u\n", next.name, (unsigned)params.stop_iteration);
			return 1;
		}
	}
	printf("weak memory: %zu scenes, %u runs of each, nothing found\n", COUNT, iterations);
	return 0;
}

#endif

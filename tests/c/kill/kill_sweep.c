/*
 * kill_sweep.c - kill -9 after every single instruction of every call of the table's core.
 *
 * usage: kill_sweep [kill|double|held|stop|all] [coarser]
 *   kill    each kind of call, after each of its instructions; then the judge (kills.h)
 *   double  and the next writer of that bucket is killed too, on its way through the recovery
 *   held    the call meets a latch whose owner is stopped inside it, and is killed while it waits
 *   stop    the victim is stopped, not killed: readers go on, nothing is stolen; then it goes on
 * `coarser`: so many times fewer cuts; without it every cut of `kill` and `held`, every tenth of
 * `stop`, and a ninth of `double`. Prints the counts; ends with 1 if any trial failed. Two processes
 * share the kinds between them.
 * A victim runs to its place by a breakpoint (kills_victim.h). One that takes another path than the
 * first one did is led there by steps; the counts say how many did.
 */
#include "kills_trials.h"
#include "kills_victim.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum { SHARDS = 2, MOST_KINDS = 64 };

static struct score *scores; /* of each kind, shared by the shards */

struct sweep {
	const char *name;
	int (*once)(const struct kind *kind, struct score *score, uint32_t outer);
	uint32_t stride;
	uint32_t usual; /* how much coarser without an argument */
	bool writers_only;
	bool no_join; /* a participant that has not joined cannot wait */
};

static const struct sweep sweeps[] = {
	{"kill", kill_once, 1, 1, false, false},
	{"double", kill_twice, 9, 9, true, true},
	{"held", kill_waiter, 11, 1, true, true},
	{"stop", stop_once, 1, 10, false, false},
};

static bool
belongs(const struct sweep *sweep, const struct kind *kind)
{
	if (strcmp(sweep->name, "held") == 0 && strcmp(kind->name, "set, there") != 0 &&
	    kind->before != OLD)
		return false;
	if (strcmp(sweep->name, "held") == 0 && (strncmp(kind->name, "commit", 6) == 0 ||
						 strncmp(kind->name, "abort", 5) == 0))
		return false; /* the holder would wait for the victim's row */
	return (!sweep->writers_only || kind->writes) && !(sweep->no_join && kind->joins);
}

static void
run_shard(const struct sweep *sweep, uint32_t coarser, int shard)
{
	victim_pin(shard);
	world_make();
	for (int i = shard; i < kind_count; i += SHARDS) {
		struct score *score = &scores[i];

		if (!belongs(sweep, &kinds[i]))
			continue;
		score->length = trial_prepare(&kinds[i]);
		score->stride = coarser * sweep->stride;
		for (uint32_t outer = 0; outer < BUSY; outer += score->stride)
			if (sweep->once(&kinds[i], score, outer))
				break;
	}
}

static uint32_t
run(const struct sweep *sweep, uint32_t coarser)
{
	struct score total = {0};
	uint64_t began = ipk_now_ns();
	int broken = 0;

	memset(scores, 0, MOST_KINDS * sizeof(*scores));
	(void)fflush(NULL);
	for (int shard = 0; shard < SHARDS; shard++) {
		if (fork() == 0) {
			run_shard(sweep, coarser, shard);
			_exit(0);
		}
	}
	for (int shard = 0; shard < SHARDS; shard++) {
		int status = 0;

		(void)wait(&status);
		broken |= status;
	}
	printf("%-28s %7s %6s %7s %8s %8s %6s %9s\n", sweep->name, "length", "every", "trials",
	       "old row", "new row", "wrong", "worst us");
	for (int i = 0; i < kind_count; i++) {
		struct score *score = &scores[i];

		if (!score->trials)
			continue;
		printf("  %-26s %7u %6u %7u %8u %8u %6u %9.1f\n", kinds[i].name, score->length,
		       score->stride, score->trials, score->before, score->after, score->wrong,
		       (double)score->worst / 1e3);
		total.trials += score->trials;
		total.kills += score->kills;
		total.wrong += score->wrong;
		total.strays += score->strays;
		if (score->worst > total.worst)
			total.worst = score->worst;
	}
	printf("%s: %u trials, %u %s, %u wrong, %u off their path, the next write at most %.1f us, "
	       "%.0f s%s\n\n",
	       sweep->name, total.trials, total.kills,
	       strcmp(sweep->name, "stop") == 0 ? "stops" : "kills", total.wrong, total.strays,
	       (double)total.worst / 1e3, (double)(ipk_now_ns() - began) / 1e9,
	       broken ? "; A SHARD DID NOT END" : "");
	return total.wrong + (broken != 0);
}

int
main(int count, char **arguments)
{
	const char *which = count > 1 ? arguments[1] : "all";
	uint32_t coarser = count > 2 ? (uint32_t)strtoul(arguments[2], NULL, 10) : 0;
	uint32_t wrong = 0;

	scores = mmap(NULL, MOST_KINDS * sizeof(*scores), PROT_READ | PROT_WRITE,
		      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (scores == MAP_FAILED || kind_count > MOST_KINDS)
		return 2;
	for (size_t i = 0; i < sizeof(sweeps) / sizeof(sweeps[0]); i++)
		if (strcmp(which, "all") == 0 || strcmp(which, sweeps[i].name) == 0)
			wrong += run(&sweeps[i], coarser ? coarser : sweeps[i].usual);
	return wrong != 0;
}

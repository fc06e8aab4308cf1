/*
 * kill_sweep.c - kill -9 after every single instruction of every call of the table's core.
 *
 * usage: kill_sweep [kill|double|held|stop|all] [coarser]
 *   kill    each kind of call, after each of its instructions; then the judge (kills.h)
 *   double  and the next writer of that bucket, who recovers it, is killed on his way as well
 *   held    the call meets a latch whose owner is stopped inside it, and is killed while it waits
 *   stop    the victim is stopped, not killed: readers go on, nothing is stolen; then it goes on
 * `coarser`: so many times fewer cuts; without it as many as fit into three minutes. Prints the
 * counts; ends with 1 if any trial failed. Two processes share the kinds between them.
 * A call of more than some hundred instructions (joining, verifying) is not cut after each of
 * them, but after every so many; the table tells.
 */
#include "kills.h"
#include "kills_victim.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
	SHARDS = 2,
	MOST_KINDS = 64,
	INNER = 23,	/* instructions between two kills of a second victim */
	STEPS = 300000, /* that the trials of one kind may take; a longer call gets fewer trials */
};

struct score {
	uint32_t trials;
	uint32_t kills;
	uint32_t before;
	uint32_t after;
	uint32_t wrong;
	uint32_t length; /* instructions of the call, undisturbed */
	uint32_t stride;
	uint64_t worst;
};

static struct score *scores; /* of each kind, shared by the shards */

static void
note(const struct kind *kind, struct score *score, const char *wrong, uint32_t outer,
     uint32_t inner)
{
	if (!wrong)
		return;
	score->wrong++;
	if (score->wrong < 5)
		fprintf(stderr, "%s, after %u and %u instructions: %s\n", kind->name, outer, inner,
			wrong);
}

static void
get_ready(const void *what)
{
	const struct kind *kind = what;

	if (!kind->joins)
		join();
	if (kind->ready)
		kind->ready();
}

/* A child that stops in front of its call. */
static int
begin_victim(struct ipk_trace *trace, const struct kind *kind)
{
	if (victim_begin(trace, get_ready, kind, kind->entry, kind->call)) {
		fprintf(stderr, "%s: the victim did not come to its call\n", kind->name);
		exit(2);
	}
	return 0;
}

static void
count_end(const struct kind *kind, struct score *score, int value, int kills)
{
	score->trials++;
	score->kills += (uint32_t)kills;
	if (value == kind->after && kind->after != kind->before)
		score->after++;
	else
		score->before++;
}

/* One trial: 1 when the call had returned before its `outer`th instruction. */
static int
kill_once(const struct kind *kind, struct score *score, uint32_t outer)
{
	struct ipk_trace victim;
	const char *wrong;
	int value = ABSENT;
	int over;

	world_begin();
	kind->prepare();
	(void)begin_victim(&victim, kind);
	over = ipk_trace_step(&victim, outer);
	(void)ipk_trace_kill(&victim);
	wrong = judge(kind, &value, &score->worst);
	note(kind, score, wrong, outer, 0);
	count_end(kind, score, value, 1);
	world_end();
	return over != 0;
}

/* What a second victim does with what the first one left: write the row. */
static const struct kind *
find_kind(const char *name)
{
	for (int i = 0; i < kind_count; i++)
		if (strcmp(kinds[i].name, name) == 0)
			return &kinds[i];
	abort();
}

static int
kill_twice(const struct kind *kind, struct score *score, uint32_t outer)
{
	const struct kind *second = find_kind("set, there");
	struct kind both = *kind;
	struct ipk_trace victim;
	int over = 0;
	int inner_over = 0;

	both.after = NEW;
	for (uint32_t inner = 0; !inner_over; inner += INNER) {
		const char *wrong;
		int first;
		int value = ABSENT;

		world_begin();
		kind->prepare();
		(void)begin_victim(&victim, kind);
		over = ipk_trace_step(&victim, outer);
		(void)ipk_trace_kill(&victim);
		first = read_value(&key);
		both.before = first;
		if (first != kind->before && first != kind->after)
			note(kind, score, "the row is neither the old nor the new", outer, inner);
		(void)begin_victim(&victim, second);
		inner_over = ipk_trace_step(&victim, inner);
		(void)ipk_trace_kill(&victim);
		wrong = judge(&both, &value, &score->worst);
		note(kind, score, wrong, outer, inner);
		count_end(&both, score, value, 2);
		world_end();
	}
	return over != 0;
}

/* A living process stands inside the victim's bucket. */
static int
kill_waiter(const struct kind *kind, struct score *score, uint32_t outer)
{
	const struct kind *holding = find_kind("set, there");
	struct kind both = *kind;
	struct ipk_trace holder;
	struct ipk_trace victim;
	const char *wrong;
	int value = ABSENT;
	int over;

	world_begin();
	kind->prepare();
	(void)begin_victim(&holder, holding);
	/* Far enough to have the latch: that much is asked below. */
	for (uint32_t i = 0; i < BUSY && !(table.buckets[ipk_bucket_of(&table, &key)].latch &
					   IPK_OWNER_MASK);
	     i++)
		if (ipk_trace_step(&holder, 1))
			break;
	(void)begin_victim(&victim, kind);
	over = ipk_trace_step(&victim, outer);
	(void)ipk_trace_kill(&victim);
	wrong = judge_readers(kind, &value);
	if (!wrong && value != kind->before)
		wrong = "the victim passed a latch that somebody else holds";
	note(kind, score, wrong, outer, 0);
	while (!ipk_trace_step(&holder, 100))
		;
	(void)ipk_trace_kill(&holder);
	both.after = NEW;
	both.before = NEW; /* the holder went on and wrote */
	if (!wrong)
		wrong = judge(&both, &value, &score->worst);
	note(kind, score, wrong, outer, 1);
	count_end(kind, score, kind->before, 1);
	world_end();
	return over != 0;
}

/* Whether the words that name an owner are the same as before. */
struct owners {
	uint32_t latch;
	uint32_t user_locks[SIZE];
};

static void
take_owners(struct owners *owners)
{
	owners->latch = table.buckets[ipk_bucket_of(&table, &key)].latch & IPK_OWNER_MASK;
	for (uint32_t i = 0; i < SIZE; i++)
		owners->user_locks[i] = ipk_cell_at(&table, i)->user_lock & IPK_OWNER_MASK;
}

static const char *
try_to_rob(const struct kind *kind)
{
	struct owners was;
	struct owners is;
	struct ipk_obstacle obstacle = {0};
	uint64_t row[64];
	int held;
	int code;

	take_owners(&was);
	held = was.latch != 0;
	row_of(row, SURVIVOR);
	for (int i = 0; i < 3; i++) {
		code = ipk_table_write(&table, &party, &key, IPK_ADD, row, NULL, &obstacle);
		if (code == -EAGAIN)
			(void)ipk_wait(table.slots, IPK_TABLE_SLOTS, &obstacle, 0);
	}
	take_owners(&is);
	if (held && (code != -EAGAIN || is.latch != was.latch))
		return "a latch was taken from a process that is only stopped";
	for (uint32_t i = 0; i < SIZE; i++)
		if (was.user_locks[i] && is.user_locks[i] != was.user_locks[i] && kind->ready &&
		    ipk_owner_dead(table.slots, IPK_TABLE_SLOTS, was.user_locks[i]) == 0)
			return "a row's lock was taken from a process that is only stopped";
	if (code == 1)
		(void)drop(&key); /* nobody was inside: it was added */
	return NULL;
}

static int
stop_once(const struct kind *kind, struct score *score, uint32_t outer)
{
	struct ipk_trace victim;
	const char *wrong;
	int value = ABSENT;
	int status = 0;
	int over;
	bool there;

	world_begin();
	kind->prepare();
	(void)begin_victim(&victim, kind);
	over = ipk_trace_step(&victim, outer);
	(void)ipk_trace_leave_stopped(&victim);
	(void)waitpid(victim.pid, NULL, WUNTRACED);
	wrong = judge_readers(kind, &value);
	there = value != ABSENT;
	/* An absent row would be added by the survivor, and the victim's end be another. */
	if (!wrong && there)
		wrong = try_to_rob(kind);
	(void)kill(victim.pid, SIGCONT);
	while (waitpid(victim.pid, &status, 0) < 0 && errno == EINTR)
		;
	if (!wrong && (!WIFEXITED(status) || WEXITSTATUS(status) != 0))
		wrong = "the victim did not end well";
	if (!wrong && kind->writes && read_value(&key) != kind->after)
		wrong = "the victim's call did not do its work after it went on";
	note(kind, score, wrong, outer, 0);
	if (!wrong)
		note(kind, score, judge(kind, &value, &score->worst), outer, 1);
	count_end(kind, score, value, 1);
	world_end();
	return over != 0;
}

/* -- the sweeps -- */

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
	{"held", kill_waiter, 11, 4, true, true},
	{"stop", stop_once, 1, 4, false, false},
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

static uint32_t
measure(const struct kind *kind)
{
	struct ipk_trace victim;
	uint32_t length = 0;

	world_begin();
	kind->prepare();
	(void)begin_victim(&victim, kind);
	while (!ipk_trace_step(&victim, 1))
		length++;
	(void)ipk_trace_kill(&victim);
	(void)drop(&key); /* whatever it left */
	world_end();
	return length;
}

static void
run_shard(const struct sweep *sweep, uint32_t coarser, int shard)
{
	victim_pin(shard);
	world_make();
	for (int i = shard; i < kind_count; i += SHARDS) {
		struct score *score = &scores[i];
		uint64_t steps;

		if (!belongs(sweep, &kinds[i]))
			continue;
		score->length = measure(&kinds[i]);
		steps = (uint64_t)score->length * score->length / 2;
		score->stride = coarser * sweep->stride * (uint32_t)(1 + steps / STEPS);
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
		if (score->worst > total.worst)
			total.worst = score->worst;
	}
	printf("%s: %u trials, %u %s, %u wrong, the next write at most %.1f us, %.0f s%s\n\n",
	       sweep->name, total.trials, total.kills,
	       strcmp(sweep->name, "stop") == 0 ? "stops" : "kills", total.wrong,
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

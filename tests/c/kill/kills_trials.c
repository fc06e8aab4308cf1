/*
 * kills_trials.c - see kills_trials.h.
 */
#include "kills_trials.h"
#include "kills_victim.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { INNER = 23 /* instructions between two kills of a second victim */ };

static struct path path; /* of the kind's call */

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

/* A new world, and a victim in it, `outer` instructions into its call. 1: it has returned. */
static int
lead_victim(struct ipk_trace *victim, const struct kind *kind, struct score *score, uint32_t outer)
{
	int over;

	world_begin();
	kind->prepare();
	(void)begin_victim(victim, kind);
	over = path_follow(victim, &path, outer);
	if (over != -ECHILD)
		return over;
	score->strays++;
	world_end();
	world_begin();
	kind->prepare();
	(void)begin_victim(victim, kind);
	return ipk_trace_step(victim, outer);
}

int
kill_once(const struct kind *kind, struct score *score, uint32_t outer)
{
	struct ipk_trace victim;
	const char *wrong;
	int value = ABSENT;
	int over = lead_victim(&victim, kind, score, outer);

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

int
kill_twice(const struct kind *kind, struct score *score, uint32_t outer)
{
	const struct kind *second = find_kind("set, there");
	static struct path second_path;
	struct kind both = *kind;
	struct ipk_trace victim;
	int over = 0;
	int inner_over = 0;

	both.after = NEW;
	(void)lead_victim(&victim, kind, score, outer);
	(void)ipk_trace_kill(&victim);
	(void)begin_victim(&victim, second);
	path_note(&victim, &second_path);
	(void)drop(&key);
	world_end();
	for (uint32_t inner = 0; !inner_over; inner += INNER) {
		const char *wrong;
		int first;
		int value = ABSENT;

		over = lead_victim(&victim, kind, score, outer);
		(void)ipk_trace_kill(&victim);
		first = read_value(&key);
		both.before = first;
		if (first != kind->before && first != kind->after)
			note(kind, score, "the row is neither the old nor the new", outer, inner);
		(void)begin_victim(&victim, second);
		inner_over = path_follow(&victim, &second_path, inner);
		if (inner_over < 0) {
			score->strays++;
			inner_over = inner >= second_path.length;
		}
		(void)ipk_trace_kill(&victim);
		wrong = judge(&both, &value, &score->worst);
		note(kind, score, wrong, outer, inner);
		count_end(&both, score, value, 2);
		world_end();
	}
	return over != 0;
}

/* How a process comes to have the latch of the victim's bucket, and goes on. */
static struct path holding_path;
static uint32_t until_latch;

/* A new world, and a living process that stands inside the victim's bucket. */
static void
lead_holder(struct ipk_trace *holder, const struct kind *kind)
{
	world_begin();
	kind->prepare();
	(void)begin_victim(holder, find_kind("set, there"));
	(void)path_follow(holder, &holding_path, until_latch);
}

/* Note the path of the holder, and that of a victim that waits for it. */
static void
note_waiting(const struct kind *kind)
{
	struct ipk_trace holder;
	struct ipk_trace victim;
	uint32_t steps;

	holding_path.length = until_latch = 0;
	lead_holder(&holder, kind);
	/* Far enough to have the latch: that much is asked below. */
	while (until_latch < BUSY && !(table.buckets[ipk_bucket_of(&table, &key)].latch &
				       IPK_OWNER_MASK)) {
		until_latch++;
		if (ipk_trace_step(&holder, 1))
			break;
	}
	(void)begin_victim(&victim, kind);
	path_note(&victim, &path);
	(void)ipk_trace_kill(&holder);
	(void)drop(&key);
	world_end();
	steps = until_latch;
	until_latch = 0;
	lead_holder(&holder, kind);
	path_note(&holder, &holding_path);
	until_latch = steps;
	(void)drop(&key);
	world_end();
}

int
kill_waiter(const struct kind *kind, struct score *score, uint32_t outer)
{
	struct kind both = *kind;
	struct ipk_trace holder;
	struct ipk_trace victim;
	const char *wrong;
	int value = ABSENT;
	int over;

	if (outer == 0)
		note_waiting(kind);
	lead_holder(&holder, kind);
	(void)begin_victim(&victim, kind);
	over = path_follow(&victim, &path, outer);
	if (over == -ECHILD) {
		score->strays++;
		(void)begin_victim(&victim, kind);
		over = ipk_trace_step(&victim, outer);
	}
	(void)ipk_trace_kill(&victim);
	wrong = judge_readers(kind, &value);
	if (!wrong && value != kind->before)
		wrong = "the victim passed a latch that somebody else holds";
	note(kind, score, wrong, outer, 0);
	(void)ipk_trace_pass(&holder, holder.returns_to, 1);
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

int
stop_once(const struct kind *kind, struct score *score, uint32_t outer)
{
	struct ipk_trace victim;
	const char *wrong;
	int value = ABSENT;
	int status = 0;
	int over = lead_victim(&victim, kind, score, outer);
	bool there;

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

uint32_t
trial_prepare(const struct kind *kind)
{
	struct ipk_trace victim;

	world_begin();
	kind->prepare();
	(void)begin_victim(&victim, kind);
	path_note(&victim, &path);
	(void)drop(&key); /* whatever it left */
	world_end();
	return path.length - 1;
}

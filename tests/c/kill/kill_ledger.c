/*
 * kill_ledger.c - kill -9 after every instruction of every call of the task ledger.
 *
 * usage: kill_ledger [coarser]
 *   single  each kind of call, killed after each of its instructions; then the manager sweeps
 *   double  and the manager is killed on his way as well; then the ledger is recovered
 * After each, the judge lets all tasks run and delivers their ends: every task that was accepted
 * ends exactly once and is whole, the counts are exact, and every record and block is free again.
 * Prints the counts; ends with 1 if any trial failed.
 */
#include "kills_victim.h"
#include "../ledger/ledger_kinds.h"

#include <errno.h>
#include <stdio.h>
#include <sys/wait.h>

enum { NEVER = 1000000, DOUBLE_STRIDE = 5, SWEEP_STRIDE = 29, SWEEP_COARSE = 5 };
/* In a long copy one byte is like another: strides, from LONG on. */
enum { LONG = 250, STRIDE = 200 };

/* -- the victim -- */

static void
get_ready(const void *what)
{
	((const struct kind *)what)->ready();
}

static const struct kind *called;

static int
make_call(void)
{
	called->call();
	return 0;
}

static struct path path;       /* of the call */
static struct path sweep_path; /* of the sweep after it */

/* Prepare, and bring a victim to its call. */
static void
begin(struct ipk_trace *victim, const struct kind *kind)
{
	begin_again();
	accepted_count = 0;
	memset(told, 0, sizeof(told));
	*ending = 0;
	kind->prepare();
	called = kind;
	if (victim_begin(victim, get_ready, kind, kind->entry, make_call)) {
		fprintf(stderr, "%s: the victim does not come to its call\n", kind->name);
		exit(2);
	}
}

static void
note_path(const struct kind *kind)
{
	struct ipk_trace victim;

	begin(&victim, kind);
	path_note(&victim, &path);
}

/* Kill a victim `outer` instructions into its call; 1: it had returned. */
static int
cut(const struct kind *kind, uint32_t outer)
{
	struct ipk_trace victim;
	int over;

	begin(&victim, kind);
	over = path_follow(&victim, &path, outer);
	if (over == -ECHILD) {
		begin(&victim, kind);
		over = ipk_trace_step(&victim, outer);
	}
	(void)ipk_trace_kill(&victim);
	return over != 0;
}

/* -- the judge -- */

/* The end of a task was delivered; what is wrong with that, or NULL. */
static const char *
tell(uint64_t id, int *added)
{
	for (int i = 0; i < accepted_count; i++)
		if ((uint64_t)accepted[i] == id)
			return told[i]++ ? "the end of a task was delivered twice" : NULL;
	return (*added)++ ? "a task came from nowhere" : NULL;
}

/* Let a task worker's place run all that it may. */
static const char *
run_all(uint32_t place, int *did)
{
	unsigned char bytes[700];
	struct ipk_ledger_lease lease;

	body_of(bytes, sizeof(bytes));
	while (ipk_ledger_claim(at(place), &lease)) {
		*did = 1;
		if (!is_whole(at(place), &at(place)->record[lease.record].body))
			return "a body is torn";
		if (ipk_ledger_put_result(at(place), lease.record, bytes, 1))
			return "there is no room for a result";
		if (ipk_ledger_done(at(place), &lease))
			return "a task that runs cannot be done";
	}
	return NULL;
}

static const char *
collect_all(uint32_t place, int *added, int *did)
{
	struct ipk_ledger_lease lease;

	while (ipk_ledger_collect(at(place), &lease, 1)) {
		const char *wrong = tell(at(place)->record[lease.record].id, added);

		*did = 1;
		if (wrong)
			return wrong;
		if (ipk_ledger_end(at(place), &lease))
			return "a task whose end was delivered cannot be ended";
		ipk_ledger_clear(at(place), &lease);
	}
	return NULL;
}

/* The manager's part: after it nobody has anything in hand. */
static void
settle_all(void)
{
	struct ipk_ledger_lease lease;

	while (ipk_ledger_next(at(MANAGER), 0, IPK_LEDGER_CLEARING, MANAGER + 1, &lease))
		ipk_ledger_clear(at(MANAGER), &lease);
	while (ipk_ledger_next(at(MANAGER), 0, IPK_LEDGER_RUNNING, UINT32_MAX, &lease))
		(void)ipk_ledger_retry(at(MANAGER), &lease, 0);
	while (ipk_ledger_next(at(MANAGER), 0, IPK_LEDGER_BURIED, UINT32_MAX, &lease))
		(void)ipk_ledger_written_down(at(MANAGER), &lease);
	(void)ipk_ledger_wake_due(at(MANAGER), INT64_MAX - 1);
}

/* What is wrong, or NULL. */
static const char *
judge(const struct kind *kind)
{
	struct ipk_ledger_counts counts;
	const char *wrong;
	uint64_t over;
	int added = 0;
	int did = 1;

	settle_all();
	wrong = ipk_ledger_verify(at(MANAGER));
	while (!wrong && did) {
		did = 0;
		for (uint32_t place = TAKER + 1; !wrong && place < PLACES; place += 2)
			wrong = run_all(place, &did);
		for (uint32_t place = 0; !wrong && place < TAKER; place++)
			wrong = collect_all(place, &added, &did);
	}
	if (wrong)
		return wrong;
	if (added > kind->may_add)
		return "a task came from nowhere";
	for (int i = 0; i < accepted_count; i++)
		if (!told[i] && accepted[i] != *ending)
			return "a task was lost";
	ipk_ledger_count(at(MANAGER), &counts);
	if (counts.in[IPK_LEDGER_FREE] != RECORDS)
		return "a record is not free in the end";
	over = counts.well + counts.buried;
	if (over != (uint64_t)accepted_count + (uint64_t)added)
		return "the counts are not those of what was accepted";
	for (uint32_t block = 0; block < BLOCKS + SLABS; block++)
		if (at(MANAGER)->block_of[block])
			return "a block is not free in the end";
	for (int i = 0; i < RECORDS; i++)
		if (post(at(1), i < 3 ? 4096 : i < 3 + SLABS ? 4097 : 1, IPK_LEDGER_ANY, 0, 0) <= 0)
			return "the ledger does not hold what it held";
	return ipk_ledger_verify(at(MANAGER));
}

static void
sweep_up(const struct kind *kind)
{
	if (kind->place == MANAGER) { /* nobody outlives him for long */
		ipk_ledger_recover(at(MANAGER));
	} else {
		ipk_ledger_sweep(at(MANAGER), kind->place);
		if (kind->place < TAKER)
			ipk_ledger_move(at(MANAGER), kind->place, kind->place ^ 1);
	}
}

static uint32_t
say(const char *wrong, const struct kind *kind, uint32_t outer, uint32_t inner)
{
	if (wrong)
		fprintf(stderr, "%s, after %u and %u instructions: %s\n", kind->name, outer, inner,
			wrong);
	return wrong != NULL;
}

static const struct kind sweeper = {"the sweep", MANAGER, nothing, nothing,
				    ENTRY(ipk_ledger_sweep), call_sweep, 0};
static uint32_t swept_place;

static int
sweep_it(void)
{
	ipk_ledger_sweep(at(MANAGER), swept_place);
	return 0;
}

static void
begin_sweep(struct ipk_trace *victim, const struct kind *kind)
{
	swept_place = kind->place;
	if (victim_begin(victim, get_ready, &sweeper, ENTRY(ipk_ledger_sweep), sweep_it))
		exit(2);
}

/* What the sweep after a victim of this cut does. It pays for several kills of that sweep. */
static void
note_sweep_path(const struct kind *kind, uint32_t outer)
{
	struct ipk_trace victim;

	(void)cut(kind, outer);
	begin_sweep(&victim, kind);
	path_note(&victim, &sweep_path);
}

/* Kill the manager while he sweeps after the victim; 1: he was done. */
static int
cut_the_sweep(const struct kind *kind, uint32_t inner)
{
	struct ipk_trace victim;
	int over;

	begin_sweep(&victim, kind);
	over = path_follow(&victim, &sweep_path, inner);
	(void)ipk_trace_kill(&victim);
	return over == -ECHILD ? inner >= sweep_path.length : over;
}

static int
copies_long(const struct kind *kind)
{
	return kind->call == call_put_long_body || kind->call == call_put_long_result;
}

int
main(int count, char **arguments)
{
	uint32_t coarser = count > 1 ? (uint32_t)strtoul(arguments[1], NULL, 10) : 1;
	uint32_t total = 0;
	uint32_t wrong = 0;

	if (coarser == 0)
		coarser = 1;
	victim_pin(0);
	make_memory();
	ending = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (ending == MAP_FAILED)
		return 2;
	in_hand = (struct ipk_ledger_lease *)(void *)(ending + 8);
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		const struct kind *kind = &kinds[i];
		uint32_t kills = 0;
		uint32_t twice = 0;
		uint32_t length = 0;
		uint32_t step = coarser;
		int striding = copies_long(kind);

		note_path(kind);
		for (int over = 0; !over && length < NEVER; kills++) {
			over = cut(kind, length);
			sweep_up(kind);
			wrong += say(judge(kind), kind, length, 0);
			if (over && step == STRIDE) { /* its end was passed over: back */
				length -= STRIDE;
				striding = 0;
				over = 0;
			}
			step = striding && length > LONG ? STRIDE : coarser;
			length += step;
		}
		for (uint32_t outer = 0; kind->place != MANAGER && outer < length;
		     outer += DOUBLE_STRIDE * (copies_long(kind) && outer > LONG ? STRIDE : coarser)) {
			int done = 0;

			if (coarser < SWEEP_COARSE)
				note_sweep_path(kind, outer);
			for (uint32_t inner = outer % SWEEP_STRIDE; !done && inner < NEVER;
			     inner += SWEEP_STRIDE * DOUBLE_STRIDE * coarser, twice++) {
				(void)cut(kind, outer);
				done = cut_the_sweep(kind, inner);
				ipk_ledger_recover(at(MANAGER));
				wrong += say(judge(kind), kind, outer, inner);
			}
		}
		printf("  %-26s %6u kills, %6u twice\n", kind->name, kills, twice);
		total += kills + 2 * twice;
	}
	printf("ledger: %u kills, %u wrong\n", total, wrong);
	return wrong != 0;
}

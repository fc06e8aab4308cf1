/*
 * test_tasks.c - the states of tasks: every step, the storm of threads, and kill -9 between steps.
 */
#include "check.h"
#include "ipk_tasks.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define BIT(state) (1u << (state))

enum { COUNT = 64, THREADS = 4, TASKS = 20000, KILLS = 60 };

static uint64_t words[COUNT];
static uint64_t next_id;
static uint64_t begun, ended;

static void
clean_up(void)
{
}

/* Every step from every state: allowed exactly when the state is in `from`. */
static void
every_step(void)
{
	for (uint32_t state = IPK_TASK_FREE; state <= IPK_TASK_ORPHANED; state++) {
		for (uint32_t from = 0; from < 32; from++) {
			for (uint32_t to = IPK_TASK_FREE; to <= IPK_TASK_ORPHANED; to++) {
				uint64_t word = UINT64_C(77) << 24 | 2u << 16 | 5u << 4 | state;
				uint64_t before = word, id;
				uint32_t attempt, owner, now;
				int done = ipk_task_step(&word, 0, 77, from, to, 9);

				if (!(from >> state & 1)) {
					CHECK(done == -ESTALE && word == before);
					continue;
				}
				ipk_task_look(&word, 0, &id, &attempt, &owner, &now);
				CHECK(done == (to == IPK_TASK_RUNNING ? 3 : 2));
				CHECK(now == to);
				if (to == IPK_TASK_FREE)
					CHECK(word == 0);
				else
					CHECK(id == 77 && owner == 9 && attempt == (uint32_t)done);
			}
		}
	}
}

static void
refusals(void)
{
	uint64_t word = 0;

	CHECK(ipk_task_take(&word, 1, 0, 0, 1) == -EINVAL);
	CHECK(ipk_task_take(&word, 1, 0, UINT64_C(1) << 40, 1) == -EINVAL);
	CHECK(ipk_task_take(&word, 1, 0, 1, IPK_TASK_MAX_OWNER + 1) == -EINVAL);
	CHECK(ipk_task_take(&word, 0, 0, 1, 1) == -EINVAL);
	CHECK(ipk_task_take(&word, 1, 7, 1, 1) == 0);
	CHECK(ipk_task_take(&word, 1, 0, 2, 1) == -ENOSPC);
	CHECK(ipk_task_step(&word, 0, 2, BIT(IPK_TASK_HELD), IPK_TASK_QUEUED, 1) == -ESTALE);
	CHECK(ipk_task_step(&word, 0, 1, ~0u, IPK_TASK_ORPHANED + 1, 1) == -EINVAL);
	CHECK(ipk_task_step(&word, 0, 1, ~0u, IPK_TASK_RUNNING, IPK_TASK_MAX_OWNER + 1) == -EINVAL);
	CHECK(ipk_task_step_of_attempt(&word, 0, 1, 1, ~0u, IPK_TASK_FREE, 1) == -ESTALE);
	CHECK(ipk_task_step_of_attempt(&word, 0, 1, 0, ~0u, IPK_TASK_FREE, 1) == 0);
	CHECK(word == 0);
}

static void
attempts_stop_at_the_top(void)
{
	uint64_t word = 0;

	CHECK(ipk_task_take(&word, 1, 0, 1, 1) == 0);
	for (int attempt = 1; attempt <= 300; attempt++) {
		int now = ipk_task_step(&word, 0, 1, ~0u, IPK_TASK_RUNNING, 1);

		CHECK(now == (attempt < IPK_TASK_MAX_ATTEMPT ? attempt : IPK_TASK_MAX_ATTEMPT));
	}
}

static void
sweep_and_find(void)
{
	uint64_t some[8] = { 0 }, counts[16] = { 0 };

	for (uint64_t id = 1; id <= 6; id++)
		CHECK(ipk_task_take(some, 8, 0, id, (uint32_t)(id % 2)) == (int64_t)id - 1);
	CHECK(ipk_task_step(some, 2, 3, ~0u, IPK_TASK_RUNNING, 1) == 1);
	CHECK(ipk_task_sweep(some, 8, 1, IPK_TASK_RUNNING, IPK_TASK_ORPHANED) == 1);
	CHECK(ipk_task_sweep(some, 8, 1, IPK_TASK_HELD, IPK_TASK_FREE) == 2);
	CHECK(ipk_task_find(some, 8, 0, IPK_TASK_ORPHANED) == 2);
	CHECK(ipk_task_find(some, 8, 3, IPK_TASK_ORPHANED) == -ENOENT);
	ipk_task_count(some, 8, counts);
	CHECK(counts[IPK_TASK_FREE] == 4 && counts[IPK_TASK_HELD] == 3);
	CHECK(counts[IPK_TASK_ORPHANED] == 1);
}

/*
 * Programs of up to DEPTH calls on two words, against a model of plain variables: every call with
 * every word, task, state and owner, after every shorter program.
 */
struct plain {
	uint64_t id;
	uint32_t attempt, owner, state;
};

enum { PLACES = 2, DEPTH = 4, CALLS = 2 + PLACES * 2 * 4 + 4 };

static uint64_t programs;

static void
same(const uint64_t *real, const struct plain *model)
{
	for (uint32_t at = 0; at < PLACES; at++) {
		uint64_t id;
		uint32_t attempt, owner, state;

		ipk_task_look(real, at, &id, &attempt, &owner, &state);
		CHECK(id == model[at].id && attempt == model[at].attempt);
		CHECK(owner == model[at].owner && state == model[at].state);
	}
}

/* Do call number `call` to both; the model does it in the most obvious way. */
static void
one_call(uint64_t *real, struct plain *model, uint32_t call, uint64_t new_id)
{
	static const uint32_t from_to[4][2] = {
		{ BIT(IPK_TASK_HELD), IPK_TASK_QUEUED },
		{ BIT(IPK_TASK_HELD) | BIT(IPK_TASK_QUEUED), IPK_TASK_RUNNING },
		{ BIT(IPK_TASK_RUNNING) | BIT(IPK_TASK_ORPHANED), IPK_TASK_HELD },
		{ BIT(IPK_TASK_RUNNING) | BIT(IPK_TASK_ORPHANED), IPK_TASK_FREE },
	};
	static const uint32_t sweeps[2][2] = {
		{ IPK_TASK_HELD, IPK_TASK_FREE },
		{ IPK_TASK_RUNNING, IPK_TASK_ORPHANED },
	};

	if (call < 2) { /* take, from either place on */
		int64_t expected = -ENOSPC;

		for (uint32_t step = 0; step < PLACES && expected < 0; step++) {
			uint32_t at = (call + step) % PLACES;

			if (model[at].state != IPK_TASK_FREE)
				continue;
			model[at] = (struct plain){ new_id, 0, 1, IPK_TASK_HELD };
			expected = at;
		}
		CHECK(ipk_task_take(real, PLACES, call, new_id, 1) == expected);
	} else if (call < CALLS - 4) { /* a step: of its task or of another's, by owner 1 or 2 */
		uint32_t rest = call - 2, at = rest % PLACES, which = rest / PLACES % 4;
		uint32_t owner = 1 + rest / PLACES / 4;
		uint64_t id = model[owner - 1].id; /* owner 2 believes in the other word's task */
		struct plain *task = &model[at];
		int expected = -ESTALE;

		if (task->id == id && (from_to[which][0] >> task->state & 1)) {
			task->attempt += from_to[which][1] == IPK_TASK_RUNNING;
			task->owner = owner;
			task->state = from_to[which][1];
			expected = (int)task->attempt;
			if (task->state == IPK_TASK_FREE)
				*task = (struct plain){ 0, 0, 0, 0 };
		}
		CHECK(ipk_task_step(real, at, id, from_to[which][0], from_to[which][1], owner) ==
		      expected);
	} else { /* a sweep after the death of owner 1 or 2 */
		uint32_t rest = call - (CALLS - 4), owner = 1 + rest % 2;
		const uint32_t *sweep = sweeps[rest / 2];
		uint32_t expected = 0;

		for (uint32_t at = 0; at < PLACES; at++) {
			if (model[at].state != sweep[0] || model[at].owner != owner)
				continue;
			expected++;
			model[at].state = sweep[1];
			if (sweep[1] == IPK_TASK_FREE)
				model[at] = (struct plain){ 0, 0, 0, 0 };
		}
		CHECK(ipk_task_sweep(real, PLACES, owner, sweep[0], sweep[1]) == expected);
	}
}

static void
every_program(const uint64_t *before, const struct plain *model_before, uint32_t depth)
{
	for (uint32_t call = 0; call < CALLS; call++) {
		uint64_t real[PLACES];
		struct plain model[PLACES];

		memcpy(real, before, sizeof real);
		memcpy(model, model_before, sizeof model);
		one_call(real, model, call, depth);
		same(real, model);
		programs++;
		if (depth < DEPTH)
			every_program(real, model, depth + 1);
	}
}

static void
model_check(void)
{
	uint64_t real[PLACES] = { 0 };
	struct plain model[PLACES] = { { 0 } };

	every_program(real, model, 1);
	CHECK(programs > 200000);
}

/* All threads go for the same queued words, in the same order: each attempt begins once. */
enum { QUEUED = 4096 };

static uint64_t queued[QUEUED];
static uint32_t begins[QUEUED];
static pthread_barrier_t start;

static void *
claim_all(void *owner_)
{
	uint32_t owner = (uint32_t)(uintptr_t)owner_;

	(void)pthread_barrier_wait(&start);
	for (uint32_t at = 0; at < QUEUED; at++) {
		int attempt = ipk_task_step(queued, at, at + 1, BIT(IPK_TASK_QUEUED),
					    IPK_TASK_RUNNING, owner);
		uint32_t is;

		if (attempt < 0) {
			CHECK(attempt == -ESTALE);
			continue;
		}
		ipk_task_look(queued, at, NULL, NULL, &is, NULL);
		CHECK(attempt == 1 && is == owner);
		__atomic_add_fetch(&begins[at], 1, __ATOMIC_RELAXED);
	}
	return NULL;
}

static void
claims(void)
{
	pthread_t running[THREADS];

	for (uint32_t at = 0; at < QUEUED; at++) {
		CHECK(ipk_task_take(queued, QUEUED, at, at + 1, 0) == at);
		CHECK(ipk_task_step(queued, at, at + 1, BIT(IPK_TASK_HELD), IPK_TASK_QUEUED, 0) ==
		      0);
	}
	CHECK(pthread_barrier_init(&start, NULL, THREADS) == 0);
	for (uintptr_t i = 0; i < THREADS; i++)
		CHECK(pthread_create(&running[i], NULL, claim_all, (void *)(i + 1)) == 0);
	for (int i = 0; i < THREADS; i++)
		CHECK(pthread_join(running[i], NULL) == 0);
	for (uint32_t at = 0; at < QUEUED; at++)
		CHECK(begins[at] == 1);
	CHECK(pthread_barrier_destroy(&start) == 0);
}

/* Few words, many takers: a word that is taken has one owner until he frees it. */
enum { SCARCE = 3 };

static uint64_t scarce[SCARCE];
static uint32_t holders[SCARCE];
static uint64_t taken;

static void *
take_and_free(void *owner_)
{
	uint32_t owner = (uint32_t)(uintptr_t)owner_;

	(void)pthread_barrier_wait(&start);
	for (uint32_t turn = 0; turn < TASKS; turn++) {
		uint64_t id = (uint64_t)turn * THREADS + owner;
		int64_t at = ipk_task_take(scarce, SCARCE, turn, id, owner);

		if (at < 0) {
			CHECK(at == -ENOSPC);
			continue;
		}
		CHECK(at < SCARCE);
		CHECK(__atomic_add_fetch(&holders[at], 1, __ATOMIC_SEQ_CST) == 1);
		__atomic_add_fetch(&taken, 1, __ATOMIC_RELAXED);
		__atomic_sub_fetch(&holders[at], 1, __ATOMIC_SEQ_CST);
		CHECK(ipk_task_step(scarce, (uint32_t)at, id, BIT(IPK_TASK_HELD), IPK_TASK_FREE,
				    owner) == 0);
	}
	return NULL;
}

static void
scarce_words(void)
{
	pthread_t running[THREADS];

	CHECK(pthread_barrier_init(&start, NULL, THREADS) == 0);
	for (uintptr_t i = 0; i < THREADS; i++)
		CHECK(pthread_create(&running[i], NULL, take_and_free, (void *)(i + 1)) == 0);
	for (int i = 0; i < THREADS; i++)
		CHECK(pthread_join(running[i], NULL) == 0);
	CHECK(taken >= TASKS);
	for (uint32_t at = 0; at < SCARCE; at++)
		CHECK(scarce[at] == 0 && holders[at] == 0);
	CHECK(pthread_barrier_destroy(&start) == 0);
}

/* Take, queue, begin, end: four threads over 64 words; each task begins and ends once. */
static void *
storm(void *owner_)
{
	uint32_t owner = (uint32_t)(uintptr_t)owner_;

	for (int turn = 0; turn < TASKS; turn++) {
		uint64_t id = __atomic_add_fetch(&next_id, 1, __ATOMIC_SEQ_CST);
		int64_t mine = ipk_task_take(words, COUNT, (uint32_t)id, id, owner);

		if (mine >= 0)
			CHECK(ipk_task_step(words, (uint32_t)mine, id, BIT(IPK_TASK_HELD),
					    IPK_TASK_QUEUED, owner) == 0);
		for (uint32_t at = 0; at < COUNT; at += 7) {
			uint64_t other;
			uint32_t state;

			ipk_task_look(words, at, &other, NULL, NULL, &state);
			if (state != IPK_TASK_QUEUED)
				continue;
			if (ipk_task_step(words, at, other, BIT(IPK_TASK_QUEUED), IPK_TASK_RUNNING,
					  owner) != 1)
				continue;
			__atomic_add_fetch(&begun, 1, __ATOMIC_SEQ_CST);
			CHECK(ipk_task_step_of_attempt(words, at, other, 1, BIT(IPK_TASK_RUNNING),
						       IPK_TASK_FREE, owner) == 1);
			__atomic_add_fetch(&ended, 1, __ATOMIC_SEQ_CST);
		}
	}
	return NULL;
}

static void
threads(void)
{
	pthread_t running[THREADS];
	uint64_t counts[16] = { 0 };

	for (uintptr_t i = 0; i < THREADS; i++)
		CHECK(pthread_create(&running[i], NULL, storm, (void *)(i + 1)) == 0);
	for (int i = 0; i < THREADS; i++)
		CHECK(pthread_join(running[i], NULL) == 0);
	ipk_task_count(words, COUNT, counts);
	CHECK(begun == ended && begun > 0);
	CHECK(counts[IPK_TASK_FREE] + counts[IPK_TASK_QUEUED] == COUNT);
}

/* A process killed anywhere leaves whole words, and one sweep settles what it had. */
static void
kills(void)
{
	uint64_t *shared = mmap(NULL, sizeof words, PROT_READ | PROT_WRITE,
				MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	uint64_t seen = 0;

	CHECK(shared != MAP_FAILED);
	for (uint32_t round = 0; round < KILLS; round++) {
		int ready[2];
		char byte;
		pid_t child;

		CHECK(pipe(ready) == 0);
		child = fork();
		CHECK(child >= 0);
		if (child == 0) {
			uint64_t id = (uint64_t)round * 100000000 + 1;

			(void)!write(ready[1], "r", 1);
			for (;; id++) {
				int64_t at = ipk_task_take(shared, COUNT, (uint32_t)id, id, 3);

				if (at < 0)
					_exit(1);
				(void)ipk_task_step(shared, (uint32_t)at, id, ~1u, IPK_TASK_QUEUED, 3);
				(void)ipk_task_step(shared, (uint32_t)at, id, ~1u, IPK_TASK_RUNNING, 3);
				(void)ipk_task_step(shared, (uint32_t)at, id, ~1u, IPK_TASK_FREE, 3);
			}
		}
		CHECK(read(ready[0], &byte, 1) == 1);
		(void)usleep(round * 37 % 500);
		CHECK(kill(child, SIGKILL) == 0);
		CHECK(waitpid(child, NULL, 0) == child);
		(void)close(ready[0]);
		(void)close(ready[1]);

		uint64_t counts[16] = { 0 };

		ipk_task_count(shared, COUNT, counts);
		CHECK(counts[IPK_TASK_FREE] >= COUNT - 1); /* at most the one it was at */
		seen += COUNT - counts[IPK_TASK_FREE];
		for (uint32_t at = 0; at < COUNT; at++) {
			uint64_t id;
			uint32_t attempt, owner, state;

			ipk_task_look(shared, at, &id, &attempt, &owner, &state);
			if (state == IPK_TASK_FREE)
				CHECK(shared[at] == 0);
			else
				CHECK(owner == 3 && id / 100000000 == round && id % 100000000 > 0 &&
				      attempt == (state == IPK_TASK_RUNNING));
		}
		for (uint32_t state = IPK_TASK_HELD; state <= IPK_TASK_RUNNING; state++)
			(void)ipk_task_sweep(shared, COUNT, 3, state, IPK_TASK_FREE);
		for (int at = 0; at < COUNT; at++)
			CHECK(shared[at] == 0);
	}
	CHECK(seen > 0); /* else nothing was killed in the middle, and this proves nothing */
	CHECK(munmap(shared, sizeof words) == 0);
}

int
main(void)
{
	every_step();
	refusals();
	attempts_stop_at_the_top();
	sweep_and_find();
	model_check();
	kills();
	claims();
	scarce_words();
	threads();
	return 0;
}

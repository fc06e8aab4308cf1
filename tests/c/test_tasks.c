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
	kills();
	threads();
	return 0;
}

/*
 * ipk_tasks.c - the states of a server's tasks, one shared word for each.
 *
 * Owns      nothing; the words are the caller's shared memory.
 * Stands on the compiler's atomics.
 * State     none.
 *
 * Invariants
 *   T1  a word changes by one compare-and-set of all of it, so there is no half step.
 *   T2  a task id is never used twice while its words exist, so a step cannot hit a later task
 *       in the same word (the id is in the word).
 *   T3  only ipk_task_take leaves FREE; the attempt only grows until the word is FREE again.
 *
 * Blocks    never.  Errors  -errno.
 */
#include "ipk_tasks.h"

#include <errno.h>

#define STATE(word) ((uint32_t)((word)&0xF))
#define OWNER(word) ((uint32_t)((word) >> 4 & 0xFFF))
#define ATTEMPT(word) ((uint32_t)((word) >> 16 & 0xFF))
#define TASK_ID(word) ((word) >> 24)

#define ANY_ATTEMPT UINT32_MAX
#define MAX_TASK_ID ((UINT64_C(1) << 40) - 1)

static uint64_t
make_word(uint64_t task_id, uint32_t attempt, uint32_t owner, uint32_t state)
{
	return task_id << 24 | (uint64_t)attempt << 16 | (uint64_t)owner << 4 | state;
}

static uint64_t
load(const uint64_t *word)
{
	return __atomic_load_n(word, __ATOMIC_SEQ_CST);
}

/* T1. On failure *seen is what the word is now. */
static int
replace(uint64_t *word, uint64_t *seen, uint64_t value)
{
	return __atomic_compare_exchange_n(word, seen, value, 0, __ATOMIC_SEQ_CST,
					   __ATOMIC_SEQ_CST);
}

int64_t
ipk_task_take(uint64_t *words, uint32_t count, uint32_t start, uint64_t task_id, uint32_t owner)
{
	if (count == 0 || task_id == 0 || task_id > MAX_TASK_ID || owner > IPK_TASK_MAX_OWNER)
		return -EINVAL;
	uint64_t held = make_word(task_id, 0, owner, IPK_TASK_HELD);

	for (uint32_t step = 0; step < count; step++) {
		uint32_t index = (uint32_t)(((uint64_t)start + step) % count);
		uint64_t seen = load(&words[index]);

		if (STATE(seen) == IPK_TASK_FREE && replace(&words[index], &seen, held))
			return index;
	}
	return -ENOSPC;
}

static int
step(uint64_t *words, uint32_t index, uint64_t task_id, uint32_t attempt, uint32_t from,
     uint32_t to, uint32_t owner)
{
	uint64_t seen = load(&words[index]);

	if (owner > IPK_TASK_MAX_OWNER || to > IPK_TASK_ORPHANED)
		return -EINVAL;
	for (;;) {
		uint32_t next = ATTEMPT(seen);

		if (TASK_ID(seen) != task_id || !(from >> STATE(seen) & 1))
			return -ESTALE;
		if (attempt != ANY_ATTEMPT && attempt != next)
			return -ESTALE;
		if (to == IPK_TASK_RUNNING && next < IPK_TASK_MAX_ATTEMPT)
			next++;
		if (replace(&words[index], &seen,
			    to == IPK_TASK_FREE ? 0 : make_word(task_id, next, owner, to)))
			return (int)next;
	}
}

int
ipk_task_step(uint64_t *words, uint32_t index, uint64_t task_id, uint32_t from, uint32_t to,
	      uint32_t owner)
{
	return step(words, index, task_id, ANY_ATTEMPT, from, to, owner);
}

int
ipk_task_step_of_attempt(uint64_t *words, uint32_t index, uint64_t task_id, uint32_t attempt,
			 uint32_t from, uint32_t to, uint32_t owner)
{
	return step(words, index, task_id, attempt, from, to, owner);
}

uint32_t
ipk_task_sweep(uint64_t *words, uint32_t count, uint32_t owner, uint32_t from, uint32_t to)
{
	uint32_t swept = 0;

	for (uint32_t index = 0; index < count; index++) {
		uint64_t seen = load(&words[index]);

		while (STATE(seen) == from && OWNER(seen) == owner) {
			uint64_t next = to == IPK_TASK_FREE
						? 0
						: make_word(TASK_ID(seen), ATTEMPT(seen), owner, to);

			if (replace(&words[index], &seen, next)) {
				swept++;
				break;
			}
		}
	}
	return swept;
}

void
ipk_task_count(const uint64_t *words, uint32_t count, uint64_t counts[16])
{
	for (uint32_t index = 0; index < count; index++)
		counts[STATE(load(&words[index]))]++;
}

int64_t
ipk_task_find(const uint64_t *words, uint32_t count, uint32_t start, uint32_t state)
{
	for (uint32_t index = start; index < count; index++)
		if (STATE(load(&words[index])) == state)
			return index;
	return -ENOENT;
}

void
ipk_task_look(const uint64_t *words, uint32_t index, uint64_t *task_id, uint32_t *attempt,
	      uint32_t *owner, uint32_t *state)
{
	uint64_t seen = load(&words[index]);

	if (task_id)
		*task_id = TASK_ID(seen);
	if (attempt)
		*attempt = ATTEMPT(seen);
	if (owner)
		*owner = OWNER(seen);
	if (state)
		*state = STATE(seen);
}

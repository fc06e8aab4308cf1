/*
 * ipk_tasks.h - the states of a server's tasks, one shared word for each.
 *
 *     word = task id : 40 | attempt : 8 | owner : 12 | state : 4
 *
 * FREE -> HELD(submitter) -> QUEUED -> RUNNING(task worker, attempt + 1) -> FREE
 *              ^ '--------------------^     |  dead owner
 *              '----------------------------+-> ORPHANED
 *
 * A step compares the task id and the state and sets the whole word at once. So a message that
 * was sent twice is run once, a late result of an earlier attempt is seen as such, and a process
 * that is killed leaves one of these states and never anything between them.
 */
#ifndef IPK_TASKS_H
#define IPK_TASKS_H

#include "ipk.h"

enum ipk_task_state {
	IPK_TASK_FREE = 0,
	IPK_TASK_HELD = 1,     /* its submitter has it in memory */
	IPK_TASK_QUEUED = 2,   /* a message of it was sent: it survives its submitter */
	IPK_TASK_RUNNING = 3,  /* its owner is at it, or sent the result */
	IPK_TASK_ORPHANED = 4, /* its owner died; the submitter decides */
};

enum {
	IPK_TASK_MAX_OWNER = 4095,
	IPK_TASK_MAX_ATTEMPT = 255,
};

/*
 * Take a free word, looking from `start` on: it becomes HELD by `owner`, attempt 0.
 *
 * task_id   1 .. 2^40-1.
 * Returns the index, or -ENOSPC when one pass found none free, or -EINVAL.
 */
int64_t ipk_task_take(uint64_t *words, uint32_t count, uint32_t start, uint64_t task_id,
		      uint32_t owner);

/*
 * One step of task `task_id` in words[index], if its state is one of `from` (a bit for each
 * state): to state `to`, owner `owner`, and attempt + 1 when `to` is RUNNING.
 *
 * Returns the attempt after the step, or -ESTALE when the word is another task's or in another
 * state: then nothing was changed.
 */
int ipk_task_step(uint64_t *words, uint32_t index, uint64_t task_id, uint32_t from, uint32_t to,
		  uint32_t owner);

/*
 * As ipk_task_step, but only if the word's attempt is `attempt`: the step of a result.
 */
int ipk_task_step_of_attempt(uint64_t *words, uint32_t index, uint64_t task_id,
			     uint32_t attempt, uint32_t from, uint32_t to, uint32_t owner);

/*
 * What a death leaves: every word of `owner` in state `from` goes to `to`, owner kept.
 * Call it after the owner was reaped and before another process has its number.
 * Returns how many.
 */
uint32_t ipk_task_sweep(uint64_t *words, uint32_t count, uint32_t owner, uint32_t from,
			uint32_t to);

/* Add the number of words in each state to counts[16]; a snapshot word by word. */
void ipk_task_count(const uint64_t *words, uint32_t count, uint64_t counts[16]);

/* The first index >= start whose word is in `state`, or -ENOENT. */
int64_t ipk_task_find(const uint64_t *words, uint32_t count, uint32_t start, uint32_t state);

/* The parts of words[index]; each may be NULL. */
void ipk_task_look(const uint64_t *words, uint32_t index, uint64_t *task_id, uint32_t *attempt,
		   uint32_t *owner, uint32_t *state);

#endif

/*
 * search.h - several processes in one, which lose the CPU between any two of their loads and
 * stores: a search for the order of steps that breaks a rule.
 *
 * The sources under test are compiled as they are, with -fsanitize=thread, whose calls before each
 * access come to search.c in place of the sanitizer. A "process" is a coroutine; one runs at a
 * time, and another may be chosen before each access to the shared memory.
 *
 * The order of a run follows from its number: priorities and a few moments at which the one that
 * runs becomes the last (probabilistic concurrency testing, Burckhardt et al. 2010): any, or in
 * half of the runs such as come just after an exchange; or, one run in four, chance at every step.
 * In half of the runs stores that are not sequentially consistent
 * reach the others late, in order, and no later than the next exchange or fence of their process:
 * what x86 does.
 */
#ifndef SEARCH_H
#define SEARCH_H

#include <stddef.h>
#include <stdint.h>

enum { SEARCH_PROCESSES = 6 };

/* The memory that all share: only accesses to it are steps. */
void search_shares(void *memory, size_t bytes);
/* Run these to their ends, in the order of this number; NULL, or which rule was broken. */
const char *search_run(uint64_t number, void (*const *processes)(void), int count);

/* -- inside a run -- */

/* This rule is broken: the run ends. */
_Noreturn void search_failed(const char *rule);
/* Wait until *event is not 0, or *stop is; it is an error if all wait so. */
void search_wait(const uint64_t *event, const int *stop);
/* A number below `limit`, of this run. */
uint32_t search_chance(uint32_t limit);
/* Steps so far. */
uint32_t search_steps(void);

/* In place of what the sources call of libc. */
struct timespec;
void *search_memcpy(void *to, const void *from, size_t bytes);
long search_write(int event, const void *bytes, size_t size);
int search_clock(int clock, struct timespec *now);
int search_yield(void);

/* The event files: what was written into each. */
extern uint64_t search_events[];

#endif

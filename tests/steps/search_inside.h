/*
 * search_inside.h - what search.c offers to search_calls.c.
 */
#ifndef SEARCH_INSIDE_H
#define SEARCH_INSIDE_H

#include "search.h"

int search_is_shared(const void *place);
/* Before an access: here another process may get the CPU. */
void search_step(void);
/* A plain load or store of so many bytes comes. */
void search_plain(void *place, uint32_t bytes);
uint64_t search_load(const void *place, uint32_t bytes);
void search_store(void *place, uint64_t value, uint32_t bytes, int order);
/* An exchange comes, or a system call (NULL): it acts on what all see. */
void search_exchange(const void *place);
/* What the running process has stored reaches the others. */
void search_all_arrive(void);
int64_t search_clock_ns(void);

#endif

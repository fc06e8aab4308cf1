/*
 * kills_victim.h - a child that is led to one call, and a processor for it and its tracer.
 */
#ifndef KILLS_VICTIM_H
#define KILLS_VICTIM_H

#include "trace/trace.h"

/* Fork a child that does ready(what) and then call(); it stops at the entry of `entry` inside
 * call(). 0, or an error of trace/trace.h. */
int victim_begin(struct ipk_trace *trace, void (*ready)(const void *what), const void *what,
		 void (*entry)(void), int (*call)(void));
enum { PATH_MOST = 1 << 16 };

/* The instructions of one call, in the order in which a victim came to them. */
struct path {
	uint32_t length;
	uint64_t at[PATH_MOST];
};

/* Step a victim through its call, to the end; kill it. Exits with 2 if the call is too long. */
void path_note(struct ipk_trace *victim, struct path *path);
/*
 * As ipk_trace_step() from the start of the call on, for a victim that takes the same path; where
 * a breakpoint saves steps it runs, as a step costs some ten system calls. An empty path: by steps.
 * 0, 1: the call has returned, -ECHILD: it took another path, and ended.
 */
int path_follow(struct ipk_trace *victim, const struct path *path, uint32_t count);
/* Stay on one of the allowed processors, another one for each shard: a step is two switches
 * between tracer and victim, and between processors they take four times as long. */
void victim_pin(int shard);

#endif

/*
 * kills_victim.h - a child that is led to one call, and a processor for it and its tracer.
 */
#ifndef KILLS_VICTIM_H
#define KILLS_VICTIM_H

#include "ipk_trace.h"

/* Fork a child that does ready(what) and then call(); it stops at the entry of `entry` inside
 * call(). 0, or an error of ipk_trace.h. */
int victim_begin(struct ipk_trace *trace, void (*ready)(const void *what), const void *what,
		 void (*entry)(void), int (*call)(void));
/* Stay on one of the allowed processors, another one for each shard: a step is two switches
 * between tracer and victim, and between processors they take four times as long. */
void victim_pin(int shard);

#endif

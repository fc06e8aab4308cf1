/*
 * kills_victim.c - see kills_victim.h.
 */
#include "kills_victim.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

int
victim_begin(struct ipk_trace *trace, void (*ready)(const void *what), const void *what,
	     void (*entry)(void), int (*call)(void))
{
	pid_t pid = fork();
	int code;

	if (pid == 0) {
		ready(what);
		(void)ipk_trace_me();
		(void)call();
		_exit(0);
	}
	code = ipk_trace_begin(trace, pid);
	return code ? code : ipk_trace_run_to(trace, (uint64_t)(uintptr_t)entry);
}

void
path_note(struct ipk_trace *victim, struct path *path)
{
	path->length = 0;
	do {
		if (path->length == PATH_MOST) {
			fprintf(stderr, "a call of more than %d instructions\n", PATH_MOST);
			exit(2);
		}
		path->at[path->length++] = ipk_trace_at(victim);
	} while (ipk_trace_step(victim, 1) == 0);
	(void)ipk_trace_kill(victim);
}

/* How often the victim comes to this address on its way to `count`. A repeated instruction (rep
 * movs) is a step each time, and for a breakpoint it is one. */
static uint32_t
visits(const struct path *path, uint32_t count)
{
	uint32_t found = 0;

	for (uint32_t i = 0; i <= count; i++)
		if (path->at[i] == path->at[count] && (i == 0 || path->at[i - 1] != path->at[i]))
			found++;
	return found;
}

int
path_follow(struct ipk_trace *victim, const struct path *path, uint32_t count)
{
	enum { BACK = 64, A_VISIT = 2 };
	uint32_t last = count < path->length ? count : path->length - 1;
	uint32_t from = 0;
	uint32_t times = 0;
	uint32_t least = last; /* steps, from the start on */
	int code;

	if (!path->length)
		return ipk_trace_step(victim, count);
	for (uint32_t i = last; i > 0 && i + BACK > last; i--) {
		uint32_t found = path->at[i] == path->at[i - 1] ? last : visits(path, i);
		uint32_t cost = A_VISIT * found + (last - i);

		if (cost < least) {
			least = cost;
			from = i;
			times = found;
		}
	}
	code = times ? ipk_trace_pass(victim, path->at[from], times) : 0;
	return code ? code : ipk_trace_step(victim, count - from);
}

void
victim_pin(int shard)
{
	cpu_set_t allowed;
	cpu_set_t one;
	int wanted = shard;

	if (sched_getaffinity(0, sizeof(allowed), &allowed) != 0)
		return;
	wanted %= CPU_COUNT(&allowed);
	for (size_t cpu = 0; cpu < CPU_SETSIZE; cpu++) {
		if (!CPU_ISSET(cpu, &allowed) || wanted-- != 0)
			continue;
		CPU_ZERO(&one);
		CPU_SET(cpu, &one);
		(void)sched_setaffinity(0, sizeof(one), &one);
	}
}

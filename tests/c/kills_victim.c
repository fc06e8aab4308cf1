/*
 * kills_victim.c - see kills_victim.h.
 */
#include "kills_victim.h"

#include <sched.h>
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

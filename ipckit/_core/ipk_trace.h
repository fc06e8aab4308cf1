/*
 * ipk_trace.h - end or stop a child between two of its instructions.
 *
 * For tests of what must survive that: the parent brings a child to the entry of a function, steps
 * it on by single instructions, and kills it or lets it go there. ptrace(2); x86-64 only, else
 * -ENOSYS. The tracing thread must be the child's parent.
 */
#ifndef IPK_TRACE_H
#define IPK_TRACE_H

#include "ipk.h"

/* Where a traced call is. The parent's private memory. */
struct ipk_trace {
	pid_t pid;
	uint64_t returns_to;
	uint64_t stack;
};

/* In the child: stop, until the parent goes on. 0, or -errno. */
int ipk_trace_me(void);
/* In the parent: wait for that stop. The child dies with its tracer. 0, or -ECHILD: it ended. */
int ipk_trace_begin(struct ipk_trace *trace, pid_t pid);
/* Run the child to its next call of the function at `entry`. 0, -ECHILD: it ended before. */
int ipk_trace_run_to(struct ipk_trace *trace, uint64_t entry);
/* Go on by `count` instructions inside that call; a system call is one. 0, 1: the call has
 * returned, -ECHILD: the child ended. Signals are passed on to it. */
int ipk_trace_step(struct ipk_trace *trace, uint32_t count);
/* Kill it where it is, and reap it. Its wait status. */
int ipk_trace_kill(struct ipk_trace *trace);
/* Leave it stopped there, as SIGSTOP does, no longer traced: SIGCONT lets it go on. 0, -errno. */
int ipk_trace_leave_stopped(struct ipk_trace *trace);

#endif

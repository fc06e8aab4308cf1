/*
 * trace/trace.h - end or stop a child between two of its instructions.
 *
 * trace/ is for tests and the harness only: no other folder of the core may include it.
 *
 * For tests of what must survive that: the parent brings a child to the entry of a function, steps
 * it on by single instructions, and kills it or lets it go there. ptrace(2); x86-64 only, else
 * -ENOSYS. The tracing thread must be the child's parent.
 */
#ifndef IPK_TRACE_TRACE_H
#define IPK_TRACE_TRACE_H

#include "base/ipk.h"

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
/* Run on until the child is in front of the instruction at `address` for the `times`th time; the
 * place where it is now counts. 0, or -errno; -ECHILD: it ended before, and is reaped. */
int ipk_trace_pass(const struct ipk_trace *trace, uint64_t address, uint32_t times);
/* The address of the instruction that is next. */
uint64_t ipk_trace_at(const struct ipk_trace *trace);
/* Go on by `count` instructions inside that call; a system call is one. 0, 1: the call has
 * returned, -ECHILD: the child ended. Signals are passed on to it. */
int ipk_trace_step(struct ipk_trace *trace, uint32_t count);
/*
 * Go on until `count` instructions inside the ranges have been done: 0, held there. Or: 1, it came
 * to the function at `end`; -ETIMEDOUT, it was outside of the ranges for longer than `patience_ns`
 * (waits in a system call, say) and has been let go, no longer traced; -ECHILD, it ended and
 * is not reaped. `ranges` has
 * `range_count` pairs of first address and address after the last, of whole pages. *done counts.
 * Outside of them it runs at full speed (instructions.c says how).
 */
int ipk_trace_within(const struct ipk_trace *trace, const uint64_t *ranges, uint32_t range_count,
		     uint32_t count, uint64_t end, int64_t patience_ns, uint32_t *done);
/* Let it go on by itself, no longer traced. 0, -errno. */
int ipk_trace_let_go(const struct ipk_trace *trace);
/* Does nothing, at an address that is an `end` for ipk_trace_within(). */
void ipk_trace_mark(void);
uint64_t ipk_trace_mark_at(void);
/* Kill it where it is, and reap it. Its wait status. */
int ipk_trace_kill(struct ipk_trace *trace);
/* Leave it stopped there, as SIGSTOP does, no longer traced: SIGCONT lets it go on. 0, -errno. */
int ipk_trace_leave_stopped(struct ipk_trace *trace);

#endif

/*
 * trace/trace.c - single steps of a child.
 *
 * Owns      nothing.   Stands on ptrace(2), waitpid(2).
 * State     in the caller's ipk_trace.
 * Blocks    until the child has done what was asked of it, or ended; ipk_trace_within() for at
 *           most its patience.
 */
#include "trace/trace.h"

#include <errno.h>
#include <signal.h>
#include <stddef.h>
#include <sys/ptrace.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#ifdef __x86_64__

static int
traced_stop(pid_t pid)
{
	int status;

	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return -errno;
	return WIFSTOPPED(status) ? WSTOPSIG(status) : -ECHILD;
}

/* Let it go on by `how` (PTRACE_CONT, PTRACE_SINGLESTEP) until it traps; other signals are its
 * own. 0 or -ECHILD. */
static int
resume(pid_t pid, enum __ptrace_request how)
{
	int signal_number = 0;

	for (;;) {
		if (ptrace(how, pid, NULL, (void *)(intptr_t)signal_number) != 0)
			return -ECHILD;
		signal_number = traced_stop(pid);
		if (signal_number < 0)
			return -ECHILD;
		if (signal_number == SIGTRAP)
			return 0;
	}
}

int
ipk_trace_me(void)
{
	return ptrace(PTRACE_TRACEME, 0, NULL, NULL) != 0 || raise(SIGSTOP) != 0 ? -errno : 0;
}

int
ipk_trace_begin(struct ipk_trace *trace, pid_t pid)
{
	trace->pid = pid;
	if (traced_stop(pid) != SIGSTOP)
		return -ECHILD;
	return ptrace(PTRACE_SETOPTIONS, pid, NULL, (void *)(intptr_t)PTRACE_O_EXITKILL) != 0
		       ? -errno
		       : 0;
}

/* Run it to the instruction at `address`, which has not begun then. 0, or -errno. */
static int
run_to(pid_t pid, uint64_t address, struct user_regs_struct *registers)
{
	void *where = (void *)(uintptr_t)address;
	long text;

	errno = 0;
	text = ptrace(PTRACE_PEEKTEXT, pid, where, NULL);
	if (errno)
		return -errno;
	if (ptrace(PTRACE_POKETEXT, pid, where, (void *)((text & ~0xffL) | 0xcc)) != 0)
		return -errno;
	if (resume(pid, PTRACE_CONT) != 0 ||
	    ptrace(PTRACE_POKETEXT, pid, where, (void *)text) != 0 ||
	    ptrace(PTRACE_GETREGS, pid, NULL, registers) != 0)
		return -ECHILD;
	registers->rip = address;
	return ptrace(PTRACE_SETREGS, pid, NULL, registers) != 0 ? -ECHILD : 0;
}

int
ipk_trace_run_to(struct ipk_trace *trace, uint64_t entry)
{
	struct user_regs_struct registers;
	int code = run_to(trace->pid, entry, &registers);

	if (code)
		return code;
	trace->stack = registers.rsp;
	errno = 0;
	trace->returns_to = (uint64_t)ptrace(PTRACE_PEEKDATA, trace->pid,
					     (void *)(uintptr_t)registers.rsp, NULL);
	return errno ? -ECHILD : 0;
}

int
ipk_trace_pass(const struct ipk_trace *trace, uint64_t address, uint32_t times)
{
	struct user_regs_struct registers;
	int code = 0;

	for (; code == 0 && times; times--) {
		code = run_to(trace->pid, address, &registers);
		if (code == 0 && times > 1)
			code = resume(trace->pid, PTRACE_SINGLESTEP);
	}
	return code;
}

static uint64_t
read_register(pid_t pid, size_t offset)
{
	return (uint64_t)ptrace(PTRACE_PEEKUSER, pid, (void *)offset, NULL);
}

uint64_t
ipk_trace_at(const struct ipk_trace *trace)
{
	return read_register(trace->pid, offsetof(struct user_regs_struct, rip));
}

int
ipk_trace_step(struct ipk_trace *trace, uint32_t count)
{
	for (; count; count--) {
		if (resume(trace->pid, PTRACE_SINGLESTEP) != 0)
			return -ECHILD;
		if (ipk_trace_at(trace) == trace->returns_to &&
		    read_register(trace->pid, offsetof(struct user_regs_struct, rsp)) >
			    trace->stack)
			return 1;
	}
	return 0;
}

int
ipk_trace_kill(struct ipk_trace *trace)
{
	int status = 0;

	(void)kill(trace->pid, SIGKILL);
	while (waitpid(trace->pid, &status, __WALL) < 0 && errno == EINTR)
		;
	return status;
}

int
ipk_trace_leave_stopped(struct ipk_trace *trace)
{
	return ptrace(PTRACE_DETACH, trace->pid, NULL, (void *)(intptr_t)SIGSTOP) != 0 ? -errno : 0;
}

int
ipk_trace_let_go(const struct ipk_trace *trace)
{
	return ptrace(PTRACE_DETACH, trace->pid, NULL, NULL) != 0 ? -errno : 0;
}

#else

int
ipk_trace_me(void)
{
	return -ENOSYS;
}

int
ipk_trace_begin(struct ipk_trace *trace, pid_t pid)
{
	(void)trace;
	(void)pid;
	return -ENOSYS;
}

int
ipk_trace_run_to(struct ipk_trace *trace, uint64_t entry)
{
	(void)trace;
	(void)entry;
	return -ENOSYS;
}

int
ipk_trace_pass(const struct ipk_trace *trace, uint64_t address, uint32_t times)
{
	(void)trace;
	(void)address;
	(void)times;
	return -ENOSYS;
}

uint64_t
ipk_trace_at(const struct ipk_trace *trace)
{
	(void)trace;
	return 0;
}

int
ipk_trace_step(struct ipk_trace *trace, uint32_t count)
{
	(void)trace;
	(void)count;
	return -ENOSYS;
}

int
ipk_trace_kill(struct ipk_trace *trace)
{
	(void)trace;
	return -ENOSYS;
}

int
ipk_trace_leave_stopped(struct ipk_trace *trace)
{
	(void)trace;
	return -ENOSYS;
}

int
ipk_trace_let_go(const struct ipk_trace *trace)
{
	(void)trace;
	return -ENOSYS;
}

#endif

void
ipk_trace_mark(void)
{
	__asm__ volatile("" ::: "memory"); /* so that its calls are not left out */
}

uint64_t
ipk_trace_mark_at(void)
{
	return (uint64_t)(uintptr_t)ipk_trace_mark;
}

/*
 * trace/instructions.c - count the instructions that a child does inside some libraries.
 *
 * Single steps through an interpreter to reach a few hundred instructions of C take a thousand
 * times too long. So the libraries' pages are made not executable in the child: it runs freely,
 * until a call enters one of them and faults. Then they are made executable again and stepped
 * through, until control leaves them; a breakpoint at `end` says when the call is over.
 * The child's page protections are changed by system calls that it is made to do (`in_child`),
 * with its registers put back; its file is untouched, as its mappings are private.
 *
 * Stands on ptrace(2), mprotect(2).  Leaves a child that it gives back executable everywhere.
 */
#include "base/clock.h"
#include "trace/trace.h"

#include <errno.h>

#ifdef __x86_64__

#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <time.h>

enum { BREAKPOINT = 0xcc, VDSO_BYTES = 4096 };

/* One call of ipk_trace_within(). */
struct within {
	pid_t pid;
	const uint64_t *ranges;
	uint32_t range_count;
	uint64_t end;
	long end_text; /* what the breakpoint replaced */
	uint64_t syscall_at;
};

/* The signal at which it has stopped; 0 with WNOHANG: it has not. -ECHILD: it ended, and is left
 * for its parent to reap, which needs the status. */
static int
stop_signal_if(pid_t pid, int option)
{
	siginfo_t found;
	int status;

	do {
		found.si_pid = 0;
		if (waitid(P_PID, (id_t)pid, &found, WEXITED | WSTOPPED | WNOWAIT | option) == 0)
			break;
	} while (errno == EINTR);
	if (!found.si_pid && option)
		return 0;
	if (found.si_pid != pid || (found.si_code != CLD_STOPPED && found.si_code != CLD_TRAPPED))
		return -ECHILD;
	return waitpid(pid, &status, 0) == pid && WIFSTOPPED(status) ? WSTOPSIG(status) : -ECHILD;
}

static int
stop_signal(pid_t pid)
{
	return stop_signal_if(pid, 0);
}

/* The same, but -ETIMEDOUT after `patience_ns`. SIGCHLD is only the alarm clock: where another
 * thread gets it, a millisecond goes by. */
static int
stop_signal_soon(pid_t pid, int64_t patience_ns)
{
	static const struct timespec moment = {0, 1000000};
	int64_t until = (int64_t)ipk_now_ns() + patience_ns;
	sigset_t ours, before;
	int signal_number;

	sigemptyset(&ours);
	sigaddset(&ours, SIGCHLD);
	pthread_sigmask(SIG_BLOCK, &ours, &before);
	while ((signal_number = stop_signal_if(pid, WNOHANG)) == 0 && (int64_t)ipk_now_ns() < until)
		(void)sigtimedwait(&ours, NULL, &moment);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return signal_number == 0 ? -ETIMEDOUT : signal_number;
}

static int
resume(pid_t pid, enum __ptrace_request how, int signal_number)
{
	return ptrace(how, pid, NULL, (void *)(intptr_t)signal_number) != 0 ? -ECHILD : 0;
}

/* One step, during which other signals wait for their turn. */
static int
step(pid_t pid)
{
	int signal_number = 0;

	do {
		if (resume(pid, PTRACE_SINGLESTEP, signal_number) != 0)
			return -ECHILD;
		signal_number = stop_signal(pid);
	} while (signal_number > 0 && signal_number != SIGTRAP);
	return signal_number < 0 ? signal_number : 0;
}

/* An address at which every process has a `syscall` instruction: two bytes in the vDSO. */
static uint64_t
find_syscall(void)
{
	const unsigned char *code = (const unsigned char *)getauxval(AT_SYSINFO_EHDR);

	for (size_t i = 0; code && i + 1 < VDSO_BYTES; i++)
		if (code[i] == 0x0f && code[i + 1] == 0x05)
			return (uint64_t)(uintptr_t)(code + i);
	return 0;
}

/* Let the child do mprotect(range, protection). orig_rax = -1: the kernel restarts an interrupted
 * call not in this step, but when the child has its own registers again. */
static int
in_child(const struct within *w, const uint64_t *range, int protection)
{
	struct user_regs_struct before, call, after;

	if (ptrace(PTRACE_GETREGS, w->pid, NULL, &before) != 0)
		return -ECHILD;
	call = before;
	call.rip = w->syscall_at;
	call.rax = SYS_mprotect;
	call.orig_rax = (unsigned long long)-1;
	call.rdi = range[0];
	call.rsi = range[1] - range[0];
	call.rdx = (unsigned long long)protection;
	if (ptrace(PTRACE_SETREGS, w->pid, NULL, &call) != 0 || step(w->pid) != 0 ||
	    ptrace(PTRACE_GETREGS, w->pid, NULL, &after) != 0 ||
	    ptrace(PTRACE_SETREGS, w->pid, NULL, &before) != 0)
		return -ECHILD;
	return (int)after.rax;
}

static int
protect(const struct within *w, int protection)
{
	int result = 0;

	for (uint32_t i = 0; i < w->range_count && result == 0; i++)
		result = in_child(w, w->ranges + 2 * i, protection);
	return result;
}

static int
inside(const struct within *w, uint64_t address)
{
	for (uint32_t i = 0; i < w->range_count; i++)
		if (address >= w->ranges[2 * i] && address < w->ranges[2 * i + 1])
			return 1;
	return 0;
}

static uint64_t
next_instruction(pid_t pid)
{
	return (uint64_t)ptrace(PTRACE_PEEKUSER, pid,
				(void *)offsetof(struct user_regs_struct, rip), NULL);
}

static int
set_text(const struct within *w, long text)
{
	return ptrace(PTRACE_POKETEXT, w->pid, (void *)(uintptr_t)w->end, (void *)text) != 0
		       ? -ECHILD
		       : 0;
}

/* At the breakpoint: as if it had never been there. */
static int
at_end(const struct within *w)
{
	struct user_regs_struct registers;

	if (set_text(w, w->end_text) != 0 ||
	    ptrace(PTRACE_GETREGS, w->pid, NULL, &registers) != 0)
		return -ECHILD;
	registers.rip = w->end;
	return ptrace(PTRACE_SETREGS, w->pid, NULL, &registers) != 0 ? -ECHILD : 1;
}

/* It has been outside for too long: stop it, put all back, and let it go. */
static int
give_up(const struct within *w)
{
	int signal_number;

	if (kill(w->pid, SIGSTOP) != 0)
		return -ECHILD;
	while ((signal_number = stop_signal(w->pid)) != SIGSTOP)
		if (signal_number < 0 || resume(w->pid, PTRACE_CONT, signal_number) != 0)
			return -ECHILD;
	if (set_text(w, w->end_text) != 0 || protect(w, PROT_READ | PROT_EXEC) != 0 ||
	    ptrace(PTRACE_DETACH, w->pid, NULL, NULL) != 0)
		return -ECHILD;
	return -ETIMEDOUT;
}

/* Step through the libraries. 0: held before instruction `count`; 1: at `end`; 2: it left them. */
static int
step_inside(const struct within *w, uint32_t count, uint32_t *done)
{
	uint64_t at = next_instruction(w->pid);

	for (; inside(w, at); at = next_instruction(w->pid)) {
		if (at == w->end)
			return at_end(w);
		if (*done == count)
			return set_text(w, w->end_text);
		(*done)++;
		if (step(w->pid) != 0)
			return -ECHILD;
	}
	return 2;
}

int
ipk_trace_within(const struct ipk_trace *trace, const uint64_t *ranges, uint32_t range_count,
		 uint32_t count, uint64_t end, int64_t patience_ns, uint32_t *done)
{
	struct within w = {trace->pid, ranges, range_count, end, 0, find_syscall()};
	int signal_number = 0;
	int result;

	*done = 0;
	if (!w.syscall_at)
		return -ENOSYS;
	errno = 0;
	w.end_text = ptrace(PTRACE_PEEKTEXT, w.pid, (void *)(uintptr_t)end, NULL);
	if (errno || set_text(&w, (w.end_text & ~0xffL) | BREAKPOINT) != 0)
		return -ECHILD;
	result = step_inside(&w, count, done); /* it may be inside as it is */
	while (result == 2) {
		if (protect(&w, PROT_READ) != 0)
			return -ECHILD;
		for (;;) {
			uint64_t at;

			if (resume(w.pid, PTRACE_CONT, signal_number) != 0)
				return -ECHILD;
			signal_number = stop_signal_soon(w.pid, patience_ns);
			if (signal_number == -ETIMEDOUT)
				return give_up(&w);
			if (signal_number < 0)
				return signal_number;
			at = next_instruction(w.pid);
			if ((signal_number == SIGSEGV && inside(&w, at)) ||
			    (signal_number == SIGTRAP && at == end + 1))
				break;
		}
		if (protect(&w, PROT_READ | PROT_EXEC) != 0)
			return -ECHILD;
		result = signal_number == SIGTRAP ? at_end(&w) : step_inside(&w, count, done);
		signal_number = 0;
	}
	return result;
}

#else

int
ipk_trace_within(const struct ipk_trace *trace, const uint64_t *ranges, uint32_t range_count,
		 uint32_t count, uint64_t end, int64_t patience_ns, uint32_t *done)
{
	(void)trace;
	(void)ranges;
	(void)range_count;
	(void)count;
	(void)end;
	(void)patience_ns;
	*done = 0;
	return -ENOSYS;
}

#endif

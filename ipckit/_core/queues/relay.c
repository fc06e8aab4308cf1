/*
 * queues/relay.c - a thread that waits at a System V queue for somebody who waits at descriptors.
 *
 * Owns      struct ipk_relay (the caller's memory) from start to close, one thread with a stack
 *           of 64 KiB, and the handler of IPK_SIGNAL_RELAY.
 * Stands on libc, pthread, futex(2), msgrcv(2).
 * State     none outside the struct.
 *
 * The wait is msgrcv() for at most 0 bytes without MSG_NOERROR: it sleeps while no message fits,
 * and a message with a body then ends it with E2BIG and stays where it is. So the thread holds
 * nothing when the process is killed, and all waiters of all processes wake for one message.
 *
 *            arm              thread            seen, or a signal
 *   RESTING ------> ARMED -----------> WAITING ------------------> RESTING
 *      ^              |                   | disarm                    ^
 *      +--------------+ disarm            +------> LEAVING -----------+
 *   any of them -- close --> CLOSING -- thread --> CLOSED
 *
 * Invariants
 *   W1  the thread is in msgrcv() only while the state is WAITING, LEAVING or CLOSING.
 *   W2  `seen` and `empty_type` are written by the thread before the state leaves WAITING,
 *       LEAVING or CLOSING, and by the owner only when it is RESTING: never at the same time.
 *   W3  the eventfd is written after RESTING is, so a reader that collects and arms again misses nothing.
 *       It may find the descriptor readable once more with nothing to collect.
 *   W4  nothing seen is overwritten: arm() does nothing while it waits to be collected.
 *
 * Signals   all are blocked in the thread but IPK_SIGNAL_RELAY, which the owner sends every millisecond
 *           until the thread has left msgrcv(): one that comes just before the call is not lost.
 * Fork      a child has the struct and no thread; `maker` tells, and every call refuses.
 * Blocks    disarm() and close() until the thread has answered.  Errors  -errno.
 */
#include "queues/relay.h"
#include "process/signals.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <signal.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum state { RESTING, ARMED, WAITING, LEAVING, CLOSING, CLOSED };

static uint32_t
load(const uint32_t *word)
{
	return __atomic_load_n(word, __ATOMIC_ACQUIRE);
}

/* Step from one state to another, if it is that one. */
static int
step(struct ipk_relay *relay, uint32_t from, uint32_t to)
{
	return __atomic_compare_exchange_n(&relay->state, &from, to, 0, __ATOMIC_ACQ_REL,
					   __ATOMIC_ACQUIRE);
}

static void
wait_while(uint32_t *word, uint32_t value, const struct timespec *limit)
{
	/* Any result will do: each caller looks at the word again. */
	(void)syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, value, limit, NULL, 0);
}

static void
wake(uint32_t *word)
{
	(void)syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
}

static void
on_kick(int signum)
{
	(void)signum; /* ends msgrcv() with EINTR; the state says why */
}

/* Wait at the queue once. Returns whether something was seen. */
static int
look(struct ipk_relay *relay)
{
	struct {
		long type;
		char body[1];
	} message;
	uint32_t seen = IPK_RELAY_MESSAGE;
	ssize_t got = msgrcv(relay->id, &message, 0, relay->type, relay->flags);

	if (got < 0 && errno == EINTR)
		return 0;
	if (got >= 0) {
		relay->empty_type = message.type;
		seen = IPK_RELAY_EMPTY;
	} else if (errno != E2BIG) {
		seen = IPK_RELAY_GONE;
	}
	__atomic_store_n(&relay->seen, seen, __ATOMIC_RELEASE); /* W2 */
	return 1;
}

/* Back to rest after a wait, unless the owner closes. */
static void
rest(struct ipk_relay *relay)
{
	if (!step(relay, WAITING, RESTING) && step(relay, LEAVING, RESTING))
		wake(&relay->state);
}

static void *
run(void *argument)
{
	struct ipk_relay *relay = argument;
	uint32_t state;

	while ((state = load(&relay->state)) != CLOSING) {
		if (state == RESTING) {
			wait_while(&relay->state, RESTING, NULL);
		} else if (state == LEAVING) {
			rest(relay);
		} else if (state == WAITING || step(relay, ARMED, WAITING)) {
			if (look(relay)) {
				const uint64_t one = 1;

				rest(relay);
				/* W3. Full after 2^64-2 writes that nobody read: no. */
				while (write(relay->eventfd, &one, sizeof one) < 0 && errno == EINTR)
					;
			}
		}
	}
	__atomic_store_n(&relay->state, (uint32_t)CLOSED, __ATOMIC_RELEASE);
	wake(&relay->state);
	return NULL;
}

/* Signal the thread until the state is no longer `state`. */
static void
kick_while(struct ipk_relay *relay, uint32_t state)
{
	static const struct timespec pause = { 0, 1000000 };

	while (load(&relay->state) == state) {
		(void)pthread_kill(relay->thread, IPK_SIGNAL_RELAY); /* not joined, so it exists */
		wait_while(&relay->state, state, &pause);
	}
}

static int
start_thread(struct ipk_relay *relay)
{
	pthread_attr_t attributes;
	sigset_t all, before;
	size_t stack = 64 * 1024;
	long least = sysconf(_SC_THREAD_STACK_MIN);
	int code;

	if (least > 0 && (size_t)least > stack)
		stack = (size_t)least;
	code = pthread_attr_init(&attributes);
	if (code != 0)
		return -code;
	code = pthread_attr_setstacksize(&attributes, stack);
	if (code == 0) {
		(void)sigfillset(&all);
		(void)sigdelset(&all, IPK_SIGNAL_RELAY);
		(void)pthread_sigmask(SIG_SETMASK, &all, &before); /* the thread inherits it */
		code = pthread_create(&relay->thread, &attributes, run, relay);
		(void)pthread_sigmask(SIG_SETMASK, &before, NULL);
	}
	(void)pthread_attr_destroy(&attributes);
	return -code;
}

int
ipk_relay_start(struct ipk_relay *relay, int id, long type, int flags, int eventfd)
{
	struct sigaction action;

	memset(&action, 0, sizeof action);
	action.sa_handler = on_kick;
	if (sigaction(IPK_SIGNAL_RELAY, &action, NULL) != 0)
		return -errno;
	memset(relay, 0, sizeof *relay);
	relay->maker = getpid();
	relay->id = id;
	relay->type = type;
	relay->flags = flags & MSG_EXCEPT;
	relay->eventfd = eventfd;
	return start_thread(relay);
}

int
ipk_relay_arm(struct ipk_relay *relay)
{
	if (relay->maker != getpid())
		return -ECHILD;
	if (load(&relay->state) != RESTING || load(&relay->seen) != IPK_RELAY_NOTHING) /* W4 */
		return 0;
	(void)step(relay, RESTING, ARMED);
	wake(&relay->state);
	return 0;
}

int
ipk_relay_disarm(struct ipk_relay *relay)
{
	if (relay->maker != getpid())
		return -ECHILD;
	if (!step(relay, ARMED, RESTING) && step(relay, WAITING, LEAVING))
		kick_while(relay, LEAVING);
	return 0;
}

int
ipk_relay_collect(struct ipk_relay *relay, int64_t *type)
{
	uint64_t count;
	uint32_t seen;

	if (relay->maker != getpid())
		return -ECHILD;
	(void)!read(relay->eventfd, &count, sizeof count);
	if (load(&relay->state) != RESTING) /* W2: it is still at it */
		return IPK_RELAY_NOTHING;
	seen = relay->seen;
	*type = seen == IPK_RELAY_EMPTY ? relay->empty_type : 0;
	relay->seen = IPK_RELAY_NOTHING;
	return (int)seen;
}

int
ipk_relay_close(struct ipk_relay *relay)
{
	struct {
		long type;
		char body[1];
	} message;

	if (relay->maker != getpid())
		return -ECHILD;
	__atomic_store_n(&relay->state, (uint32_t)CLOSING, __ATOMIC_RELEASE);
	wake(&relay->state);
	kick_while(relay, CLOSING);
	(void)pthread_join(relay->thread, NULL);
	if (relay->seen == IPK_RELAY_EMPTY) {
		message.type = (long)relay->empty_type;
		(void)msgsnd(relay->id, &message, 0, IPC_NOWAIT); /* gone or full: nothing to do */
	}
	return 0;
}

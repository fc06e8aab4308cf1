/*
 * test_msgq.c - queue calls with time limits, signals and removal.
 */
#include "../check.h"
#include "queues/sysv.h"
#include "process/signals.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <time.h>
#include <unistd.h>

#define MS INT64_C(1000000)

static int queue = -1;

enum { ROOM = 8192 };

static struct ipk_message *message;
static atomic_int over;

static void
clean_up(void)
{
	if (queue >= 0)
		(void)msgctl(queue, IPC_RMID, NULL);
}

static int64_t
now_ns(void)
{
	struct timespec time;

	(void)clock_gettime(CLOCK_MONOTONIC, &time);
	return (int64_t)time.tv_sec * 1000000000 + time.tv_nsec;
}

static void
on_signal(int number)
{
	(void)number;
}

static void *
remove_soon(void *unused)
{
	(void)unused;
	(void)usleep(30000);
	(void)ipk_msgq_remove(queue);
	return NULL;
}

/* Again and again: a signal that comes before the wait does not end it. */
static void *
signal_until_over(void *thread)
{
	while (!atomic_load(&over)) {
		(void)usleep(10000);
		(void)pthread_kill(*(pthread_t *)thread, SIGUSR1);
	}
	return NULL;
}

static int64_t
take(long type, int flags, int64_t timeout_ns)
{
	return ipk_msgq_receive(queue, message, ROOM, type, flags, timeout_ns);
}

static int64_t
put(size_t size, int64_t timeout_ns)
{
	message->type = 1;
	return ipk_msgq_send(queue, message, size, timeout_ns);
}

/* Do `call` while a helper runs; it must end with `code`. */
static void
interrupted(void *(*helper)(void *), int64_t (*call)(int64_t), int64_t timeout_ns, int64_t code)
{
	pthread_t self = pthread_self(), thread;

	atomic_store(&over, 0);
	CHECK(pthread_create(&thread, NULL, helper, &self) == 0);
	CHECK(call(timeout_ns) == code);
	atomic_store(&over, 1);
	CHECK(pthread_join(thread, NULL) == 0);
}

static int64_t
wait_to_take(int64_t timeout_ns)
{
	return take(0, 0, timeout_ns);
}

static int64_t
wait_to_put(int64_t timeout_ns)
{
	return put(4096, timeout_ns);
}

static void
fill(void)
{
	while (put(4096, 0) == 0)
		;
	while (put(1, 0) == 0) /* no room for the smallest either */
		;
	CHECK(put(1, 0) == -EAGAIN);
}

static void
empty(void)
{
	while (take(0, 0, 0) >= 0)
		;
	CHECK(take(0, 0, 0) == -ENOMSG);
}

/* A time limit holds whatever the thread blocks, and leaves the mask as it was. */
static void
blocked_signals(void)
{
	sigset_t all, before, after;

	(void)sigfillset(&all);
	CHECK(pthread_sigmask(SIG_SETMASK, &all, &before) == 0);
	for (int turn = 0; turn < 20; turn++)
		CHECK(take(0, 0, 2 * MS) == -ENOMSG);
	CHECK(pthread_sigmask(SIG_SETMASK, &before, &after) == 0);
	CHECK(sigismember(&after, IPK_SIGNAL_QUEUE_WAIT) == 1 && sigismember(&after, SIGUSR1) == 1);
	CHECK(take(0, 0, 2 * MS) == -ENOMSG);
	CHECK(pthread_sigmask(SIG_SETMASK, NULL, &after) == 0);
	CHECK(sigismember(&after, IPK_SIGNAL_QUEUE_WAIT) == sigismember(&before, SIGRTMAX - 2));
}

static void
what_is_refused(void)
{
	struct ipk_msgq_stat stat;
	int64_t most = ipk_msgq_max_size();
	struct ipk_message *large;

	CHECK(most >= 16);
	large = calloc(1, sizeof *large + (size_t)most + 1);
	CHECK(large != NULL);
	large->type = 1;
	CHECK(ipk_msgq_send(queue, large, (size_t)most + 1, 0) == -EMSGSIZE);
	CHECK(ipk_msgq_send(queue, large, (size_t)most + 1, 5 * MS) == -EMSGSIZE);
	CHECK(ipk_msgq_send_small(queue, 1, large->body, IPK_MSGQ_SMALL + 1) == -EMSGSIZE);
	free(large);
	CHECK(ipk_msgq_stat(queue, &stat) == 0 && stat.messages == 0);
	CHECK(ipk_msgq_send_small(-1, 1, "x", 1) == -EBADF);
	CHECK(ipk_msgq_send(-1, message, 1, 0) == -EBADF);
	CHECK(ipk_msgq_receive(-1, message, ROOM, 0, 0, MS) == -EBADF);
	CHECK(ipk_msgq_copy(-1, message, ROOM, 0) == -EBADF);
	CHECK(ipk_msgq_stat(-1, &stat) == -EBADF);
	CHECK(ipk_msgq_set(-1, 0600, -1, -1, -1) == -EBADF);
	CHECK(ipk_msgq_remove(-1) == -EBADF);
	CHECK(ipk_msgq_find(IPC_PRIVATE) == -ENOENT);
}

static void
copies_and_settings(void)
{
	struct ipk_msgq_stat stat;
	int64_t copied;

	CHECK(ipk_msgq_send_small(queue, 5, "five", 4) == 0);
	CHECK(ipk_msgq_send_small(queue, 6, "sixth", 5) == 0);
	copied = ipk_msgq_copy(queue, message, ROOM, 1);
	if (copied != -ENOSYS) {
		CHECK(copied == 5 && message->type == 6 && memcmp(message->body, "sixth", 5) == 0);
		CHECK(ipk_msgq_copy(queue, message, 4, 1) == -E2BIG);
		CHECK(ipk_msgq_copy(queue, message, ROOM, 2) == -ENOMSG);
	}
	CHECK(ipk_msgq_stat(queue, &stat) == 0 && stat.messages == 2 && stat.bytes == 9);
	CHECK(stat.last_sender_pid == getpid() && stat.sent_at > 0);
	CHECK(ipk_msgq_set(queue, 0640, -1, -1, 100) == 0);
	CHECK(ipk_msgq_stat(queue, &stat) == 0 && stat.mode == 0640 && stat.max_bytes == 100);
	CHECK(ipk_msgq_set(queue, -1, -1, -1, 16384) == 0);
	CHECK(ipk_msgq_stat(queue, &stat) == 0 && stat.mode == 0640 && stat.max_bytes == 16384);
	empty();
}

int
main(void)
{
	struct sigaction action;
	struct ipk_msgq_stat stat;
	int64_t began;

	memset(&action, 0, sizeof action);
	action.sa_handler = on_signal;
	CHECK(sigaction(SIGUSR1, &action, NULL) == 0);

	message = malloc(sizeof *message + ROOM);
	CHECK(message != NULL);
	memset(message, 0, sizeof *message + ROOM);
	queue = ipk_msgq_make(IPC_PRIVATE, 0600);
	CHECK(queue >= 0);

	/* What is sent comes, by type, by exclusion, cut if wanted. */
	CHECK(ipk_msgq_send_small(queue, 3, "three", 5) == 0);
	CHECK(ipk_msgq_send_small(queue, 4, "four", 4) == 0);
	CHECK(take(9, 0, 0) == -ENOMSG);
	CHECK(take(3, MSG_EXCEPT, 0) == 4 && message->type == 4);
	CHECK(ipk_msgq_receive(queue, message, 2, 0, 0, 0) == -E2BIG);
	CHECK(ipk_msgq_receive(queue, message, 2, 0, MSG_NOERROR, 0) == 2);
	CHECK(memcmp(message->body, "th", 2) == 0);

	/* A wait ends when its time is over, not before. */
	began = now_ns();
	CHECK(take(0, 0, 50 * MS) == -ENOMSG);
	CHECK(now_ns() - began >= 50 * MS && now_ns() - began < 5000 * MS);

	CHECK(ipk_msgq_send_small(queue, 3, "three", 5) == 0);
	CHECK(take(3, MSG_EXCEPT, 20 * MS) == -ENOMSG); /* the only one is the one excepted */
	CHECK(take(0, 0, 20 * MS) == 5);

	what_is_refused();
	copies_and_settings();
	blocked_signals();

	/* Full: as long a wait, for sending. */
	fill();
	began = now_ns();
	CHECK(put(4096, 50 * MS) == -EAGAIN);
	CHECK(now_ns() - began >= 50 * MS && now_ns() - began < 5000 * MS);
	CHECK(ipk_msgq_stat(queue, &stat) == 0 && stat.messages > 0);

	/* A signal gives the call back to its caller, with or without a limit; nothing was sent. */
	interrupted(signal_until_over, wait_to_put, -1, -EINTR);
	interrupted(signal_until_over, wait_to_put, 60000 * MS, -EINTR);
	began = stat.messages;
	CHECK(ipk_msgq_stat(queue, &stat) == 0 && stat.messages == began);
	empty();
	interrupted(signal_until_over, wait_to_take, -1, -EINTR);
	interrupted(signal_until_over, wait_to_take, 60000 * MS, -EINTR);

	/* Removal is EIDRM in a wait, of either kind, and after it. */
	interrupted(remove_soon, wait_to_take, -1, -EIDRM);
	CHECK(take(0, 0, 0) == -EIDRM && take(0, 0, MS) == -EIDRM);
	CHECK(put(1, 0) == -EIDRM && ipk_msgq_send_small(queue, 1, "x", 1) == -EIDRM);
	CHECK(ipk_msgq_stat(queue, &stat) == -EIDRM && ipk_msgq_remove(queue) == -EIDRM);
	CHECK(ipk_msgq_set(queue, 0600, -1, -1, -1) == -EIDRM);
	queue = ipk_msgq_make(IPC_PRIVATE, 0600);
	CHECK(queue >= 0);
	interrupted(remove_soon, wait_to_take, 60000 * MS, -EIDRM);
	queue = ipk_msgq_make(IPC_PRIVATE, 0600);
	CHECK(queue >= 0);
	fill();
	interrupted(remove_soon, wait_to_put, 60000 * MS, -EIDRM);
	queue = -1;
	free(message);
	return 0;
}

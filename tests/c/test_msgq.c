/*
 * test_msgq.c - queue calls with time limits, signals and removal.
 */
#include "check.h"
#include "ipk_msgq.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <time.h>
#include <unistd.h>

#define MS INT64_C(1000000)

static int queue = -1;

enum { ROOM = 8192 };

static struct ipk_message *message;

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

static void *
signal_soon(void *thread)
{
	(void)usleep(30000);
	(void)pthread_kill(*(pthread_t *)thread, SIGUSR1);
	return NULL;
}

static int64_t
take(long type, int flags, int64_t timeout_ns)
{
	return ipk_msgq_receive(queue, message, ROOM, type, flags, timeout_ns);
}

int
main(void)
{
	struct sigaction action;
	struct ipk_msgq_stat stat;
	pthread_t self = pthread_self(), helper;
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

	/* Full: as long a wait, for sending. */
	message->type = 1;
	while (ipk_msgq_send(queue, message, 4096, 0) == 0)
		;
	began = now_ns();
	CHECK(ipk_msgq_send(queue, message, 4096, 50 * MS) == -EAGAIN);
	CHECK(now_ns() - began >= 50 * MS);
	CHECK(ipk_msgq_stat(queue, &stat) == 0 && stat.messages > 0 && stat.mode == 0600);
	while (take(0, 0, 0) >= 0)
		;

	/* A signal gives the call back to its caller, with or without a limit. */
	CHECK(pthread_create(&helper, NULL, signal_soon, &self) == 0);
	CHECK(take(0, 0, -1) == -EINTR);
	CHECK(pthread_join(helper, NULL) == 0);
	CHECK(pthread_create(&helper, NULL, signal_soon, &self) == 0);
	CHECK(take(0, 0, 60000 * MS) == -EINTR);
	CHECK(pthread_join(helper, NULL) == 0);

	/* Removal is EIDRM in a wait and after it. */
	CHECK(pthread_create(&helper, NULL, remove_soon, NULL) == 0);
	CHECK(take(0, 0, -1) == -EIDRM);
	CHECK(pthread_join(helper, NULL) == 0);
	CHECK(take(0, 0, 0) == -EIDRM);
	CHECK(ipk_msgq_send_small(queue, 1, "x", 1) == -EIDRM);
	CHECK(ipk_msgq_stat(queue, &stat) == -EIDRM);
	queue = -1;
	free(message);
	return 0;
}

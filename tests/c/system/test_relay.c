/*
 * test_relay.c - a relay under a storm of messages, armed, disarmed and closed at random.
 *
 * One thread sends messages of three types, half of them empty. The main thread starts relays for
 * type 2, does a few random things with each and takes messages itself. At the end every message
 * that was sent must have been taken, by it or by a relay (only empty ones of type 2): W1..W4 of
 * queues/relay.c. Runs for the seconds of argv[1]: 2, and 60 under IPCKIT_SOAK.
 */
#include "queues/relay.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <time.h>
#include <unistd.h>

struct message {
	long type;
	char body[8];
};

static int queue;
static int stop;
static long sent; /* read after the join */

static uint32_t
next(uint32_t *seed)
{
	*seed = *seed * 1103515245u + 12345u;
	return *seed >> 16;
}

static void *
send_all(void *unused)
{
	struct message message = { 1, "" };
	uint32_t seed = 1;

	(void)unused;
	while (!__atomic_load_n(&stop, __ATOMIC_ACQUIRE)) {
		message.type = 1 + next(&seed) % 3;
		if (msgsnd(queue, &message, next(&seed) % 2 ? 4 : 0, IPC_NOWAIT) == 0)
			sent++;
		if (next(&seed) % 4 == 0)
			(void)usleep(next(&seed) % 64);
	}
	return NULL;
}

static void
must(int held, const char *what)
{
	if (!held) {
		fprintf(stderr, "test_relay: %s\n", what);
		(void)msgctl(queue, IPC_RMID, NULL);
		exit(1);
	}
}

/* Start a relay, do random things with it, close it. Returns how many messages were taken. */
static long
one_life(uint32_t *seed, int fd)
{
	struct ipk_relay relay;
	struct pollfd ready = { fd, POLLIN, 0 };
	struct message message;
	uint64_t count;
	int64_t type = 0;
	long got = 0;

	must(ipk_relay_start(&relay, queue, 2, 0, fd) == 0, "start failed");
	for (uint32_t turns = next(seed) % 50; turns > 0; turns--) {
		int seen;

		must(ipk_relay_arm(&relay) == 0, "arm failed");
		switch (next(seed) % 3) {
		case 0:
			must(ipk_relay_disarm(&relay) == 0, "disarm failed");
			break;
		case 1:
			must(poll(&ready, 1, 5000) == 1, "a wake-up was lost");
			break;
		default:
			break;
		}
		seen = ipk_relay_collect(&relay, &type);
		must(seen != IPK_RELAY_GONE, "the queue is said to be gone");
		if (seen == IPK_RELAY_EMPTY) {
			must(type == 2, "a message of a wrong type was taken");
			got++;
		}
		for (int k = 0; k < 4; k++)
			got += msgrcv(queue, &message, sizeof message.body, 0, IPC_NOWAIT) >= 0;
	}
	must(ipk_relay_close(&relay) == 0, "close failed");
	(void)!read(fd, &count, sizeof count);
	return got;
}

int
main(int argc, char **argv)
{
	struct message message;
	int seconds = argc > 1 ? atoi(argv[1]) : getenv("IPCKIT_SOAK") ? 60 : 2;
	time_t end = time(NULL) + seconds;
	uint32_t seed = (uint32_t)getpid();
	pthread_t sender;
	long got = 0, lives = 0;
	int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);

	queue = msgget(IPC_PRIVATE, 0600);
	must(queue >= 0 && fd >= 0, "no queue or no eventfd");
	must(pthread_create(&sender, NULL, send_all, NULL) == 0, "no thread");
	for (; time(NULL) < end; lives++)
		got += one_life(&seed, fd);
	__atomic_store_n(&stop, 1, __ATOMIC_RELEASE);
	(void)pthread_join(sender, NULL);
	while (msgrcv(queue, &message, sizeof message.body, 0, IPC_NOWAIT) >= 0)
		got++;
	printf("test_relay: %ld relays, %ld messages sent, %ld taken\n", lives, sent, got);
	must(sent == got, "messages were lost or doubled");
	(void)msgctl(queue, IPC_RMID, NULL);
	(void)close(fd);
	return 0;
}

/*
 * c/loadgen.c - a closed loop of TCP requests, as fast as the server answers.
 *
 * usage: loadgen PORT CONNECTIONS BYTES SECONDS DEPTH     DEPTH requests in flight on each
 *        loadgen PORT 0 BYTES SECONDS 1                   connect, one request, close; one by one
 *
 * A request ends in CR LF, and as many bytes are wanted back. Prints one line: requests per second,
 * then the median and the 99th percentile of a request's (or batch's) time in microseconds.
 */
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define SAMPLES 4000000

struct client {
	int fd;
	size_t got;
	uint64_t asked_at;
};

static uint32_t samples[SAMPLES];
static size_t taken;

static void
die(const char *what)
{
	perror(what);
	exit(1);
}

static uint64_t
now_ns(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000U + (uint64_t)now.tv_nsec;
}

static int
ascending(const void *left, const void *right)
{
	uint32_t a = *(const uint32_t *)left;
	uint32_t b = *(const uint32_t *)right;

	return (a > b) - (a < b);
}

static void
answered(uint64_t asked_at)
{
	if (taken < SAMPLES)
		samples[taken++] = (uint32_t)((now_ns() - asked_at) / 10);
}

static int
connected(int port)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	int one = 1;

	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address) != 0)
		die("connect");
	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
	return fd;
}

static void
ask(struct client *client, const char *request, size_t size)
{
	client->got = 0;
	client->asked_at = now_ns();
	if (write(client->fd, request, size) != (ssize_t)size)
		die("write");
}

static size_t
heard(const struct client *client)
{
	static char room[1 << 20];
	ssize_t got = read(client->fd, room, sizeof room);

	if (got <= 0)
		die("read");
	return (size_t)got;
}

static uint64_t
many(int port, int connections, const char *request, size_t size, uint64_t end)
{
	struct client *clients = calloc((size_t)connections, sizeof *clients);
	struct epoll_event events[256];
	int poll = epoll_create1(0);
	uint64_t done = 0;

	if (!clients || poll < 0)
		die("set-up");
	for (int i = 0; i < connections; i++) {
		struct epoll_event event = {.events = EPOLLIN, .data.ptr = &clients[i]};

		clients[i].fd = connected(port);
		if (epoll_ctl(poll, EPOLL_CTL_ADD, clients[i].fd, &event) != 0)
			die("epoll_ctl");
		ask(&clients[i], request, size);
	}
	while (now_ns() < end) {
		int ready = epoll_wait(poll, events, 256, 1000);

		for (int i = 0; i < ready; i++) {
			struct client *client = events[i].data.ptr;

			client->got += heard(client);
			if (client->got < size)
				continue;
			answered(client->asked_at);
			done++;
			ask(client, request, size);
		}
	}
	return done;
}

static uint64_t
one_by_one(int port, const char *request, size_t size, uint64_t end)
{
	struct linger at_once = {.l_onoff = 1, .l_linger = 0}; /* no port stays in TIME_WAIT */
	uint64_t done = 0;

	while (now_ns() < end) {
		struct client client = {.asked_at = now_ns()};
		uint64_t began = client.asked_at;

		client.fd = connected(port);
		ask(&client, request, size);
		while (client.got < size)
			client.got += heard(&client);
		(void)setsockopt(client.fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
		(void)close(client.fd);
		answered(began);
		done++;
	}
	return done;
}

int
main(int count, char **arguments)
{
	size_t bytes, size, depth;
	uint64_t began, done;
	double seconds;
	char *request;
	int port, connections;

	if (count != 6) {
		fputs("usage: loadgen PORT CONNECTIONS BYTES SECONDS DEPTH\n", stderr);
		return 2;
	}
	port = atoi(arguments[1]);
	connections = atoi(arguments[2]);
	bytes = (size_t)atol(arguments[3]);
	seconds = atof(arguments[4]);
	depth = (size_t)atol(arguments[5]);
	size = bytes * depth;
	request = malloc(size);
	if (!request || bytes < 2)
		die("request");
	memset(request, 'x', size);
	for (size_t i = 1; i <= depth; i++)
		memcpy(request + i * bytes - 2, "\r\n", 2);
	began = now_ns();
	done = connections ? many(port, connections, request, size, began + (uint64_t)(seconds * 1e9))
			   : one_by_one(port, request, size, began + (uint64_t)(seconds * 1e9));
	seconds = (double)(now_ns() - began) / 1e9;
	qsort(samples, taken, sizeof *samples, ascending);
	printf("%.0f %.2f %.2f\n", (double)(done * depth) / seconds,
	       taken ? samples[taken / 2] / 100. : 0, taken ? samples[taken * 99 / 100] / 100. : 0);
	return 0;
}

/* c/queue_loop.c - msgsnd and msgrcv of 100 bytes, so many times: prints the ns of a pair. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <time.h>

static int64_t
now_ns(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

int
main(int count, char **arguments)
{
	struct {
		long type;
		char body[8192];
	} message = {.type = 1};
	long calls = count == 2 ? atol(arguments[1]) : 0;
	int queue = msgget(IPC_PRIVATE, IPC_CREAT | 0600);
	int64_t began;

	if (calls < 1 || queue < 0)
		return 2;
	memset(message.body, 'x', 100);
	began = now_ns();
	for (long i = 0; i < calls; i++)
		if (msgsnd(queue, &message, 100, IPC_NOWAIT) != 0 ||
		    msgrcv(queue, &message, sizeof message.body, 0, IPC_NOWAIT) != 100)
			return 1;
	printf("%f\n", (double)(now_ns() - began) / (double)calls);
	return msgctl(queue, IPC_RMID, NULL);
}

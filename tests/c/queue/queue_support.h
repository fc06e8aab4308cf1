/*
 * queue_support.h - one shared queue in a memfd, for the C tests.
 */
#ifndef QUEUE_SUPPORT_H
#define QUEUE_SUPPORT_H

#include "../check.h"
#include "base/clock.h"
#include "shared_queue/internal.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
#define SANITIZED 1
#else
#define SANITIZED 0
#endif

static struct ipk_queue queue;
static struct ipk_registry registry;

static void
clean_up(void)
{
}

static __attribute__((unused)) void
queue_make(const struct ipk_queue_shape *shape)
{
	int64_t bytes = ipk_queue_bytes(shape);
	int fd = memfd_create("test", MFD_CLOEXEC);
	struct stat seen;
	const char *why;
	void *base;

	CHECK(bytes > 0 && fd >= 0 && ftruncate(fd, bytes) == 0 && fstat(fd, &seen) == 0);
	base = mmap(NULL, (size_t)bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	CHECK(base != MAP_FAILED);
	CHECK(ipk_queue_format(base, (uint64_t)bytes, shape) == 0);
	CHECK(ipk_queue_attach(&queue, base, (uint64_t)bytes, &why) == 0);
	registry = (struct ipk_registry){
		.fd = fd, .dev = (uint64_t)seen.st_dev, .ino = (uint64_t)seen.st_ino};
}

/* `call` until it is not obstructed. */
#define REPEAT(code, call)                                                                         \
	do {                                                                                       \
		struct ipk_obstacle obstacle = {0};                                                \
		while (((code) = (call)) == -EAGAIN)                                               \
			(void)ipk_wait(queue.slots, IPK_QUEUE_SLOTS, &obstacle, 0);                \
	} while (0)

#endif

/*
 * python/shared_queue/watch.c - a descriptor for an event loop: a thread of C that waits at the queue,
 * and an eventfd that it writes.
 *
 * Owns      struct queue_watcher: from the first queue_watch() to queue_unwatch().
 * Stands on shared_queue/, python/segments, pthread, eventfd(2), futex(2).  State  none.
 * Blocks    queue_unwatch, until the thread has ended; it is never in a call that lasts.
 *
 * `wanted` is 0 while the thread rests. Else it is armed, for a message, or for room of wanted - 1 bytes.
 *
 * Invariants
 *   O1  A call that finds nothing first reads the eventfd and then arms. The thread looks after it was
 *       armed, and rests before it writes. So the descriptor is readable whenever there may be
 *       something and the last call of this process has not found nothing since. It may be readable once
 *       more.
 *   O2  The thread takes nothing. When there is something, it wakes the next that waits for it, of any
 *       process, so a program that does not read its descriptor holds up nobody.
 *   O3  A child has no such thread. The number of forks tells, and the child makes its own.
 *   O4  Of several messages that wait for room the smallest counts. One that is smaller than what the
 *       thread is armed for makes it look again.
 *   O5  A watcher is freed when it is in no handle and no thread is between raising handle->watching and
 *       lowering it.
 */
#include "base/atomics.h"
#include "python/shared_queue/door.h"

#include <errno.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { STACK = 64 * 1024, FIRST_PAUSE_NS = 1000000, LONGEST_PAUSE_NS = 500000000 };

struct queue_watcher {
	pthread_t thread;
	struct segment *segment;
	struct ipk_party party; /* of the thread, when it has joined */
	uint32_t joined;	/* atomic */
	enum ipk_queue_event event;
	int eventfd;
	uint32_t forks;
	uint32_t kicks;	 /* atomic; the thread sleeps on it while it rests */
	uint32_t closed; /* atomic */
	uint64_t wanted; /* atomic */
};

static void
tell(const struct queue_watcher *watcher)
{
	const uint64_t one = 1;

	while (write(watcher->eventfd, &one, sizeof(one)) < 0 && errno == EINTR)
		;
}

/* Have the thread look again: where it rests, and if it is armed, where it waits at the queue. */
static void
kick(struct queue_watcher *watcher, int armed)
{
	(void)FETCH_ADD(&watcher->kicks, 1);
	(void)syscall(SYS_futex, &watcher->kicks, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
	if (armed && LOAD_SEQ_CST(&watcher->joined))
		ipk_queue_interrupt(&watcher->segment->queue, &watcher->party);
}

/* Sleep once, until the event may be there. Whether it seems to be. */
static int
look(struct queue_watcher *watcher, uint64_t size)
{
	struct ipk_queue *queue = &watcher->segment->queue;
	uint64_t ticket = 0;
	int ready;

	ipk_queue_announce(queue, &watcher->party, watcher->event, &ticket);
	ready = ipk_queue_is_ready(queue, watcher->event, size);
	if (ready || LOAD_SEQ_CST(&watcher->closed) || LOAD_SEQ_CST(&watcher->wanted) != size + 1)
		ipk_queue_awake(queue, &watcher->party, watcher->event);
	else
		(void)ipk_queue_sleep(queue, &watcher->party, watcher->event, 0);
	(void)ipk_queue_recover(queue, &watcher->party);
	ready = ipk_queue_is_ready(queue, watcher->event, size);
	if (ready)
		ipk_queue_leave(queue, watcher->event); /* O2 */
	else
		ipk_queue_pass_on(queue, watcher->event, ticket);
	return ready; /* damage, too: the next call raises it */
}

/* Take a slot; pauses when there is none. */
static void
join(struct queue_watcher *watcher, uint32_t kicks, struct timespec *pause)
{
	int code;
	struct ipk_party *party = segment_party_of_c_thread(watcher->segment, &code);

	if (party) {
		watcher->party = *party;
		STORE_SEQ_CST(&watcher->joined, 1);
		return;
	}
	(void)syscall(SYS_futex, &watcher->kicks, FUTEX_WAIT_PRIVATE, kicks, pause, NULL, 0);
	if (pause->tv_nsec < LONGEST_PAUSE_NS)
		pause->tv_nsec *= 2;
}

static void *
run(void *argument)
{
	struct queue_watcher *watcher = argument;
	struct timespec pause = {.tv_nsec = FIRST_PAUSE_NS};

	for (;;) {
		uint32_t kicks = LOAD_SEQ_CST(&watcher->kicks);
		uint64_t wanted = LOAD_SEQ_CST(&watcher->wanted);

		if (LOAD_SEQ_CST(&watcher->closed))
			return NULL;
		if (!watcher->joined)
			join(watcher, kicks, &pause);
		else if (!wanted)
			(void)syscall(SYS_futex, &watcher->kicks, FUTEX_WAIT_PRIVATE, kicks, NULL,
				      NULL, 0);
		else if (look(watcher, wanted - 1) &&
			 COMPARE_EXCHANGE(&watcher->wanted, &wanted, 0)) /* O1 */
			tell(watcher);
	}
}

/* 0 or an errno. */
static int
start(struct queue_watcher *watcher)
{
	pthread_attr_t attributes;
	sigset_t all;
	sigset_t before;
	long least = sysconf(_SC_THREAD_STACK_MIN);
	int code = pthread_attr_init(&attributes);

	if (code)
		return code;
	code = pthread_attr_setstacksize(&attributes, least > STACK ? (size_t)least : STACK);
	if (code == 0) {
		(void)sigfillset(&all);
		(void)pthread_sigmask(SIG_SETMASK, &all, &before); /* the thread inherits it */
		code = pthread_create(&watcher->thread, &attributes, run, watcher);
		(void)pthread_sigmask(SIG_SETMASK, &before, NULL);
	}
	(void)pthread_attr_destroy(&attributes);
	return code;
}

/* NULL: raised. */
static struct queue_watcher *
new_watcher(struct segment *segment, enum ipk_queue_event event)
{
	struct queue_watcher *watcher = calloc(1, sizeof(*watcher));
	int code;

	if (!watcher)
		return (struct queue_watcher *)PyErr_NoMemory();
	watcher->segment = segment;
	watcher->event = event;
	watcher->forks = segment_forks();
	watcher->wanted = 1;
	watcher->eventfd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (watcher->eventfd < 0) {
		(void)segment_raise_errno(-errno, "eventfd", "a descriptor for a shared queue");
		free(watcher);
		return NULL;
	}
	if (!segment_try_keep(segment)) {
		PyErr_SetString(segment_misuse,
				"another thread closed this object during the call; open it again");
		(void)close(watcher->eventfd);
		free(watcher);
		return NULL;
	}
	code = start(watcher);
	if (code == 0)
		return watcher;
	(void)close(watcher->eventfd);
	segment_drop(segment);
	free(watcher);
	(void)segment_raise_errno(-code, "pthread_create", "a thread that waits at a shared queue");
	return NULL;
}

/* -- handle->watching: the number of forks, and of threads of this process -- */

static uint32_t
users(uint64_t watching)
{
	return watching >> 32 == segment_forks() ? (uint32_t)watching : 0;
}

static void
add_user(struct queue_handle *handle)
{
	uint64_t seen = LOAD_SEQ_CST(&handle->watching);

	while (!COMPARE_EXCHANGE(&handle->watching, &seen,
				 (uint64_t)segment_forks() << 32 | (users(seen) + 1)))
		;
}

static void
remove_user(struct queue_handle *handle)
{
	(void)FETCH_SUB(&handle->watching, 1);
}

/* It is in no handle any more. */
static void
end(struct queue_handle *handle, struct queue_watcher *watcher)
{
	if (watcher->forks == segment_forks()) {
		while (users(LOAD_SEQ_CST(&handle->watching))) /* O5 */
			(void)sched_yield();
		STORE_SEQ_CST(&watcher->closed, 1);
		kick(watcher, 1);
		(void)pthread_join(watcher->thread, NULL);
	} else if (watcher->joined) {
		segment_drop(watcher->segment); /* the parent's thread has a slot, and this process not */
	}
	(void)close(watcher->eventfd);
	segment_drop(watcher->segment);
	free(watcher);
}

/* The living watcher, which stays until handle->watching is lowered; NULL: there is none. */
static struct queue_watcher *
use(struct queue_handle *handle, enum ipk_queue_event event)
{
	struct queue_watcher *watcher;

	add_user(handle);
	watcher = LOAD_SEQ_CST(&handle->watchers[event]);
	if (watcher && watcher->forks == segment_forks())
		return watcher;
	remove_user(handle);
	return NULL;
}

/* Make one, if none lives. 0, -1 raised. */
static int
make(struct queue_handle *handle, enum ipk_queue_event event)
{
	struct queue_watcher **place = &handle->watchers[event];
	struct queue_watcher *before = LOAD_SEQ_CST(place);
	struct queue_watcher *made;
	struct segment *segment = queue_look(handle);

	if (!segment)
		return -1;
	made = new_watcher(segment, event);
	segment_leave();
	if (!made)
		return -1;
	if (COMPARE_EXCHANGE(place, &before, made)) {
		if (before)
			end(handle, before); /* the parent's */
		return 0;
	}
	Py_BEGIN_ALLOW_THREADS
	end(handle, made); /* another thread made one */
	Py_END_ALLOW_THREADS
	return 0;
}

int
queue_watch(struct queue_handle *handle, enum ipk_queue_event event)
{
	for (;;) {
		struct queue_watcher *watcher = use(handle, event);
		int fd;

		if (watcher) {
			fd = watcher->eventfd;
			remove_user(handle);
			return fd;
		}
		if (make(handle, event) < 0)
			return -1;
	}
}

void
queue_watch_again(const struct queue_call *call)
{
	struct queue_watcher *watcher;
	uint64_t wanted;
	uint64_t smaller;
	uint64_t count;

	if (!LOAD_RELAXED(&call->handle->watchers[call->event]))
		return;
	watcher = use(call->handle, call->event);
	if (!watcher)
		return;
	smaller = call->size + 1;
	(void)!read(watcher->eventfd, &count, sizeof(count)); /* O1 */
	wanted = LOAD_SEQ_CST(&watcher->wanted);
	while (!wanted || smaller < wanted) /* O4 */
		if (COMPARE_EXCHANGE(&watcher->wanted, &wanted, smaller)) {
			kick(watcher, wanted != 0);
			break;
		}
	remove_user(call->handle);
}

void
queue_unwatch(struct queue_handle *handle)
{
	for (int event = 0; event < IPK_QUEUE_EVENTS; event++) {
		struct queue_watcher *watcher = EXCHANGE(&handle->watchers[event], NULL);

		if (!watcher)
			continue;
		Py_BEGIN_ALLOW_THREADS
		end(handle, watcher);
		Py_END_ALLOW_THREADS
	}
}

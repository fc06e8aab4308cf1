/*
 * python/shared_queue/watch.c - a descriptor for an event loop: a thread of C that waits at the queue,
 * and an eventfd that it writes.
 *
 * Owns      struct queue_watcher: from the first queue_watch() to queue_unwatch().
 * Stands on shared_queue/, python/segments, pthread, eventfd(2), futex(2).  State  none.
 * Blocks    queue_unwatch, until the thread has ended; it is never in a call that lasts.
 *
 *   RESTING -- queue_watch_again --> ARMED -- the event seems to be there --> RESTING, and a write
 *   any -- queue_unwatch --> CLOSING
 *
 * Invariants
 *   O1  A call that finds nothing first reads the eventfd and then arms. The thread looks after it was
 *       armed, and rests before it writes. So the descriptor is readable whenever there may be
 *       something and the last call of this process has not found nothing since.
 *   O2  The thread takes nothing. It wakes the next that waits for the event, of any process, so a
 *       program that does not read its descriptor holds up nobody.
 *   O3  A child has no such thread. The number of forks tells, and the child makes its own.
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

enum { RESTING, ARMED, CLOSING };
enum { STACK = 64 * 1024, FIRST_PAUSE_NS = 1000000 };

struct queue_watcher {
	pthread_t thread;
	struct segment *segment;
	struct ipk_party *party; /* atomic; of the thread, once it has joined */
	enum ipk_queue_event event;
	int eventfd;
	uint32_t state; /* atomic; the thread sleeps on it while it rests */
	uint32_t forks;
	int users;     /* atomic: threads that are inside queue_watch_again() */
	uint64_t size; /* atomic: of the message that waits for room */
};

static void
tell(const struct queue_watcher *watcher)
{
	const uint64_t one = 1;

	while (write(watcher->eventfd, &one, sizeof(one)) < 0 && errno == EINTR)
		;
}

static int
step(struct queue_watcher *watcher, uint32_t from, uint32_t to)
{
	return COMPARE_EXCHANGE(&watcher->state, &from, to);
}

/* Sleep once, until the event may be there. Whether it seems to be. */
static int
look(struct queue_watcher *watcher, const struct ipk_party *party)
{
	struct ipk_queue *queue = &watcher->segment->queue;
	uint64_t ticket = 0;
	int ready;

	ipk_queue_announce(queue, party, watcher->event, &ticket);
	ready = ipk_queue_is_ready(queue, watcher->event, LOAD_RELAXED(&watcher->size));
	if (ready || LOAD_SEQ_CST(&watcher->state) == CLOSING) {
		ipk_queue_awake(queue, party, watcher->event);
	} else {
		(void)ipk_queue_sleep(queue, party, watcher->event, 0);
		(void)ipk_queue_recover(queue, party);
		ready = ipk_queue_is_ready(queue, watcher->event, LOAD_RELAXED(&watcher->size));
	}
	ipk_queue_pass_on(queue, watcher->event, ticket); /* O2 */
	return ready; /* damage, too: the next call raises it */
}

static void *
run(void *argument)
{
	struct queue_watcher *watcher = argument;
	struct timespec pause = {.tv_nsec = FIRST_PAUSE_NS};
	struct ipk_party *party = NULL;
	uint32_t state;
	int code;

	while ((state = LOAD_SEQ_CST(&watcher->state)) != CLOSING) {
		if (!party) { /* all slots may be taken for a while */
			party = segment_party_of_c_thread(watcher->segment, &code);
			STORE_SEQ_CST(&watcher->party, party);
			if (!party)
				(void)syscall(SYS_futex, &watcher->state, FUTEX_WAIT_PRIVATE, state,
					      &pause, NULL, 0);
		} else if (state == RESTING) {
			(void)syscall(SYS_futex, &watcher->state, FUTEX_WAIT_PRIVATE, RESTING, NULL,
				      NULL, 0);
		} else if (look(watcher, party) && step(watcher, ARMED, RESTING)) { /* O1 */
			tell(watcher);
		}
	}
	return NULL;
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
	watcher->state = ARMED;
	watcher->eventfd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (watcher->eventfd < 0) {
		(void)segment_raise_errno(-errno, "eventfd", "a descriptor for a shared queue");
		free(watcher);
		return NULL;
	}
	segment_keep(segment);
	code = start(watcher);
	if (code == 0)
		return watcher;
	(void)segment_raise_errno(-code, "pthread_create", "a thread that waits at a shared queue");
	(void)close(watcher->eventfd);
	segment_drop(segment);
	free(watcher);
	return NULL;
}

/* It is in no handle any more. */
static void
end(struct queue_watcher *watcher)
{
	if (watcher->forks == segment_forks()) {
		while (LOAD_SEQ_CST(&watcher->users))
			(void)sched_yield();
		STORE_SEQ_CST(&watcher->state, CLOSING);
		(void)syscall(SYS_futex, &watcher->state, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
		if (LOAD_SEQ_CST(&watcher->party))
			ipk_queue_interrupt(&watcher->segment->queue, watcher->party);
		(void)pthread_join(watcher->thread, NULL);
	}
	(void)close(watcher->eventfd);
	segment_drop(watcher->segment);
	free(watcher);
}

int
queue_watch(struct queue_handle *handle, enum ipk_queue_event event)
{
	struct queue_watcher **place = &handle->watchers[event];
	struct queue_watcher *watcher = LOAD_SEQ_CST(place);
	struct queue_watcher *made;
	struct segment *segment;

	if (watcher && watcher->forks == segment_forks())
		return watcher->eventfd;
	segment = queue_look(handle);
	if (!segment)
		return -1;
	made = new_watcher(segment, event);
	segment_leave();
	if (!made)
		return -1;
	if (COMPARE_EXCHANGE(place, &watcher, made)) {
		if (watcher)
			end(watcher); /* the parent's */
		return made->eventfd;
	}
	Py_BEGIN_ALLOW_THREADS
	end(made); /* another thread made one */
	Py_END_ALLOW_THREADS
	return queue_watch(handle, event);
}

void
queue_watch_again(const struct queue_call *call)
{
	struct queue_watcher *watcher = LOAD_SEQ_CST(&call->handle->watchers[call->event]);
	uint64_t count;

	if (!watcher || watcher->forks != segment_forks())
		return;
	(void)FETCH_ADD(&watcher->users, 1);
	if (LOAD_SEQ_CST(&call->handle->watchers[call->event]) == watcher) {
		STORE_RELAXED(&watcher->size, call->size);
		(void)!read(watcher->eventfd, &count, sizeof(count));
		if (step(watcher, RESTING, ARMED))
			(void)syscall(SYS_futex, &watcher->state, FUTEX_WAKE_PRIVATE, 1, NULL, NULL,
				      0);
	}
	(void)FETCH_SUB(&watcher->users, 1);
}

void
queue_unwatch(struct queue_handle *handle)
{
	for (int event = 0; event < IPK_QUEUE_EVENTS; event++) {
		struct queue_watcher *watcher = EXCHANGE(&handle->watchers[event], NULL);

		if (!watcher)
			continue;
		Py_BEGIN_ALLOW_THREADS
		end(watcher);
		Py_END_ALLOW_THREADS
	}
}

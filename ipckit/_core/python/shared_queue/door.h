/*
 * python/shared_queue/door.h - what the files of the types Queue, Lease and Reservation share.
 *
 * python/shared_queue/ is the door to shared queues: the module _shared_queue.
 *
 * The GIL is held during a call of the core, and given away for every wait and for a copy of a long
 * body. Nothing relies on it (python/threads.h).
 */
#ifndef IPK_PYTHON_SHARED_QUEUE_DOOR_H
#define IPK_PYTHON_SHARED_QUEUE_DOOR_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "python/segments/segment.h"

enum { QUEUE_LONG = 1 << 18 }; /* bytes: other threads may run while so many are copied */

struct queue_watcher;

/* A process's handle of a queue. */
struct queue_handle {
	PyObject_HEAD
	struct segment *segment; /* atomic; NULL: not yet, or closed */
	int ended;		 /* atomic: close() was called */
	PyObject *message;	 /* the class of what is received: a tuple's (type, body) */
	PyObject *refusals;	 /* ipckit.queue.shared_contract: the errors, in words */
	struct queue_watcher *watchers[IPK_QUEUE_EVENTS]; /* atomic; NULL: not yet */
	uint64_t watching; /* atomic: threads that have a pointer to one of them, see watch.c */
};

/* One call, over all its tries. */
struct queue_call {
	struct queue_handle *handle;
	struct segment *segment;
	struct ipk_queue *queue;
	struct ipk_party *party;
	struct ipk_obstacle obstacle;
	struct ipk_queue_lease lease;
	enum ipk_queue_event event; /* what it waits for */
	uint64_t size;
	uint64_t deadline; /* CLOCK_MONOTONIC ns; 0: none */
	uint64_t ticket;
	uint64_t latched_since; /* when it first met a thread that takes pages; 0: not yet */
	int now;   /* one try */
	int quiet; /* it handles no signals: something was sent or received already */
};

/* -- wait.c -- */

/* Enter the queue; `timeout`: seconds, or None, or NULL. 0, then queue_end(); -1: raised. */
int queue_begin(struct queue_call *call, PyObject *handle, PyObject *timeout);
void queue_end(struct queue_call *call);
/* Take a message, or room for call->size bytes, and wait for it as long as the call may. 1: the
 * call's lease has it, and no Python code may run before it is over or kept by an object; 0: not in
 * that time; -1: raised. */
int queue_get(struct queue_call *call);
/* Enter the queue for a look, until segment_leave(). NULL: raised. */
struct segment *queue_look(struct queue_handle *handle);
/* Raise what a function of the refusals returns; NULL. */
PyObject *queue_refuse(const struct queue_handle *handle, const char *which, const char *format, ...);
/* Raise QueueFull, or QueueEmpty, of a call that got nothing in its time. */
void queue_refuse_call(const struct queue_call *call);
/* An int argument, `least` and more; -1: raised. */
Py_ssize_t queue_number(PyObject *number, const char *name, int least);
/* Raise for a negative result of the core; -1. */
int queue_raise(const struct queue_call *call, int code);

/* -- watch.c -- */

/* A descriptor that is readable when the event may have come; starts its thread at the first call.
 * -1: raised. */
int queue_watch(struct queue_handle *handle, enum ipk_queue_event event);
/* A call found nothing: from now on the descriptor tells of the next event. */
void queue_watch_again(const struct queue_call *call);
/* End the threads. Gives the GIL away. */
void queue_unwatch(struct queue_handle *handle);

/* -- messages.c -- */

#define QUEUE_FAST(name)                                                                           \
	PyObject *name(PyObject *self, PyObject *const *args, Py_ssize_t count, PyObject *keywords)
QUEUE_FAST(queue_send);
QUEUE_FAST(queue_receive);
PyObject *queue_send_nowait(PyObject *self, PyObject *body);
PyObject *queue_receive_nowait(PyObject *self, PyObject *unused);
QUEUE_FAST(queue_send_many);
QUEUE_FAST(queue_receive_many);
/* Copy the body that the call has leased and consume the message: `counted`, so that it is unfinished.
 * NULL: raised, and it is given back. */
PyObject *queue_consume(struct queue_call *call, int counted);

/* -- lease.c -- */

QUEUE_FAST(queue_lease);
QUEUE_FAST(queue_reserve);
/* What the call has leased, as a Lease. NULL: raised; the message is given back. */
PyObject *queue_hold_lease(struct queue_call *call);

/* -- held.c -- */

/* Once per process: the two types. 0, or -1 raised. */
int held_setup(PyObject *module);

/* -- objects.c -- */

PyObject *queue_get_object(PyObject *self, PyObject *timeout);
PyObject *queue_finish(PyObject *self, PyObject *unused);
PyObject *queue_join(PyObject *self, PyObject *timeout);

/* -- inspect.c -- */

PyObject *queue_count(PyObject *self, PyObject *unused);
PyObject *queue_depth(PyObject *self, PyObject *unused);
PyObject *queue_verify(PyObject *self, PyObject *unused);
PyObject *queue_holders(PyObject *self, PyObject *unused);
PyObject *queue_dead(PyObject *self, PyObject *unused);
PyObject *queue_dead_body(PyObject *self, PyObject *identifier);
PyObject *queue_retry(PyObject *self, PyObject *identifier);
PyObject *queue_discard(PyObject *self, PyObject *identifier);

#endif

/*
 * python/shared_queue/door.h - what the files of the types Queue, Lease and Reservation share.
 *
 * python/shared_queue/ is the door to shared queues: the module _shared_queue.
 *
 * The GIL is held during a call of the core, which never waits, and given away for every wait and for
 * a copy of a long body. Nothing relies on it (python/threads.h).
 */
#ifndef IPK_PYTHON_SHARED_QUEUE_DOOR_H
#define IPK_PYTHON_SHARED_QUEUE_DOOR_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "python/segments/segment.h"

/* A process's handle of a queue. */
struct queue_handle {
	PyObject_HEAD
	struct segment *segment; /* atomic; NULL: not yet, or closed */
	int ended;		 /* atomic: close() was called */
	PyObject *message;	 /* the class of what is received: a tuple's (type, body) */
	PyObject *refusals;	 /* ipckit.queue.shared_contract: the errors, in words */
};

/* A message that this process has, as a Python object: a lease, or a reservation. */
struct held {
	PyObject_HEAD
	PyObject *handle; /* struct queue_handle */
	struct segment *segment; /* kept until it is over; NULL: it is over */
	struct ipk_queue_lease lease;
	struct ipk_queue_message message;
	unsigned char *start;	 /* its body in one part */
	void *mapped;		 /* the part, if it was mapped for this; else NULL */
	PyObject *view;		 /* the memoryview that was given out, or NULL */
	Py_ssize_t exports;
	int writable;
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
	int now;	   /* one try */
};

/* -- wait.c -- */

/* Enter the queue and join it; `timeout`: seconds, or None, or NULL. 0, then queue_end(); -1:
 * raised. */
int queue_begin(struct queue_call *call, PyObject *handle, PyObject *timeout);
void queue_end(struct queue_call *call);
/* Take a message, or room for call->size bytes, and wait for it as long as the call may. 1: the
 * call's lease has it; 0: not in that time; -1: raised. */
int queue_get(struct queue_call *call);
/* Raise what a function of the refusals returns; NULL. */
PyObject *queue_refuse(const struct queue_handle *handle, const char *which, const char *format, ...);
/* Raise for a negative result of the core; -1. */
int queue_raise(const struct queue_call *call, int code);

/* -- messages.c -- */

#define QUEUE_FAST(name)                                                                           \
	PyObject *name(PyObject *self, PyObject *const *args, Py_ssize_t count, PyObject *keywords)
QUEUE_FAST(queue_send);
QUEUE_FAST(queue_receive);
PyObject *queue_send_nowait(PyObject *self, PyObject *body);
PyObject *queue_receive_nowait(PyObject *self, PyObject *unused);
QUEUE_FAST(queue_send_many);
QUEUE_FAST(queue_receive_many);

/* -- held.c -- */

QUEUE_FAST(queue_lease);
QUEUE_FAST(queue_reserve);
/* Once per process: the two types. 0, or -1 raised. */
int held_setup(PyObject *module);

#endif

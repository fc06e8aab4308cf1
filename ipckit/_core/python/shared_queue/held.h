/*
 * python/shared_queue/held.h - a message in shared memory that this process has, as a Python object.
 */
#ifndef IPK_PYTHON_SHARED_QUEUE_HELD_H
#define IPK_PYTHON_SHARED_QUEUE_HELD_H

#include "python/shared_queue/door.h"

/* A lease, or a reservation. */
struct held {
	PyObject_HEAD
	PyObject *refusals;	 /* as of its queue */
	struct segment *segment; /* kept until it is over; NULL: it is over */
	struct ipk_queue_lease lease;
	struct ipk_queue_message message;
	unsigned char *start; /* its body in one part */
	void *mapped;	      /* the part, if it was mapped for this; else NULL */
	PyObject *view;	      /* a weak reference to the memoryview that was given out, or NULL */
	Py_ssize_t exports;
	uint32_t forks;
	int writable;
	int clearing; /* L2 */
};

/* -- held.c -- */

extern PyTypeObject *held_lease_type;
extern PyTypeObject *held_reservation_type;

/* -- body.c -- */

/* Where the body is, in one part: held->start. 0, -errno. */
int held_find_body(struct held *held);
int held_get_buffer(PyObject *self, Py_buffer *view, int flags);
void held_release_buffer(PyObject *self, Py_buffer *view);
/* body, buffer: the memoryview, the same one each time. */
PyObject *held_view(PyObject *self, void *unused);
/* Release the memoryview that was given out; held->exports says whether others are in use. 0, -1
 * raised. */
int held_release_view(struct held *held);
/* The message is over, for this object. */
void held_forget(struct held *held);

#endif

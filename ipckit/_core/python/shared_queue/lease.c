/*
 * python/shared_queue/lease.c - leasing a message, and reserving space for one.
 *
 * Owns      nothing.  Stands on wait.c, body.c, held.c.  State  none.
 * Blocks    queue_lease and queue_reserve, as queue_get().
 */
#include "python/arguments.h"
#include "python/shared_queue/held.h"

#include <errno.h>

/* What the call has leased, as an object. NULL: raised; the message is not ours. */
static PyObject *
hold(PyTypeObject *type, struct queue_call *call, int writable)
{
	allocfunc allocate = (allocfunc)PyType_GetSlot(type, Py_tp_alloc);
	struct held *held = (struct held *)allocate(type, 0);
	int code = 0;

	if (held) {
		held->refusals = Py_NewRef(call->handle->refusals);
		held->segment = call->segment;
		held->lease = call->lease;
		held->writable = writable;
		held->forks = segment_forks();
		segment_keep(call->segment);
		code = held_find_body(held);
		if (code == 0)
			return (PyObject *)held;
		segment_drop(call->segment);
		held->segment = NULL;
	}
	/* First of all: to raise is Python code. */
	if (writable)
		ipk_queue_abandon(call->queue, call->party, &call->lease);
	else
		(void)ipk_queue_give_back(call->queue, &call->lease, 0);
	if (code == -EUCLEAN)
		(void)queue_raise(call, code);
	else if (code)
		(void)segment_raise_errno(code, "mremap", "the parts of a message");
	Py_XDECREF((PyObject *)held);
	return NULL;
}

PyObject *
queue_hold_lease(struct queue_call *call)
{
	return hold(held_lease_type, call, 0);
}

QUEUE_FAST(queue_lease)
{
	static const char *const names[] = {"timeout"};
	struct queue_call call;
	PyObject *places[1];
	PyObject *held = NULL;
	int code;

	if (place_arguments("lease", names, 0, 1, args, count, keywords, places) < 0 ||
	    queue_begin(&call, self, places[0]) < 0)
		return NULL;
	call.event = IPK_QUEUE_MESSAGE;
	call.size = 0;
	code = queue_get(&call);
	if (code > 0)
		held = queue_hold_lease(&call);
	else if (code == 0)
		queue_refuse_call(&call);
	queue_end(&call);
	return held;
}

QUEUE_FAST(queue_reserve)
{
	static const char *const names[] = {"size", "timeout"};
	struct queue_call call;
	PyObject *places[2];
	PyObject *held = NULL;
	Py_ssize_t size;
	int code;

	if (place_arguments("reserve", names, 1, 2, args, count, keywords, places) < 0)
		return NULL;
	size = queue_number(places[0], "size", 0);
	if (size < 0 || queue_begin(&call, self, places[1]) < 0)
		return NULL;
	call.event = IPK_QUEUE_ROOM;
	call.size = (uint64_t)size;
	code = queue_get(&call);
	if (code > 0)
		held = hold(held_reservation_type, &call, 1);
	else if (code == 0)
		queue_refuse_call(&call);
	queue_end(&call);
	return held;
}

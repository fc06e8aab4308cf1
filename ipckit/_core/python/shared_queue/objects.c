/*
 * python/shared_queue/objects.c - what ipckit.queue.ObjectQueue needs besides: messages that count as
 * unfinished.
 *
 * Owns      nothing.  Stands on wait.c, messages.c, held.c.  State  none.
 * Blocks    queue_get_object and queue_join, as queue_get().
 */
#include "python/shared_queue/door.h"

enum { SHORT = 1 << 16 }; /* bytes: a body that is not longer is copied before it is read */

/* _get(timeout) -> the body, consumed, or a Lease of a long one, whose _consume() is to come */
PyObject *
queue_get_object(PyObject *self, PyObject *timeout)
{
	struct queue_call call;
	struct ipk_queue_message message;
	PyObject *result = NULL;
	int code;

	if (queue_begin(&call, self, timeout) < 0)
		return NULL;
	call.event = IPK_QUEUE_MESSAGE;
	call.size = 0;
	code = queue_get(&call);
	if (code == 0)
		queue_refuse_call(&call);
	else if (code > 0 && ipk_queue_message_of(call.queue, &call.lease, &message) == 0 &&
		 message.size > SHORT)
		result = queue_hold_lease(&call);
	else if (code > 0)
		result = queue_consume(&call, 1); /* damage, too: it raises that */
	queue_end(&call);
	return result;
}

/* _finish() -> whether there was a message that was not finished */
PyObject *
queue_finish(PyObject *self, PyObject *unused)
{
	struct segment *segment = queue_look((struct queue_handle *)self);
	struct ipk_party *party;
	int found = -1;

	(void)unused;
	if (!segment)
		return NULL;
	party = segment_join(segment);
	if (party)
		found = ipk_queue_finish(&segment->queue, party);
	segment_leave();
	return found < 0 ? NULL : PyBool_FromLong(found);
}

/* _join(timeout): wait until all messages are finished */
PyObject *
queue_join(PyObject *self, PyObject *timeout)
{
	struct queue_call call;
	int code;

	if (queue_begin(&call, self, timeout) < 0)
		return NULL;
	call.event = IPK_QUEUE_FINISHED;
	call.size = 0;
	code = queue_get(&call);
	if (code == 0)
		queue_refuse_call(&call);
	queue_end(&call);
	if (code <= 0)
		return NULL;
	Py_RETURN_NONE;
}

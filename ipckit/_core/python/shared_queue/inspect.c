/*
 * python/shared_queue/inspect.c - how a queue stands, which leases there are, and its dead messages.
 *
 * Owns      nothing.  Stands on wait.c.  State  none.  Blocks  never.
 *
 * A message is named to Python by one number: its turn, times 2^24, plus its record.
 */
#include "python/shared_queue/door.h"

#include <errno.h>

#define RECORD_BITS 24

/* (free, filling, queued, leased, delayed, dead, clearing, free pages, ns at which the oldest was sent,
 * sent, redelivered) */
PyObject *
queue_count(PyObject *self, PyObject *unused)
{
	struct segment *segment = queue_look((struct queue_handle *)self);
	struct ipk_queue_counts counts;

	(void)unused;
	if (!segment)
		return NULL;
	ipk_queue_count(&segment->queue, &counts);
	segment_leave();
	return Py_BuildValue("(IIIIIIIILKK)", counts.in[IPK_QUEUE_FREE], counts.in[IPK_QUEUE_FILLING],
			     counts.in[IPK_QUEUE_QUEUED], counts.in[IPK_QUEUE_LEASED],
			     counts.in[IPK_QUEUE_DELAYED], counts.in[IPK_QUEUE_DEAD],
			     counts.in[IPK_QUEUE_CLEARING], counts.free_pages,
			     (long long)counts.oldest, (unsigned long long)counts.sent,
			     (unsigned long long)counts.redelivered);
}

PyObject *
queue_depth(PyObject *self, PyObject *unused)
{
	struct segment *segment = queue_look((struct queue_handle *)self);
	uint32_t depth;

	(void)unused;
	if (!segment)
		return NULL;
	depth = ipk_queue_depth(&segment->queue);
	segment_leave();
	return PyLong_FromUnsignedLong(depth);
}

/* The rule that is broken, or None. */
PyObject *
queue_verify(PyObject *self, PyObject *unused)
{
	struct segment *segment = queue_look((struct queue_handle *)self);
	const char *broken;

	(void)unused;
	if (!segment)
		return NULL;
	broken = ipk_queue_verify(&segment->queue);
	segment_leave();
	return Py_BuildValue("z", broken);
}

static unsigned long long
name_of(const struct ipk_queue_lease *lease)
{
	return (ipk_queue_turn_of(lease->word) << RECORD_BITS) | lease->record;
}

/* Append (name, a number, attempt, bytes, ns at which it was sent). 0, or -1 raised. */
static int
append(PyObject *list, const struct ipk_queue *queue, const struct ipk_queue_lease *lease,
       unsigned long number)
{
	struct ipk_queue_message message;
	PyObject *entry;
	int code;

	if (ipk_queue_message_of(queue, lease, &message) || !ipk_queue_is_still(queue, lease))
		return 0; /* it is over by now */
	entry = Py_BuildValue("(KkIKL)", name_of(lease), number, message.attempt,
			      (unsigned long long)message.size, (long long)message.sent);
	code = entry ? PyList_Append(list, entry) : -1;
	Py_XDECREF(entry);
	return code;
}

static PyObject *
list_messages(PyObject *self, int dead)
{
	struct segment *segment = queue_look((struct queue_handle *)self);
	PyObject *list = segment ? PyList_New(0) : NULL;
	int code = list ? 0 : -1;

	if (!segment)
		return NULL;
	for (uint32_t record = 0; code == 0 && record < segment->queue.shape.messages; record++) {
		struct ipk_queue_lease lease;
		uint32_t holder = dead ? 0 : ipk_queue_holder(&segment->queue, record, &lease);

		if (dead ? ipk_queue_find_dead(&segment->queue, record, &lease) : holder != 0)
			code = append(list, &segment->queue, &lease, holder);
	}
	segment_leave();
	if (code < 0)
		Py_CLEAR(list);
	return list;
}

/* The leased messages: (name, the thread's id in its own pid namespace, attempt, bytes, ns). */
PyObject *
queue_holders(PyObject *self, PyObject *unused)
{
	(void)unused;
	return list_messages(self, 0);
}

/* The dead ones: (name, 0, attempts, bytes, ns). */
PyObject *
queue_dead(PyObject *self, PyObject *unused)
{
	(void)unused;
	return list_messages(self, 1);
}

/* Find the dead message of this name, in a queue that queue_look() entered. 1, 0: there is none; -1
 * raised. */
static int
find(const struct segment *segment, PyObject *identifier, struct ipk_queue_lease *lease)
{
	unsigned long long name = PyLong_AsUnsignedLongLong(identifier);

	if (name == (unsigned long long)-1 && PyErr_Occurred()) {
		if (!PyErr_ExceptionMatches(PyExc_OverflowError))
			return -1;
		PyErr_Clear();
		return 0;
	}
	return ipk_queue_find_dead(&segment->queue, (uint32_t)(name & ((1u << RECORD_BITS) - 1)),
				   lease) &&
	       name_of(lease) == name;
}

/* The bytes, or None: there is no such message. */
PyObject *
queue_dead_body(PyObject *self, PyObject *identifier)
{
	struct segment *segment = queue_look((struct queue_handle *)self);
	struct ipk_queue_message message;
	struct ipk_queue_lease lease;
	PyObject *body = NULL;
	int found;

	if (!segment)
		return NULL;
	found = find(segment, identifier, &lease);
	if (found > 0 && ipk_queue_message_of(&segment->queue, &lease, &message) == 0)
		body = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)message.size);
	/* What another process retried during the copy is not what was read. */
	if (body && (ipk_queue_copy(&segment->queue, &lease, PyBytes_AsString(body), message.size) < 0 ||
		     !ipk_queue_is_still(&segment->queue, &lease)))
		Py_CLEAR(body);
	segment_leave();
	if (body || PyErr_Occurred())
		return body;
	Py_RETURN_NONE;
}

/* Whether there was such a message, and it was this call that retried it, or discarded it. */
static PyObject *
end_dead(PyObject *self, PyObject *identifier, int retry)
{
	struct segment *segment = queue_look((struct queue_handle *)self);
	struct ipk_queue_lease lease;
	struct ipk_party *party;
	int found;

	if (!segment)
		return NULL;
	found = find(segment, identifier, &lease);
	if (found > 0) {
		party = segment_join(segment);
		if (!party)
			found = -1;
		else if (retry)
			found = ipk_queue_retry(&segment->queue, &lease) == 0;
		else
			found = ipk_queue_discard(&segment->queue, party, &lease) == 0;
	}
	segment_leave();
	return found < 0 ? NULL : PyBool_FromLong(found);
}

PyObject *
queue_retry(PyObject *self, PyObject *identifier)
{
	return end_dead(self, identifier, 1);
}

PyObject *
queue_discard(PyObject *self, PyObject *identifier)
{
	return end_dead(self, identifier, 0);
}

/*
 * python/queues/tries.c - one system call each, now or never, for the usual case.
 *
 * Kernel    msgsnd(2), msgrcv(2), mq_send(3), mq_receive(3).
 * Stands on messages.h, which has the invariants; queues/sysv.
 */
#include "python/queues/messages.h"
#include "python/tuples.h"

#include <mqueue.h>

#include "queues/sysv.h"

/* The class' message(type, body); steals both. */
static PyObject *
new_message(const struct queue *queue, PyObject *type, PyObject *body)
{
	PyTypeObject *class = (PyTypeObject *)queue->message;
	PyObject *message = type && body ? new_named_tuple(class, 2) : NULL;

	if (!message) {
		Py_XDECREF(type);
		Py_XDECREF(body);
		return NULL;
	}
	(void)PyTuple_SetItem(message, 0, type); /* new, and of this size */
	(void)PyTuple_SetItem(message, 1, body);
	return message;
}

PyObject *
try_sysv_send(struct queue *queue, PyObject *body, long type)
{
	if (type < 1 || ipk_msgq_send_small(queue->id, type, PyBytes_AsString(body),
					    (size_t)PyBytes_Size(body)) != 0)
		return NULL;
	Py_RETURN_NONE;
}

/* NULL without an exception: `code` says why, as queues/sysv.h has it. */
static PyObject *
sysv_take(const struct queue *queue, long type, int64_t *code)
{
	union {
		struct ipk_message message;
		char bytes[sizeof(struct ipk_message) + IPK_MSGQ_SMALL];
	} room;

	*code = ipk_msgq_receive(queue->id, &room.message, IPK_MSGQ_SMALL, type, 0, 0);
	if (*code < 0)
		return NULL;
	return new_message(queue, PyLong_FromLong(room.message.type),
			   PyBytes_FromStringAndSize(room.message.body, (Py_ssize_t)*code));
}

PyObject *
try_sysv_receive(struct queue *queue, PyObject *body, long type)
{
	int64_t code;

	(void)body;
	/* the kernel has no absolute value of LONG_MIN */
	return type == LONG_MIN ? NULL : sysv_take(queue, type, &code);
}

PyObject *
sysv_take_now(PyObject *self, PyObject *type)
{
	const struct queue *queue = (struct queue *)self;
	long wanted = PyLong_AsLong(type);
	int64_t code = 0;
	PyObject *message;

	if (PyErr_Occurred())
		return NULL;
	if (!queue->message || wanted == LONG_MIN) {
		PyErr_SetString(PyExc_SystemError, "no queue, or no type to ask it for");
		return NULL;
	}
	message = sysv_take(queue, wanted, &code);
	return message || PyErr_Occurred() ? message : PyLong_FromLongLong(code);
}

PyObject *
try_posix_send(struct queue *queue, PyObject *body, long priority)
{
	/* sysconf(_SC_MQ_PRIO_MAX) is 32768 on every Linux; the descriptor never blocks */
	if (priority < 0 || priority > 32767 ||
	    mq_send(queue->id, PyBytes_AsString(body), (size_t)PyBytes_Size(body),
		    (unsigned int)priority) != 0)
		return NULL;
	Py_RETURN_NONE;
}

PyObject *
try_posix_receive(struct queue *queue, PyObject *body, long unused)
{
	char room[IPK_MSGQ_SMALL]; /* the default of max_message_size; a larger one is EMSGSIZE */
	unsigned int priority;
	ssize_t size;

	(void)body;
	(void)unused;
	size = mq_receive(queue->id, room, sizeof room, &priority);
	if (size < 0)
		return NULL;
	return new_message(queue, PyLong_FromUnsignedLong(priority),
			   PyBytes_FromStringAndSize(room, size));
}

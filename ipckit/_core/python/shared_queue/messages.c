/*
 * python/shared_queue/messages.c - sending and receiving whole bodies.
 *
 * Owns      nothing.  Stands on wait.c.  State  none.
 * Blocks    as queue_get().
 */
#include "python/arguments.h"
#include "python/shared_queue/door.h"

#include <errno.h>

enum { LONG = 1 << 18 }; /* bytes: others may run while so many are copied */

/* Send one body; 1, 0: no room in the time, -1 raised. */
static int
send_one(struct queue_call *call, const char *bytes, Py_ssize_t size)
{
	int code;

	call->event = IPK_QUEUE_ROOM;
	call->size = (uint64_t)size;
	code = queue_get(call);
	if (code <= 0)
		return code;
	if (size >= LONG) {
		Py_BEGIN_ALLOW_THREADS
		code = ipk_queue_fill(call->queue, &call->lease, bytes);
		Py_END_ALLOW_THREADS
	} else {
		code = ipk_queue_fill(call->queue, &call->lease, bytes);
	}
	if (code == 0)
		code = ipk_queue_publish(call->queue, call->party, &call->lease);
	if (code == 0)
		return 1;
	ipk_queue_abandon(call->queue, call->party, &call->lease);
	return queue_raise(call, code);
}

/* The same of any object; TypeError: it is not bytes. */
static int
send_object(struct queue_call *call, PyObject *body)
{
	Py_buffer buffer;
	PyObject *plain;
	int code;

	if (PyBytes_CheckExact(body))
		return send_one(call, PyBytes_AsString(body), PyBytes_Size(body));
	plain = PyObject_CallMethod(call->handle->refusals, "as_buffer", "(O)", body);
	if (!plain)
		return -1;
	code = PyObject_GetBuffer(plain, &buffer, PyBUF_SIMPLE);
	if (code == 0) {
		code = send_one(call, buffer.buf, buffer.len);
		PyBuffer_Release(&buffer);
	}
	Py_DECREF(plain);
	return code;
}

static PyObject *
send_body(PyObject *self, PyObject *body, PyObject *timeout, int now)
{
	struct queue_call call;
	int code;

	if (queue_begin(&call, self, timeout) < 0)
		return NULL;
	call.now |= now;
	code = send_object(&call, body);
	if (code == 0)
		(void)queue_refuse(call.handle, "full", "(KII)", (unsigned long long)call.size,
				   call.queue->shape.messages, call.queue->shape.pages);
	queue_end(&call);
	if (code <= 0)
		return NULL;
	Py_RETURN_NONE;
}

QUEUE_FAST(queue_send)
{
	static const char *const names[] = {"body", "timeout"};
	PyObject *places[2];

	if (place_arguments("send", names, 1, 2, args, count, keywords, places) < 0)
		return NULL;
	return send_body(self, places[0], places[1], 0);
}

PyObject *
queue_send_nowait(PyObject *self, PyObject *body)
{
	return send_body(self, body, NULL, 1);
}

/* The class' message(1, body), by the allocator of a tuple's subclass; steals the body. */
static PyObject *
new_message(const struct queue_handle *handle, PyObject *body)
{
	PyTypeObject *class = (PyTypeObject *)handle->message;
	allocfunc allocate = (allocfunc)PyType_GetSlot(class, Py_tp_alloc);
	PyObject *type = PyLong_FromLong(1);
	PyObject *message = type ? allocate(class, 2) : NULL;

	if (!message) {
		Py_XDECREF(type);
		Py_DECREF(body);
		return NULL;
	}
	(void)PyTuple_SetItem(message, 0, type); /* new, and of this size */
	(void)PyTuple_SetItem(message, 1, body);
	return message;
}

/* The message that the call has leased, copied and acknowledged. NULL: raised, and it is given back. */
static PyObject *
consume(struct queue_call *call)
{
	struct ipk_queue_message message;
	PyObject *body = NULL;
	int code = ipk_queue_message_of(call->queue, &call->lease, &message);

	if (code == 0)
		body = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)message.size);
	if (body) {
		char *bytes = PyBytes_AsString(body);

		if (message.size >= LONG) {
			Py_BEGIN_ALLOW_THREADS
			code = ipk_queue_copy(call->queue, &call->lease, bytes);
			Py_END_ALLOW_THREADS
		} else {
			code = ipk_queue_copy(call->queue, &call->lease, bytes);
		}
	}
	if (code == 0 && body)
		code = ipk_queue_acknowledge(call->queue, call->party, &call->lease);
	if (code < 0 || !body) {
		if (code < 0)
			(void)queue_raise(call, code);
		(void)ipk_queue_give_back(call->queue, &call->lease, 0);
		Py_XDECREF(body);
		return NULL;
	}
	return new_message(call->handle, body);
}

static PyObject *
receive_message(PyObject *self, PyObject *timeout, int now)
{
	struct queue_call call;
	PyObject *message = NULL;
	int code;

	if (queue_begin(&call, self, timeout) < 0)
		return NULL;
	call.now |= now;
	call.event = IPK_QUEUE_MESSAGE;
	code = queue_get(&call);
	if (code > 0)
		message = consume(&call);
	else if (code == 0)
		(void)queue_refuse(call.handle, "empty", "()");
	queue_end(&call);
	return message;
}

QUEUE_FAST(queue_receive)
{
	static const char *const names[] = {"timeout"};
	PyObject *places[1];

	if (place_arguments("receive", names, 0, 1, args, count, keywords, places) < 0)
		return NULL;
	return receive_message(self, places[0], 0);
}

PyObject *
queue_receive_nowait(PyObject *self, PyObject *unused)
{
	(void)unused;
	return receive_message(self, NULL, 1);
}

/* Every body in turn: wait for the first, and send what has room now. How many; -1: raised, and it was
 * the first. */
static Py_ssize_t
send_all(struct queue_call *call, PyObject *bodies)
{
	Py_ssize_t total = PySequence_Size(bodies);
	Py_ssize_t sent = 0;

	while (total >= 0 && sent < total) {
		PyObject *body = PySequence_GetItem(bodies, sent);
		int code = body ? send_object(call, body) : -1;

		Py_XDECREF(body);
		if (code < 0) {
			if (!sent)
				return -1;
			PyErr_Clear(); /* it is raised by the next call, which begins with it */
			break;
		}
		if (code == 0)
			break;
		sent++;
		call->now = 1;
	}
	return total < 0 ? -1 : sent;
}

QUEUE_FAST(queue_send_many)
{
	static const char *const names[] = {"bodies", "timeout"};
	struct queue_call call;
	PyObject *places[2];
	Py_ssize_t sent;

	if (place_arguments("send_many", names, 1, 2, args, count, keywords, places) < 0)
		return NULL;
	if (!PySequence_Check(places[0]) || PyBytes_Check(places[0])) {
		PyErr_Format(PyExc_TypeError, "bodies=%R: must be a sequence of bodies", places[0]);
		return NULL;
	}
	if (queue_begin(&call, self, places[1]) < 0)
		return NULL;
	sent = send_all(&call, places[0]);
	if (sent == 0 && PySequence_Size(places[0]) > 0) {
		(void)queue_refuse(call.handle, "full", "(KII)", (unsigned long long)call.size,
				   call.queue->shape.messages, call.queue->shape.pages);
		sent = -1;
	}
	queue_end(&call);
	return sent < 0 ? NULL : PyLong_FromSsize_t(sent);
}

QUEUE_FAST(queue_receive_many)
{
	static const char *const names[] = {"most", "timeout"};
	struct queue_call call;
	PyObject *places[2];
	PyObject *messages;
	Py_ssize_t most;
	int code = 1;

	if (place_arguments("receive_many", names, 1, 2, args, count, keywords, places) < 0)
		return NULL;
	most = PyLong_AsSsize_t(places[0]);
	if (most == -1 && PyErr_Occurred())
		return NULL;
	if (most < 1) {
		PyErr_Format(PyExc_ValueError, "most=%zd: must be at least 1", most);
		return NULL;
	}
	messages = PyList_New(0);
	if (!messages || queue_begin(&call, self, places[1]) < 0) {
		Py_XDECREF(messages);
		return NULL;
	}
	call.event = IPK_QUEUE_MESSAGE;
	while (PyList_Size(messages) < most && (code = queue_get(&call)) > 0) {
		Py_ssize_t place = PyList_Size(messages);
		PyObject *message;

		/* Its place first: a message that is consumed must have one. */
		if (PyList_Append(messages, Py_None) < 0) {
			(void)ipk_queue_give_back(call.queue, &call.lease, 0);
			code = -1;
			break;
		}
		message = consume(&call);
		if (!message) {
			(void)PyList_SetSlice(messages, place, place + 1, NULL);
			code = -1;
			break;
		}
		(void)PyList_SetItem(messages, place, message);
		call.now = 1;
	}
	if (PyList_Size(messages) == 0) {
		if (code == 0)
			(void)queue_refuse(call.handle, "empty", "()");
		Py_CLEAR(messages);
	} else if (code < 0) {
		PyErr_Clear(); /* what was taken is not lost; the next call meets it again */
	}
	queue_end(&call);
	return messages;
}

/*
 * python/shared_queue/messages.c - sending and receiving whole bodies.
 *
 * Owns      nothing.  Stands on wait.c.  State  none.
 * Blocks    as queue_get().
 */
#include "python/arguments.h"
#include "python/shared_queue/door.h"
#include "python/tuples.h"

#include <errno.h>

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
	if (size >= QUEUE_LONG) {
		Py_BEGIN_ALLOW_THREADS
		code = ipk_queue_fill(call->queue, &call->lease, bytes, call->size);
		Py_END_ALLOW_THREADS
	} else {
		code = ipk_queue_fill(call->queue, &call->lease, bytes, call->size);
	}
	if (code == 0)
		code = ipk_queue_publish(call->queue, call->party, &call->lease);
	if (code == 0)
		return 1;
	ipk_queue_abandon(call->queue, call->party, &call->lease);
	return queue_raise(call, code);
}

/* What is sent: bytes, or a memoryview of bytes, by the class' rules. A new reference; NULL: raised. */
static PyObject *
plain_body(const struct queue_handle *handle, PyObject *body)
{
	if (PyBytes_CheckExact(body))
		return Py_NewRef(body);
	if (!handle->refusals) {
		PyErr_SetString(segment_misuse, "Queue is a base: use ipckit.queue.SharedQueue");
		return NULL;
	}
	return PyObject_CallMethod(handle->refusals, "as_buffer", "(O)", body);
}

/* Send what plain_body() returned; as send_one(). */
static int
send_plain(struct queue_call *call, PyObject *plain)
{
	Py_buffer buffer;
	int code;

	if (PyBytes_CheckExact(plain))
		return send_one(call, PyBytes_AsString(plain), PyBytes_Size(plain));
	if (PyObject_GetBuffer(plain, &buffer, PyBUF_SIMPLE) < 0)
		return -1;
	code = send_one(call, buffer.buf, buffer.len);
	PyBuffer_Release(&buffer);
	return code;
}

static PyObject *
send_body(PyObject *self, PyObject *body, PyObject *timeout, int now)
{
	struct queue_call call;
	PyObject *plain = plain_body((struct queue_handle *)self, body);
	int code = -1;

	if (plain && queue_begin(&call, self, timeout) == 0) {
		call.now |= now;
		code = send_plain(&call, plain);
		if (code == 0)
			queue_refuse_call(&call);
		queue_end(&call);
	}
	Py_XDECREF(plain);
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

/* A message of the class, to be filled. It is made before a message is leased: to make it may run Python
 * code. NULL: raised. */
static PyObject *
new_message(const struct queue_handle *handle)
{
	PyTypeObject *class = (PyTypeObject *)LOAD_RELAXED(&handle->message);
	PyObject *type;
	PyObject *message;

	if (!class) {
		PyErr_SetString(segment_misuse, "Queue is a base: use ipckit.queue.SharedQueue");
		return NULL;
	}
	type = PyLong_FromLong(1);
	message = type ? new_named_tuple(class, 2) : NULL;
	if (message)
		(void)PyTuple_SetItem(message, 0, type);
	else
		Py_XDECREF(type);
	return message;
}

PyObject *
queue_consume(struct queue_call *call, int counted)
{
	struct ipk_queue_message message;
	PyObject *body = NULL;
	int code = ipk_queue_message_of(call->queue, &call->lease, &message);

	if (code == 0)
		body = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)message.size);
	if (body) {
		char *bytes = PyBytes_AsString(body);

		if (message.size >= QUEUE_LONG) {
			Py_BEGIN_ALLOW_THREADS
			code = ipk_queue_copy(call->queue, &call->lease, bytes, message.size);
			Py_END_ALLOW_THREADS
		} else {
			code = ipk_queue_copy(call->queue, &call->lease, bytes, message.size);
		}
	}
	if (code == 0 && body)
		code = counted ? ipk_queue_consume(call->queue, call->party, &call->lease)
			       : ipk_queue_acknowledge(call->queue, call->party, &call->lease);
	if (code == 0 && body)
		return body;
	(void)ipk_queue_give_back(call->queue, &call->lease, 0);
	if (code < 0)
		(void)queue_raise(call, code);
	Py_XDECREF(body);
	return NULL;
}

/* The next message. 1; 0: there is none in the time; -1 raised. */
static int
receive_one(struct queue_call *call, PyObject **message)
{
	PyObject *body;
	int code;

	call->event = IPK_QUEUE_MESSAGE;
	call->size = 0;
	*message = new_message(call->handle);
	code = *message ? queue_get(call) : -1;
	if (code > 0) {
		body = queue_consume(call, 0);
		if (body) {
			(void)PyTuple_SetItem(*message, 1, body);
			return 1;
		}
		code = -1;
	}
	Py_CLEAR(*message);
	return code;
}

static PyObject *
receive_message(PyObject *self, PyObject *timeout, int now)
{
	struct queue_call call;
	PyObject *message = NULL;

	if (queue_begin(&call, self, timeout) < 0)
		return NULL;
	call.now |= now;
	if (receive_one(&call, &message) == 0)
		queue_refuse_call(&call);
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

/* The bodies as send_plain() takes them, each checked. NULL: raised. */
static PyObject *
plain_bodies(const struct queue_handle *handle, PyObject *bodies)
{
	PyObject *plain;
	Py_ssize_t total;

	if (PyBytes_Check(bodies) || PyByteArray_Check(bodies) || PyMemoryView_Check(bodies)) {
		PyErr_SetString(PyExc_TypeError, "bodies must be an iterable of bodies, not one body: send() "
						 "takes that");
		return NULL;
	}
	plain = PySequence_List(bodies);
	total = plain ? PyList_Size(plain) : 0;
	for (Py_ssize_t i = 0; i < total; i++) {
		PyObject *body = LIST_ITEM(plain, i);
		PyObject *item = body ? plain_body(handle, body) : NULL;

		Py_XDECREF(body);
		if (!item || PyList_SetItem(plain, i, item) < 0) {
			Py_DECREF(plain);
			return NULL;
		}
	}
	return plain;
}

/* 0, or -1 raised: one of them fits no empty queue. */
static int
check_sizes(struct queue_call *call, PyObject *plain)
{
	for (Py_ssize_t i = 0; i < PyList_Size(plain); i++) {
		PyObject *body = PyList_GetItem(plain, i);

		call->size = (uint64_t)PyObject_Size(body);
		if (call->size > IPK_QUEUE_INLINE &&
		    call->size > (uint64_t)call->queue->shape.pages * IPK_QUEUE_PAGE)
			return queue_raise(call, -EMSGSIZE);
	}
	return 0;
}

/* Wait for the first, and send what has room now. How many, or -1: raised, and none was sent. */
static Py_ssize_t
send_all(struct queue_call *call, PyObject *plain)
{
	Py_ssize_t total = PyList_Size(plain);
	Py_ssize_t sent = 0;
	int code = 1;

	if (check_sizes(call, plain) < 0)
		return -1;
	while (sent < total && (code = send_plain(call, PyList_GetItem(plain, sent))) > 0) {
		sent++;
		call->now = call->quiet = 1;
	}
	if (sent || !total) {
		if (code < 0)
			PyErr_Clear(); /* the caller sends the rest again, and meets it then */
		return sent;
	}
	if (code == 0)
		queue_refuse_call(call);
	return -1;
}

QUEUE_FAST(queue_send_many)
{
	static const char *const names[] = {"bodies", "timeout"};
	struct queue_call call;
	PyObject *places[2];
	PyObject *plain;
	Py_ssize_t sent = -1;

	if (place_arguments("send_many", names, 1, 2, args, count, keywords, places) < 0)
		return NULL;
	plain = plain_bodies((struct queue_handle *)self, places[0]);
	if (plain && queue_begin(&call, self, places[1]) == 0) {
		sent = send_all(&call, plain);
		queue_end(&call);
	}
	Py_XDECREF(plain);
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
	most = queue_number(places[0], "most", 1);
	if (most < 0)
		return NULL;
	messages = PyList_New(0);
	if (!messages || queue_begin(&call, self, places[1]) < 0) {
		Py_XDECREF(messages);
		return NULL;
	}
	while (PyList_Size(messages) < most) {
		PyObject *message;

		/* Its place first: a message that is taken must have one. */
		code = PyList_Append(messages, Py_None);
		if (code == 0)
			code = receive_one(&call, &message);
		if (code <= 0) {
			Py_ssize_t last = PyList_Size(messages) - 1;

			(void)PyList_SetSlice(messages, last, last + 1, NULL);
			break;
		}
		(void)PyList_SetItem(messages, PyList_Size(messages) - 1, message);
		call.now = call.quiet = 1;
	}
	if (PyList_Size(messages) == 0) {
		if (code == 0)
			queue_refuse_call(&call);
		Py_CLEAR(messages);
	} else if (code < 0) {
		PyErr_Clear(); /* what was taken is not lost; the next call meets it again */
	}
	queue_end(&call);
	return messages;
}

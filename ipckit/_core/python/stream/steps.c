/*
 * python/stream/steps.c - the steps of every packet: it came, it is handed out, an answer is sent.
 *
 * Stands on stream.h, which has the invariants.
 */
#include "base/clock.h"
#include "python/stream/stream.h"

#define HELD_MOST 65536

static uint64_t *
session_row(const struct stream *stream)
{
	return stream->session_row.buf;
}

static void
count(const struct stream *stream, int word)
{
	++((uint64_t *)stream->process_row.buf)[word];
}

static int
is_ending(const struct stream *stream)
{
	return PyUnicode_GetLength(stream->ending) != 0;
}

static int
write_out(const struct stream *stream, PyObject *data)
{
	PyObject *result = PyObject_CallFunctionObjArgs(stream->write, data, NULL);

	Py_XDECREF(result);
	return result ? 0 : -1;
}

/* S4 */
static int
flush(struct stream *stream)
{
	PyObject *held = stream->held;
	PyObject *data;
	int code;

	if (!held)
		return 0;
	stream->held = NULL;
	stream->held_size = 0;
	if (PyList_Size(held) == 1) {
		data = Py_NewRef(PyList_GetItem(held, 0));
	} else {
		PyObject *empty = PyBytes_FromStringAndSize(NULL, 0);

		data = empty ? PyObject_CallMethod(empty, "join", "O", held) : NULL;
		Py_XDECREF(empty);
	}
	Py_DECREF(held);
	code = data ? write_out(stream, data) : -1;
	Py_XDECREF(data);
	return code;
}

static int
hold(struct stream *stream, PyObject *data, Py_ssize_t size)
{
	if (!stream->held && !(stream->held = PyList_New(0)))
		return -1;
	if (PyList_Append(stream->held, data) < 0)
		return -1;
	stream->held_size += size;
	return stream->held_size < HELD_MOST ? 0 : flush(stream);
}

/* Call a method of the subclass; the result is of no interest. 0, or -1 with an exception. */
static int
defer_to_python(struct stream *stream, const char *method, PyObject *argument)
{
	PyObject *name = flush(stream) < 0 ? NULL : PyUnicode_InternFromString(method);
	PyObject *result =
		name ? PyObject_CallMethodObjArgs((PyObject *)stream, name, argument, NULL) : NULL;

	Py_XDECREF(name);
	Py_XDECREF(result);
	return result ? 0 : -1;
}

/* Call a method of the subclass with the exception that is set, which is no longer set then. */
static int
defer_error_to_python(struct stream *stream, const char *method)
{
	PyObject *type;
	PyObject *value;
	PyObject *traceback;
	int code;

	PyErr_Fetch(&type, &value, &traceback);
	PyErr_NormalizeException(&type, &value, &traceback);
	if (traceback)
		(void)PyException_SetTraceback(value, traceback);
	code = defer_to_python(stream, method, value);
	Py_XDECREF(type);
	Py_XDECREF(value);
	Py_XDECREF(traceback);
	return code;
}

static int
settle(struct stream *stream)
{
	uint64_t unread = 0;

	if (stream->running || !stream->session_row.obj || is_ending(stream))
		return 0;
	if (stream->unread) {
		Py_ssize_t size = PyObject_Size(stream->unread);

		if (size < 0)
			return -1;
		unread = (uint64_t)size;
	}
	ipk_session_worked_off(session_row(stream), stream->total - unread); /* S2 */
	return 0;
}

/* Whether a callback's result needs a look: `return server.send(...)` is common, and no coroutine. */
static int
is_plain(PyObject *result)
{
	return result == Py_None || result == Py_True || result == Py_False ||
	       PyLong_Check(result) || PyBytes_Check(result) || PyUnicode_Check(result);
}

static void
time_begins(struct stream *stream)
{
	uint64_t number = ((uint64_t *)stream->process_row.buf)[REQUESTS];

	stream->began = number % LATENCY_EVERY == 1 ? ipk_now_ns() : 0;
}

static void
time_ends(struct stream *stream)
{
	if (stream->began)
		latency_note(&stream->process_row, ipk_now_ns() - stream->began);
	stream->began = 0;
}

PyObject *
stream_timed(PyObject *self, PyObject *none)
{
	(void)none;
	time_ends((struct stream *)self);
	Py_RETURN_NONE;
}

/* Hand one packet to the callback, which has to have been found idle. */
static int
call(struct stream *stream, PyObject *packet)
{
	PyObject *result;
	int code = 0;

	stream->running = 1; /* S1 */
	time_begins(stream);
	result = PyObject_CallFunctionObjArgs(stream->on_receive, stream->server, stream->session,
					      stream->slot, packet, NULL);
	if (!result) {
		code = defer_error_to_python(stream, "_receive_raised"); /* S6 */
	} else if (!is_plain(result)) {
		code = defer_to_python(stream, "_receive_returned", result);
		Py_DECREF(result);
		return code; /* it says whether a callback is still under way */
	}
	Py_XDECREF(result);
	if (code < 0)
		return -1;
	time_ends(stream);
	count(stream, REQUESTS_DONE);
	if (stream->waiting && PyObject_Size(stream->waiting))
		return defer_to_python(stream, "_go_on_with_waiting", NULL);
	stream->running = 0;
	return 0;
}

static int
hand_out(struct stream *stream, PyObject *packet)
{
	if (is_ending(stream))
		return 0;
	count(stream, REQUESTS);
	if (stream->running ? defer_to_python(stream, "_put_aside", packet)
			    : stream->on_receive != Py_None && call(stream, packet) < 0)
		return -1;
	return stream->counts ? defer_to_python(stream, "_count_request", NULL) : 0;
}

PyObject *
stream_received(PyObject *self, PyObject *packet)
{
	if (hand_out((struct stream *)self, packet) < 0)
		return NULL;
	Py_RETURN_NONE;
}

/* Hand out the packets of `data` that need no framer (S5); how many bytes they were, or -1. */
static Py_ssize_t
cut_here(struct stream *stream, PyObject *data, int *handed)
{
	Py_ssize_t size = PyBytes_Size(data);
	Py_ssize_t at = 0;
	Py_ssize_t length;

	while (at < size &&
	       (length = whole_packet(&stream->rule, PyBytes_AsString(data) + at, size - at)) > 0) {
		PyObject *packet =
			length == size
				? Py_NewRef(data)
				: PyBytes_FromStringAndSize(PyBytes_AsString(data) + at, length);
		int code;

		at += length;
		stream->holds = stream->holds || at < size;
		code = packet ? hand_out(stream, packet) : -1;
		Py_XDECREF(packet);
		if (code < 0)
			return -1;
		*handed = 1;
	}
	return at;
}

/* Hand out what the framer makes of `data` from a place on. */
static int
cut_there(struct stream *stream, PyObject *data, Py_ssize_t from, int *handed)
{
	PyObject *rest = from ? PySequence_GetSlice(data, from, PyObject_Size(data)) : Py_NewRef(data);
	PyObject *packets =
		rest ? PyObject_CallFunctionObjArgs(stream->feed, rest, NULL) : NULL;
	Py_ssize_t number = packets ? PyList_Size(packets) : -1;

	stream->holds = stream->holds || number > 1;
	for (Py_ssize_t i = 0; i < number; i++)
		if (hand_out(stream, PyList_GetItem(packets, i)) < 0)
			number = -1;
	*handed = *handed || number > 0;
	Py_XDECREF(rest);
	Py_XDECREF(packets);
	return number < 0 ? -1 : 0;
}

/* Hand out all packets that are whole with `data`; those before a refusal too. */
static int
cut(struct stream *stream, PyObject *data)
{
	Py_ssize_t unread = PyObject_Size(stream->unread);
	Py_ssize_t done = 0;
	int handed = 0;
	int code = unread < 0 ? -1 : 0;

	if (stream->rule.kind != NO_RULE && unread == 0 && PyBytes_CheckExact(data))
		code = (done = cut_here(stream, data, &handed)) < 0 ? -1 : 0;
	if (code == 0 && !is_ending(stream) && done < PyObject_Size(data))
		code = cut_there(stream, data, done, &handed);
	stream->holds = 0;
	if (code < 0)
		return -1;
	if (flush(stream) < 0)
		return -1;
	return stream->watches ? defer_to_python(stream, "_watch_packet", handed ? Py_True : Py_False) : 0;
}

PyObject *
stream_data_received(PyObject *self, PyObject *data)
{
	struct stream *stream = (struct stream *)self;
	Py_ssize_t size = PyObject_Size(data);
	uint64_t now;

	if (size < 0)
		return NULL;
	if (is_ending(stream))
		Py_RETURN_NONE;
	if (!stream->session_row.obj) {
		PyErr_SetString(PyExc_SystemError, "bytes came before the connection had a session");
		return NULL;
	}
	if (stream->paused) { /* S8 */
		if (defer_to_python(stream, "_keep_back", data) < 0)
			return NULL;
		Py_RETURN_NONE;
	}
	stream->heard = 1;
	now = ipk_now_ns();
	ipk_session_heard(session_row(stream), now);
	((uint64_t *)stream->process_row.buf)[LAST_READ] = now;
	stream->total += (uint64_t)size;
	if (stream->framer == Py_None) {
		if (hand_out(stream, data) < 0)
			return NULL;
	} else if (cut(stream, data) < 0 && defer_error_to_python(stream, "_stream_raised") < 0) {
		return NULL;
	}
	if (settle(stream) < 0)
		return NULL;
	Py_RETURN_NONE;
}

PyObject *
stream_settle(PyObject *self, PyObject *none)
{
	(void)none;
	if (settle((struct stream *)self) < 0)
		return NULL;
	Py_RETURN_NONE;
}

PyObject *
stream_send(PyObject *self, PyObject *const *args, Py_ssize_t given)
{
	struct stream *stream = (struct stream *)self;
	int promised = given > 1 ? PyObject_IsTrue(args[1]) : 0;
	Py_ssize_t size;

	if (given < 1 || given > 2) {
		PyErr_SetString(PyExc_TypeError, "send() takes from 1 to 2 arguments");
		return NULL;
	}
	size = PyObject_Size(args[0]);
	if (promised < 0 || size < 0)
		return NULL;
	if (is_ending(stream) || stream->gone)
		Py_RETURN_FALSE;
	if (stream->reader_is_slow || stream->files != Py_None) {
		if (flush(stream) < 0)
			return NULL;
		return PyObject_CallMethod(self, "_send_behind", "Oi", args[0], promised);
	}
	if (!promised)
		ipk_session_writes(session_row(stream), (uint64_t)size); /* S3 */
	if ((stream->holds ? hold(stream, args[0], size) : write_out(stream, args[0])) < 0)
		return NULL;
	count(stream, RESPONSES);
	Py_RETURN_TRUE;
}

PyObject *
stream_flush(PyObject *self, PyObject *none)
{
	(void)none;
	if (flush((struct stream *)self) < 0)
		return NULL;
	Py_RETURN_NONE;
}

/*
 * python/stream/module.c - the module `_stream` and its type Stream.
 *
 * Owns      struct stream: its references, and its hold on two rows of shared memory.
 */
#include "python/arguments.h"
#include "python/numbers.h"
#include "python/references.h"
#include "python/stream/stream.h"

#include <structmember.h>

/* Hold on to so many words of shared memory. */
static int
take_row(PyObject *row, Py_buffer *buffer, Py_ssize_t words)
{
	if (PyObject_GetBuffer(row, buffer, PyBUF_WRITABLE) < 0)
		return -1;
	if (buffer->len == words * (Py_ssize_t)sizeof(uint64_t))
		return 0;
	PyErr_Format(PyExc_SystemError, "a row has %zd bytes in place of %zd words", buffer->len,
		     words);
	PyBuffer_Release(buffer);
	return -1;
}

/* _begin(server, slot, on_receive, framer, rule, watches, counts, row): once, before all else. */
static PyObject *
begin(PyObject *self, PyObject *args)
{
	struct stream *stream = (struct stream *)self;
	PyObject *rule;
	PyObject *row;
	int watches;
	int counts;

	if (stream->server) {
		PyErr_SetString(PyExc_SystemError, "a stream begins once");
		return NULL;
	}
	if (!PyArg_ParseTuple(args, "OOOOOppO", &stream->server, &stream->slot,
			      &stream->on_receive, &stream->framer, &rule, &watches, &counts,
			      &row)) {
		stream->server = stream->slot = stream->on_receive = stream->framer = NULL;
		return NULL;
	}
	Py_INCREF(stream->server);
	Py_INCREF(stream->slot);
	Py_INCREF(stream->on_receive);
	Py_INCREF(stream->framer);
	stream->watches = (char)watches;
	stream->counts = (char)counts;
	if (stream->framer != Py_None) {
		stream->feed = PyObject_GetAttrString(stream->framer, "feed");
		stream->unread = PyObject_GetAttrString(stream->framer, "_buffer");
		if (!stream->feed || !stream->unread || rule_from(rule, &stream->rule) < 0)
			return NULL;
	}
	return take_row(row, &stream->process_row, PROCESS_WORDS) < 0 ? NULL : Py_NewRef(Py_None);
}

/* _attach(session, row): it has a session now. */
static PyObject *
attach(PyObject *self, PyObject *args)
{
	struct stream *stream = (struct stream *)self;
	PyObject *session;
	PyObject *row;

	if (!PyArg_ParseTuple(args, "OO", &session, &row))
		return NULL;
	if (!stream->server || stream->session_row.obj) {
		PyErr_SetString(PyExc_SystemError, "a stream has one session, after it began");
		return NULL;
	}
	if (take_row(row, &stream->session_row, SESSION_WORDS) < 0)
		return NULL;
	Py_DECREF(stream->session);
	stream->session = Py_NewRef(session);
	Py_RETURN_NONE;
}

static PyObject *
stream_new(PyTypeObject *type, PyObject *args, PyObject *keywords)
{
	allocfunc allocate = (allocfunc)PyType_GetSlot(type, Py_tp_alloc);
	struct stream *stream = (struct stream *)allocate(type, 0);

	(void)args;
	(void)keywords;
	if (!stream)
		return NULL;
	stream->files = Py_NewRef(Py_None);
	stream->ending = PyUnicode_FromString("");
	stream->session = PyLong_FromLong(0);
	if (!stream->ending || !stream->session)
		Py_CLEAR(stream);
	return (PyObject *)stream;
}

#define CLEARED(each)                                                                              \
	each(server) each(slot) each(on_receive) each(framer) each(feed) each(unread) each(held)   \
		each(write) each(waiting)
/* A step reads these without a look for NULL. */
#define KEPT(each) each(session) each(files) each(ending)
REFERENCES(stream, CLEARED, KEPT)

static void
stream_free(PyObject *self)
{
	struct stream *stream = (struct stream *)self;
	PyTypeObject *type = Py_TYPE(self);
	freefunc release = (freefunc)PyType_GetSlot(type, Py_tp_free);

	PyObject_GC_UnTrack(self);
	stream_drop(self);
	if (stream->session_row.obj)
		PyBuffer_Release(&stream->session_row);
	if (stream->process_row.obj)
		PyBuffer_Release(&stream->process_row);
	release(self);
	Py_DECREF((PyObject *)type);
}

#define MEMBER(name, kind, field) {name, kind, offsetof(struct stream, field), 0, NULL}

static PyMemberDef members[] = {
	MEMBER("session", T_OBJECT, session),
	MEMBER("heard", T_BOOL, heard),
	MEMBER("_write", T_OBJECT, write),
	MEMBER("_files", T_OBJECT, files),
	MEMBER("_ending", T_OBJECT, ending),
	MEMBER("_waiting", T_OBJECT, waiting),
	MEMBER("_total", T_ULONGLONG, total),
	MEMBER("_running", T_BOOL, running),
	MEMBER("_reader_is_slow", T_BOOL, reader_is_slow),
	MEMBER("_gone", T_BOOL, gone),
	MEMBER("_paused", T_BOOL, paused),
	{NULL, 0, 0, 0, NULL},
};

static PyMethodDef stream_methods[] = {
	{"_begin", begin, METH_VARARGS, NULL},
	{"_attach", attach, METH_VARARGS, NULL},
	{"_settle", stream_settle, METH_NOARGS, NULL},
	{"_timed", stream_timed, METH_NOARGS, NULL},
	{"_flush", stream_flush, METH_NOARGS, NULL},
	{"_received", stream_received, METH_O, NULL},
	{"data_received", stream_data_received, METH_O, "Cut what came into packets and hand them on."},
	{"send", FAST(stream_send),
	 "Queue data for the peer; False when the connection ends. Promised: it is counted."},
	{NULL, NULL, 0, NULL},
};

static PyType_Slot stream_slots[] = {
	{Py_tp_new, (void *)stream_new},
	{Py_tp_dealloc, (void *)stream_free},
	{Py_tp_traverse, (void *)stream_traverse},
	{Py_tp_clear, (void *)stream_clear},
	{Py_tp_methods, stream_methods},
	{Py_tp_members, members},
	{Py_tp_doc, "What a connection does for every packet; the base of Connection."},
	{0, NULL},
};
static PyType_Spec stream_spec = {
	.name = "ipckit._core._stream.Stream",
	.basicsize = sizeof(struct stream),
	.flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
	.slots = stream_slots,
};

static struct PyModuleDef definition = {
	.m_base = PyModuleDef_HEAD_INIT,
	.m_name = "_stream",
	.m_size = -1,
};

/* Words of the rows, for Python. */
static const struct named_number words[] = {
	{"HEARD", HEARD},
	{"READ", READ},
	{"WRITTEN", WRITTEN},
	{"SESSION_WORDS", SESSION_WORDS},
	{"REQUESTS", REQUESTS},
	{"REQUESTS_DONE", REQUESTS_DONE},
	{"RESPONSES", RESPONSES},
	{"LAST_READ", LAST_READ},
	{"PROCESS_WORDS", PROCESS_WORDS},
	{NULL, 0},
};

PyMODINIT_FUNC PyInit__stream(void);

PyMODINIT_FUNC
PyInit__stream(void)
{
	PyObject *module = PyModule_Create(&definition);
	PyObject *type = module ? PyType_FromSpec(&stream_spec) : NULL;

	if (!type || PyModule_AddObjectRef(module, "Stream", type) < 0 ||
	    add_numbers(module, words) < 0)
		Py_CLEAR(module);
	Py_XDECREF(type);
	return module;
}

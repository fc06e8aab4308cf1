/*
 * python/shared_queue/module.c - the module `_shared_queue` and its type Queue, of which
 * ipckit.queue.SharedQueue is a subclass.
 *
 * Owns      the handle: opening and closing it, what it counts.
 * Stands on python/segments, shared_queue/.  State  none.  Blocks  never.
 */
#include "python/arguments.h"
#include "python/shared_queue/door.h"
#include "python/threads.h"

#include <errno.h>

/* attach(fd, message, refusals) -> (messages, pages, attempts); takes over fd if it succeeds. */
static PyObject *
queue_attach(PyObject *object, PyObject *args)
{
	struct queue_handle *self = (struct queue_handle *)object;
	struct ipk_queue *queue;
	PyObject *message;
	PyObject *refusals;
	const char *why;
	int code;
	int fd;

	if (!PyArg_ParseTuple(args, "iO!O", &fd, &PyType_Type, &message, &refusals))
		return NULL;
	if (self->segment || !PyType_IsSubtype((PyTypeObject *)message, &PyTuple_Type)) {
		PyErr_SetString(segment_misuse, "the queue is open already");
		return NULL;
	}
	self->segment = segment_open(fd, SEGMENT_QUEUE, 0, &code, &why);
	if (!self->segment) {
		if (why)
			PyErr_SetString(segment_corrupt, why);
		else
			(void)segment_raise_errno(code, "mmap", "mapping the queue's segment");
		return NULL;
	}
	self->message = Py_NewRef(message);
	self->refusals = Py_NewRef(refusals);
	queue = &self->segment->queue;
	return Py_BuildValue("(III)", queue->shape.messages, queue->shape.pages,
			     queue->shape.attempts);
}

static PyObject *
queue_close(PyObject *object, PyObject *unused)
{
	struct queue_handle *self = (struct queue_handle *)object;
	struct segment *segment = LOAD_RELAXED(&self->segment);

	(void)unused;
	STORE_RELAXED(&self->ended, 1);
	if (segment && !segment_is_entered(segment))
		(void)segment_release_slot(segment); /* a lease of this thread keeps it */
	segment = EXCHANGE(&self->segment, NULL);
	if (segment)
		segment_close(segment);
	Py_RETURN_NONE;
}

static void
queue_free(PyObject *object)
{
	struct queue_handle *self = (struct queue_handle *)object;
	PyTypeObject *type = Py_TYPE(object);

	Py_XDECREF(queue_close(object, NULL));
	Py_XDECREF(self->message);
	Py_XDECREF(self->refusals);
	((freefunc)PyType_GetSlot(type, Py_tp_free))(object);
	Py_DECREF(type);
}

/* Enter it for a look; NULL: raised. */
static struct segment *
look(struct queue_handle *self)
{
	struct segment *segment = segment_enter(&self->segment);

	if (!segment && !PyErr_Occurred() && self->refusals)
		(void)queue_refuse(self, LOAD_RELAXED(&self->ended) ? "closed" : "not_made", "()");
	else if (!segment && !PyErr_Occurred())
		PyErr_SetString(segment_misuse, "Queue is a base: use ipckit.queue.SharedQueue");
	return segment;
}

/* _count() -> (free, filling, queued, leased, delayed, dead, free pages, ns the oldest was sent at) */
static PyObject *
queue_count(PyObject *self, PyObject *unused)
{
	struct segment *segment = look((struct queue_handle *)self);
	struct ipk_queue_counts counts;

	(void)unused;
	if (!segment)
		return NULL;
	ipk_queue_count(&segment->queue, &counts);
	segment_leave();
	return Py_BuildValue("(IIIIIIIL)", counts.in[IPK_QUEUE_FREE], counts.in[IPK_QUEUE_FILLING],
			     counts.in[IPK_QUEUE_QUEUED], counts.in[IPK_QUEUE_LEASED],
			     counts.in[IPK_QUEUE_DELAYED], counts.in[IPK_QUEUE_DEAD],
			     counts.free_pages, (long long)counts.oldest);
}

/* _verify() -> the rule that is broken, or None */
static PyObject *
queue_verify(PyObject *self, PyObject *unused)
{
	struct segment *segment = look((struct queue_handle *)self);
	const char *broken;

	(void)unused;
	if (!segment)
		return NULL;
	broken = ipk_queue_verify(&segment->queue);
	segment_leave();
	return Py_BuildValue("z", broken);
}

static PyObject *
queue_descriptor(PyObject *self, PyObject *unused)
{
	struct segment *segment = look((struct queue_handle *)self);
	PyObject *result;

	(void)unused;
	if (!segment)
		return NULL;
	result = PyLong_FromLong(segment->registry.fd);
	segment_leave();
	return result;
}

static PyMethodDef queue_methods[] = {
	{"send", FAST_KEYWORDS(queue_send), PyDoc_STR("send($self, body, timeout=None)\n--\n\n")},
	{"send_nowait", queue_send_nowait, METH_O, PyDoc_STR("send_nowait($self, body, /)\n--\n\n")},
	{"send_many", FAST_KEYWORDS(queue_send_many),
	 PyDoc_STR("send_many($self, bodies, timeout=None)\n--\n\n")},
	{"receive", FAST_KEYWORDS(queue_receive), PyDoc_STR("receive($self, timeout=None)\n--\n\n")},
	{"receive_nowait", queue_receive_nowait, METH_NOARGS,
	 PyDoc_STR("receive_nowait($self)\n--\n\n")},
	{"receive_many", FAST_KEYWORDS(queue_receive_many),
	 PyDoc_STR("receive_many($self, most, timeout=None)\n--\n\n")},
	{"lease", FAST_KEYWORDS(queue_lease), PyDoc_STR("lease($self, timeout=None)\n--\n\n")},
	{"reserve", FAST_KEYWORDS(queue_reserve),
	 PyDoc_STR("reserve($self, size, timeout=None)\n--\n\n")},
	{"_attach", queue_attach, METH_VARARGS, NULL},
	{"_close", queue_close, METH_NOARGS, NULL},
	{"_count", queue_count, METH_NOARGS, NULL},
	{"_verify", queue_verify, METH_NOARGS, NULL},
	{"_descriptor", queue_descriptor, METH_NOARGS, NULL},
	{NULL, NULL, 0, NULL},
};
static PyType_Slot queue_slots[] = {
	{Py_tp_dealloc, (void *)queue_free},
	{Py_tp_methods, queue_methods},
	{Py_tp_doc, "A shared queue in this process; see ipckit.queue.SharedQueue."},
	{0, NULL},
};
static PyType_Spec queue_spec = {
	.name = "ipckit._core._shared_queue.Queue",
	.basicsize = sizeof(struct queue_handle),
	.flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE,
	.slots = queue_slots,
};

static PyModuleDef definition = {
	.m_base = PyModuleDef_HEAD_INIT,
	.m_name = "_shared_queue",
	.m_doc = "Messages of a shared queue as Python objects, over the C core.",
	.m_size = -1, /* one interpreter: slots belong to threads of the process */
};

PyMODINIT_FUNC PyInit__shared_queue(void);

PyMODINIT_FUNC
PyInit__shared_queue(void)
{
	PyObject *module;
	PyObject *type;
	int code = membership_setup();

	if (code) {
		PyErr_Format(PyExc_ImportError, "pthread_atfork or pthread_key_create: errno %d",
			     code);
		return NULL;
	}
	if (segment_errors_setup() < 0)
		return NULL;
	module = PyModule_Create(&definition);
	type = module ? PyType_FromSpec(&queue_spec) : NULL;
	if (!type || PyModule_AddObjectRef(module, "Queue", type) < 0 || held_setup(module) < 0 ||
	    declare_no_gil(module) < 0)
		Py_CLEAR(module);
	Py_XDECREF(type);
	return module;
}

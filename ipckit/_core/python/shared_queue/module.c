/*
 * python/shared_queue/module.c - the module `_shared_queue` and its type Queue, of which
 * ipckit.queue.SharedQueue is a subclass.
 *
 * Owns      the handle: opening and closing it.
 * Stands on python/segments, shared_queue/.  State  none.  Blocks  never.
 */
#include "python/arguments.h"
#include "python/shared_queue/door.h"
#include "python/threads.h"

/* attach(fd, message, refusals) -> (messages, pages, attempts, content); takes over fd if it succeeds. */
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
	if (!self->message) { /* __init__ after close(): they are there, and the same */
		self->message = Py_NewRef(message);
		self->refusals = Py_NewRef(refusals);
	}
	STORE_RELAXED(&self->ended, 0);
	queue = &self->segment->queue;
	return Py_BuildValue("(IIII)", queue->shape.messages, queue->shape.pages,
			     queue->shape.attempts, queue->shape.content);
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
	queue_unwatch(self);
	if (segment) {
		ipk_queue_wake_all(&segment->queue); /* threads of this process, too: they find it closed */
		segment_close(segment);
	}
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

/* _watch(event) -> a descriptor, see watch.c; event: 0 a message, 1 room. */
static PyObject *
queue_descriptor_of(PyObject *self, PyObject *event)
{
	long number = PyLong_AsLong(event);
	int fd;

	if (number != IPK_QUEUE_MESSAGE && number != IPK_QUEUE_ROOM) {
		if (!PyErr_Occurred())
			PyErr_SetString(PyExc_ValueError, "event: 0 or 1");
		return NULL;
	}
	fd = queue_watch((struct queue_handle *)self, (enum ipk_queue_event)number);
	return fd < 0 ? NULL : PyLong_FromLong(fd);
}

static PyObject *
queue_descriptor(PyObject *self, PyObject *unused)
{
	struct segment *segment = queue_look((struct queue_handle *)self);
	PyObject *result;

	(void)unused;
	if (!segment)
		return NULL;
	result = PyLong_FromLong(segment->registry.fd);
	segment_leave();
	return result;
}

/* size_of(messages, pages, attempts, content) -> bytes of the segment */
static PyObject *
size_of(PyObject *module, PyObject *args)
{
	struct ipk_queue_shape shape;
	int64_t bytes;

	(void)module;
	if (!PyArg_ParseTuple(args, "IIII", &shape.messages, &shape.pages, &shape.attempts, &shape.content))
		return NULL;
	bytes = ipk_queue_bytes(&shape);
	if (bytes >= 0)
		return PyLong_FromLongLong(bytes);
	PyErr_SetString(PyExc_ValueError, "no queue has these sizes");
	return NULL;
}

/* lay_out(memory, messages, pages, attempts, content): write an empty queue into zeroed memory */
static PyObject *
lay_out(PyObject *module, PyObject *args)
{
	struct ipk_queue_shape shape;
	Py_buffer memory;
	int code;

	(void)module;
	if (!PyArg_ParseTuple(args, "w*IIII", &memory, &shape.messages, &shape.pages, &shape.attempts,
			      &shape.content))
		return NULL;
	code = ipk_queue_format(memory.buf, (uint64_t)memory.len, &shape);
	PyBuffer_Release(&memory);
	if (code == 0)
		Py_RETURN_NONE;
	PyErr_SetString(PyExc_ValueError, "no queue of these sizes is in so much memory");
	return NULL;
}

static PyMethodDef functions[] = {
	{"size_of", size_of, METH_VARARGS, NULL},
	{"lay_out", lay_out, METH_VARARGS, NULL},
	{NULL, NULL, 0, NULL},
};
static PyMethodDef queue_methods[] = {
	{"send", FAST_KEYWORDS(queue_send),
	 PyDoc_STR("send($self, body, timeout=None)\n--\n\n"
		   "Put one message on the queue; wait until there is room.\n\n"
		   "Args:\n"
		   "    body: 0..max_bytes bytes. Copied once, into the shared memory.\n"
		   "    timeout: seconds; None waits for ever, 0 tries once.\n\n"
		   "Raises:\n"
		   "    QueueFull: no room in that time. MessageTooLarge: it fits no empty queue. Nothing\n"
		   "    was sent in either case. SystemCallError: 512 threads use the queue.\n\n"
		   "Blocks: at most `timeout`. Signals: waits on after a handler that returns.\n"
		   "Crash: the message is either wholly on the queue or not there.")},
	{"send_nowait", queue_send_nowait, METH_O,
	 PyDoc_STR("send_nowait($self, body, /)\n--\n\n"
		   "Put one message on the queue, or raise QueueFull at once. As send() otherwise.")},
	{"send_many", FAST_KEYWORDS(queue_send_many),
	 PyDoc_STR("send_many($self, bodies, timeout=None)\n--\n\n"
		   "Put messages on the queue: wait for room for the first, and send as many as have room "
		   "then.\n\n"
		   "Args:\n"
		   "    bodies: an iterable of bodies. All are checked before the first is sent.\n"
		   "    timeout: seconds; None waits for ever, 0 tries once.\n\n"
		   "Returns: how many were sent, from the first on.\n\n"
		   "Raises as send(); then none was sent. Crash: each message by itself as with send().")},
	{"receive", FAST_KEYWORDS(queue_receive),
	 PyDoc_STR("receive($self, timeout=None)\n--\n\n"
		   "Take the oldest message off the queue; wait until one comes.\n\n"
		   "Args:\n"
		   "    timeout: seconds; None waits for ever, 0 tries once.\n\n"
		   "Returns: Message(type, body); type is 1.\n\n"
		   "Raises QueueEmpty: none in that time.\n\n"
		   "Blocks: at most `timeout`. Signals: waits on after a handler that returns.\n"
		   "Crash: the message is on the queue again, with one more attempt, or gone. With lease()\n"
		   "it stays until it is acknowledged.")},
	{"receive_nowait", queue_receive_nowait, METH_NOARGS,
	 PyDoc_STR("receive_nowait($self)\n--\n\n"
		   "Take one message off the queue, or raise QueueEmpty at once. As receive() "
		   "otherwise.")},
	{"receive_many", FAST_KEYWORDS(queue_receive_many),
	 PyDoc_STR("receive_many($self, most, timeout=None)\n--\n\n"
		   "Wait for a message, and take up to `most` (1 or more) of those that are there then.\n\n"
		   "Returns: a list of Message, oldest first. Raises and crash: as receive().")},
	{"lease", FAST_KEYWORDS(queue_lease),
	 PyDoc_STR("lease($self, timeout=None)\n--\n\n"
		   "Lease the oldest message; wait until one comes.\n\n"
		   "Use it in a `with` block: the end of the block acknowledges, an exception gives it "
		   "back.\n\n"
		   "Args:\n"
		   "    timeout: seconds; None waits for ever, 0 tries once.\n\n"
		   "Returns: a Lease, of the calling thread.\n\n"
		   "Raises QueueEmpty: none in that time. SystemCallError: a body in several parts could "
		   "not be\nmapped in one piece; the message was given back.\n\n"
		   "Blocks: at most `timeout`. Crash: the message is given back, with one more attempt.")},
	{"reserve", FAST_KEYWORDS(queue_reserve),
	 PyDoc_STR("reserve($self, size, timeout=None)\n--\n\n"
		   "Take space for a message of `size` bytes, to write it in place; wait until there is "
		   "room.\n\n"
		   "Use it in a `with` block: the end of the block sends, an exception gives the space "
		   "back.\n\n"
		   "Args:\n"
		   "    size: 0..max_bytes bytes.\n"
		   "    timeout: seconds; None waits for ever, 0 tries once.\n\n"
		   "Returns: a Reservation, of the calling thread.\n\n"
		   "Raises as send(). SystemCallError: space in several parts could not be mapped in one "
		   "piece.\n\n"
		   "Blocks: at most `timeout`. Crash: the space is free.")},
	{"_get", queue_get_object, METH_O, NULL},
	{"_finish", queue_finish, METH_NOARGS, NULL},
	{"_join", queue_join, METH_O, NULL},
	{"_attach", queue_attach, METH_VARARGS, NULL},
	{"_close", queue_close, METH_NOARGS, NULL},
	{"_watch", queue_descriptor_of, METH_O, NULL},
	{"_count", queue_count, METH_NOARGS, NULL},
	{"_depth", queue_depth, METH_NOARGS, NULL},
	{"_verify", queue_verify, METH_NOARGS, NULL},
	{"_holders", queue_holders, METH_NOARGS, NULL},
	{"_dead", queue_dead, METH_NOARGS, NULL},
	{"_dead_body", queue_dead_body, METH_O, NULL},
	{"_retry", queue_retry, METH_O, NULL},
	{"_discard", queue_discard, METH_O, NULL},
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
	.m_methods = functions,
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

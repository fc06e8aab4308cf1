/*
 * python/queues/module.c - the module `_messages` and its types Sysv and Posix, the bases of the
 * queues.
 *
 * Owns      the texts that Python shows for their methods.
 * Stands on messages.h.  State  none.  Blocks  never.
 */
#include "python/arguments.h"
#include "python/queues/messages.h"
#include "python/references.h"
#include "python/threads.h"

/* _begin(id, message, given): before anything else; `given` has a length, or is None. */
static PyObject *
begin(PyObject *self, PyObject *args)
{
	struct queue *queue = (struct queue *)self;
	PyObject *message;
	PyObject *given;
	int id;

	if (!PyArg_ParseTuple(args, "iO!O", &id, &PyType_Type, &message, &given))
		return NULL;
	if (queue->message || !PyType_IsSubtype((PyTypeObject *)message, &PyTuple_Type)) {
		PyErr_SetString(PyExc_SystemError, "a queue begins once, with the class of a tuple");
		return NULL;
	}
	queue->id = id;
	queue->message = Py_NewRef(message);
	queue->given = given == Py_None ? NULL : Py_NewRef(given);
	Py_RETURN_NONE;
}

/* _end() -> the id, which this queue has no more; -1: it was closed before. */
static PyObject *
end(PyObject *self, PyObject *unused)
{
	int id;

	(void)unused;
	BEGIN_EXCLUSIVE(self);
	id = EXCHANGE(&((struct queue *)self)->id, -1);
	END_EXCLUSIVE();
	return PyLong_FromLong(id);
}

static PyMethodDef sysv_methods[] = {
	{"_begin", begin, METH_VARARGS, NULL},
	{"_end", end, METH_NOARGS, NULL},
	{"_take_now", sysv_take_now, METH_O, NULL},
	{"send", FAST_KEYWORDS(sysv_send),
	 PyDoc_STR(
		 "send($self, body, *, type=1, timeout=None)\n--\n\n"
		 "Put one message on the queue; wait until there is room.\n\n"
		 "Args:\n"
		 "    body: 0..min(msgmax, max_bytes) bytes (8192 unless changed). Copied.\n"
		 "    type: 1..2**63-1, for receivers to choose by.\n"
		 "    timeout: seconds; None waits for ever, 0 tries once.\n\n"
		 "Raises:\n"
		 "    QueueFull: no room in that time. MessageTooLarge: over a limit, both numbers\n"
		 "    named. QueueRemoved: the queue is gone, before or during the wait. AccessDenied.\n"
		 "    Nothing was sent in any of these cases.\n\n"
		 "Blocks: at most `timeout`. Signals: waits on after a handler that returns.\n"
		 "Crash: the message is either wholly on the queue or not there. Source: msgsnd(2).")},
	{"send_nowait", FAST_KEYWORDS(sysv_send_nowait),
	 PyDoc_STR("send_nowait($self, body, *, type=1)\n--\n\n"
		   "Put one message on the queue, or raise QueueFull at once. As send() otherwise.")},
	{"receive", FAST_KEYWORDS(sysv_receive),
	 PyDoc_STR(
		 "receive($self, *, type=0, exclude=False, max_size=None, truncate=False, "
		 "timeout=None)\n--\n\n"
		 "Take one message off the queue; wait until a fitting one comes.\n\n"
		 "Args:\n"
		 "    type: 0 the oldest, n > 0 the oldest of that type, -n the lowest type <= n.\n"
		 "    exclude: the oldest of any type but `type`, which is then 1 or more.\n"
		 "    max_size: bytes; a longer message raises MessageTooLarge and stays. None: any size.\n"
		 "    truncate: cut it to max_size instead; the rest is lost.\n"
		 "    timeout: seconds; None waits for ever, 0 tries once.\n\n"
		 "Returns: Message(type, body).\n\n"
		 "Raises:\n"
		 "    QueueEmpty: none in that time. MessageTooLarge. QueueRemoved: the queue is gone,\n"
		 "    before or during the wait. AccessDenied. Nothing was taken in any of these cases.\n\n"
		 "Blocks: at most `timeout`. Signals: waits on after a handler that returns.\n"
		 "Crash: a message is gone with the process that took it, and one whose receiver is\n"
		 "killed in this call just as it comes too; areceive() has no such moment. Source:\n"
		 "msgrcv(2).")},
	{"receive_nowait", FAST_KEYWORDS(sysv_receive_nowait),
	 PyDoc_STR("receive_nowait($self, *, type=0, exclude=False, max_size=None, truncate=False)"
		   "\n--\n\n"
		   "Take one message off the queue, or raise QueueEmpty at once. As receive() "
		   "otherwise.")},
	{NULL, NULL, 0, NULL},
};

static PyMethodDef posix_methods[] = {
	{"_begin", begin, METH_VARARGS, NULL},
	{"_end", end, METH_NOARGS, NULL},
	{"send", FAST_KEYWORDS(posix_send),
	 PyDoc_STR(
		 "send($self, body, *, priority=0, timeout=None)\n--\n\n"
		 "Put one message on the queue; wait until there is room.\n\n"
		 "Args:\n"
		 "    body: 0..max_message_size bytes. Copied.\n"
		 "    priority: 0..32767; higher ones are received first.\n"
		 "    timeout: seconds; None waits for ever, 0 tries once.\n\n"
		 "Raises:\n"
		 "    QueueFull: no room in that time. MessageTooLarge. Nothing was sent in either case.\n\n"
		 "Blocks: at most `timeout`. Signals: waits on after a handler that returns.\n"
		 "Crash: the message is either wholly on the queue or not there. Source: mq_send(3),\n"
		 "poll(2).")},
	{"send_nowait", FAST_KEYWORDS(posix_send_nowait),
	 PyDoc_STR("send_nowait($self, body, *, priority=0)\n--\n\n"
		   "Put one message on the queue, or raise QueueFull at once. As send() otherwise.")},
	{"receive", FAST_KEYWORDS(posix_receive),
	 PyDoc_STR("receive($self, *, timeout=None)\n--\n\n"
		   "Take the oldest message of the highest priority; wait until one comes.\n\n"
		   "Args:\n"
		   "    timeout: seconds; None waits for ever, 0 tries once.\n\n"
		   "Returns: Message(type, body); type is the priority.\n\n"
		   "Raises QueueEmpty: none in that time.\n\n"
		   "Blocks: at most `timeout`. Signals: waits on after a handler that returns.\n"
		   "Crash: a message is gone with the process that took it; a wait takes none.\n"
		   "Source: mq_receive(3), poll(2).")},
	{"receive_nowait", FAST_KEYWORDS(posix_receive_nowait),
	 PyDoc_STR("receive_nowait($self)\n--\n\n"
		   "Take one message off the queue, or raise QueueEmpty at once. As receive() "
		   "otherwise.")},
	{NULL, NULL, 0, NULL},
};

#define CLEARED(each) each(message) each(given)
REFERENCES(queue, CLEARED, NO_REFERENCES)

static PyObject *
queue_new(PyTypeObject *type, PyObject *args, PyObject *keywords)
{
	allocfunc allocate = (allocfunc)PyType_GetSlot(type, Py_tp_alloc);
	struct queue *queue = (struct queue *)allocate(type, 0);

	(void)args;
	(void)keywords;
	if (queue)
		queue->id = -1;
	return (PyObject *)queue;
}

static void
queue_free(PyObject *self)
{
	PyTypeObject *type = Py_TYPE(self);
	freefunc release = (freefunc)PyType_GetSlot(type, Py_tp_free);

	PyObject_GC_UnTrack(self);
	queue_drop(self);
	release(self);
	Py_DECREF((PyObject *)type);
}

static PyObject *
queue_id(PyObject *self, void *unused)
{
	(void)unused;
	return PyLong_FromLong(LOAD_RELAXED(&((struct queue *)self)->id));
}

static int
queue_set_id(PyObject *self, PyObject *value, void *unused)
{
	long id = value ? PyLong_AsLong(value) : -1;

	(void)unused;
	if (PyErr_Occurred())
		return -1;
	STORE_RELAXED(&((struct queue *)self)->id, (int)id);
	return 0;
}

static PyGetSetDef queue_properties[] = {
	{"_id", queue_id, queue_set_id, NULL, NULL},
	{NULL, NULL, NULL, NULL, NULL},
};

/* A type of these methods, and what every queue has. */
static int
add_queue(PyObject *module, const char *name, PyMethodDef *methods)
{
	PyType_Slot slots[] = {
		{Py_tp_new, (void *)queue_new},
		{Py_tp_dealloc, (void *)queue_free},
		{Py_tp_traverse, (void *)queue_traverse},
		{Py_tp_clear, (void *)queue_clear},
		{Py_tp_getset, queue_properties},
		{Py_tp_methods, methods},
		{Py_tp_doc, "The usual case of sending and receiving; the base of a queue's class."},
		{0, NULL},
	};
	PyType_Spec spec = {
		.name = name,
		.basicsize = sizeof(struct queue),
		.flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
		.slots = slots,
	};
	PyObject *type = PyType_FromSpec(&spec);
	int code = type ? PyModule_AddObjectRef(module, strrchr(name, '.') + 1, type) : -1;

	Py_XDECREF(type);
	return code;
}

static struct PyModuleDef definition = {
	.m_base = PyModuleDef_HEAD_INIT,
	.m_name = "_messages",
	.m_size = -1,
};

PyMODINIT_FUNC PyInit__messages(void);

PyMODINIT_FUNC
PyInit__messages(void)
{
	PyObject *module = PyModule_Create(&definition);

	if (module && (add_queue(module, "ipckit._core._messages.Sysv", sysv_methods) < 0 ||
		       add_queue(module, "ipckit._core._messages.Posix", posix_methods) < 0 ||
		       declare_no_gil(module) < 0))
		Py_CLEAR(module);
	return module;
}

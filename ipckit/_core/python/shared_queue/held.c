/*
 * python/shared_queue/held.c - the types Lease and Reservation: a message in shared memory that this
 * process has.
 *
 * Owns      struct held.  Stands on wait.c, body.c.
 * State     a held message keeps its segment mapped, also after the queue's close().
 * Blocks    queue_lease and queue_reserve, as queue_get().
 *
 * Invariants
 *   L1  A message's memory is given to others (its record is freed, QUEUED or sent) only when no buffer
 *       of it is exported: what others write into it afterwards is in no view.
 *   L2  A message that is acknowledged while a view of it is in use is CLEARING: no receiver gets it
 *       again. Its memory is freed when the last view is released.
 *   L3  A message is its thread's. A child of a fork has the object and not the message.
 */
#include "python/arguments.h"
#include "python/shared_queue/held.h"

#include <errno.h>

static PyTypeObject *lease_type;
static PyTypeObject *reservation_type;

/* -- making -- */

/* What the call has leased, as an object. NULL: raised; the message is not ours. */
static PyObject *
hold(PyTypeObject *type, struct queue_call *call, int writable)
{
	allocfunc allocate = (allocfunc)PyType_GetSlot(type, Py_tp_alloc);
	struct held *held = (struct held *)allocate(type, 0);
	int code = 0;

	if (held) {
		held->refusals = Py_NewRef(call->handle->refusals);
		held->segment = call->segment;
		held->lease = call->lease;
		held->writable = writable;
		held->forks = segment_forks();
		segment_keep(call->segment);
		code = held_find_body(held);
		if (code == 0)
			return (PyObject *)held;
		if (code == -EUCLEAN)
			(void)queue_raise(call, code);
		else
			(void)segment_raise_errno(code, "mmap", "the parts of a message");
		segment_drop(call->segment);
		held->segment = NULL;
		Py_DECREF(held);
	}
	if (writable)
		ipk_queue_abandon(call->queue, call->party, &call->lease);
	else
		(void)ipk_queue_give_back(call->queue, &call->lease, 0);
	return NULL;
}

QUEUE_FAST(queue_lease)
{
	static const char *const names[] = {"timeout"};
	struct queue_call call;
	PyObject *places[1];
	PyObject *held = NULL;
	int code;

	if (place_arguments("lease", names, 0, 1, args, count, keywords, places) < 0 ||
	    queue_begin(&call, self, places[0]) < 0)
		return NULL;
	call.event = IPK_QUEUE_MESSAGE;
	call.size = 0;
	code = queue_get(&call);
	if (code > 0)
		held = hold(lease_type, &call, 0);
	else if (code == 0)
		queue_refuse_call(&call);
	queue_end(&call);
	return held;
}

/* 0 and more; -1: raised. */
static Py_ssize_t
size_of(PyObject *number)
{
	Py_ssize_t size = PyLong_Check(number) ? PyLong_AsSsize_t(number) : -1;

	if (size >= 0)
		return size;
	if (!PyLong_Check(number))
		PyErr_Format(PyExc_TypeError, "size=%R: must be an int", number);
	else if (!PyErr_Occurred() || PyErr_ExceptionMatches(PyExc_OverflowError))
		PyErr_Format(PyExc_ValueError, "size=%R: must be 0..2**63-1 bytes", number);
	return -1;
}

QUEUE_FAST(queue_reserve)
{
	static const char *const names[] = {"size", "timeout"};
	struct queue_call call;
	PyObject *places[2];
	PyObject *held = NULL;
	Py_ssize_t size;
	int code;

	if (place_arguments("reserve", names, 1, 2, args, count, keywords, places) < 0)
		return NULL;
	size = size_of(places[0]);
	if (size < 0 || queue_begin(&call, self, places[1]) < 0)
		return NULL;
	call.event = IPK_QUEUE_ROOM;
	call.size = (uint64_t)size;
	code = queue_get(&call);
	if (code > 0)
		held = hold(reservation_type, &call, 1);
	else if (code == 0)
		queue_refuse_call(&call);
	queue_end(&call);
	return held;
}
/* -- its end -- */

/* 0 when the message is ours still; -1 raised. */
static int
check_ours(const struct held *held)
{
	if (held->forks != segment_forks())
		PyErr_SetString(segment_misuse, "the message is the parent's: a child of a fork has "
						"none of its leases and reservations");
	else if (!held->segment || held->clearing)
		PyErr_SetString(segment_misuse, "the message is over: it was acknowledged, given "
						"back, sent or abandoned before");
	else
		return 0;
	return -1;
}

/* The calling thread's party, when the message is ours still and in no view; NULL: raised. */
static struct ipk_party *
begin_end(struct held *held)
{
	if (check_ours(held) < 0 || held_release_view(held) < 0)
		return NULL;
	return segment_join(held->segment);
}

/* 0, or -1 raised, for a result of the core. */
static int
check_code(int code)
{
	if (code == -ESTALE)
		PyErr_SetString(segment_misuse, "the message is not ours any more: the thread that "
						"leased it has ended, so it was given back");
	else if (code == -EUCLEAN)
		PyErr_SetString(segment_corrupt, "the queue's segment is damaged: its ring is full");
	else if (code < 0)
		PyErr_Format(segment_internal, "the queue's core returned %d", code);
	return code < 0 ? -1 : 0;
}

static PyObject *
ended(struct held *held, int code)
{
	held_forget(held);
	if (check_code(code) < 0)
		return NULL;
	Py_RETURN_NONE;
}

static PyObject *
lease_acknowledge(PyObject *self, PyObject *unused)
{
	struct held *held = (struct held *)self;
	struct ipk_party *party = NULL;

	(void)unused;
	if (check_ours(held) == 0) {
		if (held_release_view(held) < 0)
			PyErr_Clear(); /* L2 */
		party = segment_join(held->segment);
	}
	if (!party)
		return NULL;
	if (held->exports == 0)
		return ended(held, ipk_queue_acknowledge(&held->segment->queue, party, &held->lease));
	if (check_code(ipk_queue_begin_clearing(&held->segment->queue, party, &held->lease)) < 0)
		return NULL;
	held->clearing = 1;
	Py_RETURN_NONE;
}

/* give_back(delay=0) */
static PyObject *
lease_give_back(PyObject *self, PyObject *const *args, Py_ssize_t count, PyObject *keywords)
{
	static const char *const names[] = {"delay"};
	struct held *held = (struct held *)self;
	PyObject *places[1];
	PyObject *deadline;
	int64_t due = 0;

	if (place_arguments("give_back", names, 0, 1, args, count, keywords, places) < 0)
		return NULL;
	if (places[0]) {
		deadline = PyObject_CallMethod(held->refusals, "due_ns", "(O)", places[0]);
		if (!deadline)
			return NULL;
		due = PyLong_AsLongLong(deadline);
		Py_DECREF(deadline);
		if (PyErr_Occurred())
			return NULL;
	}
	if (!begin_end(held))
		return NULL;
	return ended(held, ipk_queue_give_back(&held->segment->queue, &held->lease, due));
}

static PyObject *
reservation_send(PyObject *self, PyObject *unused)
{
	struct held *held = (struct held *)self;
	struct ipk_party *party = begin_end(held);

	(void)unused;
	if (!party)
		return NULL;
	return ended(held, ipk_queue_publish(&held->segment->queue, party, &held->lease));
}

static PyObject *
reservation_abandon(PyObject *self, PyObject *unused)
{
	struct held *held = (struct held *)self;
	struct ipk_party *party = begin_end(held);

	(void)unused;
	if (!party)
		return NULL;
	ipk_queue_abandon(&held->segment->queue, party, &held->lease);
	return ended(held, 0);
}

static PyObject *
held_enter(PyObject *self, PyObject *unused)
{
	(void)unused;
	return Py_NewRef(self);
}

/* __exit__: what is over already stays so. After an exception, whose traceback may have a view, the
 * message is given back when the last view is gone (held_free). */
static PyObject *
leave(PyObject *self, PyObject *args, PyCFunction well, PyCFunction badly)
{
	PyObject *kind;
	PyObject *error;
	PyObject *trace;
	PyObject *result;
	struct held *held = (struct held *)self;

	if (!PyArg_ParseTuple(args, "OOO", &kind, &error, &trace))
		return NULL;
	if (!held->segment || held->clearing || held->forks != segment_forks())
		Py_RETURN_NONE;
	if (kind == Py_None)
		return well(self, NULL);
	result = badly(self, NULL);
	if (result || !PyErr_ExceptionMatches(PyExc_BufferError))
		return result;
	PyErr_Clear();
	Py_RETURN_NONE;
}

static PyObject *
lease_give_back_now(PyObject *self, PyObject *unused)
{
	(void)unused;
	return lease_give_back(self, NULL, 0, NULL);
}

static PyObject *
lease_exit(PyObject *self, PyObject *args)
{
	return leave(self, args, lease_acknowledge, lease_give_back_now);
}

static PyObject *
reservation_exit(PyObject *self, PyObject *args)
{
	return leave(self, args, reservation_send, reservation_abandon);
}

/* Nobody has the object any more: it is given back, or not sent. */
static void
give_up(struct held *held)
{
	struct ipk_party *party;
	PyObject *kind;
	PyObject *error;
	PyObject *trace;

	PyErr_Fetch(&kind, &error, &trace);
	party = segment_join(held->segment);
	if (!held->writable)
		(void)ipk_queue_give_back(&held->segment->queue, &held->lease, 0);
	else if (party)
		ipk_queue_abandon(&held->segment->queue, party, &held->lease);
	PyErr_Restore(kind, error, trace);
	held_forget(held);
}

static void
held_free(PyObject *self)
{
	struct held *held = (struct held *)self;
	PyTypeObject *type = Py_TYPE(self);

	/* A view has a reference to this object, so there is none by now. */
	if (held->segment && held->forks == segment_forks())
		give_up(held);
	else if (held->segment)
		held_forget(held); /* L3 */
	Py_XDECREF(held->view);
	Py_XDECREF(held->refusals);
	((freefunc)PyType_GetSlot(type, Py_tp_free))(self);
	Py_DECREF(type);
}

/* -- the types -- */

static PyObject *
held_reduce(PyObject *self, PyObject *unused)
{
	(void)self;
	(void)unused;
	PyErr_SetString(PyExc_TypeError, "a lease or a reservation belongs to this thread: send a copy "
					 "of its bytes, or share the queue");
	return NULL;
}

static PyObject *
lease_attempt(PyObject *self, void *unused)
{
	(void)unused;
	return PyLong_FromUnsignedLong(((struct held *)self)->message.attempt);
}

static PyObject *
held_size(PyObject *self, void *unused)
{
	(void)unused;
	return PyLong_FromUnsignedLongLong(((struct held *)self)->message.size);
}

static PyMethodDef lease_methods[] = {
	{"acknowledge", lease_acknowledge, METH_NOARGS,
	 PyDoc_STR("acknowledge($self)\n--\n\n"
		   "Remove the message for good: no receiver gets it again. Its memory is free when "
		   "the last\nview of its body is gone. MisuseError: it is over, or its thread has "
		   "ended.")},
	{"give_back", FAST_KEYWORDS(lease_give_back),
	 PyDoc_STR("give_back($self, delay=0)\n--\n\n"
		   "Put the message back into its old place, for another receiver, `delay` seconds "
		   "from now.\n\nAfter its last attempt it is dead: see SharedQueue.dead. BufferError: "
		   "a view of its body is\nin use; nothing was changed. MisuseError: it is over.")},
	{"__reduce__", held_reduce, METH_NOARGS, NULL},
	{"__enter__", held_enter, METH_NOARGS, NULL},
	{"__exit__", lease_exit, METH_VARARGS,
	 PyDoc_STR("Acknowledge; after an exception, give back.")},
	{NULL, NULL, 0, NULL},
};
static PyGetSetDef lease_properties[] = {
	{"body", held_view, NULL,
	 PyDoc_STR("The bytes in shared memory, not a copy: a read-only memoryview, until the end of "
		   "the lease."),
	 NULL},
	{"attempt", lease_attempt, NULL,
	 PyDoc_STR("1 for the first lease of the message, and one more for each one after; 255 at "
		   "most."),
	 NULL},
	{"size", held_size, NULL, PyDoc_STR("Bytes of the body."), NULL},
	{NULL, NULL, NULL, NULL, NULL},
};
static PyMethodDef reservation_methods[] = {
	{"send", reservation_send, METH_NOARGS,
	 PyDoc_STR("send($self)\n--\n\n"
		   "Send the message. BufferError: a view of the buffer is in use; nothing was "
		   "changed.\nMisuseError: it is over.")},
	{"abandon", reservation_abandon, METH_NOARGS,
	 PyDoc_STR("abandon($self)\n--\n\n"
		   "Give the space back; no message is sent. As send() otherwise.")},
	{"__reduce__", held_reduce, METH_NOARGS, NULL},
	{"__enter__", held_enter, METH_NOARGS, NULL},
	{"__exit__", reservation_exit, METH_VARARGS,
	 PyDoc_STR("Send; after an exception, abandon.")},
	{NULL, NULL, 0, NULL},
};
static PyGetSetDef reservation_properties[] = {
	{"buffer", held_view, NULL,
	 PyDoc_STR("The space in shared memory: a memoryview to write into, until it is sent. Its "
		   "bytes are any."),
	 NULL},
	{"size", held_size, NULL, PyDoc_STR("Bytes of the body."), NULL},
	{NULL, NULL, NULL, NULL, NULL},
};

static PyTypeObject *
make_type(PyObject *module, const char *name, const char *full_name, PyMethodDef *methods,
	  PyGetSetDef *properties)
{
	PyType_Slot slots[] = {
		{Py_tp_dealloc, (void *)held_free},
		{Py_tp_methods, methods},
		{Py_tp_getset, properties},
		{Py_bf_getbuffer, (void *)held_get_buffer},
		{Py_bf_releasebuffer, (void *)held_release_buffer},
		{0, NULL},
	};
	PyType_Spec spec = {
		.name = full_name,
		.basicsize = sizeof(struct held),
		.flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION,
		.slots = slots,
	};
	PyObject *type = PyType_FromSpec(&spec);

	if (type && PyModule_AddObjectRef(module, name, type) < 0)
		Py_CLEAR(type);
	return (PyTypeObject *)type;
}

int
held_setup(PyObject *module)
{
	lease_type = make_type(module, "Lease", "ipckit._core._shared_queue.Lease", lease_methods,
			       lease_properties);
	reservation_type = make_type(module, "Reservation", "ipckit._core._shared_queue.Reservation",
				     reservation_methods, reservation_properties);
	return lease_type && reservation_type ? 0 : -1;
}

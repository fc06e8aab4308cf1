/*
 * python/shared_queue/held.c - the types Lease and Reservation: a message in shared memory that this
 * process has.
 *
 * Owns      struct held.  Stands on wait.c.
 * State     a held message keeps its segment mapped, also after the queue's close().
 * Blocks    queue_lease and queue_reserve, as queue_get().
 *
 * Invariant
 *   L1  A message is over (acknowledged, given back, sent, abandoned) only when no buffer of it is
 *       exported: what others write into its memory afterwards is in no view.
 */
#include "python/arguments.h"
#include "python/shared_queue/door.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

static PyTypeObject *lease_type;
static PyTypeObject *reservation_type;

/* -- making -- */

/* Map the parts of a body beside each other. 0, -errno. */
static int
map_parts(struct held *held, uint64_t size)
{
	const struct ipk_queue *queue = &held->segment->queue;
	struct ipk_queue_extent extent = {0};
	uint64_t bytes = (size + IPK_QUEUE_PAGE - 1) / IPK_QUEUE_PAGE * IPK_QUEUE_PAGE;
	unsigned char *place = mmap(NULL, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int more = 1;

	if (place == MAP_FAILED)
		return -errno;
	while (more > 0 && (more = ipk_queue_next_extent(queue, held->lease.record, &extent)) > 0) {
		uint64_t part = (extent.size + IPK_QUEUE_PAGE - 1) / IPK_QUEUE_PAGE * IPK_QUEUE_PAGE;
		off_t offset = extent.start - (unsigned char *)held->segment->base;

		if (mmap(place + extent.offset, part, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED,
			 held->segment->registry.fd, offset) == MAP_FAILED)
			more = -errno;
	}
	if (more < 0) {
		(void)munmap(place, bytes);
		return more;
	}
	held->start = held->mapped = place;
	return 0;
}

/* Where the body is, in one part. 0, -errno. */
static int
find_body(struct held *held)
{
	const struct ipk_queue *queue = &held->segment->queue;
	struct ipk_queue_extent extent = {0};
	int code = ipk_queue_message_of(queue, &held->lease, &held->message);

	if (code == 0)
		code = ipk_queue_next_extent(queue, held->lease.record, &extent);
	if (code < 0)
		return code;
	held->start = extent.start; /* of an empty body: the record's */
	return extent.size == held->message.size ? 0 : map_parts(held, held->message.size);
}

/* What the call has leased, as an object. NULL: raised; the message is not ours. */
static PyObject *
hold(PyTypeObject *type, struct queue_call *call, int writable)
{
	allocfunc allocate = (allocfunc)PyType_GetSlot(type, Py_tp_alloc);
	struct held *held = (struct held *)allocate(type, 0);
	int code = 0;

	if (held) {
		held->handle = Py_NewRef((PyObject *)call->handle);
		held->segment = call->segment;
		held->lease = call->lease;
		held->writable = writable;
		segment_keep(call->segment);
		code = find_body(held);
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
	code = queue_get(&call);
	if (code > 0)
		held = hold(lease_type, &call, 0);
	else if (code == 0)
		(void)queue_refuse(call.handle, "empty", "()");
	queue_end(&call);
	return held;
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
	size = PyLong_AsSsize_t(places[0]);
	if (size == -1 && PyErr_Occurred())
		return NULL;
	if (size < 0) {
		PyErr_Format(PyExc_ValueError, "size=%zd: must be at least 0", size);
		return NULL;
	}
	if (queue_begin(&call, self, places[1]) < 0)
		return NULL;
	call.event = IPK_QUEUE_ROOM;
	call.size = (uint64_t)size;
	code = queue_get(&call);
	if (code > 0)
		held = hold(reservation_type, &call, 1);
	else if (code == 0)
		(void)queue_refuse(call.handle, "full", "(KII)", (unsigned long long)call.size,
				   call.queue->shape.messages, call.queue->shape.pages);
	queue_end(&call);
	return held;
}

/* -- its memory -- */

static int
held_get_buffer(PyObject *self, Py_buffer *view, int flags)
{
	struct held *held = (struct held *)self;

	if (!held->segment) {
		view->obj = NULL;
		PyErr_SetString(PyExc_BufferError, "the message is over: its memory is not ours");
		return -1;
	}
	if (PyBuffer_FillInfo(view, self, held->start, (Py_ssize_t)held->message.size,
			      !held->writable, flags) < 0)
		return -1;
	held->exports++;
	return 0;
}

static void
held_release_buffer(PyObject *self, Py_buffer *view)
{
	(void)view;
	((struct held *)self)->exports--;
}

/* body, buffer: the memoryview, the same one each time. */
static PyObject *
held_view(PyObject *self, void *unused)
{
	struct held *held = (struct held *)self;

	(void)unused;
	if (!held->view)
		held->view = PyMemoryView_FromObject(self);
	return Py_XNewRef(held->view);
}

/* L1. 0; -1 raised: some view of it is still in use. */
static int
release_view(struct held *held)
{
	PyObject *released;

	if (held->view) {
		released = PyObject_CallMethod(held->view, "release", NULL);
		if (!released)
			return -1;
		Py_DECREF(released);
		Py_CLEAR(held->view);
	}
	if (held->exports == 0)
		return 0;
	PyErr_SetString(PyExc_BufferError, "a view of the message's memory is in use: release it "
					   "first (memoryview.release(), or del the array)");
	return -1;
}

/* -- its end -- */

static void
forget(struct held *held)
{
	struct segment *segment = held->segment;

	if (held->mapped)
		(void)munmap(held->mapped, (held->message.size + IPK_QUEUE_PAGE - 1) /
						   IPK_QUEUE_PAGE * IPK_QUEUE_PAGE);
	held->mapped = NULL;
	held->segment = NULL;
	segment_drop(segment);
}

/* The calling thread's party, when the message is ours still; NULL: raised. */
static struct ipk_party *
begin_end(struct held *held)
{
	if (!held->segment) {
		PyErr_SetString(segment_misuse, "the message is over: it was acknowledged, given "
						"back, sent or abandoned before");
		return NULL;
	}
	return release_view(held) < 0 ? NULL : segment_join(held->segment);
}

static PyObject *
ended(struct held *held, int code)
{
	forget(held);
	if (code < 0) {
		PyErr_Format(segment_internal, "the queue's core returned %d", code);
		return NULL;
	}
	Py_RETURN_NONE;
}

static PyObject *
lease_acknowledge(PyObject *self, PyObject *unused)
{
	struct held *held = (struct held *)self;
	struct ipk_party *party = begin_end(held);

	(void)unused;
	if (!party)
		return NULL;
	return ended(held, ipk_queue_acknowledge(&held->segment->queue, party, &held->lease));
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
		PyObject *refusals = ((struct queue_handle *)held->handle)->refusals;

		deadline = PyObject_CallMethod(refusals, "due_ns", "(O)", places[0]);
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

	if (!PyArg_ParseTuple(args, "OOO", &kind, &error, &trace))
		return NULL;
	if (!((struct held *)self)->segment)
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

static void
held_free(PyObject *self)
{
	struct held *held = (struct held *)self;
	PyTypeObject *type = Py_TYPE(self);

	/* A view has a reference to this object, so there is none by now. */
	if (held->segment) {
		struct ipk_party *party = segment_party_if_any(held->segment);

		if (!held->writable)
			(void)ipk_queue_give_back(&held->segment->queue, &held->lease, 0);
		else if (party || (party = segment_join(held->segment)))
			ipk_queue_abandon(&held->segment->queue, party, &held->lease);
		PyErr_Clear();
		forget(held);
	}
	Py_XDECREF(held->handle);
	((freefunc)PyType_GetSlot(type, Py_tp_free))(self);
	Py_DECREF(type);
}

/* -- the types -- */

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
		   "Remove the message for good. BufferError: a view of its body is in use; nothing "
		   "was changed.\nMisuseError: it is over.")},
	{"give_back", FAST_KEYWORDS(lease_give_back),
	 PyDoc_STR("give_back($self, delay=0)\n--\n\n"
		   "Put the message back into its old place, for another receiver, `delay` seconds "
		   "from now.\n\nAfter its last attempt it is dead: see SharedQueue.dead. BufferError: "
		   "a view of its body is\nin use; nothing was changed. MisuseError: it is over.")},
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

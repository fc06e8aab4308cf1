/*
 * python/shared_queue/held.c - the types Lease and Reservation: a message in shared memory that this
 * process has.
 *
 * Owns      struct held.  Stands on wait.c, body.c.
 * State     a held message keeps its segment mapped, also after the queue's close().
 * Blocks    never.
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
#include "python/threads.h"

#include <errno.h>

PyTypeObject *held_lease_type;
PyTypeObject *held_reservation_type;

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
						"back, sent or abandoned before; get another one");
	else
		return 0;
	return -1;
}

/* An end of a message: an acknowledgement, say. */
enum end { ACKNOWLEDGE, CONSUME, GIVE_BACK, SEND, ABANDON };

/* Do it, by the calling thread. 0, or an error of the core. */
static int
do_end(struct held *held, const struct ipk_party *party, enum end end, int64_t due)
{
	const struct ipk_queue *queue = &held->segment->queue;
	int code = 0;

	switch (end) {
	case ACKNOWLEDGE:
		return ipk_queue_acknowledge(queue, party, &held->lease);
	case CONSUME:
		return ipk_queue_consume(queue, party, &held->lease);
	case GIVE_BACK:
		return ipk_queue_give_back(queue, &held->lease, due);
	case SEND:
		code = ipk_queue_publish(queue, party, &held->lease);
		if (code != -EUCLEAN)
			return code;
		/* fall through */
	case ABANDON:
		ipk_queue_abandon(queue, party, &held->lease);
	}
	return code;
}

/* 0, or -1 raised, for a result of the core. */
static int
check_code(int code)
{
	if (code == -ESTALE)
		PyErr_SetString(segment_misuse, "the message is not ours any more: the thread that "
						"got it has ended, so it was given back");
	else if (code == -EUCLEAN)
		PyErr_SetString(segment_corrupt, "the queue's segment is damaged: a number in it is "
						 "out of its range");
	else if (code < 0)
		PyErr_Format(segment_internal, "the queue's core returned %d", code);
	return code < 0 ? -1 : 0;
}

/* End it, when this thread has a slot. Python code may have run since the caller looked. 0, -1 raised. */
static int
end_by(struct held *held, const struct ipk_party *party, enum end end, int64_t due)
{
	int code;

	if (check_ours(held) < 0)
		return -1;
	if (held->exports == 0) {
		code = do_end(held, party, end, due);
		held_forget(held);
		return check_code(code);
	}
	if (end == ACKNOWLEDGE) { /* L2 */
		code = ipk_queue_begin_clearing(&held->segment->queue, party, &held->lease);
		held->clearing = code == 0;
		return check_code(code);
	}
	PyErr_SetString(PyExc_BufferError, "a view of the message's memory is in use: release it "
					   "first (memoryview.release(), or del the array)");
	return -1;
}

static int
end_held(struct held *held, enum end end, int64_t due)
{
	struct segment *segment = held->segment;
	struct ipk_party *party;
	int code = -1;

	if (check_ours(held) < 0 || held_release_view(held) < 0)
		return -1;
	segment_keep(segment); /* another thread may end it while this one waits for its slot */
	party = segment_join(segment);
	if (party)
		code = end_by(held, party, end, due);
	segment_drop(segment);
	return code;
}

static PyObject *
ended(PyObject *self, enum end end, int64_t due)
{
	int code;

	BEGIN_EXCLUSIVE(self)
	code = end_held((struct held *)self, end, due);
	END_EXCLUSIVE()
	if (code < 0)
		return NULL;
	Py_RETURN_NONE;
}

/* _consume(): as acknowledge(); the message counts as unfinished. */
static PyObject *
lease_consume(PyObject *self, PyObject *unused)
{
	(void)unused;
	return ended(self, CONSUME, 0);
}

static PyObject *
lease_acknowledge(PyObject *self, PyObject *unused)
{
	(void)unused;
	return ended(self, ACKNOWLEDGE, 0);
}

/* give_back(delay=0) */
static PyObject *
lease_give_back(PyObject *self, PyObject *const *args, Py_ssize_t count, PyObject *keywords)
{
	static const char *const names[] = {"delay"};
	PyObject *places[1];
	PyObject *deadline;
	int64_t due = 0;

	if (place_arguments("give_back", names, 0, 1, args, count, keywords, places) < 0)
		return NULL;
	if (places[0]) {
		deadline = PyObject_CallMethod(((struct held *)self)->refusals, "due_ns", "(O)",
					       places[0]);
		if (!deadline)
			return NULL;
		due = PyLong_AsLongLong(deadline);
		Py_DECREF(deadline);
		if (PyErr_Occurred())
			return NULL;
	}
	return ended(self, GIVE_BACK, due);
}

static PyObject *
reservation_send(PyObject *self, PyObject *unused)
{
	(void)unused;
	return ended(self, SEND, 0);
}

static PyObject *
reservation_abandon(PyObject *self, PyObject *unused)
{
	(void)unused;
	return ended(self, ABANDON, 0);
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
leave(PyObject *self, PyObject *const *args, Py_ssize_t count, enum end well, enum end badly)
{
	const struct held *held = (struct held *)self;
	PyObject *result;

	if (count_arguments(count, 3) < 0)
		return NULL;
	if (!held->segment || held->clearing || held->forks != segment_forks())
		Py_RETURN_NONE;
	result = ended(self, args[0] == Py_None ? well : badly, 0);
	if (result || args[0] == Py_None || !PyErr_ExceptionMatches(PyExc_BufferError))
		return result;
	PyErr_Clear();
	Py_RETURN_NONE;
}

static PyObject *
lease_exit(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
	return leave(self, args, count, ACKNOWLEDGE, GIVE_BACK);
}

static PyObject *
reservation_exit(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
	return leave(self, args, count, SEND, ABANDON);
}

/* Nobody has the object any more: it is given back, or not sent. A reservation that cannot be abandoned
 * now, as all slots are taken, is freed when its thread ends. */
static void
give_up(struct held *held)
{
	struct ipk_party *party = NULL;
	int code;

	if (held->writable)
		party = segment_party(held->segment, &code); /* it handles no signals */
	if (held->forks == segment_forks() && (party || !held->writable))
		(void)do_end(held, party, held->writable ? ABANDON : GIVE_BACK, 0);
	held_forget(held);
}

static void
held_free(PyObject *self)
{
	struct held *held = (struct held *)self;
	PyTypeObject *type = Py_TYPE(self);

	/* A view has a reference to this object, so there is none by now. */
	if (held->segment && !held->clearing && held->forks == segment_forks())
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
	{"_consume", lease_consume, METH_NOARGS, NULL},
	{"give_back", FAST_KEYWORDS(lease_give_back),
	 PyDoc_STR("give_back($self, delay=0)\n--\n\n"
		   "Put the message back into its old place, for another receiver, `delay` seconds "
		   "from now.\n\nAfter its last attempt it is dead: see SharedQueue.dead. BufferError: "
		   "a view of its body,\nother than `body` itself, is in use; the lease goes on. "
		   "MisuseError: it is over.")},
	{"__reduce__", held_reduce, METH_NOARGS, NULL},
	{"__enter__", held_enter, METH_NOARGS, NULL},
	{"__exit__", FAST(lease_exit),
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
		   "Send the message. BufferError: a view, other than `buffer` itself, is in use; it "
		   "is not sent.\nMisuseError: it is over.")},
	{"abandon", reservation_abandon, METH_NOARGS,
	 PyDoc_STR("abandon($self)\n--\n\n"
		   "Give the space back; no message is sent. As send() otherwise.")},
	{"__reduce__", held_reduce, METH_NOARGS, NULL},
	{"__enter__", held_enter, METH_NOARGS, NULL},
	{"__exit__", FAST(reservation_exit),
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
	held_lease_type = make_type(module, "Lease", "ipckit._core._shared_queue.Lease", lease_methods,
			       lease_properties);
	held_reservation_type = make_type(module, "Reservation", "ipckit._core._shared_queue.Reservation",
				     reservation_methods, reservation_properties);
	return held_lease_type && held_reservation_type ? 0 : -1;
}

/*
 * python/sync/arena.c - the type Arena, and what lies in its cells; the type Mutex.
 *
 * Owns      the types.  Stands on locks/arena, python/segments/membership.  State  in the arena; a Mutex's
 *           `recovered` is its process's.
 * Blocks    Mutex.acquire, without the GIL; it handles signals while it waits.
 * `ipckit.sync` has the classes for users, which choose the arena and the cell.
 */
#include "base/atomics.h"
#include "base/clock.h"
#include "python/sync/sync.h"

#include <errno.h>

struct arena {
	PyObject_HEAD
	struct segment *segment;
};

static PyTypeObject *arena_type;

/* -- Arena(fd, cells): takes over fd -- */

static PyObject *
arena_new(PyTypeObject *type, PyObject *args, PyObject *keywords)
{
	struct arena *self;
	const char *why;
	unsigned int cells;
	int code = -EUCLEAN;
	int fd;

	(void)keywords;
	if (!PyArg_ParseTuple(args, "iI", &fd, &cells))
		return NULL;
	self = (struct arena *)((allocfunc)PyType_GetSlot(type, Py_tp_alloc))(type, 0);
	if (!self)
		return NULL;
	self->segment = cells ? segment_open(fd, SEGMENT_ARENA, cells, &code, &why) : NULL;
	if (!self->segment) {
		Py_DECREF(self);
		if (code == -EUCLEAN) {
			PyErr_SetString(PyExc_ValueError,
					"the descriptor is no arena of that many cells");
			return NULL;
		}
		errno = -code; /* no memory, or no right to write: it may well be one */
		return PyErr_SetFromErrno(PyExc_OSError);
	}
	return (PyObject *)self;
}

static void
arena_free(PyObject *object)
{
	struct arena *self = (struct arena *)object;
	PyTypeObject *type = Py_TYPE(object);

	if (self->segment) {
		(void)segment_release_slot(self->segment);
		segment_close(self->segment);
	}
	((freefunc)PyType_GetSlot(type, Py_tp_free))(object);
	Py_DECREF(type);
}

/* clear(index): the cell is nobody's yet; make it a free lock and the number 0. */
static PyObject *
arena_clear(PyObject *object, PyObject *args)
{
	struct ipk_sync *sync = &((struct arena *)object)->segment->sync;
	unsigned int index;

	if (!PyArg_ParseTuple(args, "I", &index))
		return NULL;
	if (index >= sync->count) {
		PyErr_SetString(PyExc_IndexError, "no such cell");
		return NULL;
	}
	ipk_sync_clear(sync, index);
	Py_RETURN_NONE;
}

/* fileno(): its descriptor, which stays the arena's. */
static PyObject *
arena_fileno(PyObject *object, PyObject *unused)
{
	(void)unused;
	return PyLong_FromLong(((struct arena *)object)->segment->registry.fd);
}

/* -- what Number and Mutex share: _place(arena, index) -- */

PyObject *
cell_place(PyObject *object, PyObject *args)
{
	struct cell *self = (struct cell *)object;
	struct arena *arena;
	unsigned int index;

	if (!PyArg_ParseTuple(args, "O!I", arena_type, &arena, &index))
		return NULL;
	if (self->arena || index >= arena->segment->sync.count) {
		PyErr_SetString(PyExc_ValueError, "placed already, or no such cell");
		return NULL;
	}
	self->arena = Py_NewRef((PyObject *)arena);
	self->segment = arena->segment;
	self->index = index;
	Py_RETURN_NONE;
}

static void
cell_free(PyObject *object)
{
	PyTypeObject *type = Py_TYPE(object);

	Py_XDECREF(((struct cell *)object)->arena);
	((freefunc)PyType_GetSlot(type, Py_tp_free))(object);
	Py_DECREF(type);
}

struct ipk_sync *
cell_placed(const struct cell *self)
{
	if (self->segment)
		return &self->segment->sync;
	PyErr_SetString(segment_misuse, "it was not made: __init__() was not called");
	return NULL;
}

int64_t
cell_deadline(PyObject *timeout)
{
	double seconds;

	if (!timeout || timeout == Py_None)
		return 0;
	seconds = PyFloat_AsDouble(timeout);
	if (seconds == -1.0 && PyErr_Occurred()) {
		if (PyErr_ExceptionMatches(PyExc_TypeError))
			PyErr_Format(PyExc_TypeError,
				     "timeout=%R: must be seconds, or None for no limit", timeout);
		return -1;
	}
	if (!(seconds >= 0)) {
		PyErr_Format(PyExc_ValueError,
			     "timeout=%R: must be seconds >= 0, or None for no limit", timeout);
		return -1;
	}
	return seconds > 3e9 ? 0 : (int64_t)(ipk_now_ns() + (uint64_t)(seconds * 1e9));
}

/* -- Mutex -- */

/* 1 taken, 0 the time is over, -1 raised. */
static int
acquire(struct cell *self, PyObject *timeout)
{
	struct ipk_obstacle obstacle = {0};
	int64_t deadline = cell_deadline(timeout);
	struct ipk_party *party;
	struct ipk_sync *sync;
	int code;

	if (deadline < 0 || !(sync = cell_placed(self)) || !(party = segment_join(self->segment)))
		return -1;
	while ((code = ipk_lock_take(sync, party, self->index, &obstacle)) == -EAGAIN ||
	       (code == -EDEADLK && deadline)) { /* only the time can end the latter */
		int waited;

		Py_BEGIN_ALLOW_THREADS
		waited = ipk_wait(sync->slots, IPK_SYNC_SLOTS, &obstacle, (uint64_t)deadline);
		Py_END_ALLOW_THREADS
		if (PyErr_CheckSignals() < 0)
			return -1;
		if (waited == -ETIMEDOUT)
			return 0;
		party = segment_join(self->segment); /* a signal's handler may fork */
		if (!party)
			return -1;
	}
	if (code >= 0) {
		STORE_RELAXED(&self->recovered, code == 1);
		return 1;
	}
	if (code == -EDEADLK)
		PyErr_SetString(segment_deadlock, "this thread holds the lock already and would wait for "
					       "itself for ever: release() it first");
	else
		PyErr_Format(PyExc_SystemError, "the lock's core returned %d", code);
	return -1;
}

static PyObject *
mutex_acquire(PyObject *self, PyObject *args, PyObject *keywords)
{
	static char *names[] = {"timeout", NULL};
	PyObject *timeout = NULL;
	int code;

	if (!PyArg_ParseTupleAndKeywords(args, keywords, "|O", names, &timeout))
		return NULL;
	code = acquire((struct cell *)self, timeout);
	return code < 0 ? NULL : PyBool_FromLong(code);
}

static PyObject *
mutex_release(PyObject *object, PyObject *unused)
{
	struct cell *self = (struct cell *)object;
	struct ipk_sync *sync = cell_placed(self);
	struct ipk_party *party;

	(void)unused;
	if (!sync)
		return NULL;
	party = segment_party_if_any(self->segment);
	if (!party || ipk_lock_release(sync, party, self->index) != 0) {
		PyErr_SetString(segment_misuse,
				"this thread does not hold the lock: acquire() it first; "
				"nothing was changed");
		return NULL;
	}
	Py_RETURN_NONE;
}

static PyObject *
mutex_enter(PyObject *self, PyObject *unused)
{
	(void)unused;
	return acquire((struct cell *)self, NULL) < 0 ? NULL : Py_NewRef(self);
}

static PyObject *
mutex_exit(PyObject *self, PyObject *unused)
{
	(void)unused;
	return mutex_release(self, NULL);
}

static PyObject *
mutex_locked(PyObject *object, PyObject *unused)
{
	struct ipk_sync *sync = cell_placed((struct cell *)object);

	(void)unused;
	return sync ? PyBool_FromLong(ipk_lock_is_taken(sync, ((struct cell *)object)->index))
		    : NULL;
}

static PyObject *
mutex_recovered(PyObject *self, void *unused)
{
	(void)unused;
	return PyBool_FromLong(LOAD_RELAXED(&((struct cell *)self)->recovered));
}

/* -- the types -- */

static PyMethodDef arena_methods[] = {
	{"clear", arena_clear, METH_VARARGS, NULL},
	{"fileno", arena_fileno, METH_NOARGS, NULL},
	{NULL, NULL, 0, NULL},
};
static PyMethodDef mutex_methods[] = {
	{"acquire", SYNC_NAMED(mutex_acquire),
	 PyDoc_STR("acquire($self, timeout=None)\n--\n\n"
		   "Take the lock; False when `timeout` seconds are over (None: no limit; 0: one "
		   "try).\n\nIf its holder died with it, it is taken at once and `recovered` is "
		   "True. DeadlockError\nwhen the calling thread has it and there is no timeout. "
		   "Signal handlers run while it waits.")},
	{"release", mutex_release, METH_NOARGS,
	 PyDoc_STR("release($self)\n--\n\n"
		   "Open the lock. MisuseError when the calling thread does not hold it: then "
		   "nothing is changed.")},
	{"locked", mutex_locked, METH_NOARGS,
	 PyDoc_STR("locked($self)\n--\n\nReturn whether a living thread holds it.")},
	{"__enter__", mutex_enter, METH_NOARGS, PyDoc_STR("Take it, without a time limit.")},
	{"__exit__", mutex_exit, METH_VARARGS, PyDoc_STR("Open it.")},
	{"_place", cell_place, METH_VARARGS, NULL},
	{NULL, NULL, 0, NULL},
};
static PyGetSetDef mutex_properties[] = {
	{"recovered", mutex_recovered, NULL,
	 PyDoc_STR("Whether this process's last acquire() took it from a holder that had died."),
	 NULL},
	{NULL, NULL, NULL, NULL, NULL},
};

static PyTypeObject *
make_type(PyObject *module, const char *name, const char *full_name, size_t size,
	  PyType_Slot *slots)
{
	PyType_Spec spec = {
		.name = full_name,
		.basicsize = (int)size,
		.flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE,
		.slots = slots,
	};
	PyObject *type = PyType_FromSpec(&spec);

	if (type && PyModule_AddObjectRef(module, name, type) < 0)
		Py_CLEAR(type);
	return (PyTypeObject *)type;
}

int
sync_setup(PyObject *module)
{
	PyType_Slot arena_slots[] = {
		{Py_tp_new, (void *)arena_new},
		{Py_tp_dealloc, (void *)arena_free},
		{Py_tp_methods, arena_methods},
		{0, NULL},
	};
	PyType_Slot number_slots[] = {
		{Py_tp_dealloc, (void *)cell_free},
		{Py_tp_methods, number_methods},
		{0, NULL},
	};
	PyType_Slot mutex_slots[] = {
		{Py_tp_dealloc, (void *)cell_free},
		{Py_tp_methods, mutex_methods},
		{Py_tp_getset, mutex_properties},
		{0, NULL},
	};
	PyTypeObject *number;
	PyTypeObject *mutex;

	arena_type = make_type(module, "Arena", "ipckit._core._rows.Arena", sizeof(struct arena),
			       arena_slots);
	number = make_type(module, "Number", "ipckit._core._rows.Number", sizeof(struct cell),
			   number_slots);
	mutex = make_type(module, "Mutex", "ipckit._core._rows.Mutex", sizeof(struct cell),
			  mutex_slots);
	if (!arena_type || !number || !mutex)
		return -1;
	Py_DECREF(number);
	Py_DECREF(mutex);
	return 0;
}

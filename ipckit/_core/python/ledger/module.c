/*
 * python/ledger/module.c - the module `_ledger` and its type Ledger.
 *
 * Owns      struct view.  Stands on ledger/layout.
 * State     none.  Blocks  never.
 */
#include "ledger/transitions.h"
#include "python/ledger/view.h"
#include "python/numbers.h"

#include <errno.h>

static int
shape_from(PyObject *args, struct ipk_ledger_shape *shape)
{
	return PyArg_ParseTuple(args, "IIIII", &shape->records, &shape->blocks, &shape->workers,
				&shape->task_workers, &shape->slabs)
		       ? 0
		       : -1;
}

static PyObject *
size_of(PyObject *module, PyObject *args)
{
	struct ipk_ledger_shape shape;
	int64_t bytes;

	(void)module;
	if (shape_from(args, &shape) < 0)
		return NULL;
	bytes = ipk_ledger_bytes(&shape);
	if (bytes > 0)
		return PyLong_FromLongLong(bytes);
	PyErr_Format(PyExc_ValueError,
		     "no ledger has %u records, %u blocks, %u workers, %u task workers and %u slabs",
		     shape.records, shape.blocks, shape.workers, shape.task_workers, shape.slabs);
	return NULL;
}

static PyObject *
lay_out(PyObject *module, PyObject *args)
{
	struct ipk_ledger_shape shape;
	PyObject *object;
	Py_buffer memory;
	int code;

	(void)module;
	if (!PyArg_ParseTuple(args, "OIIIII", &object, &shape.records, &shape.blocks,
			      &shape.workers, &shape.task_workers, &shape.slabs) ||
	    PyObject_GetBuffer(object, &memory, PyBUF_WRITABLE) < 0)
		return NULL;
	code = ipk_ledger_format(memory.buf, (uint64_t)memory.len, &shape);
	PyBuffer_Release(&memory);
	if (code == 0)
		Py_RETURN_NONE;
	PyErr_SetString(PyExc_ValueError, "the memory has not the size of such a ledger");
	return NULL;
}

/* The descriptors of the wakeups, places + 1 of them. */
static int
take_wakeups(struct view *view, PyObject *wakeups)
{
	uint32_t count = view->ledger.places + 1;

	if (PySequence_Size(wakeups) != (Py_ssize_t)count) {
		PyErr_Format(PyExc_ValueError, "there must be %u descriptors of event files", count);
		return -1;
	}
	for (uint32_t i = 0; i < count; i++) {
		PyObject *wakeup = PySequence_GetItem(wakeups, i);

		view->wakeups[i] = wakeup ? (int)PyLong_AsLong(wakeup) : -1;
		Py_XDECREF(wakeup);
		if (PyErr_Occurred())
			return -1;
	}
	return 0;
}

static int
fill(struct view *view, PyObject *memory, unsigned int place, PyObject *wakeups)
{
	if (PyObject_GetBuffer(memory, &view->memory, PyBUF_WRITABLE) < 0)
		return -1;
	if (ipk_ledger_attach(&view->ledger, view->memory.buf, (uint64_t)view->memory.len)) {
		PyErr_SetString(PyExc_ValueError, "this is no task ledger, or it is damaged");
		return -1;
	}
	view->wakeups = PyMem_Calloc(view->ledger.places + 1, sizeof(int));
	view->woken_in = PyMem_Calloc(view->ledger.places + 1, sizeof(uint32_t));
	view->recent = PyMem_Calloc(view->ledger.shape.records, sizeof(uint32_t));
	view->word = PyMem_Calloc(view->ledger.shape.records, sizeof(uint64_t));
	if (!view->wakeups || !view->woken_in || !view->recent || !view->word) {
		(void)PyErr_NoMemory();
		return -1;
	}
	if (place > view->ledger.places) {
		PyErr_Format(PyExc_ValueError, "place %u: must be 0..%u", place,
			     view->ledger.places);
		return -1;
	}
	if (take_wakeups(view, wakeups) < 0)
		return -1;
	ipk_ledger_set_place(&view->ledger, place, view->wakeups, view->woken_in, view->recent);
	return 0;
}

static PyObject *
view_new(PyTypeObject *type, PyObject *args, PyObject *keywords)
{
	allocfunc allocate = (allocfunc)PyType_GetSlot(type, Py_tp_alloc);
	struct view *view;
	PyObject *memory;
	PyObject *wakeups;
	unsigned int place;

	(void)keywords;
	if (!PyArg_ParseTuple(args, "OIO", &memory, &place, &wakeups))
		return NULL;
	view = (struct view *)allocate(type, 0);
	if (view && fill(view, memory, place, wakeups) < 0) {
		Py_DECREF((PyObject *)view);
		return NULL;
	}
	return (PyObject *)view;
}

static void
view_free(PyObject *self)
{
	struct view *view = (struct view *)self;
	PyTypeObject *type = Py_TYPE(self);
	freefunc release = (freefunc)PyType_GetSlot(type, Py_tp_free);

	PyMem_Free(view->wakeups);
	PyMem_Free(view->woken_in);
	PyMem_Free(view->recent);
	PyMem_Free(view->word);
	Py_XDECREF(view->given);
	if (view->stop.obj)
		PyBuffer_Release(&view->stop);
	if (view->row.obj)
		PyBuffer_Release(&view->row);
	if (view->memory.obj)
		PyBuffer_Release(&view->memory);
	release(self);
	Py_DECREF((PyObject *)type);
}

static PyMethodDef view_methods[] = {
	{"submit", FAST(ledger_submit), NULL},
	{"take", ledger_take, METH_NOARGS, NULL},
	{"put", FAST(ledger_put), NULL},
	{"spill_body", FAST(ledger_spill_body), NULL},
	{"order", FAST(ledger_order), NULL},
	{"dedup", FAST(ledger_dedup), NULL},
	{"publish", FAST(ledger_publish), NULL},
	{"ask_for", FAST(ledger_ask_for), NULL},
	{"post", FAST(ledger_post), NULL},
	{"watch_stop", ledger_watch_stop, METH_O, NULL},
	{"collect", ledger_collect, METH_O, NULL},
	{"deliver", FAST(ledger_deliver), NULL},
	{"begin_delivery", ledger_begin_delivery, METH_O, NULL},
	{"deliveries", ledger_deliveries, METH_O, NULL},
	{"request_wakeup", ledger_request_wakeup, METH_NOARGS, NULL},
	{"request_room", ledger_request_room, METH_NOARGS, NULL},
	{"has_room", FAST(ledger_has_room), NULL},
	{"outstanding", ledger_outstanding, METH_NOARGS, NULL},
	{"run", FAST(ledger_run), NULL},
	{"in_hand", ledger_in_hand, METH_NOARGS, NULL},
	{"unread", ledger_unread, METH_NOARGS, NULL},
	{"forked", ledger_forked, METH_NOARGS, NULL},
	{"give", ledger_give, METH_O, NULL},
	{"given", ledger_given, METH_NOARGS, NULL},
	{"account", FAST(ledger_account), NULL},
	{"claim", ledger_claim, METH_NOARGS, NULL},
	{"begin", FAST(ledger_begin), NULL},
	{"spill_result", FAST(ledger_spill_result), NULL},
	{"put_result", FAST(ledger_put_result), NULL},
	{"flag", FAST(ledger_flag), NULL},
	{"done", ledger_done, METH_O, NULL},
	{"done_with", FAST(ledger_done_with), NULL},
	{"retry", FAST(ledger_retry), NULL},
	{"bury", ledger_bury, METH_O, NULL},
	{"spin", ledger_spin, METH_O, NULL},
	{"sleep", ledger_sleep, METH_NOARGS, NULL},
	{"wake", ledger_wake, METH_NOARGS, NULL},
	{"pass_on", ledger_pass_on, METH_NOARGS, NULL},
	{"end", ledger_end, METH_O, NULL},
	{"clear", ledger_clear, METH_O, NULL},
	{"release", ledger_release, METH_O, NULL},
	{"sweep", ledger_sweep, METH_O, NULL},
	{"next", FAST(ledger_next), NULL},
	{"written_down", ledger_written_down, METH_O, NULL},
	{"wake_due", ledger_wake_due, METH_O, NULL},
	{"move", FAST(ledger_move), NULL},
	{"recover", ledger_recover, METH_NOARGS, NULL},
	{"look", ledger_look, METH_O, NULL},
	{"totals", ledger_totals, METH_NOARGS, NULL},
	{"verify", ledger_verify, METH_NOARGS, NULL},
	{NULL, NULL, 0, NULL},
};

static PyType_Slot view_slots[] = {
	{Py_tp_new, (void *)view_new},
	{Py_tp_dealloc, (void *)view_free},
	{Py_tp_methods, view_methods},
	{Py_tp_doc, "Ledger(memory, place, wakeups): a process's view of a task ledger."},
	{0, NULL},
};
static PyType_Spec view_spec = {
	.name = "ipckit._core._ledger.Ledger",
	.basicsize = sizeof(struct view),
	.flags = Py_TPFLAGS_DEFAULT,
	.slots = view_slots,
};

/* shape_of(memory) -> (records, blocks, workers, task workers, slabs), or None: it is no ledger */
static PyObject *
shape_of(PyObject *module, PyObject *object)
{
	struct ipk_ledger ledger;
	struct ipk_ledger_shape shape;
	Py_buffer memory;
	int code;

	(void)module;
	if (PyObject_GetBuffer(object, &memory, PyBUF_WRITABLE) < 0)
		return NULL;
	code = ipk_ledger_attach(&ledger, memory.buf, (uint64_t)memory.len);
	PyBuffer_Release(&memory);
	if (code)
		Py_RETURN_NONE;
	ipk_ledger_shape_of(&ledger, &shape);
	return Py_BuildValue("(IIIII)", shape.records, shape.blocks, shape.workers,
			     shape.task_workers, shape.slabs);
}

static PyMethodDef module_methods[] = {
	{"shape_of", shape_of, METH_O, NULL},
	{"size_of", size_of, METH_VARARGS, NULL},
	{"lay_out", lay_out, METH_VARARGS, NULL},
	{NULL, NULL, 0, NULL},
};

static PyModuleDef ledger_module = {
	.m_base = PyModuleDef_HEAD_INIT,
	.m_name = "_ledger",
	.m_doc = "The task ledger for Python, over the C core.",
	.m_size = -1,
	.m_methods = module_methods,
};

static const struct named_number numbers[] = {
	{"FREE", IPK_LEDGER_FREE},
	{"WRITING", IPK_LEDGER_WRITING},
	{"BLOCKED", IPK_LEDGER_BLOCKED},
	{"DELAYED", IPK_LEDGER_DELAYED},
	{"QUEUED", IPK_LEDGER_QUEUED},
	{"RUNNING", IPK_LEDGER_RUNNING},
	{"BURIED", IPK_LEDGER_BURIED},
	{"DONE", IPK_LEDGER_DONE},
	{"DELIVERING", IPK_LEDGER_DELIVERING},
	{"CLEARING", IPK_LEDGER_CLEARING},
	{"BEGUN", LEDGER_BEGUN},
	{"RETURNED", LEDGER_RETURNED},
	{"ENDED", LEDGER_ENDED},
	{"UNTOLD", LEDGER_UNTOLD},
	{"FORKED", LEDGER_FORKED},
	{"WANTED", IPK_LEDGER_WANTED},
	{"FOREIGN", IPK_LEDGER_FOREIGN},
	{"BODY_SPILLED", IPK_LEDGER_BODY_SPILLED},
	{"RESULT_SPILLED", IPK_LEDGER_RESULT_SPILLED},
	{"HAS_RESULT", IPK_LEDGER_HAS_RESULT},
	{"LOST", IPK_LEDGER_LOST},
	{"NOTED", IPK_LEDGER_NOTED},
	{"INSIDE", IPK_LEDGER_INSIDE},
	{"SLAB", IPK_LEDGER_SLAB},
	{"BLOCK", IPK_LEDGER_BLOCK},
	{"MAX_PLACES", IPK_LEDGER_MAX_PLACES},
	{NULL, 0},
};

static PyObject *
states_in(uint32_t set)
{
	PyObject *states = PyList_New(0);

	for (long state = 0; states && state < IPK_LEDGER_STATES; state++) {
		PyObject *number = set >> state & 1 ? PyLong_FromLong(state) : NULL;

		if (number && PyList_Append(states, number) < 0)
			Py_CLEAR(states);
		Py_XDECREF(number);
	}
	return states;
}

/* The state machine, for the test that walks it and the page that shows it. */
static int
add_transitions(PyObject *module)
{
	static const char *const who[] = {"anybody", "submitter", "task worker", "owner", "manager"};
	PyObject *table = PyList_New(0);
	int code;

	for (int call = 0; table && call < IPK_LEDGER_CALLS; call++) {
		const struct ipk_ledger_transition *row = &ipk_ledger_transitions[call];
		PyObject *one = Py_BuildValue("(ssNN)", row->call, who[row->who],
					      states_in(row->from), states_in(row->to));

		if (!one || PyList_Append(table, one) < 0)
			Py_CLEAR(table);
		Py_XDECREF(one);
	}
	code = table ? PyModule_AddObjectRef(module, "TRANSITIONS", table) : -1;
	Py_XDECREF(table);
	return code;
}

PyMODINIT_FUNC PyInit__ledger(void);

PyMODINIT_FUNC
PyInit__ledger(void)
{
	PyObject *module = PyModule_Create(&ledger_module);
	PyObject *type = module ? PyType_FromSpec(&view_spec) : NULL;

	if (!type || PyModule_AddObjectRef(module, "Ledger", type) < 0 ||
	    add_numbers(module, numbers) < 0 || add_transitions(module) < 0)
		Py_CLEAR(module);
	Py_XDECREF(type);
	return module;
}

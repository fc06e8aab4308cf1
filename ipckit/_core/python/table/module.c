/*
 * python/table/module.c - the module `_rows` and its type `Rows`, of which ipckit.table.Table is a
 * subclass.
 *
 * Owns      the texts that Python shows for the calls of calls.c and iterate.c.
 * State     none.  Blocks  never.
 */
#include "python/arguments.h"
#include "python/sync/sync.h"
#include "python/table/rows.h"
#include "python/threads.h"

static PyMethodDef rows_methods[] = {
	{"get", FAST_KEYWORDS(rows_get),
	 PyDoc_STR("get($self, key, column=None, default=None)\n--\n\n"
		   "Return the row as a dict, or one column's value; `default` when there is no "
		   "such row.\n\nOne committed version of the row, whole. Takes no lock and never "
		   "waits for a writer,\ndead, stopped or inside lock(); a row rewritten without "
		   "pause delays it by a few of\nits writes. SchemaError, ValueError, TypeError.")},
	{"set", FAST_KEYWORDS(rows_set),
	 PyDoc_STR("set($self, key, row)\n--\n\n"
		   "Change the given columns of a row, or insert it with zero and empty for the "
		   "rest.\n\nOne atomic step: killed inside, the row is the old or the new one. "
		   "Waits while another\nthread has the row in lock(); a signal's exception ends "
		   "the wait and nothing is changed.\nTableFull, DeadlockError, SchemaError, "
		   "OverflowError, ValueError, TypeError: nothing\nis changed. Copies the whole "
		   "row: about 0.1 ms for 1 MiB.")},
	{"add", FAST_KEYWORDS(rows_add),
	 PyDoc_STR("add($self, key, row)\n--\n\n"
		   "Insert a row and return True; False and nothing changed when the key is there. "
		   "Else as set().")},
	{"delete", rows_delete, METH_O,
	 PyDoc_STR("delete($self, key, /)\n--\n\n"
		   "Delete a row; return whether it was there. One atomic step; waits as set().")},
	{"pop", rows_pop, METH_O,
	 PyDoc_STR("pop($self, key, /)\n--\n\n"
		   "Delete a row and return what it was, in one atomic step. KeyError; waits as "
		   "set().")},
	{"incr", FAST_KEYWORDS(rows_incr),
	 PyDoc_STR("incr($self, key, column, by=1)\n--\n\n"
		   "Add to an Int or Float column and return the new value, in one atomic step.\n\n"
		   "A missing row begins at zero. OverflowError when the result is out of the "
		   "column's range:\nnothing is changed, no row is made. Waits as set().")},
	{"decr", FAST_KEYWORDS(rows_decr),
	 PyDoc_STR("decr($self, key, column, by=1)\n--\n\nSubtract; else as incr().")},
	{"compare_and_set", FAST_KEYWORDS(rows_compare_and_set),
	 PyDoc_STR("compare_and_set($self, key, column, expected, value)\n--\n\n"
		   "Set a column to `value` if it equals `expected`; return whether it did.\n\n"
		   "One atomic step. A missing row is False; NaN equals nothing. Waits as set().")},
	{"exists", rows_exists, METH_O,
	 PyDoc_STR("exists($self, key, /)\n--\n\nReturn whether there is such a row.")},
	{"count", rows_count, METH_NOARGS,
	 PyDoc_STR("count($self)\n--\n\n"
		   "Return the number of rows; a row that is inserted or deleted during the call "
		   "may count.")},
	{"keys", rows_keys, METH_NOARGS,
	 PyDoc_STR("keys($self)\n--\n\n"
		   "Iterate over the keys, str where they are UTF-8, else bytes.\n\n"
		   "Every row that is there throughout is seen exactly once; others may be "
		   "inserted and\ndeleted during the iteration. Iterators nest.")},
	{"values", rows_values, METH_NOARGS,
	 PyDoc_STR("values($self)\n--\n\nIterate over the rows, as keys() does.")},
	{"items", rows_items, METH_NOARGS,
	 PyDoc_STR("items($self)\n--\n\nIterate over (key, row), as keys() does.")},
	{"_attach", rows_attach, METH_O, NULL},
	{"_use", rows_use, METH_O, NULL},
	{"_refuse_by", rows_refuse_by, METH_O, NULL},
	{"_lock", rows_lock, METH_VARARGS, NULL},
	{"_unlock", rows_unlock, METH_VARARGS, NULL},
	{"_lock_load", rows_lock_load, METH_NOARGS, NULL},
	{"_verify", rows_verify, METH_NOARGS, NULL},
	{"_descriptor", rows_descriptor, METH_NOARGS, NULL},
	{"_close", rows_close, METH_NOARGS, NULL},
	{NULL, NULL, 0, NULL},
};

static PyType_Slot rows_slots[] = {
	{Py_tp_dealloc, (void *)rows_free},
	{Py_tp_methods, rows_methods},
	{Py_tp_iter, (void *)rows_iterate},
	{Py_mp_length, (void *)rows_length},
	{Py_mp_subscript, (void *)rows_subscript},
	{Py_mp_ass_subscript, (void *)rows_assign},
	{Py_sq_contains, (void *)rows_contains},
	{Py_tp_doc, "The rows of one shared table in this process; see ipckit.table.Table."},
	{0, NULL},
};
static PyType_Spec rows_spec = {
	.name = "ipckit._core._rows.Rows",
	.basicsize = sizeof(struct rows),
	.flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE,
	.slots = rows_slots,
};

static PyModuleDef rows_module = {
	.m_base = PyModuleDef_HEAD_INIT,
	.m_name = "_rows",
	.m_doc = "Rows of a shared table as Python objects, over the C core.",
	.m_size = -1, /* one interpreter: slots belong to threads of the process */
};

PyMODINIT_FUNC PyInit__rows(void);

PyMODINIT_FUNC
PyInit__rows(void)
{
	PyObject *module;
	PyObject *type;
	int code = membership_setup();

	if (code) {
		PyErr_Format(PyExc_ImportError, "pthread_atfork or pthread_key_create: errno %d",
			     code);
		return NULL;
	}
	if (segment_errors_setup() < 0 || rows_all_setup() < 0)
		return NULL;
	module = PyModule_Create(&rows_module);
	type = module ? PyType_FromSpec(&rows_spec) : NULL;
	if (!type || PyModule_AddObjectRef(module, "Rows", type) < 0 || sync_setup(module) < 0 ||
	    declare_no_gil(module) < 0)
		Py_CLEAR(module);
	Py_XDECREF(type);
	return module;
}

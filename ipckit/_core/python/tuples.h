/*
 * python/tuples.h - a new instance of a class that derives from tuple, a NamedTuple.
 *
 * This header is shared by channel/, queues/ and shared_queue/.
 *
 * Up to CPython 3.13 the class' allocator is enough. From 3.14 on a tuple keeps its hash, and the
 * allocator leaves 0 there, which is a hash: only tuple.__new__ says that there is none yet. That one
 * copies the items of a tuple it is given.
 *
 * State     one tuple for each size, made at first use.  Blocks  never.
 */
#ifndef IPK_PYTHON_TUPLES_H
#define IPK_PYTHON_TUPLES_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "base/atomics.h"

enum { TUPLE_MOST = 4, KEEPS_HASH = 0x030E0000 };

/* The arguments of tuple.__new__ for so many items, each of them None. NULL: raised. Borrowed. */
static inline PyObject *
blank_arguments(Py_ssize_t size)
{
	static PyObject *made[TUPLE_MOST + 1];
	PyObject *items;
	PyObject *arguments = LOAD_ACQUIRE(&made[size]);
	PyObject *none = NULL;

	if (arguments)
		return arguments;
	items = PyTuple_New(size);
	for (Py_ssize_t i = 0; items && i < size; i++)
		(void)PyTuple_SetItem(items, i, Py_NewRef(Py_None));
	arguments = items ? PyTuple_Pack(1, items) : NULL;
	Py_XDECREF(items);
	if (arguments && !COMPARE_EXCHANGE(&made[size], &none, arguments)) {
		Py_DECREF(arguments); /* another thread was first */
		arguments = none;
	}
	return arguments;
}

/* An instance with `size` items, 1 to TUPLE_MOST, for PyTuple_SetItem() before other code sees it. It may
 * run the garbage collector. NULL: raised. */
static inline PyObject *
new_named_tuple(PyTypeObject *class, Py_ssize_t size)
{
	PyObject *arguments;

	if (Py_Version < KEEPS_HASH)
		return ((allocfunc)PyType_GetSlot(class, Py_tp_alloc))(class, size);
	arguments = blank_arguments(size);
	return arguments ? ((newfunc)PyType_GetSlot(&PyTuple_Type, Py_tp_new))(class, arguments, NULL)
			 : NULL;
}

#endif

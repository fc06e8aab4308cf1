/*
 * python/threads.h - what differs where CPython runs threads without a GIL (PEP 703).
 *
 * This header is shared by channel/, queues/, segments/, sync/ and table/.
 *
 * Py_GIL_DISABLED is defined by the headers of a free-threaded CPython alone. A module that is built
 * for it is not abi3, and it declares NO_GIL_SLOT or calls declare_no_gil(): without that its import
 * turns the GIL on for the whole process.
 *
 * With a GIL all of this costs nothing.
 */
#ifndef IPK_PYTHON_THREADS_H
#define IPK_PYTHON_THREADS_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "base/atomics.h"

#ifdef Py_GIL_DISABLED

/* Store a word, and then load other words: both in this order, for all threads. */
#define PUBLISH(place, value) ((void)EXCHANGE((place), (value)))
/* No other thread is between these two lines with the same object. A wait in between opens it. */
#define BEGIN_EXCLUSIVE(object) Py_BEGIN_CRITICAL_SECTION(object)
#define END_EXCLUSIVE() Py_END_CRITICAL_SECTION()
/* An empty dict that gets the keys of this one, in their order. A copy of a dict that threads share
 * would take its lock each time. */
#define NEW_LIKE(dict) ((void)(dict), PyDict_New())
/* In the m_slots of a module. */
#define NO_GIL_SLOT {Py_mod_gil, Py_MOD_GIL_NOT_USED},
/* A new reference to the item, or NULL with an exception. */
#define LIST_ITEM(list, index) PyList_GetItemRef((list), (index))

/* 0, or -1 raised. */
static inline int
declare_no_gil(PyObject *module)
{
	return PyUnstable_Module_SetGIL(module, Py_MOD_GIL_NOT_USED);
}

#else

/* The GIL has the full barrier: a thread that has it sees what others did while they had it. */
#define PUBLISH(place, value) STORE_RELEASE((place), (value))
#define BEGIN_EXCLUSIVE(object) {
#define END_EXCLUSIVE() }
#define NEW_LIKE(dict) PyDict_Copy(dict)
#define NO_GIL_SLOT
#define LIST_ITEM(list, index) Py_XNewRef(PyList_GetItem((list), (index)))

static inline int
declare_no_gil(PyObject *module)
{
	(void)module;
	return 0;
}

#endif

#endif

/*
 * python/arguments.h - the arguments of a METH_FASTCALL function: how it is registered, and how they
 * are counted and placed.
 *
 * This header is shared by channel/, ledger/, queues/, stream/ and table/.
 *
 * The errors are TypeError in the wording of CPython's own argument parser.
 *
 * State     none.  Blocks  never.
 */
#ifndef IPK_PYTHON_ARGUMENTS_H
#define IPK_PYTHON_ARGUMENTS_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

/* The function of a PyMethodDef, and its flags. */
#define FAST(call) (PyCFunction)(void (*)(void)) call, METH_FASTCALL
#define FAST_KEYWORDS(call) (PyCFunction)(void (*)(void)) call, METH_FASTCALL | METH_KEYWORDS

/* 0; -1: raised, as there are too few or too many. */
static inline int
count_arguments(Py_ssize_t count, Py_ssize_t expected)
{
	if (count == expected)
		return 0;
	PyErr_Format(PyExc_TypeError, "expected %zd arguments, got %zd", expected, count);
	return -1;
}

/*
 * Put the arguments of a METH_FASTCALL | METH_KEYWORDS call into places[], by position or by name:
 * the first `least` of `most` are required, and a place that is not given is NULL. 0, or -1 with an
 * exception.
 */
static inline int
place_arguments(const char *call, const char *const names[], Py_ssize_t least, Py_ssize_t most,
		PyObject *const *args, Py_ssize_t count, PyObject *keywords, PyObject **places)
{
	Py_ssize_t named = keywords ? PyTuple_Size(keywords) : 0;

	if (count > most) {
		PyErr_Format(PyExc_TypeError, "%s() takes at most %zd arguments (%zd given)", call,
			     most, count);
		return -1;
	}
	for (Py_ssize_t i = 0; i < most; i++)
		places[i] = i < count ? args[i] : NULL;
	for (Py_ssize_t k = 0; k < named; k++) {
		PyObject *name = PyTuple_GetItem(keywords, k);
		Py_ssize_t i = 0;

		while (i < most && PyUnicode_CompareWithASCIIString(name, names[i]) != 0)
			i++;
		if (i == most || places[i]) {
			PyErr_Format(PyExc_TypeError,
				     i == most ? "%s() got an unexpected keyword argument %R"
					       : "%s() got multiple values for argument %R",
				     call, name);
			return -1;
		}
		places[i] = args[count + k];
	}
	for (Py_ssize_t i = 0; i < least; i++) {
		if (!places[i]) {
			PyErr_Format(PyExc_TypeError,
				     "%s() missing required argument '%s' (pos %zd)", call, names[i],
				     i + 1);
			return -1;
		}
	}
	return 0;
}

#endif

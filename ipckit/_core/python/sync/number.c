/*
 * python/sync/number.c - the type Number: a 64-bit number that may be waited for.
 *
 * Owns      nothing.  Stands on locks/arena, arena.c.  State  in the arena.
 * Blocks    wait, without the GIL; it handles signals while it waits.
 */
#include "python/sync/sync.h"

#include <errno.h>
#include <limits.h>

/* An int of 64 bits; 0, or -1 raised. */
static int
take_int(PyObject *object, const char *what, int64_t *value)
{
	int overflow;

	if (!PyLong_Check(object)) {
		PyErr_Format(PyExc_TypeError, "%s=%R: must be an int", what, object);
		return -1;
	}
	*value = PyLong_AsLongLongAndOverflow(object, &overflow);
	if (overflow) {
		PyErr_Format(PyExc_OverflowError, "%s=%R: must be -2**63..2**63-1 (64 bits)", what, object);
		if (!PyErr_ExceptionMatches(PyExc_OverflowError)) { /* it has too many digits */
			PyErr_Clear();
			PyErr_Format(PyExc_OverflowError,
				     "%s has thousands of digits: must be -2**63..2**63-1 (64 bits)", what);
		}
		return -1;
	}
	return PyErr_Occurred() ? -1 : 0;
}

static PyObject *
add(PyObject *object, PyObject *args, PyObject *keywords, int down)
{
	static char *names[] = {"n", NULL};
	struct ipk_sync *sync = cell_placed((struct cell *)object);
	PyObject *n = NULL;
	int64_t by = 1;
	int64_t value;

	if (!sync || !PyArg_ParseTupleAndKeywords(args, keywords, "|O", names, &n) ||
	    (n && take_int(n, "n", &by) < 0))
		return NULL;
	if ((down && by == INT64_MIN) ||
	    ipk_number_add(&sync->cells[((struct cell *)object)->index], down ? -by : by, &value)) {
		PyErr_Format(PyExc_OverflowError,
			     "%s(%lld): the new value would not be -2**63..2**63-1 (64 bits); nothing "
			     "was changed, set() one to go on from",
			     down ? "sub" : "add", (long long)by);
		return NULL;
	}
	return PyLong_FromLongLong(value);
}

static PyObject *
number_add(PyObject *self, PyObject *args, PyObject *keywords)
{
	return add(self, args, keywords, 0);
}

static PyObject *
number_sub(PyObject *self, PyObject *args, PyObject *keywords)
{
	return add(self, args, keywords, 1);
}

static PyObject *
number_get(PyObject *object, PyObject *unused)
{
	struct ipk_sync *sync = cell_placed((struct cell *)object);

	(void)unused;
	return sync ? PyLong_FromLongLong(
			      ipk_number_load(&sync->cells[((struct cell *)object)->index]))
		    : NULL;
}

static PyObject *
number_set(PyObject *object, PyObject *value_object)
{
	struct ipk_sync *sync = cell_placed((struct cell *)object);
	int64_t value;

	if (!sync || take_int(value_object, "value", &value) < 0)
		return NULL;
	ipk_number_store(&sync->cells[((struct cell *)object)->index], value);
	Py_RETURN_NONE;
}

static PyObject *
number_compare_and_set(PyObject *object, PyObject *args, PyObject *keywords)
{
	static char *names[] = {"expected", "value", NULL};
	struct ipk_sync *sync = cell_placed((struct cell *)object);
	PyObject *expected_object;
	PyObject *value_object;
	int64_t expected;
	int64_t value;

	if (!sync ||
	    !PyArg_ParseTupleAndKeywords(args, keywords, "OO", names, &expected_object,
					 &value_object) ||
	    take_int(expected_object, "expected", &expected) < 0 ||
	    take_int(value_object, "value", &value) < 0)
		return NULL;
	return PyBool_FromLong(ipk_number_compare_and_set(
		&sync->cells[((struct cell *)object)->index], expected, value));
}

static PyObject *
number_wait(PyObject *object, PyObject *args, PyObject *keywords)
{
	static char *names[] = {"expected", "timeout", NULL};
	struct ipk_sync *sync = cell_placed((struct cell *)object);
	PyObject *timeout = NULL;
	PyObject *expected_object;
	int64_t deadline;
	int64_t expected;
	int code;

	if (!sync ||
	    !PyArg_ParseTupleAndKeywords(args, keywords, "O|O", names, &expected_object,
					 &timeout) ||
	    take_int(expected_object, "expected", &expected) < 0 ||
	    (deadline = cell_deadline(timeout)) < 0)
		return NULL;
	do {
		Py_BEGIN_ALLOW_THREADS
		code = ipk_number_wait(&sync->cells[((struct cell *)object)->index], expected,
				       (uint64_t)deadline);
		Py_END_ALLOW_THREADS
		if (PyErr_CheckSignals() < 0)
			return NULL;
	} while (code == 0 || code == -EINTR);
	return PyBool_FromLong(code == 1);
}

static PyObject *
number_wake(PyObject *object, PyObject *args, PyObject *keywords)
{
	static char *names[] = {"n", NULL};
	struct ipk_sync *sync = cell_placed((struct cell *)object);
	PyObject *count = NULL;
	int64_t n = 1;

	if (!sync || !PyArg_ParseTupleAndKeywords(args, keywords, "|O", names, &count) ||
	    (count && take_int(count, "n", &n) < 0))
		return NULL;
	if (n < 1) {
		PyErr_Format(PyExc_ValueError, "n=%lld: must be at least 1", (long long)n);
		return NULL;
	}
	return PyLong_FromLong(ipk_number_wake(&sync->cells[((struct cell *)object)->index],
					       n < INT_MAX ? (int)n : INT_MAX));
}

PyMethodDef number_methods[] = {
	{"add", SYNC_NAMED(number_add),
	 PyDoc_STR("add($self, n=1)\n--\n\n"
		   "Add in one step and return the new value.\n\nOverflowError when it would leave "
		   "64 bits; nothing is changed then.")},
	{"sub", SYNC_NAMED(number_sub),
	 PyDoc_STR("sub($self, n=1)\n--\n\nSubtract in one step and return the new value; else as "
		   "add().")},
	{"get", number_get, METH_NOARGS, PyDoc_STR("get($self)\n--\n\nReturn the value.")},
	{"set", number_set, METH_O,
	 PyDoc_STR("set($self, value, /)\n--\n\nSet the value. OverflowError over 64 bits.")},
	{"compare_and_set", SYNC_NAMED(number_compare_and_set),
	 PyDoc_STR("compare_and_set($self, expected, value)\n--\n\n"
		   "Set to `value` if it is `expected`, in one step; return whether it was.")},
	{"wait", SYNC_NAMED(number_wait),
	 PyDoc_STR("wait($self, expected, timeout=None)\n--\n\n"
		   "Sleep while the value is `expected`; True when it is another, False when "
		   "`timeout`\nseconds are over (None: no limit; 0: only look).\n\nA caller that "
		   "changes the value calls wake(); without that a sleeper looks again after at\n"
		   "most 50 ms. Signal handlers run while it waits.")},
	{"wake", SYNC_NAMED(number_wake),
	 PyDoc_STR("wake($self, n=1)\n--\n\n"
		   "Wake up to `n` processes that wait(); return how many it were.")},
	{"_place", cell_place, METH_VARARGS, NULL},
	{NULL, NULL, 0, NULL},
};

/*
 * python/queues/calls.c - the methods of Sysv and Posix: a try, or the subclass.
 *
 * Stands on messages.h, which has the invariants.
 */
#include "python/queues/messages.h"
#include "python/threads.h"

struct usual {
	message_try *try;
	const char *keyword; /* the only one of the usual case */
	long type;	     /* when it is not given */
	int takes_body;
};

static const struct usual sysv_sends = {try_sysv_send, "type", 1, 1};
static const struct usual sysv_receives = {try_sysv_receive, "type", 0, 0};
static const struct usual posix_sends = {try_posix_send, "priority", 0, 1};
static const struct usual posix_receives = {try_posix_receive, "", 0, 0};

/* The type that is asked for. 0: this is not the usual case. */
static int
usual_type(const struct usual *usual, PyObject *const *values, PyObject *names, long *type)
{
	*type = usual->type;
	if (!names || PyTuple_Size(names) == 0)
		return 1;
	if (PyTuple_Size(names) != 1 || !PyLong_Check(values[0]) ||
	    PyUnicode_CompareWithASCIIString(PyTuple_GetItem(names, 0), usual->keyword) != 0)
		return 0;
	*type = PyLong_AsLong(values[0]);
	if (*type != -1 || !PyErr_Occurred())
		return 1;
	PyErr_Clear();
	return 0;
}

/* NULL without an exception: the subclass has to do it. */
static PyObject *
try_usual(const struct usual *usual, PyObject *self, PyObject *const *args, Py_ssize_t count,
	  PyObject *names)
{
	struct queue *queue = (struct queue *)self;
	PyObject *body = NULL;
	long type;

	if (count != usual->takes_body || queue->id < 0)
		return NULL;
	if (usual->takes_body) {
		body = args[0];
		if (!PyBytes_CheckExact(body))
			return NULL;
	} else if (!queue->message || (queue->given && PyObject_Size(queue->given) != 0)) {
		return NULL; /* what a wait took comes first; or it has no size: an exception */
	}
	return usual_type(usual, args + count, names, &type) ? usual->try(queue, body, type) : NULL;
}

/* The same, with the queue for itself (U3). */
static PyObject *
tried(const struct usual *usual, PyObject *self, PyObject *const *args, Py_ssize_t count,
      PyObject *names)
{
	PyObject *result;

	BEGIN_EXCLUSIVE(self);
	result = try_usual(usual, self, args, count, names);
	END_EXCLUSIVE();
	return result;
}

/* self.method(*args, **keywords) */
static PyObject *
defer_to_python(PyObject *self, const char *method, PyObject *const *args, Py_ssize_t count,
	 PyObject *names)
{
	PyObject *function = PyObject_GetAttrString(self, method);
	PyObject *positional = PyTuple_New(count);
	PyObject *keywords = PyDict_New();
	PyObject *result = NULL;

	if (!function || !positional || !keywords)
		goto out;
	for (Py_ssize_t i = 0; i < count; i++)
		(void)PyTuple_SetItem(positional, i, Py_NewRef(args[i])); /* new, and of this size */
	for (Py_ssize_t i = 0; names && i < PyTuple_Size(names); i++)
		if (PyDict_SetItem(keywords, PyTuple_GetItem(names, i), args[count + i]) < 0)
			goto out;
	result = PyObject_Call(function, positional, keywords);
out:
	Py_XDECREF(function);
	Py_XDECREF(positional);
	Py_XDECREF(keywords);
	return result;
}

#define METHOD(name, usual)                                                                        \
	PyObject *name(PyObject *self, PyObject *const *args, Py_ssize_t count, PyObject *names)   \
	{                                                                                          \
		PyObject *result = tried(&usual, self, args, count, names);                        \
                                                                                                   \
		return result || PyErr_Occurred()                                                  \
			       ? result                                                            \
			       : defer_to_python(self, strchr(#name, '_'), args, count, names);           \
	}

METHOD(sysv_send, sysv_sends)
METHOD(sysv_send_nowait, sysv_sends)
METHOD(sysv_receive, sysv_receives)
METHOD(sysv_receive_nowait, sysv_receives)
METHOD(posix_send, posix_sends)
METHOD(posix_send_nowait, posix_sends)
METHOD(posix_receive, posix_receives)
METHOD(posix_receive_nowait, posix_receives)

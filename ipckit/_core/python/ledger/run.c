/*
 * python/ledger/run.c - an attempt in one call: claim a task, read it, call the user, write its
 * end.
 *
 * Stands on ledger/claim, job.c, attempt.c.  State  struct view.
 * Blocks    as long as the user's callback does.
 * What is not common is left to Python: a task of another program, data in a file, a result for
 * which there is no room. The return value says how far the attempt is. An exception of the
 * callback, or of the data's types while they are read, goes up; in_hand() says which task it was,
 * until its end is written. A process that the callback forked and that comes back from it writes
 * nothing.
 */
#include "python/ledger/view.h"

#include <errno.h>

/* What is left to Python: (how far it is, the job, an object that goes over to the tuple). */
static PyObject *
defer_to_python(const struct view *view, const struct ipk_ledger_lease *lease, enum ledger_stage stage,
      PyObject *body, PyObject *object)
{
	struct ipk_ledger_task task;

	ipk_ledger_task_of(&view->ledger, lease, &task);
	return ledger_tuple(3, (PyObject *[]){PyLong_FromLong(stage), ledger_job(lease, &task, body),
					      object});
}

/* The callback returned: write the end. `returned` is taken over. */
static PyObject *
write_end(struct view *view, struct ipk_ledger_lease *lease, PyObject *returned, PyObject *encode,
	  PyObject *protocol, int go_on)
{
	PyObject *result = view->given ? Py_NewRef(view->given) : NULL;
	char *bytes = NULL;
	Py_ssize_t size = 0;
	int code;

	if (returned != Py_None) {
		if (!result && !(result = ledger_encode(encode, protocol, returned))) {
			if (!PyErr_ExceptionMatches(PyExc_Exception)) {
				Py_DECREF(returned);
				return NULL;
			}
			PyErr_Clear(); /* Python finds which part of it cannot be encoded */
		}
		if (!result || view->given) {
			Py_XDECREF(result);
			return defer_to_python(view, lease, LEDGER_RETURNED, Py_NewRef(Py_None), returned);
		}
	}
	ledger_attempt_ends(view);
	if (result && PyBytes_AsStringAndSize(result, &bytes, &size) == 0)
		code = ipk_ledger_done_with(&view->ledger, lease, bytes, (uint64_t)size);
	else
		code = ipk_ledger_done(&view->ledger, lease);
	ledger_keep(view, lease);
	Py_XDECREF(result);
	if (code == -ENOSPC)
		return defer_to_python(view, lease, LEDGER_RETURNED, Py_NewRef(Py_None), returned);
	Py_DECREF(returned);
	if (code == 0)
		return PyBool_FromLong(go_on);
	return defer_to_python(view, lease, LEDGER_ENDED, Py_NewRef(Py_None),
		     PyLong_FromLong(code < 0 ? -1 : code));
}

/* run(callback, server, decode, encode, protocol, until): see _ledger.pyi */
LEDGER_FAST(ledger_run)
{
	struct view *view = (struct view *)self;
	struct ipk_ledger_lease lease;
	struct ipk_ledger_task task;
	long long until;
	PyObject *data;
	PyObject *id;
	PyObject *source;
	PyObject *returned = NULL;
	int go_on;

	if (count_arguments(count, 6) < 0)
		return NULL;
	until = PyLong_AsLongLong(args[5]);
	if (PyErr_Occurred())
		return NULL;
	if (!ipk_ledger_claim(&view->ledger, &lease))
		Py_RETURN_NONE;
	ledger_keep(view, &lease);
	ledger_attempt_begins(view, &lease, &task);
	go_on = task.began < until;
	if (task.flags & IPK_LEDGER_BODY_SPILLED)
		return defer_to_python(view, &lease, LEDGER_BEGUN, Py_NewRef(Py_None), Py_NewRef(Py_None));
	if (task.flags & IPK_LEDGER_FOREIGN)
		return defer_to_python(view, &lease, LEDGER_BEGUN,
			     ledger_body(view, lease.record, task.body_size), Py_NewRef(Py_None));
	data = ledger_decode(ledger_body(view, lease.record, task.body_size), args[2]);
	view->unread = !data;
	if (!data)
		return NULL;
	id = PyLong_FromUnsignedLongLong(task.id);
	source = PyLong_FromUnsignedLong(task.source);
	if (id && source)
		returned = PyObject_CallFunctionObjArgs(args[0], args[1], id, source, data, NULL);
	Py_XDECREF(id);
	Py_XDECREF(source);
	Py_DECREF(data);
	if (returned && view->forked)
		return defer_to_python(view, &lease, LEDGER_FORKED, Py_NewRef(Py_None), returned);
	return returned ? write_end(view, &lease, returned, args[3], args[4], go_on) : NULL;
}

/* in_hand() -> (record, id, attempt, source, flags, None, size, began), or None */
PyObject *
ledger_in_hand(PyObject *self, PyObject *unused)
{
	const struct view *view = (const struct view *)self;
	struct ipk_ledger_task task;

	(void)unused;
	if (!view->in_hand)
		Py_RETURN_NONE;
	ipk_ledger_task_of(&view->ledger, &view->hand, &task);
	return ledger_job(&view->hand, &task, Py_NewRef(Py_None));
}

/* unread() -> whether what went up last was raised while the data, or the result, was read */
PyObject *
ledger_unread(PyObject *self, PyObject *unused)
{
	(void)unused;
	return PyBool_FromLong(((struct view *)self)->unread);
}

/* forked(): this process was forked by the callback; the task in hand is its parent's */
PyObject *
ledger_forked(PyObject *self, PyObject *unused)
{
	(void)unused;
	((struct view *)self)->forked = 1;
	Py_RETURN_NONE;
}

/* give(result): the end of the task in hand has this one */
PyObject *
ledger_give(PyObject *self, PyObject *result)
{
	struct view *view = (struct view *)self;

	if (!PyBytes_Check(result))
		return PyErr_Format(PyExc_TypeError, "a result must be bytes");
	Py_XDECREF(view->given);
	view->given = Py_NewRef(result);
	Py_RETURN_NONE;
}

/* given() -> what was given, or None */
PyObject *
ledger_given(PyObject *self, PyObject *unused)
{
	const struct view *view = (const struct view *)self;

	(void)unused;
	return Py_NewRef(view->given ? view->given : Py_None);
}

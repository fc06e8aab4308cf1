/*
 * python/ledger/results.c - how tasks ended: results are collected, and delivered to the `finish` callback.
 *
 * Stands on ledger/submit, ledger_run.  State  struct view: `ends`, which were collected and
 *           not yet delivered.
 * Blocks    as long as the user's callback does.
 * The common case is delivered here: a result in the ledger that no taskwait() waits for. Every
 * other one is left to Python. A callback may ask for results itself, and goes on with the rest.
 */
#include "python/ledger/view.h"

/* collect(most) -> how many ends are there for deliver() */
PyObject *
ledger_collect(PyObject *self, PyObject *most)
{
	struct view *view = (struct view *)self;
	unsigned long wanted = PyLong_AsUnsignedLong(most);

	if (PyErr_Occurred())
		return NULL;
	if (view->delivered == view->collected) {
		view->delivered = 0;
		view->collected = ipk_ledger_collect(
			&view->ledger, view->ends,
			wanted < LEDGER_ENDS ? (uint32_t)wanted : LEDGER_ENDS);
		for (uint32_t i = 0; i < view->collected; i++)
			ledger_keep(view, &view->ends[i]);
	}
	return PyLong_FromUnsignedLong(view->collected - view->delivered);
}

/* What is left to Python; `object` goes over to the tuple. */
static PyObject *
defer_to_python(const struct ipk_ledger_lease *lease, const struct ipk_ledger_task *task,
      enum ledger_stage stage, PyObject *object)
{
	return ledger_tuple(7, (PyObject *[]){
				       PyLong_FromLong(stage),
				       PyLong_FromUnsignedLong(lease->record),
				       PyLong_FromUnsignedLongLong(task->id),
				       PyLong_FromUnsignedLong(task->flags),
				       PyLong_FromUnsignedLong(task->attempt),
				       object,
				       PyLong_FromUnsignedLongLong(task->result_size),
			       });
}

static PyObject *
untold(const struct view *view, const struct ipk_ledger_lease *lease,
       const struct ipk_ledger_task *task)
{
	int inside = task->flags & IPK_LEDGER_HAS_RESULT &&
		     !(task->flags & IPK_LEDGER_RESULT_SPILLED);

	return defer_to_python(lease, task, LEDGER_UNTOLD,
		     inside ? ledger_result(view, lease->record, task->result_size)
			    : Py_NewRef(Py_None));
}

enum delivery { DELIVERED, NOT_COMMON, UNREAD, FAILED };

/* UNREAD, FAILED: raised. */
static enum delivery
deliver_one(struct view *view, const struct ipk_ledger_lease *lease, const struct ipk_ledger_task *task,
     PyObject *const *args, PyObject **returned)
{
	enum {
		LOOKED_AT = IPK_LEDGER_HAS_RESULT | IPK_LEDGER_LOST | IPK_LEDGER_BODY_SPILLED |
			    IPK_LEDGER_RESULT_SPILLED | IPK_LEDGER_NOTED
	};
	PyObject *id;
	PyObject *value;
	int waited;

	if ((task->flags & LOOKED_AT) != IPK_LEDGER_HAS_RESULT || args[0] == Py_None)
		return NOT_COMMON;
	id = PyLong_FromUnsignedLongLong(task->id);
	waited = id && PyDict_Size(args[3]) ? PyDict_Contains(args[3], id) : 0;
	if (!id || waited) {
		Py_XDECREF(id);
		return !id || waited < 0 ? FAILED : NOT_COMMON;
	}
	ipk_ledger_begin_delivery(&view->ledger, lease->record);
	value = ledger_decode(ledger_result(view, lease->record, task->result_size), args[2]);
	*returned = value ? PyObject_CallFunctionObjArgs(args[0], args[1], id, value, NULL) : NULL;
	Py_DECREF(id);
	if (!value)
		return UNREAD;
	Py_DECREF(value);
	return *returned ? DELIVERED : FAILED;
}

PyObject *
ledger_begin_delivery(PyObject *self, PyObject *argument)
{
	struct view *view = (struct view *)self;
	int64_t record = ledger_record(view, argument);

	if (record < 0)
		return NULL;
	ipk_ledger_begin_delivery(&view->ledger, (uint32_t)record);
	Py_RETURN_NONE;
}

PyObject *
ledger_deliveries(PyObject *self, PyObject *argument)
{
	const struct view *view = (struct view *)self;
	int64_t record = ledger_record(view, argument);

	if (record < 0)
		return NULL;
	return PyLong_FromUnsignedLong(ipk_ledger_deliveries(&view->ledger, (uint32_t)record));
}

/* deliver(finish, server, decode, waiters): see _ledger.pyi */
LEDGER_FAST(ledger_deliver)
{
	struct view *view = (struct view *)self;

	if (count_arguments(count, 4) < 0)
		return NULL;
	view->in_hand = 0;
	while (view->delivered < view->collected) {
		struct ipk_ledger_lease lease = view->ends[view->delivered++];
		struct ipk_ledger_task task;
		PyObject *returned = NULL;
		enum delivery how;

		ipk_ledger_task_of(&view->ledger, &lease, &task);
		how = deliver_one(view, &lease, &task, args, &returned);
		if (how == UNREAD || how == FAILED) {
			view->hand = lease;
			view->in_hand = 1;
			view->unread = how == UNREAD;
			return NULL;
		}
		if (how == NOT_COMMON)
			return untold(view, &lease, &task);
		if (returned != Py_None)
			return defer_to_python(&lease, &task, LEDGER_RETURNED, returned);
		Py_DECREF(returned);
		if (ipk_ledger_end(&view->ledger, &lease) == 0)
			ipk_ledger_clear(&view->ledger, &lease);
	}
	Py_RETURN_NONE;
}

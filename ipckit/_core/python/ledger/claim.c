/*
 * python/ledger/claim.c - the calls of a task worker, and of any owner of a task, for Python.
 *
 * Stands on ledger/claim.  State  struct view.
 * Blocks    spin, for the time in its argument, without the GIL.
 */
#include "base/atomics.h"
#include "base/clock.h"
#include "python/ledger/view.h"

#include <errno.h>

/* After a spin in vain it rests so many times: then nobody is quick enough, or no CPU is free. */
enum { LOOKS_A_TURN = 32, RESTS = 16 };

PyObject *
ledger_claim(PyObject *self, PyObject *unused)
{
	struct view *view = (struct view *)self;
	struct ipk_ledger_lease lease;
	struct ipk_ledger_task task;
	PyObject *body;

	(void)unused;
	if (!ipk_ledger_claim(&view->ledger, &lease))
		Py_RETURN_NONE;
	ledger_keep(view, &lease);
	ledger_attempt_begins(view, &lease, &task);
	body = task.flags & IPK_LEDGER_BODY_SPILLED
		       ? Py_NewRef(Py_None)
		       : ledger_body(view, lease.record, task.body_size);
	return ledger_job(&lease, &task, body);
}

/* begin(record, dst, submitter's place) -> (attempt, began) */
LEDGER_FAST(ledger_begin)
{
	struct view *view = (struct view *)self;
	struct ipk_ledger_lease lease;
	struct ipk_ledger_task task;
	int64_t record;
	unsigned long submitter;
	long dst;

	if (count_arguments(count, 3) < 0 || (record = ledger_record(view, args[0])) < 0)
		return NULL;
	dst = PyLong_AsLong(args[1]);
	submitter = PyLong_AsUnsignedLong(args[2]);
	if (PyErr_Occurred())
		return NULL;
	lease = ledger_lease(view, record);
	if (ipk_ledger_begin(&view->ledger, &lease, (int32_t)dst, (uint32_t)submitter))
		return PyErr_Format(PyExc_ValueError, "record %lld is not put together here",
				    (long long)record);
	ledger_keep(view, &lease);
	ledger_attempt_begins(view, &lease, &task);
	return Py_BuildValue("(IL)", task.attempt, (long long)task.began);
}

LEDGER_FAST(ledger_spill_result)
{
	struct view *view = (struct view *)self;
	uint64_t size;
	int64_t record = ledger_record_and_numbers(view, args, count, &size, 1);

	if (record < 0)
		return NULL;
	ipk_ledger_spill_result(&view->ledger, (uint32_t)record, size);
	Py_RETURN_NONE;
}

LEDGER_FAST(ledger_put_result)
{
	return ledger_put_bytes(self, args, count, ipk_ledger_put_result);
}

LEDGER_FAST(ledger_flag)
{
	struct view *view = (struct view *)self;
	uint64_t flags[2]; /* to set, to clear */
	int64_t record = ledger_record_and_numbers(view, args, count, flags, 2);

	if (record < 0)
		return NULL;
	ipk_ledger_flag(&view->ledger, (uint32_t)record, (uint32_t)flags[0], (uint32_t)flags[1]);
	Py_RETURN_NONE;
}

PyObject *
ledger_done(PyObject *self, PyObject *argument)
{
	struct view *view = (struct view *)self;
	int64_t record = ledger_record(view, argument);
	int code;

	if (record < 0)
		return NULL;
	ledger_attempt_ends(view);
	code = ledger_step(view, record, ipk_ledger_done);
	return PyLong_FromLong(code < 0 ? -1 : code);
}

/* done_with(record, result) -> as done(); -2: no room inside, nothing was changed */
LEDGER_FAST(ledger_done_with)
{
	struct view *view = (struct view *)self;
	struct ipk_ledger_lease lease;
	char *bytes;
	uint64_t size;
	int64_t record = ledger_record_and_bytes(view, args, count, &bytes, &size);
	int code;

	if (record < 0)
		return NULL;
	ledger_attempt_ends(view);
	lease = ledger_lease(view, record);
	code = ipk_ledger_done_with(&view->ledger, &lease, bytes, size);
	ledger_keep(view, &lease);
	return PyLong_FromLong(code == -ENOSPC ? -2 : code < 0 ? -1 : code);
}

LEDGER_FAST(ledger_retry)
{
	struct view *view = (struct view *)self;
	struct ipk_ledger_lease lease;
	long long due;
	int64_t record;

	if (count_arguments(count, 2) < 0 || (record = ledger_record(view, args[0])) < 0)
		return NULL;
	due = PyLong_AsLongLong(args[1]);
	if (PyErr_Occurred())
		return NULL;
	ledger_attempt_ends(view);
	lease = ledger_lease(view, record);
	return PyBool_FromLong(ipk_ledger_retry(&view->ledger, &lease, due) == 0);
}

PyObject *
ledger_bury(PyObject *self, PyObject *argument)
{
	struct view *view = (struct view *)self;
	int64_t record = ledger_record(view, argument);
	struct ipk_ledger_lease lease;

	if (record < 0)
		return NULL;
	ledger_attempt_ends(view);
	lease = ledger_lease(view, record);
	return PyBool_FromLong(ipk_ledger_bury(&view->ledger, &lease) == 0);
}

PyObject *
ledger_spin(PyObject *self, PyObject *ns)
{
	struct view *view = (struct view *)self;
	int64_t most = PyLong_AsLongLong(ns);
	int64_t took = 0;
	int found = 0;

	if (PyErr_Occurred())
		return NULL;
	if (view->rests) {
		view->rests--;
		Py_RETURN_FALSE;
	}
	Py_BEGIN_ALLOW_THREADS
	for (uint64_t began = ipk_now_ns(); !found && took < most;
	     took = (int64_t)(ipk_now_ns() - began))
		for (int look = 0; !found && look < LOOKS_A_TURN; look++) {
			cpu_relax();
			found = ipk_ledger_has_work(&view->ledger);
		}
	Py_END_ALLOW_THREADS
	if (!found || took > 2 * most) /* the latter: another process had the CPU */
		view->rests = RESTS;
	return PyBool_FromLong(found);
}

PyObject *
ledger_sleep(PyObject *self, PyObject *unused)
{
	(void)unused;
	return PyBool_FromLong(ipk_ledger_sleep(&((struct view *)self)->ledger));
}

LEDGER_AS_IN_CORE(wake)
LEDGER_AS_IN_CORE(pass_on)

PyObject *
ledger_end(PyObject *self, PyObject *argument)
{
	struct view *view = (struct view *)self;
	int64_t record = ledger_record(view, argument);

	if (record < 0)
		return NULL;
	return PyBool_FromLong(ledger_step(view, record, ipk_ledger_end) == 0);
}

PyObject *
ledger_clear(PyObject *self, PyObject *argument)
{
	struct view *view = (struct view *)self;
	int64_t record = ledger_record(view, argument);
	struct ipk_ledger_lease lease;

	if (record < 0)
		return NULL;
	lease = ledger_lease(view, record);
	ipk_ledger_clear(&view->ledger, &lease);
	Py_RETURN_NONE;
}

PyObject *
ledger_release(PyObject *self, PyObject *argument)
{
	struct view *view = (struct view *)self;
	int64_t record = ledger_record(view, argument);
	struct ipk_ledger_lease lease;

	if (record < 0)
		return NULL;
	lease = ledger_lease(view, record);
	if (ipk_ledger_end(&view->ledger, &lease) == 0)
		ipk_ledger_clear(&view->ledger, &lease);
	Py_RETURN_NONE;
}

/*
 * python/ledger/attempt.c - the attempt that runs: which task it is, and its time in the row of the
 * process.
 *
 * Owns      the fields `hand` to `given` of struct view, and three words of the row.
 * Blocks    never.
 */
#include "base/atomics.h"
#include "base/clock.h"
#include "python/histogram.h"
#include "python/ledger/view.h"

/* account(row, busy_since, attempts, attempt_ns): keep these three words of `row`. */
LEDGER_FAST(ledger_account)
{
	struct view *view = (struct view *)self;
	uint64_t **words[] = {&view->busy_since, &view->attempts, &view->attempt_ns};

	if (count_arguments(count, 4) < 0 || view->row.obj ||
	    PyObject_GetBuffer(args[0], &view->row, PyBUF_WRITABLE) < 0)
		return PyErr_Occurred() ? NULL : PyErr_Format(PyExc_ValueError, "already kept");
	for (Py_ssize_t i = 0; i < 3; i++) {
		size_t at = PyLong_AsSize_t(args[i + 1]);

		if (PyErr_Occurred())
			return NULL;
		if (at >= (size_t)view->row.len / sizeof(uint64_t))
			return PyErr_Format(PyExc_IndexError, "the row has no word %zu", at);
		*words[i] = (uint64_t *)view->row.buf + at;
	}
	Py_RETURN_NONE;
}

void
ledger_attempt_begins(struct view *view, const struct ipk_ledger_lease *lease,
		      struct ipk_ledger_task *task)
{
	ipk_ledger_task_of(&view->ledger, lease, task);
	view->hand = *lease;
	view->in_hand = 1;
	view->unread = 0;
	Py_CLEAR(view->given);
	if (view->busy_since)
		STORE_RELEASE(view->busy_since, (uint64_t)task->began);
}

void
ledger_attempt_ends(struct view *view)
{
	uint64_t began = view->busy_since ? *view->busy_since : 0;
	uint64_t took;

	view->in_hand = 0;
	if (!began)
		return;
	took = ipk_now_ns() - began;
	latency_note(&view->row, took);
	STORE_RELEASE(view->attempt_ns, *view->attempt_ns + took);
	STORE_RELEASE(view->attempts, *view->attempts + 1);
	STORE_RELEASE(view->busy_since, 0);
}

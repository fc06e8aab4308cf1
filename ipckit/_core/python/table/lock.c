/*
 * python/table/lock.c - a row's user lock: what `with table.lock(key)` calls first and last.
 *
 * Owns      nothing.  Stands on python/table/handle, codec.c.  State  in the segment.
 * Blocks    _lock while another living thread has the row, until its deadline; _unlock while
 *           somebody is inside the bucket.
 */
#include "python/table/rows.h"
#include "python/threads.h"

#include <errno.h>

/* Note the cell in `taken`, and show the row of a fresh lock; NULL: raised, and unlocked again. */
static PyObject *
show_locked(struct attempt *attempt, PyObject *taken, uint32_t cell, int code, const uint64_t *copy)
{
	PyObject *number = PyLong_FromUnsignedLong(cell);
	PyObject *row = NULL;

	if (number && PyList_Append(taken, number) == 0)
		row = code & 1 ? row_to_object(attempt->table, &attempt->rows->columns, copy + 1)
			       : Py_NewRef(Py_None);
	Py_XDECREF(number);
	attempt->uninterruptible = 1;
	attempt->deadline = 0;
	if (!row) {
		/* A garbage collection may have forked: the child does not have the lock. */
		attempt->party = segment_party_if_any(attempt->segment);
		while (attempt->party &&
		       rows_again(attempt, ipk_table_abort(attempt->table, attempt->party, cell,
							   &attempt->obstacle)) > 0)
			;
		(void)PyList_SetSlice(taken, 0, PyList_Size(taken), NULL);
	}
	return row;
}

/* _lock(key, deadline: CLOCK_MONOTONIC ns or 0 for none, taken: []) -> row or None. The list has
 * the cell as soon as the lock is taken: whatever a signal's handler raises then, it is known. */
PyObject *
rows_lock(PyObject *self, PyObject *args)
{
	unsigned long long deadline;
	struct attempt attempt;
	struct buffer buffer;
	PyObject *result = NULL;
	PyObject *taken;
	PyObject *key;
	uint32_t cell = 0;
	int code;
	int more;

	if (!PyArg_ParseTuple(args, "OKO!", &key, &deadline, &PyList_Type, &taken) ||
	    rows_begin(&attempt, (struct rows *)self, key) < 0)
		return NULL;
	attempt.deadline = deadline;
	if (rows_join(&attempt) == 0 && rows_borrow(attempt.rows, attempt.segment, &buffer)) {
		do {
			code = ipk_table_lock(attempt.table, attempt.party, &attempt.key,
					      buffer.words, &cell, &attempt.obstacle);
		} while ((more = rows_again(&attempt, code)) > 0);
		if (rows_finish(&attempt, code, more) >= 0)
			result = show_locked(&attempt, taken, cell, code, buffer.words);
		rows_give_back(&buffer);
	}
	segment_leave();
	return result;
}

/* Commit the row, or leave it as it was (None). Signals wait: it must be done. */
static int
unlock(struct attempt *attempt, uint32_t cell, PyObject *row)
{
	unsigned char given[IPK_TABLE_COLUMNS];
	const struct ipk_table *table = attempt->table;
	struct buffer buffer;
	int code = -1;
	int more;

	if (!rows_borrow(attempt->rows, attempt->segment, &buffer))
		return -1;
	if ((row == Py_None ||
	     row_from_object(table, &attempt->rows->columns, row, buffer.words, given) == 0) &&
	    rows_join(attempt) == 0) {
		do {
			code = row == Py_None ? ipk_table_abort(table, attempt->party, cell,
								&attempt->obstacle)
					      : ipk_table_commit(table, attempt->party, cell,
								 buffer.words, &attempt->obstacle);
		} while ((more = rows_again(attempt, code)) > 0);
		if (more == 0 && code == -EPERM)
			PyErr_SetString(segment_misuse,
					"the row's lock is another thread's, or of the process "
					"that forked this one; nothing was changed");
		else
			code = rows_finish(attempt, code, more);
	}
	rows_give_back(&buffer);
	return code;
}

/* _unlock(taken, row or None): of the cell that _lock() noted; empties the list when it is done. */
PyObject *
rows_unlock(PyObject *self, PyObject *args)
{
	struct attempt attempt;
	unsigned long cell;
	PyObject *number;
	PyObject *taken;
	PyObject *row;
	int code = -1;

	if (!PyArg_ParseTuple(args, "O!O", &PyList_Type, &taken, &row))
		return NULL;
	if (PyList_Size(taken) != 1) {
		PyErr_SetString(segment_misuse, "nothing is locked");
		return NULL;
	}
	number = LIST_ITEM(taken, 0);
	if (!number)
		return NULL;
	cell = PyLong_AsUnsignedLong(number);
	Py_DECREF(number);
	if (PyErr_Occurred() || rows_begin(&attempt, (struct rows *)self, NULL) < 0)
		return NULL;
	attempt.uninterruptible = 1;
	attempt.key.size = 0;
	if (cell < attempt.table->rows)
		code = unlock(&attempt, (uint32_t)cell, row);
	else
		PyErr_SetString(PyExc_ValueError, "no such cell");
	segment_leave();
	if (code < 0 || PyList_SetSlice(taken, 0, 1, NULL) < 0)
		return NULL;
	Py_RETURN_NONE;
}

/*
 * rows_lock.c - a row's user lock: what `with table.lock(key)` calls first and last.
 *
 * Owns      nothing.  Stands on rows_handle, rows_codec.  State  in the segment.
 * Blocks    _lock while another living thread has the row, until its deadline; _unlock while
 *           somebody is inside the bucket.
 */
#include "rows.h"

#include <errno.h>

/* (cell, row or None) of a fresh lock; NULL: raised, and unlocked again. */
static PyObject *
show_locked(struct attempt *attempt, uint32_t cell, int code, const uint64_t *copy)
{
	PyObject *row = code & 1 ? row_to_object(attempt->table, &attempt->rows->columns, copy + 1)
				 : Py_NewRef(Py_None);
	PyObject *result = row ? Py_BuildValue("IN", cell, row) : NULL;

	attempt->deaf = 1;
	attempt->deadline = 0;
	if (!result)
		while (rows_again(attempt, ipk_table_abort(attempt->table, attempt->party, cell,
							   &attempt->obstacle)) > 0)
			;
	return result;
}

/* _lock(key, deadline: CLOCK_MONOTONIC ns, 0 none) -> (cell, row or None). */
PyObject *
rows_lock(PyObject *self, PyObject *args)
{
	unsigned long long deadline;
	struct attempt attempt;
	struct buffer buffer;
	PyObject *result = NULL;
	PyObject *key;
	uint32_t cell = 0;
	int code;
	int more;

	if (!PyArg_ParseTuple(args, "OK", &key, &deadline) ||
	    rows_begin(&attempt, (struct rows *)self, key) < 0)
		return NULL;
	attempt.deadline = deadline;
	if (rows_borrow(attempt.rows, attempt.segment, &buffer)) {
		do {
			code = ipk_table_lock(attempt.table, attempt.party, &attempt.key,
					      buffer.words, &cell, &attempt.obstacle);
		} while ((more = rows_again(&attempt, code)) > 0);
		if (rows_settle(&attempt, code, more) >= 0)
			result = show_locked(&attempt, cell, code, buffer.words);
		rows_give_back(&buffer);
	}
	rows_end(&attempt);
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
	if (row == Py_None ||
	    row_from_object(table, &attempt->rows->columns, row, buffer.words, given) == 0) {
		do {
			code = row == Py_None ? ipk_table_abort(table, attempt->party, cell,
								&attempt->obstacle)
					      : ipk_table_commit(table, attempt->party, cell,
								 buffer.words, &attempt->obstacle);
		} while ((more = rows_again(attempt, code)) > 0);
		if (more == 0 && code == -EPERM)
			PyErr_SetString(rows_misuse,
					"the row's lock is another thread's, or of the process "
					"that forked this one; nothing was changed");
		else
			code = rows_settle(attempt, code, more);
	}
	rows_give_back(&buffer);
	return code;
}

/* _unlock(cell, row or None). */
PyObject *
rows_unlock(PyObject *self, PyObject *args)
{
	struct attempt attempt;
	unsigned int cell;
	PyObject *row;
	int code = -1;

	if (!PyArg_ParseTuple(args, "IO", &cell, &row) ||
	    rows_begin(&attempt, (struct rows *)self, NULL) < 0)
		return NULL;
	attempt.deaf = 1;
	attempt.key.size = 0;
	if (cell < attempt.table->rows)
		code = unlock(&attempt, cell, row);
	else
		PyErr_SetString(PyExc_ValueError, "no such cell");
	rows_end(&attempt);
	if (code < 0)
		return NULL;
	Py_RETURN_NONE;
}

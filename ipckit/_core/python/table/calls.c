/*
 * python/table/calls.c - the calls of one row.
 *
 * Owns      nothing.  Stands on python/table/handle, codec.c.  State  none.
 * Blocks    what writes: see rows_again. Reading never.
 * Arguments are checked in their order, before anything is changed.
 */
#include "python/arguments.h"
#include "python/table/rows.h"

#include <errno.h>
#include <string.h>

/* -- reading -- */

/* column -1: the row as a dict; missing NULL: KeyError. */
static PyObject *
read_row(struct rows *self, const struct segment *segment, const struct ipk_key *key, int column,
	 PyObject *key_object, PyObject *missing)
{
	const struct ipk_table *table = &segment->table;
	PyObject *result = NULL;
	struct buffer buffer;
	int code;

	if (!rows_borrow(self, segment, &buffer))
		return NULL;
	code = column < 0 ? ipk_table_get(table, key, buffer.words)
			  : ipk_table_get_column(table, key, (uint32_t)column, buffer.words);
	if (code < 0)
		(void)rows_refuse(self, segment, key, code);
	else if (code == 0 && missing)
		result = Py_NewRef(missing);
	else if (code == 0)
		PyErr_SetObject(PyExc_KeyError, key_object);
	else if (column < 0)
		result = row_to_object(table, &self->columns, buffer.words + 1);
	else
		result = value_to_object(&table->columns[column], buffer.words);
	rows_give_back(&buffer);
	return result;
}

static PyObject *
get(struct rows *self, PyObject *key_object, PyObject *name, PyObject *missing)
{
	struct segment *segment = rows_enter(self);
	PyObject *result = NULL;
	struct ipk_key key;
	int column = -1;

	if (!segment)
		return NULL;
	if (key_from_object(&segment->table, &self->columns, key_object, &key) == 0 &&
	    (!name || (column = columns_find(&self->columns, name)) >= 0))
		result = read_row(self, segment, &key, column, key_object, missing);
	segment_leave();
	return result;
}

ROWS_FAST(rows_get)
{
	static const char *const names[] = {"key", "column", "default"};
	PyObject *places[3];

	if (place_arguments("get", names, 1, 3, args, count, keywords, places) < 0)
		return NULL;
	return get((struct rows *)self, places[0], places[1] == Py_None ? NULL : places[1],
		   places[2] ? places[2] : Py_None);
}

PyObject *
rows_subscript(PyObject *self, PyObject *key)
{
	return get((struct rows *)self, key, NULL, NULL);
}

int
rows_contains(PyObject *object, PyObject *key_object)
{
	struct rows *self = (struct rows *)object;
	struct segment *segment = rows_enter(self);
	struct ipk_key key;
	int code = -1;

	if (!segment)
		return -1;
	if (key_from_object(&segment->table, &self->columns, key_object, &key) == 0) {
		code = ipk_table_has(&segment->table, &key);
		if (code < 0)
			code = rows_refuse(self, segment, &key, code);
	}
	segment_leave();
	return code;
}

PyObject *
rows_exists(PyObject *self, PyObject *key)
{
	int code = rows_contains(self, key);

	return code < 0 ? NULL : PyBool_FromLong(code);
}

/* -- writing -- */

/* 1 a new row, 0 it was there, -1 raised. */
static int
write_row(PyObject *self, PyObject *key, PyObject *row, enum ipk_write how)
{
	unsigned char given[IPK_TABLE_COLUMNS];
	struct attempt attempt;
	struct buffer buffer;
	int result = -1;
	int code;
	int more;

	if (rows_begin(&attempt, (struct rows *)self, key) < 0)
		return -1;
	if (rows_borrow(attempt.rows, attempt.segment, &buffer)) {
		if (row_from_object(attempt.table, &attempt.rows->columns, row, buffer.words,
				    given) == 0 &&
		    rows_join(&attempt) == 0) {
			do {
				code = ipk_table_write(attempt.table, attempt.party, &attempt.key,
						       how, buffer.words, given,
						       &attempt.obstacle);
			} while ((more = rows_again(&attempt, code)) > 0);
			result = rows_finish(&attempt, code, more);
		}
		rows_give_back(&buffer);
	}
	segment_leave();
	return result;
}

ROWS_FAST(rows_set)
{
	static const char *const names[] = {"key", "row"};
	PyObject *places[2];

	if (place_arguments("set", names, 2, 2, args, count, keywords, places) < 0 ||
	    write_row(self, places[0], places[1], IPK_SET) < 0)
		return NULL;
	Py_RETURN_NONE;
}

ROWS_FAST(rows_add)
{
	static const char *const names[] = {"key", "row"};
	PyObject *places[2];
	int code;

	if (place_arguments("add", names, 2, 2, args, count, keywords, places) < 0)
		return NULL;
	code = write_row(self, places[0], places[1], IPK_ADD);
	return code < 0 ? NULL : PyBool_FromLong(code);
}

/* 1 deleted, 0 absent, -1 raised; *row: the row, if `row` is not NULL. */
static int
delete_row(PyObject *self, PyObject *key, PyObject **row)
{
	struct attempt attempt;
	struct buffer buffer;
	int result = -1;
	int code;
	int more;

	if (rows_begin(&attempt, (struct rows *)self, key) < 0)
		return -1;
	if (rows_join(&attempt) == 0 && rows_borrow(attempt.rows, attempt.segment, &buffer)) {
		do {
			code = ipk_table_delete(attempt.table, attempt.party, &attempt.key,
						row ? buffer.words : NULL, &attempt.obstacle);
		} while ((more = rows_again(&attempt, code)) > 0);
		result = rows_finish(&attempt, code, more);
		if (result > 0 && row) {
			*row = row_to_object(attempt.table, &attempt.rows->columns,
					     buffer.words + 1);
			result = *row ? 1 : -1;
		}
		rows_give_back(&buffer);
	}
	segment_leave();
	return result;
}

PyObject *
rows_delete(PyObject *self, PyObject *key)
{
	int code = delete_row(self, key, NULL);

	return code < 0 ? NULL : PyBool_FromLong(code);
}

PyObject *
rows_pop(PyObject *self, PyObject *key)
{
	PyObject *row = NULL;

	if (delete_row(self, key, &row) == 0)
		PyErr_SetObject(PyExc_KeyError, key);
	return row;
}

int
rows_assign(PyObject *self, PyObject *key, PyObject *row)
{
	int code;

	if (row)
		return write_row(self, key, row, IPK_REPLACE) < 0 ? -1 : 0;
	code = delete_row(self, key, NULL);
	if (code == 0)
		PyErr_SetObject(PyExc_KeyError, key);
	return code > 0 ? 0 : -1;
}

/* What is to be added, as a word of the column; the schema refuses what cannot be. */
static int
take_step(const struct attempt *attempt, int column, PyObject *by, int down, uint64_t *word)
{
	const struct columns *columns = &attempt->rows->columns;
	const struct ipk_column *which = &attempt->table->columns[column];
	PyObject *step;
	double change;

	if (!by && which->type == IPK_INT) {
		*word = down ? (uint64_t)-1 : 1;
		return 0;
	}
	step = PyObject_CallMethod(columns->schema, "check_by", "OOi",
				   columns->name[column], by ? by : Py_True,
				   down);
	if (!step)
		return -1;
	if (which->type == IPK_INT) {
		*word = (uint64_t)PyLong_AsLongLong(step);
	} else {
		change = PyFloat_AsDouble(step);
		memcpy(word, &change, sizeof(change));
	}
	Py_DECREF(step);
	return PyErr_Occurred() ? -1 : 0;
}

static void
raise_out_of_range(const struct attempt *attempt, int column, uint64_t by)
{
	const struct columns *columns = &attempt->rows->columns;
	PyObject *error =
		PyObject_CallMethod(columns->schema, "out_of_range", "OL",
				    columns->name[column], (long long)by);

	if (error) {
		PyErr_SetObject((PyObject *)Py_TYPE(error), error);
		Py_DECREF(error);
	}
}

static PyObject *
change(struct attempt *attempt, PyObject *name, PyObject *step, int down)
{
	int column = columns_find(&attempt->rows->columns, name);
	uint64_t result;
	uint64_t by;
	int code;
	int more;

	if (column < 0 || take_step(attempt, column, step, down, &by) < 0 || rows_join(attempt) < 0)
		return NULL;
	do {
		code = ipk_table_incr(attempt->table, attempt->party, &attempt->key,
				      (uint32_t)column, by, &result, &attempt->obstacle);
	} while ((more = rows_again(attempt, code)) > 0);
	if (more == 0 && code == -ERANGE)
		raise_out_of_range(attempt, column, by);
	else if (rows_finish(attempt, code, more) == 0)
		return value_to_object(&attempt->table->columns[column], &result);
	return NULL;
}

static PyObject *
change_by(PyObject *self, const char *call, int down, PyObject *const *args, Py_ssize_t count,
	  PyObject *keywords)
{
	static const char *const names[] = {"key", "column", "by"};
	struct attempt attempt;
	PyObject *places[3];
	PyObject *result;

	if (place_arguments(call, names, 2, 3, args, count, keywords, places) < 0 ||
	    rows_begin(&attempt, (struct rows *)self, places[0]) < 0)
		return NULL;
	result = change(&attempt, places[1], places[2], down);
	segment_leave();
	return result;
}

ROWS_FAST(rows_incr)
{
	return change_by(self, "incr", 0, args, count, keywords);
}

ROWS_FAST(rows_decr)
{
	return change_by(self, "decr", 1, args, count, keywords);
}

/* 1 it was `expected`, 0, -1 raised. Two buffers for the two values. */
static int
compare_and_set(struct attempt *attempt, PyObject *const *places, uint64_t *expected,
		uint64_t *value)
{
	const struct columns *columns = &attempt->rows->columns;
	int column = columns_find(columns, places[1]);
	int code;
	int more;

	if (column < 0 ||
	    value_from_object(attempt->table, columns, column, places[2], expected) < 0 ||
	    value_from_object(attempt->table, columns, column, places[3], value) < 0 ||
	    rows_join(attempt) < 0)
		return -1;
	do {
		code = ipk_table_compare_and_set(attempt->table, attempt->party, &attempt->key,
						 (uint32_t)column, expected, value,
						 &attempt->obstacle);
	} while ((more = rows_again(attempt, code)) > 0);
	return rows_finish(attempt, code, more);
}

ROWS_FAST(rows_compare_and_set)
{
	static const char *const names[] = {"key", "column", "expected", "value"};
	struct attempt attempt;
	struct buffer expected;
	struct buffer value;
	PyObject *places[4];
	int code = -1;

	if (place_arguments("compare_and_set", names, 4, 4, args, count, keywords, places) < 0 ||
	    rows_begin(&attempt, (struct rows *)self, places[0]) < 0)
		return NULL;
	if (rows_borrow(attempt.rows, attempt.segment, &expected)) {
		if (rows_borrow(attempt.rows, attempt.segment, &value)) {
			code = compare_and_set(&attempt, places, expected.words, value.words);
			rows_give_back(&value);
		}
		rows_give_back(&expected);
	}
	segment_leave();
	return code < 0 ? NULL : PyBool_FromLong(code);
}

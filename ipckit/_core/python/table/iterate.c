/*
 * python/table/iterate.c - the calls of all rows: counting, iterating, verifying.
 *
 * Owns      the iterator's type.  Stands on python/table/handle, codec.c.
 * State     an iterator's position: the next cell. A row never moves between cells, so one that
 *           lasts is seen exactly once, whatever others do, and iterators do not disturb each other.
 * Blocks    verify: see rows_again. The rest never.
 */
#include "python/table/rows.h"
#include "python/threads.h"

enum kind { KEYS, VALUES, ITEMS };

struct rows_iterator {
	PyObject_HEAD
	PyObject *rows;	   /* NULL: at the end */
	uint32_t position; /* atomic */
	enum kind kind;
};

static PyTypeObject *iterator_type;

Py_ssize_t
rows_length(PyObject *self)
{
	struct segment *segment = rows_enter((struct rows *)self);
	Py_ssize_t count;

	if (!segment)
		return -1;
	count = (Py_ssize_t)ipk_table_count(&segment->table);
	segment_leave();
	return count;
}

PyObject *
rows_count(PyObject *self, PyObject *unused)
{
	Py_ssize_t count = rows_length(self);

	(void)unused;
	return count < 0 ? NULL : PyLong_FromSsize_t(count);
}

static PyObject *
iterate(PyObject *self, enum kind kind)
{
	struct rows_iterator *iterator;

	if (!rows_enter((struct rows *)self))
		return NULL;
	segment_leave();
	iterator = PyObject_New(struct rows_iterator, iterator_type);
	if (!iterator)
		return NULL;
	iterator->rows = Py_NewRef(self);
	iterator->position = 0;
	iterator->kind = kind;
	return (PyObject *)iterator;
}

PyObject *
rows_iterate(PyObject *self)
{
	return iterate(self, KEYS);
}

PyObject *
rows_keys(PyObject *self, PyObject *unused)
{
	(void)unused;
	return iterate(self, KEYS);
}

PyObject *
rows_values(PyObject *self, PyObject *unused)
{
	(void)unused;
	return iterate(self, VALUES);
}

PyObject *
rows_items(PyObject *self, PyObject *unused)
{
	(void)unused;
	return iterate(self, ITEMS);
}

static void
iterator_free(PyObject *object)
{
	PyTypeObject *type = Py_TYPE(object);

	Py_XDECREF(((struct rows_iterator *)object)->rows);
	PyObject_Free(object);
	Py_DECREF(type);
}

static PyObject *
show(const struct rows *rows, const struct ipk_table *table, const uint64_t *copy, enum kind kind)
{
	PyObject *key = kind == VALUES ? NULL : key_to_object(copy, table);
	PyObject *row;

	if (kind == KEYS || (kind == ITEMS && !key))
		return key;
	row = row_to_object(table, &rows->columns, copy + 1);
	if (kind == VALUES)
		return row;
	if (!row) {
		Py_DECREF(key);
		return NULL;
	}
	return Py_BuildValue("(NN)", key, row);
}

/* A reference to the rows, which the iterator gives up `at_end`; NULL: it has none. */
static PyObject *
rows_of(struct rows_iterator *self, int at_end)
{
	PyObject *rows;

	BEGIN_EXCLUSIVE(self);
	rows = self->rows;
	if (at_end)
		self->rows = NULL;
	else
		Py_XINCREF(rows);
	END_EXCLUSIVE();
	return rows;
}

/* 1 *result is what comes next, 0 there is none, -1 raised. Of threads that have one iterator, each
 * gets another row: the thread that moves the position. */
static int
next_row(struct rows_iterator *self, struct rows *rows, PyObject **result)
{
	struct segment *segment = rows_enter(rows);
	uint32_t before = LOAD_RELAXED(&self->position);
	struct buffer buffer;
	uint32_t position;
	int code = -1;

	if (!segment)
		return -1;
	if (rows_borrow(rows, segment, &buffer)) {
		do {
			position = before;
			code = ipk_table_next(&segment->table, &position, buffer.words);
		} while (code > 0 && !COMPARE_EXCHANGE(&self->position, &before, position));
		if (code < 0)
			(void)rows_refuse(rows, segment, NULL, code);
		else if (code > 0)
			*result = show(rows, &segment->table, buffer.words, self->kind);
		rows_give_back(&buffer);
	}
	segment_leave();
	return code < 0 ? -1 : code > 0;
}

/* The next key, row, or pair; NULL without an exception when there is none. */
static PyObject *
iterator_next(PyObject *object)
{
	struct rows_iterator *self = (struct rows_iterator *)object;
	PyObject *rows = rows_of(self, 0);
	PyObject *result = NULL;
	int code = rows ? next_row(self, (struct rows *)rows, &result) : -1;

	Py_XDECREF(rows);
	if (code == 0)
		Py_XDECREF(rows_of(self, 1));
	return result;
}

/* _lock_load() -> (rows that are locked, threads that wait for one) */
PyObject *
rows_lock_load(PyObject *self, PyObject *unused)
{
	struct segment *segment = rows_enter((struct rows *)self);
	struct ipk_lock_load load;

	(void)unused;
	if (!segment)
		return NULL;
	load = ipk_table_lock_load(&segment->table);
	segment_leave();
	return Py_BuildValue("(II)", load.locked, load.waiting);
}

/* _verify() -> (how many findings, [(rule, where), ...] of the first). */
PyObject *
rows_verify(PyObject *self, PyObject *unused)
{
	struct ipk_verify state = {0};
	struct attempt attempt;
	PyObject *findings;
	int code;
	int more;

	(void)unused;
	if (rows_begin(&attempt, (struct rows *)self, NULL) < 0)
		return NULL;
	attempt.key.size = 0;
	if (rows_join(&attempt) < 0) {
		segment_leave();
		return NULL;
	}
	do {
		code = ipk_table_verify(attempt.table, attempt.party, &state, &attempt.obstacle);
	} while ((more = rows_again(&attempt, code)) > 0);
	code = rows_finish(&attempt, code, more);
	segment_leave();
	if (code < 0)
		return NULL;
	findings = PyList_New(0);
	for (uint32_t i = 0; findings && i < state.count && i < IPK_VERIFY_FINDINGS; i++) {
		PyObject *finding =
			Py_BuildValue("(II)", state.findings[i].rule, state.findings[i].where);

		if (!finding || PyList_Append(findings, finding) < 0)
			Py_CLEAR(findings);
		Py_XDECREF(finding);
	}
	return findings ? Py_BuildValue("(IN)", state.count, findings) : NULL;
}

int
rows_all_setup(void)
{
	static PyType_Slot slots[] = {
		{Py_tp_dealloc, (void *)iterator_free},
		{Py_tp_iter, (void *)PyObject_SelfIter},
		{Py_tp_iternext, (void *)iterator_next},
		{0, NULL},
	};
	static PyType_Spec spec = {
		.name = "ipckit._core._rows.RowsIterator",
		.basicsize = sizeof(struct rows_iterator),
		.flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION,
		.slots = slots,
	};

	iterator_type = (PyTypeObject *)PyType_FromSpec(&spec);
	return iterator_type ? 0 : -1;
}

/*
 * python/table/handle.c - a process's handle of a table: opening and closing it, and what each
 * call shares.
 *
 * Owns      struct rows.  Stands on python/segments, codec.c.
 * State     none.
 * Blocks    rows_again, while another thread or process is inside the same bucket, or has the
 *           row's user lock: without the GIL, and signals are handled.
 */
#include "python/table/rows.h"
#include "python/threads.h"

#include <errno.h>
#include <string.h>

int
rows_refuse(const struct rows *self, const struct segment *segment, const struct ipk_key *key,
	    int code)
{
	PyObject *shown;
	int result;

	if (code == -EUCLEAN) {
		PyErr_SetString(segment_corrupt,
				"the table's segment is damaged: a number in it is out of its range");
		return -1;
	}
	shown = key ? key_show((const char *)key->word, key->size) : Py_NewRef(Py_None);
	if (!shown)
		return -1;
	switch (code) {
	case -ENOSPC:
		result = segment_raise(PyObject_CallMethod(self->refusals, "full", "IO",
							segment->table.rows, shown));
		break;
	case -EDEADLK:
		result = segment_raise(PyObject_CallMethod(self->refusals, "own_lock", "(O)", shown));
		break;
	case -ELOOP:
		result = segment_raise(PyObject_CallMethod(self->refusals, "cycle", "(O)", shown));
		break;
	case -EBUSY:
		result = segment_raise(
			PyObject_CallMethod(self->refusals, "too_many_locks", "(O)", shown));
		break;
	default:
		PyErr_Format(segment_internal, "the table's core returned %d for %R", code, shown);
		result = -1;
	}
	Py_DECREF(shown);
	return result;
}

struct segment *
rows_enter(struct rows *self)
{
	struct segment *segment = self->columns.schema ? segment_enter(&self->segment) : NULL;

	if (segment || PyErr_Occurred())
		return segment;
	if (self->refusals)
		(void)segment_raise(PyObject_CallMethod(
			self->refusals, LOAD_RELAXED(&self->ended) ? "closed" : "not_made", NULL));
	else
		PyErr_SetString(segment_misuse, "Rows is a base: use ipckit.table.Table");
	return NULL;
}

uint64_t *
rows_borrow(struct rows *self, const struct segment *segment, struct buffer *buffer)
{
	uint32_t words = segment->table.copy_words;

	buffer->words = buffer->small;
	buffer->lender = NULL;
	if (words <= sizeof(buffer->small) / sizeof(buffer->small[0]))
		return buffer->words;
	buffer->lender = self;
	buffer->words = EXCHANGE(&self->scratch, NULL);
	if (!buffer->words)
		buffer->words = PyMem_Malloc(words * sizeof(uint64_t));
	if (!buffer->words)
		(void)PyErr_NoMemory();
	return buffer->words;
}

void
rows_give_back(struct buffer *buffer)
{
	if (buffer->lender) /* another call may have given one back, too: one is kept */
		PyMem_Free(EXCHANGE(&buffer->lender->scratch, buffer->words));
}

int
rows_begin(struct attempt *attempt, struct rows *self, PyObject *key)
{
	attempt->rows = self;
	attempt->deadline = 0;
	attempt->uninterruptible = 0;
	memset(&attempt->obstacle, 0, sizeof(attempt->obstacle));
	attempt->segment = rows_enter(self);
	if (!attempt->segment)
		return -1;
	attempt->table = &attempt->segment->table;
	attempt->party = NULL;
	if (!key || key_from_object(attempt->table, &self->columns, key, &attempt->key) == 0)
		return 0;
	segment_leave();
	return -1;
}

int
rows_join(struct attempt *attempt)
{
	attempt->party = segment_join(attempt->segment);
	return attempt->party ? 0 : -1;
}

int
rows_again(struct attempt *attempt, int code)
{
	struct ipk_table *table = attempt->table;
	int waited;

	if (code != -EAGAIN)
		return 0;
	Py_BEGIN_ALLOW_THREADS
	waited = ipk_wait(table->slots, IPK_TABLE_SLOTS, &attempt->obstacle, attempt->deadline);
	Py_END_ALLOW_THREADS
	if (waited == -ETIMEDOUT) {
		PyErr_SetNone(segment_timeout); /* its caller says how long it waited */
	} else if (attempt->uninterruptible || PyErr_CheckSignals() == 0) {
		if (LOAD_RELAXED(&attempt->rows->segment) == attempt->segment)
			return rows_join(attempt) < 0 ? -1 : 1; /* a signal's handler may fork */
		(void)segment_raise(PyObject_CallMethod(attempt->rows->refusals, "closed", NULL));
	}
	attempt->party = segment_party_if_any(attempt->segment);
	if (attempt->party)
		ipk_table_give_up(attempt->party);
	return -1;
}

int
rows_finish(const struct attempt *attempt, int code, int more)
{
	if (more < 0)
		return -1;
	return code < 0 ? rows_refuse(attempt->rows, attempt->segment, &attempt->key, code) : code;
}

/* attach(fd) -> (rows, key_size, bytes, ((name, type, size), ...)); takes over fd if it succeeds. */
PyObject *
rows_attach(PyObject *object, PyObject *fd_object)
{
	struct rows *self = (struct rows *)object;
	long fd = PyLong_AsLong(fd_object);
	struct ipk_table *table;
	PyObject *columns;
	PyObject *result;
	const char *why;
	int code;

	if (fd == -1 && PyErr_Occurred())
		return NULL;
	if (self->segment) {
		PyErr_SetString(segment_misuse, "the table is open already");
		return NULL;
	}
	self->segment = segment_open((int)fd, SEGMENT_TABLE, 0, &code, &why);
	if (!self->segment) {
		if (why)
			PyErr_SetString(segment_corrupt, why);
		else
			(void)segment_raise_errno(code, "mmap", "mapping the table's segment");
		return NULL;
	}
	table = &self->segment->table;
	columns = PyTuple_New((Py_ssize_t)table->column_count);
	for (uint32_t i = 0; columns && i < table->column_count; i++) {
		const struct ipk_column *column = &table->columns[i];
		PyObject *one = Py_BuildValue("(y#II)", column->name, (Py_ssize_t)column->name_size,
					      column->type, column->size);

		if (!one || PyTuple_SetItem(columns, i, one) < 0)
			Py_CLEAR(columns);
	}
	result = columns ? Py_BuildValue("(IIKN)", table->rows, table->key_size,
					 (unsigned long long)table->bytes, columns)
			 : NULL;
	if (!result) {
		self->segment->registry.fd = -1; /* it stays the caller's */
		segment_close(self->segment);
		self->segment = NULL;
	}
	return result;
}

/* refuse_by(ipckit.table.contract): the errors in words. First of all. */
PyObject *
rows_refuse_by(PyObject *object, PyObject *refusals)
{
	struct rows *self = (struct rows *)object;
	PyObject *before = self->refusals;

	self->refusals = Py_NewRef(refusals);
	Py_XDECREF(before);
	Py_RETURN_NONE;
}

static void
forget_columns(struct columns *columns)
{
	Py_CLEAR(columns->schema);
	Py_CLEAR(columns->names);
	Py_CLEAR(columns->indexes);
	Py_CLEAR(columns->blank);
	PyMem_Free(columns->name);
	columns->name = NULL;
}

/* 0, or -1 raised; then forget_columns(). */
static int
learn_columns(struct columns *columns, PyObject *schema)
{
	PyObject *names = PyObject_GetAttrString(schema, "names");
	Py_ssize_t count = names ? PyTuple_Size(names) : -1;
	int bad = count < 0;

	columns->schema = Py_NewRef(schema);
	columns->indexes = PyDict_New();
	columns->blank = PyDict_New();
	columns->names = bad ? NULL : PyTuple_New(count);
	columns->name = PyMem_Malloc((size_t)(bad ? 1 : count) * sizeof(PyObject *));
	bad = bad || !columns->indexes || !columns->blank || !columns->names || !columns->name;
	for (Py_ssize_t i = 0; !bad && i < count; i++) {
		PyObject *name = Py_NewRef(PyTuple_GetItem(names, i));
		PyObject *index = PyLong_FromSsize_t(i);

		PyUnicode_InternInPlace(&name);
		bad = !index || PyDict_SetItem(columns->indexes, name, index) < 0 ||
		      PyDict_SetItem(columns->blank, name, Py_None) < 0;
		Py_XDECREF(index);
		columns->name[i] = name;
		(void)PyTuple_SetItem(columns->names, i, name); /* takes the reference */
	}
	Py_XDECREF(names);
	return bad ? -1 : 0;
}

/* use(schema): what the columns are. Once, after attach(). */
PyObject *
rows_use(PyObject *object, PyObject *schema)
{
	struct rows *self = (struct rows *)object;

	if (self->columns.schema) {
		PyErr_SetString(segment_misuse, "the table has its schema already");
		return NULL;
	}
	if (learn_columns(&self->columns, schema) < 0) {
		forget_columns(&self->columns);
		return NULL;
	}
	Py_RETURN_NONE;
}

/* _descriptor(): the segment's, which stays this handle's. */
PyObject *
rows_descriptor(PyObject *object, PyObject *unused)
{
	struct rows *self = (struct rows *)object;
	struct segment *segment = rows_enter(self);
	PyObject *result;

	(void)unused;
	if (!segment)
		return NULL;
	result = PyLong_FromLong(segment->registry.fd);
	segment_leave();
	return result;
}

PyObject *
rows_close(PyObject *object, PyObject *unused)
{
	struct rows *self = (struct rows *)object;
	struct segment *segment = LOAD_RELAXED(&self->segment);
	int code;

	(void)unused;
	if (!segment) {
		STORE_RELAXED(&self->ended, 1);
		Py_RETURN_NONE;
	}
	/* A call of this thread that is inside has its slot: the next join gives that back. */
	code = segment_is_entered(segment) ? 0 : segment_release_slot(segment);
	if (code == -EBUSY) {
		PyErr_SetString(segment_misuse, "this thread is inside a `with table.lock()` block "
					       "of this table; leave it first");
		return NULL;
	}
	/* Another reason means that the slot stays taken until the thread ends; that is no loss. */
	STORE_RELAXED(&self->ended, 1);
	segment = EXCHANGE(&self->segment, NULL); /* of two that close, one has it */
	if (segment)
		segment_close(segment);
	Py_RETURN_NONE;
}

void
rows_free(PyObject *object)
{
	struct rows *self = (struct rows *)object;
	PyTypeObject *type = Py_TYPE(object);

	if (self->segment) {
		(void)segment_release_slot(self->segment);
		segment_close(self->segment);
	}
	PyMem_Free(self->scratch);
	forget_columns(&self->columns);
	Py_XDECREF(self->refusals);
	((freefunc)PyType_GetSlot(type, Py_tp_free))(object);
	Py_DECREF(type);
}

/*
 * python/table/codec.c - Python values into a row's words, and back.
 *
 * Owns      nothing.  Stands on the limited API of CPython.  State  none.
 * Blocks    never; it may run Python code (a schema's refusal, a strange mapping), never under a
 *           latch.
 * Plain values (int, float, str, bytes of the right size) are taken here. Everything else is put
 * before the schema, in Python, which makes a plain value of it or raises; so what is refused, and
 * how, is written once.
 */
#include "python/table/rows.h"
#include "python/threads.h"

#include <string.h>

int
columns_find(const struct columns *columns, PyObject *name)
{
	Py_ssize_t count = PyTuple_Size(columns->names);
	PyObject *found;

	for (Py_ssize_t i = 0; i < count; i++)
		if (columns->name[i] == name)
			return (int)i;
	if (PyUnicode_Check(name)) {
		found = PyDict_GetItemWithError(columns->indexes, name);
		if (found)
			return (int)PyLong_AsLong(found);
		if (PyErr_Occurred())
			return -1;
	}
	found = PyObject_CallMethod(columns->schema, "column", "(O)", name);
	if (found) {
		Py_DECREF(found);
		PyErr_SetString(PyExc_SystemError, "the schema has a column that the segment has not");
	}
	return -1;
}

int
key_from_object(const struct ipk_table *table, const struct columns *columns, PyObject *object,
		struct ipk_key *key)
{
	PyObject *encoded = NULL;
	const char *bytes = NULL;
	char *raw;
	Py_ssize_t size = 0;
	int code = -1;

	if (PyUnicode_Check(object)) {
		bytes = PyUnicode_AsUTF8AndSize(object, &size);
		if (!bytes)
			PyErr_Clear();
	} else if (PyBytes_Check(object) && PyBytes_AsStringAndSize(object, &raw, &size) == 0) {
		bytes = raw;
	}
	if (bytes && ipk_key_make(table, key, bytes, (size_t)size) == 0)
		return 0;
	encoded = PyObject_CallMethod(columns->schema, "encode_key", "(O)", object);
	if (encoded && PyBytes_AsStringAndSize(encoded, &raw, &size) == 0) {
		code = ipk_key_make(table, key, raw, (size_t)size);
		if (code)
			PyErr_SetString(PyExc_SystemError, "the schema let a long key pass");
	}
	Py_XDECREF(encoded);
	return code ? -1 : 0;
}

PyObject *
key_show(const char *bytes, size_t size)
{
	PyObject *key = PyUnicode_DecodeUTF8(bytes, (Py_ssize_t)size, NULL);

	if (!key && PyErr_ExceptionMatches(PyExc_UnicodeDecodeError)) {
		PyErr_Clear();
		key = PyBytes_FromStringAndSize(bytes, (Py_ssize_t)size);
	}
	return key;
}

PyObject *
key_to_object(const uint64_t *copy, const struct ipk_table *table)
{
	return key_show((const char *)(copy + 1 + table->row_words), (size_t)copy[0]);
}

static enum encoded
encode_int(const struct ipk_column *column, PyObject *object, uint64_t *words)
{
	int64_t most = INT64_MAX >> (64 - column->size * 8);
	long long value;
	int overflow;

	if (!PyLong_Check(object))
		return NOT_PLAIN;
	value = PyLong_AsLongLongAndOverflow(object, &overflow);
	if (overflow || value > most || value < -most - 1)
		return NOT_PLAIN;
	words[0] = (uint64_t)value;
	return ENCODED;
}

static enum encoded
encode_float(PyObject *object, uint64_t *words)
{
	double value;

	if (PyFloat_Check(object)) {
		value = PyFloat_AsDouble(object);
	} else if (PyLong_Check(object)) {
		value = PyLong_AsDouble(object);
		if (PyErr_Occurred()) {
			PyErr_Clear();
			return NOT_PLAIN;
		}
	} else {
		return NOT_PLAIN;
	}
	memcpy(words, &value, sizeof(value));
	return ENCODED;
}

static enum encoded
encode_text(const struct ipk_column *column, PyObject *object, uint64_t *words)
{
	const char *bytes;
	char *raw;
	Py_ssize_t size;

	if (column->type == IPK_STRING) {
		bytes = PyUnicode_Check(object) ? PyUnicode_AsUTF8AndSize(object, &size) : NULL;
		if (!bytes) {
			PyErr_Clear();
			return NOT_PLAIN;
		}
	} else {
		if (!PyBytes_Check(object) || PyBytes_AsStringAndSize(object, &raw, &size) != 0)
			return NOT_PLAIN;
		bytes = raw;
	}
	if (size > (Py_ssize_t)column->size)
		return NOT_PLAIN;
	words[0] = (uint64_t)size;
	if (size) {
		words[(size + 7) / 8] = 0;
		memcpy(words + 1, bytes, (size_t)size);
	}
	return ENCODED;
}

static enum encoded
encode(const struct ipk_column *column, PyObject *object, uint64_t *words)
{
	switch (column->type) {
	case IPK_INT:
		return encode_int(column, object, words);
	case IPK_FLOAT:
		return encode_float(object, words);
	default:
		return encode_text(column, object, words);
	}
}

int
value_from_object(const struct ipk_table *table, const struct columns *columns, int column,
		  PyObject *object, uint64_t *words)
{
	const struct ipk_column *which = &table->columns[column];
	PyObject *plain;
	enum encoded done = encode(which, object, words);

	if (done == ENCODED)
		return 0;
	plain = PyObject_CallMethod(columns->schema, "check_value", "OO",
				    columns->name[column], object);
	if (!plain)
		return -1;
	done = encode(which, plain, words);
	Py_DECREF(plain);
	if (done == ENCODED)
		return 0;
	PyErr_SetString(PyExc_SystemError, "the schema let a wrong value pass");
	return -1;
}

PyObject *
value_to_object(const struct ipk_column *column, const uint64_t *words)
{
	const char *bytes = (const char *)(words + 1);
	PyObject *text;
	double value;

	switch (column->type) {
	case IPK_INT:
		return PyLong_FromLongLong((long long)words[0]);
	case IPK_FLOAT:
		memcpy(&value, words, sizeof(value));
		return PyFloat_FromDouble(value);
	case IPK_STRING:
		text = PyUnicode_DecodeUTF8(bytes, (Py_ssize_t)words[0], NULL);
		if (text || !PyErr_ExceptionMatches(PyExc_UnicodeDecodeError))
			return text;
		PyErr_Clear(); /* only damage brings other bytes here; they are shown, not hidden */
		return PyUnicode_DecodeUTF8(bytes, (Py_ssize_t)words[0], "backslashreplace");
	default:
		return PyBytes_FromStringAndSize(bytes, (Py_ssize_t)words[0]);
	}
}

/* A dict of plain values only; runs no Python code but a str's hash. The dict is not changed
 * during the call: its items are borrowed. */
static enum encoded
encode_items(const struct ipk_table *table, const struct columns *columns, PyObject *object,
	     uint64_t *row, unsigned char *given)
{
	Py_ssize_t position = 0;
	Py_ssize_t expected = 0;
	Py_ssize_t count = (Py_ssize_t)table->column_count;
	PyObject *name;
	PyObject *value;

	memset(given, 0, table->column_count);
	while (PyDict_Next(object, &position, &name, &value)) {
		Py_ssize_t column = expected;
		enum encoded done;

		/* Most rows are written in the order of the columns. */
		if (expected >= count || columns->name[expected] != name) {
			PyObject *found;

			if (!PyUnicode_CheckExact(name))
				return NOT_PLAIN;
			found = PyDict_GetItemWithError(columns->indexes, name);
			if (!found)
				return PyErr_Occurred() ? FAILED : NOT_PLAIN;
			column = PyLong_AsLong(found);
		}
		done = encode(&table->columns[column], value, row + table->columns[column].first);
		if (done != ENCODED)
			return done;
		given[column] = 1;
		expected = column + 1;
	}
	return ENCODED;
}

static enum encoded
encode_dict(const struct ipk_table *table, const struct columns *columns, PyObject *object,
	    uint64_t *row, unsigned char *given)
{
	enum encoded done;

	BEGIN_EXCLUSIVE(object);
	done = encode_items(table, columns, object, row, given);
	END_EXCLUSIVE();
	return done;
}

int
row_from_object(const struct ipk_table *table, const struct columns *columns, PyObject *object,
		uint64_t *row, unsigned char *given)
{
	enum encoded done = NOT_PLAIN;
	PyObject *plain;

	if (PyDict_CheckExact(object))
		done = encode_dict(table, columns, object, row, given);
	if (done != NOT_PLAIN)
		return done == ENCODED ? 0 : -1;
	plain = PyObject_CallMethod(columns->schema, "check_row", "(O)", object);
	if (!plain)
		return -1;
	if (PyDict_CheckExact(plain))
		done = encode_dict(table, columns, plain, row, given);
	Py_DECREF(plain);
	if (done == NOT_PLAIN)
		PyErr_SetString(PyExc_SystemError, "the schema let a wrong row pass");
	return done == ENCODED ? 0 : -1;
}

PyObject *
row_to_object(const struct ipk_table *table, const struct columns *columns, const uint64_t *row)
{
	PyObject *result = NEW_LIKE(columns->blank);

	for (uint32_t i = 0; result && i < table->column_count; i++) {
		const struct ipk_column *column = &table->columns[i];
		PyObject *value = value_to_object(column, row + column->first);

		if (!value || PyDict_SetItem(result, columns->name[i], value) < 0)
			Py_CLEAR(result);
		Py_XDECREF(value);
	}
	return result;
}

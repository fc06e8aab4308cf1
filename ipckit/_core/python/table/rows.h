/*
 * python/table/rows.h - what the files of the type Rows share.
 *
 * python/table/ is the type Rows: a shared table's rows, as Python objects. `_rows` also has the
 * types of python/sync/, over the segments of python/segments/. It is the second door to the C
 * core: the first one (cffi) makes segments; nothing is reachable by both.
 *
 * The GIL is held during a call of the core, which never waits, and given away for every wait.
 * Nothing relies on it: a free-threaded CPython has none (python/threads.h).
 */
#ifndef IPK_PYTHON_TABLE_ROWS_H
#define IPK_PYTHON_TABLE_ROWS_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "python/segments/segment.h"

/* -- codec.c: values and words -- */

struct columns {
	PyObject *schema;  /* ipckit.table.schema.Schema: says no, in words */
	PyObject *names;   /* tuple of interned str */
	PyObject **name;   /* the same, as an array; the tuple owns them */
	PyObject *indexes; /* dict: name -> int */
	PyObject *blank;   /* dict: name -> None, in order; a copy of it is the quickest new row */
};

enum encoded { ENCODED = 0, NOT_PLAIN = 1, FAILED = -1 };

/* The column's index, or -1 with an exception. */
int columns_find(const struct columns *columns, PyObject *name);
/* 0, or -1 with an exception. */
int key_from_object(const struct ipk_table *table, const struct columns *columns, PyObject *object,
		    struct ipk_key *key);
/* str where it is UTF-8, else bytes. */
PyObject *key_show(const char *bytes, size_t size);
/* The key of a copy, shown so. */
PyObject *key_to_object(const uint64_t *copy, const struct ipk_table *table);
/* A checked value into a column's words; -1 with an exception. */
int value_from_object(const struct ipk_table *table, const struct columns *columns, int column,
		      PyObject *object, uint64_t *words);
PyObject *value_to_object(const struct ipk_column *column, const uint64_t *words);
/* A mapping into row[row_words] and given[column_count]; -1 with an exception. */
int row_from_object(const struct ipk_table *table, const struct columns *columns, PyObject *object,
		    uint64_t *row, unsigned char *given);
/* row: the words behind the key length of a copy. */
PyObject *row_to_object(const struct ipk_table *table, const struct columns *columns,
			const uint64_t *row);

/* -- handle.c: the handle, and what every call does first and last -- */

struct rows {
	PyObject_HEAD
	struct segment *segment; /* atomic; NULL: not yet, or closed */
	int ended;		 /* atomic: close() was called */
	struct columns columns;
	PyObject *refusals; /* ipckit.table.contract: the errors, in words */
	uint64_t *scratch;  /* atomic: for a copy too large for the stack; NULL: a call has it */
};

/* Every call is between enter() and segment_leave(): a close() in between takes effect after it.
 * Any Python code, even a garbage collection, may bring one. NULL: raised. */
struct segment *rows_enter(struct rows *self);

/* A place for one copy of a row. */
struct buffer {
	uint64_t small[256];
	uint64_t *words;
	struct rows *lender;
};

/* NULL: raised; then there is nothing to give back. */
uint64_t *rows_borrow(struct rows *self, const struct segment *segment, struct buffer *buffer);
void rows_give_back(struct buffer *buffer);

/* One writing call, over all its attempts. */
struct attempt {
	struct rows *rows;
	struct segment *segment;
	struct ipk_table *table;
	struct ipk_party *party; /* NULL: not joined */
	struct ipk_obstacle obstacle;
	struct ipk_key key;
	uint64_t deadline; /* 0: none */
	int uninterruptible;	   /* leave signals for later: the call must end */
};

/* Enter, take the key (NULL: none). 0, then segment_leave(); -1: raised. */
int rows_begin(struct attempt *attempt, struct rows *self, PyObject *key);
/* Join, when every argument is taken: no Python code runs between this and the core. 0, -1: raised. */
int rows_join(struct attempt *attempt);
/* After the core's `code`: 1 call again, 0 it is an answer or an error of the core, -1 raised. */
int rows_again(struct attempt *attempt, int code);
/* The core's answer to an attempt whose loop ended with `more`; negative: raised. */
int rows_finish(const struct attempt *attempt, int code, int more);
/* Raise for a negative result of the core; -1. */
int rows_refuse(const struct rows *self, const struct segment *segment, const struct ipk_key *key,
		int code);

PyObject *rows_attach(PyObject *self, PyObject *fd);
PyObject *rows_refuse_by(PyObject *self, PyObject *refusals);
PyObject *rows_use(PyObject *self, PyObject *schema);
PyObject *rows_descriptor(PyObject *self, PyObject *unused);
PyObject *rows_close(PyObject *self, PyObject *unused);
void rows_free(PyObject *self);

/* -- calls.c: one row -- */

#define ROWS_FAST(name)                                                                            \
	PyObject *name(PyObject *self, PyObject *const *args, Py_ssize_t count, PyObject *keywords)
ROWS_FAST(rows_get);
ROWS_FAST(rows_set);
ROWS_FAST(rows_add);
ROWS_FAST(rows_incr);
ROWS_FAST(rows_decr);
ROWS_FAST(rows_compare_and_set);
PyObject *rows_subscript(PyObject *self, PyObject *key);
int rows_assign(PyObject *self, PyObject *key, PyObject *row);
int rows_contains(PyObject *self, PyObject *key);
PyObject *rows_exists(PyObject *self, PyObject *key);
PyObject *rows_delete(PyObject *self, PyObject *key);
PyObject *rows_pop(PyObject *self, PyObject *key);

/* -- lock.c -- */

PyObject *rows_lock(PyObject *self, PyObject *args);
PyObject *rows_unlock(PyObject *self, PyObject *args);

/* -- iterate.c: all rows -- */

Py_ssize_t rows_length(PyObject *self);
PyObject *rows_count(PyObject *self, PyObject *unused);
PyObject *rows_iterate(PyObject *self);
PyObject *rows_keys(PyObject *self, PyObject *unused);
PyObject *rows_values(PyObject *self, PyObject *unused);
PyObject *rows_items(PyObject *self, PyObject *unused);
PyObject *rows_lock_load(PyObject *self, PyObject *unused);
PyObject *rows_verify(PyObject *self, PyObject *unused);
/* Once per process: the iterator's type. 0, or -1 raised. */
int rows_all_setup(void);

#endif

/*
 * python/sync/sync.h - what the types Arena, Mutex and Number share.
 *
 * python/sync/ is the door to locks and numbers in shared memory (locks/arena.h).
 */
#ifndef IPK_PYTHON_SYNC_SYNC_H
#define IPK_PYTHON_SYNC_SYNC_H

#include "python/segments/segment.h"

/* A place in an arena: a Number or a Mutex. */
struct cell {
	PyObject_HEAD
	PyObject *arena;
	struct segment *segment; /* the arena's */
	uint32_t index;
	int recovered; /* atomic; of a Mutex */
};

#define SYNC_NAMED(call) (PyCFunction)(void (*)(void)) call, METH_VARARGS | METH_KEYWORDS

/* _place(arena, index) */
PyObject *cell_place(PyObject *self, PyObject *args);
/* The arena it has a place in; NULL: raised. */
struct ipk_sync *cell_placed(const struct cell *self);
/* A timeout in seconds, or None, into a moment: 0 for ever; -1 raised. */
int64_t cell_deadline(PyObject *timeout);
extern PyMethodDef number_methods[];

/* Add the three types to the module. 0, or -1 raised. */
int sync_setup(PyObject *module);

#endif

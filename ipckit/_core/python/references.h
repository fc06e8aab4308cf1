/*
 * python/references.h - the references of a type whose objects may be in a cycle: tp_traverse,
 * tp_clear and the end of an object, from lists of its members.
 *
 * This header is shared by accept/, queues/ and stream/.
 *
 * A list is a macro: #define CLEARED(each) each(server) each(slot)
 *
 * State     none.  Blocks  never.
 */
#ifndef IPK_PYTHON_REFERENCES_H
#define IPK_PYTHON_REFERENCES_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#define REFERENCE_VISIT(member) Py_VISIT(object->member);
#define REFERENCE_CLEAR(member) Py_CLEAR(object->member);

/* The list without members. */
#define NO_REFERENCES(each)

/*
 * For struct NAME: NAME_traverse() visits both lists, NAME_clear() breaks a cycle at the members of
 * `cleared` alone, NAME_drop() is for the end of the object and clears both.
 */
#define REFERENCES(name, cleared, kept)                                                            \
	static int name##_traverse(PyObject *self, visitproc visit, void *arg)                     \
	{                                                                                          \
		struct name *object = (struct name *)self;                                         \
                                                                                                   \
		Py_VISIT(Py_TYPE(self));                                                           \
		cleared(REFERENCE_VISIT)                                                           \
		kept(REFERENCE_VISIT)                                                              \
		return 0;                                                                          \
	}                                                                                          \
	static int name##_clear(PyObject *self)                                                    \
	{                                                                                          \
		struct name *object = (struct name *)self;                                         \
                                                                                                   \
		cleared(REFERENCE_CLEAR)                                                           \
		return 0;                                                                          \
	}                                                                                          \
	static void name##_drop(PyObject *self)                                                    \
	{                                                                                          \
		struct name *object = (struct name *)self;                                         \
                                                                                                   \
		cleared(REFERENCE_CLEAR)                                                           \
		kept(REFERENCE_CLEAR)                                                              \
	}

#endif

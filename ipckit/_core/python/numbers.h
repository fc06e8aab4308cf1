/*
 * python/numbers.h - the numbers of the core that Python code names as well: constants of a module.
 *
 * This header is shared by ledger/ and stream/.
 *
 * State     none.  Blocks  never.
 */
#ifndef IPK_PYTHON_NUMBERS_H
#define IPK_PYTHON_NUMBERS_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

struct named_number {
	const char *name; /* NULL: the table ends here */
	long value;
};

/* Add a table of them to a module; 0, or -1 with an exception. */
static inline int
add_numbers(PyObject *module, const struct named_number *number)
{
	for (; number->name; number++)
		if (PyModule_AddIntConstant(module, number->name, number->value) < 0)
			return -1;
	return 0;
}

#endif

/*
 * messages_module.c - the module `_messages`: System V messages as Python objects, now or never.
 *
 * The quick door to ipk_msgq for the two calls that every message needs; all else goes through
 * cffi. The GIL is held: with IPC_NOWAIT no call waits, and giving it away costs as much as the
 * call.
 *
 * Stands on ipk_msgq.  State  none.  Blocks  never.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "ipk_msgq.h"

static int
wanted(Py_ssize_t count, Py_ssize_t number)
{
	if (count == number)
		return 0;
	PyErr_Format(PyExc_TypeError, "%zd arguments are wanted, %zd were given", number, count);
	return -1;
}

#define NO_TYPE LONG_MIN

/* NO_TYPE for what is no int of 64 bits. */
static long
type_from(PyObject *object)
{
	long type = PyLong_Check(object) ? PyLong_AsLong(object) : NO_TYPE;

	if (type != -1 || !PyErr_Occurred())
		return type;
	PyErr_Clear();
	return NO_TYPE;
}

/* send(id, type, body) -> 0; -errno as ipk_msgq.h has it; 1: that is not bytes, or no type, and
 * the caller knows what to say or do */
static PyObject *
send(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
	char *body;
	Py_ssize_t size;
	long id;
	long type;

	(void)module;
	if (wanted(count, 3) < 0)
		return NULL;
	id = PyLong_AsLong(args[0]);
	if (PyErr_Occurred())
		return NULL;
	type = type_from(args[1]);
	if (type < 1 || !PyBytes_CheckExact(args[2]))
		return PyLong_FromLong(1);
	if (PyBytes_AsStringAndSize(args[2], &body, &size) < 0)
		return NULL;
	return PyLong_FromLong(ipk_msgq_send_small((int)id, type, body, (size_t)size));
}

/* A tuple of a subclass, by the allocator of its type; steals both. */
static PyObject *
new_message(PyTypeObject *class, PyObject *type, PyObject *body)
{
	allocfunc allocate = (allocfunc)PyType_GetSlot(class, Py_tp_alloc);
	PyObject *message = type && body ? allocate(class, 2) : NULL;

	if (!message) {
		Py_XDECREF(type);
		Py_XDECREF(body);
		return NULL;
	}
	(void)PyTuple_SetItem(message, 0, type); /* new, and of this size */
	(void)PyTuple_SetItem(message, 1, body);
	return message;
}

/* receive(class, id, type) -> class(type, body); -errno (-E2BIG: over IPK_MSGQ_SMALL, it stays); 1:
 * that is no type, and the caller knows what to say */
static PyObject *
receive(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
	union {
		struct ipk_message message;
		char bytes[sizeof(struct ipk_message) + IPK_MSGQ_SMALL];
	} room;
	int64_t size;
	long id;
	long type;

	(void)module;
	if (wanted(count, 3) < 0)
		return NULL;
	id = PyLong_AsLong(args[1]);
	if (PyErr_Occurred())
		return NULL;
	type = type_from(args[2]);
	if (type == NO_TYPE)
		return PyLong_FromLong(1);
	if (!PyType_Check(args[0]) ||
	    !PyType_IsSubtype((PyTypeObject *)args[0], &PyTuple_Type)) {
		PyErr_SetString(PyExc_TypeError, "the class of a message must be a tuple's");
		return NULL;
	}
	size = ipk_msgq_receive((int)id, &room.message, IPK_MSGQ_SMALL, type, 0, 0);
	if (size < 0)
		return PyLong_FromLongLong(size);
	return new_message((PyTypeObject *)args[0], PyLong_FromLong(room.message.type),
			   PyBytes_FromStringAndSize(room.message.body, (Py_ssize_t)size));
}

#define FAST(call) (PyCFunction)(void (*)(void)) call, METH_FASTCALL, NULL

static PyMethodDef methods[] = {
	{"receive", FAST(receive)},
	{"send", FAST(send)},
	{NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {
	.m_base = PyModuleDef_HEAD_INIT,
	.m_name = "_messages",
	.m_methods = methods,
};

PyMODINIT_FUNC PyInit__messages(void);

PyMODINIT_FUNC
PyInit__messages(void)
{
	return PyModuleDef_Init(&definition);
}

/*
 * python/accept/module.c - the module `_accept`: a client, from the kernel's backlog to its
 * transport.
 *
 * python/accept/ is the server's hot path for each new client.
 *
 * A worker does this for each connection. An Accepted is to uvloop what a socket object is, without
 * the cost of one: its `family` and `type`, which uvloop reads five times, are plain numbers. It
 * also drives the coroutine of connect_accepted_socket(), without a task of asyncio's.
 *
 * Invariants
 *   N1  a descriptor is closed once: by its Accepted until the first step of the coroutine is over,
 *       by the transport after that.
 *   N2  no Accepted has one of the descriptors 0 to 2.
 *   N3  fileno() is the descriptor for as long as it is open: uvloop calls close() when it closes it.
 *
 * Kernel    accept4(2), fcntl(2) F_DUPFD_CLOEXEC.
 * Threads   the GIL is held.  State  none but the objects'.
 * Blocks    never: the listening socket has to be non-blocking.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "python/references.h"

#include <structmember.h>

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

struct accepted {
	PyObject_HEAD
	PyObject *coroutine; /* NULL: it has not begun, or it is over */
	PyObject *failed;    /* is called with an OSError of the coroutine */
	int fd;		     /* -1: it is closed */
	unsigned short family;
	unsigned short number;	/* the client's port */
	unsigned char ip[16];	/* the client's address */
	unsigned char ip_size;	/* 4 or 16; of a unix socket: 0 */
	unsigned char type;
	char is_ours; /* N1: we close it */
	char moved;   /* N2: it had another descriptor */
};

static PyTypeObject *accepted_type;

/* -- accept(2) -- */

union address {
	struct sockaddr any;
	struct sockaddr_in inet;
	struct sockaddr_in6 inet6;
	struct sockaddr_storage room;
};

/* A descriptor, or -1 with errno, or with an exception that a signal handler has raised. */
static int
next_client(int listener, union address *address)
{
	socklen_t size;
	int fd;

	do {
		size = sizeof *address;
		fd = accept4(listener, &address->any, &size, SOCK_NONBLOCK | SOCK_CLOEXEC);
	} while (fd < 0 && errno == EINTR && PyErr_CheckSignals() == 0);
	return fd;
}

/* N2. Another descriptor in place of this one, or -1 with errno; this one is closed. */
static int
over_standard(int fd)
{
	int higher = fcntl(fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
	int code = errno;

	(void)close(fd);
	errno = code;
	return higher;
}

/* A new Accepted has a descriptor and an address. */
static void
fill(struct accepted *client, int fd, int family, const union address *address)
{
	client->fd = fd;
	client->is_ours = 1;
	client->family = (unsigned short)family;
	client->type = SOCK_STREAM;
	if (family == AF_INET) {
		client->ip_size = sizeof address->inet.sin_addr;
		memcpy(client->ip, &address->inet.sin_addr, client->ip_size);
		client->number = ntohs(address->inet.sin_port);
	} else if (family == AF_INET6) {
		client->ip_size = sizeof address->inet6.sin6_addr;
		memcpy(client->ip, &address->inet6.sin6_addr, client->ip_size);
		client->number = ntohs(address->inet6.sin6_port);
	}
}

/* accept(listener, family) -> Accepted; None: no client waits. Raises OSError. */
static PyObject *
take_client(PyObject *module, PyObject *args)
{
	allocfunc allocate = (allocfunc)PyType_GetSlot(accepted_type, Py_tp_alloc);
	union address address = {0};
	struct accepted *client;
	int listener;
	int family;
	int moved;
	int fd;

	(void)module;
	if (!PyArg_ParseTuple(args, "ii", &listener, &family))
		return NULL;
	fd = next_client(listener, &address);
	moved = fd >= 0 && fd <= STDERR_FILENO;
	if (moved)
		fd = over_standard(fd);
	if (fd < 0) {
		if (PyErr_Occurred())
			return NULL;
		return errno == EAGAIN ? Py_NewRef(Py_None) : PyErr_SetFromErrno(PyExc_OSError);
	}
	client = (struct accepted *)allocate(accepted_type, 0);
	if (!client) {
		(void)close(fd);
		return NULL;
	}
	client->moved = (char)moved;
	fill(client, fd, family, &address);
	return (PyObject *)client;
}

/* -- the coroutine -- */

/* N1 */
static void
close_ours(struct accepted *client)
{
	if (!client->is_ours)
		return;
	(void)close(client->fd);
	client->is_ours = 0;
	client->fd = -1;
}

/* The coroutine has raised: `failed` gets an OSError, the caller anything else. 0 or -1. */
static int
tell_failure(struct accepted *client)
{
	PyObject *type;
	PyObject *value;
	PyObject *traceback;
	PyObject *result;

	close_ours(client);
	if (!PyErr_ExceptionMatches(PyExc_OSError))
		return -1;
	PyErr_Fetch(&type, &value, &traceback);
	PyErr_NormalizeException(&type, &value, &traceback);
	result = PyObject_CallFunctionObjArgs(client->failed, value, NULL);
	Py_XDECREF(type);
	Py_XDECREF(value);
	Py_XDECREF(traceback);
	Py_XDECREF(result);
	return result ? 0 : -1;
}

/* Let us be called when what the coroutine waits for is done. 0 or -1. */
static int
wait_for(struct accepted *client, PyObject *future)
{
	PyObject *name = PyUnicode_InternFromString("add_done_callback");
	PyObject *result =
		name ? PyObject_CallMethodObjArgs(future, name, (PyObject *)client, NULL) : NULL;

	Py_XDECREF(name);
	Py_XDECREF(result);
	return result ? 0 : -1;
}

/* Take one step of the coroutine: to its next wait, or to its end. 0 or -1. */
static int
step(struct accepted *client)
{
	PyObject *coroutine = client->coroutine;
	PyObject *given = NULL;
	int code = 0;

	client->coroutine = NULL;
	switch (PyIter_Send(coroutine, Py_None, &given)) {
	case PYGEN_ERROR:
		code = tell_failure(client);
		break;
	case PYGEN_NEXT:
		client->is_ours = 0; /* N1 */
		client->coroutine = Py_NewRef(coroutine);
		code = wait_for(client, given);
		break;
	case PYGEN_RETURN:
		client->is_ours = 0; /* N1 */
		break;
	}
	Py_XDECREF(given);
	Py_DECREF(coroutine);
	return code;
}

/* begin(coroutine, failed): of connect_accepted_socket(), which was given us. Once. */
static PyObject *
begin(PyObject *self, PyObject *args)
{
	struct accepted *client = (struct accepted *)self;
	PyObject *coroutine;
	PyObject *failed;

	if (!PyArg_ParseTuple(args, "OO", &coroutine, &failed))
		return NULL;
	if (client->failed) {
		PyErr_SetString(PyExc_SystemError, "a client begins once");
		return NULL;
	}
	client->coroutine = Py_NewRef(coroutine);
	client->failed = Py_NewRef(failed);
	if (step(client) < 0)
		return NULL;
	Py_RETURN_NONE;
}

/* What the coroutine waits for is done: go on. */
static PyObject *
go_on(PyObject *self, PyObject *args, PyObject *keywords)
{
	struct accepted *client = (struct accepted *)self;

	(void)args;
	(void)keywords;
	if (client->coroutine && step(client) < 0)
		return NULL;
	Py_RETURN_NONE;
}

/* -- what uvloop wants of a socket object -- */

static PyObject *
descriptor(PyObject *self, PyObject *none)
{
	(void)none;
	return PyLong_FromLong(((struct accepted *)self)->fd);
}

/* N3 */
static PyObject *
closed(PyObject *self, PyObject *none)
{
	(void)none;
	((struct accepted *)self)->fd = -1;
	((struct accepted *)self)->is_ours = 0;
	Py_RETURN_NONE;
}

/* -- the type -- */

static PyObject *
ip_of(PyObject *self, void *none)
{
	const struct accepted *client = (const struct accepted *)self;

	(void)none;
	return PyBytes_FromStringAndSize((const char *)client->ip, client->ip_size);
}

#define CLEARED(each) each(coroutine) each(failed)
REFERENCES(accepted, CLEARED, NO_REFERENCES)

static void
accepted_free(PyObject *self)
{
	PyTypeObject *type = Py_TYPE(self);
	freefunc release = (freefunc)PyType_GetSlot(type, Py_tp_free);

	PyObject_GC_UnTrack(self);
	close_ours((struct accepted *)self);
	accepted_drop(self);
	release(self);
	Py_DECREF((PyObject *)type);
}

static PyMemberDef members[] = {
	{"family", T_USHORT, offsetof(struct accepted, family), READONLY, NULL},
	{"type", T_UBYTE, offsetof(struct accepted, type), READONLY, NULL},
	{"number", T_USHORT, offsetof(struct accepted, number), READONLY, NULL},
	{"moved", T_BOOL, offsetof(struct accepted, moved), READONLY, NULL},
	{NULL, 0, 0, 0, NULL},
};

static PyGetSetDef accepted_getset[] = {
	{"ip", ip_of, NULL, NULL, NULL},
	{NULL, NULL, NULL, NULL, NULL},
};

static PyMethodDef accepted_methods[] = {
	{"begin", begin, METH_VARARGS, "Drive the coroutine that makes its transport, once."},
	{"fileno", descriptor, METH_NOARGS, "Return its descriptor; -1: it is closed."},
	{"close", closed, METH_NOARGS, "The transport has closed the descriptor."},
	{NULL, NULL, 0, NULL},
};

static PyType_Slot accepted_slots[] = {
	{Py_tp_dealloc, (void *)accepted_free},
	{Py_tp_traverse, (void *)accepted_traverse},
	{Py_tp_clear, (void *)accepted_clear},
	{Py_tp_call, (void *)go_on},
	{Py_tp_methods, accepted_methods},
	{Py_tp_members, members},
	{Py_tp_getset, accepted_getset},
	{Py_tp_doc, "A client that was accepted, until it has a transport."},
	{0, NULL},
};
static PyType_Spec accepted_spec = {
	.name = "ipckit._core._accept.Accepted",
	.basicsize = sizeof(struct accepted),
	.flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION,
	.slots = accepted_slots,
};

static PyMethodDef methods[] = {
	{"accept", take_client, METH_VARARGS,
	 "Take the next client of a listening socket; None: no client waits. Raises OSError."},
	{NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {
	.m_base = PyModuleDef_HEAD_INIT,
	.m_name = "_accept",
	.m_size = -1,
	.m_methods = methods,
};

PyMODINIT_FUNC PyInit__accept(void);

PyMODINIT_FUNC
PyInit__accept(void)
{
	PyObject *module = PyModule_Create(&definition);
	PyObject *type = module ? PyType_FromSpec(&accepted_spec) : NULL;

	if (!type || PyModule_AddObjectRef(module, "Accepted", type) < 0) {
		Py_XDECREF(type);
		Py_CLEAR(module);
		return NULL;
	}
	accepted_type = (PyTypeObject *)type; /* for as long as the process lives */
	return module;
}

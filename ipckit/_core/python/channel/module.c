/*
 * python/channel/module.c - the module `_frames`: a frame of one piece to a channel's socket, or
 * from it.
 *
 * python/channel/ is the door to a channel's frames.
 *
 * The usual case of ipckit.channel in one call: head, verdicts and body are written by one system
 * call, or read by two. Whatever is unusual comes back as the bytes that were read, or as how many
 * were written, and the Python half goes on from there.
 *
 * Wire form  as ipckit.channel.frames has it.
 * Kernel     sendmsg(2), recvmsg(2), unix(7) SCM_RIGHTS.
 * Blocks     never (MSG_DONTWAIT), so the GIL is held where there is one.  State  none.
 */
#include "python/arguments.h"
#include "python/threads.h"
#include "python/tuples.h"

#include <errno.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

enum {
	HEAD_SIZE = 16,
	MARK = 0xC5,
	PIECE = 32 * 1024 - HEAD_SIZE - 2,
	MAX_FDS = 253,
};

struct head {
	uint32_t size;
	uint16_t kind;
	uint8_t fds;
	uint8_t mark;
	uint64_t ident;
};

_Static_assert(sizeof(struct head) == HEAD_SIZE, "the wire form has no gaps");
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "heads are little endian");

/* An int within a range; 0: it is not the usual case. */
static int
number(PyObject *object, uint64_t most, uint64_t *value)
{
	if (!PyLong_CheckExact(object))
		return 0;
	*value = PyLong_AsUnsignedLongLong(object);
	if (PyErr_Occurred()) {
		PyErr_Clear();
		return 0;
	}
	return *value <= most;
}

/* send(fd, body, kind, ident, max_frame) -> 0: the whole frame is with the kernel; n > 0: so many
 * of its bytes are; -1: nothing was done */
static PyObject *
frames_send(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
	struct head head = {.mark = MARK};
	struct iovec parts[4];
	struct msghdr message = {.msg_iov = parts};
	uint64_t kind;
	uint64_t ident;
	uint64_t most;
	Py_ssize_t size;
	ssize_t sent;
	int fd;

	(void)module;
	if (count_arguments(count, 5) < 0)
		return NULL;
	fd = (int)PyLong_AsLong(args[0]);
	if (PyErr_Occurred())
		return NULL;
	size = PyBytes_CheckExact(args[1]) ? PyBytes_Size(args[1]) : -1;
	if (size < 0 || size > PIECE || !number(args[2], UINT16_MAX, &kind) ||
	    !number(args[3], UINT64_MAX, &ident) || !number(args[4], INT32_MAX, &most) ||
	    (uint64_t)size > most)
		return PyLong_FromLong(-1);
	head.size = (uint32_t)size;
	head.kind = (uint16_t)kind;
	head.ident = ident;
	parts[message.msg_iovlen++] = (struct iovec){&head, sizeof head};
	if (size) {
		parts[message.msg_iovlen++] = (struct iovec){(void *)(uintptr_t)"G", 1};
		parts[message.msg_iovlen++] =
			(struct iovec){PyBytes_AsString(args[1]), (size_t)size};
	}
	parts[message.msg_iovlen++] = (struct iovec){(void *)(uintptr_t)"E", 1};
	sent = sendmsg(fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
	if (sent == HEAD_SIZE + 1 + (size ? size + 1 : 0))
		sent = 0;
	return PyLong_FromSsize_t(sent);
}

/* The body of a frame of one piece, whose last byte says that it is whole; *rest: what came of it
 * otherwise, to be decoded. NULL without an exception: only *rest. */
static PyObject *
read_body(int fd, Py_ssize_t size, PyObject **rest)
{
	PyObject *body = PyBytes_FromStringAndSize(NULL, size);
	char verdict = 0;
	struct iovec parts[2] = {{NULL, (size_t)size}, {&verdict, 1}};
	ssize_t got;

	if (!body)
		return NULL;
	parts[0].iov_base = PyBytes_AsString(body);
	got = readv(fd, parts, 2);
	if (got == size + 1 && verdict == 'E')
		return body;
	if (got > 0 && (*rest = PyBytes_FromStringAndSize(NULL, got))) {
		memcpy(PyBytes_AsString(*rest), PyBytes_AsString(body),
		       (size_t)(got > size ? size : got));
		if (got > size)
			PyBytes_AsString(*rest)[size] = verdict;
	}
	Py_DECREF(body);
	return NULL;
}

/* class(kind, ident, body, ()); steals the body. */
static PyObject *
new_frame(PyTypeObject *class, const struct head *head, PyObject *body)
{
	PyObject *items[4] = {PyLong_FromLong(head->kind),
			      PyLong_FromUnsignedLongLong(head->ident), body, PyTuple_New(0)};
	PyObject *frame = items[0] && items[1] && items[3] ? new_named_tuple(class, 4) : NULL;

	for (Py_ssize_t i = 0; i < 4; i++) {
		if (frame)
			(void)PyTuple_SetItem(frame, i, items[i]); /* new, and of this size */
		else
			Py_XDECREF(items[i]);
	}
	return frame;
}

/* take(fd, max_frame, class) -> a frame; None: no byte is there; or (bytes, rights, lost, rest): the
 * first 1..17 bytes of a frame (none: the end), the descriptors that came with them, whether some
 * were lost, and what came of its first piece. OSError. */
static PyObject *
frames_take(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
	union {
		struct cmsghdr first;
		char bytes[CMSG_SPACE(MAX_FDS * sizeof(int))];
	} control;
	char bytes[HEAD_SIZE + 1];
	struct iovec part = {bytes, sizeof bytes};
	struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = &control,
				 .msg_controllen = sizeof control};
	struct cmsghdr *rights;
	PyObject *rest = NULL;
	struct head head;
	uint64_t most;
	ssize_t got;
	int fd;

	(void)module;
	if (count_arguments(count, 3) < 0)
		return NULL;
	fd = (int)PyLong_AsLong(args[0]);
	if (PyErr_Occurred())
		return NULL;
	if (!number(args[1], INT32_MAX, &most) || !PyType_Check(args[2]) ||
	    !PyType_IsSubtype((PyTypeObject *)args[2], &PyTuple_Type)) {
		PyErr_SetString(PyExc_TypeError, "take() expected an int and a subclass of tuple");
		return NULL;
	}
	got = recvmsg(fd, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	if (got < 0 && errno == EAGAIN)
		Py_RETURN_NONE;
	if (got < 0)
		return PyErr_SetFromErrno(PyExc_OSError);
	rights = CMSG_FIRSTHDR(&message);
	if (rights && (rights->cmsg_level != SOL_SOCKET || rights->cmsg_type != SCM_RIGHTS))
		rights = NULL;
	if (got == sizeof bytes && !rights && bytes[HEAD_SIZE] == 'G') {
		memcpy(&head, bytes, sizeof head);
		if (head.mark == MARK && head.fds == 0 && head.size > 0 && head.size <= PIECE &&
		    head.size <= most) {
			PyObject *body = read_body(fd, (Py_ssize_t)head.size, &rest);

			if (body)
				return new_frame((PyTypeObject *)args[2], &head, body);
			if (PyErr_Occurred())
				return NULL;
		}
	}
	return Py_BuildValue("y#y#NN", bytes, (Py_ssize_t)got,
			     rights ? (char *)CMSG_DATA(rights) : "",
			     rights ? (Py_ssize_t)(rights->cmsg_len - CMSG_LEN(0)) : (Py_ssize_t)0,
			     PyBool_FromLong(message.msg_flags & MSG_CTRUNC),
			     rest ? rest : PyBytes_FromStringAndSize(NULL, 0));
}

static PyMethodDef methods[] = {
	{"send", FAST(frames_send), NULL},
	{"take", FAST(frames_take), NULL},
	{NULL, NULL, 0, NULL},
};

static PyModuleDef_Slot slots[] = {
	NO_GIL_SLOT
	{0, NULL},
};

static struct PyModuleDef definition = {
	.m_base = PyModuleDef_HEAD_INIT,
	.m_name = "_frames",
	.m_methods = methods,
	.m_slots = slots,
};

PyMODINIT_FUNC PyInit__frames(void);

PyMODINIT_FUNC
PyInit__frames(void)
{
	return PyModuleDef_Init(&definition);
}

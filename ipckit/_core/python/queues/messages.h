/*
 * python/queues/messages.h - the usual case of sending and receiving in C: what the files of
 * `_messages` share.
 *
 * python/queues/ is the door to System V and POSIX queues: the module _messages.
 *
 * Sysv and Posix are the bases of SysvQueue and PosixQueue. Each of their four methods makes one
 * try that takes the usual case: bytes to send, any message to receive, nothing to wait for. When
 * that case is not met nothing was done, and a method of the subclass (`_send` for `send`), which
 * has all cases, gets the same arguments.
 *
 * Invariants
 *   U1  a try sends or takes one message whole, or leaves everything to the subclass.
 *   U2  no call waits, so the GIL is held: to give it away costs as much as the system call.
 *   U3  a try and `_end` have the queue for themselves, also without a GIL: the id that a try uses
 *       is not closed, and its number not given to another file, before the try is over.
 */
#ifndef IPK_PYTHON_QUEUES_MESSAGES_H
#define IPK_PYTHON_QUEUES_MESSAGES_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <string.h>

/* What a try has to know of a queue. */
struct queue {
	PyObject_HEAD
	PyObject *message; /* the class of what is received: a tuple's (type, body) */
	PyObject *given;   /* what comes first: messages that a wait took. NULL: there are none */
	int id;		   /* atomic; of a System V queue, or a POSIX one's descriptor; -1: closed */
};

/* One try. A new reference; or NULL without an exception: the subclass has to do it. */
typedef PyObject *message_try(struct queue *queue, PyObject *body, long type);

message_try try_sysv_send;
message_try try_sysv_receive;
message_try try_posix_send;
message_try try_posix_receive;

#define CALL(name) PyObject *name(PyObject *, PyObject *const *, Py_ssize_t, PyObject *)
CALL(sysv_send);
CALL(sysv_send_nowait);
CALL(sysv_receive);
CALL(sysv_receive_nowait);
CALL(posix_send);
CALL(posix_send_nowait);
CALL(posix_receive);
CALL(posix_receive_nowait);
#undef CALL
/* take_now(type) -> a message of at most IPK_MSGQ_SMALL bytes, or -errno: nobody has to catch. */
PyObject *sysv_take_now(PyObject *self, PyObject *type);

#endif

/*
 * python/shared_queue/wait.c - what every call of a queue does first and last, and how it waits.
 *
 * Owns      struct queue_call.  Stands on python/segments, shared_queue/.  State  none.
 * Blocks    queue_get, as long as its deadline allows, without the GIL; signals are handled.
 */
#include "base/clock.h"
#include "python/shared_queue/door.h"
#include "python/threads.h"

#include <errno.h>
#include <stdarg.h>
#include <unistd.h>

enum {
	SPINS = 40,	   /* tries before it sleeps, where another CPU may bring what it waits for */
	PAUSES_A_SPIN = 30,
	SECOND_NS = 1000000000,
};

PyObject *
queue_refuse(const struct queue_handle *handle, const char *which, const char *format, ...)
{
	PyObject *function = PyObject_GetAttrString(handle->refusals, which);
	PyObject *arguments = NULL;
	PyObject *error = NULL;
	va_list values;

	if (function) {
		va_start(values, format);
		arguments = Py_VaBuildValue(format, values);
		va_end(values);
	}
	if (arguments)
		error = PyObject_CallObject(function, arguments);
	Py_XDECREF(function);
	Py_XDECREF(arguments);
	(void)segment_raise(error);
	return NULL;
}

int
queue_raise(const struct queue_call *call, int code)
{
	if (code == -EUCLEAN)
		PyErr_SetString(segment_corrupt,
				"the queue's segment is damaged: a number in it is out of its range");
	else if (code == -EMSGSIZE)
		(void)queue_refuse(call->handle, "too_large", "(KI)",
				   (unsigned long long)call->size, call->queue->shape.pages);
	else
		PyErr_Format(segment_internal, "the queue's core returned %d", code);
	return -1;
}

/* 0, or -1 raised. */
static int
take_deadline(struct queue_call *call, PyObject *timeout)
{
	PyObject *deadline;

	call->deadline = 0;
	call->now = 0;
	if (!timeout || timeout == Py_None)
		return 0;
	deadline = PyObject_CallMethod(call->handle->refusals, "deadline_ns", "(O)", timeout);
	if (!deadline)
		return -1;
	call->deadline = PyLong_AsUnsignedLongLong(deadline);
	Py_DECREF(deadline);
	call->now = call->deadline == 1;
	return PyErr_Occurred() ? -1 : 0;
}

int
queue_begin(struct queue_call *call, PyObject *object, PyObject *timeout)
{
	struct queue_handle *handle = (struct queue_handle *)object;

	call->handle = handle;
	call->obstacle = (struct ipk_obstacle){0};
	if (take_deadline(call, timeout) < 0)
		return -1;
	call->segment = segment_enter(&handle->segment);
	if (!call->segment) {
		if (!PyErr_Occurred() && handle->refusals)
			(void)queue_refuse(handle, LOAD_RELAXED(&handle->ended) ? "closed" : "not_made",
					   "()");
		else if (!PyErr_Occurred())
			PyErr_SetString(segment_misuse,
					"Queue is a base: use ipckit.queue.SharedQueue");
		return -1;
	}
	call->queue = &call->segment->queue;
	call->party = segment_join(call->segment);
	if (call->party)
		return 0;
	segment_leave();
	return -1;
}

void
queue_end(struct queue_call *call)
{
	(void)call;
	segment_leave();
}

/* One try. 1, 0: not now, or an error of the core. */
static int
try_once(struct queue_call *call)
{
	int code;

	if (call->event == IPK_QUEUE_MESSAGE)
		return ipk_queue_take(call->queue, call->party, &call->lease);
	code = ipk_queue_reserve(call->queue, call->party, call->size, &call->lease,
				 &call->obstacle);
	return code == -ENOSPC ? 0 : code == 0 ? 1 : code;
}

/* 0 go on, -1 raised. */
static int
still_open(const struct queue_call *call)
{
	if (PyErr_CheckSignals() < 0)
		return -1;
	if (LOAD_RELAXED(&call->handle->segment) == call->segment)
		return 0;
	(void)queue_refuse(call->handle, "closed", "()");
	return -1;
}

static void
spin(void)
{
	for (int i = 0; i < PAUSES_A_SPIN; i++)
		cpu_relax();
}

int
queue_get(struct queue_call *call)
{
	static long cpus;
	int spins = 0;

	if (!cpus)
		cpus = sysconf(_SC_NPROCESSORS_ONLN);
	for (;;) {
		int code = try_once(call);

		if (code == -EAGAIN) {
			Py_BEGIN_ALLOW_THREADS
			(void)ipk_wait(call->queue->slots, IPK_QUEUE_SLOTS, &call->obstacle,
				       call->now ? 0 : call->deadline);
			Py_END_ALLOW_THREADS
			if (still_open(call) < 0)
				return -1;
			continue;
		}
		if (code)
			return code > 0 ? 1 : queue_raise(call, code);
		if (!call->now && cpus > 1 && spins++ < SPINS) {
			spin();
			continue;
		}
		if (ipk_queue_recover(call->queue, call->party))
			continue;
		if (call->now || (call->deadline && ipk_now_ns() >= call->deadline))
			return 0;
		ipk_queue_announce(call->queue, call->party, call->event);
		code = try_once(call);
		if (code) {
			ipk_queue_awake(call->queue, call->party, call->event);
			if (code == -EAGAIN)
				continue;
			return code > 0 ? 1 : queue_raise(call, code);
		}
		Py_BEGIN_ALLOW_THREADS
		code = ipk_queue_sleep(call->queue, call->party, call->event, call->deadline);
		Py_END_ALLOW_THREADS
		if (still_open(call) < 0)
			return -1;
		spins = SPINS; /* it was woken for something: one try, then sleep again */
	}
}

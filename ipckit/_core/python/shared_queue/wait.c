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
	SPINS = 400,	/* looks before it sleeps, where another CPU may bring what it waits for */
};

/* How long a call waits for a thread that takes pages, when its own time is over: that one may be preempted
 * on a busy machine. */
#define LATCH_NS UINT64_C(1000000000)

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

Py_ssize_t
queue_number(PyObject *number, const char *name, int least)
{
	Py_ssize_t value;

	if (!PyLong_Check(number)) {
		PyErr_Format(PyExc_TypeError, "%s=%R: must be an int", name, number);
		return -1;
	}
	value = PyLong_AsSsize_t(number);
	if (value >= least)
		return value;
	if (!PyErr_Occurred() || PyErr_ExceptionMatches(PyExc_OverflowError))
		PyErr_Format(PyExc_ValueError, "%s=%R: must be %d..2**63-1", name, number, least);
	return -1;
}

void
queue_refuse_call(const struct queue_call *call)
{
	if (call->event == IPK_QUEUE_MESSAGE)
		(void)queue_refuse(call->handle, "empty", "()");
	else if (call->event == IPK_QUEUE_FINISHED)
		(void)queue_refuse(call->handle, "not_finished", "()");
	else
		(void)queue_refuse(call->handle, "full", "(KII)", (unsigned long long)call->size,
				   call->queue->shape.messages, call->queue->shape.pages);
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
	if (!timeout || timeout == Py_None || !call->handle->refusals)
		return 0; /* without refusals queue_look() raises */
	deadline = PyObject_CallMethod(call->handle->refusals, "deadline_ns", "(O)", timeout);
	if (!deadline)
		return -1;
	call->deadline = PyLong_AsUnsignedLongLong(deadline);
	Py_DECREF(deadline);
	call->now = call->deadline == 1;
	return PyErr_Occurred() ? -1 : 0;
}

struct segment *
queue_look(struct queue_handle *handle)
{
	struct segment *segment = segment_enter(&handle->segment);

	if (segment || PyErr_Occurred())
		return segment;
	if (handle->refusals)
		(void)queue_refuse(handle, LOAD_RELAXED(&handle->ended) ? "closed" : "not_made", "()");
	else
		PyErr_SetString(segment_misuse, "Queue is a base: use ipckit.queue.SharedQueue");
	return NULL;
}

int
queue_begin(struct queue_call *call, PyObject *object, PyObject *timeout)
{
	call->handle = (struct queue_handle *)object;
	call->obstacle = (struct ipk_obstacle){0};
	call->quiet = 0;
	call->latched_since = 0;
	call->party = NULL;
	if (take_deadline(call, timeout) < 0)
		return -1;
	call->segment = queue_look(call->handle);
	if (!call->segment)
		return -1;
	call->queue = &call->segment->queue;
	return 0;
}

void
queue_end(struct queue_call *call)
{
	(void)call;
	segment_leave();
}

/* One try. 1, 0: not now; -EAGAIN: the obstacle; or another error of the core. */
static int
try_once(struct queue_call *call)
{
	int code;

	if (call->event == IPK_QUEUE_MESSAGE)
		return ipk_queue_take(call->queue, call->party, &call->lease);
	if (call->event == IPK_QUEUE_FINISHED)
		return ipk_queue_is_finished(call->queue);
	call->obstacle.kind = IPK_NOTHING;
	code = ipk_queue_reserve(call->queue, call->party, call->size, &call->lease,
				 &call->obstacle);
	if (code == -ENOBUFS) /* W4: the next that waits may need fewer pages */
		ipk_queue_pass_on(call->queue, IPK_QUEUE_ROOM, call->ticket);
	return code == -ENOSPC || code == -ENOBUFS ? 0 : code == 0 ? 1 : code;
}

/* Look for a moment; whether it is worth another try. */
static int
spin(const struct queue_call *call)
{
	static long cpus;

	if (!cpus)
		cpus = sysconf(_SC_NPROCESSORS_ONLN);
	for (int looks = 0; cpus > 1 && looks < SPINS; looks++) {
		if (ipk_queue_seems_ready(call->queue, call->party, call->event))
			return 1;
		cpu_relax();
	}
	return 0;
}

static int
is_over(const struct queue_call *call)
{
	return call->now || (call->deadline && ipk_now_ns() >= call->deadline);
}

/* Wait until a thread that takes pages has them, and try. As wait_and_try(). */
static int
wait_for_latch(struct queue_call *call)
{
	uint64_t now = ipk_now_ns();
	int code;

	if (!call->latched_since)
		call->latched_since = now;
	(void)ipk_wait(call->queue->slots, IPK_QUEUE_SLOTS, &call->obstacle, now + LATCH_NS);
	code = try_once(call);
	if (code == -EAGAIN && is_over(call) && ipk_now_ns() > call->latched_since + LATCH_NS)
		return 0;
	return code ? code : -EAGAIN;
}

/* Wait once, and try. 1, 0: not in the time; -EAGAIN: look at signals, and call it again; or another
 * error of the core. */
static int
wait_and_try(struct queue_call *call)
{
	int code;

	if (!call->now && spin(call) && (code = try_once(call)) != 0 && code != -EAGAIN)
		return code;
	if (ipk_queue_recover(call->queue, call->party) && (code = try_once(call)) != 0)
		return code;
	if (is_over(call))
		return 0;
	ipk_queue_announce(call->queue, call->party, call->event, &call->ticket);
	code = try_once(call);
	if (code == 0 && LOAD_SEQ_CST(&call->handle->segment) != call->segment)
		code = -EAGAIN; /* queue_close() woke all that had announced */
	if (code) {
		ipk_queue_awake(call->queue, call->party, call->event);
		return code;
	}
	(void)ipk_queue_sleep(call->queue, call->party, call->event, call->deadline);
	(void)ipk_queue_recover(call->queue, call->party); /* W3: first of all */
	code = try_once(call);
	return code ? code : -EAGAIN; /* its time, or a signal, is looked at in the next turn */
}

/* Between two tries other Python code ran: it may have closed the queue, or be another process by now.
 * 0, -1 raised. */
static int
rejoin(struct queue_call *call)
{
	if (PyErr_CheckSignals() < 0)
		return -1;
	if (LOAD_RELAXED(&call->handle->segment) != call->segment) {
		(void)queue_refuse(call->handle, "closed", "()");
		return -1;
	}
	call->party = segment_join(call->segment);
	return call->party ? 0 : -1;
}

/* 1, 0, or an error of the core; -EINTR: raised. */
static int
get(struct queue_call *call)
{
	int code = try_once(call);

	while (code == 0 || code == -EAGAIN) {
		int latched = code == -EAGAIN && call->obstacle.kind != IPK_NOTHING;

		Py_BEGIN_ALLOW_THREADS
		code = latched ? wait_for_latch(call) : wait_and_try(call);
		Py_END_ALLOW_THREADS
		if (code == 0)
			return 0;
		if (code == -EAGAIN && !call->quiet && rejoin(call) < 0)
			return -EINTR;
	}
	return code;
}

int
queue_get(struct queue_call *call)
{
	int code;

	call->ticket = 0;
	call->party = segment_join(call->segment);
	if (!call->party)
		return -1;
	code = get(call);
	if (call->ticket)
		ipk_queue_leave(call->queue, call->event); /* W4 */
	if (code == 0)
		queue_watch_again(call);
	if (code >= 0 || code == -EINTR)
		return code >= 0 ? code : -1;
	return queue_raise(call, code);
}

/*
 * python/ledger/submit.c - the calls of a submitter, for Python.
 *
 * Stands on ledger/submit.  State  struct view.  Blocks  never.
 */
#include "python/ledger/view.h"

#include <errno.h>

enum refusal { NO_RECORD = -1, NO_BLOCKS = -2 };

static PyObject *
refused(enum refusal why)
{
	return PyLong_FromLong(why);
}

/* Take a record and put the body in. 0, or why not; -100: raised. */
static int
store(struct view *view, PyObject *body, struct ipk_ledger_lease *lease)
{
	char *bytes;
	Py_ssize_t size;

	if (PyBytes_AsStringAndSize(body, &bytes, &size) < 0)
		return -100;
	if (ipk_ledger_take(&view->ledger, lease))
		return NO_RECORD;
	if (ipk_ledger_put_body(&view->ledger, lease->record, bytes, (uint64_t)size) == 0)
		return 0;
	if (ipk_ledger_end(&view->ledger, lease) == 0)
		ipk_ledger_clear(&view->ledger, lease);
	return NO_BLOCKS;
}

/* Let it be taken by task worker `dst`, or by any (-1); return its id. */
static PyObject *
publish(struct view *view, struct ipk_ledger_lease *lease, int32_t dst, int wanted)
{
	uint64_t id = ipk_ledger_turn_of(lease->word);

	ipk_ledger_set_dst(&view->ledger, lease->record, dst);
	if (wanted)
		ipk_ledger_flag(&view->ledger, lease->record, IPK_LEDGER_WANTED, 0);
	ipk_ledger_publish(&view->ledger, lease, 0);
	return PyLong_FromUnsignedLongLong(id);
}

LEDGER_FAST(ledger_submit)
{
	struct view *view = (struct view *)self;
	struct ipk_ledger_lease lease;
	long dst;
	int code;

	if (count_arguments(count, 3) < 0)
		return NULL;
	dst = PyLong_AsLong(args[1]);
	if (dst == -1 && PyErr_Occurred())
		return NULL;
	code = store(view, args[0], &lease);
	if (code == -100)
		return NULL;
	if (code)
		return refused(code);
	return publish(view, &lease, (int32_t)dst, args[2] == Py_True);
}

/* watch_stop(word): post() stores nothing while it is not 0 */
PyObject *
ledger_watch_stop(PyObject *self, PyObject *word)
{
	struct view *view = (struct view *)self;

	if (view->stop.obj)
		return PyErr_Format(PyExc_ValueError, "already kept");
	if (PyObject_GetBuffer(word, &view->stop, PyBUF_SIMPLE) < 0)
		return NULL;
	if (view->stop.len != sizeof(uint64_t)) {
		PyBuffer_Release(&view->stop);
		return PyErr_Format(PyExc_ValueError, "must be one word");
	}
	Py_RETURN_NONE;
}

/* post(data, encode, protocol): see _ledger.pyi */
LEDGER_FAST(ledger_post)
{
	struct view *view = (struct view *)self;
	struct ipk_ledger_lease lease;
	PyObject *body;
	int code;

	if (count_arguments(count, 3) < 0)
		return NULL;
	body = ledger_encode(args[1], args[2], args[0]);
	if (!body) {
		if (!PyErr_ExceptionMatches(PyExc_Exception))
			return NULL;
		PyErr_Clear(); /* Python finds which part of it cannot be encoded */
		Py_RETURN_NONE;
	}
	if (view->stop.obj && __atomic_load_n((uint64_t *)view->stop.buf, __ATOMIC_ACQUIRE))
		return body;
	code = store(view, body, &lease);
	if (code == NO_BLOCKS && PyBytes_Size(body) > IPK_LEDGER_INSIDE)
		return body;
	Py_DECREF(body);
	return code ? refused(code) : publish(view, &lease, -1, 0);
}

PyObject *
ledger_take(PyObject *self, PyObject *unused)
{
	struct view *view = (struct view *)self;
	struct ipk_ledger_lease lease;

	(void)unused;
	if (ipk_ledger_take(&view->ledger, &lease))
		Py_RETURN_NONE;
	ledger_keep(view, &lease);
	return Py_BuildValue("(IK)", lease.record,
			     (unsigned long long)ipk_ledger_turn_of(lease.word));
}

LEDGER_FAST(ledger_put)
{
	return ledger_put_bytes(self, args, count, ipk_ledger_put_body);
}

LEDGER_FAST(ledger_spill_body)
{
	struct view *view = (struct view *)self;
	uint64_t bytes[2]; /* of this body, of all spilled ones at most */
	int64_t record = ledger_record_and_numbers(view, args, count, bytes, 2);

	if (record < 0)
		return NULL;
	return PyBool_FromLong(
		ipk_ledger_spill_body(&view->ledger, (uint32_t)record, bytes[0], bytes[1]) == 0);
}

LEDGER_FAST(ledger_order)
{
	struct view *view = (struct view *)self;
	uint64_t key;
	int64_t record = ledger_record_and_numbers(view, args, count, &key, 1);

	if (record < 0)
		return NULL;
	ipk_ledger_order(&view->ledger, (uint32_t)record, key);
	Py_RETURN_NONE;
}

LEDGER_FAST(ledger_dedup)
{
	struct view *view = (struct view *)self;
	uint64_t key[2];
	int64_t record = ledger_record_and_numbers(view, args, count, key, 2);

	if (record < 0)
		return NULL;
	return PyLong_FromLongLong(ipk_ledger_dedup(&view->ledger, (uint32_t)record, key));
}

LEDGER_FAST(ledger_publish)
{
	struct view *view = (struct view *)self;
	struct ipk_ledger_lease lease;
	long long due;
	int64_t record;
	long dst;

	if (count_arguments(count, 3) < 0 || (record = ledger_record(view, args[0])) < 0)
		return NULL;
	dst = PyLong_AsLong(args[1]);
	due = PyLong_AsLongLong(args[2]);
	if (PyErr_Occurred())
		return NULL;
	lease = ledger_lease(view, record);
	ipk_ledger_set_dst(&view->ledger, (uint32_t)record, (int32_t)dst);
	ipk_ledger_publish(&view->ledger, &lease, due);
	Py_RETURN_NONE;
}

/* ask_for(record, submitter's place, source): for a caller that is no submitter itself */
LEDGER_FAST(ledger_ask_for)
{
	struct view *view = (struct view *)self;
	uint64_t submitter[2]; /* its place, its source */
	int64_t record = ledger_record_and_numbers(view, args, count, submitter, 2);

	if (record < 0)
		return NULL;
	ipk_ledger_set_submitter(&view->ledger, (uint32_t)record, (uint32_t)submitter[0],
				 (uint32_t)submitter[1]);
	Py_RETURN_NONE;
}

LEDGER_AS_IN_CORE(request_wakeup)
LEDGER_AS_IN_CORE(request_room)

LEDGER_FAST(ledger_has_room)
{
	struct view *view = (struct view *)self;
	unsigned long long size;
	unsigned long long most;

	if (count_arguments(count, 2) < 0)
		return NULL;
	size = PyLong_AsUnsignedLongLong(args[0]);
	most = PyLong_AsUnsignedLongLong(args[1]);
	if (PyErr_Occurred())
		return NULL;
	return PyBool_FromLong(ipk_ledger_has_room(&view->ledger, size, most));
}

PyObject *
ledger_outstanding(PyObject *self, PyObject *unused)
{
	(void)unused;
	return PyLong_FromUnsignedLong(ipk_ledger_outstanding(&((struct view *)self)->ledger));
}

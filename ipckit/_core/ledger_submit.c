/*
 * ledger_submit.c - the calls of a submitter, for Python.
 *
 * Stands on ipk_ledger_submit.  State  struct view.  Blocks  never.
 */
#include "ledger.h"

#include <errno.h>

enum { MOST_ENDS = 256 };

enum refusal { NO_RECORD = -1, NO_BLOCKS = -2 };

static PyObject *
refused(enum refusal why)
{
	return PyLong_FromLong(why);
}

/* Take a record and put the body in. 0, or why not; -100: raised. */
static int
store(struct view *view, PyObject *body, struct ipk_ledger_hold *hold)
{
	char *bytes;
	Py_ssize_t size;

	if (PyBytes_AsStringAndSize(body, &bytes, &size) < 0)
		return -100;
	if (ipk_ledger_take(&view->ledger, hold))
		return NO_RECORD;
	if (ipk_ledger_put_body(&view->ledger, hold->record, bytes, (uint64_t)size) == 0)
		return 0;
	if (ipk_ledger_end(&view->ledger, hold) == 0)
		ipk_ledger_clear(&view->ledger, hold);
	return NO_BLOCKS;
}

LEDGER_FAST(ledger_submit)
{
	struct view *view = (struct view *)self;
	struct ipk_ledger_hold hold;
	uint64_t id;
	long dst;
	int code;

	if (ledger_count_arguments(count, 3) < 0)
		return NULL;
	dst = PyLong_AsLong(args[1]);
	if (dst == -1 && PyErr_Occurred())
		return NULL;
	code = store(view, args[0], &hold);
	if (code == -100)
		return NULL;
	if (code)
		return refused(code);
	id = ipk_ledger_turn_of(hold.word);
	view->ledger.record[hold.record].dst = (int32_t)dst;
	if (args[2] == Py_True)
		ipk_ledger_flag(&view->ledger, hold.record, IPK_LEDGER_WANTED, 0);
	ipk_ledger_publish(&view->ledger, &hold, 0);
	return PyLong_FromUnsignedLongLong(id);
}

PyObject *
ledger_take(PyObject *self, PyObject *unused)
{
	struct view *view = (struct view *)self;
	struct ipk_ledger_hold hold;

	(void)unused;
	if (ipk_ledger_take(&view->ledger, &hold))
		Py_RETURN_NONE;
	ledger_keep(view, &hold);
	return Py_BuildValue("(IK)", hold.record,
			     (unsigned long long)ipk_ledger_turn_of(hold.word));
}

LEDGER_FAST(ledger_put)
{
	struct view *view = (struct view *)self;
	int64_t record;
	char *bytes;
	Py_ssize_t size;

	if (ledger_count_arguments(count, 2) < 0 || (record = ledger_record(view, args[0])) < 0 ||
	    PyBytes_AsStringAndSize(args[1], &bytes, &size) < 0)
		return NULL;
	return PyBool_FromLong(ipk_ledger_put_body(&view->ledger, (uint32_t)record, bytes,
						   (uint64_t)size) == 0);
}

LEDGER_FAST(ledger_beside)
{
	struct view *view = (struct view *)self;
	unsigned long long size;
	unsigned long long most;
	int64_t record;

	if (ledger_count_arguments(count, 3) < 0 || (record = ledger_record(view, args[0])) < 0)
		return NULL;
	size = PyLong_AsUnsignedLongLong(args[1]);
	most = PyLong_AsUnsignedLongLong(args[2]);
	if (PyErr_Occurred())
		return NULL;
	return PyBool_FromLong(
		ipk_ledger_put_beside(&view->ledger, (uint32_t)record, size, most) == 0);
}

LEDGER_FAST(ledger_order)
{
	struct view *view = (struct view *)self;
	unsigned long long key;
	int64_t record;

	if (ledger_count_arguments(count, 2) < 0 || (record = ledger_record(view, args[0])) < 0)
		return NULL;
	key = PyLong_AsUnsignedLongLong(args[1]);
	if (PyErr_Occurred())
		return NULL;
	ipk_ledger_order(&view->ledger, (uint32_t)record, key);
	Py_RETURN_NONE;
}

LEDGER_FAST(ledger_dedup)
{
	struct view *view = (struct view *)self;
	uint64_t key[2];
	int64_t record;

	if (ledger_count_arguments(count, 3) < 0 || (record = ledger_record(view, args[0])) < 0)
		return NULL;
	key[0] = PyLong_AsUnsignedLongLong(args[1]);
	key[1] = PyLong_AsUnsignedLongLong(args[2]);
	if (PyErr_Occurred())
		return NULL;
	return PyLong_FromLongLong(ipk_ledger_dedup(&view->ledger, (uint32_t)record, key));
}

LEDGER_FAST(ledger_publish)
{
	struct view *view = (struct view *)self;
	struct ipk_ledger_hold hold;
	long long due;
	int64_t record;
	long dst;

	if (ledger_count_arguments(count, 3) < 0 || (record = ledger_record(view, args[0])) < 0)
		return NULL;
	dst = PyLong_AsLong(args[1]);
	due = PyLong_AsLongLong(args[2]);
	if (PyErr_Occurred())
		return NULL;
	hold = ledger_hold(view, record);
	view->ledger.record[record].dst = (int32_t)dst;
	ipk_ledger_publish(&view->ledger, &hold, due);
	Py_RETURN_NONE;
}

static PyObject *
ended(const struct view *view, const struct ipk_ledger_hold *hold)
{
	const struct ipk_ledger_record *record = &view->ledger.record[hold->record];
	PyObject *result;

	if (!(record->flags & IPK_LEDGER_HAS_RESULT) || (record->flags & IPK_LEDGER_RESULT_BESIDE))
		result = Py_NewRef(Py_None);
	else
		result = ledger_bytes(view, &record->result);
	return ledger_tuple(6, (PyObject *[]){
				       PyLong_FromUnsignedLong(hold->record),
				       PyLong_FromUnsignedLongLong(record->id),
				       PyLong_FromUnsignedLong(record->flags),
				       PyLong_FromUnsignedLong(ipk_ledger_attempt_of(hold->word)),
				       result,
				       PyLong_FromUnsignedLongLong(record->result.size),
			       });
}

PyObject *
ledger_collect(PyObject *self, PyObject *most)
{
	struct view *view = (struct view *)self;
	struct ipk_ledger_hold holds[MOST_ENDS];
	unsigned long wanted = PyLong_AsUnsignedLong(most);
	uint32_t found;
	PyObject *ends;

	if (PyErr_Occurred())
		return NULL;
	found = ipk_ledger_collect(&view->ledger, holds,
				   wanted < MOST_ENDS ? (uint32_t)wanted : MOST_ENDS);
	ends = PyList_New(found);
	for (uint32_t i = 0; ends && i < found; i++) {
		PyObject *one;

		ledger_keep(view, &holds[i]);
		one = ended(view, &holds[i]);
		if (!one || PyList_SetItem(ends, i, one) < 0)
			Py_CLEAR(ends);
	}
	return ends;
}

/* ask_for(record, submitter's place, source): by who is no submitter himself */
LEDGER_FAST(ledger_ask_for)
{
	struct view *view = (struct view *)self;
	unsigned long place;
	unsigned long source;
	int64_t record;

	if (ledger_count_arguments(count, 3) < 0 || (record = ledger_record(view, args[0])) < 0)
		return NULL;
	place = PyLong_AsUnsignedLong(args[1]);
	source = PyLong_AsUnsignedLong(args[2]);
	if (PyErr_Occurred())
		return NULL;
	view->ledger.record[record].submitter = (uint32_t)place + 1;
	view->ledger.record[record].source = (uint32_t)source;
	Py_RETURN_NONE;
}

PyObject *
ledger_want_bell(PyObject *self, PyObject *unused)
{
	(void)unused;
	ipk_ledger_want_bell(&((struct view *)self)->ledger);
	Py_RETURN_NONE;
}

PyObject *
ledger_wish_room(PyObject *self, PyObject *unused)
{
	(void)unused;
	ipk_ledger_wish_room(&((struct view *)self)->ledger);
	Py_RETURN_NONE;
}

PyObject *
ledger_outstanding(PyObject *self, PyObject *unused)
{
	(void)unused;
	return PyLong_FromUnsignedLong(ipk_ledger_outstanding(&((struct view *)self)->ledger));
}

/*
 * python/ledger/manager.c - the calls of the manager, and what anybody may look at, for Python.
 *
 * Stands on ledger/{recovery,verify}.  State  struct view.  Blocks  never.
 */
#include "python/ledger/view.h"

#include <errno.h>

static int
place_from(const struct view *view, PyObject *argument, uint32_t *place)
{
	unsigned long number = PyLong_AsUnsignedLong(argument);

	if (PyErr_Occurred())
		return -1;
	if (number > view->ledger.places) {
		PyErr_Format(PyExc_ValueError, "place %lu: must be 0..%u", number,
			     view->ledger.places);
		return -1;
	}
	*place = (uint32_t)number;
	return 0;
}

PyObject *
ledger_sweep(PyObject *self, PyObject *argument)
{
	struct view *view = (struct view *)self;
	uint32_t place;

	if (place_from(view, argument, &place) < 0)
		return NULL;
	ipk_ledger_sweep(&view->ledger, place);
	Py_RETURN_NONE;
}

/* next(start, state, place or -1) -> record or -1 */
LEDGER_FAST(ledger_next)
{
	struct view *view = (struct view *)self;
	struct ipk_ledger_lease lease;
	unsigned long start;
	unsigned long state;
	long place;

	if (count_arguments(count, 3) < 0)
		return NULL;
	start = PyLong_AsUnsignedLong(args[0]);
	state = PyLong_AsUnsignedLong(args[1]);
	place = PyLong_AsLong(args[2]);
	if (PyErr_Occurred())
		return NULL;
	if (!ipk_ledger_next(&view->ledger, (uint32_t)start, (uint32_t)state,
			     place < 0 ? UINT32_MAX : (uint32_t)place + 1, &lease))
		return PyLong_FromLong(-1);
	ledger_keep(view, &lease);
	return PyLong_FromUnsignedLong(lease.record);
}

PyObject *
ledger_written_down(PyObject *self, PyObject *argument)
{
	struct view *view = (struct view *)self;
	int64_t record = ledger_record(view, argument);
	int code;

	if (record < 0)
		return NULL;
	code = ledger_step(view, record, ipk_ledger_written_down);
	return PyLong_FromLong(code < 0 ? -1 : code);
}

PyObject *
ledger_wake_due(PyObject *self, PyObject *argument)
{
	int64_t now = PyLong_AsLongLong(argument);

	if (PyErr_Occurred())
		return NULL;
	return PyLong_FromLongLong(ipk_ledger_wake_due(&((struct view *)self)->ledger, now));
}

LEDGER_FAST(ledger_move)
{
	struct view *view = (struct view *)self;
	uint32_t from;
	uint32_t to;

	if (count_arguments(count, 2) < 0 || place_from(view, args[0], &from) < 0 ||
	    place_from(view, args[1], &to) < 0)
		return NULL;
	ipk_ledger_move(&view->ledger, from, to);
	Py_RETURN_NONE;
}

LEDGER_AS_IN_CORE(recover)

/* Its body, as bytes, or None: there is none to copy; NULL: raised. Others may be at work on it. */
static PyObject *
look_until_whole(const struct view *view, uint32_t record, struct ipk_ledger_snapshot *seen)
{
	char inside[IPK_LEDGER_INSIDE];
	PyObject *body = NULL;
	char *room = inside;
	uint64_t size = sizeof(inside);
	int code;

	while ((code = ipk_ledger_snapshot(&view->ledger, record, seen, room, size)) != 0) {
		if (code == -EUCLEAN) {
			PyErr_SetString(PyExc_SystemError,
					"a body in the ledger is not where its record says");
			break;
		}
		if (PyErr_CheckSignals() < 0)
			break;
		if (code == -EAGAIN)
			continue;
		size = IPK_LEDGER_SLAB; /* the longest */
		room = PyMem_Malloc(size);
		if (!room)
			return PyErr_NoMemory();
	}
	if (code == 0)
		body = seen->has_body ? PyBytes_FromStringAndSize(room, (Py_ssize_t)seen->size)
				      : Py_NewRef(Py_None);
	if (room != inside)
		PyMem_Free(room);
	return body;
}

/* (id, state, owner's place or -1, attempt, submitter's place or -1, source, dst, flags, size,
 * created, began, due, body or None) */
PyObject *
ledger_look(PyObject *self, PyObject *argument)
{
	struct view *view = (struct view *)self;
	int64_t number = ledger_record(view, argument);
	struct ipk_ledger_snapshot seen;
	PyObject *body;

	if (number < 0)
		return NULL;
	body = look_until_whole(view, (uint32_t)number, &seen);
	if (!body)
		return NULL;
	return Py_BuildValue("(KIiIiIiIKLLLN)", (unsigned long long)seen.id,
			     ipk_ledger_state_of(seen.word),
			     (int)ipk_ledger_owner_of(seen.word) - 1,
			     ipk_ledger_attempt_of(seen.word), (int)seen.submitter - 1, seen.source,
			     seen.dst, seen.flags, (unsigned long long)seen.size,
			     (long long)seen.created, (long long)seen.began, (long long)seen.due,
			     body);
}

/* (in each state..., well, buried, waiting, oldest) */
PyObject *
ledger_totals(PyObject *self, PyObject *unused)
{
	struct ipk_ledger_counts counts;
	PyObject *states;

	(void)unused;
	ipk_ledger_count(&((struct view *)self)->ledger, &counts);
	states = PyTuple_New(IPK_LEDGER_STATES);
	for (int i = 0; states && i < IPK_LEDGER_STATES; i++) {
		PyObject *number = PyLong_FromUnsignedLongLong(counts.in[i]);

		if (!number || PyTuple_SetItem(states, i, number) < 0)
			Py_CLEAR(states);
	}
	if (!states)
		return NULL;
	return Py_BuildValue("(NKKKL)", states, (unsigned long long)counts.well,
			     (unsigned long long)counts.buried, (unsigned long long)counts.waiting,
			     (long long)counts.oldest);
}

PyObject *
ledger_verify(PyObject *self, PyObject *unused)
{
	const char *wrong = ipk_ledger_verify(&((struct view *)self)->ledger);

	(void)unused;
	return wrong ? PyUnicode_FromString(wrong) : Py_NewRef(Py_None);
}

/*
 * ledger_manage.c - the calls of the manager, and what anybody may look at, for Python.
 *
 * Stands on ipk_ledger_{sweep,verify}.  State  struct view.  Blocks  never.
 */
#include "ledger.h"

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
	struct ipk_ledger_hold hold;
	unsigned long start;
	unsigned long state;
	long place;

	if (ledger_count_arguments(count, 3) < 0)
		return NULL;
	start = PyLong_AsUnsignedLong(args[0]);
	state = PyLong_AsUnsignedLong(args[1]);
	place = PyLong_AsLong(args[2]);
	if (PyErr_Occurred())
		return NULL;
	if (!ipk_ledger_next(&view->ledger, (uint32_t)start, (uint32_t)state,
			     place < 0 ? UINT32_MAX : (uint32_t)place + 1, &hold))
		return PyLong_FromLong(-1);
	ledger_keep(view, &hold);
	return PyLong_FromUnsignedLong(hold.record);
}

PyObject *
ledger_written_down(PyObject *self, PyObject *argument)
{
	struct view *view = (struct view *)self;
	int64_t record = ledger_record(view, argument);
	struct ipk_ledger_hold hold;
	int code;

	if (record < 0)
		return NULL;
	hold = ledger_hold(view, record);
	code = ipk_ledger_written_down(&view->ledger, &hold);
	ledger_keep(view, &hold);
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

	if (ledger_count_arguments(count, 2) < 0 || place_from(view, args[0], &from) < 0 ||
	    place_from(view, args[1], &to) < 0)
		return NULL;
	ipk_ledger_move(&view->ledger, from, to);
	Py_RETURN_NONE;
}

PyObject *
ledger_recover(PyObject *self, PyObject *unused)
{
	(void)unused;
	ipk_ledger_recover(&((struct view *)self)->ledger);
	Py_RETURN_NONE;
}

/* (id, state, owner's place or -1, attempt, submitter's place or -1, source, dst, flags, size,
 * created, began, due, body or None) */
PyObject *
ledger_look(PyObject *self, PyObject *argument)
{
	struct view *view = (struct view *)self;
	int64_t number = ledger_record(view, argument);
	const struct ipk_ledger_record *record;
	uint64_t word;
	PyObject *body;

	if (number < 0)
		return NULL;
	record = &view->ledger.record[number];
	word = __atomic_load_n(&view->ledger.word[number], __ATOMIC_SEQ_CST);
	body = record->flags & IPK_LEDGER_BODY_BESIDE ? Py_NewRef(Py_None)
						      : ledger_bytes(view, &record->body);
	if (!body)
		return NULL;
	return Py_BuildValue("(KIiIiIiIKLLLN)", (unsigned long long)record->id,
			     ipk_ledger_state_of(word), (int)ipk_ledger_owner_of(word) - 1,
			     ipk_ledger_attempt_of(word), (int)record->submitter - 1,
			     record->source, record->dst, record->flags,
			     (unsigned long long)record->body.size, (long long)record->created,
			     (long long)record->began, (long long)record->due, body);
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

/*
 * python/ledger/job.c - what the calls of the door share: arguments, a task as a tuple, its bytes.
 *
 * Stands on ledger/record.  State  struct view.  Blocks  as long as the user's codec does.
 */
#include "python/ledger/view.h"

typedef int copy_call(const struct ipk_ledger *ledger, uint32_t record, void *bytes, uint64_t size);

int64_t
ledger_record(const struct view *view, PyObject *argument)
{
	unsigned long record = PyLong_AsUnsignedLong(argument);

	if (PyErr_Occurred())
		return -1;
	if (record >= view->ledger.shape.records) {
		PyErr_Format(PyExc_ValueError, "record %lu: must be 0..%u", record,
			     view->ledger.shape.records - 1);
		return -1;
	}
	return (int64_t)record;
}

int64_t
ledger_record_and_numbers(const struct view *view, PyObject *const *args, Py_ssize_t count,
			  uint64_t *numbers, Py_ssize_t wanted)
{
	int64_t record;

	if (count_arguments(count, 1 + wanted) < 0 ||
	    (record = ledger_record(view, args[0])) < 0)
		return -1;
	for (Py_ssize_t i = 0; i < wanted; i++) {
		numbers[i] = PyLong_AsUnsignedLongLong(args[1 + i]);
		if (numbers[i] == UINT64_MAX && PyErr_Occurred())
			return -1;
	}
	return record;
}

int64_t
ledger_record_and_bytes(const struct view *view, PyObject *const *args, Py_ssize_t count,
			char **bytes, uint64_t *size)
{
	int64_t record;
	Py_ssize_t length;

	if (count_arguments(count, 2) < 0 || (record = ledger_record(view, args[0])) < 0 ||
	    PyBytes_AsStringAndSize(args[1], bytes, &length) < 0)
		return -1;
	*size = (uint64_t)length;
	return record;
}

PyObject *
ledger_put_bytes(PyObject *self, PyObject *const *args, Py_ssize_t count, ledger_put_call *put)
{
	struct view *view = (struct view *)self;
	char *bytes;
	uint64_t size;
	int64_t record = ledger_record_and_bytes(view, args, count, &bytes, &size);

	if (record < 0)
		return NULL;
	return PyBool_FromLong(put(&view->ledger, (uint32_t)record, bytes, size) == 0);
}

struct ipk_ledger_lease
ledger_lease(const struct view *view, int64_t record)
{
	return (struct ipk_ledger_lease){(uint32_t)record, view->word[record]};
}

void
ledger_keep(struct view *view, const struct ipk_ledger_lease *lease)
{
	view->word[lease->record] = lease->word;
}

int
ledger_step(struct view *view, int64_t record, ledger_lease_call *call)
{
	struct ipk_ledger_lease lease = ledger_lease(view, record);
	int code = call(&view->ledger, &lease);

	ledger_keep(view, &lease);
	return code;
}

PyObject *
ledger_tuple(Py_ssize_t count, PyObject *const *items)
{
	PyObject *tuple = PyTuple_New(count);

	for (Py_ssize_t i = 0; i < count; i++) {
		if (!items[i])
			Py_CLEAR(tuple);
		if (!tuple)
			Py_XDECREF(items[i]);
		else
			(void)PyTuple_SetItem(tuple, i, items[i]); /* new, and of this size */
	}
	return tuple;
}

static PyObject *
copied(const struct view *view, uint32_t record, uint64_t size, copy_call *copy)
{
	PyObject *bytes;

	if (size > IPK_LEDGER_SLAB) {
		PyErr_SetString(PyExc_SystemError, "a body in the ledger is larger than one can be");
		return NULL;
	}
	bytes = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)size);
	if (bytes && copy(&view->ledger, record, PyBytes_AsString(bytes), size)) {
		PyErr_SetString(PyExc_SystemError, "a body in the ledger is not where its record says");
		Py_CLEAR(bytes);
	}
	return bytes;
}

PyObject *
ledger_body(const struct view *view, uint32_t record, uint64_t size)
{
	return copied(view, record, size, ipk_ledger_copy_body);
}

PyObject *
ledger_result(const struct view *view, uint32_t record, uint64_t size)
{
	return copied(view, record, size, ipk_ledger_copy_result);
}

PyObject *
ledger_encode(PyObject *encode, PyObject *protocol, PyObject *data)
{
	PyObject *body = protocol == Py_None
				 ? PyObject_CallFunctionObjArgs(encode, data, NULL)
				 : PyObject_CallFunctionObjArgs(encode, data, protocol, NULL);

	if (body && !PyBytes_Check(body)) {
		PyErr_SetString(PyExc_TypeError, "what encodes data must return bytes");
		Py_CLEAR(body);
	}
	return body;
}

PyObject *
ledger_decode(PyObject *bytes, PyObject *decode)
{
	PyObject *data = bytes ? PyObject_CallFunctionObjArgs(decode, bytes, NULL) : NULL;

	Py_XDECREF(bytes);
	return data;
}

PyObject *
ledger_job(const struct ipk_ledger_lease *lease, const struct ipk_ledger_task *task, PyObject *body)
{
	return ledger_tuple(8, (PyObject *[]){
				       PyLong_FromUnsignedLong(lease->record),
				       PyLong_FromUnsignedLongLong(task->id),
				       PyLong_FromUnsignedLong(task->attempt),
				       PyLong_FromUnsignedLong(task->source),
				       PyLong_FromUnsignedLong(task->flags),
				       body,
				       PyLong_FromUnsignedLongLong(task->body_size),
				       PyLong_FromLongLong(task->began),
			       });
}

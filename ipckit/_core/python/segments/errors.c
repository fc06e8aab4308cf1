/*
 * python/segments/errors.c - the error classes, and why a thread cannot join a segment.
 *
 * Owns      the error classes, set once (one interpreter only).  Stands on membership.c.
 * Blocks    segment_join, while another thread or process joins or leaves; signals are handled.
 */
#include "python/segments/segment.h"

#include <errno.h>
#include <unistd.h>

PyObject *segment_misuse;
PyObject *segment_timeout;
PyObject *segment_deadlock;
PyObject *segment_corrupt;
PyObject *segment_internal;
static PyObject *from_errno;

int
segment_errors_setup(void)
{
	static const struct {
		const char *name;
		PyObject **place;
	} wanted[] = {
		{"MisuseError", &segment_misuse}, {"WaitTimeout", &segment_timeout},
		{"SegmentCorrupt", &segment_corrupt},  {"InternalError", &segment_internal},
		{"from_errno", &from_errno},   {"DeadlockError", &segment_deadlock},
	};
	PyObject *module = PyImport_ImportModule("ipckit.errors");

	for (size_t i = 0; module && i < sizeof(wanted) / sizeof(wanted[0]); i++) {
		*wanted[i].place = PyObject_GetAttrString(module, wanted[i].name);
		if (!*wanted[i].place)
			Py_CLEAR(module);
	}
	Py_XDECREF(module);
	return module ? 0 : -1;
}

int
segment_raise(PyObject *error)
{
	if (error) {
		PyErr_SetObject((PyObject *)Py_TYPE(error), error);
		Py_DECREF(error);
	}
	return -1;
}

int
segment_raise_errno(int code, const char *call, const char *detail)
{
	return segment_raise(PyObject_CallFunction(from_errno, "sis", call, -code, detail));
}

struct ipk_party *
segment_join(struct segment *segment)
{
	struct ipk_party *party;
	int code = 0;

	while (!(party = segment_party(segment, &code)) && code == -EINTR)
		if (PyErr_CheckSignals() < 0)
			return NULL;
	if (party)
		return party;
	if (code == -ESHUTDOWN)
		PyErr_SetString(segment_misuse,
				"another thread closed this object during the call; open it again");
	else if (code == -EUSERS)
		(void)segment_raise_errno(code, "join", "512 living threads write to it already");
	else if (code == -ETOOMANYREFS)
		(void)segment_raise_errno(-EMFILE, "join",
				  "this thread writes to 1024 shared segments already; close some");
	else if (code == -EMFILE || code == -ENFILE)
		(void)segment_raise_errno(
		    code, "join",
		    code == -EMFILE
			? "a thread needs one descriptor for a moment when it first writes to a shared "
			  "segment; close some, or raise ulimit -n"
			: "a thread needs one open file for a moment when it first writes to a shared "
			  "segment; raise fs.file-max (sysctl)");
	else if (code != -ENOENT && code != -ESTALE && code != -EBADF)
		(void)segment_raise_errno(code, "join", "a shared segment, to take a slot of its threads");
	else
		(void)segment_raise_errno(
		    code, "join",
		    access("/proc/self/fd", X_OK) == 0
			? "the segment's descriptor was closed"
			: "a shared segment is opened by /proc/self/fd, and there is no /proc; mount "
			  "it: mount -t proc proc /proc");
	return NULL;
}

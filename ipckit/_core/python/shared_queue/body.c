/*
 * python/shared_queue/body.c - a held message's body as one piece of memory, and its views.
 *
 * Owns      start, mapped, view, exports of a struct held; the end of one that is clearing.
 * Stands on shared_queue/, python/segments, mmap(2).  State  none.  Blocks  never.
 *
 * L1 and L2 of held.c. The end of a message is here as well, as the release of a view may bring it.
 */
#include "python/shared_queue/held.h"

#include <errno.h>
#include <sys/mman.h>

/* Map the parts of a body beside each other. 0, -errno. */
static int
map_parts(struct held *held, uint64_t size)
{
	const struct ipk_queue *queue = &held->segment->queue;
	struct ipk_queue_extent extent = {.total = size};
	uint64_t bytes = (size + IPK_QUEUE_PAGE - 1) / IPK_QUEUE_PAGE * IPK_QUEUE_PAGE;
	unsigned char *place = mmap(NULL, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int more = 1;

	if (place == MAP_FAILED)
		return -errno;
	while (more > 0 && (more = ipk_queue_next_extent(queue, held->lease.record, &extent)) > 0) {
		uint64_t part = (extent.size + IPK_QUEUE_PAGE - 1) / IPK_QUEUE_PAGE * IPK_QUEUE_PAGE;
		off_t offset = extent.start - (unsigned char *)held->segment->base;

		if (extent.offset % IPK_QUEUE_PAGE || part > bytes - extent.offset)
			more = -EUCLEAN; /* the segment changes under us */
		else if (mmap(place + extent.offset, part, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED,
			 held->segment->registry.fd, offset) == MAP_FAILED)
			more = -errno;
	}
	if (more < 0) {
		(void)munmap(place, bytes);
		return more;
	}
	held->start = held->mapped = place;
	return 0;
}

/* Where the body is, in one part. 0, -errno. */
int
held_find_body(struct held *held)
{
	const struct ipk_queue *queue = &held->segment->queue;
	struct ipk_queue_extent extent = {0};
	int code = ipk_queue_message_of(queue, &held->lease, &held->message);

	extent.total = held->message.size;
	if (code == 0)
		code = ipk_queue_next_extent(queue, held->lease.record, &extent);
	if (code < 0)
		return code;
	held->start = extent.start; /* of an empty body: the record's */
	return extent.size == held->message.size ? 0 : map_parts(held, held->message.size);
}

/* -- views -- */

int
held_get_buffer(PyObject *self, Py_buffer *view, int flags)
{
	struct held *held = (struct held *)self;

	if (!held->segment || held->clearing || held->forks != segment_forks()) {
		view->obj = NULL;
		PyErr_SetString(PyExc_BufferError, "the message is over: its memory is not ours");
		return -1;
	}
	if (PyBuffer_FillInfo(view, self, held->start, (Py_ssize_t)held->message.size,
			      !held->writable, flags) < 0)
		return -1;
	held->exports++;
	return 0;
}

void
held_forget(struct held *held)
{
	struct segment *segment = held->segment;

	if (held->mapped)
		(void)munmap(held->mapped, (held->message.size + IPK_QUEUE_PAGE - 1) /
						   IPK_QUEUE_PAGE * IPK_QUEUE_PAGE);
	held->mapped = NULL;
	held->segment = NULL;
	/* After the queue's close() nothing else gives this thread's slot back. */
	if (LOAD_ACQUIRE(&segment->handles) == 0 && !segment_is_entered(segment))
		(void)segment_release_slot(segment);
	segment_drop(segment);
}

/* L2. The last view is gone. What cannot be freed now, as all slots are taken, is freed by the process
 * that finds its thread dead. */
static void
end_clearing(struct held *held)
{
	PyObject *kind;
	PyObject *error;
	PyObject *trace;
	struct ipk_party *party;

	PyErr_Fetch(&kind, &error, &trace);
	party = segment_join(held->segment);
	if (party)
		ipk_queue_end_clearing(&held->segment->queue, party, &held->lease);
	PyErr_Restore(kind, error, trace);
	held_forget(held);
}

void
held_release_buffer(PyObject *self, Py_buffer *view)
{
	struct held *held = (struct held *)self;

	(void)view;
	held->exports--;
	if (held->exports == 0 && held->clearing && held->segment && held->forks == segment_forks())
		end_clearing(held);
}

/* The memoryview that was given out last, if it lives; *view NULL: it does not. 0, -1 raised. */
static int
living_view(const struct held *held, PyObject **view)
{
	*view = NULL;
	if (!held->view)
		return 0;
	*view = PyObject_CallNoArgs(held->view);
	if (*view == Py_None)
		Py_CLEAR(*view);
	return PyErr_Occurred() ? -1 : 0;
}

/* body, buffer: the memoryview, the same one as long as it lives. It refers to this object, which has a
 * weak reference alone. */
PyObject *
held_view(PyObject *self, void *unused)
{
	struct held *held = (struct held *)self;
	PyObject *weak;
	PyObject *view;

	(void)unused;
	if (living_view(held, &view) < 0 || view)
		return view;
	view = PyMemoryView_FromObject(self);
	weak = view ? PyWeakref_NewRef(view, NULL) : NULL;
	if (!weak) {
		Py_XDECREF(view);
		return NULL;
	}
	Py_XDECREF(held->view);
	held->view = weak;
	return view;
}

int
held_release_view(struct held *held)
{
	PyObject *view;
	PyObject *released;

	if (living_view(held, &view) < 0)
		return -1;
	if (view) {
		released = PyObject_CallMethod(view, "release", NULL);
		Py_DECREF(view);
		if (!released && !PyErr_ExceptionMatches(PyExc_BufferError))
			return -1;
		Py_XDECREF(released);
		PyErr_Clear();
	}
	if (held->exports == 0)
		return 0;
	PyErr_SetString(PyExc_BufferError, "a view of the message's memory is in use: release it "
					   "first (memoryview.release(), or del the array)");
	return -1;
}

/*
 * python/shared_queue/body.c - a held message's body as one piece of memory, and its views.
 *
 * Owns      start, mapped, view, exports of a struct held; the end of one that is clearing.
 * Stands on shared_queue/, python/segments, mmap(2).  State  none.  Blocks  never.
 *
 * L1 and L2 of held.c. The end of a message is here as well, as the release of a view may bring it.
 */
#include "python/shared_queue/held.h"
#include "python/threads.h"

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

		if (extent.offset % IPK_QUEUE_PAGE || part > bytes - extent.offset)
			more = -EUCLEAN; /* the segment changes under us */
		else if (mremap(extent.start, 0, part, MREMAP_MAYMOVE | MREMAP_FIXED,
				place + extent.offset) == MAP_FAILED) /* 0: the old one stays */
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
	int code = -1;

	BEGIN_EXCLUSIVE(self)
	if (!held->segment || held->clearing || held->forks != segment_forks()) {
		view->obj = NULL;
		PyErr_SetString(PyExc_BufferError, "the message is over: its memory is not ours");
	} else {
		code = PyBuffer_FillInfo(view, self, held->start, (Py_ssize_t)held->message.size,
					 !held->writable, flags);
		held->exports += code == 0;
	}
	END_EXCLUSIVE()
	return code;
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
	struct segment *segment = held->segment;
	struct ipk_party *party;
	int code;

	segment_keep(segment);
	party = segment_party(segment, &code); /* it handles no signals: this may be a destructor */
	if (held->segment && held->forks == segment_forks()) {
		if (party)
			ipk_queue_end_clearing(&segment->queue, party, &held->lease);
		held_forget(held);
	}
	segment_drop(segment);
}

void
held_release_buffer(PyObject *self, Py_buffer *view)
{
	struct held *held = (struct held *)self;

	(void)view;
	BEGIN_EXCLUSIVE(self)
	held->exports--;
	if (held->exports == 0 && held->clearing && held->segment && held->forks == segment_forks())
		end_clearing(held);
	END_EXCLUSIVE()
}

/* The memoryview that was given out last, if it lives and is not released; *view NULL: it does not. 0,
 * -1 raised. */
static int
living_view(const struct held *held, PyObject **view)
{
	*view = NULL;
	if (!held->view)
		return 0;
	*view = PyObject_CallNoArgs(held->view);
	if (!*view)
		return -1;
	if (*view != Py_None && PyObject_Size(*view) >= 0)
		return 0;
	Py_CLEAR(*view);
	if (PyErr_Occurred() && !PyErr_ExceptionMatches(PyExc_ValueError))
		return -1;
	PyErr_Clear(); /* ValueError: it is released */
	return 0;
}

static PyObject *
view_of(struct held *held)
{
	PyObject *weak;
	PyObject *view;

	if (living_view(held, &view) < 0 || view)
		return view;
	view = PyMemoryView_FromObject((PyObject *)held);
	weak = view ? PyWeakref_NewRef(view, NULL) : NULL;
	if (!weak) {
		Py_XDECREF(view);
		return NULL;
	}
	Py_XDECREF(held->view);
	held->view = weak;
	return view;
}

/* body, buffer: the memoryview, the same one as long as it lives. It refers to this object, which has a
 * weak reference alone. */
PyObject *
held_view(PyObject *self, void *unused)
{
	PyObject *view;

	(void)unused;
	BEGIN_EXCLUSIVE(self)
	view = view_of((struct held *)self);
	END_EXCLUSIVE()
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
	return 0;
}

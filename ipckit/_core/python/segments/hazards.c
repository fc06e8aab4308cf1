/*
 * python/segments/hazards.c - hazard pointers: a segment stays mapped while a call is inside it.
 *
 * Owns      each thread's hazard pointers; the list of retired segments.
 * Stands on mapping.c, which unmaps.
 * State     `own_hazards` (per thread), `all_hazards`, `retired_segments` under `retired_mutex`.
 * Blocks    never.
 * Source    Michael, "Hazard Pointers: Safe Memory Reclamation for Lock-Free Objects", 2004.
 *
 * Invariants
 *   Z1  A call that is inside a segment has it in a hazard pointer of its thread. It stores the
 *       pointer, and then loads the handle's pointer again: when both are equal, a close() that
 *       follows finds the hazard pointer.
 *   Z2  A segment without users is retired, and unmapped when it is in no hazard pointer. The close
 *       that retires it looks, and so does each call that leaves while a segment is retired.
 *   Z3  A thread's hazard pointers outlive the thread: the next thread takes them over.
 * With a GIL, a thread that ends without it may retire a segment between the two steps of a call
 * that leaves. The segment is unmapped by the next call that leaves a table, or by the next close.
 * Fork      in the child the hazard pointers of all other threads are empty.
 */
#include "python/segments/segment.h"
#include "python/threads.h"

#include <pthread.h>
#include <stdlib.h>

__thread struct hazards *own_hazards __attribute__((tls_model("initial-exec")));
struct segment *retired_segments;   /* changed under the mutex */
static struct hazards *all_hazards; /* atomic: grows only */
static pthread_mutex_t retired_mutex = PTHREAD_MUTEX_INITIALIZER;

/* The calling thread's; NULL: no memory. */
static struct hazards *
take_hazards(void)
{
	struct hazards *each = LOAD_ACQUIRE(&all_hazards);

	for (; each; each = each->next)
		if (LOAD_RELAXED(&each->taken) == 0 && EXCHANGE(&each->taken, 1) == 0)
			return each;
	each = calloc(1, sizeof(*each));
	if (!each)
		return NULL;
	each->taken = 1;
	each->next = LOAD_ACQUIRE(&all_hazards);
	while (!COMPARE_EXCHANGE(&all_hazards, &each->next, each))
		;
	return each;
}

void
hazards_end_thread(void)
{
	struct hazards *mine = own_hazards;

	own_hazards = NULL;
	if (mine) {
		/* A thread that Python ends in a wait (at the interpreter's end) is inside a call. */
		while (mine->depth > 0)
			STORE_RELEASE(&mine->segment[--mine->depth], NULL);
		STORE_RELEASE(&mine->taken, 0);
	}
}

void
hazards_before_fork(void)
{
	(void)pthread_mutex_lock(&retired_mutex);
}

void
hazards_after_fork_in_parent(void)
{
	(void)pthread_mutex_unlock(&retired_mutex);
}

void
hazards_after_fork_in_child(void)
{
	(void)pthread_mutex_unlock(&retired_mutex);
	for (struct hazards *each = all_hazards; each; each = each->next) {
		if (each == own_hazards)
			continue;
		for (int i = 0; i < DEEPEST_CALL; i++)
			each->segment[i] = NULL;
		each->depth = 0;
		each->taken = 0;
	}
}

static int
is_hazard(const struct segment *segment)
{
	for (struct hazards *each = LOAD_ACQUIRE(&all_hazards); each; each = each->next)
		for (int i = 0; i < DEEPEST_CALL; i++)
			if (LOAD_SEQ_CST(&each->segment[i]) == segment)
				return 1;
	return 0;
}

void
hazards_reclaim(void)
{
	struct segment *unused = NULL;
	struct segment **link = &retired_segments;
	struct segment *each;

	(void)pthread_mutex_lock(&retired_mutex);
	while ((each = *link)) {
		if (is_hazard(each)) {
			link = &each->next_retired;
			continue;
		}
		STORE_RELAXED(link, each->next_retired);
		each->next_retired = unused;
		unused = each;
	}
	(void)pthread_mutex_unlock(&retired_mutex);
	while ((each = unused)) {
		unused = each->next_retired;
		segment_unmap(each);
	}
}

void
segment_retire(struct segment *segment)
{
	(void)pthread_mutex_lock(&retired_mutex);
	segment->next_retired = retired_segments;
	PUBLISH(&retired_segments, segment);
	(void)pthread_mutex_unlock(&retired_mutex);
	hazards_reclaim();
}

struct hazards *
hazards_ready(void)
{
	if (!own_hazards) {
		own_hazards = take_hazards();
		if (!own_hazards) {
			(void)PyErr_NoMemory();
			return NULL;
		}
		membership_ends_with_thread();
	}
	if (own_hazards->depth < DEEPEST_CALL)
		return own_hazards;
	PyErr_Format(PyExc_RecursionError, "%d calls of tables run inside each other in this thread",
		     DEEPEST_CALL);
	return NULL;
}

int
segment_is_entered(const struct segment *segment)
{
	for (int i = 0; own_hazards && i < own_hazards->depth; i++)
		if (own_hazards->segment[i] == segment)
			return 1;
	return 0;
}

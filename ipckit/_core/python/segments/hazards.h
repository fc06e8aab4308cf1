/*
 * python/segments/hazards.h - hazard pointers: a segment stays mapped while a call is inside it.
 *
 * Each call of a table enters and leaves, so both are inline. hazards.c has the invariants.
 */
#ifndef IPK_PYTHON_SEGMENTS_HAZARDS_H
#define IPK_PYTHON_SEGMENTS_HAZARDS_H

#include "python/threads.h"

enum { DEEPEST_CALL = 64 }; /* calls inside each other: Python code that a call runs makes the next */

struct segment;

/* One thread's. */
struct hazards {
	struct hazards *next; /* of all threads */
	int taken;	      /* atomic: by a living thread */
	int depth;
	struct segment *segment[DEEPEST_CALL];
};

extern __thread struct hazards *own_hazards __attribute__((tls_model("initial-exec")));
extern struct segment *retired_segments; /* atomic */

/* The calling thread's, with room for one more; NULL: raised, MemoryError or RecursionError. */
struct hazards *hazards_ready(void);
/* Unmap the retired segments that no call is inside of. */
void hazards_reclaim(void);
/* A segment has no users any more: unmap it when no call is inside it. */
void segment_retire(struct segment *segment);
/* Whether a call of this thread is inside it. */
int segment_is_entered(const struct segment *segment);
void hazards_end_thread(void);
void hazards_before_fork(void);
void hazards_after_fork_in_parent(void);
void hazards_after_fork_in_child(void);

/* Enter the segment that a handle has, until segment_leave(). NULL: the handle has none (no
 * exception), or raised: MemoryError, RecursionError. */
static inline struct segment *
segment_enter(struct segment *const *place)
{
	struct hazards *mine = own_hazards;
	struct segment *segment;

	if (!mine || mine->depth == DEEPEST_CALL) {
		mine = hazards_ready();
		if (!mine)
			return NULL;
	}
	do {
		segment = LOAD_ACQUIRE(place);
		if (!segment) {
			STORE_RELEASE(&mine->segment[mine->depth], NULL);
			return NULL;
		}
		PUBLISH(&mine->segment[mine->depth], segment);
	} while (LOAD_ACQUIRE(place) != segment);
	mine->depth++;
	return segment;
}

/* Leave the segment that this thread entered last. */
static inline void
segment_leave(void)
{
	struct hazards *mine = own_hazards;

	mine->depth--;
	PUBLISH(&mine->segment[mine->depth], NULL);
	if (LOAD_ACQUIRE(&retired_segments))
		hazards_reclaim();
}

#endif

/*
 * python/segments/segment.h - shared segments in this process, and its threads in them.
 *
 * python/segments/ is what the doors of tables and of locks have in common: mapping a segment,
 * joining it, and the error classes.
 */
#ifndef IPK_PYTHON_SEGMENTS_SEGMENT_H
#define IPK_PYTHON_SEGMENTS_SEGMENT_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "locks/arena.h"
#include "python/segments/hazards.h"
#include "shared_queue/shared_queue.h"
#include "table/table.h"

enum segment_kind { SEGMENT_TABLE, SEGMENT_ARENA, SEGMENT_QUEUE };

/* A mapped segment, shared by the handles and the threads of this process. */
struct segment {
	enum segment_kind kind;
	union {
		struct ipk_table table;
		struct ipk_sync sync;
		struct ipk_queue queue;
	};
	struct ipk_registry registry;
	uint32_t *woken; /* of a queue: what its core remembers for this process */
	void *base;
	uint64_t bytes;
	long handles; /* atomic: those that are open */
	long users;   /* atomic: they, and the threads that have a slot; retired at 0 */
	struct segment *next_retired;
};

/* -- mapping.c -- */

/* The segment of a file; `cells`: of an arena. Takes over `fd` when it succeeds. NULL: *code is
 * -errno, *why a text or NULL. */
struct segment *segment_open(int fd, enum segment_kind kind, uint32_t cells, int *code,
			     const char **why);
/* One more user: of a segment that has one already. */
void segment_keep(struct segment *segment);
/* The same of any segment that the caller is inside. 1; 0: it has none, so it is closed, and unmapped
 * when all calls have left. */
int segment_try_keep(struct segment *segment);
void segment_drop(struct segment *segment);
/* A handle is closed. Threads that have a slot give it back when they next join something. */
void segment_close(struct segment *segment);
/* For hazards.c: unmap a retired segment, and close its descriptor. */
void segment_unmap(struct segment *segment);

/* -- membership.c: which slots the threads of this process have -- */

/* Once per process. 0, or an errno. */
int membership_setup(void);
/* Close the descriptor of a segment that is unmapped, if the number is still that of its file. */
void segment_close_descriptor(const struct ipk_registry *registry);
/* At the calling thread's end its slots and its hazard pointers are given back. */
void membership_ends_with_thread(void);
/* The calling thread's party, joined at its first call; NULL with *code = -errno (-EINTR: look at
 * the signal, call again; -ESHUTDOWN: another thread has closed the segment; -ETOOMANYREFS: the thread
 * has joined as many segments as it may). Gives the GIL away
 * while it joins. */
struct ipk_party *segment_party(struct segment *segment, int *code);
/* The same, if it has joined. */
struct ipk_party *segment_party_if_any(struct segment *segment);
/* As segment_party(), of a thread that Python does not know; it has no signals. */
struct ipk_party *segment_party_of_c_thread(struct segment *segment, int *code);
/* How many forks are between this process and the one that loaded the module. */
uint32_t segment_forks(void);
/* The calling thread gives its slot back. 0, -EBUSY: it holds a row's lock; or another -errno. */
int segment_release_slot(struct segment *segment);

/* -- errors.c -- */

extern PyObject *segment_misuse;   /* ipckit.errors.MisuseError */
extern PyObject *segment_timeout;  /* ipckit.errors.WaitTimeout */
extern PyObject *segment_deadlock; /* ipckit.errors.DeadlockError */
extern PyObject *segment_corrupt;  /* ipckit.errors.SegmentCorrupt */
extern PyObject *segment_internal; /* ipckit.errors.InternalError */
/* Once per process: the errors. 0, or -1 raised. */
int segment_errors_setup(void);
/* Raise what a Python function of ours returns. Steals the reference; -1. */
int segment_raise(PyObject *error);
/* Raise the error of a system call's -errno; -1. */
int segment_raise_errno(int code, const char *call, const char *detail);
/* The thread's party in the segment; a wait for it handles signals. NULL: raised.
 * Python code ends the life of a party: it may fork, and the child joins for itself. So a call joins
 * after its last Python code, and again after each that a wait brings. */
struct ipk_party *segment_join(struct segment *segment);

#endif

/*
 * python/ledger/view.h - what the files of the extension `_ledger` share.
 *
 * python/ledger/ is the door to the task ledger: the module _ledger.
 *
 * `_ledger` is the one door to the task ledger (ledger/ledger.h): its type Ledger is a process's view
 * of it. A task is named by its record; the word that it had when this process took it into its
 * hands is kept here, so a step that comes too late is refused by the core.
 *
 * The GIL is held during a call of the core, which never waits; spin() gives it away.
 */
#ifndef IPK_PYTHON_LEDGER_VIEW_H
#define IPK_PYTHON_LEDGER_VIEW_H

#include "ledger/ledger.h"
#include "python/arguments.h"

enum { LEDGER_ENDS = 256 }; /* collected in one call, at most */

/* How far a call is that is left to Python. */
enum ledger_stage { LEDGER_BEGUN = 1, LEDGER_RETURNED, LEDGER_ENDED, LEDGER_UNTOLD, LEDGER_FORKED };

struct view {
	PyObject_HEAD
	struct ipk_ledger ledger;
	Py_buffer memory;
	int *wakeups;
	uint32_t *woken_in;
	uint32_t *recent;
	uint32_t rests; /* so many spins are left out */
	uint64_t *word; /* of each record in our hands */
	Py_buffer row;
	uint64_t *busy_since; /* since when an attempt runs, in ns; 0: none does. NULL: not kept */
	uint64_t *attempts;   /* how many of ours ended */
	uint64_t *attempt_ns; /* and how long they took */
	struct ipk_ledger_lease hand; /* the task that Python code is run for */
	int in_hand;		     /* there is one */
	int unread;		     /* it failed while its data, or its result, was read */
	int forked;		     /* by a callback: nothing here is this process's */
	PyObject *given;	     /* the result that finish() gave; NULL: none */
	struct ipk_ledger_lease ends[LEDGER_ENDS];
	uint32_t collected; /* of `ends` */
	uint32_t delivered; /* of these */
	Py_buffer stop;	    /* a word; not 0: nothing is posted. Not kept: obj NULL */
};

#define LEDGER_FAST(name)                                                                          \
	PyObject *name(PyObject *self, PyObject *const *args, Py_ssize_t count)

/* A call without arguments and without a result. */
#define LEDGER_AS_IN_CORE(name)                                                                    \
	PyObject *ledger_##name(PyObject *self, PyObject *unused)                                  \
	{                                                                                          \
		(void)unused;                                                                      \
		ipk_ledger_##name(&((struct view *)self)->ledger);                                 \
		Py_RETURN_NONE;                                                                    \
	}

/* -- job.c -- */

/* A call of the core that puts bytes into a record. */
typedef int ledger_put_call(struct ipk_ledger *ledger, uint32_t record, const void *bytes,
			    uint64_t size);
/* A call of the core that changes a lease. */
typedef int ledger_lease_call(struct ipk_ledger *ledger, struct ipk_ledger_lease *lease);

/* The record named by an argument; -1: raised. */
int64_t ledger_record(const struct view *view, PyObject *argument);
/* The same of args[0], with the unsigned numbers that follow it, as many as are wanted. */
int64_t ledger_record_and_numbers(const struct view *view, PyObject *const *args, Py_ssize_t count,
				  uint64_t *numbers, Py_ssize_t wanted);
/* The same of args[0], with the bytes of args[1]. */
int64_t ledger_record_and_bytes(const struct view *view, PyObject *const *args, Py_ssize_t count,
				char **bytes, uint64_t *size);
/* Put bytes in: (record, bytes) -> whether there was room; NULL: raised. */
PyObject *ledger_put_bytes(PyObject *self, PyObject *const *args, Py_ssize_t count,
			   ledger_put_call *put);
/* The lease of a record in our hands. */
struct ipk_ledger_lease ledger_lease(const struct view *view, int64_t record);
/* Keep the word of what is in our hands now. */
void ledger_keep(struct view *view, const struct ipk_ledger_lease *lease);
/* Call the core with the lease of a record in our hands, and keep the lease. Returns its result. */
int ledger_step(struct view *view, int64_t record, ledger_lease_call *call);
/* The body of a task, or its result, as bytes; NULL: raised. */
PyObject *ledger_body(const struct view *view, uint32_t record, uint64_t size);
PyObject *ledger_result(const struct view *view, uint32_t record, uint64_t size);
/* A tuple of these, whose references it takes over; NULL: one of them was NULL, or no memory. */
PyObject *ledger_tuple(Py_ssize_t count, PyObject *const *items);
/* Data as a body, by encode(data) or encode(data, protocol); NULL: raised. */
PyObject *ledger_encode(PyObject *encode, PyObject *protocol, PyObject *data);
/* What decode() makes of bytes, whose reference it takes over; NULL: raised. */
PyObject *ledger_decode(PyObject *bytes, PyObject *decode);
/* What claim() tells of a task; `body` goes over to the tuple. */
PyObject *ledger_job(const struct ipk_ledger_lease *lease, const struct ipk_ledger_task *task,
		     PyObject *body);

/* -- submit.c -- */
LEDGER_FAST(ledger_submit);
PyObject *ledger_take(PyObject *self, PyObject *unused);
LEDGER_FAST(ledger_put);
LEDGER_FAST(ledger_spill_body);
LEDGER_FAST(ledger_order);
LEDGER_FAST(ledger_dedup);
LEDGER_FAST(ledger_publish);
LEDGER_FAST(ledger_ask_for);
LEDGER_FAST(ledger_post);
PyObject *ledger_watch_stop(PyObject *self, PyObject *word);
PyObject *ledger_request_wakeup(PyObject *self, PyObject *unused);
PyObject *ledger_request_room(PyObject *self, PyObject *unused);
LEDGER_FAST(ledger_has_room);
PyObject *ledger_outstanding(PyObject *self, PyObject *unused);

/* -- results.c -- */
PyObject *ledger_collect(PyObject *self, PyObject *most);
PyObject *ledger_begin_delivery(PyObject *self, PyObject *record);
PyObject *ledger_deliveries(PyObject *self, PyObject *record);
LEDGER_FAST(ledger_deliver);

/* -- run.c -- */
LEDGER_FAST(ledger_run);
PyObject *ledger_in_hand(PyObject *self, PyObject *unused);
PyObject *ledger_unread(PyObject *self, PyObject *unused);
PyObject *ledger_forked(PyObject *self, PyObject *unused);
PyObject *ledger_give(PyObject *self, PyObject *result);
PyObject *ledger_given(PyObject *self, PyObject *unused);

/* -- attempt.c -- */

/* A task was claimed: read it, and account for it. */
void ledger_attempt_begins(struct view *view, const struct ipk_ledger_lease *lease,
			   struct ipk_ledger_task *task);
/* Count it, before anybody can hear of its end; the second time does nothing. */
void ledger_attempt_ends(struct view *view);
LEDGER_FAST(ledger_account);

/* -- claim.c -- */
PyObject *ledger_claim(PyObject *self, PyObject *unused);
LEDGER_FAST(ledger_begin);
LEDGER_FAST(ledger_put_result);
LEDGER_FAST(ledger_spill_result);
LEDGER_FAST(ledger_flag);
PyObject *ledger_done(PyObject *self, PyObject *record);
LEDGER_FAST(ledger_done_with);
LEDGER_FAST(ledger_retry);
PyObject *ledger_bury(PyObject *self, PyObject *record);
PyObject *ledger_spin(PyObject *self, PyObject *ns);
PyObject *ledger_sleep(PyObject *self, PyObject *unused);
PyObject *ledger_wake(PyObject *self, PyObject *unused);
PyObject *ledger_pass_on(PyObject *self, PyObject *unused);
PyObject *ledger_end(PyObject *self, PyObject *record);
PyObject *ledger_clear(PyObject *self, PyObject *record);
/* end() and clear(), where there are no files to remove in between. */
PyObject *ledger_release(PyObject *self, PyObject *record);

/* -- manager.c -- */
PyObject *ledger_sweep(PyObject *self, PyObject *place);
LEDGER_FAST(ledger_next);
PyObject *ledger_written_down(PyObject *self, PyObject *record);
PyObject *ledger_wake_due(PyObject *self, PyObject *now);
LEDGER_FAST(ledger_move);
PyObject *ledger_recover(PyObject *self, PyObject *unused);
PyObject *ledger_look(PyObject *self, PyObject *record);
PyObject *ledger_totals(PyObject *self, PyObject *unused);
PyObject *ledger_verify(PyObject *self, PyObject *unused);

#endif

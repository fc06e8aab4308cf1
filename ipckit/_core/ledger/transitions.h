/*
 * ledger/transitions.h - a task's state machine as one table: which call takes a word from which
 * state to which, and who may make it.
 *
 * The calls ask it before they change a word (ipk_ledger_may); every other state is refused. A
 * build without NDEBUG checks each change against it. tests/unit/test_ledger_transitions.py tries
 * every state with every call, and docs/design/task-states.md is drawn from it.
 */
#ifndef IPK_LEDGER_TRANSITIONS_H
#define IPK_LEDGER_TRANSITIONS_H

#include "ledger/ledger.h"

enum ipk_ledger_who {
	IPK_LEDGER_ANYBODY,
	IPK_LEDGER_SUBMITTER,	/* the place that the record names */
	IPK_LEDGER_TASK_WORKER, /* one that the task is for */
	IPK_LEDGER_OWNER,	/* the word's owner; for a dead one the manager */
	IPK_LEDGER_MANAGER,
};

/* A row for each call: number, name, by, from, to. A call with two rows does what fits. */
#define IPK_LEDGER_TRANSITIONS(ROW)                                                                \
	ROW(TAKE, "take", ANYBODY, IN(FREE), IN(WRITING))                                          \
	ROW(PUBLISH, "publish", OWNER, IN(WRITING), IN(BLOCKED) | IN(DELAYED) | IN(QUEUED))        \
	ROW(LET_THROUGH, "let through", ANYBODY, IN(BLOCKED), IN(QUEUED))                          \
	ROW(WAKE_DUE, "wake due", MANAGER, IN(DELAYED), IN(BLOCKED) | IN(QUEUED))                  \
	ROW(CLAIM, "claim", TASK_WORKER, IN(QUEUED), IN(RUNNING))                                  \
	ROW(BEGIN, "begin", OWNER, IN(WRITING), IN(RUNNING))                                       \
	ROW(DONE, "done", OWNER, IN(RUNNING), IN(DONE) | IN(CLEARING))                             \
	ROW(RETRY, "retry", OWNER, IN(RUNNING) | IN(DELIVERING),                                   \
	    IN(BLOCKED) | IN(DELAYED) | IN(QUEUED))                                                \
	ROW(BURY, "bury", OWNER, IN(RUNNING) | IN(DELIVERING), IN(BURIED))                         \
	ROW(WRITTEN_DOWN, "written down", MANAGER, IN(BURIED), IN(DONE) | IN(CLEARING))            \
	ROW(COLLECT, "collect", SUBMITTER, IN(DONE), IN(DELIVERING))                               \
	ROW(END, "end", OWNER, IN(WRITING) | IN(DELIVERING), IN(CLEARING))                         \
	ROW(CLEAR, "clear", OWNER, IN(CLEARING), IN(FREE))                                         \
	ROW(SWEEP, "sweep", MANAGER, IN(WRITING) | IN(CLEARING), IN(CLEARING))                     \
	ROW(SWEEP_TOLD, "sweep", MANAGER, IN(DELIVERING), IN(DONE))

#define IPK_LEDGER_ROW(number, name, who, from, to) IPK_LEDGER_CALL_##number,
enum ipk_ledger_call { IPK_LEDGER_TRANSITIONS(IPK_LEDGER_ROW) IPK_LEDGER_CALLS };
#undef IPK_LEDGER_ROW

struct ipk_ledger_transition {
	const char *call;
	enum ipk_ledger_who who;
	uint32_t from; /* sets of states: 1 << state */
	uint32_t to;
};

#define IN(state) (1u << IPK_LEDGER_##state)
#define IPK_LEDGER_ROW(number, name, who, from, to) {name, IPK_LEDGER_##who, from, to},
static const struct ipk_ledger_transition ipk_ledger_transitions[IPK_LEDGER_CALLS] = {
	IPK_LEDGER_TRANSITIONS(IPK_LEDGER_ROW)};
#undef IPK_LEDGER_ROW
#undef IN

#endif

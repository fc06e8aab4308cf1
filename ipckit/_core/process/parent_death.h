/*
 * process/parent_death.h - a child that does not outlive its manager.
 */
#ifndef IPK_PROCESS_PARENT_DEATH_H
#define IPK_PROCESS_PARENT_DEATH_H

#include "base/ipk.h"

/*
 * Tie the calling process to its parent: after the parent's death it is killed, immediately
 * (grace_ns == 0) or that long afterwards, whatever it is doing.
 *
 * parent    the pid the parent had before the fork; if it is gone already the result is -ESRCH.
 * grace_ns  nanoseconds between the parent's death and the SIGKILL.
 *
 * Call it once in the child, from its main thread, after any change of uid or gid (the kernel
 * forgets the wish then). It takes IPK_SIGNAL_PARENT_DEATH (signals.h) when grace_ns > 0.
 */
int ipk_die_with_parent(pid_t parent, int64_t grace_ns);

#endif

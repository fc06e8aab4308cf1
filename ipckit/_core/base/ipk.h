/*
 * base/ipk.h - what every file of the C core shares.
 *
 * base/ is what every other folder stands on: types, words in shared memory, the clock.
 *
 * Errors    a function returns 0 or a positive result, or -errno; it leaves errno itself alone
 *           as far as callers may care: no caller reads it.
 * State     the shared-memory folders (locks, table, ledger, sessions) have no writable globals,
 *           allocate nothing, and keep no pointers in shared memory. process/parent_death.c has two
 *           globals for its signal handler.
 * Signals   a call that a signal handler ended returns -EINTR; Python then runs its handlers and
 *           calls again with the time that is left.
 */
#ifndef IPK_BASE_IPK_H
#define IPK_BASE_IPK_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* locks/slots.h: the word of a robust mutex says that its owner died. */
#ifndef __GLIBC__
#error "ipckit needs glibc, not musl (Alpine): use an image such as debian:stable-slim"
#endif

#define IPK_CACHE_LINE 64

#endif

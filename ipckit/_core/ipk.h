/*
 * ipk.h - what every file of the C core shares.
 *
 * Errors    a function returns 0 or a positive result, or -errno; it leaves errno itself alone
 *           as far as callers may care: nobody outside reads it.
 * State     no file of the core has writable globals, allocates, or keeps pointers in shared
 *           memory.
 * Signals   a call that a signal handler ended returns -EINTR; Python then runs its handlers and
 *           calls again with the time that is left.
 */
#ifndef IPK_H
#define IPK_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define IPK_CACHE_LINE 64

#endif

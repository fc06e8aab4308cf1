/*
 * python/histogram.h - how long requests and tasks took: a histogram in the row of the process.
 *
 * python/ is the doors: one folder for each extension module's types. This header is shared by
 * ledger/ and stream/.
 *
 * Four buckets for each power of two, from 1 microsecond to 73 minutes: a time is known to a
 * quarter. What is shorter is in the first bucket, what is longer in the last one. The same bounds
 * are in ipckit.server.shared.histogram, which reads them.
 *
 * Threads   one writer, the process itself, under the GIL.  Blocks  never.
 * Crash     of the writer: every word is whole; one time may be missing.
 */
#ifndef IPK_PYTHON_HISTOGRAM_H
#define IPK_PYTHON_HISTOGRAM_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <stdint.h>

/* In words of a process's row (ipckit.server.shared.scoreboard.Row). */
enum { LATENCY_AT = 32, LATENCY_BUCKETS = 128, LATENCY_END = LATENCY_AT + LATENCY_BUCKETS };
/* One request in so many is timed; odd, so that it does not fall in step with a client's rounds. */
enum { LATENCY_EVERY = 7 };

static inline unsigned
latency_bucket(uint64_t ns)
{
	unsigned power = ns < 1024 ? 10 : 63 - (unsigned)__builtin_clzll(ns);
	unsigned bucket = (power - 10) * 4 + (ns < 1024 ? 0 : (unsigned)(ns >> (power - 2) & 3));

	return bucket < LATENCY_BUCKETS ? bucket : LATENCY_BUCKETS - 1;
}

/* A row that ends before the histogram keeps none. */
static inline void
latency_note(const Py_buffer *row, uint64_t ns)
{
	uint64_t *word = (uint64_t *)row->buf + LATENCY_AT + latency_bucket(ns);

	if ((size_t)row->len >= LATENCY_END * sizeof(uint64_t))
		__atomic_store_n(word, *word + 1, __ATOMIC_RELAXED);
}

#endif

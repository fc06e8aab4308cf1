/*
 * stream.h - what a connection does for every packet: what the files of `_stream` share.
 *
 * Stream is the base of ipckit.server.connection.Connection. It has the words that every packet
 * changes and the three steps of the usual case: bytes came, a packet is handed out, an answer is
 * sent. Whatever is unusual (a callback that runs already, raises or is a coroutine, a slow reader,
 * an end) it leaves to methods of the subclass.
 *
 * Invariants
 *   S1  `running` is set while a callback of the connection is under way, and only then.
 *   S2  READ says how many bytes were worked off: it is written when no callback is under way and
 *       the connection does not end. So a connection whose process died in a callback is not idle.
 *   S3  a byte is counted in WRITTEN before it is given to the transport.
 *   S4  answers to the packets of one read are written together: they are held while the packets
 *       are handed out, up to 64 KiB, and never beyond a step that is left to the subclass.
 *
 * Threads   the GIL is held.  Blocks  never.  State  none but the objects'.
 */
#ifndef STREAM_H
#define STREAM_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <stdint.h>

#include "latency.h"

/* Words of a session's row (ipckit.server.sessions.Word). */
enum { HEARD = 4, READ = 8, WRITTEN = 9, SESSION_WORDS = 16 };
/* Words of a process's row (ipckit.server.board.Row). */
enum {
	REQUESTS = 5,
	REQUESTS_DONE = 6,
	RESPONSES = 7,
	LAST_READ = 23,
	PROCESS_WORDS = LATENCY_END
};

struct stream {
	PyObject_HEAD
	PyObject *server;
	PyObject *session;
	PyObject *slot;
	PyObject *on_receive; /* None: the event has no callback */
	PyObject *framer;     /* None: bytes are handed out as they come */
	PyObject *feed;	      /* the framer's */
	PyObject *unread;     /* the framer's buffer: the beginning of a packet */
	PyObject *write;      /* the transport's */
	PyObject *files;      /* None, or what sends files: all else goes behind */
	PyObject *ending;     /* why it ends; "" while it is open */
	PyObject *waiting;    /* a deque of what is due after the callback under way */
	PyObject *held;	      /* NULL, or a list: what is sent while packets of one read are handed out */
	Py_ssize_t held_size; /* its bytes */
	uint64_t total;	      /* bytes read, by whoever had it */
	uint64_t began;	      /* the callback under way is timed: since when; else 0 */
	char running;
	char reader_is_slow;
	char holds;	       /* S4 */
	char heard;	    /* since the last look of the heartbeat */
	char watches;	    /* package_timeout is set */
	char counts;	    /* max_request is set */
	Py_buffer session_row; /* .obj NULL: it has no session yet */
	Py_buffer process_row;
};

/* data_received(data): asyncio calls it. */
PyObject *stream_data_received(PyObject *self, PyObject *data);
/* received(packet): a whole packet came, or bytes without a packet rule. */
PyObject *stream_received(PyObject *self, PyObject *packet);
/* settle(): what was read is worked off, but for the beginning of a packet: say so. */
PyObject *stream_settle(PyObject *self, PyObject *none);
/* timed(): the callback under way has ended; note how long it took, if it is timed. */
PyObject *stream_timed(PyObject *self, PyObject *none);
/* flush(): give the transport what is held. */
PyObject *stream_flush(PyObject *self, PyObject *none);
/* send(data, promised=False) -> whether it was taken; promised: it is counted already. */
PyObject *stream_send(PyObject *self, PyObject *const *args, Py_ssize_t given);

#endif

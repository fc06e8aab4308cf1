/*
 * python/stream/stream.h - what a connection does for every packet: what the files of `_stream`
 * share.
 *
 * python/stream/ is the server's hot path for each packet: the module _stream.
 *
 * Stream is the base of ipckit.server.connections.connection.Connection. It has the words that every packet
 * changes and the three steps of the usual case: bytes came, a packet is handed out, an answer is
 * sent. Whatever is unusual (a callback that runs already, raises or is a coroutine, a slow reader,
 * an end) it leaves to methods of the subclass, which `_stream.pyi` declares in `_Unusual`.
 *
 * Invariants
 *   S1  `running` is set while a callback of the connection is under way, and only then.
 *   S2  READ says how many bytes were worked off: it is written when no callback is under way and
 *       the connection does not end. So a connection whose process died in a callback is not idle.
 *   S3  a byte is counted in WRITTEN before it is given to the transport.
 *   S4  answers to the packets of one read are written together: they are held while the packets
 *       are handed out, up to 64 KiB, and never beyond a step that is left to the subclass.
 *   S5  packets are cut here only while the framer holds nothing; then the framer gets the rest.
 *   S6  whatever a callback raises, also SystemExit and its like, is left to the subclass: nothing
 *       of it reaches the event loop, and S1 holds.
 *   S7  once the connection is `gone`, nothing is given to the transport: send() is False. Packets
 *       that had come are still handed out.
 *   S8  bytes that come while reading is `paused` are left to the subclass, uncut.
 *
 * Threads   the GIL is held.  Blocks  never.  State  none but the objects'.
 */
#ifndef IPK_PYTHON_STREAM_STREAM_H
#define IPK_PYTHON_STREAM_STREAM_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "sessions/sessions.h"

#include "python/histogram.h"

/* Words of a session's row. */
enum {
	HEARD = IPK_SESSION_HEARD,
	READ = IPK_SESSION_READ,
	WRITTEN = IPK_SESSION_WRITTEN,
	SESSION_WORDS = IPK_SESSION_WORDS,
};
/* Words of a process's row (ipckit.server.shared.scoreboard.Row). */
enum {
	REQUESTS = 5,
	REQUESTS_DONE = 6,
	RESPONSES = 7,
	LAST_READ = 23,
	PROCESS_WORDS = LATENCY_END
};

/* How whole packets are cut (ipckit.framing.Rule). */
enum { NO_RULE, BY_EOF, BY_TAIL, BY_LENGTH };
enum { MOST_EOF = 8 };

struct rule {
	int kind;
	Py_ssize_t most; /* bytes of a packet */
	char eof[MOST_EOF];
	Py_ssize_t width; /* of eof */
	Py_ssize_t field_offset;
	Py_ssize_t field_size;
	Py_ssize_t body_offset; /* a packet is so long, and as the field says */
	char is_big;		/* the field's first byte is its highest */
	char is_signed;
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
	PyObject *waiting;    /* NULL, or a deque of what is due after the callback under way */
	PyObject *held;	      /* NULL, or a list: what is sent while packets of one read are handed out */
	Py_ssize_t held_size; /* its bytes */
	struct rule rule;     /* NO_RULE: only the framer can tell */
	uint64_t total;	      /* bytes read, by whoever had it */
	uint64_t began;	      /* the callback under way is timed: since when; else 0 */
	char running;
	char reader_is_slow;
	char holds;	       /* S4 */
	char heard;	    /* since the last look of the heartbeat */
	char watches;	    /* package_timeout is set */
	char counts;	    /* max_request is set */
	char gone;	    /* S7 */
	char paused;	    /* S8 */
	Py_buffer session_row; /* .obj NULL: it has no session yet */
	Py_buffer process_row;
};

/* Take a rule from a tuple, or from None; 0, or -1 with an exception. */
int rule_from(PyObject *object, struct rule *rule);
/* The bytes of the packet at the front of so many; 0: not whole, or the framer has to say. */
Py_ssize_t whole_packet(const struct rule *rule, const char *bytes, Py_ssize_t size);

/* data_received(data): asyncio calls it. */
PyObject *stream_data_received(PyObject *self, PyObject *data);
/* received(packet): a whole packet came, or bytes without a packet rule. */
PyObject *stream_received(PyObject *self, PyObject *packet);
/* settle(): report that what was read is worked off, except for the beginning of a packet. */
PyObject *stream_settle(PyObject *self, PyObject *none);
/* timed(): the callback under way has ended; note how long it took, if it is timed. */
PyObject *stream_timed(PyObject *self, PyObject *none);
/* flush(): give the transport what is held. */
PyObject *stream_flush(PyObject *self, PyObject *none);
/* send(data, promised=False) -> whether it was taken; promised: it is counted already. */
PyObject *stream_send(PyObject *self, PyObject *const *args, Py_ssize_t given);

#endif

/*
 * sessions/sessions.h - the sessions of a server, and how many each process opened and closed.
 *
 * sessions/ is the server's sessions, in words that all its processes share.
 *
 * A session is a row of words. Its first word, id << 16 | owner + 1, is the truth: it is set and
 * taken back by one compare-and-set. An id is used once; its row is the id's remainder. Behind the
 * rows lies one word: the last id.
 *
 * No step changes both a session and a count. So a process writes down first which session it is
 * about to open or close and how many there were; after its death the session itself tells whether
 * it was done (ipk_session_recover).
 *
 * Invariants
 *   C1  a process's row is written by that process alone, after its death by the process that recovers it.
 *   C2  while COUNTING is not 0 the count is COUNTED or one more, and the session tells which.
 *
 * Blocks  never.  Memory  the caller's, shared and zero at first; `process` may be NULL: not counted.
 */
#ifndef IPK_SESSIONS_SESSIONS_H
#define IPK_SESSIONS_SESSIONS_H

#include "base/atomics.h"
#include "base/ipk.h"

/* Words of a session's row. */
enum {
	IPK_SESSION_OWNER = 0,
	IPK_SESSION_UID = 1,
	IPK_SESSION_FLAGS = 2,
	IPK_SESSION_CONNECTED = 3, /* ns since 1970 */
	IPK_SESSION_HEARD = 4,	   /* ns of CLOCK_MONOTONIC */
	IPK_SESSION_ADDRESS = 5,   /* two words */
	IPK_SESSION_PORTS = 7,
	IPK_SESSION_READ = 8,
	IPK_SESSION_WRITTEN = 9,
	IPK_SESSION_PROMISED = 10,
	IPK_SESSION_WORDS = 16,
};

/* Words of a process's row. */
enum {
	IPK_ACCEPTED = 8,
	IPK_CLOSED = 9,
	IPK_COUNTING = 20, /* session << 1 | whether it is being closed; or 0 */
	IPK_COUNTED = 21,  /* ACCEPTED or CLOSED before that */
};

/* READ of a session whose first callback has not returned. */
#define IPK_SESSION_NOT_IDLE UINT64_MAX

/*
 * Open a session in one of `places` rows, owned by `owner` (0 .. 65534). Returns its id, 0 when no
 * row is free.
 *
 * ip      0, 4 or 16 bytes of the client's address
 * ports   index of our port << 16 | the client's port
 */
uint64_t ipk_session_open(uint64_t *rows, uint64_t places, uint64_t *process, uint64_t owner,
			  const char *ip, size_t ip_size, uint64_t ports);
/* Close it; 0 and nothing happened when it is not this owner's. */
int ipk_session_close(uint64_t *rows, uint64_t places, uint64_t *process, uint64_t owner,
		      uint64_t session);
/* How many sessions these processes have open; their rows are `stride` words apart. Each word is
 * loaded for itself, so a session that is opened or closed during the call counts or does not. */
int64_t ipk_session_number(const uint64_t *processes, size_t count, size_t stride);
/* Bytes came from the client at this moment (ns of CLOCK_MONOTONIC). */
static inline void
ipk_session_heard(uint64_t *row, uint64_t now)
{
	STORE_RELAXED(&row[IPK_SESSION_HEARD], now);
}

/* So many bytes of the client were worked off, and no callback is under way. */
static inline void
ipk_session_worked_off(uint64_t *row, uint64_t bytes)
{
	STORE_RELAXED(&row[IPK_SESSION_READ], bytes);
}

/* So many bytes are about to be given to the transport. */
static inline void
ipk_session_writes(uint64_t *row, uint64_t bytes)
{
	row[IPK_SESSION_WRITTEN] += bytes; /* the owner alone writes it */
}

/* The process is dead: count what it was about to do, if it was done. Twice is as once. */
void ipk_session_recover(uint64_t *rows, uint64_t places, uint64_t *process, uint64_t owner);

#endif

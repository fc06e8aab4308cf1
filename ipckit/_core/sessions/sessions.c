/*
 * sessions/sessions.c - see sessions/sessions.h, which has the invariants.
 *
 * Stands on the compiler's atomics.
 */
#include "sessions/sessions.h"

#include "base/atomics.h"
#include "base/clock.h"

#include <string.h>
#include <time.h>

/* 1: the word was `expected`, and is `value` now. */
static int
replace(uint64_t *word, uint64_t expected, uint64_t value)
{
	return COMPARE_EXCHANGE(word, &expected, value);
}

static uint64_t *
row_of(uint64_t *rows, uint64_t places, uint64_t session)
{
	return rows + session % places * IPK_SESSION_WORDS;
}

static uint64_t
owned(uint64_t session, uint64_t owner)
{
	return session << 16 | (owner + 1);
}

static uint64_t
wall_clock_ns(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_REALTIME, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static void
begin(uint64_t *row, const char *ip, size_t ip_size, uint64_t ports)
{
	/* In this order: a last_time computed from the second is never before the first. */
	uint64_t connected = wall_clock_ns();
	uint64_t heard = ipk_now_ns();

	STORE_RELEASE(row + IPK_SESSION_READ, IPK_SESSION_NOT_IDLE);
	STORE_RELEASE(row + IPK_SESSION_UID, 0);
	STORE_RELEASE(row + IPK_SESSION_FLAGS, 0);
	STORE_RELEASE(row + IPK_SESSION_CONNECTED, connected);
	STORE_RELEASE(row + IPK_SESSION_HEARD, heard);
	memset(row + IPK_SESSION_ADDRESS, 0, 2 * sizeof *row);
	memcpy(row + IPK_SESSION_ADDRESS, ip, ip_size < 2 * sizeof *row ? ip_size : 2 * sizeof *row);
	STORE_RELEASE(row + IPK_SESSION_PORTS, ports);
	STORE_RELEASE(row + IPK_SESSION_WRITTEN, 0);
	STORE_RELEASE(row + IPK_SESSION_PROMISED, 0);
}

uint64_t
ipk_session_open(uint64_t *rows, uint64_t places, uint64_t *process, uint64_t owner, const char *ip,
		 size_t ip_size, uint64_t ports)
{
	uint64_t *last = rows + places * IPK_SESSION_WORDS;
	uint64_t session = 0;

	if (process)
		STORE_RELEASE(process + IPK_COUNTED, LOAD_ACQUIRE(process + IPK_ACCEPTED));
	for (uint64_t tries = 0; tries < places; tries++) {
		uint64_t next = __atomic_add_fetch(last, 1, __ATOMIC_SEQ_CST);
		uint64_t *row = row_of(rows, places, next);

		if (process)
			STORE_RELEASE(process + IPK_COUNTING, next << 1);
		if (!replace(row + IPK_SESSION_OWNER, 0, owned(next, owner)))
			continue;
		session = next;
		begin(row, ip, ip_size, ports);
		if (process)
			STORE_RELEASE(process + IPK_ACCEPTED, LOAD_ACQUIRE(process + IPK_COUNTED) + 1);
		break;
	}
	if (process)
		STORE_RELEASE(process + IPK_COUNTING, 0);
	return session;
}

int
ipk_session_close(uint64_t *rows, uint64_t places, uint64_t *process, uint64_t owner,
		  uint64_t session)
{
	uint64_t *word = row_of(rows, places, session) + IPK_SESSION_OWNER;
	int closed;

	if (LOAD_ACQUIRE(word) != owned(session, owner))
		return 0;
	if (process) {
		STORE_RELEASE(process + IPK_COUNTED, LOAD_ACQUIRE(process + IPK_CLOSED));
		STORE_RELEASE(process + IPK_COUNTING, session << 1 | 1);
	}
	closed = replace(word, owned(session, owner), 0);
	if (process) {
		if (closed)
			STORE_RELEASE(process + IPK_CLOSED, LOAD_ACQUIRE(process + IPK_COUNTED) + 1);
		STORE_RELEASE(process + IPK_COUNTING, 0);
	}
	return closed;
}

int64_t
ipk_session_number(const uint64_t *processes, size_t count, size_t stride)
{
	int64_t number = 0;

	for (const uint64_t *row = processes; count > 0; count--, row += stride) {
		number += (int64_t)__atomic_load_n(row + IPK_ACCEPTED, __ATOMIC_RELAXED);
		number -= (int64_t)__atomic_load_n(row + IPK_CLOSED, __ATOMIC_RELAXED);
	}
	return number;
}

void
ipk_session_recover(uint64_t *rows, uint64_t places, uint64_t *process, uint64_t owner)
{
	uint64_t intended = LOAD_ACQUIRE(process + IPK_COUNTING);
	uint64_t session = intended >> 1;
	int closing = (int)(intended & 1);
	int is_there;

	if (!intended)
		return;
	is_there = LOAD_ACQUIRE(row_of(rows, places, session)) == owned(session, owner);
	STORE_RELEASE(process + (closing ? IPK_CLOSED : IPK_ACCEPTED),
	      LOAD_ACQUIRE(process + IPK_COUNTED) + (is_there != closing));
	STORE_RELEASE(process + IPK_COUNTING, 0);
}

/*
 * kill_session.c - kill -9 after every instruction of opening and closing a session.
 *
 * After each, settled: the counts tell how many sessions there are, each was counted once, and the
 * next one is opened and closed as ever. Prints the counts; ends with 1 if any trial failed.
 */
#include "sessions/sessions.h"
#include "kills_victim.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { PLACES = 8, OWNER = 2, OTHER = 5, PROCESS_WORDS = 32, BEFORE = 2 };

struct kind {
	const char *name;
	void (*prepare)(void);
	void (*entry)(void);
	int (*call)(void);
	int change; /* of the number of the owner's sessions */
};

static uint64_t *rows;
static uint64_t *process;
static uint64_t mine;

static uint64_t
opened(uint64_t *counts, uint64_t owner)
{
	return ipk_session_open(rows, PLACES, counts, owner, "\x7f\0\0\1", 4, 1 << 16 | 99);
}

static void
nothing(void)
{
}

/* The next three ids meet a row that is taken. */
static void
taken_rows(void)
{
	(void)opened(NULL, OTHER);
	rows[PLACES * IPK_SESSION_WORDS] = PLACES;
}

static int
call_open(void)
{
	return opened(process, OWNER) == 0;
}

static int
call_close(void)
{
	return ipk_session_close(rows, PLACES, process, OWNER, mine);
}

static int
call_settle(void)
{
	ipk_session_recover(rows, PLACES, process, OWNER);
	return 0;
}

/* The state after a kill between the steps: done, and not yet counted. */
static void
opened_not_counted(void)
{
	process[IPK_COUNTED] = process[IPK_ACCEPTED];
	process[IPK_COUNTING] = opened(NULL, OWNER) << 1;
}

#define ENTRY(function) (void (*)(void))(function)

static const struct kind kinds[] = {
	{"open", nothing, ENTRY(ipk_session_open), call_open, 1},
	{"open, rows are taken", taken_rows, ENTRY(ipk_session_open), call_open, 1},
	{"close", nothing, ENTRY(ipk_session_close), call_close, -1},
	{"settle", opened_not_counted, ENTRY(ipk_session_recover), call_settle, 1},
};

static void
get_ready(const void *what)
{
	(void)what;
}

static uint64_t
there(uint64_t owner)
{
	uint64_t count = 0;

	for (int i = 0; i < PLACES; i++) {
		uint64_t word = rows[i * IPK_SESSION_WORDS];

		count += word && (word & 0xffff) == owner + 1;
	}
	return count;
}

/* What is wrong, or NULL. */
static const char *
judge(const struct kind *kind)
{
	uint64_t found = there(OWNER);
	uint64_t counted;
	uint64_t session;

	for (int i = 0; i < 2; i++) /* the second time changes nothing */
		ipk_session_recover(rows, PLACES, process, OWNER);
	counted = process[IPK_ACCEPTED] + process[IPK_CLOSED];
	if (process[IPK_ACCEPTED] - process[IPK_CLOSED] != found)
		return "the counts are not what is there";
	if (found != BEFORE && found != (uint64_t)(BEFORE + kind->change))
		return "there are neither as many as before nor as after";
	if (counted != BEFORE + (found != BEFORE))
		return "one was counted twice";
	session = opened(process, OWNER);
	if (!session || there(OWNER) != found + 1)
		return "no session can be opened";
	if (rows[session % PLACES * IPK_SESSION_WORDS + IPK_SESSION_PORTS] != (1 << 16 | 99))
		return "the next session is not whole";
	if (!ipk_session_close(rows, PLACES, process, OWNER, session) || there(OWNER) != found ||
	    process[IPK_ACCEPTED] - process[IPK_CLOSED] != found)
		return "the next session does not close";
	return NULL;
}

int
main(void)
{
	size_t bytes = (PLACES * IPK_SESSION_WORDS + 1 + PROCESS_WORDS) * sizeof *rows;
	uint32_t wrong = 0;
	uint32_t kills = 0;

	victim_pin(0);
	rows = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (rows == MAP_FAILED)
		return 2;
	process = rows + PLACES * IPK_SESSION_WORDS + 1;
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		const struct kind *kind = &kinds[i];
		uint32_t before = kills;
		uint32_t done = 0;
		int over = 0;

		for (uint32_t outer = 0; !over; outer++, kills++) {
			struct ipk_trace victim;
			const char *what;

			memset(rows, 0, bytes);
			for (int j = 0; j < BEFORE; j++)
				mine = opened(process, OWNER);
			kind->prepare();
			if (victim_begin(&victim, get_ready, kind, kind->entry, kind->call))
				return 2;
			over = ipk_trace_step(&victim, outer) != 0;
			(void)ipk_trace_kill(&victim);
			done += there(OWNER) != BEFORE;
			what = judge(kind);
			if (what) {
				fprintf(stderr, "%s, after %u instructions: %s\n", kind->name,
					outer, what);
				wrong++;
			}
		}
		if (!done) {
			fprintf(stderr, "%s: no kill came after the deed\n", kind->name);
			wrong++;
		}
		printf("  %-26s %7u kills\n", kind->name, kills - before);
	}
	printf("sessions: %u kills, %u wrong\n", kills, wrong);
	return wrong != 0;
}

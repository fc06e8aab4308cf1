/*
 * kills.h - a small table under the knife: its world, the calls that are cut short, the judge.
 *
 * Each trial makes a new world: SIZE rows at most, the victim's KEY and NEIGHBOURS in one
 * bucket, BYSTANDERS elsewhere. A row's columns all follow from one value, so a mix shows.
 */
#ifndef KILLS_H
#define KILLS_H

#include "base/clock.h"
#include "table/internal.h"
#include "trace/trace.h"

#include <stdbool.h>

enum {
	SIZE = 12,
	NEIGHBOURS = 3,
	BYSTANDERS = 3,
	ABSENT = -1,
	OLD = 5,       /* the victim row's value before its call */
	NEW = 2,       /* and after */
	SURVIVOR = 77, /* what the judge writes */
	BUSY = 1000000 /* more instructions than a call has */
};

/* One call of the core, in one state of the table. */
struct kind {
	const char *name;
	void (*prepare)(void); /* before the victim is forked, by the survivor */
	void (*ready)(void);   /* in the victim, before its call; may be NULL */
	void (*entry)(void);   /* the function that is cut */
	int (*call)(void);     /* the victim's call, once */
	int before;	       /* KEY's value, or ABSENT */
	int after;
	bool writes;
	bool joins; /* the victim must not have joined before */
};

extern const struct kind kinds[];
extern const int kind_count;

/* -- the world (kills_world.c) -- */

extern struct ipk_table table;
extern struct ipk_registry registry;
extern struct ipk_party party; /* of this process */
extern struct ipk_key key;     /* KEY */

void world_make(void); /* once per process that judges */
void world_begin(void);
void world_end(void);
void join(void);
/* Write value to a key by name; 1 new, 0 old, or an error, -ETIMEDOUT when it was stuck for 1 s. */
int put(const struct ipk_key *which, int value);
int drop(const struct ipk_key *which);
/* A filler key, in any bucket. */
void filler_key(struct ipk_key *which, int number);
/* Fill up to SIZE - `left` rows. */
void fill_up(int left);
/* KEY, with a cell before and cells behind it in its chain. */
void put_in_the_middle(int value);
void row_of(uint64_t *row, int value);
/* The value of a whole row; ABSENT; -2: torn; or -errno. */
int read_value(const struct ipk_key *which);
/* Any call, again and again while it is obstructed; ten seconds end what hangs. */
#define UNTIL_DONE(result, obstacle, call)                                                         \
	do {                                                                                       \
		uint64_t give_up_ = ipk_now_ns() + 10000000000ull;                                 \
		(obstacle) = (struct ipk_obstacle){0};                                             \
		while (((result) = (call)) == -EAGAIN &&                                           \
		       ipk_wait(table.slots, IPK_TABLE_SLOTS, &(obstacle), give_up_) != -ETIMEDOUT)   \
			;                                                                          \
	} while (0)

/* What is wrong after the victim's end, or NULL: every promise of the table is asked for.
 * *value: what KEY had right after the kill. *worst: of the survivor's first write, ns. */
const char *judge(const struct kind *kind, int *value, uint64_t *worst);
/* Only what must hold while the victim is stopped inside: readers. */
const char *judge_readers(const struct kind *kind, int *value);

#endif

/*
 * kills_queue_kinds.h - the calls of a shared queue that a kill sweep leads its victims to.
 */
#ifndef KILLS_QUEUE_KINDS_H
#define KILLS_QUEUE_KINDS_H

#include "shared_queue/internal.h"

enum {
	MESSAGES = 6,
	PAGES = 6,
	ATTEMPTS = 3,
	SMALL = 100,
	LARGE = 2 * IPK_QUEUE_PAGE - 7,
	LARGEST = PAGES * IPK_QUEUE_PAGE,
};

/* A function, as victim_begin() takes it. */
#define ENTRY(function) (void (*)(void))(function)

struct kind {
	const char *name;
	void (*prepare)(void);
	void (*ready)(void); /* in the victim, joined; NULL: nothing */
	void (*entry)(void);
	int (*call)(void);
	const char *before; /* what a receiver gets: a letter for each message, small or LARGE */
	const char *after;
	uint32_t dead; /* messages that are DEAD afterwards, at most */
	uint32_t unfinished; /* messages that the parent has not finished afterwards, at most */
};

extern const struct kind queue_kinds[];
extern const size_t queue_kinds_count;

/* The queue, and the calling process's thread in it. */
extern const struct ipk_queue_shape queue_shape;
extern struct ipk_queue queue;
extern struct ipk_registry registry;
extern struct ipk_party party;

/* Take a slot. */
void queue_join(void);
/* The size of a message that is this letter. */
uint64_t queue_size_of(char letter);
/* Send it; a result of the core. */
int queue_send_letter(char letter);

#endif

/*
 * queues/relay.h - a thread that waits at a System V queue for somebody who waits at descriptors.
 *
 * It waits without taking: a message stays in the queue for whoever takes it then. Only a message
 * without a body cannot be left there by the kernel; it is taken and handed over by its type.
 */
#ifndef IPK_QUEUES_RELAY_H
#define IPK_QUEUES_RELAY_H

#include <pthread.h>

#include "base/ipk.h"

enum ipk_relay_seen {
	IPK_RELAY_NOTHING = 0,
	IPK_RELAY_MESSAGE = 1, /* a fitting message is in the queue, or was a moment ago */
	IPK_RELAY_EMPTY = 2,   /* a fitting message without a body was taken */
	IPK_RELAY_GONE = 3,    /* the queue was removed, or may no longer be read */
};

/* The caller's memory; it stays where it is until ipk_relay_close() returned. */
struct ipk_relay {
	pthread_t thread;
	pid_t maker;
	int id;
	int flags;
	int eventfd;
	long type;
	uint32_t state; /* one futex word for both sides, see relay.c */
	uint32_t seen;
	int64_t empty_type;
};

/*
 * Start the thread for queue `id`. It rests until it is armed.
 *
 * type, flags (0 or MSG_EXCEPT)   as msgrcv(2) has them.
 * eventfd                         non-blocking, the caller's; written once for each thing seen.
 */
int ipk_relay_start(struct ipk_relay *relay, int id, long type, int flags, int eventfd);

/* Wait for the next message; does nothing if it waits already or something is to be collected. */
int ipk_relay_arm(struct ipk_relay *relay);
/* Wait no longer; sleeps until the thread has left the queue (usually some 50 us). */
int ipk_relay_disarm(struct ipk_relay *relay);
/* What was seen since the last time, an ipk_relay_seen; for EMPTY its type in *type. */
int ipk_relay_collect(struct ipk_relay *relay, int64_t *type);
/* End the thread. An empty message that nobody collected goes back to the end of the queue. */
int ipk_relay_close(struct ipk_relay *relay);

/* In a child of the process that started it each call does nothing and returns -ECHILD. */

#endif

/*
 * queues/sysv.h - System V message queues with a time limit on every wait.
 *
 * queues/ is System V queues with a time limit, a thread that waits at one for an event loop, and
 * POSIX queues.
 *
 * timeout_ns, everywhere: -1 waits for ever, 0 tries once, > 0 nanoseconds of CLOCK_MONOTONIC.
 * Results are evened out, so that one errno has one meaning:
 *   -EAGAIN   no room (send), now or in the time given
 *   -ENOMSG   no fitting message (receive, copy), now or in the time given
 *   -EIDRM    the queue is gone, whether it went before the call or during it
 *   -EMSGSIZE the body is over the kernel's msgmax (send)
 *   -E2BIG    the fitting message is longer than `size` and stays (receive, copy)
 *   -ENOBUFS  no timer for a time limit: RLIMIT_SIGPENDING of the user is used up
 *   -EINTR    a handler of the program ran; nothing was sent or taken
 *   -EBADF    id < 0
 */
#ifndef IPK_QUEUES_SYSV_H
#define IPK_QUEUES_SYSV_H

#include <sys/ipc.h>
#include <sys/msg.h>

#include "base/ipk.h"

/* As the kernel wants it: struct msgbuf of msgop(2), with room for any body. */
struct ipk_message {
	long type;
	char body[];
};

enum {
	IPK_MSGQ_SMALL = 8192, /* the kernel's msgmax unless the administrator raised it */
};

struct ipk_msgq_stat {
	int64_t key;
	int64_t messages;
	int64_t bytes;
	int64_t max_bytes;
	int64_t mode;
	int64_t uid;
	int64_t gid;
	int64_t last_sender_pid;
	int64_t last_receiver_pid;
	int64_t sent_at; /* seconds since 1970; 0: never */
	int64_t received_at;
	int64_t changed_at;
};

/* Make a queue; key 0 (IPC_PRIVATE) makes one that no key finds. Returns its id. */
int ipk_msgq_make(int key, int mode);
/* Returns the id of the queue with this key, which is not 0. */
int ipk_msgq_find(int key);

/* Send a body of at most IPK_MSGQ_SMALL bytes (else -EMSGSIZE) now or not at all. */
int ipk_msgq_send_small(int id, long type, const char *body, size_t size);
/* Send message->body[0 .. size-1]. */
int ipk_msgq_send(int id, const struct ipk_message *message, size_t size, int64_t timeout_ns);

/*
 * Take a message into `message`, whose body has room for `size` bytes. Returns the body's length.
 *
 * type, flags (MSG_EXCEPT, MSG_NOERROR)   as msgrcv(2) has them.
 */
int64_t ipk_msgq_receive(int id, struct ipk_message *message, size_t size, long type, int flags,
			 int64_t timeout_ns);
/* Copy the message at position `index` (0 is the oldest) and leave it there; or -ENOSYS. */
int64_t ipk_msgq_copy(int id, struct ipk_message *message, size_t size, long index);

int ipk_msgq_stat(int id, struct ipk_msgq_stat *stat);
/* Change what is not -1; not atomic against another one who sets at the same time. */
int ipk_msgq_set(int id, int64_t mode, int64_t uid, int64_t gid, int64_t max_bytes);
int ipk_msgq_remove(int id);
/* Returns the kernel's msgmax: the most bytes of one body. */
int64_t ipk_msgq_max_size(void);

#endif

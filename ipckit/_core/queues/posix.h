/*
 * queues/posix.h - POSIX message queues, and the removal of System V objects that are no queues.
 *
 * What the packages posix_ipc and sysv_ipc do for ipckit, where there is no wheel of them. No call
 * waits: a descriptor is made with O_NONBLOCK.
 * Errors    -errno of mq_open(3), mq_getattr(3), mq_send(3), mq_receive(3), mq_unlink(3), shmctl(2),
 *           semctl(2), as the kernel gives it.
 */
#ifndef IPK_QUEUES_POSIX_H
#define IPK_QUEUES_POSIX_H

#include "base/ipk.h"

struct ipk_mq_attributes {
	int64_t messages;
	int64_t max_messages;
	int64_t max_message_size;
};

/* Make a queue that did not exist. Returns its descriptor, for reading and writing. */
int ipk_mq_make(const char *name, int mode, int64_t max_messages, int64_t max_message_size);
/* Returns a descriptor of an existing queue; `writable` 0: for reading alone. */
int ipk_mq_find(const char *name, int writable);
int ipk_mq_attributes(int fd, struct ipk_mq_attributes *attributes);
int ipk_mq_send(int fd, const char *body, size_t size, int priority);
/* Take the oldest message of the highest priority. Returns the body's length. */
int64_t ipk_mq_receive(int fd, char *body, size_t size, int *priority);
int ipk_mq_close(int fd);
int ipk_mq_unlink(const char *name);

/* Remove a System V shared memory segment, a semaphore set. */
int ipk_shm_remove(int id);
int ipk_sem_remove(int id);

#endif

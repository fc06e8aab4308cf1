/*
 * queues/posix.c - POSIX message queues, and the removal of System V objects that are no queues.
 *
 * Owns      nothing.  Stands on libc, mq_overview(7), shmctl(2), semctl(2).
 * State     none.  Blocks  never.  Errors  -errno.
 */
#include "queues/posix.h"

#include <errno.h>
#include <fcntl.h>
#include <mqueue.h>
#include <sys/sem.h>
#include <sys/shm.h>

int
ipk_mq_make(const char *name, int mode, int64_t max_messages, int64_t max_message_size)
{
	struct mq_attr attr = {.mq_maxmsg = (long)max_messages, .mq_msgsize = (long)max_message_size};
	mqd_t queue = mq_open(name, O_RDWR | O_CREAT | O_EXCL | O_NONBLOCK, (mode_t)mode, &attr);

	return queue == (mqd_t)-1 ? -errno : queue;
}

int
ipk_mq_find(const char *name, int writable)
{
	mqd_t queue = mq_open(name, (writable ? O_RDWR : O_RDONLY) | O_NONBLOCK);

	return queue == (mqd_t)-1 ? -errno : queue;
}

int
ipk_mq_attributes(int fd, struct ipk_mq_attributes *attributes)
{
	struct mq_attr attr;

	if (mq_getattr(fd, &attr) != 0)
		return -errno;
	attributes->messages = attr.mq_curmsgs;
	attributes->max_messages = attr.mq_maxmsg;
	attributes->max_message_size = attr.mq_msgsize;
	return 0;
}

int
ipk_mq_send(int fd, const char *body, size_t size, int priority)
{
	return mq_send(fd, body, size, (unsigned int)priority) != 0 ? -errno : 0;
}

int64_t
ipk_mq_receive(int fd, char *body, size_t size, int *priority)
{
	unsigned int had = 0;
	ssize_t got = mq_receive(fd, body, size, &had);

	if (got < 0)
		return -errno;
	*priority = (int)had;
	return got;
}

int
ipk_mq_close(int fd)
{
	return mq_close(fd) != 0 ? -errno : 0;
}

int
ipk_mq_unlink(const char *name)
{
	return mq_unlink(name) != 0 ? -errno : 0;
}

int
ipk_shm_remove(int id)
{
	return shmctl(id, IPC_RMID, NULL) != 0 ? -errno : 0;
}

int
ipk_sem_remove(int id)
{
	return semctl(id, 0, IPC_RMID) != 0 ? -errno : 0;
}

/*
 * queues/sysv.c - System V message queues with a time limit on every wait.
 *
 * Owns      for the length of one timed wait: a POSIX timer aimed at the calling thread, and the
 *           handler of IPK_SIGNAL_QUEUE_WAIT (installed by each wait, so a program that took the signal for
 *           itself in between cannot hang one).
 * Stands on libc, msgop(2), msgctl(2), timer_create(2).
 * State     none.
 *
 * Invariants
 *   M1  a timed wait ends within about 1 ms of its deadline: the timer goes on every millisecond
 *       after its first expiry, so one that strikes just before the system call is not lost.
 *   M2  when the time is over one more try is made, so a message that was there in time is taken.
 *   M3  a call that failed has sent nothing and taken nothing.
 *
 * Blocks    as timeout_ns says.  Errors  -errno, evened out as sysv.h lists them.
 * Fork      a child has no timers; the queues are the kernel's and know nothing of forks.
 * Crash     SIGKILL: the timer goes with the process. A message whose receiver is killed between
 *           the kernel's removal and the return is gone.
 */
#include "queues/sysv.h"

#include "base/clock.h"
#include "base/kernel.h"
#include "process/signals.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define SECOND INT64_C(1000000000)
#define MILLISECOND INT64_C(1000000)

_Static_assert(sizeof(long) == sizeof(int64_t), "a message type has 64 bits");

struct alarm {
	timer_t timer;
	int64_t deadline;
	sigset_t mask_before;
};

static void
on_alarm(int signum)
{
	(void)signum; /* that a handler ran is all: it ends the system call with EINTR */
}

/* From the deadline on, this thread gets IPK_SIGNAL_QUEUE_WAIT every millisecond, even if it blocked it. */
static int
alarm_start(struct alarm *alarm, int64_t timeout_ns)
{
	struct sigevent event;
	struct sigaction action;
	struct itimerspec when;
	sigset_t ours;
	int64_t now = (int64_t)ipk_now_ns();

	alarm->deadline = timeout_ns < INT64_MAX - now ? now + timeout_ns : INT64_MAX;
	memset(&action, 0, sizeof action);
	action.sa_handler = on_alarm;
	if (sigaction(IPK_SIGNAL_QUEUE_WAIT, &action, NULL) != 0)
		return -errno;

	memset(&event, 0, sizeof event);
	event.sigev_notify = SIGEV_THREAD_ID;
	event.sigev_signo = IPK_SIGNAL_QUEUE_WAIT;
	event.sigev_notify_thread_id = ipk_thread_id();
	if (timer_create(CLOCK_MONOTONIC, &event, &alarm->timer) != 0)
		return errno == EAGAIN ? -ENOBUFS : -errno; /* EAGAIN would read as "no room" */

	when.it_value.tv_sec = (time_t)(alarm->deadline / SECOND);
	when.it_value.tv_nsec = (long)(alarm->deadline % SECOND);
	when.it_interval.tv_sec = 0;
	when.it_interval.tv_nsec = (long)MILLISECOND; /* M1 */
	if (timer_settime(alarm->timer, TIMER_ABSTIME, &when, NULL) != 0) {
		int code = errno;

		(void)timer_delete(alarm->timer);
		return -code;
	}
	(void)sigemptyset(&ours);
	(void)sigaddset(&ours, IPK_SIGNAL_QUEUE_WAIT);
	(void)pthread_sigmask(SIG_UNBLOCK, &ours, &alarm->mask_before);
	return 0;
}

static void
alarm_stop(const struct alarm *alarm)
{
	(void)timer_delete(alarm->timer);
	(void)pthread_sigmask(SIG_SETMASK, &alarm->mask_before, NULL);
}

/* The queue is gone: EIDRM if that hit us in the call, EINVAL if it went before. */
static int
gone_or(int code)
{
	return code == EINVAL ? -EIDRM : -code;
}

static int
send_once(int id, const void *message, size_t size, int flags)
{
	if (id < 0)
		return -EBADF;
	if (msgsnd(id, message, size, flags) == 0)
		return 0;
	if (errno == EINVAL && (int64_t)size > ipk_msgq_max_size())
		return -EMSGSIZE;
	return gone_or(errno);
}

static int64_t
receive_once(int id, void *message, size_t size, long type, int flags)
{
	ssize_t got;

	if (id < 0)
		return -EBADF;
	got = msgrcv(id, message, size, type, flags);
	return got < 0 ? gone_or(errno) : got;
}

int
ipk_msgq_make(int key, int mode)
{
	int id = msgget(key, IPC_CREAT | IPC_EXCL | mode);

	return id < 0 ? -errno : id;
}

int
ipk_msgq_find(int key)
{
	int id;

	if (key == IPC_PRIVATE) /* would make one */
		return -ENOENT;
	id = msgget(key, 0);
	return id < 0 ? -errno : id;
}

int
ipk_msgq_send_small(int id, long type, const char *body, size_t size)
{
	struct {
		long type;
		char body[IPK_MSGQ_SMALL];
	} message;

	if (size > sizeof message.body)
		return -EMSGSIZE;
	message.type = type;
	memcpy(message.body, body, size);
	return send_once(id, &message, size, IPC_NOWAIT);
}

int
ipk_msgq_send(int id, const struct ipk_message *message, size_t size, int64_t timeout_ns)
{
	struct alarm alarm;
	int rc;

	if (timeout_ns <= 0)
		return send_once(id, message, size, timeout_ns == 0 ? IPC_NOWAIT : 0);
	rc = alarm_start(&alarm, timeout_ns);
	if (rc < 0)
		return rc;
	rc = send_once(id, message, size, 0);
	if (rc == -EINTR && (int64_t)ipk_now_ns() >= alarm.deadline)
		rc = send_once(id, message, size, IPC_NOWAIT); /* M2 */
	alarm_stop(&alarm);
	return rc;
}

int64_t
ipk_msgq_receive(int id, struct ipk_message *message, size_t size, long type, int flags,
		 int64_t timeout_ns)
{
	struct alarm alarm;
	int64_t got;

	flags &= MSG_EXCEPT | MSG_NOERROR;
	if (timeout_ns <= 0)
		return receive_once(id, message, size, type,
				    timeout_ns == 0 ? flags | IPC_NOWAIT : flags);
	got = alarm_start(&alarm, timeout_ns);
	if (got < 0)
		return got;
	got = receive_once(id, message, size, type, flags);
	if (got == -EINTR && (int64_t)ipk_now_ns() >= alarm.deadline)
		got = receive_once(id, message, size, type, flags | IPC_NOWAIT); /* M2 */
	alarm_stop(&alarm);
	return got;
}

int64_t
ipk_msgq_copy(int id, struct ipk_message *message, size_t size, long index)
{
	return receive_once(id, message, size, index, MSG_COPY | IPC_NOWAIT);
}

int
ipk_msgq_stat(int id, struct ipk_msgq_stat *stat)
{
	struct msqid_ds ds;

	if (id < 0)
		return -EBADF;
	if (msgctl(id, IPC_STAT, &ds) != 0)
		return gone_or(errno);
	stat->key = ds.msg_perm.__key;
	stat->messages = (int64_t)ds.msg_qnum;
	stat->bytes = (int64_t)ds.__msg_cbytes;
	stat->max_bytes = (int64_t)ds.msg_qbytes;
	stat->mode = ds.msg_perm.mode & 0777;
	stat->uid = ds.msg_perm.uid;
	stat->gid = ds.msg_perm.gid;
	stat->last_sender_pid = ds.msg_lspid;
	stat->last_receiver_pid = ds.msg_lrpid;
	stat->sent_at = ds.msg_stime;
	stat->received_at = ds.msg_rtime;
	stat->changed_at = ds.msg_ctime;
	return 0;
}

int
ipk_msgq_set(int id, int64_t mode, int64_t uid, int64_t gid, int64_t max_bytes)
{
	struct msqid_ds ds;

	if (id < 0)
		return -EBADF;
	if (msgctl(id, IPC_STAT, &ds) != 0)
		return gone_or(errno);
	if (mode >= 0)
		ds.msg_perm.mode = (unsigned short)(mode & 0777);
	if (uid >= 0)
		ds.msg_perm.uid = (uid_t)uid;
	if (gid >= 0)
		ds.msg_perm.gid = (gid_t)gid;
	if (max_bytes >= 0)
		ds.msg_qbytes = (msglen_t)max_bytes;
	if (msgctl(id, IPC_SET, &ds) != 0)
		return gone_or(errno);
	return 0;
}

int
ipk_msgq_remove(int id)
{
	if (id < 0)
		return -EBADF;
	return msgctl(id, IPC_RMID, NULL) == 0 ? 0 : gone_or(errno);
}

int64_t
ipk_msgq_max_size(void)
{
	struct msginfo info;

	/* For IPC_INFO the third argument points to another structure: msgctl(2). */
	if (msgctl(0, IPC_INFO, (struct msqid_ds *)(void *)&info) < 0)
		return -errno;
	return info.msgmax;
}

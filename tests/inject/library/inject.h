/* What the preloaded library (inject.c decides, calls.c has the calls) shares within itself. */
#ifndef IPCKIT_INJECT_H
#define IPCKIT_INJECT_H

#include <stdint.h>
#include <unistd.h>

#define CALLS(X)                                                                                  \
  X(accept4) X(bind) X(chmod) X(close) X(connect) X(dup) X(dup2) X(dup3) X(epoll_create1)         \
  X(epoll_ctl) X(epoll_pwait) X(epoll_wait) X(eventfd) X(fchmod) X(fchown) X(fcntl_dupfd)         \
  X(fcntl_setlk) X(fdatasync) X(flock) X(fork) X(fstat) X(fsync) X(ftruncate) X(futex) X(getpeername)      \
  X(getrandom) X(getsockname) X(getsockopt) X(initgroups) X(ioctl) X(io_uring_setup) X(kill) X(linkat)          \
  X(listen) X(memfd_create) X(mkdir) X(mkdirat) X(mmap) X(msgctl) X(msgget) X(msgrcv) X(msgsnd)   \
  X(open) X(opendir) X(pidfd_open) X(pidfd_send_signal) X(pipe2) X(poll) X(posix_fallocate)       \
  X(prctl) X(pread) X(pthread_create) X(pwrite) X(read) X(recv) X(recvmmsg) X(recvmsg) X(rename)  \
  X(rmdir) X(select) X(send) X(sendfile) X(sendmmsg) X(sendmsg) X(setgid) X(setgroups)            \
  X(setrlimit) X(setsockopt) X(setuid)                                                            \
  X(shutdown) X(socket) X(socketpair) X(stat) X(timer_create) X(timer_settime) X(unlink)          \
  X(waitid) X(waitpid) X(write) X(writev) X(syscall)

enum call {
#define X(name) CALL_##name,
  CALLS(X)
#undef X
  CALL_COUNT
};

enum role { NOBODY = -1, MANAGER, BOOT, WORKER, TASK_WORKER, USER_PROCESS, ROLES };
enum kind { PLAIN, ON_FILE, ON_MEMORY, ON_INET, ON_UNIX, ON_PIPE, ON_LOG, ON_OTHER, KINDS };
enum note { NOTE_FORK = 1, NOTE_QUEUE, NOTE_FAILED };

/* Whether this call of this process fails now; errno is set then. `fd`: what it is about, or -1. */
int inject_fails(enum call call, int fd);

void inject_note(uint32_t what, uint64_t a, uint64_t b);

/* Whether this process takes part. */
int inject_on(void);

/* In the child of a fork: a child of the manager is BOOT. */
void inject_forked(void);

#endif

/* The calls of the C library that a server's processes make, each with inject_fails() before it. */
#define _GNU_SOURCE
#include "inject.h"

#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/msg.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/select.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>

static void *real(const char *name)
{
  void *found = dlsym(RTLD_NEXT, name);
  if (!found)
    abort();
  return found;
}

/* `name` as the C library exports it, counted as `call`, with the descriptor that it is about. */
#define WRAP(type, name, call, fd, parameters, arguments)                                         \
  type name parameters                                                                            \
  {                                                                                               \
    static type(*next) parameters;                                                                \
    if (!next)                                                                                    \
      next = (type(*) parameters)real(#name);                                                     \
    if (inject_fails(CALL_##call, fd))                                                                   \
      return (type)-1;                                                                            \
    return next arguments;                                                                        \
  }
/* Those that return the errno. */
#define WRAP_ERROR(name, call, fd, parameters, arguments)                                         \
  int name parameters                                                                             \
  {                                                                                               \
    static int(*next) parameters;                                                                 \
    if (!next)                                                                                    \
      next = (int(*) parameters)real(#name);                                                      \
    if (inject_fails(CALL_##call, fd))                                                                   \
      return errno;                                                                               \
    return next arguments;                                                                        \
  }

WRAP(int, socket, socket, -1, (int a, int b, int c), (a, b, c))
WRAP(int, socketpair, socketpair, -1, (int a, int b, int c, int d[2]), (a, b, c, d))
WRAP(int, accept4, accept4, fd, (int fd, struct sockaddr *a, socklen_t *n, int f), (fd, a, n, f))
WRAP(int, bind, bind, fd, (int fd, const struct sockaddr *a, socklen_t n), (fd, a, n))
WRAP(int, listen, listen, fd, (int fd, int n), (fd, n))
WRAP(int, connect, connect, fd, (int fd, const struct sockaddr *a, socklen_t n), (fd, a, n))
WRAP(int, getsockname, getsockname, fd, (int fd, struct sockaddr *a, socklen_t *n), (fd, a, n))
WRAP(int, getpeername, getpeername, fd, (int fd, struct sockaddr *a, socklen_t *n), (fd, a, n))
WRAP(int, setsockopt, setsockopt, fd, (int fd, int l, int o, const void *v, socklen_t n),
     (fd, l, o, v, n))
WRAP(int, getsockopt, getsockopt, fd, (int fd, int l, int o, void *v, socklen_t *n),
     (fd, l, o, v, n))
WRAP(int, shutdown, shutdown, fd, (int fd, int how), (fd, how))
WRAP(ssize_t, send, send, fd, (int fd, const void *b, size_t n, int f), (fd, b, n, f))
WRAP(ssize_t, sendto, send, fd,
     (int fd, const void *b, size_t n, int f, const struct sockaddr *a, socklen_t s),
     (fd, b, n, f, a, s))
WRAP(ssize_t, sendmsg, sendmsg, fd, (int fd, const struct msghdr *m, int f), (fd, m, f))
WRAP(int, sendmmsg, sendmmsg, fd, (int fd, struct mmsghdr *m, unsigned n, int f), (fd, m, n, f))
WRAP(ssize_t, recv, recv, fd, (int fd, void *b, size_t n, int f), (fd, b, n, f))
WRAP(ssize_t, recvfrom, recv, fd,
     (int fd, void *b, size_t n, int f, struct sockaddr *a, socklen_t *s), (fd, b, n, f, a, s))
WRAP(ssize_t, recvmsg, recvmsg, fd, (int fd, struct msghdr *m, int f), (fd, m, f))
WRAP(int, recvmmsg, recvmmsg, fd,
     (int fd, struct mmsghdr *m, unsigned n, int f, struct timespec *t), (fd, m, n, f, t))
WRAP(ssize_t, sendfile, sendfile, out, (int out, int in, off_t *at, size_t n), (out, in, at, n))
WRAP(ssize_t, sendfile64, sendfile, out, (int out, int in, off_t *at, size_t n), (out, in, at, n))
WRAP(ssize_t, read, read, fd, (int fd, void *b, size_t n), (fd, b, n))
WRAP(ssize_t, write, write, fd, (int fd, const void *b, size_t n), (fd, b, n))
WRAP(ssize_t, writev, writev, fd, (int fd, const struct iovec *v, int n), (fd, v, n))
WRAP(ssize_t, pread, pread, fd, (int fd, void *b, size_t n, off_t at), (fd, b, n, at))
WRAP(ssize_t, pread64, pread, fd, (int fd, void *b, size_t n, off_t at), (fd, b, n, at))
WRAP(ssize_t, pwrite, pwrite, fd, (int fd, const void *b, size_t n, off_t at), (fd, b, n, at))
WRAP(ssize_t, pwrite64, pwrite, fd, (int fd, const void *b, size_t n, off_t at), (fd, b, n, at))
WRAP(int, eventfd_write, write, fd, (int fd, uint64_t v), (fd, v))
WRAP(int, eventfd_read, read, fd, (int fd, uint64_t *v), (fd, v))
WRAP(int, dup, dup, -1, (int fd), (fd))
WRAP(int, dup2, dup2, -1, (int a, int b), (a, b))
WRAP(int, dup3, dup3, -1, (int a, int b, int f), (a, b, f))
WRAP(int, pipe2, pipe2, -1, (int fds[2], int f), (fds, f))
WRAP(int, eventfd, eventfd, -1, (unsigned v, int f), (v, f))
WRAP(int, memfd_create, memfd_create, -1, (const char *n, unsigned f), (n, f))
WRAP(int, ftruncate, ftruncate, fd, (int fd, off_t n), (fd, n))
WRAP(int, ftruncate64, ftruncate, fd, (int fd, off_t n), (fd, n))
WRAP_ERROR(posix_fallocate, posix_fallocate, fd, (int fd, off_t a, off_t n), (fd, a, n))
WRAP_ERROR(posix_fallocate64, posix_fallocate, fd, (int fd, off_t a, off_t n), (fd, a, n))
WRAP(int, flock, flock, fd, (int fd, int operation), (fd, operation))
WRAP(int, fsync, fsync, fd, (int fd), (fd))
WRAP(int, fdatasync, fdatasync, fd, (int fd), (fd))
WRAP(int, fchmod, fchmod, fd, (int fd, mode_t m), (fd, m))
WRAP(int, fchown, fchown, fd, (int fd, uid_t u, gid_t g), (fd, u, g))
WRAP(int, chmod, chmod, -1, (const char *p, mode_t m), (p, m))
WRAP(void *, mmap, mmap, -1, (void *a, size_t n, int p, int f, int fd, off_t o),
     (a, n, p, f, fd, o))
WRAP(void *, mmap64, mmap, -1, (void *a, size_t n, int p, int f, int fd, off_t o),
     (a, n, p, f, fd, o))
WRAP(int, epoll_create1, epoll_create1, -1, (int f), (f))
WRAP(int, epoll_ctl, epoll_ctl, -1, (int e, int op, int fd, struct epoll_event *v),
     (e, op, fd, v))
WRAP(int, epoll_wait, epoll_wait, -1, (int e, struct epoll_event *v, int n, int ms),
     (e, v, n, ms))
WRAP(int, epoll_pwait, epoll_pwait, -1,
     (int e, struct epoll_event *v, int n, int ms, const sigset_t *s), (e, v, n, ms, s))
WRAP(int, poll, poll, -1, (struct pollfd *p, nfds_t n, int ms), (p, n, ms))
WRAP(int, select, select, -1, (int n, fd_set *r, fd_set *w, fd_set *e, struct timeval *t),
     (n, r, w, e, t))
WRAP(int, unlink, unlink, -1, (const char *p), (p))
WRAP(int, unlinkat, unlink, -1, (int d, const char *p, int f), (d, p, f))
WRAP(int, rename, rename, -1, (const char *a, const char *b), (a, b))
WRAP(int, link, linkat, -1, (const char *a, const char *b), (a, b))
WRAP(int, linkat, linkat, -1, (int d, const char *a, int e, const char *b, int f),
     (d, a, e, b, f))
WRAP(int, mkdir, mkdir, -1, (const char *p, mode_t m), (p, m))
WRAP(int, mkdirat, mkdirat, -1, (int d, const char *p, mode_t m), (d, p, m))
WRAP(int, rmdir, rmdir, -1, (const char *p), (p))
WRAP(int, fstat, fstat, fd, (int fd, struct stat *s), (fd, s))
WRAP(int, fstat64, fstat, fd, (int fd, struct stat64 *s), (fd, s))
WRAP(int, stat, stat, -1, (const char *p, struct stat *s), (p, s))
WRAP(int, stat64, stat, -1, (const char *p, struct stat64 *s), (p, s))
WRAP(int, lstat, stat, -1, (const char *p, struct stat *s), (p, s))
WRAP(int, lstat64, stat, -1, (const char *p, struct stat64 *s), (p, s))
WRAP(int, fstatat, stat, -1, (int d, const char *p, struct stat *s, int f), (d, p, s, f))
WRAP(int, fstatat64, stat, -1, (int d, const char *p, struct stat64 *s, int f), (d, p, s, f))
WRAP(int, waitid, waitid, -1, (idtype_t t, id_t i, siginfo_t *s, int f), (t, i, s, f))
WRAP(pid_t, waitpid, waitpid, -1, (pid_t p, int *s, int f), (p, s, f))
WRAP(int, kill, kill, -1, (pid_t p, int s), (p, s))
WRAP(int, timer_create, timer_create, -1, (clockid_t c, struct sigevent *e, timer_t *t),
     (c, e, t))
WRAP(int, timer_settime, timer_settime, -1,
     (timer_t t, int f, const struct itimerspec *n, struct itimerspec *o), (t, f, n, o))
WRAP(int, setrlimit, setrlimit, -1, (__rlimit_resource_t r, const struct rlimit *l), (r, l))
WRAP(int, setrlimit64, setrlimit, -1, (__rlimit_resource_t r, const struct rlimit64 *l), (r, l))
WRAP(int, setuid, setuid, -1, (uid_t u), (u))
WRAP(int, setgid, setgid, -1, (gid_t g), (g))
WRAP(int, setgroups, setgroups, -1, (size_t n, const gid_t *g), (n, g))
WRAP(int, initgroups, initgroups, -1, (const char *u, gid_t g), (u, g))
WRAP(ssize_t, getrandom, getrandom, -1, (void *b, size_t n, unsigned f), (b, n, f))
WRAP(int, msgsnd, msgsnd, -1, (int q, const void *m, size_t n, int f), (q, m, n, f))
WRAP(ssize_t, msgrcv, msgrcv, -1, (int q, void *m, size_t n, long t, int f), (q, m, n, t, f))
WRAP(int, msgctl, msgctl, -1, (int q, int c, struct msqid_ds *b), (q, c, b))
WRAP_ERROR(pthread_create, pthread_create, -1,
           (pthread_t *t, const pthread_attr_t *a, void *(*f)(void *), void *x), (t, a, f, x))

/* -- the calls that are more than that --------------------------------------------------------- */

/* The descriptor is closed whatever close(2) returns. */
int close(int fd)
{
  static int (*next)(int);
  if (!next)
    next = (int (*)(int))real("close");
  int failed = inject_fails(CALL_close, fd), error = errno;
  int result = next(fd);
  errno = failed ? error : errno;
  return failed ? -1 : result;
}

int msgget(key_t key, int flags)
{
  static int (*next)(key_t, int);
  if (!next)
    next = (int (*)(key_t, int))real("msgget");
  if (inject_fails(CALL_msgget, -1))
    return -1;
  int queue = next(key, flags);
  if (queue >= 0 && inject_on())
    inject_note(NOTE_QUEUE, (uint64_t)queue, (uint64_t)key);
  return queue;
}

pid_t fork(void)
{
  static pid_t (*next)(void);
  if (!next)
    next = (pid_t(*)(void))real("fork");
  if (inject_fails(CALL_fork, -1))
    return -1;
  pid_t pid = next();
  if (pid == 0)
    inject_forked();
  if (pid > 0 && inject_on())
    inject_note(NOTE_FORK, (uint64_t)pid, 0);
  return pid;
}

DIR *opendir(const char *path)
{
  static DIR *(*next)(const char *);
  if (!next)
    next = (DIR * (*)(const char *)) real("opendir");
  return inject_fails(CALL_opendir, -1) ? NULL : next(path);
}

DIR *fdopendir(int fd)
{
  static DIR *(*next)(int);
  if (!next)
    next = (DIR * (*)(int)) real("fdopendir");
  return inject_fails(CALL_opendir, -1) ? NULL : next(fd);
}

#define OPEN(name, given, passed)                                                                 \
  int name given                                                                                  \
  {                                                                                               \
    static int (*next) given;                                                                     \
    va_list more;                                                                                 \
    va_start(more, flags);                                                                        \
    mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(more, mode_t) : 0;                       \
    va_end(more);                                                                                 \
    if (!next)                                                                                    \
      next = (int(*) given)real(#name);                                                           \
    return inject_fails(CALL_open, -1) ? -1 : next passed;                                               \
  }
OPEN(open, (const char *path, int flags, ...), (path, flags, mode))
OPEN(open64, (const char *path, int flags, ...), (path, flags, mode))
OPEN(openat, (int at, const char *path, int flags, ...), (at, path, flags, mode))
OPEN(openat64, (int at, const char *path, int flags, ...), (at, path, flags, mode))

#define FCNTL(name)                                                                               \
  int name(int fd, int command, ...)                                                              \
  {                                                                                               \
    static int (*next)(int, int, ...);                                                            \
    va_list more;                                                                                 \
    va_start(more, command);                                                                      \
    void *argument = va_arg(more, void *);                                                        \
    va_end(more);                                                                                 \
    if (!next)                                                                                    \
      next = (int (*)(int, int, ...))real(#name);                                                 \
    if ((command == F_DUPFD || command == F_DUPFD_CLOEXEC) && inject_fails(CALL_fcntl_dupfd, -1))        \
      return -1;                                                                                  \
    if ((command == F_SETLK || command == F_SETLKW) && inject_fails(CALL_fcntl_setlk, -1))               \
      return -1;                                                                                  \
    return next(fd, command, argument);                                                           \
  }
FCNTL(fcntl)
FCNTL(fcntl64)

int ioctl(int fd, unsigned long request, ...)
{
  static int (*next)(int, unsigned long, ...);
  va_list more;
  va_start(more, request);
  void *argument = va_arg(more, void *);
  va_end(more);
  if (!next)
    next = (int (*)(int, unsigned long, ...))real("ioctl");
  return inject_fails(CALL_ioctl, fd) ? -1 : next(fd, request, argument);
}

int prctl(int option, ...)
{
  static int (*next)(int, ...);
  unsigned long given[4];
  va_list more;
  va_start(more, option);
  for (int i = 0; i < 4; i++)
    given[i] = va_arg(more, unsigned long);
  va_end(more);
  if (!next)
    next = (int (*)(int, ...))real("prctl");
  return inject_fails(CALL_prctl, -1) ? -1 : next(option, given[0], given[1], given[2], given[3]);
}

static enum call by_number(long number)
{
  switch (number) {
  case SYS_pidfd_open: return CALL_pidfd_open;
  case SYS_pidfd_send_signal: return CALL_pidfd_send_signal;
  case SYS_futex: return CALL_futex;
  case SYS_getrandom: return CALL_getrandom;
  case SYS_memfd_create: return CALL_memfd_create;
  case SYS_io_uring_setup: return CALL_io_uring_setup;
  case SYS_timer_create: return CALL_timer_create;
  case SYS_timer_settime: return CALL_timer_settime;
  default: return CALL_syscall;
  }
}

long syscall(long number, ...)
{
  static long (*next)(long, ...);
  long given[6];
  va_list more;
  va_start(more, number);
  for (int i = 0; i < 6; i++)
    given[i] = va_arg(more, long);
  va_end(more);
  if (!next)
    next = (long (*)(long, ...))real("syscall");
  /* Of this library's own: inject_fails() and inject_note() call these. */
  int own = number == SYS_newfstatat || number == SYS_getsockopt || number == SYS_getpid;
  if (!own && inject_fails(by_number(number), -1))
    return -1;
  return next(number, given[0], given[1], given[2], given[3], given[4], given[5]);
}

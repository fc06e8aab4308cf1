"""Which errnos each call is made to fail with: those that its man page (section 2 or 3, man-pages
6.9) lists under ERRORS and that the environment can cause, whatever the program does right.

Left out are those that only a wrong program gets (EBADF, EFAULT, EINVAL, ENOTSOCK ...), and EAGAIN
where it only says "would block" of a descriptor that is polled first. EPERM stands where a seccomp
filter refuses a call (docker's default profile does). A call without a row cannot fail for want of
anything: `NEVER` says why.
"""

from __future__ import annotations

_ROOM = "EMFILE ENFILE ENOMEM"
_DISK = "ENOSPC EDQUOT EIO"

ERRNOS: dict[tuple[str, str], str] = {
    # (call, what its descriptor is): errnos
    ("socket", ""): "EMFILE ENFILE ENOBUFS ENOMEM",
    ("socketpair", ""): "EMFILE ENFILE",
    ("accept4", "inet"): "ECONNABORTED EINTR EMFILE ENFILE ENOBUFS ENOMEM EPROTO EPERM ENETDOWN",
    ("accept4", "unix"): "EINTR EMFILE ENFILE ENOBUFS ENOMEM",
    ("bind", "inet"): "EADDRINUSE EACCES",
    ("bind", "unix"): "EADDRINUSE EACCES ENOMEM EROFS",
    ("listen", "inet"): "EADDRINUSE",
    ("listen", "unix"): "EADDRINUSE",
    ("connect", "unix"): "EAGAIN ECONNREFUSED EACCES EINTR",
    ("getsockname", "inet"): "ENOBUFS",
    ("getsockname", "unix"): "ENOBUFS",
    ("getpeername", "inet"): "ENOBUFS ENOTCONN",
    ("getpeername", "unix"): "ENOBUFS ENOTCONN",
    ("setsockopt", "inet"): "ENOMEM ENOBUFS",
    ("setsockopt", "unix"): "ENOMEM ENOBUFS",
    ("getsockopt", "inet"): "ENOBUFS",
    ("shutdown", "inet"): "ENOTCONN",
    ("shutdown", "unix"): "ENOTCONN",
    ("send", "inet"): "ECONNRESET EINTR ENOBUFS ENOMEM EPIPE",
    ("send", "unix"): "EAGAIN EINTR ENOBUFS ENOMEM",
    ("sendmsg", "inet"): "ECONNRESET EINTR ENOBUFS ENOMEM EPIPE",
    ("sendmsg", "unix"): "EAGAIN EINTR ENOBUFS ENOMEM ETOOMANYREFS",
    ("sendmmsg", "inet"): "EINTR ENOBUFS ENOMEM",
    ("recv", "inet"): "ECONNRESET EINTR ENOMEM",
    ("recv", "unix"): "EINTR ENOMEM",
    ("recvmsg", "inet"): "ECONNRESET EINTR ENOMEM",
    ("recvmsg", "unix"): "EINTR ENOMEM",
    ("sendfile", "inet"): "EAGAIN EIO ENOMEM",
    ("read", "inet"): "ECONNRESET EINTR",
    ("read", "file"): "EINTR EIO",
    ("read", "memory"): "EINTR",
    ("read", "pipe"): "EINTR",
    ("read", "unix"): "EINTR",
    ("read", "other"): "EINTR",
    ("write", "inet"): "ECONNRESET EINTR EPIPE",
    ("write", "file"): f"{_DISK} EFBIG EINTR",
    ("write", "memory"): "ENOSPC EINTR",
    ("write", "log"): f"{_DISK} EINTR EPIPE",
    ("write", "pipe"): "EINTR",
    ("write", "unix"): "EINTR",
    ("write", "other"): "EINTR",
    ("writev", "inet"): "ECONNRESET EINTR EPIPE",
    ("pread", "file"): "EIO EINTR",
    ("pread", "memory"): "EINTR",
    ("pwrite", "file"): f"{_DISK} EFBIG EINTR",
    ("close", "file"): f"{_DISK} EINTR",
    ("dup", ""): "EMFILE",
    ("dup2", ""): "EINTR EMFILE",
    ("dup3", ""): "EINTR EMFILE",
    ("pipe2", ""): "EMFILE ENFILE",
    ("fcntl_dupfd", ""): "EMFILE",
    ("fcntl_setlk", ""): "ENOLCK EINTR",
    ("eventfd", ""): _ROOM,
    ("memfd_create", ""): f"{_ROOM} EPERM",
    ("flock", "other"): "EINTR ENOLCK",
    ("ftruncate", "file"): "EFBIG EINTR EIO",
    ("ftruncate", "memory"): "EFBIG EINTR",
    ("posix_fallocate", "file"): "ENOSPC EFBIG EINTR EIO",
    ("posix_fallocate", "memory"): "ENOSPC EFBIG EINTR",
    ("mmap", ""): "ENOMEM EAGAIN ENFILE",
    ("open", ""): f"{_ROOM} ENOSPC EDQUOT EACCES EINTR",
    ("opendir", ""): f"{_ROOM} EACCES",
    ("unlink", ""): "EIO ENOMEM EROFS EACCES",
    ("rename", ""): "ENOSPC EDQUOT ENOMEM EROFS",
    ("linkat", ""): f"{_DISK} ENOMEM EROFS",
    ("mkdir", ""): "ENOSPC EDQUOT ENOMEM EROFS EACCES",
    ("mkdirat", ""): "ENOSPC EDQUOT ENOMEM EROFS EACCES",
    ("rmdir", ""): "ENOMEM EROFS EACCES",
    ("stat", ""): "ENOMEM EACCES",
    ("fstat", "file"): "ENOMEM",
    ("fstat", "memory"): "ENOMEM",
    ("fstat", "unix"): "ENOMEM",
    ("fstat", "inet"): "ENOMEM",
    ("fstat", "log"): "ENOMEM",
    ("fstat", "other"): "ENOMEM",
    ("fsync", "file"): f"{_DISK} EINTR",
    ("fdatasync", "file"): f"{_DISK} EINTR",
    ("fdatasync", "other"): f"{_DISK} EINTR",
    ("chmod", ""): "EIO EROFS EPERM",
    ("fchmod", "file"): "EIO EROFS EPERM",
    ("fchown", "file"): "EIO EROFS EPERM",
    ("epoll_create1", ""): _ROOM,
    ("epoll_ctl", ""): "ENOMEM ENOSPC",
    ("epoll_wait", ""): "EINTR",
    ("epoll_pwait", ""): "EINTR",
    ("poll", ""): "EINTR ENOMEM",
    ("select", ""): "EINTR ENOMEM",
    ("fork", ""): "EAGAIN ENOMEM",
    ("pthread_create", ""): "EAGAIN",
    ("waitid", ""): "EINTR",
    ("waitpid", ""): "EINTR",
    ("pidfd_open", ""): f"{_ROOM} EPERM",
    ("pidfd_send_signal", ""): "EPERM",
    ("kill", ""): "EPERM",
    ("prctl", ""): "EPERM",
    ("timer_create", ""): "EAGAIN ENOMEM",
    ("setrlimit", ""): "EPERM",
    ("getrandom", ""): "EINTR",
    ("futex", ""): "EINTR",
    ("io_uring_setup", ""): "EMFILE ENFILE ENOMEM EPERM",
    ("msgget", ""): "ENOSPC ENOMEM",
    ("msgsnd", ""): "EAGAIN EINTR ENOMEM",
    ("msgrcv", ""): "EINTR",
}

NEVER: dict[str, str] = {
    "ioctl": "FIONREAD, TIOCOUTQ and terminal questions: its man page lists a wrong program's only",
    "msgctl": "EIDRM of a queue that is there is no state; D22 is tested with a queue that is gone",
    "recvmmsg": "only libuv's UDP, which ipckit does not use",
    "syscall": "numbers that the library does not know by name",
    "timer_settime": "its man page lists a wrong program's only",
}
"""Calls without errnos. The same holds for each kind of descriptor that has no row above."""

QUIET = frozenset(
    "EINTR EAGAIN ECONNABORTED ECONNRESET EPIPE ENOTCONN ETOOMANYREFS EADDRINUSE".split()
)
"""Those that say "again", or that a peer has gone: no log line is asked for."""

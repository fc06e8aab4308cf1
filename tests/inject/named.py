"""Whether a text names a failure: the call, or what it was made for, and the errno. Pure.

A log is read line by line; a traceback is of the line above it. One of them must name both.
"""

from __future__ import annotations

import errno
import os
import re

from inject.cases import Case

__all__ = ["ACTIONS", "CALLS", "is_named", "is_told"]

CALLS: dict[str, str] = {
    "accept4": "accept",
    "fcntl_dupfd": "dup|fcntl",
    "fcntl_setlk": "fcntl",
    "linkat": "link",
    "recv": "recvfrom|recvmsg",
    "send": "sendto",
    "stat": "lstat",
}
"""What the log calls a call, as a regular expression, beside its own name."""

ACTIONS: dict[str, str] = {
    # the words of the log, as a regular expression: the calls that this is done by
    r"a client's socket failed": "setsockopt getsockname getpeername fcntl_dupfd",
    r"a copy of a connection": "getsockopt",
    r"a connection waits for its copy": "getsockname fcntl_dupfd",
    r"a file was not sent to its end": "close pread",
    r"attempt \d+ failed": "kill open pread read select stat write",  # of the task's own code
    r"Logging error": "close fstat open stat write",
    r"bind: ": "getsockname setsockopt stat flock fstat unlink open",
    r"connection \d+ was not taken over": "epoll_ctl getpeername getsockname setsockopt",
    r"dead letters|dead_letter_path": "open fstat close pread pwrite read write stat fchown unlink "
    "fcntl_setlk mmap ftruncate",
    r"/proc/\d+/statm": "open read close",
    r"cannot be loaded|importlib|<frozen": "open read fstat stat close opendir fcntl_dupfd mmap",
    r"open: .*log_file": "fstat",
    r"opendir: .*spill files": "fcntl_dupfd fstat",
    r"mmap: ": "fcntl_dupfd fstat",
    r"read: .*spill file": "close fstat open",
    r"sendfile: ": "fstat open",
    r"set_wakeup_fd": "fstat",
    r"the control socket failed": "accept4 getsockopt recv send",
    r"there is no control socket": "bind fstat listen mkdir open opendir socket stat unlink",
    r"there is no run record": "close fcntl_setlk fstat linkat open read stat unlink write",
    r"uvloop": "epoll_create1 epoll_ctl epoll_pwait eventfd fcntl_dupfd fstat io_uring_setup mmap "
    "pipe2 recv socketpair",
    r"write: .*bytes into": "close fchown linkat open",
}

SQLITE: dict[str, str] = {
    # call: the step that SQLite names for it (it keeps the errno for itself)
    "close": "CLOSE|IOERR",
    "fcntl_setlk": "LOCK|BUSY|IOERR",
    "fdatasync": "FSYNC",
    "fstat": "FSTAT|CANTOPEN|SHMOPEN|SHMSIZE|IOERR",
    "ftruncate": "TRUNCATE|SHMSIZE|SHMOPEN",
    "mmap": "SHMMAP|NOMEM",
    "open": "CANTOPEN|READONLY",
    "pread": "READ|NOTADB|CORRUPT",
    "pwrite": "WRITE|FULL|SHMSIZE",
    "read": "READ|NOTADB|CORRUPT",
    "stat": "CANTOPEN|FSTAT|ACCESS",
    "unlink": "DELETE",
    "write": "WRITE|FULL|SHMSIZE",
}

IMPORT = r"there is no module", "open opendir stat"
"""Python's import passes over a directory that it cannot read, and keeps the errno for itself."""

_LINE = re.compile(r"^(?=\d{4}-\d\d-\d\d \d\d:\d\d:\d\d|Exception in callback)", re.MULTILINE)


def is_named(case: Case, texts: list[str]) -> bool:
    """Whether one of the lines of these texts names it."""
    return any(_names(case, line) for text in texts for line in _LINE.split(text))


def is_told(case: Case, texts: list[str]) -> bool:
    """Whether its errno is in one of them, of whatever call."""
    return any(_names_errno(case, text) for text in texts)


def _names(case: Case, line: str) -> bool:
    if case.call in SQLITE and re.search(rf"SQLITE_\w*({SQLITE[case.call]})", line):
        return True
    if case.call in IMPORT[1].split() and re.search(IMPORT[0], line):
        return True
    if not _names_errno(case, line):
        return False
    words = "|".join(filter(None, (case.call, CALLS.get(case.call))))
    return re.search(rf"\b({words})\b", line) is not None or any(
        case.call in calls.split() and re.search(words, line) for words, calls in ACTIONS.items()
    )


def _names_errno(case: Case, line: str) -> bool:
    texts = [os.strerror(case.error), errno.errorcode[case.error]]
    if case.error == errno.ENOMEM:
        texts.append("MemoryError")
    return any(text in line for text in texts)

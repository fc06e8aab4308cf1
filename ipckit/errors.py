"""Every exception ipckit raises, and the one table from errno to class.

Contract  A class says what the caller can do about it; the text says which call, which value,
          which limit and what to change. Each class is also the standard class that a Python
          programmer would catch. All of them survive pickling, with type, text and fields,
          because they cross process borders.
Stands on nothing of ipckit (tier T0).
"""

from __future__ import annotations

import contextlib as _contextlib
import errno as _errno
import os
import queue as _queue
import resource as _resource
from collections.abc import Iterator as _Iterator

__all__ = [
    "AccessDenied",
    "AlreadyExists",
    "BootFailed",
    "DeadlockError",
    "IPCError",
    "InternalError",
    "MessageTooLarge",
    "MisuseError",
    "NotFound",
    "PeerGone",
    "ProtocolError",
    "QueueEmpty",
    "QueueFull",
    "QueueRemoved",
    "SchemaError",
    "SegmentCorrupt",
    "SettingsError",
    "SystemCallError",
    "TableFull",
    "TaskFailed",
    "TaskQueueFull",
    "TaskTimeout",
    "WaitTimeout",
    "from_errno",
]


class IPCError(Exception):
    """Base of everything ipckit raises on purpose."""


class SettingsError(IPCError, ValueError):
    """A setting or event is unknown or has a wrong value; raised before any process exists."""


class MisuseError(IPCError, RuntimeError):
    """The right call in the wrong place, e.g. `task()` inside a task worker."""


class BootFailed(IPCError, RuntimeError):
    """A server process died before it was ready.

    Fields: `worker_id` (int, -1 unknown), `remote_traceback` (text, "" when there is none).
    """

    def __init__(
        self, message: str = "", *, worker_id: int = -1, remote_traceback: str = ""
    ) -> None:
        super().__init__(message)
        self.worker_id = worker_id
        self.remote_traceback = remote_traceback


class ProtocolError(IPCError):
    """The peer sent what cannot be understood; the channel is dead from here."""


class PeerGone(IPCError, ConnectionError):
    """The other end closed or died."""


class WaitTimeout(IPCError, TimeoutError):
    """The time given for a wait is over; nothing was taken and nothing was changed."""


class TaskFailed(IPCError):
    """A task was given up after its last attempt.

    Fields: `task_id`, `attempts` (how many were made), `remote_traceback` (of the last one).
    The text ends with the type and text of the last exception.
    """

    def __init__(
        self,
        message: str = "",
        *,
        task_id: int = 0,
        attempts: int = 0,
        remote_traceback: str = "",
    ) -> None:
        super().__init__(message)
        self.task_id = task_id
        self.attempts = attempts
        self.remote_traceback = remote_traceback


class TaskTimeout(IPCError, TimeoutError):
    """A task's result did not come in the time given, or an attempt took longer than allowed."""


class TaskQueueFull(IPCError, _queue.Full):
    """No room for another task; nothing was stored. `await server.task_later()` waits for room.

    Field: `setting` (what is full: `task_queue_size` or `task_memory`; "": the server stops, or
    another process is storing a task with this `dedup_key`).
    """

    def __init__(self, message: str = "", *, setting: str = "") -> None:
        super().__init__(message)
        self.setting = setting


class TableFull(IPCError):
    """Every row is in use; nothing was changed. Fields: `size` (rows), `key` (the one refused)."""

    def __init__(self, message: str = "", *, size: int = 0, key: str | bytes = "") -> None:
        super().__init__(message)
        self.size = size
        self.key = key


class SchemaError(IPCError, ValueError):
    """A column is unknown or a value has the wrong type; the text names the columns there are."""


class SegmentCorrupt(IPCError):
    """A shared segment is damaged, foreign, or of another layout; it is not used."""


class DeadlockError(IPCError):
    """Waiting would never end: the caller, or a cycle he closes, holds what he asks for."""


class SystemCallError(IPCError, OSError):
    """A system call failed; `errno` is always set."""


class AlreadyExists(SystemCallError, FileExistsError):
    """The kernel object is there already; nothing was made."""


class NotFound(SystemCallError, FileNotFoundError):
    """There is no such kernel object or file."""


class AccessDenied(SystemCallError, PermissionError):
    """The object belongs to somebody else, or its rights do not allow this."""


class QueueFull(SystemCallError, _queue.Full, BlockingIOError):
    """The queue had no room in the time given; nothing was sent."""


class QueueEmpty(SystemCallError, _queue.Empty, BlockingIOError):
    """No fitting message came in the time given; nothing was taken."""


class QueueRemoved(SystemCallError):
    """The queue was removed, before the call or while it waited."""


class MessageTooLarge(SystemCallError):
    """A message is over a limit; it was not sent, or it stays in the queue."""


class InternalError(IPCError):
    """An invariant of ipckit is broken: our defect, please report it."""


# Only errnos with one meaning for that call: msgsnd's EINVAL has three, so its caller decides.
_BY_CALL: dict[str, dict[int, type[SystemCallError]]] = {
    "msgsnd": {_errno.EAGAIN: QueueFull, _errno.EIDRM: QueueRemoved},
    "msgrcv": {
        _errno.ENOMSG: QueueEmpty,
        _errno.EIDRM: QueueRemoved,
        _errno.E2BIG: MessageTooLarge,
    },
    "msgctl": {_errno.EIDRM: QueueRemoved, _errno.EINVAL: QueueRemoved},
    "mq_send": {
        _errno.EAGAIN: QueueFull,
        _errno.ETIMEDOUT: QueueFull,
        _errno.EMSGSIZE: MessageTooLarge,
    },
    "mq_receive": {_errno.EAGAIN: QueueEmpty, _errno.ETIMEDOUT: QueueEmpty},
}
_BY_ERRNO: dict[int, type[SystemCallError]] = {
    _errno.EPERM: AccessDenied,
    _errno.ENOENT: NotFound,
    _errno.EACCES: AccessDenied,
    _errno.EEXIST: AlreadyExists,
}


_FILTERED = frozenset(
    {
        "eventfd",
        "memfd_create",
        "msgget",
        "pidfd_open",
        "prctl",
        "prctl or timer_create",
        "ptrace",
    }
)
"""Calls that need no right: EPERM is of a seccomp filter, ENOSYS of one or of the kernel."""


def from_errno(call: str, code: int, detail: str, remedy: str = "") -> SystemCallError:
    """Return (not raise) the exception for `call` having failed with errno `code`.

    `detail` says what was asked for, and what the limit was, in numbers. `remedy` says what to do,
    where the errno itself does not say it.
    """
    cls = _BY_CALL.get(call, {}).get(code) or _BY_ERRNO.get(code, SystemCallError)
    remedy = _remedy(call, code) or remedy
    return cls(code, "; ".join(filter(None, (f"{call}: {os.strerror(code)}: {detail}", remedy))))


def _remedy(call: str, code: int) -> str:
    """Return what to do about an errno of a call, whatever was asked for; "": that depends."""
    if call in _FILTERED and code in (_errno.EPERM, _errno.ENOSYS):
        return (
            f"a seccomp filter refuses {call}, or this kernel does not have it: allow it in the "
            f"container (docker run --security-opt seccomp=PROFILE); see `ipckit doctor`"
        )
    if code == _errno.EFBIG:
        most = _resource.getrlimit(_resource.RLIMIT_FSIZE)[0]
        if most != _resource.RLIM_INFINITY:
            return f"the limit of the size of a file is {most} bytes: raise it (ulimit -f)"
    if code == _errno.ENOMEM and call == "mmap":
        most = _resource.getrlimit(_resource.RLIMIT_AS)[0]
        if most != _resource.RLIM_INFINITY:
            return (
                f"the limit of this process's addresses is {most} bytes (ulimit -v): if that is "
                f"reached, raise it"
            )
    if code == _errno.EAGAIN and call == "pthread_create":
        most = _resource.getrlimit(_resource.RLIMIT_NPROC)[0]
        of_user = "none" if most == _resource.RLIM_INFINITY else most
        return (
            f"the limit of this user's threads and processes is {of_user} (ulimit -u), that of a "
            f"control group is pids.max: raise the one that is reached"
        )
    if code == _errno.EAGAIN and "timer_create" in call:
        most = _resource.getrlimit(_resource.RLIMIT_SIGPENDING)[0]
        if most != _resource.RLIM_INFINITY:
            return (
                f"timers and pending signals of this user have the limit {most}: raise it "
                f"(ulimit -i)"
            )
    return ""


@_contextlib.contextmanager
def system_call(name: str, detail: str, remedy: str = "") -> _Iterator[None]:
    """Raise an OSError of the block as the exception for this call, as from_errno() gives it.

    One of ours passes through: it names its call already.
    """
    try:
        yield
    except IPCError:
        raise
    except OSError as exc:
        raise from_errno(name, exc.errno or _errno.EIO, detail, remedy) from None

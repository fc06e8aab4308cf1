"""Opening and making a POSIX queue: its name checked, and a refusal of the kernel in words.

Contract  docs/contracts/queue.md. Raises ValueError, TypeError, AlreadyExists, NotFound,
          AccessDenied or SystemCallError; then nothing was made.
Kernel    mq_open(3); limits in /proc/sys/fs/mqueue/.
Stands on ipckit.queue.posix_calls, ipckit.errors.
"""

from __future__ import annotations

import errno
import os

from ipckit.errors import AccessDenied, AlreadyExists, NotFound, from_errno
from ipckit.queue.posix_calls import Calls, MessageQueue

__all__ = ["check_name", "found", "made"]


def made(
    calls: Calls, name: str, mode: int, max_messages: int, max_message_size: int
) -> MessageQueue:
    try:
        return calls.make(name, mode, max_messages, max_message_size)
    except FileExistsError:
        raise AlreadyExists(
            errno.EEXIST, f"mq_open: there is a queue {name}; open() takes it"
        ) from None
    except OSError as exc:
        if exc.errno == errno.EINVAL:
            raise ValueError(
                f"max_messages={max_messages}, max_message_size={max_message_size}: the limits are "
                f"{_limit('msg_max')} (msg_max) and {_limit('msgsize_max')} (msgsize_max) in "
                "/proc/sys/fs/mqueue; more needs CAP_SYS_RESOURCE"
            ) from None
        sizes = f"{name}, {max_messages} x {max_message_size} bytes"
        raise _not_opened(name, exc, sizes) from None


def found(calls: Calls, name: str) -> MessageQueue:
    try:
        return calls.find(name)
    except FileNotFoundError:
        raise NotFound(
            errno.ENOENT, f"mq_open: there is no queue {name}; create() makes one"
        ) from None
    except OSError as exc:
        raise _not_opened(name, exc, name) from None


def _not_opened(name: str, exc: OSError, what: str) -> Exception:
    if isinstance(exc, PermissionError):
        return AccessDenied(
            errno.EACCES,
            f"mq_open: {name} may not be read and written; its owner can set() another mode",
        )
    return from_errno("mq_open", exc.errno or 0, f"{what}; see `ulimit -q`, `ulimit -n`")


def check_name(name: str) -> None:
    if not isinstance(name, str):
        raise TypeError(f"name={name!r}: must be a str")
    rest = name[1:]
    size = len(os.fsencode(rest))
    if (
        name[:1] != "/"
        or "/" in rest
        or "\0" in rest
        or not 1 <= size <= 254
        or rest in {".", ".."}
    ):
        raise ValueError(f"name={name!r}: must be '/' and 1..254 bytes without '/'")


def _limit(name: str) -> str:
    try:
        with open(f"/proc/sys/fs/mqueue/{name}") as file:
            return file.read().strip()
    except OSError:
        return "unknown"

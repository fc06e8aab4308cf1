"""Descriptors for a process that multiprocessing starts by "spawn" or "forkserver".

Such a process inherits nothing. While it is started, the arguments of its Process are pickled, and
descriptors travel beside the pickle. So an object without a name can be pickled only then.

Contract  descriptor_for_child() is called by the `__reduce__` of an object, and what it returns is
          pickled. receive_descriptor() is called when that is unpickled, and gives a descriptor
          that the caller owns, close-on-exec. It refuses another file than the one that was sent.
Stands on multiprocessing (looked at when it is loaded, never imported before), ipckit.errors.
Crash     of the child, at any time: the kernel closes its descriptors. The sender keeps its own.
Source    https://docs.python.org/3/library/multiprocessing.html, "Contexts and start methods".
"""

from __future__ import annotations

import errno
import fcntl
import os
import sys
import weakref
from collections.abc import Collection
from typing import Any

from ipckit.errors import MisuseError, NotFound

__all__ = [
    "Sent",
    "additions",
    "check_class",
    "descriptor_for_child",
    "is_spawning",
    "only_inherited",
    "receive_descriptor",
    "replaced",
]

Sent = tuple[Any, int, int, int]
"""A descriptor on its way: multiprocessing's wrapper, device and inode of the file, the sender."""

_sent: weakref.WeakKeyDictionary[Any, dict[int, Any]] = weakref.WeakKeyDictionary()
"""What each process that is being started gets: multiprocessing takes a descriptor only once."""

_received: dict[int, tuple[int, int]] = {}
"""The descriptors that were sent to this process, with their files. Two pickles may name one."""


def _popen() -> Any:
    context = sys.modules.get("multiprocessing.context")
    return None if context is None else context.get_spawning_popen()


def is_spawning() -> bool:
    """Whether this thread pickles the arguments of a process that is being started."""
    return _popen() is not None


def descriptor_for_child(
    fd: int, owner: str, instead: str, file: tuple[int, int] | None = None
) -> Sent:
    """Return what stands for `fd` in the pickle of an `owner`, which is a class's name.

    MisuseError: no process is being started (`instead` says what else the caller can do), or `fd`
    is not of the `file` any more, its device and inode.
    """
    popen = _popen()
    if popen is None:
        raise only_inherited(owner, instead)
    from multiprocessing.reduction import DupFd  # noqa: PLC0415  (loaded, as there is a popen)

    found = _file_of(fd)
    if found is None or found != (file or found):
        raise MisuseError(
            f"the descriptor of this {owner}, {fd}, was closed by another part of the program: "
            f"leave it open"
        )
    sent = _sent.setdefault(popen, {})
    if fd not in sent:
        sent[fd] = DupFd(fd)
    return sent[fd], *found, os.getpid()


def receive_descriptor(sent: Sent) -> int:
    """Return the descriptor that was sent. The caller owns it.

    MisuseError: this process was not started with it. TypeError: it is no Sent.
    """
    if not (
        isinstance(sent, tuple)
        and len(sent) == 4
        and callable(getattr(sent[0], "detach", None))
        and all(isinstance(number, int) for number in sent[1:])
    ):
        raise TypeError(f"{sent!r} is no descriptor that a process was started with")
    wrapper, device, inode, sender = sent
    try:
        fd: int = wrapper.detach()
        found = _file_of(fd)
    except (OSError, TypeError, IndexError, OverflowError):  # this process got none
        found = None
    if found != (device, inode):
        raise MisuseError(
            "the descriptor of this pickle is not in this process: only a process that is started "
            "with the object in its args can unpickle it"
        )
    if sender == os.getpid() or _received.get(fd) == found:  # another object has that one
        return fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 0)
    os.set_inheritable(fd, False)
    _received[fd] = device, inode
    return fd


def only_inherited(owner: str, instead: str) -> MisuseError:
    """Return the error of pickling what only a process that is being started can get."""
    return MisuseError(
        f"{owner} objects should only be shared between processes through inheritance: pass it in "
        f"the args of multiprocessing.Process, or {instead}"
    )


def additions(owner: object, own: Collection[str]) -> dict[str, Any] | None:
    """Return the attributes that a subclass or its user added to those named in `own`."""
    added = {
        name: value for name, value in getattr(owner, "__dict__", {}).items() if name not in own
    }
    return added or None


def check_class(given: object, base: type) -> None:
    """Refuse a pickle of another class: TypeError."""
    if not (isinstance(given, type) and issubclass(given, base)):
        raise TypeError(f"{given!r}: must be {base.__name__} or a subclass of it")


def replaced(call: str, name: str) -> NotFound:
    """Return the error of unpickling by a name that another object has by now."""
    return NotFound(
        errno.ENOENT,
        f"{call}: what was pickled as {name!r} was removed, and another one has the name; open() "
        f"takes that one",
    )


def _file_of(fd: int) -> tuple[int, int] | None:
    try:
        found = os.fstat(fd)
    except OSError:
        return None
    return found.st_dev, found.st_ino

"""Atomic and Lock: a number and a lock that forked processes share.

Contract  docs/contracts/sync.md. Both are made before the fork that shares them.
Stands on ipckit._core (their calls), os.
Crash     a number's change happened or did not; a dead holder's lock goes to the next to ask.
Fork      shares what is there; the child makes its own new ones in an arena of its own.
Limits    512 living threads, of all processes, may use the locks of one arena (1,024 objects).
"""

from __future__ import annotations

import os
import threading
from typing import Any

from ipckit._core import lib
from ipckit._core._rows import Arena, Mutex, Number
from ipckit.errors import system_call

__all__ = ["Atomic", "Lock"]

_CELLS = 1024


class Atomic(Number):
    """A 64-bit signed number, shared by fork. Process safe and thread safe.

    Args:
        value: what it begins with.

    Raises:
        TypeError: no int. OverflowError: over 64 bits.

    Every call is one step. add(n=1) and sub(n=1) return the new value; wait(expected,
    timeout=None) sleeps while the value is `expected`, until wake(n=1). A process that is killed
    leaves the number as its last call made it.
    Source: futex(2); Swoole's Atomic, https://wiki.swoole.com/en/#/memory/atomic.
    """

    def __init__(self, value: int = 0) -> None:
        """Make it."""
        self._cell = _Cell(self)
        self.set(value)

    def __repr__(self) -> str:
        """Show the value of this moment."""
        return f"Atomic({self.get()})"

    def __reduce__(self) -> str:
        """Refuse: it is shared by fork only."""
        raise TypeError("an Atomic cannot be pickled: make it before the fork that shares it")


class Lock(Mutex):
    """A lock for processes and their threads, shared by fork.

    acquire(timeout=None) -> bool, release(), `with lock:`, locked(). It belongs to the thread
    that took it; another's release() is MisuseError. When its holder is killed, or its thread
    ends, the next acquire() succeeds at once and `recovered` is True: what the lock protects may
    be half done. A holder that is merely stopped keeps it. Not fair: the first to ask may wait.
    Source: pthread_mutexattr_setrobust(3), futex(2).
    """

    def __init__(self) -> None:
        """Make it, free."""
        self._cell = _Cell(self)

    def __repr__(self) -> str:
        """Show whether it is taken at this moment."""
        return f"<Lock, {'taken' if self.locked() else 'free'}>"

    def __reduce__(self) -> str:
        """Refuse: it is shared by fork only."""
        raise TypeError("a Lock cannot be pickled: make it before the fork that shares it")


class _Cell:
    """One object's place in an arena; given back with the object, unless a fork shares it."""

    _forks = -1  # until it has its place

    def __init__(self, user: Any) -> None:
        with _arenas.guard:
            self._home = _arenas.current()
            self._index = self._home.take()
            self._forks = _arenas.forks
        self._home.arena.clear(self._index)
        user._place(self._home.arena, self._index)

    def __del__(self) -> None:
        # append: one step, so it needs no guard, which this very thread may hold.
        if self._forks == _arenas.forks:
            self._home.free.append(self._index)


class _Home:
    """An arena, and which of its cells this process may still give out."""

    def __init__(self) -> None:
        what = "shared memory for locks and numbers"
        with system_call("memfd_create", what):
            fd = os.memfd_create("ipckit.sync", os.MFD_CLOEXEC)
        try:
            with system_call("posix_fallocate", what):
                os.posix_fallocate(fd, 0, lib.ipk_sync_bytes(_CELLS))
            with system_call("mmap", what):
                self.arena = Arena(fd, _CELLS)
        except BaseException:
            os.close(fd)
            raise
        self.free = list(reversed(range(_CELLS)))

    def take(self) -> int:
        return self.free.pop()


class _Arenas:
    """The arena this process takes cells from. A forked child begins its own."""

    def __init__(self) -> None:
        self.forks = 0
        self._home: _Home | None = None
        self.guard = threading.Lock()
        os.register_at_fork(before=self._before_fork, after_in_child=self._in_child)

    def current(self) -> _Home:
        if self._home is None or not self._home.free:
            self._home = _Home()
        return self._home

    def _before_fork(self) -> None:
        self.forks += 1

    def _in_child(self) -> None:
        self._home = None
        self.guard = threading.Lock()


_arenas = _Arenas()

"""Atomic and Lock: a number and a lock that related processes share.

Contract  docs/contracts/sync.md. Both are made before the process that shares them is started.
Stands on ipckit._core (their calls), ipckit._spawning, os.
Crash     a number's change happened or did not; a dead holder's lock goes to the next to ask.
Fork      shares what is there; the child makes its own new ones in an arena of its own.
Spawn     sends the descriptor of the arena, and the number of the cell. A process maps an arena
          once, as it has one place in it for each thread, however many of its objects arrive.
Limits    512 living threads, of all processes, may use the locks of one arena (1,024 objects).
"""

from __future__ import annotations

import os
import threading
import weakref
from typing import Any

from ipckit._core import lib
from ipckit._core._rows import Arena, Mutex, Number
from ipckit._segments import file_of
from ipckit._spawning import (
    Sent,
    additions,
    check_class,
    descriptor_for_child,
    is_spawning,
    only_inherited,
    receive_descriptor,
)
from ipckit.errors import SegmentCorrupt, system_call

__all__ = ["Atomic", "Lock"]

_CELLS = 1024
_INSTEAD = "make it before the fork that shares it"


class Atomic(Number):
    """A 64-bit signed number that related processes share. Process safe and thread safe.

    A fork shares it, and so does a `multiprocessing.Process` that has it in its args.

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

    def __reduce__(self) -> tuple[Any, ...]:
        """Share it with a process that is being started. Else MisuseError."""
        return _reduced(self, self._cell)


class Lock(Mutex):
    """A lock for related processes and their threads.

    A fork shares it, and so does a `multiprocessing.Process` that has it in its args.

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

    def __reduce__(self) -> tuple[Any, ...]:
        """Share it with a process that is being started. Else MisuseError."""
        return _reduced(self, self._cell)


class _Cell:
    """One object's place in an arena; given back with the object, unless it is shared."""

    _forks = -1  # until it has its place, and when another process has it too

    def __init__(self, user: Any, at: tuple[_Home, int] | None = None) -> None:
        """Take a free cell and clear it, or the one `at` a number of an arena as it is."""
        if at is None:
            with _arenas.guard:
                self.home = _arenas.current()
                self.index = self.home.take()
                self._forks = _arenas.forks
            self.home.arena.clear(self.index)
        else:
            self.home, self.index = at
        user._place(self.home.arena, self.index)

    def shared(self) -> tuple[_Home, int]:
        """Return where it is, for a process that is being started; it is never given back."""
        self._forks = -1
        return self.home, self.index

    def __del__(self) -> None:
        # append: one step, so it needs no guard, which this very thread may hold.
        if self._forks == _arenas.forks:
            self.home.free.append(self.index)


class _Home:
    """An arena, and which of its cells this process may still give out."""

    def __init__(self, fd: int, free: list[int]) -> None:
        """Take over the descriptor of an arena. ValueError: it is none, and stays the caller's."""
        self.file = file_of(fd)
        self.arena = Arena(fd, _CELLS)
        self.free = free

    @classmethod
    def made(cls) -> _Home:
        """Return a new arena; every cell is free."""
        what = "shared memory for locks and numbers"
        with system_call("memfd_create", what):
            fd = os.memfd_create("ipckit.sync", os.MFD_CLOEXEC)
        try:
            with system_call("posix_fallocate", what):
                os.posix_fallocate(fd, 0, lib.ipk_sync_bytes(_CELLS))
            with system_call("mmap", what):
                return cls(fd, list(reversed(range(_CELLS))))
        except BaseException:
            os.close(fd)
            raise

    def take(self) -> int:
        return self.free.pop()

    def __reduce__(self) -> tuple[Any, ...]:
        """Send the descriptor. A pickle holds each arena once."""
        return _received, (descriptor_for_child(self.arena.fileno(), "arena", _INSTEAD, self.file),)


class _Arenas:
    """The arena this process takes cells from. A forked child begins its own."""

    def __init__(self) -> None:
        self.forks = 0
        self._home: _Home | None = None
        self._mapped: weakref.WeakValueDictionary[tuple[int, int], _Home] = (
            weakref.WeakValueDictionary()
        )
        self.guard = threading.Lock()
        os.register_at_fork(before=self._before_fork, after_in_child=self._in_child)

    def current(self) -> _Home:
        if self._home is None or not self._home.free:
            self._home = _Home.made()
            self._mapped[self._home.file] = self._home
        return self._home

    def received(self, fd: int) -> _Home:
        """Return the arena of a descriptor that was sent here, mapped already or now."""
        try:
            file = file_of(fd)
            with self.guard, system_call("mmap", "an arena of locks and numbers that was sent"):
                home = self._mapped.get(file)
                if home is None:
                    home = _Home(fd, [])  # its cells are given out where it was made
                    self._mapped[home.file] = home
                    return home
        except ValueError:
            os.close(fd)
            raise SegmentCorrupt("the descriptor is no arena of locks and numbers") from None
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)
        return home

    def _before_fork(self) -> None:
        self.forks += 1

    def _in_child(self) -> None:
        self._home = None
        self.guard = threading.Lock()


_arenas = _Arenas()


def _reduced(user: Atomic | Lock, cell: _Cell) -> tuple[Any, ...]:
    """Return the pickle of one of them."""
    if not is_spawning():
        raise only_inherited(type(user).__name__, _INSTEAD)
    return _placed, (type(user), *cell.shared()), additions(user, ("_cell",))


def _placed(cls: type[Atomic | Lock], home: _Home, index: int) -> Atomic | Lock:
    """Return the object at a cell that another process shares with this one."""
    check_class(cls, Lock if isinstance(cls, type) and issubclass(cls, Lock) else Atomic)
    if not isinstance(home, _Home):
        raise TypeError(f"{home!r}: must be an arena that was sent")
    if not isinstance(index, int) or not 0 <= index < _CELLS:
        raise ValueError(f"index={index!r}: must be 0..{_CELLS - 1}, a cell of the arena")
    user = cls.__new__(cls)
    user._cell = _Cell(user, (home, index))
    return user


def _received(sent: Sent) -> _Home:
    return _arenas.received(receive_descriptor(sent))

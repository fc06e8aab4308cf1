"""Removing System V segments and semaphore sets: by sysv_ipc where installed, else by the core.

Contract  `OBJECTS` is the one that this Python has; both do the same, and a test runs for each.
Kernel    shmctl(2), semctl(2).  Stands on the package sysv_ipc, or ipckit._core (queues/posix).
Errors    FileNotFoundError: there is none. PermissionError: it is another user's.
          ImportError when sysv_ipc is installed and broken; only its absence is no error.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from typing import Protocol

__all__ = ["OBJECTS", "ByCore", "ByPackage", "Objects"]


class Objects(Protocol):
    """What removes them, by their identifier."""

    def remove_segment(self, number: int) -> None:
        """Remove a shared memory segment; processes that have attached it keep it."""

    def remove_semaphores(self, number: int) -> None:
        """Remove a set of semaphores; a process that waits for one gets EIDRM."""


class ByPackage:
    """With the package sysv_ipc."""

    def __init__(self) -> None:
        """Raise ModuleNotFoundError where the package is not installed."""
        import sysv_ipc  # noqa: PLC0415  (only where it is installed)

        self._package = sysv_ipc

    def remove_segment(self, number: int) -> None:
        """See Objects."""
        self._told(self._package.remove_shared_memory, number)

    def remove_semaphores(self, number: int) -> None:
        """See Objects."""
        self._told(self._package.remove_semaphore, number)

    def _told(self, call: Callable[[int], object], number: int) -> None:
        try:
            call(number)
        except self._package.ExistentialError:
            raise _failed(errno.ENOENT) from None
        except self._package.PermissionsError:
            raise _failed(errno.EPERM) from None


class ByCore:
    """With the C core."""

    def __init__(self) -> None:
        """Load the core."""
        from ipckit._core import lib  # noqa: PLC0415  (only where it is needed)

        self._lib = lib

    def remove_segment(self, number: int) -> None:
        """See Objects."""
        self._checked(self._lib.ipk_shm_remove(number))

    def remove_semaphores(self, number: int) -> None:
        """See Objects."""
        self._checked(self._lib.ipk_sem_remove(number))

    def _checked(self, result: int) -> None:
        if result in {-errno.EINVAL, -errno.EIDRM}:  # no such identifier
            raise _failed(errno.ENOENT)
        if result < 0:
            raise _failed(-result)


def _failed(number: int) -> OSError:
    return OSError(number, os.strerror(number))


def _chosen() -> Objects:
    try:
        return ByPackage()
    except ModuleNotFoundError as exc:
        if exc.name != "sysv_ipc":
            raise
        return ByCore()


OBJECTS = _chosen()

"""A callback of the manager's in a short-lived child, where its code must not be the manager's.

Contract  the manager waits for the child, as it waits for a callback of its own; a second TERM or
          INT kills it. The child ends with the manager.
Stands on ipckit._core (ipk_process), fork(2), pidfd_open(2).
"""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Callable
from typing import TYPE_CHECKING, NoReturn

from ipckit._core import check, lib
from ipckit.errors import SystemCallError
from ipckit.server.deaths import Deaths
from ipckit.server.environment import Operation, decide
from ipckit.server.fork import leave, spawn
from ipckit.server.process import log_callback_error
from ipckit.server.signals import as_child, unblock

if TYPE_CHECKING:
    from ipckit.server.manager import Manager

__all__ = ["run_aside"]

_LOOK = 0.2
"""Seconds between two looks whether the server is told to end at once."""


def run_aside(manager: Manager, manager_pid: int, work: Callable[[], None]) -> int:
    """Do it in a child, wait, and return its exit code; negative: the signal that ended it.

    Raises SystemCallError: no process could be made, in several attempts.
    """
    _, pidfd = _spawned(manager, lambda: _become(manager, manager_pid, work))
    try:
        poller = select.poll()  # select(2) takes no descriptor over 1023
        poller.register(pidfd, select.POLLIN)
        while not poller.poll(_LOOK * 1000):
            if manager.in_a_hurry:
                signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        death = Deaths().take(pidfd)
        return -death.signal if death.signal else death.exit_code or 0
    finally:
        os.close(pidfd)


def _spawned(manager: Manager, child: Callable[[], NoReturn]) -> tuple[int, int]:
    failures = 0
    while True:
        try:
            return spawn(child)
        except SystemCallError as exc:
            failures += 1
            pause = decide(Operation.CALLBACK, exc.errno, failures)
            if pause is None or manager.in_a_hurry:
                raise
            select.poll().poll(pause * 1000)


def _become(manager: Manager, manager_pid: int, work: Callable[[], None]) -> NoReturn:
    code = 1
    try:
        manager.leave()
        as_child()
        check(lib.ipk_die_with_parent(manager_pid, 0), "prctl", "the manager is gone")
        unblock()
        work()
        code = 0
    except BaseException:
        log_callback_error("manager", "an event")
    finally:
        leave(code)

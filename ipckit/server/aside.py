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
from ipckit.server.fork import forked, leave
from ipckit.server.process import log_callback_error

if TYPE_CHECKING:
    from ipckit.server.manager import Manager

__all__ = ["run_aside"]

_LOOK = 0.2
"""Seconds between two looks whether the server is told to end at once."""


def run_aside(manager: Manager, manager_pid: int, work: Callable[[], None]) -> int:
    """Do it in a child, wait, and return its exit code; negative: the signal that ended it."""
    pid = forked(lambda: _become(manager, manager_pid, work))
    pidfd = os.pidfd_open(pid)
    try:
        while not select.select([pidfd], [], [], _LOOK)[0]:
            if manager.in_a_hurry:
                signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    finally:
        os.close(pidfd)


def _become(manager: Manager, manager_pid: int, work: Callable[[], None]) -> NoReturn:
    code = 1
    try:
        manager.leave()
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGUSR1, signal.SIGUSR2, signal.SIGWINCH, signal.SIGINT):
            signal.signal(number, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        check(lib.ipk_die_with_parent(manager_pid, 0), "prctl", "the manager is gone")
        signal.pthread_sigmask(signal.SIG_SETMASK, set())
        work()
        code = 0
    except BaseException:
        log_callback_error("manager", "an event")
    finally:
        leave(code)

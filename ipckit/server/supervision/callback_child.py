"""A callback of the manager's in a short-lived child, where its code must not be the manager's.

Contract  the manager waits for the child, as it waits for a callback of its own; a second TERM or
          INT kills it. The child ends with the manager. What the callback raises is logged by the
          manager, whose log has a limit: each child would begin with an empty one.
Stands on ipckit._core (process/parent_death), fork(2), pidfd_open(2), memfd_create(2).
"""

from __future__ import annotations

import logging
import os
import select
import signal
import time
from collections.abc import Callable
from typing import NoReturn, Protocol

from ipckit._core import check, lib
from ipckit.errors import SystemCallError
from ipckit.server.log import describe_exception, kind_of, limited, log_callback_error
from ipckit.server.supervision.reaper import Reaper
from ipckit.server.system.failure_policy import Operation, decide
from ipckit.server.system.fork import exit_child, spawn
from ipckit.server.system.poll import wait_for
from ipckit.server.system.signals import as_child, unblock

__all__ = ["run_in_child"]

_LOOK = 0.2
"""Seconds between two checks whether a second signal asks the server to end."""

_MOST_TEXT = 64 * 1024
"""Bytes of a traceback; its end is what is kept."""


class Parent(Protocol):
    """The manager, as this module needs it."""

    @property
    def in_a_hurry(self) -> bool:
        """Whether the server was asked a second time to end."""

    def close_in_child(self) -> None:
        """In a child: close what is the manager's alone."""


def run_in_child(manager: Parent, manager_pid: int, work: Callable[[], None]) -> int:
    """Do it in a child, wait, and return its exit code; negative: the signal that ended it.

    Raises SystemCallError: no process could be made, in several attempts.
    """
    try:
        error = os.memfd_create("ipckit.callback")
    except OSError:
        error = -1  # there are no descriptors left: the child logs it
    try:
        code = _run(manager, lambda: _become(manager, manager_pid, work, error))
        text = os.pread(error, _MOST_TEXT, 0).decode("utf-8", "replace") if error >= 0 else ""
    finally:
        if error >= 0:
            os.close(error)
    if text:
        kind = f"an event raised {kind_of(text.rstrip().rpartition(os.linesep)[2])}"
        limited.write(logging.ERROR, "manager: an event raised", kind=kind, more=lambda: text)
    return code


def _run(manager: Parent, child: Callable[[], NoReturn]) -> int:
    _, pidfd = _spawned(manager, child)
    try:
        poller = select.poll()  # select(2) takes no descriptor over 1023
        poller.register(pidfd, select.POLLIN)
        while not wait_for(poller, _LOOK * 1000):
            if manager.in_a_hurry:
                signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        death = Reaper().take(pidfd)
        return -death.signal if death.signal else death.exit_code or 0
    finally:
        os.close(pidfd)


def _spawned(manager: Parent, child: Callable[[], NoReturn]) -> tuple[int, int]:
    failures = 0
    while True:
        try:
            return spawn(child)
        except SystemCallError as exc:
            failures += 1
            pause = decide(Operation.CALLBACK, exc.errno, failures)
            if pause is None or manager.in_a_hurry:
                raise
            time.sleep(pause)


def _become(manager: Parent, manager_pid: int, work: Callable[[], None], error: int) -> NoReturn:
    code = 1
    try:
        manager.close_in_child()
        as_child()
        made = lib.ipk_die_with_parent(manager_pid, 0)
        check(made, "prctl", "so that this process ends with the manager")
        unblock()
        work()
        code = 0
    except BaseException:
        if error >= 0:
            text = describe_exception()[1].encode("utf-8", "backslashreplace")
            os.pwrite(error, text[-_MOST_TEXT:], 0)
        else:
            log_callback_error("manager", "an event")
    finally:
        exit_child(code)

"""The manager's children: made, signalled, and reaped by their pidfds.

Contract  a child is here from its fork until its status is taken, or kill_all().
Stands on ipckit.server.system.fork, ipckit.server.supervision.{reaper,guard}, pidfd_send_signal(2),
          waitid(2).
Blocks    in kill_all() alone, until what was killed has ended.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
from collections.abc import Callable
from typing import NoReturn

from ipckit.errors import MisuseError
from ipckit.server.shared.exit_status import Death
from ipckit.server.supervision.guard import Guard
from ipckit.server.supervision.reaper import Reaper, reap_orphans
from ipckit.server.system.fork import spawn, thread_names

__all__ = ["Children"]


class Children:
    """By pidfd. One thread."""

    def __init__(self, poller: select.poll, guard: Guard) -> None:
        self._poller = poller
        self._guard = guard
        self._reaper = Reaper()
        self._pids: dict[int, int] = {}  # pidfd -> pid

    def spawn(self, child: Callable[[], NoReturn]) -> tuple[int, int]:
        """Return the pid and the pidfd of a new process; the pidfd is polled. SystemCallError."""
        if threads := thread_names():
            error = MisuseError(
                f"threads run in the manager ({', '.join(threads)}): a process that is forked "
                f"beside them may hang; begin them in worker_start instead"
            )
            self._guard.note("looking for threads before a fork", error)
        pid, pidfd = spawn(child)
        self._poller.register(pidfd, select.POLLIN)
        self._pids[pidfd] = pid
        return pid, pidfd

    def take(self, pidfd: int) -> Death | None:
        """Take the status of a dead child and forget it; None: it lives."""
        death = self._reaper.take_now(pidfd)
        if death is not None:
            self._poller.unregister(pidfd)
            del self._pids[pidfd]
            os.close(pidfd)
        return death

    def take_orphans(self) -> None:
        """As PID 1: take the status of those that the kernel gave to us."""
        if os.getpid() == 1:
            reap_orphans(set(self._pids.values()))

    def send_signal(self, pidfd: int, number: int) -> None:
        """Send a signal to one of them, if it lives."""
        try:
            signal.pidfd_send_signal(pidfd, number)
        except ProcessLookupError:
            pass
        except OSError as exc:  # a seccomp filter
            self._guard.note("pidfd_send_signal", exc)
            # It has not been reaped, so the number is still its own.
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._pids[pidfd], number)

    def kill_all(self) -> None:
        """Kill and reap them all."""
        for pidfd in self._pids:
            self.send_signal(pidfd, signal.SIGKILL)
        for pidfd, pid in self._pids.items():
            try:
                self._reaper.take(pidfd)
            except OSError:  # the program has closed the pidfd
                with contextlib.suppress(ChildProcessError):
                    os.waitpid(pid, 0)
        self.close_in_child()

    def close_in_child(self) -> None:
        """In a child: they are the manager's."""
        for pidfd in self._pids:
            with contextlib.suppress(OSError):  # the program has closed it
                os.close(pidfd)
        self._pids.clear()

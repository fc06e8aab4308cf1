"""Takes the exit status of child processes.

Stands on ipckit.server.shared.exit_status, waitid(2), proc_vmstat(5).
"""

from __future__ import annotations

import contextlib
import os
import signal

from ipckit.server.shared.exit_status import Death

__all__ = ["Reaper", "reap_orphans"]

_VMSTAT = "/proc/vmstat"


class Reaper:
    """Takes the status of children. One for each parent."""

    def __init__(self, vmstat: str = _VMSTAT) -> None:
        self._vmstat = vmstat
        self._kills = self._out_of_memory_kills()

    def take(self, pidfd: int) -> Death:
        """Wait for this child and take its status; the descriptor stays open."""
        return self._taken(pidfd, 0) or Death(None, None)

    def take_now(self, pidfd: int) -> Death | None:
        """Take the status of this child if it is dead; None: it lives."""
        return self._taken(pidfd, os.WNOHANG)

    def _taken(self, pidfd: int, options: int) -> Death | None:
        try:
            result = os.waitid(os.P_PIDFD, pidfd, os.WEXITED | options)
        except ChildProcessError:
            return Death(None, None)  # somebody else took the status; it is dead all the same
        if result is None:
            return None
        if result.si_code == os.CLD_EXITED:
            return Death(result.si_status, None)
        if result.si_status != signal.SIGKILL:
            return Death(None, result.si_status)
        before, self._kills = self._kills, self._out_of_memory_kills()
        return Death(None, signal.SIGKILL, out_of_memory=self._kills > before)

    def _out_of_memory_kills(self) -> int:
        with contextlib.suppress(OSError), open(self._vmstat, "rb") as file:
            for line in file:
                name, _, number = line.partition(b" ")
                if name == b"oom_kill":
                    return int(number)
        return 0


def reap_orphans(ours: set[int]) -> None:
    """As PID 1: take the status of each dead child that is none of `ours`, which have their pidfds.

    Others are the children of processes that ended, which the kernel gave to us.
    """
    with contextlib.suppress(ChildProcessError):
        while True:
            look = os.WEXITED | os.WNOHANG
            found = os.waitid(os.P_ALL, 0, look | os.WNOWAIT)
            if found is None or found.si_pid in ours:  # ours: the next turn looks again
                return
            os.waitid(os.P_PID, found.si_pid, look)

"""How a child process ended: in numbers, in words, and in one word of shared memory.

Source    waitid(2), proc_vmstat(5), proc_pid_stat(5).
"""

from __future__ import annotations

import contextlib
import os
import signal
from typing import NamedTuple

__all__ = ["GONE", "Death", "Deaths", "is_gone", "process_state", "reap_orphans"]

_VMSTAT = "/proc/vmstat"
GONE = ("", "Z", "X")
"""States of /proc/PID/stat of what is no process any more: a parent that does not reap keeps it as
a zombie."""

_IS_ONE = 1 << 17
_OUT_OF_MEMORY = 1 << 16


class Death(NamedTuple):
    """Exit code or signal; both None: unknown."""

    exit_code: int | None
    signal: int | None
    out_of_memory: bool = False
    """SIGKILL, and the kernel has killed for want of memory since the death before."""

    def __str__(self) -> str:
        if self.signal is None:
            return f"exit code {self.exit_code}" if self.exit_code is not None else "status unknown"
        text = f"signal {self.signal} ({signal.strsignal(self.signal)})"
        if self.out_of_memory:
            text += ", most likely by the kernel, which had no memory left (oom_kill; see dmesg)"
        return text

    def as_word(self) -> int:
        """Return it as a number that is not 0."""
        memory = _OUT_OF_MEMORY if self.out_of_memory else 0
        return _IS_ONE | memory | (self.exit_code or 0) << 8 | (self.signal or 0)

    @classmethod
    def of_word(cls, word: int) -> Death | None:
        """Return what as_word() gave; None for 0."""
        if not word:
            return None
        number = word & 0xFF
        code = None if number else word >> 8 & 0xFF
        return cls(code, number or None, bool(word & _OUT_OF_MEMORY))


class Deaths:
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


def process_state(pid: int) -> str:
    """Return the letter of /proc/PID/stat; "": there is no such process."""
    if not pid:
        return ""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()[0].decode()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def is_gone(pid: int) -> bool:
    """Whether a process has ended, reaped or not."""
    return process_state(pid) in GONE

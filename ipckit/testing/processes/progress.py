"""Whether a process can get on, by what the kernel counts for it, and not by the clock.

Contract  `Progress.stuck(pid)` is true of a process that waits in a system call (asleep at two
          looks, without a switch between them), that polls (has gone to sleep `POLLS` times since
          the first look), that spins (has had `SPINS` ns of CPU since then), or that is gone.
          So a process that has had no CPU yet is not stuck, however long that takes: a busy machine
          changes how long a run takes, and not what happens in it.
Stands on proc(5): stat, status, schedstat.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field
from pathlib import Path

LOOK = 0.002  # seconds between two looks at least
POLLS = 20
SPINS = 20_000_000  # ns

_TICK = 1_000_000_000 // os.sysconf("SC_CLK_TCK")


def state(pid: int) -> str:
    """Give the kernel's letter for what a process does: R, S, D, T, Z; X: it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return "X"


def cpu_ns(pid: int) -> int:
    """Give the CPU time that a process has had. 0: it is gone."""
    try:
        return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0])
    except ProcessLookupError:
        return 0
    except (FileNotFoundError, IndexError, ValueError):  # a kernel without CONFIG_SCHED_INFO
        try:
            times = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
        except (FileNotFoundError, ProcessLookupError):
            return 0
        return sum(map(int, times)) * _TICK


def sleeps(pid: int) -> int:
    """Count how often a process has gone to sleep. 0: it is gone."""
    try:
        text = Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return int(text.rpartition("\nvoluntary_ctxt_switches:")[2].split()[0])


@dataclass
class Progress:
    """What was seen of some processes; see the head."""

    _first: dict[int, tuple[int, int]] = field(default_factory=dict)  # CPU, sleeps
    _asleep: dict[int, tuple[float, int]] = field(default_factory=dict)  # when seen, sleeps

    def stuck(self, pid: int) -> bool:
        """Look at a process; see the head."""
        now = state(pid)
        if now in "XZ":
            return True
        cpu, slept = cpu_ns(pid), sleeps(pid)
        first_cpu, first_slept = self._first.setdefault(pid, (cpu, slept))
        if cpu - first_cpu > SPINS or slept - first_slept > POLLS:
            return True
        if now != "S":
            self._asleep.pop(pid, None)
            return False
        since, then = self._asleep.get(pid, (0.0, -1))
        if then != slept:
            self._asleep[pid] = (time.monotonic(), slept)
            return False
        return time.monotonic() - since >= LOOK

"""Which live process uses which file of shared memory: one look at every process of /proc.

Contract  by device and inode, so a file without a name, or with another one by now, is found too.
          A process that we may not look at (another user's) is counted and reported.
Stands on /proc/PID/maps, /proc/PID/fd (proc(5)).
Blocks    never. A process that begins or ends during the look may be missed.
"""

from __future__ import annotations

import contextlib
import os
from collections import defaultdict
from collections.abc import Iterable

from ipckit.server.system.process_state import is_gone

__all__ = ["Users"]

_SYSTEM_V = b"/SYSV"
_SHM = "/dev/shm"  # noqa: S108  (where POSIX shared memory is)


class Users:
    """Which process uses what, as it was a moment ago."""

    def __init__(self) -> None:
        self._files: defaultdict[tuple[int, int], set[int]] = defaultdict(set)
        self._system_v: defaultdict[int, set[int]] = defaultdict(set)
        self._alive: set[int] = set()
        self.hidden = 0
        """Processes that we may not look at."""
        for name in os.listdir("/proc"):
            if name.isdecimal() and not is_gone(int(name)):
                self._alive.add(int(name))
                if int(name) != os.getpid():
                    self._look_at(int(name))

    def _look_at(self, pid: int) -> None:
        try:
            with open(f"/proc/{pid}/maps", "rb") as file:
                for line in file:
                    if _SHM.encode() in line or _SYSTEM_V in line:
                        self._mapped(pid, line)
            for fd in os.listdir(f"/proc/{pid}/fd"):
                with contextlib.suppress(FileNotFoundError):
                    self._opened(pid, f"/proc/{pid}/fd/{fd}")
        except PermissionError:
            self.hidden += 1
        except (FileNotFoundError, ProcessLookupError):
            self._alive.discard(pid)

    def _mapped(self, pid: int, line: bytes) -> None:
        _, _, _, device, inode, path = line.split(None, 5)
        if path.startswith(_SYSTEM_V):
            self._system_v[int(inode)].add(pid)
        else:
            major, minor = (int(part, 16) for part in device.split(b":"))
            self._files[os.makedev(major, minor), int(inode)].add(pid)

    def _opened(self, pid: int, link: str) -> None:
        target = os.readlink(link)
        # A POSIX queue shows as "/name", whatever it is mounted at.
        if target.startswith(_SHM) or target.rpartition("/")[0] == "":
            found = os.stat(link)
            self._files[found.st_dev, found.st_ino].add(pid)

    def of_file(self, found: os.stat_result) -> tuple[int, ...]:
        """Return the processes that have mapped or opened a file."""
        return tuple(sorted(self._files.get((found.st_dev, found.st_ino), ())))

    def of_system_v(self, number: int) -> tuple[int, ...]:
        """Return the processes that are attached to a System V segment."""
        return tuple(sorted(self._system_v.get(number, ())))

    def alive_and_dead(self, pids: Iterable[int]) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Return those that live, and those that do not."""
        known = sorted(pids)
        alive = tuple(pid for pid in known if pid in self._alive)
        return alive, tuple(pid for pid in known if pid not in self._alive)

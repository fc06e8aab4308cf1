"""Places with a size that changes: a tmpfs, a cgroup for processes. They are full for a moment.

Contract  `Tmpfs(path)` mounts one there; `fill()` leaves it no block and no inode beside what is in
          use, `free()` gives it room again. `Cgroup` does the same for processes: `enter()` is
          called by the process whose descendants are counted.
Kernel    tmpfs(5): a remount may change size= and nr_inodes=, not below what is used. The cgroup is
          of version 1 (the controller `pids`) or 2. Both need root; `may_limit_processes()`.
Crash     a cgroup that is left is empty once its processes are gone, and rmdir(2) removes it.
"""

from __future__ import annotations

import ctypes
import os
import select
from pathlib import Path

from inject.surroundings.patience import Patience

__all__ = ["Cgroup", "Tmpfs", "pids_controller"]

_REMOUNT = 0x20  # mount.h
_ROOMY = "size=64m,nr_inodes=100000"
_libc = ctypes.CDLL(None, use_errno=True)


def _mount(path: Path, flags: int, options: str) -> None:
    if _libc.mount(b"tmpfs", bytes(path), b"tmpfs", flags, options.encode()) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"mount: {os.strerror(number)}: {path} {options}")


class Tmpfs:
    """In the mount namespace of this process."""

    def __init__(self, path: Path) -> None:
        self._path = path
        path.mkdir(exist_ok=True)
        _mount(path, 0, f"mode=1777,{_ROOMY}")

    def fill(self) -> None:
        """Leave no room. (A size of 0 would be no limit.)"""
        found = os.statvfs(self._path)
        blocks = max(found.f_blocks - found.f_bfree, 1)
        inodes = found.f_files - found.f_ffree
        _mount(self._path, _REMOUNT, f"size={blocks * found.f_frsize},nr_inodes={inodes}")

    def free(self) -> None:
        """Give it room again."""
        _mount(self._path, _REMOUNT, _ROOMY)


def pids_controller() -> Path | None:
    """Return where a cgroup with `pids.max` can be made; None: nowhere."""
    for path in (Path("/sys/fs/cgroup/pids"), Path("/sys/fs/cgroup")):
        there = path.name == "pids" or "pids" in _words(path / "cgroup.subtree_control")
        if there and os.access(path, os.W_OK) and (path / "cgroup.procs").exists():
            return path
    return None


def _words(path: Path) -> list[str]:
    return path.read_text().split() if path.exists() else []


class Cgroup:
    """One for the processes of a server, and what they fork."""

    def __init__(self) -> None:
        above = pids_controller()
        assert above is not None
        self._path = above / f"ipckit-inject-{os.getpid()}"
        self._path.mkdir()

    def enter(self) -> None:
        """Put this process into it."""
        (self._path / "cgroup.procs").write_text(str(os.getpid()))

    def fill(self, more: int = 0) -> None:
        """Allow no process, or so many, beside those that are there."""
        now = int((self._path / "pids.current").read_text())
        (self._path / "pids.max").write_text(str(now + more))

    def free(self) -> None:
        """Allow any number."""
        (self._path / "pids.max").write_text("max")

    def remove(self) -> None:
        """Remove it; its processes are gone, or about to be."""
        patience = Patience()
        while (self._path / "cgroup.procs").read_text():
            patience.check("the cgroup is empty")
            select.select([], [], [], 0.01)
        self._path.rmdir()

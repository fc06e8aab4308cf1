"""Whether a process is there, by its pid, and whether /proc is there to say so.

A pid can be the number of another process later: a caller that must know uses a pidfd.
Source    proc_pid_stat(5), proc_pid_fd(5).
"""

from __future__ import annotations

import os

from ipckit.errors import system_call

__all__ = ["GONE", "check_proc", "is_gone", "process_state"]

GONE = ("", "Z", "X")
"""States of /proc/PID/stat of what is no process any more: a parent that does not reap keeps it as
a zombie."""


def process_state(pid: int) -> str:
    """Return the letter of /proc/PID/stat; "": there is no such process."""
    if not pid:
        return ""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()[0].decode()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def check_proc() -> None:
    """Refuse start() without /proc: NotFound. A file that has no name yet gets it there."""
    remedy = "mount it: mount -t proc proc /proc"
    with system_call("stat", "a server needs /proc for its files and processes", remedy):
        os.stat("/proc/self/fd")


def is_gone(pid: int) -> bool:
    """Whether a process has ended, reaped or not."""
    return process_state(pid) in GONE

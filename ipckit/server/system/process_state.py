"""Whether a process is there, by its pid.

A pid can be the number of another process later: a caller that must know uses a pidfd.
Source    proc_pid_stat(5).
"""

from __future__ import annotations

__all__ = ["GONE", "is_gone", "process_state"]

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


def is_gone(pid: int) -> bool:
    """Whether a process has ended, reaped or not."""
    return process_state(pid) in GONE

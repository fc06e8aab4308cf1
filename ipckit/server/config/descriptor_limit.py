"""What the kernel must allow before a server starts.

Stands on getrlimit(2), ipckit.server.config.settings.
"""

from __future__ import annotations

import errno
import os
import resource

from ipckit.errors import AccessDenied, SettingsError
from ipckit.server.config.settings import Settings
from ipckit.server.log import log

__all__ = ["descriptors_beside", "fit_descriptors"]

_OTHER = 128
"""Descriptors of a process beside its connections and what is reckoned for each other process: its
own loop, ports, files, and what callbacks open."""

_INBOX = 2
_WAKE_UPS = 2
"""Of a slot, one for each of its two places; there are none without tasks."""
_PIDFDS = 2
"""Of a slot in a reload, in the manager."""


def descriptors_beside(settings: Settings, user_processes: int = 0) -> int:
    """Return how many descriptors a process needs beside one for each connection.

    The manager has the most of them. It also has a copy of each connection.
    """
    workers, task_workers = settings.worker_num, settings.task_worker_num
    wake_ups = _WAKE_UPS if task_workers else 0
    for_workers = workers * (2 * _INBOX + wake_ups + _PIDFDS)
    for_task_workers = task_workers * (_INBOX + wake_ups + _PIDFDS)
    return _OTHER + for_workers + for_task_workers + user_processes


def fit_descriptors(settings: Settings, explicit: set[str], user_processes: int = 0) -> Settings:
    """Raise this process's soft limit of descriptors to what max_connection needs.

    One worker may come to have all connections. Returns the settings, with max_connection lowered
    (and logged) when it is a default that the hard limit does not allow.

    Raises SettingsError when the program set max_connection, and the limit does not allow it.
    """
    others = descriptors_beside(settings, user_processes)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = settings.max_connection + others
    if hard != resource.RLIM_INFINITY and needed > hard:
        fitting = hard - others
        if fitting < 1:
            raise SettingsError(
                f"the hard limit of descriptors is {hard}, and these processes need {others} and "
                f"one for each connection (max_connection={settings.max_connection}): raise it "
                f"(ulimit -Hn, docker run --ulimit nofile={needed})"
            )
        if "max_connection" in explicit:
            raise SettingsError(
                f"max_connection={settings.max_connection} needs {needed} descriptors, the hard "
                f"limit is {hard}: at most {fitting}, or raise it (ulimit -Hn)"
            )
        log.warning(
            "max_connection lowered to %d: the hard limit of descriptors is %d", fitting, hard
        )
        settings = settings.changed({"max_connection": fitting})
        needed = hard
    if soft != resource.RLIM_INFINITY and soft < needed:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
        except (OSError, ValueError) as exc:  # ValueError: EPERM, as Python has it
            raise AccessDenied(
                errno.EPERM,
                f"setrlimit: {os.strerror(errno.EPERM)}: {exc}; the soft limit of descriptors is "
                f"{soft}, {needed} are needed: raise it (ulimit -Sn), or lower max_connection",
            ) from None
    return settings

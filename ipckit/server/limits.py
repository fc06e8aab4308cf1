"""What the kernel must allow before a server starts.

Stands on getrlimit(2), ipckit.server.settings.
"""

from __future__ import annotations

import resource

from ipckit.errors import SettingsError
from ipckit.server.log import log
from ipckit.server.settings import Settings

__all__ = ["descriptors_beside", "fit_descriptors"]

_OTHER = 128
"""Descriptors of a process beside its connections and the inboxes."""


def descriptors_beside(settings: Settings) -> int:
    """Return how many descriptors a process needs beside one for each connection."""
    return _OTHER + 5 * (settings.worker_num + settings.task_worker_num)


def fit_descriptors(settings: Settings, by_hand: set[str]) -> Settings:
    """Raise this process's soft limit of descriptors to what max_connection needs.

    One worker may come to have all connections. Returns the settings, with max_connection lowered
    (and logged) when it is a default that the hard limit does not allow.

    Raises SettingsError when max_connection was set by hand and cannot be had.
    """
    others = descriptors_beside(settings)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = settings.max_connection + others
    if hard != resource.RLIM_INFINITY and needed > hard:
        fitting = hard - others
        if "max_connection" in by_hand or fitting < 1:
            raise SettingsError(
                f"max_connection={settings.max_connection} needs {needed} descriptors, the hard "
                f"limit is {hard}: at most {max(fitting, 0)}, or raise it (ulimit -Hn)"
            )
        log.warning(
            "max_connection lowered to %d: the hard limit of descriptors is %d", fitting, hard
        )
        settings = settings.changed({"max_connection": fitting})
        needed = hard
    if soft != resource.RLIM_INFINITY and soft < needed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
    return settings

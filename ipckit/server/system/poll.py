"""poll(2) for processes that outlive its failure.

Contract  wait_for() returns what `poller.poll(ms)` does. Without memory for it the log says so, and
          nothing is ready after a pause: the caller looks, and waits again.
Blocks    for `ms` at most; after a failure for PAUSE seconds, or `ms` if that is less.
Stands on poll(2), ipckit.server.log.
"""

from __future__ import annotations

import select
import time

from ipckit.server.log import limited

__all__ = ["PAUSE", "wait_for"]

PAUSE = 0.1
"""Seconds."""


def wait_for(poller: select.poll, ms: float) -> list[tuple[int, int]]:
    """Wait for at most `ms` milliseconds; return (descriptor, events) of those that are ready."""
    try:
        return poller.poll(ms)
    except OSError as exc:
        limited.warning("poll: %s: it is made again", exc)
        time.sleep(min(PAUSE, ms / 1000))
        return []

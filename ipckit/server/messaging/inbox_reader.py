"""Reads an inbox on an event loop, and pauses while a frame there waits for a free descriptor.

Contract  `ready` is called when there is something in the inbox. After pause_if_blocked() of a
          blocked one it is called after RETRY_SECONDS, although the socket stays readable.
Stands on ipckit.server.messaging.inbox, an event loop.
Blocks    never.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from ipckit.server.messaging.inbox import RETRY_SECONDS, Inbox

__all__ = ["InboxReader"]


class InboxReader:
    """One reader of one inbox."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, inbox: Inbox, ready: Callable[[], object]
    ) -> None:
        self._loop = loop
        self._inbox = inbox
        self._ready = ready
        self._open = True
        self._paused = False
        self._listen()

    def pause_if_blocked(self) -> None:
        """Call it after take() has returned None."""
        if self._inbox.blocked and self._open and not self._paused:
            self._paused = True
            self._loop.remove_reader(self._inbox.reading.fileno())
            self._loop.call_later(RETRY_SECONDS, self._again)

    def close(self) -> None:
        """Read it no more."""
        self._open = False
        self._loop.remove_reader(self._inbox.reading.fileno())

    def _again(self) -> None:
        self._paused = False
        if self._open:
            self._listen()

    def _listen(self) -> None:
        self._loop.add_reader(self._inbox.reading.fileno(), self._ready)

"""What the tasks of a process need of it: as Protocols.

A worker is a `SubmitterHost`, a task worker is a `RunnerHost`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Protocol

from ipckit.server.config.events import Callbacks
from ipckit.server.config.settings import Settings
from ipckit.server.messaging.inbox import Inbox
from ipckit.server.shared.scoreboard import Scoreboard

__all__ = ["RunnerHost", "SubmitterHost"]


class RunnerHost(Protocol):
    """A process that runs tasks, or submits them."""

    server: Any
    """The first argument of every callback."""
    settings: Settings
    callbacks: Callbacks
    row: Any
    """The process's words of the scoreboard, by `Row`."""


class SubmitterHost(RunnerHost, Protocol):
    """A process that submits tasks, and gets their results. One thread: its loop's."""

    place: int
    loop: asyncio.AbstractEventLoop
    board: Scoreboard
    inbox: Inbox
    deferring: bool
    """Callbacks wait until the loop runs again."""

    @property
    def stopping(self) -> bool:
        """Whether the server ends."""

    def read_inbox(self, *, defer: bool = False, every: bool = False) -> None:
        """Take the frames that are there."""

    def callback_failed(self, event: str) -> None:
        """Log and count what a callback raised. Call it in an except clause."""

    def go_on(self, event: str, coroutine: Any, then: Callable[[], object]) -> None:
        """Await what an event's callback returned, and call `then` after it."""

    def emit_to(
        self,
        callback: Callable[..., Any],
        event: str,
        *args: Any,
        then: Callable[[], object] = lambda: None,
    ) -> None:
        """Call a callback with the server and `args`, and `then` after it."""

"""What the connections of a process need of it, and what it needs of them: as Protocols.

A worker is the one `ConnectionHost` of today. Whatever holds to this can have connections.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Protocol

from ipckit.server.config.settings import Settings
from ipckit.server.connections.fd_store import Taken
from ipckit.server.messaging.inbox import Inbox
from ipckit.server.messaging.wire import Head
from ipckit.server.ports.port import OpenPort
from ipckit.server.shared.scoreboard import Scoreboard

__all__ = ["Client", "ConnectionHost", "HandoverEvents", "Handshake"]


class ConnectionHost(Protocol):
    """The process that has connections. One thread: its loop's."""

    server: Any
    """The first argument of every callback."""
    slot: int
    place: int
    loop: asyncio.AbstractEventLoop
    row: Any
    """The process's words of the scoreboard, by `Row`."""
    board: Scoreboard
    settings: Settings
    ports: Sequence[OpenPort]
    inboxes: Sequence[Inbox]
    """By place."""
    ended_clients: dict[int, dict[str, Any]]
    """What get_client_info() says of a session in its `close`."""
    leaving: bool
    """Nothing more is read: the process ends."""
    counts_requests: bool
    """There is a max_request."""

    def count_request(self) -> None:
        """Count towards max_request."""

    def callback_failed(self, event: str) -> None:
        """Log and count what a callback raised. Call it in an except clause."""

    def cancelled(self, error: BaseException, /) -> bool:
        """Whether the process itself cancelled its callbacks, and this is that."""

    def start(self, coroutine: Coroutine[Any, Any, None], /) -> None:
        """Run it beside the rest; the process ends after it, within max_wait_time."""

    def go_on(self, event: str, coroutine: Any, then: Callable[[], object], /) -> None:
        """Await what an event's callback returned, and call `then` after it."""

    def emit_to(
        self,
        callback: Callable[..., Any],
        event: str,
        /,
        *args: Any,
        then: Callable[[], object] = lambda: None,
    ) -> None:
        """Call a callback with the server and `args`, and `then` after it."""

    def on_frame(self, head: Head, body: bytes, /) -> None:
        """Do what a frame says."""

    def post(self, place: int, head: Head, body: bytes = b"", /) -> None:
        """Post to another process, in order."""

    def has_posted_to(self, place: int, /) -> bool:
        """Whether anything was ever posted to it, or to the other place of its slot."""

    @property
    def own_frames_waiting(self) -> bool:
        """Whether something that this process sent waits for room elsewhere."""


class Client(Protocol):
    """A connection, as the registry sees it."""

    session: int
    port: OpenPort
    heard: bool
    """Since the heartbeat looked last."""
    silent: int
    """How many times in a row the heartbeat found nothing."""

    @property
    def can_outlive(self) -> bool:
        """Whether another process can go on with it."""

    @property
    def protected(self) -> bool:
        """Whether the heartbeat spares it."""

    def address(self) -> tuple[bytes, int]:
        """Return the peer's IP address and port; b"" and 0: it has none."""

    def descriptor(self) -> int:
        """Return the number of its descriptor, -1 when it is closed."""

    def end(self, why: str, /) -> bool:
        """Close it."""


class Handshake(Protocol):
    """A client that has yet to shake hands."""

    def abort(self) -> None:
        """Close it now."""


class HandoverEvents(Protocol):
    """What the registry says to the handover."""

    def came(self, taken: Taken, /) -> None:
        """A connection of another worker is ours, and its `connection_taken` was called."""

    def forget(self, session: int, /) -> None:
        """The session ended."""

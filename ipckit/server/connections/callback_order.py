"""The callbacks of one connection, one after the other.

Contract  connect, each receive, close run in order, also when they are `async def`: what comes
          while one is under way waits behind it. What a callback raises is logged and counted, and
          the next one runs.
Stands on ipckit._core (python/stream/stream.h: the usual case of each packet), asyncio.
Invariants
  O1  Any BaseException is a failure of its callback: SystemExit, KeyboardInterrupt and
      GeneratorExit too. CancelledError is a failure as well, unless the worker itself cancelled its
      callbacks.
  O2  `close` is called once for each session that was opened, after every event before it.
      `_finish_end` follows it.
"""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections import deque
from typing import TYPE_CHECKING, Any

from ipckit._core._stream import Stream
from ipckit.server.shared.scoreboard import Row

if TYPE_CHECKING:
    from ipckit.server.config.events import Callbacks
    from ipckit.server.connections.host import ConnectionHost

__all__ = ["CallbackOrder"]

_MAX_WAITING = 64
_END = ""  # behind the last event: the end itself


class CallbackOrder(Stream):
    """The part of a connection that calls the program. What is abstract, the connection does."""

    __slots__ = (
        "_bytes_waiting",
        "_callbacks",
        "_close_is_due",
        "_host",
        "_known",
        "_max_bytes",
        "_server",
    )

    _host: ConnectionHost
    _server: Any
    _callbacks: Callbacks
    _max_bytes: int
    _bytes_waiting: int
    _close_is_due: bool
    _known: dict[str, Any] | None
    """What get_client_info() says in `close`, when the session has ended."""

    @property
    def busy(self) -> bool:
        """Whether a callback is under way or due."""
        return self._running or bool(self._waiting)

    # -- what the connection does ---

    @abstractmethod
    def _pause(self) -> None:
        """Too much waits: read no more."""

    @abstractmethod
    def _resume(self) -> None:
        """Nothing waits: read again, unless something else forbids it."""

    @abstractmethod
    def _mark_end(self, why: str) -> None:
        """From now on nothing is sent, and nobody finds the session."""

    @abstractmethod
    def _finish_end(self) -> None:
        """All callbacks are over: close the connection."""

    # -- in order ---

    def _put_aside(self, packet: bytes) -> None:
        """A packet came while a callback is under way."""
        waiting = self._put_behind("receive", (self._server, self.session, self._host.slot, packet))
        self._bytes_waiting += len(packet)
        if len(waiting) >= _MAX_WAITING or self._bytes_waiting >= self._max_bytes:
            self._pause()

    def _put_behind(self, event: str, args: tuple[Any, ...]) -> deque[tuple[str, Any]]:
        """It is due after the callback that is under way; return all that is."""
        waiting = self._waiting
        if waiting is None:  # few connections ever need one
            waiting = self._waiting = deque()
        waiting.append((event, args))
        return waiting

    def _after_last(self, reactor_id: int) -> None:
        """Run the close event after all that is due, then the end itself. O2."""
        if self._close_is_due:
            return
        self._close_is_due = True
        args = (self._server, self.session, reactor_id)
        if self._running:
            self._put_behind("close", args)
            self._put_behind(_END, ())
        elif not self._callbacks.has("close"):
            self._finish_end()
        elif self._run("close", args):
            self._put_behind(_END, ())
        else:
            self._finish_end()

    def _count_request(self) -> None:
        self._host.count_request()

    def _receive_raised(self, error: BaseException) -> None:
        try:
            raise error
        except BaseException:  # O1
            self._host.callback_failed("receive")

    def _receive_returned(self, result: object) -> None:
        """It returned something: a coroutine goes on by itself, anything else is of no interest."""
        if asyncio.iscoroutine(result):
            self._host.start(self._go_on("receive", result))
        else:
            self._ended("receive")
            self._go_on_with_waiting()

    def _go_on_with_waiting(self) -> None:
        """A callback has ended: call what waits behind it."""
        if self._waiting and (due := self._next()) is not None:
            self._host.start(self._go_on(*due))
        else:
            self._running = False

    def _run(self, event: str, args: tuple[Any, ...]) -> bool:
        """Call it now; what it awaits goes on by itself, and then what waits behind it.

        Returns whether something goes on.
        """
        self._running = True
        coroutine = self._call(event, args)
        if coroutine is not None:
            self._host.start(self._go_on(event, coroutine))
            return True
        self._go_on_with_waiting()
        return self._running

    def _call(self, event: str, args: tuple[Any, ...]) -> Any:
        """Call an event's callback, if it has one; return a coroutine if that is what it gives."""
        if event == "close" and not self._ending:
            self._mark_end("closed by the peer")
        callback = self._callbacks.get(event)
        if callback is None:
            return None
        if event == "close" and self._known is not None:
            self._host.ended_clients[self.session] = self._known
        try:
            result = callback(*args)
        except BaseException:  # O1
            self._host.callback_failed(event)
        else:
            if result is not None and asyncio.iscoroutine(result):
                return result
        self._ended(event)
        return None

    def _ended(self, event: str) -> None:
        if event == "receive":
            self._timed()
            self._host.row[Row.REQUESTS_DONE] += 1
        elif event == "close":
            self._host.ended_clients.pop(self.session, None)

    async def _go_on(self, event: str, coroutine: Any) -> None:
        """Await a callback, then work off what waits behind it."""
        due: tuple[str, Any] | None = (event, coroutine)
        while due is not None:
            event, coroutine = due
            try:
                await coroutine
            except BaseException as exc:  # O1
                if not self._host.cancelled(exc):
                    self._host.callback_failed(event)
                else:  # the server ends and waits no longer: of what is due, only the end is
                    left = (item for item in self._waiting or () if item[0] != "receive")
                    self._waiting = deque(left)
            self._ended(event)
            due = self._next()
        self._running = False
        self._settle()
        self._resume()

    def _next(self) -> tuple[str, Any] | None:
        """Call what waits, up to the first that gives a coroutine: return that one."""
        while self._waiting:
            event, args = self._waiting.popleft()
            if event == _END:
                self._finish_end()
                continue
            if event == "receive":
                self._bytes_waiting -= len(args[3])
            coroutine = self._call(event, args)
            if coroutine is not None:
                return event, coroutine
        return None

"""How a worker drains: it takes nothing new, ends its work, hands over what is idle, and closes.

Contract  `retire()` is for a worker that has a successor, `finish()` and `worker_stop()` are for
          every worker, `flush()` is the last.
Stands on ipckit.server.connections.{handover,registry}, ipckit.server.tasks.submitter,
          ipckit.server.messaging.outbox.
Invariants
  D1  Requests in progress, and waits of this process for results, have reload_timeout; all else,
      for example an idle TLS connection, has max_wait_time.
  D2  What is idle goes to the successor as soon as it is idle.
Blocks    never: it looks every 2 ms. What it waits for is of many kinds, and it is waited for only
          at the end of a process.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import Any, Protocol

from ipckit.server.config.events import Callbacks
from ipckit.server.config.settings import Settings
from ipckit.server.connections.handover import Handover
from ipckit.server.connections.registry import Registry
from ipckit.server.log import log
from ipckit.server.messaging.outbox import Outboxes
from ipckit.server.shared.scoreboard import Phase, Scoreboard
from ipckit.server.tasks.submitter import Submitter

__all__ = ["Draining"]

_HAND_OVER_SECONDS = 1.0
"""For connections that are idle when the patience for the others is over."""

_FLUSH_SECONDS = 0.5
"""For the last bytes to clients, and to other processes, when the server's max_wait_time is over;
both, and worker_stop, are within CLOSING_SECONDS."""


class Host(Protocol):
    """The worker, as this module needs it."""

    server: Any
    slot: int
    place: int
    board: Scoreboard
    settings: Settings
    callbacks: Callbacks
    registry: Registry
    handover: Handover
    submitter: Submitter | None
    outboxes: Outboxes
    leaving: bool
    """Nothing more is read."""
    cancels: bool
    """The callbacks that still run were cancelled."""
    coroutines: set[asyncio.Task[Any]]
    """The callbacks that run."""

    @property
    def stopping(self) -> bool:
        """Whether the server ends."""

    def read_inbox(self, *, defer: bool = False, every: bool = False) -> None:
        """Take the frames that are there."""

    def callback_failed(self, event: str) -> None:
        """Log and count what a callback raised. Call it in an except clause."""


class Draining:
    """The end of one worker. One thread, the loop's."""

    def __init__(self, host: Host) -> None:
        self._host = host

    # -- a worker that has a successor ---

    async def retire(self, began: float) -> None:
        """Read no more requests, wait for those in progress, and hand over what can be.

        What cannot (TLS) is served to its end, if connections are kept at all, within
        max_wait_time; then only what is in progress is waited for, within reload_timeout.
        """
        host = self._host
        registry, settings = host.registry, host.settings
        host.leaving = True
        patience = settings.reload_timeout if settings.reload_async else 0
        keep = registry.fd_store is not None
        if registry.fd_store is not None:
            registry.fd_store.flush()
        for connection in list(registry.connections.values()):
            if connection.can_outlive or not keep:
                connection.stop_reading()
        most = began + min(patience, settings.max_wait_time)
        await self._while_serving(lambda: self._is_done(keep), most)
        host.handover.patient = False
        for connection in list(registry.connections.values()):
            connection.stop_reading()
        await self._while_serving(lambda: not self._is_awaited(keep), began + patience)
        if keep:  # also without patience: those that are idle, and find room only now
            end = time.monotonic() + _HAND_OVER_SECONDS
            await _until(lambda: not self._hand_over(), end)
            host.handover.release_owed()
        if self._is_awaited(keep=False) and host.board.phase == Phase.SERVING:
            log.warning(
                "worker %d leaves with work under way: %s; %d connections are cut, the results of "
                "%d tasks go to `finish` in its successor",
                host.slot,
                f"reload_timeout={patience:g} s is over"
                if settings.reload_async
                else "reload_async is off",
                len(registry.connections),
                host.submitter.outstanding if host.submitter is not None else 0,
            )

    def _is_done(self, keep: bool) -> bool:
        """Hand over what became idle; whether nothing at all is left here."""
        host = self._host
        host.outboxes.flush()
        left = keep and self._hand_over()
        tasks = host.submitter is not None and host.submitter.outstanding
        clients = host.registry.handshakes or (keep and host.registry.connections)
        return not (left or tasks or clients or self._is_running())

    def _is_awaited(self, keep: bool) -> bool:
        """Hand over what became idle; whether anything here waits for what is in progress."""
        host = self._host
        if keep:
            self._hand_over()
        if host.submitter is not None and host.submitter.results.awaited:
            return True
        return self._is_running()

    def _hand_over(self) -> bool:
        """Give what is idle to the successor; whether some of it is left, for want of room."""
        host = self._host
        successor = 2 * host.slot + host.board.parity(host.slot)
        if successor == host.place:
            return False
        left = not host.handover.pay()
        for connection in list(host.registry.connections.values()):
            if connection.can_outlive and connection.is_idle:
                left = not host.handover.give(connection, successor) or left
        return left

    def _is_running(self) -> bool:
        host = self._host
        return bool(host.coroutines) or any(c.busy for c in host.registry.connections.values())

    async def _while_serving(self, over: Callable[[], bool], deadline: float) -> None:
        host = self._host
        await _until(lambda: over() or host.stopping, deadline)

    # -- every worker ---

    async def finish(self, callbacks_end: float, deadline: float) -> None:
        """Take the last frames, end the callbacks, then close every connection."""
        host = self._host
        host.leaving = True
        host.read_inbox(every=True)
        if host.submitter is not None and host.stopping:
            host.submitter.stop()
        elif host.submitter is not None:
            host.submitter.retire()
        await _until(lambda: not host.coroutines, callbacks_end)
        if host.coroutines:
            log.warning("worker %d: %d callbacks were cancelled", host.slot, len(host.coroutines))
            host.cancels = True
            for coroutine in host.coroutines:
                coroutine.cancel()
        for handshake in list(host.registry.handshakes):
            handshake.abort()
        for connection in list(host.registry.connections.values()):
            connection.end("")
        await _until(
            lambda: not host.registry.open and not host.coroutines,
            max(deadline, time.monotonic() + _FLUSH_SECONDS),
        )

    async def worker_stop(self) -> None:
        """Call `worker_stop`, and wait for it within max_wait_time."""
        host = self._host
        stop = host.callbacks.get("worker_stop")
        if stop is None:
            return
        try:
            result = stop(host.server, host.slot)
            if asyncio.iscoroutine(result):
                await self._within(result, host.settings.max_wait_time)
        except BaseException:
            host.callback_failed("worker_stop")

    async def _within(self, coroutine: Coroutine[Any, Any, Any], seconds: float) -> None:
        try:
            await asyncio.wait_for(coroutine, seconds)
        except TimeoutError:
            slot = self._host.slot
            log.warning("worker %d: the end did not wait longer than %g s", slot, seconds)

    # -- frames to other processes ---

    async def flush(self, end: float | None) -> None:
        """Wait until other processes have what was sent to them; None: for a second at most.

        With `end`: until then, or for _FLUSH_SECONDS if that is over, while they take some of it
        within max_wait_time. Once the server ends too nothing is added to that time: it has a
        limit of its own.
        """
        host = self._host
        if end is None:
            await _until(host.outboxes.flush, time.monotonic() + 1)
            return
        now = time.monotonic()
        end, most = max(end, now + _FLUSH_SECONDS), max(host.settings.max_wait_time, _FLUSH_SECONDS)
        left, given_up = -1, now + most
        while not host.outboxes.flush() and now < min(end, given_up):
            await asyncio.sleep(0.002)
            now = time.monotonic()
            waiting = host.outboxes.count
            if waiting != left and not host.stopping:
                left, given_up = waiting, now + most
        if not host.outboxes.flush():
            log.warning("worker %d: others have not taken what was sent to them", host.slot)


async def _until(over: Callable[[], bool], deadline: float) -> None:
    while not over() and time.monotonic() < deadline:  # noqa: ASYNC110  (see the head)
        await asyncio.sleep(0.002)

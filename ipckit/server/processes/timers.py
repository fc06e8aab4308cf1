"""tick() and after(): timers on an event loop, and timers without one.

Contract  ids are 1, 2, ... of one process; what a timer's callback raises goes to `failed`.
Blocks    never.  Errors  none.
Invariant
  M1  A process does not wait for its timers when it ends. A callback of after() that did not run,
      or a coroutine of a timer that is not over, is logged with its number and its process. A
      tick() is not logged: it ends with its process by definition.
"""

from __future__ import annotations

import asyncio
import heapq
import time
from collections.abc import Callable
from typing import Any

from ipckit.server.log import limited

__all__ = ["HeapTimers", "LoopTimers", "log_dropped"]


def _timer_ids() -> Callable[[], int]:
    """Return a source of timer ids: 1, 2, ..."""
    last = 0

    def next_id() -> int:
        nonlocal last
        last += 1
        return last

    return next_id


def log_dropped(process: str, waiting: int, running: int = 0) -> None:
    """M1. `process`: its role and number; `waiting`, `running`: as drop_all() and `running`."""
    if waiting:
        limited.warning(
            "%s: %d timers of after() were dropped at its end: their callbacks did not run",
            process,
            waiting,
        )
    if running:
        limited.warning(
            "%s: %d callbacks of timers were dropped at its end: they were under way",
            process,
            running,
        )


class LoopTimers:
    """tick() and after() on an event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop, failed: Callable[[str], None]) -> None:
        self._loop = loop
        self._failed = failed
        self._handles: dict[int, asyncio.TimerHandle] = {}
        self._once: set[int] = set()  # those of after() that have not run
        self._next_id = _timer_ids()
        self._tasks: set[asyncio.Task[Any]] = set()

    def set(
        self, seconds: float, callback: Callable[..., Any], args: tuple[Any, ...], *, every: bool
    ) -> int:
        """Call after `seconds`, once or again and again; return the id."""
        timer = self._next_id()
        due = self._loop.time() + seconds
        if not every:
            self._once.add(timer)
        self._arm(timer, due, seconds if every else 0, callback, args)
        return timer

    def clear(self, timer: int) -> bool:
        """Drop it; False: there is none."""
        handle = self._handles.pop(timer, None)
        self._once.discard(timer)
        if handle is not None:
            handle.cancel()
        return handle is not None

    def drop_all(self) -> int:
        """Drop all; return how many of after() had not run."""
        dropped = len(self._once)
        for timer in list(self._handles):
            self.clear(timer)
        return dropped

    @property
    def running(self) -> int:
        """How many coroutines of timers are under way."""
        return len(self._tasks)

    def _arm(
        self,
        timer: int,
        due: float,
        period: float,
        callback: Callable[..., Any],
        args: tuple[Any, ...],
    ) -> None:
        self._handles[timer] = self._loop.call_at(
            due, self._fire, timer, due, period, callback, args
        )

    def _fire(
        self,
        timer: int,
        due: float,
        period: float,
        callback: Callable[..., Any],
        args: tuple[Any, ...],
    ) -> None:
        if period:
            # From the time it was due, so that a tick does not drift; missed ones are skipped.
            now = self._loop.time()
            missed = max(0, int((now - due) / period))
            self._arm(timer, due + (missed + 1) * period, period, callback, args)
        else:
            del self._handles[timer]
            self._once.discard(timer)
        try:
            result = callback(*args)
        except BaseException:
            self._failed("a timer's callback")
            return
        if asyncio.iscoroutine(result):
            task = self._loop.create_task(self._guard(result))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _guard(self, coroutine: Any) -> None:
        try:
            await coroutine
        except BaseException as exc:
            task = asyncio.current_task()
            if isinstance(exc, asyncio.CancelledError) and task is not None and task.cancelling():
                raise  # the loop ends
            self._failed("a timer's callback")


class HeapTimers:
    """tick() and after() without a loop: fired between two tasks."""

    def __init__(self, failed: Callable[[str], None]) -> None:
        self._failed = failed
        self._heap: list[tuple[float, int]] = []
        self._live: dict[int, tuple[float, Callable[..., Any], tuple[Any, ...]]] = {}
        self._next_id = _timer_ids()

    def set(
        self, seconds: float, callback: Callable[..., Any], args: tuple[Any, ...], *, every: bool
    ) -> int:
        """Call after `seconds`, once or again and again; return the id."""
        timer = self._next_id()
        self._live[timer] = (seconds if every else 0, callback, args)
        heapq.heappush(self._heap, (time.monotonic() + seconds, timer))
        return timer

    def clear(self, timer: int) -> bool:
        """Drop it; False: there is none."""
        return self._live.pop(timer, None) is not None

    def drop_all(self) -> int:
        """Drop all; return how many of after() had not run."""
        dropped = sum(not period for period, _, _ in self._live.values())
        self._live.clear()
        self._heap.clear()
        return dropped

    running = 0
    """None is ever under way between two tasks."""

    def fire(self) -> float | None:
        """Call what is due; return the seconds to the next one, None: there is none."""
        while self._heap:
            due, timer = self._heap[0]
            now = time.monotonic()
            if due > now:
                return due - now
            heapq.heappop(self._heap)
            entry = self._live.get(timer)
            if entry is None:
                continue
            period, callback, args = entry
            if period:
                missed = int((now - due) / period)
                heapq.heappush(self._heap, (due + (missed + 1) * period, timer))
            else:
                del self._live[timer]
            try:
                callback(*args)
            except BaseException:
                self._failed("a timer's callback")
        return None

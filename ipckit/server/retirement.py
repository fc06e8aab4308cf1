"""A worker that was replaced ends its work: what it waits for, how long, and what it hands over.

Stands on ipckit.server.{takeover,submitter,connection}.
Invariants
  L1  requests under way, and waits of this process for results, have reload_timeout; all else, as
      a TLS connection that is idle, has max_wait_time.
  L2  what is idle goes to the successor as soon as it is idle.
Blocks    never: it looks every 2 ms.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from ipckit.server.board import Phase
from ipckit.server.log import log

if TYPE_CHECKING:
    from ipckit.server.worker import Worker

__all__ = ["finish_own_work"]

_HAND_OVER_SECONDS = 1.0
"""For connections that are idle when the patience for the others is over."""


async def finish_own_work(worker: Worker, began: float) -> None:
    """Retiring: read no more requests, wait for what is under way, and hand over what can be.

    What cannot (TLS) is served to its end, if connections are kept at all, within
    max_wait_time; then only what is under way is waited for, within reload_timeout.
    """
    worker.leaving = True
    settings = worker.settings
    patience = settings.reload_timeout if settings.reload_async else 0
    keep = worker.backer is not None
    if worker.backer is not None:
        worker.backer.flush()
    for connection in list(worker.connections.values()):
        if connection.can_outlive or not keep:
            connection.stop_reading()
    await _while_serving(
        worker, lambda: _has_left(worker, keep), began + min(patience, settings.max_wait_time)
    )
    worker.takeover.patient = False
    for connection in list(worker.connections.values()):
        connection.stop_reading()
    await _while_serving(worker, lambda: not _is_awaited(worker, keep), began + patience)
    if keep:  # also without patience: those that are idle, and find room only now
        await worker._until(lambda: not worker._hand_over(), time.monotonic() + _HAND_OVER_SECONDS)
        worker.takeover.leave()
    if _is_awaited(worker, keep=False) and worker.board.phase == Phase.SERVING:
        log.warning(
            "worker %d leaves with work under way: %s; %d connections are cut, the results of "
            "%d tasks go to `finish` in its successor",
            worker.slot,
            f"reload_timeout={patience:g} s is over"
            if settings.reload_async
            else "reload_async is off",
            len(worker.connections),
            worker.submitter.outstanding if worker.submitter is not None else 0,
        )


def _has_left(worker: Worker, keep: bool) -> bool:
    worker._is_flushed()
    left = keep and worker._hand_over()
    waits = worker._busy() or worker._handshakes or (keep and worker.connections)
    return not left and not waits


def _is_awaited(worker: Worker, keep: bool) -> bool:
    """Hand over what became idle; whether anybody here waits for what is under way."""
    if keep:
        worker._hand_over()
    if worker.submitter is not None and worker.submitter.awaited:
        return True
    return worker._is_running()


async def _while_serving(worker: Worker, over: Callable[[], bool], deadline: float) -> None:
    await worker._until(lambda: over() or worker.stopping, deadline)

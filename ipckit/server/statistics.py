"""The numbers of a server, gathered from the board: JSON-able, from any of its processes.

Stands on ipckit.server.{board,runtime}. Blocks: never. The numbers of tasks are of the ledger
itself, so no crash makes them drift.
"""

from __future__ import annotations

import os
import time
from typing import Any

from ipckit._core import _ledger
from ipckit.server.board import Row
from ipckit.server.deaths import Death
from ipckit.server.runtime import Runtime
from ipckit.server.task_load import Totals

__all__ = ["gather", "task_totals"]


def gather(runtime: Runtime) -> dict[str, Any]:
    """Return stats() of `api`: what is counted is counted over the server's life."""
    board, settings = runtime.board, runtime.settings
    workers = range(settings.worker_num)
    task_workers = range(settings.worker_num, runtime.slots)
    queued, running, done, buried, oldest = _tasks(runtime)
    accepted, closed = board.total(Row.ACCEPTED), board.total(Row.CLOSED)
    count = done + buried + queued + running
    totals = _totals(runtime, count)
    busy = _busy(runtime, task_workers)
    return {
        "start_time": runtime.started_at,
        "connection_num": max(0, accepted - closed),
        "accept_count": accepted,
        "close_count": closed,
        "worker_num": settings.worker_num,
        "task_worker_num": settings.task_worker_num,
        "idle_worker_num": settings.worker_num - _serving(runtime, workers),
        "request_count": board.total(Row.REQUESTS),
        "response_count": board.total(Row.RESPONSES),
        "tasking_num": queued + running,
        "task_queued": queued,
        "task_running": running,
        "task_oldest_seconds": oldest,
        "task_count": count,
        "task_done": done,
        "task_buried": buried,
        "task_failed": board.total(Row.TASKS_FAILED),
        "task_retries": board.total(Row.TASKS_RETRIED),
        "task_seconds": totals.seconds,
        "task_workers_needed": totals.needed_since(board.load_before()),
        "task_idle_worker_num": settings.task_worker_num - busy,
        "worker_restarts": board.total(Row.RESTARTS),
        "callback_errors": board.total(Row.CALLBACK_ERRORS),
        "foreign_refused": board.total(Row.FOREIGN_REFUSED),
        "workers": [_worker(runtime, slot) for slot in range(runtime.slots)],
    }


def task_totals(runtime: Runtime) -> tuple[Totals, int, float]:
    """Return the totals, how many tasks wait, and the age of the oldest of those."""
    queued, running, done, buried, oldest = _tasks(runtime)
    return _totals(runtime, done + buried + queued + running), queued, oldest


def _totals(runtime: Runtime, arrived: int) -> Totals:
    board = runtime.board
    ended, ns = board.total(Row.TASKS), board.total(Row.TASK_NS)
    return Totals(time.monotonic(), arrived, ended, ns / 1e9)


def _tasks(runtime: Runtime) -> tuple[int, int, int, int, float]:
    """Return how many are queued, running, done and buried, and the age of the oldest."""
    if runtime.ledger is None:
        return 0, 0, 0, 0, 0.0
    states, done, buried, waiting, oldest = runtime.ledger.overview.totals()
    age = time.monotonic() - oldest / 1e9 if oldest else 0.0
    return waiting, states[_ledger.RUNNING], done, buried, max(0.0, age)


def _busy(runtime: Runtime, task_workers: range) -> int:
    """Task workers with a task in hand."""
    board = runtime.board
    return sum(
        1
        for slot in task_workers
        if any(board.row(slot, parity)[Row.BUSY_SINCE] for parity in (0, 1))
    )


def _serving(runtime: Runtime, workers: range) -> int:
    """Workers with a receive callback under way."""
    rows = ([runtime.board.row(slot, parity) for parity in (0, 1)] for slot in workers)
    return sum(
        1 for pair in rows if any(row[Row.REQUESTS] != row[Row.REQUESTS_DONE] for row in pair)
    )


def _worker(runtime: Runtime, slot: int) -> dict[str, Any]:
    board = runtime.board
    rows = [board.row(slot, parity) for parity in (0, 1)]
    pid = rows[board.parity(slot)][Row.PID]
    death = Death.of_word(rows[0][Row.LAST_DEATH])
    return {
        "worker_id": slot,
        "pid": pid,
        "requests": sum(row[Row.REQUESTS] for row in rows),
        "tasks": sum(row[Row.TASKS] for row in rows),
        "restarts": sum(row[Row.RESTARTS] for row in rows),
        "last_death": None if death is None else str(death),
        "flapping": any(row[Row.FLAPPING] > time.monotonic_ns() for row in rows),
        "rss": _resident(pid),
    }


def _resident(pid: int) -> int:
    """Return the bytes of memory a process has resident; 0 when it is gone."""
    try:
        with open(f"/proc/{pid}/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (FileNotFoundError, ProcessLookupError):
        return 0

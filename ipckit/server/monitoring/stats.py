"""The numbers of a server, gathered from the board: JSON-able, from any of its processes, and from
others that look at its memory (ipckit.server.monitoring.live_view).

The numbers of tasks are of the ledger itself, so no crash makes them drift.
Stands on ipckit.server.shared.{scoreboard,task_load,exit_status}.
Blocks    never.
"""

from __future__ import annotations

import errno
import os
import time
from typing import Any, Protocol

from ipckit._core import _ledger
from ipckit.errors import from_errno
from ipckit.server.shared.exit_status import Death
from ipckit.server.shared.scoreboard import Row, ScoreboardView
from ipckit.server.shared.task_load import Totals

__all__ = ["StatsSource", "gather", "task_totals"]


class StatsSource(Protocol):
    """What the numbers of a server are gathered from."""

    @property
    def board(self) -> ScoreboardView:
        """Its board."""

    @property
    def overview(self) -> _ledger.Ledger | None:
        """Its task ledger; None: tasks are off."""

    @property
    def started_at(self) -> float:
        """Seconds since the epoch."""

    @property
    def worker_num(self) -> int:
        """How many workers."""

    @property
    def task_worker_num(self) -> int:
        """How many task workers."""

    @property
    def slots(self) -> int:
        """Both together."""


def gather(source: StatsSource) -> dict[str, Any]:
    """Return stats() of `api`: what is counted is counted over the server's life."""
    board = source.board
    workers = range(source.worker_num)
    task_workers = range(source.worker_num, source.slots)
    queued, running, done, buried, oldest = _tasks(source)
    accepted, closed = board.total(Row.ACCEPTED), board.total(Row.CLOSED)
    count = done + buried + queued + running
    refused = board.total(Row.TASKS_REFUSED)
    totals = _totals(source, count + refused)
    busy = _busy(source, task_workers)
    return {
        "start_time": source.started_at,
        "connection_num": max(0, accepted - closed),
        "accept_count": accepted,
        "close_count": closed,
        "worker_num": source.worker_num,
        "task_worker_num": source.task_worker_num,
        "idle_worker_num": source.worker_num - _serving(source, workers),
        "request_count": board.total(Row.REQUESTS),
        "response_count": board.total(Row.RESPONSES),
        "tasking_num": queued + running,
        "task_queued": queued,
        "task_running": running,
        "task_oldest_seconds": oldest,
        "task_count": count,
        "task_done": done,
        "task_buried": buried,
        "task_refused": refused,
        "task_refused_for_memory": board.total(Row.REFUSED_FOR_MEMORY),
        "task_refused_seconds": _seconds_since_refusal(board, workers),
        "task_failed": board.total(Row.TASKS_FAILED),
        "task_retries": board.total(Row.TASKS_RETRIED),
        "task_seconds": totals.seconds,
        "task_workers_needed": totals.needed_since(board.load_before()),
        "task_idle_worker_num": source.task_worker_num - busy,
        "worker_restarts": board.total(Row.RESTARTS),
        "callback_errors": board.total(Row.CALLBACK_ERRORS) + board.total(Row.MANAGER_ERRORS),
        "foreign_refused": board.total(Row.FOREIGN_REFUSED),
        "workers": [_worker(source, slot) for slot in range(source.slots)],
    }


def task_totals(source: StatsSource) -> tuple[Totals, int, float]:
    """Return the totals, how many tasks wait, and the age of the oldest of those."""
    queued, running, done, buried, oldest = _tasks(source)
    arrived = done + buried + queued + running + source.board.total(Row.TASKS_REFUSED)
    return _totals(source, arrived), queued, oldest


def _seconds_since_refusal(board: ScoreboardView, workers: range) -> float | None:
    """Return how long ago a worker refused a task; None: never."""
    last = max(board.row(slot, parity)[Row.REFUSED_AT] for slot in workers for parity in (0, 1))
    return max(0.0, time.monotonic() - last / 1e9) if last else None


def _totals(source: StatsSource, arrived: int) -> Totals:
    board = source.board
    ended, ns = board.total(Row.TASKS), board.total(Row.TASK_NS)
    return Totals(time.monotonic(), arrived, ended, ns / 1e9)


def _tasks(source: StatsSource) -> tuple[int, int, int, int, float]:
    """Return how many are queued, running, done and buried, and the age of the oldest."""
    overview = source.overview
    if overview is None:
        return 0, 0, 0, 0, 0.0
    states, done, buried, waiting, oldest = overview.totals()
    age = time.monotonic() - oldest / 1e9 if oldest else 0.0
    return waiting, states[_ledger.RUNNING], done, buried, max(0.0, age)


def _busy(source: StatsSource, task_workers: range) -> int:
    """Task workers with a task in hand."""
    board = source.board
    return sum(
        1
        for slot in task_workers
        if any(board.row(slot, parity)[Row.BUSY_SINCE] for parity in (0, 1))
    )


def _serving(source: StatsSource, workers: range) -> int:
    """Workers with a receive callback under way."""
    rows = ([source.board.row(slot, parity) for parity in (0, 1)] for slot in workers)
    return sum(
        1 for pair in rows if any(row[Row.REQUESTS] != row[Row.REQUESTS_DONE] for row in pair)
    )


def _worker(source: StatsSource, slot: int) -> dict[str, Any]:
    board = source.board
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
        "starting": _since(rows, Row.STARTING_SINCE),
        "leaving": _since(rows, Row.LEAVING_SINCE),
    }


def _since(rows: list[Any], word: int) -> list[dict[str, Any]]:
    """Return the processes of a worker that are at something, and since when."""
    return [
        {"pid": row[Row.PID], "since": row[word] / 1e9}
        for row in rows
        if row[Row.PID] and row[word]
    ]


def _resident(pid: int) -> int:
    """Return the bytes of memory a process has resident; 0 when it is gone."""
    path = f"/proc/{pid}/statm"
    try:
        with open(path, encoding="utf-8") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError as exc:
        if exc.errno in (errno.ENOENT, errno.ESRCH):
            return 0
        raise from_errno("open or read", exc.errno or errno.EIO, path) from None

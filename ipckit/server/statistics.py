"""The numbers of a server, gathered from the board: JSON-able, from any of its processes.

Stands on ipckit.server.{board,runtime}. Blocks: never. Each number is a snapshot of its own.
"""

from __future__ import annotations

import os
import time
from typing import Any

from ipckit.server.board import Row, TaskState
from ipckit.server.runtime import Runtime

__all__ = ["gather"]


def gather(runtime: Runtime) -> dict[str, Any]:
    """Return stats() of `api`: what is counted is counted over the server's life."""
    board, settings = runtime.board, runtime.settings
    workers = range(settings.worker_num)
    task_workers = range(settings.worker_num, runtime.slots)
    states = board.count_tasks()
    running = states[TaskState.RUNNING] + states[TaskState.ORPHANED]
    held = states[TaskState.HELD] - _records_in_hand(runtime)
    queued = max(0, held) + states[TaskState.QUEUED]
    done = board.total(Row.TASKS_DONE)
    buried = board.total(Row.TASKS_BURIED)
    accepted, closed = board.total(Row.ACCEPTED), board.total(Row.CLOSED)
    attempts = board.total(Row.TASKS)
    seconds = board.total(Row.TASK_NS) / 1e9
    uptime = max(time.time() - runtime.started_at, 1e-9)
    posted = board.total(Row.TASKS_POSTED)
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
        "task_oldest_seconds": _oldest(runtime, workers),
        "task_count": done + buried + queued + running,
        "task_done": done,
        "task_buried": buried,
        "task_failed": board.total(Row.TASKS_FAILED),
        "task_retries": board.total(Row.TASKS_RETRIED),
        "task_seconds": seconds,
        "task_workers_needed": posted / uptime * (seconds / attempts) if attempts else 0.0,
        "task_idle_worker_num": settings.task_worker_num - busy,
        "worker_restarts": board.total(Row.RESTARTS),
        "callback_errors": board.total(Row.CALLBACK_ERRORS),
        "foreign_refused": board.total(Row.FOREIGN_REFUSED),
        "workers": [_worker(runtime, slot) for slot in range(runtime.slots)],
    }


def _records_in_hand(runtime: Runtime) -> int:
    """Records that task workers hold for a foreign task to come: no tasks yet."""
    board, first = runtime.board, 2 * runtime.settings.worker_num
    return sum(
        1 for index in board.tasks_in(TaskState.HELD) if board.look_at_task(index).owner >= first
    )


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


def _oldest(runtime: Runtime, workers: range) -> float:
    board = runtime.board
    times = [
        oldest
        for slot in workers
        for parity in (0, 1)
        if (oldest := board.row(slot, parity)[Row.OLDEST_TASK])
    ]
    return max(0.0, time.monotonic() - min(times) / 1e9) if times else 0.0


def _worker(runtime: Runtime, slot: int) -> dict[str, Any]:
    board = runtime.board
    rows = [board.row(slot, parity) for parity in (0, 1)]
    pid = rows[board.parity(slot)][Row.PID]
    return {
        "worker_id": slot,
        "pid": pid,
        "requests": sum(row[Row.REQUESTS] for row in rows),
        "tasks": sum(row[Row.TASKS] for row in rows),
        "restarts": sum(row[Row.RESTARTS] for row in rows),
        "rss": _resident(pid),
    }


def _resident(pid: int) -> int:
    """Return the bytes of memory a process has resident; 0 when it is gone."""
    try:
        with open(f"/proc/{pid}/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (FileNotFoundError, ProcessLookupError):
        return 0

"""The submitter's side of a task: where each of its tasks stands, and what happens next. Pure.

    held --sent()--> sent --result--> done
      ^                |--failure or death--> delayed --due--> held
      |                '--last attempt------> given up
      '----- the message may be lost (a death) -----'

Contract  every task that was added leaves the book exactly once: done or given up. A late result
          of an earlier attempt, or a second one, finds nothing and changes nothing.
Stands on nothing but the standard library: no I/O, no clock (the caller gives `now`), no chance
          (the caller gives `jitter`).
Invariants
  B1  a task is in `_tasks` and in exactly one of: a lane's backlog, the sent, the delayed heap.
      An entry with an older turn than its task's counts for nothing: messages are doubled after
      a death, so a result or a failure may find its task at any stage.
  B2  a lane sends in the order of its backlog; a retry goes to its end.
  B3  attempts are counted by the shared state word, not here: a message may be doubled, an
      attempt is not.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

__all__ = ["Failure", "Stage", "Task", "Taskbook"]


class Stage:
    """Where a task stands in the book."""

    HELD = 0
    SENT = 1
    DELAYED = 2


@dataclass(slots=True, eq=False)
class Task:
    """One task of this submitter."""

    id: int
    index: int  # of its state word
    body: bytes
    dst: int  # task worker 0.., or -1: any
    source: int  # who asked: a worker slot, or wire.FOREIGN
    lane: int
    created: float
    waiter: Any = None  # who gets the result; None: the finish event
    attempts: int = 0  # that ended, as the state word counted them
    stage: int = Stage.HELD
    again: bool = False  # a message of it was sent before
    turn: int = 0  # its newest entry in a backlog or among the delayed


@dataclass(frozen=True, slots=True)
class Failure:
    """Why an attempt ended badly."""

    error: str  # "Type: text" of the exception, or how the process died
    traceback: str = ""


class Taskbook:
    """All tasks one worker answers for. One process, one thread."""

    def __init__(self, max_attempts: int, delays: tuple[float, ...]) -> None:
        self._max_attempts = max_attempts
        self._delays = delays
        self._tasks: dict[int, Task] = {}
        self._backlog: dict[int, deque[tuple[Task, int]]] = {}
        self._delayed: list[tuple[float, int, int]] = []  # due, task id, turn

    def __len__(self) -> int:
        return len(self._tasks)

    def __iter__(self) -> Iterator[Task]:
        return iter(self._tasks.values())

    def get(self, task_id: int) -> Task | None:
        """Return the task, None when it is not (or no longer) in the book."""
        return self._tasks.get(task_id)

    def add(self, task: Task) -> None:
        """Take a new task in; it is sent after those before it."""
        self._tasks[task.id] = task
        self._hold(task)

    def add_running(self, task: Task) -> None:
        """Take in a task whose attempt has begun: a foreign one."""
        task.stage = Stage.SENT
        self._tasks[task.id] = task

    def lanes(self) -> list[int]:
        """Return the lanes that ever had a task."""
        return list(self._backlog)

    def pump_lane(self, lane: int, send: Callable[[Task], bool]) -> bool:
        """Send what the lane has in its backlog; False when it has no room for all of it.

        `send` returns False when there is no room; then nothing of that task was sent.
        """
        backlog = self._backlog[lane]
        while backlog:
            task, turn = backlog[0]
            if task.turn == turn and task.id in self._tasks:
                if not send(task):
                    return False
                task.stage = Stage.SENT
            backlog.popleft()
        return True

    def done(self, task_id: int) -> Task | None:
        """A result came: forget the task and return it."""
        return self._tasks.pop(task_id, None)

    def failed(self, task: Task, attempts: int, now: float, jitter: float) -> float | None:
        """An attempt ended badly. Return when the next one is due, None: the task is given up.

        `jitter` in -1..1 moves the delay by up to 20 %.
        """
        task.attempts = attempts
        if attempts >= self._max_attempts:
            del self._tasks[task.id]
            return None
        delay = self._delays[min(max(attempts, 1), len(self._delays)) - 1]
        task.again = True
        due = now + delay * (1 + 0.2 * jitter)
        task.stage = Stage.DELAYED
        task.turn += 1
        heapq.heappush(self._delayed, (due, task.id, task.turn))
        return due

    def send_again(self, task: Task) -> None:
        """Its message may be lost: send another. The state word lets only one of them begin."""
        task.again = True
        self._hold(task)

    def wake_delayed(self, now: float) -> int:
        """Put the tasks whose delay is over at the end of their lanes; return how many."""
        woken = 0
        while (due := self.next_due()) is not None and due <= now:
            _, task_id, _ = heapq.heappop(self._delayed)
            self._hold(self._tasks[task_id])
            woken += 1
        return woken

    def next_due(self) -> float | None:
        """When the next delay is over; None: nothing is delayed."""
        while self._delayed:
            due, task_id, turn = self._delayed[0]
            task = self._tasks.get(task_id)
            if task is not None and task.turn == turn:
                return due
            heapq.heappop(self._delayed)  # over, or delayed anew
        return None

    def sent(self) -> list[Task]:
        """Return the tasks whose message is under way, or whose attempt runs."""
        return [task for task in self._tasks.values() if task.stage == Stage.SENT]

    def oldest(self) -> float | None:
        """When the oldest task was created; None: there is none."""
        first = next(iter(self._tasks.values()), None)  # they are in the order they came
        return None if first is None else first.created

    def _hold(self, task: Task) -> None:
        task.stage = Stage.HELD
        task.turn += 1
        self._backlog.setdefault(task.lane, deque()).append((task, task.turn))

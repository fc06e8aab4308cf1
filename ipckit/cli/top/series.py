"""What `ipckit top` makes of the snapshots of a server: rates, percentiles of late, lines. Pure.

Contract  no clock: a snapshot has its moment. Counts that shrink are another server's, and count
          from 0.
Stands on ipckit.server.shared.histogram, which is pure as well.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

from ipckit.server.shared.histogram import Percentiles, percentiles

__all__ = [
    "Moment",
    "Series",
    "able_task_workers",
    "bar",
    "count",
    "duration",
    "fitting",
    "is_short",
    "moment_of",
    "rate",
    "size",
    "sparkline",
]

_LEVELS = "▁▂▃▄▅▆▇█"
_WINDOW = 60


class Moment(NamedTuple):
    """What the lines are drawn of."""

    at: float  # seconds
    requests: int
    tasks: int  # attempts that ended
    queued: int
    request_times: Sequence[int]
    task_times: Sequence[int]
    by_worker: dict[int, tuple[int, int]]  # worker -> its requests and tasks


def rate(before: float, now: float, seconds: float) -> float:
    """Return how many a second."""
    if seconds <= 0:
        return 0.0
    return (now - before if now >= before else now) / seconds


class Series:
    """The last snapshots, the newest last; 60 steps at most."""

    def __init__(self) -> None:
        self._moments: deque[Moment] = deque(maxlen=_WINDOW + 1)

    def add(self, moment: Moment) -> None:
        """Take a snapshot up."""
        self._moments.append(moment)

    def rates(self, name: str) -> list[float]:
        """Return what "requests" or "tasks" were a second, from snapshot to snapshot."""
        return [
            rate(getattr(a, name), getattr(b, name), b.at - a.at)
            for a, b in pairwise(self._moments)
        ]

    def depths(self) -> list[float]:
        """Return how many tasks waited at each snapshot."""
        return [float(moment.queued) for moment in self._moments]

    def of_worker(self, worker: int) -> tuple[float, float]:
        """Return a worker's requests and tasks a second, between the last two snapshots."""
        if len(self._moments) < 2:
            return 0.0, 0.0
        a, b = self._moments[-2], self._moments[-1]
        before, now = a.by_worker.get(worker, (0, 0)), b.by_worker.get(worker, (0, 0))
        seconds = b.at - a.at
        return rate(before[0], now[0], seconds), rate(before[1], now[1], seconds)

    def percentiles(self, name: str) -> Percentiles:
        """Return those of "request_times" or "task_times" since the oldest snapshot; where nothing
        was timed since then, of the server's life.
        """
        if not self._moments:
            return Percentiles(None, None, None)
        newest: Sequence[int] = getattr(self._moments[-1], name)
        oldest: Sequence[int] = getattr(self._moments[0], name)
        late = [max(0, b - a) for a, b in zip(oldest, newest, strict=True)]
        return percentiles(late if any(late) else newest)


def is_short(needed: float, able: int, waiting: int) -> bool:
    """Whether task workers are missing: more are needed than can work, and tasks wait."""
    return waiting > 0 and needed > able


def able_task_workers(snapshot: Any) -> int:
    """Return how many task workers of a snapshot can take a task: those that are not stuck."""
    return sum(
        worker.role == "task worker" and worker.state in ("idle", "busy")
        for worker in snapshot.workers
    )


def sparkline(values: Sequence[float], width: int) -> str:
    """Return the last `width` values as a line of blocks, filled up on the left; the largest of
    them is the highest. 0 is a blank, anything more shows.
    """
    shown = list(values[-width:]) if width > 0 else []
    most = max(shown, default=0.0)
    blocks = [
        _LEVELS[min(len(_LEVELS) - 1, int(value / most * len(_LEVELS)))] if value > 0 else " "
        for value in shown
    ]
    return "".join(blocks).rjust(max(width, 0))


def bar(share: float, width: int) -> str:
    """Return a bar that is full at 1."""
    full = round(min(max(share, 0.0), 1.0) * width)
    return "█" * full + "░" * (width - full)


def fitting(
    columns: Sequence[tuple[str, int]], least: dict[str, int], order: Sequence[str], width: int
) -> list[tuple[str, int]]:
    """Return the columns that fit into a width, each with two cells around it: those in `order` are
    cut down to their `least` width, or left out where they have none, one after the other.
    """
    shown = dict(columns)
    for name in order:
        if sum(each + 2 for each in shown.values()) <= width:
            break
        if name in least:
            shown[name] = least[name]
        else:
            del shown[name]
    return list(shown.items())


def count(number: float) -> str:
    """Return a count in at most four characters."""
    for unit in ("", "k", "M", "G"):
        if number < 999.5 or unit == "G":
            break
        number /= 1000
    return f"{number:.1f}{unit}" if unit and number < 9.95 else f"{number:.0f}{unit}"


def duration(seconds: float | None) -> str:
    """Return a time in at most seven characters."""
    if seconds is None:
        return "-"
    if seconds < 0.001:
        return f"{seconds * 1e6:.0f} µs"
    if seconds < 1:
        return f"{seconds * 1e3:.3g} ms" if seconds < 0.9995 else "1.0 s"
    if seconds < 100:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 100:
        return f"{minutes}m {rest:02}s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h {minutes:02}m" if hours < 100 else f"{hours // 24}d {hours % 24:02}h"


def size(number: float) -> str:
    """Return bytes in words."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if number < 1024 or unit == "GiB":
            break
        number /= 1024
    return f"{number:.0f} {unit}" if unit == "B" or number >= 100 else f"{number:.1f} {unit}"


def moment_of(snapshot: Any) -> Moment:
    """Return what is drawn of a snapshot (ipckit.server.monitoring.live_view)."""
    return Moment(
        snapshot.at,
        snapshot.stats["request_count"],
        sum(worker.tasks for worker in snapshot.workers),
        snapshot.stats["task_queued"],
        snapshot.request_times,
        snapshot.task_times,
        {worker.worker_id: (worker.requests, worker.tasks) for worker in snapshot.workers},
    )

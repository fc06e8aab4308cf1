"""The numbers of a server for Prometheus; the extra `metrics` installs what this needs.

`collector(server)` is for a process of the server, `Watching` for any other of the same user, which
works while the server is stuck (`ipckit metrics` serves that). Both give the same names, all of
which begin with `ipckit_`; docs/reference/top.md lists them.

Stands on prometheus_client (a custom collector), ipckit.server.monitoring.{stats,live_view}.
Blocks    never.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from ipckit.errors import IPCError, MisuseError
from ipckit.server import Server
from ipckit.server.monitoring.find_server import manager_pid
from ipckit.server.monitoring.live_view import Watched
from ipckit.server.monitoring.named_segments import QueueSnapshot, named_queues
from ipckit.server.monitoring.stats import gather
from ipckit.server.shared.histogram import BUCKETS, upper_bound

__all__ = ["Watching", "collector"]

_SINGLE = (
    ("ipckit_start_time_seconds", "start_time", "when the server began, since the epoch"),
    ("ipckit_requests_total", "request_count", "packets that clients sent"),
    ("ipckit_responses_total", "response_count", "answers that were sent to clients"),
    ("ipckit_connections", "connection_num", "connections that are open"),
    ("ipckit_connections_accepted_total", "accept_count", "connections that were accepted"),
    ("ipckit_connections_closed_total", "close_count", "connections that were closed"),
    ("ipckit_tasks_total", "task_count", "tasks that task() took on"),
    ("ipckit_tasks_done_total", "task_done", "tasks that ended well"),
    ("ipckit_tasks_buried_total", "task_buried", "tasks that were given up"),
    ("ipckit_tasks_refused_total", "task_refused", "tasks for which there was no room"),
    ("ipckit_tasks_queued", "task_queued", "tasks that wait"),
    ("ipckit_tasks_running", "task_running", "tasks that run"),
    ("ipckit_task_oldest_seconds", "task_oldest_seconds", "age of the oldest unfinished task"),
    ("ipckit_task_attempts_failed_total", "task_failed", "attempts that ended badly"),
    ("ipckit_task_retries_total", "task_retries", "attempts after a task's first"),
    ("ipckit_workers", "worker_num", "workers"),
    ("ipckit_workers_idle", "idle_worker_num", "workers with no request under way"),
    ("ipckit_task_workers", "task_worker_num", "task workers"),
    ("ipckit_task_workers_idle", "task_idle_worker_num", "task workers without a task"),
    ("ipckit_task_workers_needed", "task_workers_needed", "what arrives takes so many of them"),
    ("ipckit_callback_errors_total", "callback_errors", "callbacks that raised"),
    (
        "ipckit_foreign_refused_total",
        "foreign_refused",
        "messages of other programs that were refused",
    ),
)
"""Name, key in the stats, text. What ends in `_total` is a counter, anything else is a gauge."""

_BOUNDS = range(3, BUCKETS - 1, 4)
"""One bound for each power of two: scrapes stay small."""


class _OfServer(Collector):
    def __init__(self, server: Server) -> None:
        self._server = server

    def collect(self) -> Iterator[Metric]:
        """Return the families. MisuseError: the server does not run."""
        runtime = self._server._runtime
        if runtime is None:
            raise MisuseError("a server has numbers while it runs: after start() has begun")
        board, workers = runtime.board, runtime.worker_num
        yield from _families(
            gather(runtime),
            workers,
            board.times(range(workers)),
            board.times(range(workers, runtime.slots)),
        )


def collector(server: Server) -> Collector:
    """Return a collector of the server this process belongs to: `REGISTRY.register(it)`.

    The numbers are the whole server's, from whichever of its processes: let one of them serve
    them, for instance a process of your own (`server.add_process()`). Collecting raises MisuseError
    before start() and after its end. Blocks never.
    """
    return _OfServer(server)


class Watching(Collector):
    """A collector for another process of the server's user, which asks the server nothing.

    Gives `ipckit_up` 0, and nothing more of a server, while there is no such one; one that comes
    later is found. The numbers of the user's named shared queues are there in any case. A stuck
    server is read as any other. One thread at a time.
    """

    def __init__(self, path: str | None = None) -> None:
        """`path`: as that of `ipckit top`: control socket, pid file or runtime directory; None: the
        only server in the runtime directory of this user. Does not need the server yet.
        """
        self._path = path
        self._watched: Watched | None = None
        self._queues = named_queues()

    def collect(self) -> Iterator[Metric]:
        """Return the families."""
        watched = self._found()
        yield GaugeMetricFamily("ipckit_up", "whether the server is there", value=bool(watched))
        yield from _of_queues(self._queues.look())
        if watched is None:
            return
        snapshot = watched.snapshot()
        workers = [
            {
                "worker_id": one.worker_id,
                "requests": one.requests,
                "tasks": one.tasks,
                "restarts": one.restarts,
                "rss": one.rss,
            }
            for one in snapshot.workers
        ]
        stats = {**snapshot.stats, "workers": workers}
        yield from _families(stats, watched.worker_num, snapshot.request_times, snapshot.task_times)
        states = GaugeMetricFamily(
            "ipckit_worker_busy_seconds",
            "how long a worker has been at one thing; 0: it is idle",
            labels=["worker", "role", "state"],
        )
        for one in snapshot.workers:
            states.add_metric([str(one.worker_id), one.role, one.state], one.since or 0.0)
        yield states

    def describe(self) -> list[Metric]:
        """Nothing: registering does not need the server."""
        return []

    def close(self) -> None:
        """Let go of the server and of the queues. Again: nothing."""
        self._let_go()
        self._queues.close()

    def _let_go(self) -> None:
        if self._watched is not None:
            self._watched.close()
            self._watched = None

    def _found(self) -> Watched | None:
        if self._watched is not None and not self._watched.alive:
            self._let_go()
        if self._watched is None:
            try:
                self._watched = Watched(manager_pid(self._path))
            except (IPCError, OSError, ValueError):
                return None
        return self._watched


def _of_queues(queues: list[QueueSnapshot]) -> Iterator[Metric]:
    """Give nothing where there is no queue that can be read."""
    known = [queue for queue in queues if not queue.error]
    if not known:
        return
    messages = GaugeMetricFamily(
        "ipckit_shared_queue_messages", "messages in the queue", labels=["queue", "state"]
    )
    oldest = GaugeMetricFamily(
        "ipckit_shared_queue_oldest_seconds",
        "age of the oldest message that is not dead",
        labels=["queue"],
    )
    again = CounterMetricFamily(
        "ipckit_shared_queue_redelivered_total",
        "leases that were not their message's first",
        labels=["queue"],
    )
    for queue in known:
        for state in ("messages", "leased", "delayed", "dead"):
            name = "waiting" if state == "messages" else state
            messages.add_metric([queue.name, name], getattr(queue, state))
        oldest.add_metric([queue.name], queue.oldest or 0.0)
        again.add_metric([queue.name], queue.redelivered)
    yield from (messages, oldest, again)


def _families(
    stats: dict[str, Any], workers: int, request_times: list[int], task_times: list[int]
) -> Iterator[Metric]:
    for name, key, text in _SINGLE:
        family = CounterMetricFamily if name.endswith("_total") else GaugeMetricFamily
        yield family(name, text, value=stats[key])
    labels = ["worker", "role"]
    restarts = CounterMetricFamily(
        "ipckit_worker_restarts_total", "how often it was replaced", None, labels
    )
    memory = GaugeMetricFamily("ipckit_worker_resident_bytes", "its resident memory", None, labels)
    handled = CounterMetricFamily(
        "ipckit_worker_requests_total", "packets it was given", None, labels
    )
    attempts = CounterMetricFamily(
        "ipckit_worker_attempts_total", "attempts of tasks it ended", None, labels
    )
    for one in stats["workers"]:
        slot = one["worker_id"]
        values = [str(slot), "worker" if slot < workers else "task worker"]
        restarts.add_metric(values, one["restarts"])
        memory.add_metric(values, one["rss"])
        (handled if slot < workers else attempts).add_metric(
            values, one["requests" if slot < workers else "tasks"]
        )
    yield from (restarts, memory, handled, attempts)
    yield _histogram(
        "ipckit_request_seconds", "callbacks of requests, a seventh of them", request_times
    )
    yield _histogram("ipckit_task_seconds", "attempts of tasks", task_times, stats["task_seconds"])


def _histogram(
    name: str, text: str, counts: list[int], total: float | None = None
) -> HistogramMetricFamily:
    buckets = [(f"{upper_bound(bound):.9g}", float(sum(counts[: bound + 1]))) for bound in _BOUNDS]
    buckets.append(("+Inf", float(sum(counts))))
    return HistogramMetricFamily(name, text, buckets=buckets, sum_value=total)

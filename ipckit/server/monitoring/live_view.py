"""A running server seen from another process of its user: through its memory, without its help.

The manager's board and ledger are files without a name; /proc/PID/fd shows and opens them. So this
works while a worker, or the manager, is stuck or stopped, and costs the server nothing.

Contract  read only: the board is mapped so, and of the ledger each snapshot has a private mapping,
          to which nothing of the server's is ever written back.
Stands on proc_pid_fd(5), pidfd_open(2), ipckit.server.shared.scoreboard,
          ipckit.server.monitoring.stats. The kernel lets the same user in, and root.
Blocks    never.
"""

from __future__ import annotations

import contextlib
import errno
import mmap
import os
import select
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from ipckit._closing import Closing
from ipckit._core import _ledger
from ipckit.errors import AccessDenied, NotFound, SystemCallError, system_call
from ipckit.server.monitoring.stats import gather
from ipckit.server.shared.histogram import percentiles
from ipckit.server.shared.scoreboard import Phase, Row, ScoreboardView
from ipckit.server.shared.task_load import Refusals
from ipckit.server.system.process_state import GONE, is_gone, process_state

__all__ = ["Snapshot", "Watched", "WorkerSnapshot"]

_PHASES = {
    Phase.SERVING: "serving",
    Phase.STOPPING: "stopping",
    Phase.FINISHING: "finishing",
    Phase.ABORTING: "aborting",
}
_SLOW_SECONDS = 10.0
_SLOW_TIMES = 10
"""A worker is stuck that is at one thing for so long, and for so many times the mean."""


@dataclass(frozen=True, slots=True)
class WorkerSnapshot:
    """One worker or task worker at one moment."""

    worker_id: int
    role: str  # "worker", "task worker"
    pid: int  # 0: it is being started
    state: str  # "idle", "busy", "stuck", "stopped" (by a signal), "gone" (not there yet, or dead)
    doing: str  # in words; "": nothing
    since: float | None  # seconds it has been at that
    requests: int
    tasks: int
    restarts: int
    last_death: str | None
    died_at: float | None  # seconds since the epoch
    flapping: bool
    rss: int  # bytes
    leaving: list[dict[str, Any]]  # as in stats(): "pid", "since" (seconds since the epoch)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A server at one moment."""

    at: float  # seconds since the epoch
    pid: int
    manager: str  # "running", "stopped" (by a signal), "gone"
    phase: str  # "serving", "stopping", ...
    ports: list[str]
    stats: dict[str, Any]  # as server.stats(), without its workers
    workers: list[WorkerSnapshot]
    request_times: list[int]  # histograms: ipckit.server.shared.histogram
    task_times: list[int]

    @property
    def refuses_tasks(self) -> bool:
        """Whether a task was refused just now."""
        seconds = self.stats["task_refused_seconds"]
        return seconds is not None and seconds < Refusals.QUIET

    @property
    def state(self) -> str:
        """What it is at, in words."""
        if self.manager == "gone":
            return "the server has ended"
        if self.manager != "running":
            return f"manager {self.manager}"
        return "refuses tasks" if self.phase == "serving" and self.refuses_tasks else self.phase

    def to_json(self) -> dict[str, Any]:
        """Return it for json; percentiles, in seconds, in the place of the histograms."""
        form = asdict(self)
        form["state"] = self.state
        del form["request_times"], form["task_times"]
        form["request_seconds"] = percentiles(self.request_times)._asdict()
        form["task_seconds"] = percentiles(self.task_times)._asdict()
        return form


class Watched(Closing):
    """A running server, looked at from outside. One thread."""

    def __init__(self, pid: int) -> None:
        """Find the memory of the server whose manager is `pid`.

        Raises NotFound (no such process, or it is no manager of a server), AccessDenied (another
        user's), ValueError (a server of another version).
        """
        self.pid = pid
        with contextlib.ExitStack() as undo:
            try:
                with system_call("pidfd_open", f"process {pid}", "raise ulimit -n"):
                    self._pidfd = os.pidfd_open(pid)
            except SystemCallError as exc:
                if exc.errno != errno.ESRCH:
                    raise
                raise NotFound(errno.ESRCH, f"there is no process {pid}") from None
            undo.callback(os.close, self._pidfd)
            if is_gone(pid):  # a zombie, which its parent does not reap
                raise NotFound(errno.ESRCH, f"process {pid} has ended")
            self.board = ScoreboardView(self._board_memory())
            about = self.board.about
            self.started_at = float(about["started_at"])
            self.worker_num = int(about["worker_num"])
            self.task_worker_num = int(about["task_worker_num"])
            self.ports: list[str] = about["ports"]
            self.dead_letters: str | None = about["dead_letters"]
            """Path of its dead letters."""
            self.control_path: str = about["control_path"]
            self._ledger_fd = self._found(about["ledger"]) if about["ledger"] else -1
            undo.pop_all()
        self.overview: _ledger.Ledger | None = None

    @property
    def slots(self) -> int:
        """How many workers and task workers."""
        return self.worker_num + self.task_worker_num

    @property
    def alive(self) -> bool:
        """Whether the manager lives."""
        poll = select.poll()
        poll.register(self._pidfd, select.POLLIN)
        return not poll.poll(0)

    def close(self) -> None:
        """Let go of it. Again: nothing."""
        for fd in (self._pidfd, self._ledger_fd):
            if fd >= 0:
                os.close(fd)
        self._pidfd = self._ledger_fd = -1

    def snapshot(self) -> Snapshot:
        """Return what the server is at. After its end: how it was at the end."""
        with self._looking():
            stats = gather(self)
            tasks = self._running_tasks()
        mean = stats["task_seconds"] / max(self.board.total(Row.TASKS), 1)
        return Snapshot(
            time.time(),
            self.pid,
            self._manager_state(),
            _PHASES[self.board.phase],
            self.ports,
            {name: value for name, value in stats.items() if name != "workers"},
            [self._worker(one, tasks, mean) for one in stats.pop("workers")],
            self.board.times(range(self.worker_num)),
            self.board.times(range(self.worker_num, self.slots)),
        )

    # -- private ---

    @contextlib.contextmanager
    def _looking(self) -> Iterator[None]:
        """The ledger as it is now, for this block."""
        if self._ledger_fd < 0:
            yield
            return
        memory = mmap.mmap(self._ledger_fd, 0, access=mmap.ACCESS_COPY)
        shape = _ledger.shape_of(memory)
        if shape is None:
            raise NotFound(errno.ENOENT, f"the task ledger of process {self.pid} is not readable")
        places = 2 * (shape[2] + shape[3])
        self.overview = _ledger.Ledger(memory, places, [-1] * (places + 1))
        try:
            yield
        finally:
            self.overview = None

    def _running_tasks(self) -> dict[int, tuple[int, int]]:
        """Return task worker -> (task id, attempt), of the tasks that run."""
        view, found, record = self.overview, {}, -1
        while view and (record := view.next(record + 1, _ledger.RUNNING, -1)) >= 0:
            task_id, state, owner, attempt, *_ = view.look(record)
            if state == _ledger.RUNNING and owner >= 0:
                found[owner // 2] = (task_id, attempt)
        return found

    def _worker(
        self, one: dict[str, Any], tasks: dict[int, tuple[int, int]], mean: float
    ) -> WorkerSnapshot:
        slot, pid = one["worker_id"], one["pid"]
        rows = [self.board.row(slot, parity) for parity in (0, 1)]
        row = rows[self.board.parity(slot)]
        doing, since = "", None
        if slot >= self.worker_num:
            began = row[Row.BUSY_SINCE]
            if began:
                since = max(0.0, (time.monotonic_ns() - began) / 1e9)
                task = tasks.get(slot)
                doing = f"task {task[0]}, attempt {task[1]}" if task else "a task"
        elif under_way := row[Row.REQUESTS] - row[Row.REQUESTS_DONE]:
            doing = f"{under_way} request{'s' * (under_way != 1)} under way"
            since = max(0.0, (time.monotonic_ns() - row[Row.LAST_READ]) / 1e9)
            mean = 0.0
        died_at = rows[0][Row.DIED_AT]
        return WorkerSnapshot(
            slot,
            "worker" if slot < self.worker_num else "task worker",
            pid,
            worker_state(process_state(pid), since, mean),
            doing,
            since,
            one["requests"],
            one["tasks"],
            one["restarts"],
            one["last_death"],
            died_at / 1e9 if died_at else None,
            one["flapping"],
            one["rss"],
            one["leaving"],
        )

    def _manager_state(self) -> str:
        if not self.alive:
            return "gone"
        return "stopped" if process_state(self.pid) in ("T", "t") else "running"

    def _board_memory(self) -> mmap.mmap:
        """Return the newest board: one of a server that ended may not be gone yet."""
        found: list[tuple[float, mmap.mmap]] = []
        for fd in self._matching(f"/memfd:{ScoreboardView.FILE}"):
            memory = mmap.mmap(fd, 0, access=mmap.ACCESS_READ)
            about = ScoreboardView(memory).about
            if "started_at" in about:  # else it is a board of no server
                found.append((float(about["started_at"]), memory))
        if not found:
            raise NotFound(errno.ENOENT, f"process {self.pid} is no manager of an ipckit server")
        return max(found, key=lambda each: each[0])[1]

    def _found(self, name: str) -> int:
        fds = [os.dup(fd) for fd in self._matching(name)]
        if not fds:
            raise NotFound(errno.ENOENT, f"the task ledger of process {self.pid} is not there")
        for other in fds[:-1]:
            os.close(other)
        return fds[-1]

    def _matching(self, name: str) -> Iterator[int]:
        """Give an open descriptor of each file that the manager has by this name, while used."""
        folder = f"/proc/{self.pid}/fd"
        try:
            numbers = sorted(map(int, os.listdir(folder)))
        except PermissionError:
            raise AccessDenied(
                errno.EACCES, f"process {self.pid} is another user's: be that user, or root"
            ) from None
        except FileNotFoundError:
            raise NotFound(errno.ESRCH, f"process {self.pid} has ended") from None
        for number in numbers:
            path = f"{folder}/{number}"
            try:
                if os.readlink(path).removesuffix(" (deleted)") != name:
                    continue
                fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            except OSError:
                continue  # it was closed in between
            try:
                yield fd
            finally:
                os.close(fd)


def worker_state(process: str, since: float | None, mean: float) -> str:
    """Return a worker's state. `process`: as in /proc/PID/stat, "" when there is none; `since`:
    seconds it has been at one thing; `mean`: seconds that such a thing takes.
    """
    if process in GONE:
        return "gone"
    if process in ("T", "t"):
        return "stopped"
    if since is None:
        return "idle"
    return "stuck" if since > max(_SLOW_SECONDS, _SLOW_TIMES * mean) else "busy"

"""What a dead process held is recovered before its place gets another process.

Contract  A recovery that failed is due until it is done: again() does it once more.
Stands on the scoreboard, ipckit.server.shared.session_counts, ipckit.server.connections.fd_store,
          ipckit.server.tasks.recovery.
Blocks    never.
"""

from __future__ import annotations

from ipckit.server.connections.fd_store import FdStore
from ipckit.server.processes.runtime import Runtime
from ipckit.server.shared.scoreboard import Row
from ipckit.server.shared.session_counts import SessionCounts
from ipckit.server.tasks.recovery import TaskRecovery

__all__ = ["CrashRecovery"]

_OF_A_LIFE = (Row.PID, Row.BUSY_SINCE, Row.BEAT, Row.LEAVING_SINCE, Row.STARTING_SINCE)
"""Words that say something of a process only while it lives."""


class CrashRecovery:
    """The places whose process died. In the manager, one thread."""

    def __init__(self, runtime: Runtime, stored: FdStore, tasks: TaskRecovery | None) -> None:
        self._board = runtime.board
        self._workers = runtime.worker_num
        self._fd_store = stored
        self._tasks = tasks
        self._due: dict[int, tuple[str, int | None]] = {}  # place -> how its process died

    def due(self, place: int, how: str, signal: int | None) -> None:
        """The process at a place is dead: `how` in words, and by which signal."""
        self._due.setdefault(place, (how, signal))

    def run(self, place: int) -> None:
        """Recover what the dead process held; it is no longer due then."""
        row = self._board.row(place // 2, place % 2)
        for word in _OF_A_LIFE:
            row[word] = 0
        row[Row.REQUESTS_DONE] = row[Row.REQUESTS]
        if place // 2 < self._workers:
            SessionCounts(self._board, place).settle()
            row[Row.HANDSHAKES] = 0
            row[Row.CLOSED] += self._fd_store.recover(place)
        if self._tasks is not None:
            self._tasks.recover(place, row, *self._due[place])
        del self._due[place]

    def again(self, *places: int) -> None:
        """Do what is due at these places; without any: at all."""
        for place in places or list(self._due):
            if place in self._due:
                self.run(place)

"""The end of a server, carried out: asked for once, watched, and forced where it must be.

ipckit.server.supervision.ending decides when a step is due; this module carries it out.

Stands on the scoreboard, ipckit.server.supervision.{ending,children}.
Blocks    never.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Mapping

from ipckit.server.log import log
from ipckit.server.ports import systemd
from ipckit.server.processes.runtime import Runtime
from ipckit.server.shared.scoreboard import Phase
from ipckit.server.supervision.children import Children
from ipckit.server.supervision.ending import Ending, Step

__all__ = ["Shutdown"]


class Shutdown:
    """The end of one server. In the manager, one thread."""

    def __init__(
        self,
        runtime: Runtime,
        children: Children,
        workers: Mapping[int, int],
        users: Mapping[int, int],
    ) -> None:
        """workers: pidfd -> place. users: pidfd -> number of a user process. Those that live."""
        self._board = runtime.board
        self._slots = runtime.slots
        self._children = children
        self._workers = workers
        self._users = users
        self._ending = Ending(runtime.settings.max_wait_time)
        self.asked = 0
        """How many times the server was asked to end."""

    def ask(self) -> None:
        """End the server in order; asked a second time: now."""
        self.asked += 1
        if self.asked == 1:
            systemd.notify("STOPPING")
            log.info("the server ends in order; a second signal kills it")
            self._ending.begin(time.monotonic())
            self._set_phase(Phase.STOPPING)
        else:
            self._set_phase(Phase.ABORTING)
            self._signal_all(signal.SIGKILL)

    def next_due(self) -> float | None:
        """Return when watch() has something to do; None: the server serves."""
        return self._ending.next_due()

    def watch(self, task_workers: bool) -> None:
        """Do the step that is due; `task_workers`: some are left."""
        match self._ending.step(time.monotonic(), task_workers=task_workers):
            case Step.FINISH:
                if self._board.phase == Phase.STOPPING:
                    self._set_phase(Phase.FINISHING)
            case Step.DUMP:
                self._signal_all(signal.SIGABRT)
                for number in self._late():
                    log.error("worker %d did not end within max_wait_time", number)
            case Step.KILL:
                self._signal_all(signal.SIGKILL)

    def _late(self) -> list[int]:
        """Return the numbers of the processes that are left."""
        users = (self._slots + number for number in self._users.values())
        return [*(place // 2 for place in self._workers.values()), *users]

    def _set_phase(self, phase: int) -> None:
        self._board.set_phase(phase)
        self._signal_all(signal.SIGTERM)

    def _signal_all(self, number: int) -> None:
        for pidfd in (*self._workers, *self._users):
            self._children.send_signal(pidfd, number)

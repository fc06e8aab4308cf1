"""User processes: made by add_process(), kept alive by the manager beside the workers.

Contract  each runs its callback; one that returns, raises or dies is made again, after a pause that
          grows while it does not live long (`Restarts`). A reload leaves them. At the end of the
          server each gets SIGTERM, which raises SystemExit in its callback, CancelledError in
          an async one.
Stands on ipckit.server.processes.process, uvloop for a callback that is `async def`.
Fork      from the manager's main thread; what it inherits is what workers inherit.
Crash     of the manager: it ends with it, as workers do.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import uvloop

from ipckit.errors import MisuseError
from ipckit.server.config.events import is_async
from ipckit.server.messaging.wire import Head
from ipckit.server.processes.process import Process, report_on
from ipckit.server.processes.timers import LoopTimers, log_dropped
from ipckit.server.shared.exit_codes import EXIT_DONE
from ipckit.server.system.signals import note_term_handler

if TYPE_CHECKING:
    from ipckit.server.processes.runtime import Runtime
    from ipckit.server.processes.server_handle import ServerHandle

__all__ = ["UserProcess"]


class UserProcess(Process):
    """One user process."""

    role = "user process"

    def __init__(
        self, server: ServerHandle, runtime: Runtime, place: int, incarnation: int
    ) -> None:
        super().__init__(server, runtime, place, incarnation)
        self.connections = {}
        self._callback = runtime.user_processes[self.slot - runtime.slots]
        self._timers: LoopTimers | None = None
        self._told = False

    def run(self) -> int:
        """Call the callback; return the exit code. What it raises is the child's last word."""
        with contextlib.suppress(_Ended, asyncio.CancelledError):
            if is_async(self._callback):
                uvloop.run(self._on_loop())
            else:
                self._callback(self.server)
        return EXIT_DONE

    async def _on_loop(self) -> None:
        loop = asyncio.get_running_loop()
        report_on(loop)
        self._timers = LoopTimers(loop, self.callback_failed)
        running = loop.create_task(self._callback(self.server))
        loop.add_signal_handler(signal.SIGTERM, running.cancel)
        note_term_handler()
        try:
            await running
        finally:
            log_dropped(self.name, self._timers.drop_all(), self._timers.running)

    def woken(self) -> None:
        """SIGTERM came; later ones leave the callback its time to clean up."""
        if not self._told:
            self._told = True
            raise _Ended(0)

    def post(self, place: int, head: Head, body: bytes = b"") -> None:
        """Post to another process, waiting for room."""
        self.post_waiting(place, head, body)

    def after(
        self, seconds: float, callback: Callable[..., Any], args: tuple[Any, ...], *, every: bool
    ) -> int:
        """Set a timer."""
        return self._on_a_loop().set(seconds, callback, args, every=every)

    def clear_timer(self, timer: int) -> bool:
        """Drop a timer; False: there is none."""
        return self._on_a_loop().clear(timer)

    def _on_a_loop(self) -> LoopTimers:
        if self._timers is None:
            raise MisuseError("a user process has timers only if its callback is `async def`")
        return self._timers


class _Ended(SystemExit):
    """The server wants this process to end; its callback may clean up on the way."""

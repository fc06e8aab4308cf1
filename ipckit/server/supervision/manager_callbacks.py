"""The program's callbacks in the manager: `start`, `shutdown`, `worker_error`, the reload's.

Contract  What event() calls may raise anything: it is logged and counted. What start() calls may
          not begin threads, and what it raises is logged and goes on.
          Whatever a callback does to the descriptors 0 to 2, they are open after it.
Blocks    as long as the callback does.
"""

from __future__ import annotations

from ipckit.errors import MisuseError
from ipckit.server.log import describe_exception, log, log_callback_error
from ipckit.server.processes.runtime import Runtime
from ipckit.server.processes.server_handle import ServerHandle
from ipckit.server.shared.scoreboard import Row
from ipckit.server.system.fork import fill_standard_descriptors, thread_names

__all__ = ["ManagerCallbacks"]


class ManagerCallbacks:
    """The callbacks of one server that run in its manager."""

    def __init__(self, server: ServerHandle, runtime: Runtime) -> None:
        self._server = server
        self._callbacks = runtime.callbacks
        self._row = runtime.board.row(0, 0)

    def start(self) -> None:
        """Call `start`, if there is one.

        Raises what it raises, and MisuseError when it began threads.
        """
        callback = self._callbacks.get("start")
        if callback is None:
            return
        before = set(thread_names())
        try:
            callback(self._server)
            fill_standard_descriptors()
            if begun := [name for name in thread_names() if name not in before]:
                raise MisuseError(
                    f"the `start` callback began threads in the manager ({', '.join(begun)}), "
                    f"and a process with threads cannot be forked safely; begin them in "
                    f"worker_start instead"
                )
        except BaseException:
            log.error("manager: start raised\n%s", describe_exception()[1])
            raise

    def event(self, event: str, *args: object) -> None:
        """Call the callback of an event, if it has one. Raises nothing."""
        callback = self._callbacks.get(event)
        if callback is None:
            return
        try:
            callback(self._server, *args)
        except BaseException:
            self._row[Row.MANAGER_ERRORS] += 1
            log_callback_error("manager", event)
        fill_standard_descriptors()

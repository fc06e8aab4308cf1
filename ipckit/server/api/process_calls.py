"""What each call of a Server needs first: the running server, the process that it is in.

Stands on ipckit.server.processes.{process,runtime,worker}.
"""

from __future__ import annotations

from ipckit.errors import MisuseError
from ipckit.server.processes.process import Process
from ipckit.server.processes.runtime import Runtime
from ipckit.server.processes.worker import Worker

__all__ = ["ProcessCalls"]


class ProcessCalls:
    """The base of the parts of `Server`."""

    _runtime: Runtime | None
    """From start() to its end."""
    _process: Process | None
    """In a process of the server; None in the manager."""

    def _running(self, call: str) -> Runtime:
        if self._runtime is None:
            raise MisuseError(f"{call}: the server does not run; start() it first")
        return self._runtime

    def _in_process(self, call: str) -> Process:
        self._running(call)
        if self._process is None:
            raise MisuseError(f"{call} does not work in the manager; call it in a worker")
        return self._process

    def _in_worker(self, call: str) -> Worker:
        process = self._in_process(call)
        if not isinstance(process, Worker):
            raise MisuseError(f"{call} belongs into a worker; this is a {process.role}")
        return process

"""What the processes and the manager need of a `Server` object: as a Protocol.

The object belongs to the program; its underscored members are for ipckit alone.
"""

from __future__ import annotations

from typing import Any, Protocol

from ipckit.server.processes.runtime import Runtime

__all__ = ["ApplicationHandle", "ServerHandle"]


class ApplicationHandle(Protocol):
    """The module of a server under `ipckit run`."""

    def enter(self, server: Any, /, *, tell: bool = False) -> tuple[Any, Runtime]:
        """Load the module in this process; return its server, and that one's runtime.

        Raises what the module raises. tell: log the settings that a reload leaves as they were.
        """


class ServerHandle(Protocol):
    """A server, from start() to its end."""

    host: str
    port: int

    @property
    def _application(self) -> ApplicationHandle | None:
        """None: the program itself called start()."""

    _process: Any
    """The process that this object is in; None in the manager."""

    _tasks: Any
    """The submitter of a worker; None elsewhere."""

    _manager: Any
    """The manager, in its process; None elsewhere."""

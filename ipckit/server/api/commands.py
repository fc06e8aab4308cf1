"""The commands of the control socket: what each does to the server, and what it answers.

Runs in the manager.
Stands on ipckit.server.monitoring.control_socket, ipckit.server.supervision.manager.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from typing import Any, Protocol

from ipckit.server.monitoring.control_socket import Commands
from ipckit.server.ports.port import Port
from ipckit.server.supervision.manager import Manager

__all__ = ["commands"]


class ServerCalls(Protocol):
    """The calls of a `Server` that the commands make."""

    @property
    def ports(self) -> Sequence[Port]:
        """Its addresses."""

    def stats(self) -> dict[str, Any]:
        """Return its numbers."""

    def get_client_list(self, start: int = 0, count: int = 10) -> list[int]:
        """Return some sessions."""

    def get_client_info(self, fd: int) -> dict[str, Any] | None:
        """Return what is known of a client."""

    def shutdown(self) -> None:
        """End the server in order."""


def commands(server: ServerCalls, manager: Manager) -> Commands:
    """Return them by their names."""
    identity = f"{os.getpid()}-{time.time_ns()}"  # another server may have our path later

    def status(_: dict[str, Any]) -> dict[str, Any]:
        return {
            "pid": os.getpid(),
            "ports": [
                f"{port.host}:{port.port}" if port.port else port.host for port in server.ports
            ],
            "stats": server.stats(),
        }

    def connections(request: dict[str, Any]) -> dict[str, Any]:
        found = server.get_client_list(request.get("start", 0), request.get("count", 100))
        infos = ((fd, server.get_client_info(fd)) for fd in found)
        return {"connections": [{"fd": fd, **info} for fd, info in infos if info is not None]}

    def reload(request: dict[str, Any]) -> dict[str, Any]:
        started, number = manager.reload(only_task=request.get("only_task") is True)
        if not number:
            raise ValueError("the server ends: it is not reloaded")
        return {"started": started, "reload": number, **outcome_of(number)}

    def reload_outcome(request: dict[str, Any]) -> dict[str, Any]:
        if request.get("server", identity) != identity:
            return {"server": identity, "done": False}
        return outcome_of(request.get("reload"))

    def outcome_of(number: object) -> dict[str, Any]:
        return {"server": identity, **manager.reloads.answer(number)}

    def stop(_: dict[str, Any]) -> dict[str, Any]:
        server.shutdown()
        return {"pid": os.getpid()}

    return {
        "status": status,
        "connections": connections,
        "reload": reload,
        "reload_outcome": reload_outcome,
        "stop": stop,
    }

"""The documented import path of a port; it is in ipckit.server.ports."""

from ipckit.server.ports.port import Port

__all__ = ["Port"]

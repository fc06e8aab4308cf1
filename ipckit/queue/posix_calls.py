"""What a PosixQueue needs of the system, by posix_ipc where that is installed, else by the C core.

Contract  both do the same: tests/contract runs for each. `CALLS` is the one that this Python has.
Stands on ipckit.queue.posix_package, ipckit.queue.posix_core.
Errors    ImportError when posix_ipc is installed and broken; only its absence is no error.
"""

from __future__ import annotations

from typing import Protocol

__all__ = ["CALLS", "Calls", "MessageQueue"]


class MessageQueue(Protocol):
    """An open queue, with the names that posix_ipc gives; its descriptor never blocks."""

    @property
    def name(self) -> str: ...
    @property
    def mqd(self) -> int: ...
    @property
    def max_messages(self) -> int: ...
    @property
    def max_message_size(self) -> int: ...
    @property
    def current_messages(self) -> int: ...
    def send(self, body: bytes, priority: int) -> None: ...
    def receive(self) -> tuple[bytes, int]: ...
    def close(self) -> None: ...


class Calls(Protocol):
    """The module that makes them. Each call raises OSError with the errno of the system call."""

    def make(
        self, name: str, mode: int, max_messages: int, max_message_size: int
    ) -> MessageQueue: ...
    def find(self, name: str, *, writable: bool = True) -> MessageQueue: ...
    def unlink(self, name: str) -> None: ...


def _chosen() -> Calls:
    try:
        from ipckit.queue import posix_package  # noqa: PLC0415
    except ModuleNotFoundError as exc:
        if exc.name != "posix_ipc":
            raise
        from ipckit.queue import posix_core  # noqa: PLC0415

        return posix_core
    return posix_package


CALLS = _chosen()

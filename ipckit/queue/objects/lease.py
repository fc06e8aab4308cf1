"""A leased object: its large buffers are views of the shared memory.

Contract  docs/contracts/object-queue.md, B5.
Stands on ipckit._core._shared_queue.
"""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from ipckit._core._shared_queue import Lease

__all__ = ["ObjectLease"]


class ObjectLease:
    """An object that this thread has leased. Use it in a `with` block."""

    __slots__ = ("_lease", "_load", "_loaded")

    def __init__(self, lease: Lease, load: Callable[[memoryview], Any]) -> None:
        """ObjectQueue.lease() makes it."""
        self._lease = lease
        self._load = load
        self._loaded: list[Any] = []

    @property
    def obj(self) -> Any:
        """The object. Its large buffers, of an array for one, are read-only views of the shared
        memory: a view keeps the memory, also after acknowledge(), while this thread lives.

        BufferError: the lease is over. Else what the unpickling raises.
        """
        if not self._loaded:
            self._loaded.append(self._load(self._lease.body))
        return self._loaded[0]

    @property
    def attempt(self) -> int:
        """1 for the first lease, and one more for each one after; 255 at most."""
        return self._lease.attempt

    @property
    def size(self) -> int:
        """Bytes in the shared memory."""
        return self._lease.size

    def acknowledge(self) -> None:
        """Remove the object for good. As Lease.acknowledge()."""
        self._loaded.clear()
        self._lease.acknowledge()

    def give_back(self, delay: float = 0) -> None:
        """Put the object back into its old place, `delay` seconds from now. As Lease.give_back().

        BufferError: a view of its memory is in use, an array of `obj`, say; the lease goes on.
        """
        self._loaded.clear()
        self._lease.give_back(delay)

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Acknowledge; after an exception, give back."""
        self._loaded.clear()
        self._lease.__exit__(kind, error, trace)

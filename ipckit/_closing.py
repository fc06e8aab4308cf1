"""`with`: an object that closes itself at the end of the block."""

from __future__ import annotations

from types import TracebackType
from typing import Self

__all__ = ["Closing"]


class Closing:
    """A base of what has close(): the block of a `with` ends in it, also by an exception."""

    __slots__ = ()

    def close(self) -> None:
        """Each subclass has its own."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close it."""
        self.close()

"""Do things one after the other, also those that are added while one of them is done.

Contract  pure. What is added while one is done comes after what is there: no decision is carried
          out before an earlier one. An exception of `do` leaves the rest for the next call.
Stands on nothing.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import Generic, TypeVar

__all__ = ["InOrder"]

_T = TypeVar("_T")


class InOrder(Generic[_T]):
    """Call it with things to do. One thread."""

    def __init__(self, do: Callable[[_T], None]) -> None:
        """`do`: does one of them; it may call this again."""
        self._do = do
        self._left: deque[_T] = deque()
        self._busy = False

    def __call__(self, things: Iterable[_T]) -> None:
        """Do them; inside of `do`: later, after what is there."""
        self._left.extend(things)
        if self._busy:
            return
        self._busy = True
        try:
            while self._left:
                self._do(self._left.popleft())
        finally:
            self._busy = False

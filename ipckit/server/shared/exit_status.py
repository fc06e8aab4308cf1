"""How a child process ended: in numbers, in words, and in one word of shared memory. Pure.

Source    waitid(2), signal(7).
"""

from __future__ import annotations

import signal
from typing import NamedTuple

__all__ = ["Death"]

_IS_ONE = 1 << 17


_OUT_OF_MEMORY = 1 << 16


class Death(NamedTuple):
    """Exit code or signal; both None: unknown."""

    exit_code: int | None
    signal: int | None
    out_of_memory: bool = False
    """SIGKILL, and the kernel has killed for want of memory since the death before."""

    def __str__(self) -> str:
        if self.signal is None:
            return f"exit code {self.exit_code}" if self.exit_code is not None else "status unknown"
        text = f"signal {self.signal} ({signal.strsignal(self.signal)})"
        if self.out_of_memory:
            text += ", most likely by the kernel, which had no memory left (oom_kill; see dmesg)"
        return text

    def as_word(self) -> int:
        """Return it as a number that is not 0."""
        memory = _OUT_OF_MEMORY if self.out_of_memory else 0
        return _IS_ONE | memory | (self.exit_code or 0) << 8 | (self.signal or 0)

    @classmethod
    def of_word(cls, word: int) -> Death | None:
        """Return what as_word() gave; None for 0."""
        if not word:
            return None
        number = word & 0xFF
        code = None if number else word >> 8 & 0xFF
        return cls(code, number or None, bool(word & _OUT_OF_MEMORY))

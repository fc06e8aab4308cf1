"""One call of a process, and one event: what a history consists of.

Contract  An `Operation` was under way from `called` to `returned` (nanoseconds of one clock that
          all processes share, both ends included). `cut` means that its process died in it:
          `returned` is then the moment at which the process was seen to be dead, and the operation
          may have happened before that, or not at all; its result is unknown.
Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ipckit.testing.histories.values import Opaque

UNDER_WAY = Opaque("still under way")  # the result of a cut operation whose process lives


@dataclass(frozen=True)
class Operation:
    """One call of one process.

    `arguments` by name; `result` is what it returned, or a `Raised`. A process has one operation
    under way at a time. Raises ValueError for a return before the call.
    """

    process: int
    name: str
    arguments: Mapping[str, Any]
    called: int
    returned: int
    result: Any = None
    cut: bool = False

    def __post_init__(self) -> None:
        if self.returned < self.called:
            raise ValueError(
                f"operation {self.name} of process {self.process}: returned={self.returned}: must "
                f"be called={self.called} or later"
            )

    def __str__(self) -> str:
        """Show it as a call with its answer."""
        given = ", ".join(f"{name}={value!r}" for name, value in self.arguments.items())
        answer = "killed" if self.cut and self.result is None else f"{self.result!r}"
        return f"{self.name}({given}) -> {answer}"

    def overlaps(self, other: Operation) -> bool:
        """Whether both were under way at one moment."""
        return self.called <= other.returned and other.called <= self.returned


@dataclass(frozen=True)
class Event:
    """What a fault did to a process: ``killed``, ``stopped`` or ``continued``, at `time` ns."""

    process: int
    kind: str
    time: int
    where: str = ""

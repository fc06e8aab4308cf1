"""One answer of `ipckit doctor`."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

__all__ = ["NOTE", "OK", "WRONG", "Check"]

OK, NOTE, WRONG = "ok", "note", "wrong"


@dataclass(frozen=True, slots=True)
class Check:
    """One answer. `step`: what to do next, where it is not ok."""

    name: str
    state: str
    found: str
    step: str = ""

    def form(self) -> dict[str, Any]:
        """Return it for JSON."""
        return asdict(self)

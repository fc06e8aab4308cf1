"""What became of each reload, for the clients of the control socket that ask for it.

Contract  pure. The manager says what happens; a number that was given out has an outcome, or None
          while the reload waits or runs. The outcomes of the last KEPT reloads are kept.
Stands on nothing.
Invariants
  R1  An outcome that is kept does not change.
  R2  When the server ends, every reload that is not over gets an outcome: it failed.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

__all__ = ["KEPT", "Outcome", "Reloads"]

KEPT = 64


@dataclass(frozen=True, slots=True)
class Outcome:
    """Of one reload that is over."""

    ok: bool  # every process is new, and every old one has left
    reason: str = ""  # why not: the traceback of the process that did not come up
    killed: tuple[int, ...] = ()  # workers whose old process did not leave in time


class Reloads:
    """The numbers of all reloads, and the outcomes of the last ones."""

    def __init__(self) -> None:
        self._newest = 0
        self._outcomes: dict[int, Outcome] = {}
        self._failures: dict[int, str] = {}  # place -> why its last process did not come up
        self._server_ends = False

    def begins(self, place: int) -> None:
        """A process is about to be made at this place."""
        self._failures.pop(place, None)

    def failed(self, place: int, why: str) -> None:
        """The process at this place ended, or could not be made. The first reason is kept."""
        self._failures.setdefault(place, why)

    def requested(self, number: int) -> None:
        """A reload with this number runs or waits."""
        self._newest = max(self._newest, number)

    def over(self, number: int, place: int | None, killed: tuple[int, ...]) -> None:
        """A reload is over. `place`: of the process that did not come up."""
        reason = ""
        if place is not None:
            why = self._failures.get(place, "the log has the reason")
            reason = (
                f"the old processes stay; the new one of worker {place // 2} did not come up: {why}"
            )
        self.requested(number)
        self._outcomes[number] = Outcome(place is None and not killed, reason, killed)
        while len(self._outcomes) > KEPT:
            del self._outcomes[next(iter(self._outcomes))]

    def server_ends(self) -> None:
        """R2."""
        self._server_ends = True

    def outcome(self, number: object) -> Outcome | None:
        """Return what became of a reload; None: it is not over. Raises ValueError."""
        if type(number) is not int or not 1 <= number <= self._newest:
            raise ValueError(f"there was no reload {number!r}; the last one is {self._newest}")
        if number in self._outcomes:
            return self._outcomes[number]
        if self._outcomes and number < max(self._outcomes):
            raise ValueError(f"the outcome of reload {number} is no longer kept")
        if self._server_ends:
            return Outcome(ok=False, reason="the server ends, and the reload was not over")
        return None

    def answer(self, number: object) -> dict[str, Any]:
        """Return the outcome as the control socket has it. Raises ValueError."""
        outcome = self.outcome(number)
        return {"done": False} if outcome is None else {"done": True, **asdict(outcome)}

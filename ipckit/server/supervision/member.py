"""The life of one worker process, as a table: at which stage it is, and what an event makes of it.

Pure. The fleet moves each member by this table and in no other way, so a pair that is not in the
table cannot happen: move() raises KeyError there, before anything changes.
The documentation draws the table: docs/design/states.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

__all__ = ["LIFE", "Event", "Member", "Stage"]


class Stage(Enum):
    """What a process is at."""

    BOOTING = "booting"
    """Made, and not yet ready."""
    SERVING = "serving"
    RETIRING = "retiring"
    """It serves, and asked for a replacement. It goes on until that one is ready."""
    LEAVING = "leaving"
    """It takes nothing new, and ends within its deadline."""
    GONE = "gone"
    """Reaped."""


class Event(Enum):
    """What happens to a process, or what it says."""

    READY = "ready"
    """It says that it can serve."""
    ASKS = "asks for a replacement"
    """max_request is reached, or another program sent it SIGTERM."""
    GOES = "goes by itself"
    """It says that it takes nothing new."""
    REPLACED = "replacement is ready"
    DIED = "died"


LIFE: dict[tuple[Stage, Event], Stage] = {
    (Stage.BOOTING, Event.READY): Stage.SERVING,
    (Stage.BOOTING, Event.ASKS): Stage.BOOTING,  # F7: it is replaced as soon as it serves
    (Stage.BOOTING, Event.GOES): Stage.BOOTING,  # the same
    (Stage.BOOTING, Event.DIED): Stage.GONE,
    (Stage.SERVING, Event.READY): Stage.SERVING,
    (Stage.SERVING, Event.ASKS): Stage.RETIRING,
    (Stage.SERVING, Event.GOES): Stage.LEAVING,
    (Stage.SERVING, Event.REPLACED): Stage.LEAVING,
    (Stage.SERVING, Event.DIED): Stage.GONE,
    (Stage.RETIRING, Event.READY): Stage.RETIRING,
    (Stage.RETIRING, Event.ASKS): Stage.RETIRING,
    (Stage.RETIRING, Event.GOES): Stage.LEAVING,
    (Stage.RETIRING, Event.REPLACED): Stage.LEAVING,
    (Stage.RETIRING, Event.DIED): Stage.GONE,
    (Stage.LEAVING, Event.READY): Stage.LEAVING,
    (Stage.LEAVING, Event.ASKS): Stage.LEAVING,
    (Stage.LEAVING, Event.GOES): Stage.LEAVING,
    (Stage.LEAVING, Event.REPLACED): Stage.LEAVING,
    (Stage.LEAVING, Event.DIED): Stage.GONE,
}
"""(stage, event) -> the stage after it. A process that boots has no replacement (F1 of the fleet),
and to one that is gone nothing happens: those pairs are not there."""


@dataclass(slots=True)
class Member:
    """One process at one place."""

    place: int
    incarnation: int
    pid: int
    stage: Stage = Stage.BOOTING
    leave_by: float | None = None  # F6 of the fleet: when it is aborted, then when it is killed
    aborted: bool = False

    def move(self, event: Event) -> bool:
        """Go on by the table; whether the stage changed."""
        before, self.stage = self.stage, LIFE[self.stage, event]
        return self.stage is not before

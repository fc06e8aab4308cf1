"""What the fleet asks the manager to do. Pure: values, and no code."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = [
    "Abort",
    "Action",
    "Flapping",
    "Fork",
    "GiveUp",
    "Kill",
    "Leave",
    "ReloadBegun",
    "ReloadDone",
]


@dataclass(frozen=True, slots=True)
class Fork:
    """Make a process at this place."""

    place: int
    incarnation: int


@dataclass(frozen=True, slots=True)
class Leave:
    """Ask the process at this place to end its work and go."""

    place: int


@dataclass(frozen=True, slots=True)
class Abort:
    """The process at this place has not left in time: ask it for a stack dump (SIGABRT)."""

    place: int


@dataclass(frozen=True, slots=True)
class Kill:
    """The process at this place was asked for a stack dump and is still there: kill it."""

    place: int


@dataclass(frozen=True, slots=True)
class ReloadBegun:
    """A reload begins."""

    number: int


@dataclass(frozen=True, slots=True)
class ReloadDone:
    """The reload is over. `ok`: every slot was replaced, and every old process has left."""

    number: int
    ok: bool
    place: int | None = None  # of the process that did not boot
    killed: tuple[int, ...] = ()  # slots whose old process did not leave in time


@dataclass(frozen=True, slots=True)
class Flapping:
    """Say so: processes of this slot die again and again, `deaths` of them in FLAPPING_WINDOW."""

    slot: int
    deaths: int


@dataclass(frozen=True, slots=True)
class GiveUp:
    """End the server: it does not come up."""

    place: int
    why: str


Action = Fork | Leave | Abort | Kill | ReloadBegun | ReloadDone | GiveUp | Flapping

"""What `ipckit doctor` says of the shared queues that have a name.

Contract  a look changes nothing in a queue. `judge` is pure. No queue of ours: "wrong"; full, or
          with messages whose attempts are over: a note; a queue of another user is counted.
          verify() is not called: in a queue that is in use it names what is not completed.
Stands on ipckit.queue.shared.  Blocks  never.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ipckit._segments import QUEUES
from ipckit.cli.machine.check import NOTE, OK, WRONG, Check
from ipckit.errors import IPCError, NotFound, SegmentCorrupt
from ipckit.queue.shared import open_any
from ipckit.queue.shared_contract import INLINE
from ipckit.queue.shared_views import SharedStatistics

__all__ = ["Look", "judge", "look"]

_NAME = "shared queues"


@dataclass(frozen=True, slots=True)
class Look:
    """One queue. `broken`: why its file is no queue; `statistics`: None if it was not read."""

    name: str
    statistics: SharedStatistics | None = None
    broken: str = ""


def look() -> list[Look]:
    """Look at every shared queue with a name."""
    return [found for name in sorted(QUEUES.names()) if (found := _look_at(name)) is not None]


def _look_at(name: str) -> Look | None:
    try:
        with open_any(name) as queue:
            return Look(name, queue.statistics())
    except NotFound:  # it was removed just now
        return None
    except SegmentCorrupt as why:
        return Look(name, broken=str(why))
    except IPCError:
        return Look(name)


def judge(looks: Sequence[Look]) -> Check:
    """Say what is wrong with the queues; the worst comes first. Pure."""
    broken = [each for each in looks if each.broken]
    if broken:
        return Check(
            _NAME,
            WRONG,
            ", ".join(f"{each.name} is damaged: {each.broken}" for each in broken),
            f"end its programs, then: ipckit rm shared-queue:{broken[0].name}",
        )
    notes = [f"{each.name}: {found}" for each in looks if (found := _note(each.statistics))]
    if notes:
        return Check(
            _NAME,
            NOTE,
            "; ".join(notes),
            "full: start receivers; no attempt left: retry or remove them, by `queue.dead`",
        )
    unread = sum(each.statistics is None for each in looks)
    hidden = f", {unread} of them not readable for this user" if unread else ""
    return Check(_NAME, OK, f"{len(looks)}{hidden}" if looks else "none with a name")


def _note(told: SharedStatistics | None) -> str:
    if told is None:
        return ""
    found = []
    held = told.messages + told.leased + told.delayed + told.dead
    if held >= told.max_messages or not told.free_bytes:
        full = "full" if held >= told.max_messages else f"no room for bodies over {INLINE} bytes"
        age = "" if told.oldest_age is None else f", the oldest for {told.oldest_age:.0f} s"
        found.append(f"{full}, {told.messages} of {held} messages wait{age}")
    if told.dead:
        found.append(f"{told.dead} messages have no attempt left")
    return ", ".join(found)

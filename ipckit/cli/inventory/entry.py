"""One object of the inventory, and the verdict on it. Pure.

Contract  used    a live server's, or a live process has it or was its last user.
          leaked  of a dead server, and no server will take it up: `rm --leaked` frees it.
          kept    of a dead server, left on purpose for the next one that uses its name.
          idle    no live process uses it, and no record says that a dead server made it: somebody
                  may want it yet.
          Nothing is called leaked that a live process uses, or that is not ipckit's.
Stands on ipckit.server.rundir.leftovers (which two things are one).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ipckit.errors import NotFound
from ipckit.server.rundir.leftovers import Thing, same

__all__ = ["FREED", "IDLE", "KEPT", "LEAKED", "USED", "Entry", "Run", "find", "judged"]

USED, IDLE, LEAKED, KEPT = "used", "idle", "leaked", "kept"

FREED = (LEAKED, KEPT)
"""The verdicts on what may be removed unasked-for by name."""


@dataclass(frozen=True, slots=True)
class Run:
    """A run record: a server that lives, or that is dead."""

    manager: int
    alive: bool
    things: Sequence[Thing]


@dataclass(frozen=True, slots=True)
class Entry:
    """One object. `name` is what `ipckit rm` takes."""

    name: str
    kind: str
    owner: int  # a user's number
    mode: int
    size: int | None  # bytes
    content: str
    thing: Thing
    users: tuple[int, ...] = ()  # live processes that have it or were its last users
    gone: tuple[int, ...] = ()  # its last users that are dead
    ours: bool = False  # ipckit's, by its name or by a run record
    verdict: str = IDLE
    manager: int | None = None  # of the server whose record names it

    def form(self) -> dict[str, Any]:
        """Return it for JSON."""
        return {
            "name": self.name,
            "kind": self.kind,
            "owner": self.owner,
            "mode": f"{self.mode:#o}",
            "size": self.size,
            "content": self.content,
            "users": list(self.users),
            "dead_users": list(self.gone),
            "ours": self.ours,
            "verdict": self.verdict,
            "manager": self.manager,
        }


def judged(entry: Entry, runs: Iterable[Run]) -> Entry:
    """Return it with its verdict, and the server whose it is."""
    verdict = USED if entry.users else entry.verdict
    manager, kept = None, False
    for run in runs:
        for thing in run.things:
            if not same(thing, entry.thing):
                continue
            if run.alive:
                return replace(entry, ours=True, verdict=USED, manager=run.manager)
            manager, kept = run.manager, bool(thing.get("kept"))
    if manager is None:
        return replace(entry, verdict=verdict)
    # The last users of a dead server's queue may live: they are not what the server was.
    if not entry.users or "queue" in entry.thing:
        verdict = KEPT if kept else LEAKED
    return replace(entry, ours=True, verdict=verdict, manager=manager)


def find(name: str, entries: Sequence[Entry]) -> Entry:
    """Return the entry of this name; short forms will do where they mean one object only.

    Raises NotFound: there is none, or there are several, which are named.
    """
    exact = [each for each in entries if each.name == name]
    short = exact or [
        each
        for each in entries
        if name in (each.name.partition(":")[2], each.name.rpartition("/")[2])
    ]
    if len(short) == 1:
        return short[0]
    if not short:
        raise NotFound(2, f"there is no {name!r}: take a name as `ipckit ls` prints it")
    several = ", ".join(each.name for each in short)
    raise NotFound(2, f"{name!r} may be any of {several}: say which; nothing was removed")

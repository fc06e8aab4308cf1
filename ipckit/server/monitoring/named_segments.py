"""The named tables and shared queues of this machine that are ours: how full they are.

Contract  an object is opened once and kept; one that cannot be read is listed with the reason.
Stands on ipckit.table, ipckit.queue, ipckit._segments.  Blocks  never.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Generic, NamedTuple, Protocol, TypeVar

from ipckit._segments import FOLDER, LEDGERS, QUEUES, TABLES, NamedSegments
from ipckit.errors import IPCError
from ipckit.queue import SharedQueue
from ipckit.queue.shared import open_any
from ipckit.table import Table

__all__ = ["Named", "QueueSnapshot", "TableSnapshot", "named_queues", "named_tables"]


class TableSnapshot(NamedTuple):
    """A table at one moment: rows, size in rows, bytes, rows that are locked, threads that wait for
    one; `error`: why nothing is known.
    """

    name: str
    rows: int
    size: int
    memory: int
    locked: int = 0
    waiting: int = 0
    error: str = ""


class QueueSnapshot(NamedTuple):
    """A shared queue at one moment.

    Messages that wait, that are leased, delayed, dead; most of all; bytes; seconds since the oldest
    was sent, None: there is none; leases since it was made that were not their message's first; the
    threads that have a lease; `error`: why nothing is known.
    """

    name: str
    messages: int
    leased: int
    delayed: int
    dead: int
    size: int
    memory: int
    oldest: float | None = None
    redelivered: int = 0
    holders: tuple[int, ...] = ()
    error: str = ""


class _Closes(Protocol):
    def close(self) -> None: ...


_Thing = TypeVar("_Thing", bound=_Closes)
_Snapshot = TypeVar("_Snapshot")


class Named(Generic[_Thing, _Snapshot]):
    """The named objects of one kind that are open here. One thread."""

    def __init__(
        self,
        kind: NamedSegments,
        opened: Callable[[str], _Thing],
        seen: Callable[[str, _Thing], _Snapshot],
        unknown: Callable[[str, str], _Snapshot],
    ) -> None:
        self._kind = kind
        self._opened, self._seen, self._unknown = opened, seen, unknown
        self._open: dict[str, tuple[int, _Thing]] = {}  # name -> inode of its file, object

    def look(self) -> list[_Snapshot]:
        """Return every one of our user, by name."""
        found: dict[str, int] = {}
        for name in self._kind.names():
            path = self._kind.path_of(name)
            if path.startswith(f"{FOLDER}/{LEDGERS.prefix}"):
                continue
            try:
                file = os.lstat(path)
            except FileNotFoundError:
                continue
            if file.st_uid == os.geteuid():
                found[name] = file.st_ino
        for name in [name for name, (inode, _) in self._open.items() if found.get(name) != inode]:
            self._open.pop(name)[1].close()
        return [self._snapshot(name, inode) for name, inode in sorted(found.items())]

    def close(self) -> None:
        """Let go of all."""
        for _, thing in self._open.values():
            thing.close()
        self._open.clear()

    def _snapshot(self, name: str, inode: int) -> _Snapshot:
        try:
            if name not in self._open:
                self._open[name] = inode, self._opened(name)
            return self._seen(name, self._open[name][1])
        except (IPCError, ValueError, OSError) as why:
            return self._unknown(name, str(why))


def named_tables() -> Named[Table, TableSnapshot]:
    """Return what looks at the tables."""
    return Named(TABLES, Table.open, _table, _no_table)


def named_queues() -> Named[SharedQueue, QueueSnapshot]:
    """Return what looks at the shared queues."""
    return Named(QUEUES, open_any, _queue, _no_queue)


def _table(name: str, table: Table) -> TableSnapshot:
    known = table.statistics()
    return TableSnapshot(
        name, known.rows, known.size, known.memory_size, known.locked, known.waiting
    )


def _no_table(name: str, why: str) -> TableSnapshot:
    return TableSnapshot(name, 0, 0, 0, error=why)


def _queue(name: str, queue: SharedQueue) -> QueueSnapshot:
    known = queue.statistics()
    return QueueSnapshot(
        name,
        known.messages,
        known.leased,
        known.delayed,
        known.dead,
        known.max_messages,
        known.memory_size,
        known.oldest_age,
        known.redelivered,
        tuple(sorted({holder.thread_id for holder in queue.holders()})),
    )


def _no_queue(name: str, why: str) -> QueueSnapshot:
    return QueueSnapshot(name, 0, 0, 0, 0, 0, 0, error=why)

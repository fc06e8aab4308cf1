"""The named tables of this machine that are ours: how full they are, and how many wait.

Contract  a table is opened once and kept; one that cannot be read is listed with the reason.
Stands on ipckit.table.  Blocks  never.
"""

from __future__ import annotations

import os
from typing import NamedTuple

from ipckit.errors import IPCError
from ipckit.table import Table
from ipckit.table.segment import FOLDER, PREFIX

__all__ = ["TableSnapshot", "Tables"]

_LEDGER = "ledger."
"""How the names of task ledgers begin, which lie in the same place."""


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


class Tables:
    """Those that are open here. One thread."""

    def __init__(self) -> None:
        self._open: dict[str, tuple[int, Table]] = {}  # name -> inode of its file, table

    def look(self) -> list[TableSnapshot]:
        """Return every named table of our user, by name."""
        found: dict[str, int] = {}
        with os.scandir(FOLDER) as files:
            for file in files:
                name = file.name.removeprefix(PREFIX)
                if name == file.name or name.startswith(_LEDGER):
                    continue
                try:
                    if file.stat(follow_symlinks=False).st_uid == os.geteuid():
                        found[name] = file.inode()
                except FileNotFoundError:
                    continue
        for name in [name for name, (inode, _) in self._open.items() if found.get(name) != inode]:
            self._open.pop(name)[1].close()
        return [self._snapshot(name, inode) for name, inode in sorted(found.items())]

    def close(self) -> None:
        """Let go of all."""
        for _, table in self._open.values():
            table.close()
        self._open.clear()

    def _snapshot(self, name: str, inode: int) -> TableSnapshot:
        try:
            if name not in self._open:
                self._open[name] = inode, Table.open(name)
            known = self._open[name][1].statistics()
        except (IPCError, ValueError, OSError) as why:
            return TableSnapshot(name, 0, 0, 0, error=str(why))
        return TableSnapshot(
            name, known.rows, known.size, known.memory_size, known.locked, known.waiting
        )

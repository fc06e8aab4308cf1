"""Tables of rows in shared memory, and their reference in the memory of one process.

A module is loaded when one of its names is first used (PEP 562), so that the pure parts, such as
``ipckit.table.schema``, do not load the C core.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ipckit.table.contract import TableStatistics as TableStatistics
    from ipckit.table.memory import MemoryTable as MemoryTable
    from ipckit.table.schema import Bytes as Bytes
    from ipckit.table.schema import Column as Column
    from ipckit.table.schema import Float as Float
    from ipckit.table.schema import Int as Int
    from ipckit.table.schema import Str as Str
    from ipckit.table.table import Table as Table

_HOME = {
    "Table": "table",
    "MemoryTable": "memory",
    "TableStatistics": "contract",
    "Column": "schema",
    "Int": "schema",
    "Float": "schema",
    "Str": "schema",
    "Bytes": "schema",
}

__all__ = [*_HOME]  # noqa: PLE0604  (a computed list)


def __getattr__(name: str) -> object:
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module 'ipckit.table' has no attribute {name!r}")
    return getattr(importlib.import_module(f"ipckit.table.{home}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)

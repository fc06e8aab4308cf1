"""The segments of tables: an empty table is written into a new one.

Contract  ipckit._segments.  Stands on ipckit._segments, ipckit._core (layout), ipckit.errors.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from ipckit._core import check, ffi, lib
from ipckit._segments import TABLES, allocate
from ipckit.table.schema import TYPE_FLOAT, Schema

__all__ = ["make_anonymous", "make_named"]


def make_anonymous(size: int, schema: Schema) -> int:
    """Return the descriptor of a new segment without a name."""
    return TABLES.make_anonymous(f"a table of {size} rows", lambda fd: _fill(fd, size, schema))


def make_named(
    name: str, size: int, schema: Schema, mode: int, take: Callable[[int], None]
) -> None:
    """Make a segment, there under its name, for `take`. AlreadyExists."""
    TABLES.make(name, mode, lambda fd: _fill(fd, size, schema), take)


def _fill(fd: int, size: int, schema: Schema) -> None:
    columns = _columns(schema)
    count = len(schema.names)
    total = check(
        lib.ipk_table_layout(size, schema.key_size, columns, count),
        "layout",
        f"a table of {size} rows of {schema.row_bytes} bytes is over the address space",
    )
    with allocate(fd, total, f"a table of {size} rows") as memory, ffi.from_buffer(memory) as base:
        check(
            lib.ipk_table_format(
                base, total, size, schema.key_size, columns, count, os.urandom(32)
            ),
            "format",
            "writing the header of a table",
        )


def _columns(schema: Schema) -> object:
    columns = ffi.new("struct ipk_column[]", len(schema.names))
    for entry, name in zip(columns, schema.names, strict=True):
        column = schema.columns[name]
        code = name.encode()
        entry.type = column.kind
        entry.size = 8 if column.kind == TYPE_FLOAT else column.size
        entry.name_size = len(code)
        ffi.memmove(entry.name, code, len(code))
    return columns

"""A table in the memory of one process: the reference that the shared one is held against.

Contract  ipckit.table.contract. Obvious rather than fast: a dict and one condition.
Stands on ipckit.errors, ipckit._timeouts, ipckit.table.contract, ipckit.table.schema.
Outlives  nothing.
"""

# ruff: noqa: A002  (`type` is the API's word)

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any, ClassVar, Self, overload

from ipckit._closing import Closing
from ipckit._timeouts import deadline_of, time_left
from ipckit.table import contract
from ipckit.table.schema import (
    TYPE_BYTES,
    TYPE_FLOAT,
    TYPE_INT,
    TYPE_STRING,
    Column,
    Key,
    LockedRow,
    Row,
    Schema,
    Value,
    column_of,
)

__all__ = ["MemoryTable"]

_LONGEST = 3600.0  # seconds of one wait; a condition refuses infinite ones


class MemoryTable(Closing):
    """Table's reference: the same calls, rules and errors, in one process.

    Thread safe, not process safe: a fork gives the child a copy of its own.
    """

    TYPE_INT: ClassVar[int] = TYPE_INT
    TYPE_FLOAT: ClassVar[int] = TYPE_FLOAT
    TYPE_STRING: ClassVar[int] = TYPE_STRING
    TYPE_BYTES: ClassVar[int] = TYPE_BYTES

    def __init__(
        self, size: int, *, columns: Mapping[str, Column] | None = None, key_size: int = 64
    ) -> None:
        """Make a table of `size` rows, or with columns=None begin one: column(), create()."""
        contract.check_size(size)
        self._size = int(size)
        # A stand-in column: the key's size is checked now, also when the columns come later.
        self._schema = Schema({"_": column_of(TYPE_INT)} if columns is None else columns, key_size)
        self._columns: dict[str, Column] = {}
        self._made = columns is not None
        self._closed = False
        self._rows: dict[bytes, Row] = {}
        self._reserved: set[bytes] = set()
        self._holders: dict[bytes, threading.Thread] = {}
        self._waiting: dict[threading.Thread, bytes] = {}
        self._changed = threading.Condition()

    # -- its life --

    def column(self, name: str, type: int | Column, size: int = 0) -> Self:
        """As Table.column()."""
        with self._changed:
            self._not_made("column")
            if name in self._columns:
                raise ValueError(f"column {name!r} is there already")
            columns = {**self._columns, name: column_of(type, size)}
            self._schema = Schema(columns, self._schema.key_size)
            self._columns = columns
            return self

    def create(self) -> Self:
        """As Table.create() without a name."""
        with self._changed:
            self._not_made("create")
            self._schema = Schema(self._columns, self._schema.key_size)
            self._made = True
            return self

    def close(self) -> None:
        """Let go of the table; again: nothing. MisuseError inside a block of this thread."""
        with self._changed:
            if threading.current_thread() in self._holders.values():
                raise contract.inside_block()
            self._closed = True
            self._changed.notify_all()

    def remove(self) -> None:
        """Drop the rows and close it."""
        with self._changed:
            self._open()
            self.close()
            self._rows.clear()

    # -- one row --

    def set(self, key: Key, row: Mapping[str, Any]) -> None:
        """As Table.set()."""
        with self._changed:
            code = self._open().encode_key(key)
            given = self._schema.check_row(row)
            self._wait(code)
            self._write(code, self._row(code) | given)

    def __setitem__(self, key: Key, row: Mapping[str, Any]) -> None:
        """As Table's: replace all columns."""
        with self._changed:
            code = self._open().encode_key(key)
            given = self._schema.check_row(row)
            self._wait(code)
            self._write(code, self._schema.zero_row() | given)

    def add(self, key: Key, row: Mapping[str, Any]) -> bool:
        """As Table.add()."""
        with self._changed:
            code = self._open().encode_key(key)
            given = self._schema.check_row(row)
            self._wait(code)
            if code in self._rows:
                return False
            self._write(code, self._schema.zero_row() | given)
            return True

    @overload
    def get(self, key: Key, column: None = None, default: Any = None) -> Row | Any: ...
    @overload
    def get(self, key: Key, column: str, default: Any = None) -> Value | Any: ...
    def get(self, key: Key, column: str | None = None, default: Any = None) -> Any:
        """As Table.get()."""
        with self._changed:
            code = self._open().encode_key(key)
            if column is not None:
                self._schema.column(column)
            row = self._rows.get(code)
            if row is None:
                return default
            return dict(row) if column is None else row[column]

    def __getitem__(self, key: Key) -> Row:
        """Return a row. KeyError."""
        with self._changed:
            code = self._open().encode_key(key)
            if code not in self._rows:
                raise KeyError(key)
            return dict(self._rows[code])

    def delete(self, key: Key) -> bool:
        """As Table.delete()."""
        with self._changed:
            code = self._open().encode_key(key)
            self._wait(code)
            return self._rows.pop(code, None) is not None

    def __delitem__(self, key: Key) -> None:
        """Delete a row. KeyError."""
        if not self.delete(key):
            raise KeyError(key)

    def pop(self, key: Key) -> Row:
        """As Table.pop()."""
        with self._changed:
            code = self._open().encode_key(key)
            self._wait(code)
            if code not in self._rows:
                raise KeyError(key)
            return self._rows.pop(code)

    def incr(self, key: Key, column: str, by: float = 1) -> int | float:
        """As Table.incr()."""
        with self._changed:
            code = self._open().encode_key(key)
            return self._add(code, column, self._schema.check_by(column, by))

    def decr(self, key: Key, column: str, by: float = 1) -> int | float:
        """As Table.decr()."""
        with self._changed:
            code = self._open().encode_key(key)
            return self._add(code, column, self._schema.check_by(column, by, down=True))

    def compare_and_set(self, key: Key, column: str, expected: Any, value: Any) -> bool:
        """As Table.compare_and_set()."""
        with self._changed:
            code = self._open().encode_key(key)
            expected = self._schema.check_value(column, expected)
            value = self._schema.check_value(column, value)
            self._wait(code)
            if code not in self._rows or self._rows[code][column] != expected:
                return False
            self._rows[code][column] = value
            return True

    def lock(self, key: Key, timeout: float | None = None) -> AbstractContextManager[LockedRow]:
        """As Table.lock()."""
        code = self._open().encode_key(key)
        deadline_of(timeout)
        return self._locked(code, timeout)

    # -- all rows --

    def __contains__(self, key: Key) -> bool:
        """Say whether there is such a row."""
        with self._changed:
            return self._open().encode_key(key) in self._rows

    exists = __contains__

    def __len__(self) -> int:
        """Return how many rows there are."""
        with self._changed:
            self._open()
            return len(self._rows)

    count = __len__

    def __iter__(self) -> Iterator[str | bytes]:
        """Iterate over the keys."""
        return (key for key, _ in self.items())

    def keys(self) -> Iterator[str | bytes]:
        """Iterate over the keys."""
        return iter(self)

    def values(self) -> Iterator[Row]:
        """Iterate over the rows."""
        return (row for _, row in self.items())

    def items(self) -> Iterator[tuple[str | bytes, Row]]:
        """Iterate over the keys and rows."""
        with self._changed:
            self._open()
            return self._lasting(list(self._rows))

    # -- how it stands --

    @property
    def size(self) -> int:
        """Rows it holds at most."""
        return self._size

    @property
    def memory_size(self) -> int:
        """Bytes of full rows of the longest keys; Python takes more."""
        return self._size * (self._open().row_bytes + self._schema.key_size)

    def statistics(self) -> contract.TableStatistics:
        """As Table.statistics()."""
        with self._changed:
            schema = self._open()
            return contract.TableStatistics(
                size=self._size,
                rows=len(self._rows),
                key_size=schema.key_size,
                row_bytes=schema.row_bytes,
                memory_size=self.memory_size,
                columns=schema.names,
                locked=len(self._holders),
                waiting=len(self._waiting),
            )

    def verify(self) -> list[str]:
        """Find nothing: a dict keeps its rules."""
        self._open()
        return []

    # -- inside; all but _locked() are called with the condition held --

    def _open(self) -> Schema:
        if self._closed:
            raise contract.closed()
        if not self._made:
            raise contract.not_made()
        return self._schema

    def __reduce__(self) -> str:
        """Refuse: no other process can reach it."""
        raise TypeError(
            f"cannot pickle {type(self).__name__!r} object: it is in the memory of one process; "
            f"share a Table instead"
        )

    def _not_made(self, call: str) -> None:
        if self._closed:
            raise contract.closed()
        if self._made:
            raise contract.made_already(call)

    def _row(self, code: bytes) -> Row:
        return self._rows.get(code) or self._schema.zero_row()

    def _write(self, code: bytes, row: Row) -> None:
        self._check_room(code)
        self._rows[code] = row

    def _check_room(self, code: bytes) -> None:
        there = self._rows.keys() | self._reserved
        if code not in there and len(there) >= self._size:
            raise contract.full(self._size, self._schema.decode_key(code))

    def _add(self, code: bytes, name: str, step: float) -> int | float:
        self._wait(code)
        row = self._row(code)
        new: Any = row[name] + step  # type: ignore[operator]  # check_by(): it is a number
        try:
            row = row | {name: self._schema.check_value(name, new)}
        except OverflowError:
            raise self._schema.out_of_range(name, int(step)) from None
        self._write(code, row)
        return row[name]  # type: ignore[return-value]

    def _wait(self, code: bytes, timeout: float | None = None) -> None:
        """Wait until nobody holds the row's lock (T13, T17, T18)."""
        me = threading.current_thread()
        deadline = deadline_of(timeout)
        while (holder := self._holders.get(code)) is not None:
            key = self._schema.decode_key(code)
            if holder is me:
                raise contract.own_lock(key)
            if self._waits_for(holder, me):
                raise contract.cycle(key)
            left = time_left(deadline)
            if left == 0:
                raise contract.too_late(key, timeout)
            self._waiting[me] = code
            try:
                self._changed.wait(_LONGEST if left is None else min(left, _LONGEST))
            finally:
                del self._waiting[me]
            self._open()

    def _waits_for(self, thread: threading.Thread, end: threading.Thread) -> bool:
        """Whether `thread` waits for `end`, over whatever others."""
        while thread is not end:
            code = self._waiting.get(thread)
            holder = None if code is None else self._holders.get(code)
            if holder is None:
                return False
            thread = holder
        return True

    @contextmanager
    def _locked(self, code: bytes, timeout: float | None) -> Iterator[LockedRow]:
        me = threading.current_thread()
        with self._changed:
            self._open()
            key = self._schema.decode_key(code)
            if self._holders.get(code) is me:
                raise contract.own_lock(key)
            if list(self._holders.values()).count(me) >= contract.MAX_LOCKS:
                raise contract.too_many_locks(key)
            self._wait(code, timeout)
            self._check_room(code)
            if code not in self._rows:
                self._reserved.add(code)
            self._holders[code] = me
            row = LockedRow(self._schema, dict(self._row(code)))
        try:
            yield row
        except BaseException:
            self._unlock(code, row)
            raise
        with self._changed:
            values = self._unlock(code, row)
            self._open()
            self._rows[code] = values

    def _unlock(self, code: bytes, row: LockedRow) -> Row:
        with self._changed:
            self._reserved.discard(code)
            del self._holders[code]
            self._changed.notify_all()
            return row.end()

    def _lasting(self, codes: list[bytes]) -> Iterator[tuple[str | bytes, Row]]:
        """Give those that are still there; a row gone and come again is there (T12)."""
        for code in codes:
            with self._changed:
                self._open()
                row = self._rows.get(code)
                if row is None:
                    continue
                found = self._schema.decode_key(code), dict(row)
            yield found

"""Table: rows in shared memory that many processes change, and that no crash can tear.

Contract  ipckit.table.contract, T1..T22; docs/contracts/table.md.
Stands on ipckit._core._rows (the calls of one row), ipckit.table.segment, ipckit._segments,
          ipckit._spawning, ipckit.errors, ipckit._timeouts.
Crash     whoever is killed inside a call has done it whole or not at all; what he held is free
          for the others within a millisecond or two. Nothing leaks.
"""

# ruff: noqa: A002  (`type` is the API's word)

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any, ClassVar, Self

from ipckit._closing import Closing
from ipckit._core import process
from ipckit._core._rows import Rows
from ipckit._segments import TABLES, file_of
from ipckit._spawning import (
    Sent,
    additions,
    check_class,
    descriptor_for_child,
    is_spawning,
    receive_descriptor,
    replaced,
)
from ipckit._timeouts import deadline_of
from ipckit.errors import SegmentCorrupt, WaitTimeout
from ipckit.table import contract, segment
from ipckit.table.schema import (
    TYPE_BYTES,
    TYPE_FLOAT,
    TYPE_INT,
    TYPE_STRING,
    Column,
    Key,
    LockedRow,
    Schema,
    column_of,
)

__all__ = ["Table"]

_warned: list[str] = []  # at most one
_OWN = frozenset({"_closed", "_columns", "_file", "_made", "_memory", "_name", "_schema", "_size"})
"""The attributes that the segment gives."""
_CENTURY = 100 * 365 * 86400.0
_RULES = {
    1: "V1 bucket {}: its chain leaves the table, or has a cell of another bucket",
    2: "V2 bucket {}: a cell of its chain is neither a row nor reserved",
    3: "V3 bucket {}: a row has another bucket's key, or a length over its limit",
    4: "V4 cell {}: the bitmap does not tell whether it is a row",
    5: "V5 cell {}: it is taken, but no chain leads to it",
    6: "V6 bucket {}: something is pending, though nobody is inside",
}


class Table(Closing, Rows):
    """A hash table of fixed columns in shared memory, with a lock for each row.

    Process safe and thread safe. A fork shares it: parent and child see the same rows. So does a
    `multiprocessing.Process` that has it in its args. A named one is open to every process of the
    same user, and its pickle opens it there. Holds exactly `size` rows, whatever their keys.

    Args:
        size: rows, 1..2**31-1; all of their memory is taken at once.
        columns: {"name": Int(8), Float(), Str(most bytes) or Bytes(most bytes)}; without it the
            table is made later, by column() and create().
        key_size: most bytes of a key, 1..255.
        name: 1..200 of A-Z a-z 0-9 . _ -; the segment is /dev/shm/ipckit.NAME. None: shared with
            related processes only.
        mode: rights of a named one. Only its owner can open it, and not when others may write.

    Raises:
        TypeError, ValueError: a wrong number, name or column. AlreadyExists: the name is taken.
        SystemCallError: ENOSPC, there is not so much shared memory. Nothing is made then.

    Crash: a killed process leaves a named segment with its rows; `Table.open` finds them.
    Source: Swoole's Table, https://wiki.swoole.com/en/#/memory/table, without its torn rows.
    """

    TYPE_INT: ClassVar[int] = TYPE_INT
    TYPE_FLOAT: ClassVar[int] = TYPE_FLOAT
    TYPE_STRING: ClassVar[int] = TYPE_STRING
    TYPE_BYTES: ClassVar[int] = TYPE_BYTES

    def __init__(
        self,
        size: int,
        *,
        columns: Mapping[str, Column] | None = None,
        key_size: int = 64,
        name: str | None = None,
        mode: int = 0o600,
    ) -> None:
        """Make the table, or with columns=None begin it."""
        self._refuse_by(contract)
        contract.check_size(size)
        # A stand-in column: the key's size is checked now, also when the columns come later.
        self._schema = Schema({"_": column_of(TYPE_INT)} if columns is None else columns, key_size)
        self._columns: dict[str, Column] = {}
        self._size = int(size)
        self._memory = 0
        self._name: str | None = None
        self._made = False
        self._closed = False
        if name is not None:
            TABLES.path_of(name)
        if columns is not None:
            self._make(self._schema, name, mode)
        elif name is not None:
            raise ValueError(f"name={name!r}: give it to create(), after the columns")

    def column(self, name: str, type: int | Column, size: int = 0) -> Self:
        """Add a column; before create(). Return the table.

        Args:
            name: 1..100 bytes of UTF-8.
            type: Table.TYPE_INT (signed), TYPE_FLOAT, TYPE_STRING, TYPE_BYTES, or a Column.
            size: of an int 1, 2, 4 or 8 bytes, 0 means 8; of a string the most bytes.

        Raises:
            MisuseError: after create(). TypeError, ValueError: nothing was added.
        """
        self._not_made("column")
        if name in self._columns:
            raise ValueError(f"column {name!r} is there already: take another name")
        columns = {**self._columns, name: column_of(type, size)}
        self._schema = Schema(columns, self._schema.key_size)
        self._columns = columns
        return self

    def create(self, name: str | None = None, *, mode: int = 0o600) -> Self:
        """Make the table of the columns so far. Return it.

        Args:
            name: None: shared with the children that are forked from now on. Else as in Table().
            mode: as in Table().

        Raises:
            MisuseError: it is made already. Else as Table().
        """
        self._not_made("create")
        self._make(Schema(self._columns, self._schema.key_size), name, mode)
        return self

    @classmethod
    def open(cls, name: str) -> Self:
        """Open a named table; its columns come from the segment.

        Raises:
            NotFound. AccessDenied: another user's, or one that others may write to.
            SegmentCorrupt: damaged, cut off, or of another version; nothing of it was used.
        """
        return cls._of(TABLES.open(name), name)

    def lock(self, key: Key, timeout: float | None = None) -> AbstractContextManager[LockedRow]:
        """Shut out every other writer of one row, for a `with` block; readers go on.

        The block gets the row as a mutable mapping with exactly the columns. Leaving the block
        commits it in one step; an exception leaves the row as it was. A missing key is a zero row
        that nobody sees before the commit; it takes its place at entry.

        Args:
            key: of the row.
            timeout: seconds; None waits for ever, 0 tries once.

        Raises:
            WaitTimeout: somebody else had it all the time. TableFull: no place for a new key.
            DeadlockError: this thread has it already, or waiting would close a cycle; in the
            block, for this thread's other writes to the key. MisuseError: the ninth lock of a
            thread. TypeError, ValueError.

        Crash: a holder that is killed leaves the row as it was, and its lock is free at once.
        Fork: the child does not have its parent's locks.
        """
        if self._closed or not self._made:
            len(self)  # it raises
        self._schema.encode_key(key)
        deadline_of(timeout)
        return self._locked(key, timeout)

    @property
    def size(self) -> int:
        """Rows it holds at most."""
        return self._size

    @property
    def memory_size(self) -> int:
        """Bytes of shared memory, all of them."""
        len(self)  # MisuseError
        return self._memory

    def statistics(self) -> contract.TableStatistics:
        """Return how it stands, in numbers; see there. Never waits."""
        locked, waiting = self._lock_load()
        return contract.TableStatistics(
            size=self._size,
            rows=len(self),
            key_size=self._schema.key_size,
            row_bytes=self._schema.row_bytes,
            memory_size=self._memory,
            columns=self._schema.names,
            locked=locked,
            waiting=waiting,
        )

    def verify(self) -> list[str]:
        """Check every invariant of the segment; return the broken ones, none when it is sound.

        Frees what dead processes left on the way. Exact while others work; takes each row's
        latch, so a process that is stopped inside a call holds it up.
        """
        count, findings = self._verify()
        broken = [_RULES[rule].format(where) for rule, where in findings]
        if count > len(broken):
            broken.append(f"and {count - len(broken)} more")
        return broken

    def close(self) -> None:
        """Let go of it in this process; the rows stay for the others. Again: nothing.

        MisuseError inside a `with lock()` block of this thread.
        """
        self._close()
        self._closed = True

    def remove(self) -> None:
        """Remove the name of a named table and close it; processes that have it open keep the rows.

        NotFound: the name was taken away before, also if another table has it by now.
        """
        len(self)  # MisuseError
        if self._name is not None:
            TABLES.remove(self._name, self._file)
        self.close()

    def __repr__(self) -> str:
        """Show what it is."""
        name = f" {self._name!r}" if self._name else ""
        state = "closed" if self._closed else f"{self._size} rows" if self._made else "not made"
        return f"<Table{name}: {state}>"

    def __reduce__(self) -> tuple[Any, ...]:
        """Share it with a process that is being started; else by its name, or MisuseError."""
        fd = self._descriptor()  # MisuseError
        extra = additions(self, _OWN)
        if self._name is not None and not is_spawning():
            return _opened, (type(self), self._name, *self._file), extra
        sent = descriptor_for_child(fd, type(self).__name__, "give the table a name", self._file)
        return _received, (type(self), self._name, sent), extra

    @classmethod
    def _of(cls, fd: int, name: str | None) -> Self:
        """Return the table of a segment that is there; its columns come from it."""
        table = cls.__new__(cls)
        table._refuse_by(contract)
        table._columns = {}
        table._name = name
        table._closed = False
        table._made = True
        table._take(fd, None)
        return table

    def _not_made(self, call: str) -> None:
        if self._closed:
            raise contract.closed()
        if self._made:
            raise contract.made_already(call)

    def _make(self, schema: Schema, name: str | None, mode: int) -> None:
        if name is None:
            _warn_if_alone()
            self._take(segment.make_anonymous(self._size, schema), schema)
        else:
            segment.make_named(name, self._size, schema, mode, lambda fd: self._take(fd, schema))
        self._name = name
        self._made = True

    def _take(self, fd: int, schema: Schema | None) -> None:
        """Map the segment; `schema` None: its own."""
        try:
            self._file = file_of(fd)
            rows, key_size, memory, columns = self._attach(fd)
        except BaseException:
            os.close(fd)
            raise
        if schema is None:
            schema = _schema_of(columns, key_size)
        self._schema = schema
        self._size = rows
        self._memory = memory
        self._use(schema)

    @contextmanager
    def _locked(self, key: Key, timeout: float | None) -> Iterator[LockedRow]:
        deadline = deadline_of(timeout)
        taken: list[int] = []  # filled and emptied by the core: an interrupt leaves no doubt
        try:
            row = self._lock(key, _nanoseconds(deadline), taken)
            locked = LockedRow(self._schema, self._schema.zero_row() if row is None else row)
            try:
                yield locked
            finally:
                values = locked.end()
            self._unlock(taken, values)
        except BaseException as exc:
            if taken:
                self._unlock(taken, None)
            elif isinstance(exc, WaitTimeout) and not exc.args:
                code = self._schema.encode_key(key)
                raise contract.too_late(self._schema.decode_key(code), timeout) from None
            raise


def _opened(cls: type[Table], name: str, device: int, inode: int) -> Table:
    """Unpickle a table by its name. NotFound: another table has the name by now."""
    check_class(cls, Table)
    table = cls.open(name)
    if table._file == (device, inode):
        return table
    table.close()
    raise replaced("open", name)


def _received(cls: type[Table], name: str | None, sent: Sent) -> Table:
    """Unpickle a table in the process that was started with it."""
    check_class(cls, Table)
    if name is not None:
        TABLES.path_of(name)
    return cls._of(receive_descriptor(sent), name)


def _warn_if_alone() -> None:
    """Say once that nobody shares a nameless table made in a server's child."""
    where = process.server_process
    if where and not _warned:
        _warned.append(where)
        warnings.warn(
            f"a Table without a name, made in {where}, is shared with no other process: make it"
            " before server.start(), or give it a name",
            RuntimeWarning,
            stacklevel=5,
        )


def _nanoseconds(deadline: float | None) -> int:
    """Return a moment of time.monotonic() as the core takes it; 0: none, or not in our time."""
    return 0 if deadline is None or deadline > _CENTURY else max(1, int(deadline * 1e9))


def _schema_of(columns: tuple[tuple[bytes, int, int], ...], key_size: int) -> Schema:
    """Return the schema that a segment tells; it was checked, but anybody may have written it."""
    try:
        made = {name.decode(): column_of(kind, size) for name, kind, size in columns}
        if len(made) != len(columns):
            raise ValueError("two columns have one name")
        return Schema(made, key_size)
    except ValueError as exc:
        raise SegmentCorrupt(f"the table's columns are damaged: {exc}") from None

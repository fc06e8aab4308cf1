"""What every table of ipckit promises, and the values and errors that all of them share.

Contract  docs/contracts/table.md says these rules at length; tests name them by number.
  T1   exactly `size` rows fit, whatever their keys, whatever was deleted; then TableFull
  T2   set: a new row's other columns are zero or empty, those of an existing row stay; one step
  T3   t[key] = row: the columns not given become zero or empty; one step
  T4   add: only if absent; False has changed nothing
  T5   get: a row, one value, or the default; t[key]: KeyError; what is returned is a copy
  T6   delete says whether there was a row, del is KeyError without one, pop returns it
  T7   incr and decr return the new value; a missing row begins at zero; OverflowError changes
       nothing and makes no row
  T8   compare_and_set sets where the column == expected; a missing row or a NaN never is
  T9   a key is str or bytes up to key_size bytes; "a" and b"a" are one; shown as str if UTF-8
  T10  a value comes back as it was given, NULs, NaN, -0.0 and the empty string too
  T11  TypeError for a key or row, SchemaError for a column or a value's type, OverflowError for a
       number's range, ValueError for a length; refused before anything else is looked at, in the
       order of the arguments; what is refused changes nothing
  T12  iteration gives every row that lasts exactly once; rows may come and go; iterators nest
  T13  lock shuts out every writer of its row and of no other; readers go on and see the old row
  T14  the block's row has exactly the columns; a wrong one or a wrong value raises at once
  T15  leaving commits in one step; an exception leaves the row as it was, or absent
  T16  a missing key is a zero row in its block and takes its place at entry (TableFull); nobody
       sees it before the commit
  T17  a write or lock that this thread's own lock forbids is DeadlockError at once, and so is
       the wait that closes a cycle
  T18  lock waits for `timeout`, then WaitTimeout; a thread has at most 8 locks of a table
  T19  before create() and after close() every call is MisuseError, a second create() too, and so
       is close() inside a block of this thread
  T20  len, count, size, memory_size and statistics tell how it stands; verify() finds nothing
  T21  size 1..2**31-1, key_size 1..255, 1..256 columns, names of 1..100 bytes, strings up to
       1 MiB; what is over a limit is refused when the table is made
  T22  the args of a multiprocessing.Process share a table; another pickle opens it by its name, or
       raises MisuseError without one; a lock stays with its thread
Stands on ipckit.errors. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass

from ipckit.errors import DeadlockError, MisuseError, TableFull, WaitTimeout

__all__ = [
    "MAX_LOCKS",
    "MAX_SIZE",
    "TableStatistics",
    "check_size",
    "closed",
    "cycle",
    "full",
    "inside_block",
    "made_already",
    "not_made",
    "own_lock",
    "too_late",
    "too_many_locks",
]

MAX_SIZE = 2**31 - 1
"""Of a table: rows."""

MAX_LOCKS = 8
"""That one thread may hold at a time, of one table."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TableStatistics:
    """How a table stands. Immutable."""

    size: int
    """Rows it holds at most."""
    rows: int
    """Rows there are now; as len()."""
    key_size: int
    """Most bytes of a key."""
    row_bytes: int
    """The columns of one row, in shared memory."""
    memory_size: int
    """Bytes of the whole table."""
    columns: tuple[str, ...]
    """Their names, in order."""
    locked: int
    """Rows inside a lock() block of a living thread."""
    waiting: int
    """Living threads that wait for such a row now."""


def check_size(size: object) -> None:
    """Refuse what cannot be a number of rows (T21)."""
    if not isinstance(size, int):
        raise TypeError(f"size must be an int, the number of rows, not {type(size).__name__}")
    if not 1 <= size <= MAX_SIZE:
        shown = size if size.bit_length() <= 128 else f"an int of {size.bit_length()} bits"
        raise ValueError(f"size={shown}: must be 1..2**31-1 rows")


def full(size: int, key: str | bytes) -> TableFull:
    """Return (not raise) the error of a new key without room (T1)."""
    return TableFull(
        f"all {size} rows are in use, {key!r} was not added;"
        " delete rows, or make the table with a larger size",
        size=size,
        key=key,
    )


def own_lock(key: str | bytes) -> DeadlockError:
    """Return the error of a write to a key that the thread has locked itself (T17)."""
    return DeadlockError(
        f"this thread holds the lock of {key!r}: inside the block, write to the row it was given"
    )


def cycle(key: str | bytes) -> DeadlockError:
    """Return the error of a wait that closes a cycle (T17)."""
    return DeadlockError(
        f"the wait for the lock of {key!r} would never end: its holder waits for a lock of this"
        " thread; take several locks in one order everywhere"
    )


def too_late(key: str | bytes, timeout: float | None) -> WaitTimeout:
    """Return the error of a lock that was not free in time (T18)."""
    return WaitTimeout(
        f"the lock of {key!r} was not free within {timeout} s; its holder must leave its "
        f"block, or wait longer"
    )


def too_many_locks(key: str | bytes) -> MisuseError:
    """Return the error of one lock too many (T18)."""
    return MisuseError(
        f"this thread holds {MAX_LOCKS} locks of this table, {key!r} would be one more: "
        f"leave one first"
    )


def not_made() -> MisuseError:
    """Return the error of a call before create() (T19)."""
    return MisuseError("this table is not made yet: call create() first")


def made_already(call: str) -> MisuseError:
    """Return the error of column() or create() after create() (T19)."""
    return MisuseError(f"{call}() comes before the table is made, and it is; make a new Table")


def inside_block() -> MisuseError:
    """Return the error of close() by a thread that holds a lock (T19)."""
    return MisuseError(
        "this thread is inside a `with table.lock()` block of this table; leave it first"
    )


def closed() -> MisuseError:
    """Return the error of a call after close() (T19)."""
    return MisuseError("this table object is closed; make or open() the table again")

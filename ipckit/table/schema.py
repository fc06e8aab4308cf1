"""What a table's rows look like, and the checks of everything that a caller puts in. Pure.

Contract  ipckit.table.contract, T9..T11, T14, T21: every table asks here, so they refuse alike.
Stands on ipckit.errors.
Used by   ipckit.table.memory, ipckit.table.table.
Sizes are bytes. A row is counted as it lies in shared memory: 8 bytes for a number; for a string
8 for its length, and its most bytes rounded up to 8.
"""

# ruff: noqa: A002  (`type` is the API's word)

from __future__ import annotations

import difflib
import operator
from collections.abc import Iterator, Mapping, MutableMapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from ipckit.errors import MisuseError, SchemaError

__all__ = [
    "MAX_COLUMNS",
    "MAX_KEY",
    "MAX_NAME",
    "MAX_ROW",
    "MAX_VALUE",
    "TYPE_BYTES",
    "TYPE_FLOAT",
    "TYPE_INT",
    "TYPE_STRING",
    "Bytes",
    "Column",
    "Float",
    "Int",
    "Key",
    "LockedRow",
    "Row",
    "Schema",
    "Str",
    "Value",
    "column_of",
]

Value = int | float | str | bytes
Row = dict[str, Value]
Key = str | bytes | bytearray | memoryview

TYPE_INT = 1
TYPE_FLOAT = 2
TYPE_STRING = 3
TYPE_BYTES = 4

MAX_COLUMNS = 256
MAX_NAME = 100
"""Of a column's name in UTF-8."""
MAX_KEY = 255
MAX_VALUE = 2**20
"""Of one string."""
MAX_ROW = 2**20 + 2**16
"""Of all columns: one string of the largest size and plenty of numbers beside it."""

_LEAST, _MOST = -(2**63), 2**63 - 1  # what one step of incr() may be


@dataclass(frozen=True, repr=False)
class Column:
    """What all columns are: make one as Int(), Float(), Str() or Bytes(). Immutable."""

    kind: int
    """TYPE_INT, TYPE_FLOAT, TYPE_STRING or TYPE_BYTES."""
    size: int
    """Bytes of a number; most bytes of a string, in UTF-8."""

    def __post_init__(self) -> None:
        """Refuse a column without a class of its own."""
        if type(self) is Column:
            raise TypeError("Column says no type: use Int(), Float(), Str(size) or Bytes(size)")

    def __repr__(self) -> str:
        """Return how it is written."""
        size = "" if self.kind == TYPE_FLOAT else self.size
        return f"{type(self).__name__}({size})"


class Int(Column):
    """A column of signed ints of 1, 2, 4 or 8 bytes; 0 means 8."""

    def __init__(self, size: int = 8) -> None:
        """Take the size in bytes."""
        if not isinstance(size, int):
            raise TypeError(f"Int: size must be 1, 2, 4 or 8, not {type(size).__name__}")
        if size not in {0, 1, 2, 4, 8}:
            raise ValueError(f"Int: size={_shown(size)}: must be 1, 2, 4 or 8 bytes (0 means 8)")
        super().__init__(TYPE_INT, int(size) or 8)

    @property
    def least(self) -> int:
        """The lowest value it holds."""
        return int(-(2 ** (8 * self.size - 1)))

    @property
    def most(self) -> int:
        """The highest value it holds."""
        return int(2 ** (8 * self.size - 1)) - 1


class Float(Column):
    """A column of floats of 8 bytes, as Python's are; ints are taken as floats."""

    def __init__(self) -> None:
        """Take nothing: floats have one size."""
        super().__init__(TYPE_FLOAT, 8)


class Str(Column):
    """A column of str of at most `size` bytes in UTF-8, 1 to 1 MiB."""

    def __init__(self, size: int) -> None:
        """Take the most bytes."""
        super().__init__(TYPE_STRING, _string_size("Str", size))


class Bytes(Column):
    """A column of bytes, at most `size` of them, 1 to 1 MiB."""

    def __init__(self, size: int) -> None:
        """Take the most bytes."""
        super().__init__(TYPE_BYTES, _string_size("Bytes", size))


def column_of(type: int | Column, size: int = 0) -> Column:
    """Return the column that the arguments of Table.column() mean."""
    if isinstance(type, Column):
        if size not in {0, type.size}:
            raise ValueError(f"size={_shown(size)}: {type!r} says its size itself; leave it out")
        return type
    if not isinstance(type, int):
        raise TypeError(f"type must be one of Table.TYPE_... or a Column, not {_kind_of(type)}")
    if type == TYPE_INT:
        return Int(size)
    if type == TYPE_FLOAT:
        if size not in {0, 8}:
            raise ValueError(f"TYPE_FLOAT: size={_shown(size)}: a float has 8 bytes; leave it out")
        return Float()
    if type == TYPE_STRING:
        return Str(size)
    if type == TYPE_BYTES:
        return Bytes(size)
    raise ValueError(
        f"type={_shown(type)}: must be TYPE_INT (1), TYPE_FLOAT (2), TYPE_STRING (3)"
        " or TYPE_BYTES (4)"
    )


class Schema:
    """The columns of a table and the size of its keys; checks every key and value. Immutable."""

    __slots__ = ("columns", "key_size", "names", "row_bytes")

    columns: Mapping[str, Column]
    """In the order they were given."""
    names: tuple[str, ...]
    key_size: int
    row_bytes: int
    """One row's columns in shared memory."""

    def __init__(self, columns: Mapping[str, Column], key_size: int = 64) -> None:
        """Check the columns and the most bytes of a key. TypeError, ValueError."""
        if not isinstance(key_size, int):
            raise TypeError(f"key_size must be an int, not {type(key_size).__name__}")
        if not 1 <= key_size <= MAX_KEY:
            raise ValueError(f"key_size={_shown(key_size)}: must be 1..{MAX_KEY} bytes")
        if not isinstance(columns, Mapping):
            raise TypeError(
                f"columns must be a mapping such as {{'id': Int(8)}}, not {type(columns).__name__}"
            )
        if not 1 <= len(columns) <= MAX_COLUMNS:
            raise ValueError(
                f"{len(columns)} columns: a table has 1..{MAX_COLUMNS}; column() adds one"
            )
        taken = dict(columns)
        for name, column in taken.items():
            _check_name(name)
            if not isinstance(column, Column):
                raise TypeError(
                    f"column {name!r} must be Int(), Float(), Str(size) or Bytes(size),"
                    f" not {_kind_of(column)}"
                )
        self.columns = MappingProxyType(taken)
        self.names = tuple(taken)
        self.key_size = int(key_size)
        self.row_bytes = sum(_row_bytes(column) for column in taken.values())
        if self.row_bytes > MAX_ROW:
            raise ValueError(
                f"a row of {self.row_bytes} bytes is over {MAX_ROW}: each change copies the whole"
                " row while the others wait; give the strings smaller sizes, or use two tables"
            )

    def encode_key(self, key: object) -> bytes:
        """Return a key's bytes; a str and its UTF-8 are one key. TypeError, ValueError."""
        if isinstance(key, str):
            try:
                code = str.encode(key)
            except UnicodeEncodeError as exc:
                raise ValueError(
                    f"the key has {_surrogate(exc)}, which has no UTF-8; use bytes"
                ) from None
        elif isinstance(key, bytes | bytearray | memoryview):
            code = bytes(key)
        else:
            raise TypeError(f"a key must be str or bytes, not {type(key).__name__}")
        if len(code) > self.key_size:
            raise ValueError(
                f"a key of {len(code)} bytes is over key_size={self.key_size};"
                " shorten it or make the table with a larger key_size"
            )
        return code

    @staticmethod
    def decode_key(code: bytes) -> str | bytes:
        """Return a key as iteration shows it: str where it is UTF-8, else bytes."""
        try:
            return code.decode()
        except UnicodeDecodeError:
            return code

    def column(self, name: object) -> Column:
        """Return a column, or raise SchemaError that names those there are."""
        if not isinstance(name, str):
            raise SchemaError(f"a column's name is a str, not {type(name).__name__}; {self._all()}")
        column = self.columns.get(name)
        if column is None:
            near = difflib.get_close_matches(name[:MAX_NAME], self.names, 1)
            hint = f", did you mean {near[0]!r}?" if near else ";"
            raise SchemaError(f"no column {_shown(name)}{hint} {self._all()}")
        return column

    def check_value(self, name: object, value: object) -> Value:
        """Return a value as its column keeps it: a plain int, float, str or bytes.

        Raises SchemaError (no such column, wrong type), OverflowError (a number out of range),
        ValueError (a string too long, or a str without UTF-8).
        """
        column = self.column(name)
        if isinstance(column, Int):
            if not isinstance(value, int):
                raise self._wrong_type(name, column, "an int", value)
            number = operator.index(value)
            if not column.least <= number <= column.most:
                raise OverflowError(
                    f"column {name!r}: {_shown(number)} is out of the range of {column!r},"
                    f" {column.least}..{column.most}; {_wider(column)}"
                )
            return number
        if isinstance(column, Float):
            if not isinstance(value, float | int):
                raise self._wrong_type(name, column, "a float or int", value)
            return _as_float(f"column {name!r}", value)
        if isinstance(column, Str):
            if not isinstance(value, str):
                raise self._wrong_type(name, column, "a str", value)
            try:
                code = str.encode(value)
            except UnicodeEncodeError as exc:
                raise ValueError(
                    f"column {name!r}: the str has {_surrogate(exc)}, which has no UTF-8;"
                    " use a Bytes column"
                ) from None
            self._check_size(name, column, len(code))
            return value if type(value) is str else code.decode()
        if not isinstance(value, bytes | bytearray | memoryview):
            raise self._wrong_type(name, column, "bytes, bytearray or memoryview", value)
        body = bytes(value)
        self._check_size(name, column, len(body))
        return body

    def check_row(self, row: object) -> Row:
        """Return the given columns as check_value() does. TypeError when it is no mapping."""
        if not isinstance(row, Mapping):
            raise TypeError(f"a row must be a mapping of columns, not {type(row).__name__}")
        return {name: self.check_value(name, value) for name, value in row.items()}

    def zero_row(self) -> Row:
        """Return a new row: numbers are zero, strings empty."""
        zeros: dict[int, Value] = {TYPE_INT: 0, TYPE_FLOAT: 0.0, TYPE_STRING: "", TYPE_BYTES: b""}
        return {name: zeros[column.kind] for name, column in self.columns.items()}

    def check_by(self, name: object, by: object, down: bool = False) -> int | float:
        """Return the step of incr(), or with `down` of decr(): what is to be added.

        Raises SchemaError (no such column, one of strings, wrong type), OverflowError.
        """
        column = self.column(name)
        if isinstance(column, Int):
            if not isinstance(by, int):
                raise self._wrong_type(name, column, "by as an int", by)
            step = -operator.index(by) if down else operator.index(by)
            if not _LEAST <= step <= _MOST:
                raise OverflowError(
                    f"column {name!r}: by={_shown(by)} is over 64 bits: must be {_LEAST}..{_MOST}"
                )
            return step
        if isinstance(column, Float):
            if not isinstance(by, float | int):
                raise self._wrong_type(name, column, "by as a float or int", by)
            change = _as_float(f"column {name!r}: by", by)
            return -change if down else change
        raise SchemaError(
            f"column {name!r} is {column!r}: only Int and Float can be counted; use set()"
        )

    def out_of_range(self, name: object, step: int) -> OverflowError:
        """Return (not raise) the error of an incr() or decr() that left an Int's range."""
        column = self.column(name)
        assert isinstance(column, Int), column
        return OverflowError(
            f"column {name!r}: adding {step} leaves the range of {column!r},"
            f" {column.least}..{column.most}; nothing was changed: {_wider(column)}"
        )

    def _all(self) -> str:
        return f"the columns are {', '.join(map(repr, self.names))}"

    @staticmethod
    def _wrong_type(name: object, column: Column, expected: str, given: object) -> SchemaError:
        return SchemaError(
            f"column {name!r} is {column!r} and takes {expected}, not {type(given).__name__}"
        )

    @staticmethod
    def _check_size(name: object, column: Column, size: int) -> None:
        if size > column.size:
            raise ValueError(
                f"column {name!r}: {size} bytes are too long for {column!r}; shorten it, or "
                f"make the column larger"
            )


class LockedRow(MutableMapping[str, Value]):
    """The row inside a `with table.lock(key)`: all columns, checked as they are set.

    It is the block's own copy, for the thread that holds the lock. After the block every use is
    MisuseError.
    """

    __slots__ = ("_ended", "_schema", "_values")

    def __init__(self, schema: Schema, values: Row) -> None:
        """Take the row as it is; all columns."""
        self._schema = schema
        self._values = values
        self._ended = False

    def end(self) -> Row:
        """Refuse every later use, and return the values."""
        self._ended = True
        return self._values

    def __getitem__(self, name: str) -> Any:
        """Return a column's value, an int, float, str or bytes. SchemaError."""
        values = self._now()
        self._schema.column(name)
        return values[name]

    def __setitem__(self, name: str, value: Value) -> None:
        """Change a column, as Table.set() checks it."""
        values = self._now()
        values[name] = self._schema.check_value(name, value)

    def __delitem__(self, name: str) -> None:
        """Refuse: a row has all its columns."""
        self._now()
        self._schema.column(name)
        raise SchemaError(f"column {name!r} cannot be deleted from a row; set it to zero or empty")

    def __contains__(self, name: object) -> bool:
        """Say whether there is such a column."""
        return name in self._now()

    def __iter__(self) -> Iterator[str]:
        """Iterate over the columns, in the table's order."""
        return iter(self._now())

    def __len__(self) -> int:
        """Return how many columns there are."""
        return len(self._now())

    def __repr__(self) -> str:
        """Show the values."""
        return f"LockedRow({'ended' if self._ended else self._values})"

    def __reduce__(self) -> str:
        """Refuse: the lock stays with its thread."""
        raise TypeError(
            f"cannot pickle {type(self).__name__!r} object: the lock of the row belongs to this "
            f"thread; send a copy, dict(row)"
        )

    def _now(self) -> Row:
        if self._ended:
            raise MisuseError("this row was for the `with table.lock()` block, which has ended")
        return self._values


def _check_name(name: object) -> None:
    if not isinstance(name, str):
        raise TypeError(f"a column's name must be a str, not {type(name).__name__}")
    try:
        size = len(name.encode())
    except UnicodeEncodeError as exc:
        raise ValueError(
            f"column {_shown(name)}: the name has {_surrogate(exc)}, which has no UTF-8"
        ) from None
    if not 1 <= size <= MAX_NAME:
        raise ValueError(f"column {_shown(name)}: a name of {size} bytes; it must have 1..100")
    if "\0" in name:
        raise ValueError(f"column {_shown(name)}: the name has a NUL character")


def _kind_of(value: object) -> str:
    if isinstance(value, type):
        return f"the class {value.__name__}"
    return f"{type(value).__name__} {_shown(value)}"


def _string_size(what: str, size: object) -> int:
    if not isinstance(size, int):
        raise TypeError(f"{what}: size must be an int, not {type(size).__name__}")
    if not 1 <= size <= MAX_VALUE:
        raise ValueError(f"{what}: size={_shown(size)}: must be 1..{MAX_VALUE} bytes")
    return int(size)


def _row_bytes(column: Column) -> int:
    if column.kind in {TYPE_INT, TYPE_FLOAT}:
        return 8
    return 8 + (column.size + 7) // 8 * 8


def _wider(column: Int) -> str:
    return "make the column an Int of more bytes" if column.size < 8 else "keep it as a Str"


def _as_float(what: str, value: float) -> float:
    try:
        return float(value)
    except OverflowError:
        raise OverflowError(f"{what}: {_shown(value)} is too large for a float") from None


def _surrogate(exc: UnicodeEncodeError) -> str:
    return f"a lone surrogate (U+{ord(exc.object[exc.start]):04X}) at {exc.start}"


def _shown(value: object) -> str:
    """Return a value as text of a sane length; Python refuses to print very large ints."""
    if isinstance(value, int) and value.bit_length() > 128:
        return f"an int of {value.bit_length()} bits"
    text = repr(value)
    return text if len(text) <= 120 else f"{text[:117]}..."

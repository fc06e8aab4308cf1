"""Columns, schemas and the checks of what a caller puts into a table."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from types import MappingProxyType

import pytest

from ipckit.errors import MisuseError, SchemaError
from ipckit.table.schema import (
    MAX_ROW,
    MAX_VALUE,
    TYPE_BYTES,
    TYPE_FLOAT,
    TYPE_INT,
    TYPE_STRING,
    Bytes,
    Column,
    Float,
    Int,
    LockedRow,
    Schema,
    Str,
    column_of,
)

SCHEMA = Schema({"id": Int(1), "rate": Float(), "name": Str(8), "blob": Bytes(9)}, key_size=10)
HUGE = 10**5000  # Python refuses to print it


def text_of(error, call) -> str:
    with pytest.raises(error) as caught:
        call()
    assert type(caught.value) is error
    return str(caught.value)


@pytest.mark.parametrize(
    ("column", "kind", "size", "shown"),
    [
        (Int(), TYPE_INT, 8, "Int(8)"),
        (Int(0), TYPE_INT, 8, "Int(8)"),
        (Int(1), TYPE_INT, 1, "Int(1)"),
        (Float(), TYPE_FLOAT, 8, "Float()"),
        (Str(64), TYPE_STRING, 64, "Str(64)"),
        (Bytes(size=MAX_VALUE), TYPE_BYTES, MAX_VALUE, "Bytes(1048576)"),
    ],
)
def test_a_column_is_a_value(column, kind, size, shown):
    """It knows its kind and size, equals its like, is hashable, immutable, pickles and copies."""
    assert (column.kind, column.size, repr(column)) == (kind, size, shown)
    assert isinstance(column, Column) and eval(repr(column)) == column
    for same in (pickle.loads(pickle.dumps(column)), copy.deepcopy(column)):
        assert same == column and hash(same) == hash(column) and type(same) is type(column)
    with pytest.raises(dataclasses.FrozenInstanceError):
        column.size = 4
    assert Str(8) != Bytes(8) and Int(4) != Int(8) and Float() != Int()


def test_column_sizes_are_checked():
    """By the column itself, with the limit in the text."""
    for size in (3, 5, 16, -1, HUGE):
        assert "1, 2, 4 or 8" in text_of(ValueError, lambda: Int(size))
    for kind in (Str, Bytes):
        for size in (0, -1, MAX_VALUE + 1, HUGE):
            assert "1..1048576" in text_of(ValueError, lambda: kind(size))
        for size in ("8", 8.0, None):
            assert type(size).__name__ in text_of(TypeError, lambda: kind(size))
    text_of(TypeError, lambda: Int("8"))
    assert "Int()" in text_of(TypeError, lambda: Column(TYPE_INT, 8))


@pytest.mark.parametrize("size", [1, 2, 4, 8])
def test_an_int_knows_its_range(size):
    """Two's complement of its size."""
    assert (Int(size).least, Int(size).most) == (-(256**size) // 2, 256**size // 2 - 1)


def test_column_of():
    """What Table.column() takes: a number with a size, or a Column without one."""
    assert column_of(TYPE_INT) == column_of(TYPE_INT, 0) == column_of(TYPE_INT, 8) == Int()
    assert column_of(TYPE_INT, 2) == Int(2)
    assert column_of(TYPE_FLOAT) == column_of(TYPE_FLOAT, 8) == Float()
    assert column_of(TYPE_STRING, 5) == Str(5) and column_of(TYPE_BYTES, 5) == Bytes(5)
    assert column_of(Str(5)) == column_of(Str(5), 5) == Str(5)
    for args in ((0,), (5,), (HUGE,), (TYPE_STRING,), (TYPE_FLOAT, 4), (Str(5), 6)):
        text_of(ValueError, lambda: column_of(*args))
    assert "the class Str" in text_of(TypeError, lambda: column_of(Str))
    assert "str 'int'" in text_of(TypeError, lambda: column_of("int"))


def test_a_schema_keeps_its_own_columns():
    """In the order given; what the caller's mapping becomes later changes nothing."""
    given = {"b": Int(), "a": Str(3)}
    schema = Schema(given)
    del given["b"]
    assert schema.names == ("b", "a") and schema.key_size == 64
    assert dict(schema.columns) == {"b": Int(), "a": Str(3)}
    assert Schema(MappingProxyType({"a": Int()}), 255).key_size == 255


@pytest.mark.parametrize(
    ("columns", "size"),
    [
        ({"a": Int(1)}, 8),
        ({"a": Float(), "b": Int(2)}, 16),
        ({"a": Str(1)}, 16),
        ({"a": Str(8)}, 16),
        ({"a": Bytes(9)}, 24),
    ],
)
def test_row_bytes(columns, size):
    """8 for a number; for a string 8, and its size rounded up to 8."""
    assert Schema(columns).row_bytes == size


def test_a_row_has_a_largest_size():
    """One string of 1 MiB fits beside 255 numbers; two do not, and the text says why."""
    numbers = {f"n{number}": Int() for number in range(255)}
    assert Schema(numbers | {"s": Str(MAX_VALUE)}).row_bytes <= MAX_ROW
    exact = {"s": Str(MAX_VALUE), "t": Str(MAX_ROW - MAX_VALUE - 16)}
    assert Schema(exact).row_bytes == MAX_ROW
    text = text_of(ValueError, lambda: Schema(exact | {"one": Int()}))
    assert str(MAX_ROW + 8) in text and str(MAX_ROW) in text and "two tables" in text


def test_wrong_schemas():
    """Names, numbers and types are refused with what was given and what may be."""
    one = {"a": Int()}
    for key_size in (0, -1, 256, HUGE):
        assert "1..255" in text_of(ValueError, lambda: Schema(one, key_size))
    assert "float" in text_of(TypeError, lambda: Schema(one, 8.0))
    assert "0 columns" in text_of(ValueError, lambda: Schema({}))
    many = {f"n{number}": Int() for number in range(257)}
    assert "257 columns" in text_of(ValueError, lambda: Schema(many))
    assert "list" in text_of(TypeError, lambda: Schema([("a", Int())]))
    assert "the class Int" in text_of(TypeError, lambda: Schema({"a": Int}))
    assert "int 1" in text_of(TypeError, lambda: Schema({"a": 1}))
    assert "an int of" in text_of(TypeError, lambda: Schema({"a": HUGE}))
    for name in ("", "a\0b", "\0", "\udc80", "x" * 101, "é" * 51):
        text_of(ValueError, lambda: Schema({name: Int()}))
    for name in (5, b"a", None):
        assert type(name).__name__ in text_of(TypeError, lambda: Schema({name: Int()}))
    assert Schema({"x" * 100: Int(), "é" * 50: Int(), " ": Int(), "\n": Int()}).names[2] == " "


def test_keys():
    """str as UTF-8, bytes as they are, up to key_size; back as str where it is UTF-8."""
    for key in (b"ab", bytearray(b"ab"), memoryview(b"a.b.")[::2], "ab"):
        assert SCHEMA.encode_key(key) == b"ab" and type(SCHEMA.encode_key(key)) is bytes
    assert SCHEMA.encode_key("") == b"" and SCHEMA.decode_key(b"") == ""
    for key in ("", "a\0", "\0", "张三", "𝄞", "x" * 10, b"\xff", b"\xed\xa0\x80", b"\xc0\x80"):
        assert SCHEMA.decode_key(SCHEMA.encode_key(key)) == key
    for key in ("x" * 11, "é" * 5 + "x", b"\0" * 11):
        text = text_of(ValueError, lambda: SCHEMA.encode_key(key))
        assert "11 bytes" in text and "key_size=10" in text
    assert "U+D800) at 2" in text_of(ValueError, lambda: SCHEMA.encode_key("ab\ud800"))
    for key in (5, None, ("a",), True):
        assert type(key).__name__ in text_of(TypeError, lambda: SCHEMA.encode_key(key))


def test_column():
    """Known by its name; else SchemaError with the nearest one and all of them."""
    assert SCHEMA.column("id") == Int(1)
    text = text_of(SchemaError, lambda: SCHEMA.column("nmae"))
    assert "'nmae', did you mean 'name'?" in text and "'id', 'rate', 'name', 'blob'" in text
    assert "did you mean" not in text_of(SchemaError, lambda: SCHEMA.column("zzz"))
    for name in (5, b"id", None, ["id"]):
        assert type(name).__name__ in text_of(SchemaError, lambda: SCHEMA.column(name))
    assert len(text_of(SchemaError, lambda: SCHEMA.column("x" * 10**6))) < 500


@pytest.mark.parametrize(
    ("name", "value", "kept"),
    [
        ("id", True, 1),
        ("id", -128, -128),
        ("rate", 3, 3.0),
        ("rate", False, 0.0),
        ("rate", 0.1, 0.1),
        ("name", "a\0é", "a\0é"),
        ("name", "𝄞𝄞", "𝄞𝄞"),
        ("blob", bytearray(b"\0x\0"), b"\0x\0"),
        ("blob", memoryview(b"123456789"), b"123456789"),
    ],
)
def test_values_become_plain(name, value, kept):
    """int, float, str, bytes, whatever was given."""
    got = SCHEMA.check_value(name, value)
    assert got == kept and type(got) is type(kept)


@pytest.mark.parametrize(
    ("name", "value", "error", "says"),
    [
        ("id", 128, OverflowError, "'id': 128 is out of the range of Int(1), -128..127"),
        ("id", -129, OverflowError, "-128..127"),
        ("id", 1.0, SchemaError, "'id' is Int(1) and takes an int, not float"),
        ("id", "1", SchemaError, "not str"),
        ("rate", "1", SchemaError, "'rate' is Float() and takes a float or int, not str"),
        ("rate", 2**1024, OverflowError, "too large for a float"),
        ("name", b"x", SchemaError, "'name' is Str(8) and takes a str, not bytes"),
        ("name", "𝄞𝄞x", ValueError, "'name': 9 bytes are too long for Str(8)"),
        ("name", "\ud800", ValueError, "U+D800) at 0"),
        ("blob", "x", SchemaError, "'blob' is Bytes(9) and takes bytes"),
        ("blob", b"x" * 10, ValueError, "'blob': 10 bytes are too long for Bytes(9)"),
        ("blob", None, SchemaError, "not NoneType"),
        ("nome", 1, SchemaError, "did you mean 'name'"),
    ],
)
def test_wrong_values(name, value, error, says):
    """The text says which column, what it takes and what was given."""
    assert says in text_of(error, lambda: SCHEMA.check_value(name, value))


def test_unprintable_numbers():
    """The error names an int that Python refuses to print by the number of its bits."""
    for name, says in (("id", "-128..127"), ("rate", "too large for a float")):
        text = text_of(OverflowError, lambda: SCHEMA.check_value(name, HUGE))
        assert f"an int of {HUGE.bit_length()} bits" in text and says in text


def test_rows():
    """Any mapping of columns; only those given."""
    assert SCHEMA.check_row({}) == {}
    assert SCHEMA.check_row(MappingProxyType({"name": "x", "id": True})) == {"name": "x", "id": 1}
    assert SCHEMA.zero_row() == {"id": 0, "rate": 0.0, "name": "", "blob": b""}
    assert SCHEMA.zero_row() is not SCHEMA.zero_row()
    assert tuple(SCHEMA.zero_row()) == SCHEMA.names
    for row in (None, [("id", 1)], "id", {"id"}):
        assert type(row).__name__ in text_of(TypeError, lambda: SCHEMA.check_row(row))


def test_steps():
    """An Int takes 64 bit ints, a Float numbers; strings take none. decr() takes it away."""
    assert SCHEMA.check_by("id", True) == 1 and type(SCHEMA.check_by("id", True)) is int
    assert SCHEMA.check_by("id", 5, down=True) == -5
    assert SCHEMA.check_by("rate", 5) == 5.0 and type(SCHEMA.check_by("rate", 5)) is float
    assert SCHEMA.check_by("rate", 0.5, down=True) == -0.5
    assert SCHEMA.check_by("id", 2**63 - 1) == 2**63 - 1
    assert SCHEMA.check_by("id", 2**63, down=True) == -(2**63)
    for by, down in ((2**63, False), (-(2**63), True), (HUGE, False)):
        assert "64 bits" in text_of(OverflowError, lambda: SCHEMA.check_by("id", by, down=down))
    text_of(OverflowError, lambda: SCHEMA.check_by("rate", HUGE))
    for name, by in (("id", 1.0), ("id", "1"), ("rate", "1"), ("rate", None), ("none", 1)):
        text_of(SchemaError, lambda: SCHEMA.check_by(name, by))
    for name in ("name", "blob"):
        assert "Int and Float" in text_of(SchemaError, lambda: SCHEMA.check_by(name, 1))
    assert "adding -5 leaves" in str(SCHEMA.out_of_range("id", -5))


def test_a_locked_row():
    """All columns, checked as they are set; end() hands them out, and then it is over."""
    row = LockedRow(SCHEMA, SCHEMA.zero_row())
    row["id"] = True
    row.update(rate=2)
    assert dict(row) == SCHEMA.zero_row() | {"id": 1, "rate": 2.0}
    assert "id" in row and "none" not in row and 5 not in row
    for error, change in (
        (SchemaError, lambda: row["none"]),
        (SchemaError, lambda: row.__setitem__("none", 1)),
        (OverflowError, lambda: row.__setitem__("id", 128)),
        (SchemaError, lambda: row.__delitem__("id")),
        (SchemaError, row.popitem),
    ):
        text_of(error, change)
    assert row.end() == SCHEMA.zero_row() | {"id": 1, "rate": 2.0}
    for use in (lambda: row["id"], lambda: list(row), lambda: len(row), lambda: "id" in row):
        assert "has ended" in text_of(MisuseError, use)
    assert repr(row) == "LockedRow(ended)"

"""Keys and values of every table: rules T9 to T11 of ipckit.table.contract."""

from __future__ import annotations

import enum
import math
import struct

import pytest
from tables import INTS, ROW, ZERO, contents, kind, make, table, writes  # noqa: F401  (fixtures)

from ipckit.errors import SchemaError
from ipckit.table import Bytes, Int, Str

# -- T9: keys --


@pytest.mark.parametrize("key_size", [1, 7, 8, 9, 64, 255])
def test_t9_keys_of_every_length(make, key_size):
    """T9: 0..key_size bytes are keys of their own, one more is ValueError with both numbers."""
    table = make(2 * key_size + 2, key_size=key_size)
    keys = ["k" * size for size in range(key_size + 1)]
    keys += ["\0" * size for size in range(1, key_size + 1)]
    for number, key in enumerate(keys):
        table.set(key, {"n": number})
    assert sorted(table) == sorted(keys)
    assert [table.get(key, "n") for key in keys] == list(range(len(keys)))
    before = contents(table)
    for wrong in ("k" * (key_size + 1), b"\0" * (key_size + 1), "é" * (key_size // 2 + 1)):
        for call in (*writes(wrong).values(), lambda t: wrong in t, lambda t: t.get(wrong)):
            with pytest.raises(ValueError, match=rf"{len(wrong.encode() if isinstance(wrong, str) else wrong)} bytes.*key_size={key_size}"):  # fmt: skip
                call(table)
    assert contents(table) == before


def test_t9_str_and_bytes_are_one_key(make):
    """T9: by their UTF-8; shown as str where it is UTF-8."""
    table = make(5)
    for key in ("a", b"a", bytearray(b"a"), memoryview(b"a")):
        table.incr(key, "n")
    assert contents(table) == {"a": ZERO | {"n": 4}}
    table.set("𝄞张".encode(), {})
    table.set("", {})
    assert b"" in table and "𝄞张" in table and table.add(b"", {}) is False
    table.set(b"\xff\x00", {})
    table.set(b"\xed\xa0\x80", {})  # a surrogate's would-be UTF-8
    assert set(table) == {"a", "𝄞张", "", b"\xff\x00", b"\xed\xa0\x80"}
    assert set(table) == set(table.keys()) == {key for key, _ in table.items()}
    assert table.pop("a")["n"] == 4


def test_t9_hostile_keys_stay_apart(make):
    """T9: NULs, composed and decomposed letters, case, blanks."""
    keys = [
        "",
        "\0",
        "\0\0",
        "a",
        "a\0",
        "\0a",
        "A",
        " a",
        "a ",
        "é",
        "e\u0301",
        "𝄞",
        "\uffff",
        "\n",
    ]
    table = make(len(keys))
    for number, key in enumerate(keys):
        assert table.add(key, {"n": number}) is True
    assert {key: row["n"] for key, row in table.items()} == {k: n for n, k in enumerate(keys)}


def test_t9_wrong_keys(table):
    """T9, T11: TypeError names the type; a lone surrogate is ValueError."""
    for wrong in (None, 5, 1.5, ("a",), ["a"], True):
        for call in (*writes(wrong).values(), lambda t: wrong in t, lambda t: t[wrong]):
            with pytest.raises(TypeError, match=type(wrong).__name__):
                call(table)
    for call in (*writes("a\ud800").values(), lambda t: "\udfff" in t, lambda t: t.get("\ud800")):
        with pytest.raises(ValueError, match="surrogate"):
            call(table)
    assert len(table) == 0


# -- T10, T11: values --


STRINGS = [
    "",
    "\0",
    "\0\0",
    "a\0",
    "\0a",
    "a\0b",
    "𝄞" * 4,
    "é" * 8,
    "x" * 16,
    "\U0010ffff",
    "\ufeff",
]


@pytest.mark.parametrize("text", STRINGS)
def test_t10_strings_come_back(table, text):
    """T10: whole, whatever was longer there before; as bytes too."""
    table.set("k", {"s": "y" * 16, "b": b"y" * 16})
    table.set("k", {"s": text, "b": text.encode()})
    assert table.get("k", "s") == text and type(table.get("k", "s")) is str
    assert table.get("k", "b") == text.encode() and type(table.get("k", "b")) is bytes
    assert table["k"] == ZERO | {"s": text, "b": text.encode()}


def test_t10_bytes_come_back(table):
    """T10: every byte, from each type of bytes."""
    for start in range(0, 256, 16):
        body = bytes(range(start, start + 16))
        for shape in (bytes, bytearray, memoryview):
            table.set("k", {"b": shape(body)})
            assert table.get("k", "b") == body
    table.set("k", {"b": memoryview(b"0123456789")[::2]})
    assert table.get("k", "b") == b"02468"


@pytest.mark.parametrize(
    "number",
    [0.0, -0.0, math.inf, -math.inf, 5e-324, -5e-324, 1.7976931348623157e308, 0.1, 2**53 + 1, 2**1000, True],
)  # fmt: skip
def test_t10_floats_come_back(table, number):
    """T10: bit for bit; an int as the float it is."""
    table.set("k", {"x": number})
    for got in (table.get("k", "x"), table["k"]["x"]):
        assert struct.pack("d", got) == struct.pack("d", float(number)) and type(got) is float


def test_t10_nan_comes_back(table):
    """T10: as a NaN."""
    table.set("k", {"x": math.nan})
    assert math.isnan(table.get("k", "x"))


@pytest.mark.parametrize("name", INTS)
def test_t10_integer_edges(table, name):
    """T10, T11: both ends of each size come back, one beyond is OverflowError with the range."""
    most, least = 2 ** (8 * INTS[name] - 1) - 1, -(2 ** (8 * INTS[name] - 1))
    for number in (least, least + 1, -1, 0, 1, most - 1, most):
        table.set("k", {name: number})
        assert table.get("k", name) == number and type(table.get("k", name)) is int
    before = contents(table)
    for number in (least - 1, most + 1, 2**64, -(2**200), 10**5000):
        for call in (
            lambda: table.set("k", {"s": "lost", name: number}),
            lambda: table.add("new", {name: number}),
            lambda: table.compare_and_set("k", name, most, number),
            lambda: table.compare_and_set("k", name, number, most),
        ):
            with pytest.raises(OverflowError, match=rf"{name}.*{least}\.\.{most}"):
                call()
    assert contents(table) == before


def test_t10_columns_do_not_touch_each_other(make):
    """T10: each column full, then each empty, beside full ones."""
    columns = {"a": Bytes(1), "b": Int(1), "c": Bytes(7), "d": Str(9), "e": Int(2), "f": Bytes(8)}
    full = {"a": b"\xff", "b": -1, "c": b"\xff" * 7, "d": "\x7f" * 9, "e": -1, "f": b"\xff" * 8}
    zero = {"a": b"", "b": 0, "c": b"", "d": "", "e": 0, "f": b""}
    table = make(2, columns)
    for name in columns:
        table["k"] = full
        table.set("k", {name: zero[name]})
        assert table["k"] == full | {name: zero[name]}
        table["k"] = {name: full[name]}
        assert table["k"] == zero | {name: full[name]}


class Level(enum.IntEnum):
    HIGH = 3


class Text(str):
    __slots__ = ()

    def __str__(self):
        return "something else"


def test_t10_subclasses_become_plain(table):
    """T10: enums, bools, subclasses of str are kept as what they are beneath."""
    table.set("k", {"n": Level.HIGH, "i1": True, "s": Text("abc"), "x": Level.HIGH})
    assert table["k"] == ZERO | {"n": 3, "i1": 1, "s": "abc", "x": 3.0}
    assert [type(table.get("k", name)) for name in ("n", "i1", "s", "x")] == [int, int, str, float]


WRONG_TYPES = [
    ("n", 1.0), ("n", "1"), ("n", None), ("n", b"1"), ("x", "1"), ("x", None), ("x", 1j),
    ("s", b"a"), ("s", 1), ("s", None), ("b", "a"), ("b", 1), ("b", None), ("b", [1]),
]  # fmt: skip


@pytest.mark.parametrize(("name", "value"), WRONG_TYPES)
def test_t11_wrong_types(table, name, value):
    """T11: SchemaError names the column, what it takes and what was given."""
    table.set("k", ROW)
    calls = [
        lambda: table.set("k", {"n": 1, name: value}),
        lambda: table.__setitem__("k", {name: value}),
        lambda: table.add("k", {name: value}),
        lambda: table.add("new", {"i1": 3, name: value}),
        lambda: table.compare_and_set("k", name, value, ROW[name]),
        lambda: table.compare_and_set("k", name, ROW[name], value),
        lambda: table.compare_and_set("none", name, value, ROW[name]),
    ]
    for call in calls:
        with pytest.raises(SchemaError, match=f"'{name}'.*not {type(value).__name__}"):
            call()
    assert contents(table) == {"k": ROW}


def test_t11_wrong_steps(table):
    """T11: an Int takes ints, a Float floats too, strings cannot be counted."""
    table.set("k", ROW)
    for count in (table.incr, table.decr):
        for name, by in (("n", 1.0), ("n", "1"), ("n", None), ("x", "1"), ("x", None)):
            with pytest.raises(SchemaError, match=f"'{name}'.*not {type(by).__name__}"):
                count("k", name, by)
        for name in ("s", "b"):
            with pytest.raises(SchemaError, match=f"'{name}'"):
                count("k", name, 1)
    assert contents(table) == {"k": ROW}


def test_t11_unknown_columns(table):
    """T11: SchemaError names those there are and the nearest; missing rows do not matter."""
    for key in ("k", "none"):
        for call in (
            lambda: table.set(key, {"n": 1, "nn": 1}),
            lambda: table.__setitem__(key, {"nn": 1}),
            lambda: table.add(key, {"nn": 1}),
            lambda: table.get(key, "nn"),
            lambda: table.get(key, "nn", 5),
            lambda: table.incr(key, "nn"),
            lambda: table.decr(key, "nn", "x"),
            lambda: table.compare_and_set(key, "nn", 0, 1),
        ):
            with pytest.raises(SchemaError, match=r"'nn', did you mean 'n'\?.*'n', 'i1'.*'b'"):
                call()
        table.set("k", ROW)
    for name in (5, b"n", None, ("n",)):
        with pytest.raises(SchemaError):
            table.set("k", {name: 1})
    for name in ("", "\0", "n\0", "N", "\ud800", "x" * 10_000):
        with pytest.raises(SchemaError):
            table.get("k", name)
    assert contents(table) == {"k": ROW}


def test_t11_too_long_strings(table):
    """T11: ValueError with both numbers; bytes count, not letters."""
    table.set("k", ROW)
    for name, value, size in (
        ("s", "x" * 17, 17),
        ("s", "é" * 8 + "x", 17),
        ("s", "𝄞" * 5, 20),
        ("s", "\0" * 17, 17),
        ("b", b"\0" * 17, 17),
        ("b", bytearray(100), 100),
    ):
        for call in (
            lambda: table.set("k", {"n": 1, name: value}),
            lambda: table.add("new", {name: value}),
            lambda: table.compare_and_set("k", name, value, ROW[name]),
        ):
            with pytest.raises(ValueError, match=f"'{name}': {size} bytes.*16"):
                call()
    for value in ("\ud800", "a\udfff"):
        with pytest.raises(ValueError, match=r"'s'.*surrogate"):
            table.set("k", {"s": value})
    assert contents(table) == {"k": ROW}


def test_t11_a_row_is_a_mapping(table):
    """T11: TypeError for anything else."""
    for row in (None, 5, "n", [("n", 1)], {"n"}):
        for call in (table.set, table.add, table.__setitem__):
            with pytest.raises(TypeError, match=type(row).__name__):
                call("k", row)
    assert len(table) == 0


def test_t11_the_first_wrong_argument_is_told(table):
    """T11: the key, then the column, then the value; all before the room is looked at."""
    with pytest.raises(TypeError, match="key"):
        table.set(5, {"none": 1})
    with pytest.raises(ValueError, match="key_size"):
        table.incr("k" * 65, "none")
    with pytest.raises(SchemaError, match="none"):
        table.compare_and_set("k", "none", [], [])
    for number in range(8):
        table.set(str(number), {})
    with pytest.raises(SchemaError):
        table.set("k", {"none": 1})
    with pytest.raises(OverflowError):
        table.set("k", {"i1": 128})

"""PHP's serialize text: what it looks like, what is refused, and that reading never crashes."""

from __future__ import annotations

import contextlib
import math

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ipckit.queue.php_format import MAX_DEPTH, dumps, loads

SAMPLES = [
    (None, b"N;"),
    (True, b"b:1;"),
    (False, b"b:0;"),
    (-5, b"i:-5;"),
    (2**63 - 1, b"i:9223372036854775807;"),
    (-(2**63), b"i:-9223372036854775808;"),
    (0.5, b"d:0.5;"),
    (1.0, b"d:1;"),
    (-0.0, b"d:-0;"),
    (1e25, b"d:1e+25;"),
    (math.inf, b"d:INF;"),
    (-math.inf, b"d:-INF;"),
    ("", b's:0:"";'),
    ("abc", b's:3:"abc";'),
    ("中文", b's:6:"\xe4\xb8\xad\xe6\x96\x87";'),
    (b"\x80x", b's:2:"\x80x";'),
    ('quote " and ;', b's:13:"quote " and ;";'),
    ([], b"a:0:{}"),
    ([1, ["x"]], b'a:2:{i:0;i:1;i:1;a:1:{i:0;s:1:"x";}}'),
    ({"k": 7, 5: None}, b'a:2:{s:1:"k";i:7;i:5;N;}'),
    ({"5": 1}, b'a:1:{s:1:"5";i:1;}'),
]

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False)
    | st.text()
)


def is_text(raw: bytes) -> bool:
    try:
        raw.decode()
    except UnicodeDecodeError:
        return False
    return True


VALUES = st.recursive(
    SCALARS | st.binary().filter(lambda raw: not is_text(raw)),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers(5, 2**40), inner),
    max_leaves=20,
).filter(lambda value: not has_double(value))


def has_double(value) -> bool:
    """Keys that PHP takes for one, and the empty dict, which is an empty list there."""
    if isinstance(value, list):
        return any(map(has_double, value))
    if isinstance(value, dict):
        texts = [str(key) for key in value]
        return not value or len(set(texts)) < len(texts) or any(map(has_double, value.values()))
    return False


@pytest.mark.parametrize(("value", "text"), SAMPLES)
def test_samples(value, text):
    """Written as PHP writes them, and back with type and sign."""
    assert dumps(value) == text
    back = loads(text)
    assert repr(back) == repr(value)


@given(VALUES)
def test_what_is_written_is_read(value):
    assert repr(loads(dumps(value))) == repr(value)


def test_what_is_not_the_same_on_the_other_side():
    """The list in the head of php_format."""
    assert loads(dumps((1, 2))) == [1, 2]
    assert loads(dumps(b"text")) == "text"
    assert loads(dumps({})) == []
    assert loads(dumps({0: "a", 1: "b"})) == ["a", "b"]
    assert loads(dumps({1: "b", 0: "a"})) == {1: "b", 0: "a"}
    assert math.isnan(loads(dumps(math.nan)))


@pytest.mark.parametrize(
    "value",
    [
        2**63,
        -(2**63) - 1,
        object(),
        {1, 2},
        1j,
        bytearray(b"x"),
        {None: 1},
        {1.5: 1},
        {True: 1},
        {b"k": 1},
        {5: 1, "5": 2},
        {"-7": 1, -7: 2},
        "\ud800",
        {"\ud800": 1},
        [[object()]],
    ],
)
def test_what_cannot_be_written(value):
    with pytest.raises(ValueError):
        dumps(value)


def test_depth():
    """MAX_DEPTH levels pass both ways, one more is refused; a list inside itself too."""
    value = []
    for _ in range(MAX_DEPTH - 1):
        value = [value]
    assert loads(dumps(value)) == value
    with pytest.raises(ValueError, match="inside one another"):
        dumps([value])
    text = b"a:1:{i:0;" * MAX_DEPTH + b"a:0:{}" + b"}" * MAX_DEPTH
    with pytest.raises(ValueError, match="inside one another"):
        loads(text)
    endless = []
    endless.append(endless)
    with pytest.raises(ValueError):
        dumps(endless)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"N",
        b"N;N;",
        b"b:2;",
        b"b:true;",
        b"i:;",
        b"i:1",
        b"i:1.5;",
        b"i:9223372036854775808;",
        b"i: 1;",
        b"i:1_0;",
        b"d:;",
        b"d:nan;",
        b"d:inf;",
        b"d:1e;",
        b"d:0x1;",
        b's:3:"ab";',
        b's:2:"abc";',
        b's:-1:"";',
        b's:99999999999999999:"";',
        b's:1:"a"',
        b"s:1:'a';",
        b"a:1:{}",
        b"a:0:{i:0;N;}",
        b"a:-1:{}",
        b"a:1:{N;N;}",
        b"a:1:{d:1;N;}",
        b"a:2:{i:0;N;i:0;N;}",
        b"a:9999999999999999999:{}",
        b"a:1:{i:0;N;",
        b'O:8:"stdClass":0:{}',
        b'C:1:"A":0:{}',
        b'E:3:"A:B";',
        b"R:1;",
        b"r:1;",
        b"a:2:{i:0;N;i:1;R:2;}",
        b'S:1:"a";',
        b"\xff\xff",
    ],
)
def test_malformed_text(text):
    with pytest.raises(ValueError):
        loads(text)


@pytest.mark.parametrize("data", ["N;", None, 5])
def test_only_bytes_are_read(data):
    with pytest.raises(TypeError):
        loads(data)


@given(st.binary(max_size=200))
def test_reading_anything_returns_or_refuses(data):
    try:
        loads(data)
    except ValueError:
        pass


PIECES = [b"a:", b"i:", b"s:", b"d:", b"b:", b"N;", b"0", b"1", b"2", b":{", b"}", b";", b'"', b":"]


@given(st.lists(st.sampled_from(PIECES) | st.binary(max_size=2), max_size=40).map(b"".join))
@example(b"d:" + b"1" * 50_000)
@example(b"i:" + b"1" * 50_000 + b";")
@example(b"a:1:{" * 2_000)
def test_reading_almost_text_returns_or_refuses(data):
    """And what it returns is the same after another round, where it can be written."""
    try:
        value = loads(data)
    except ValueError:
        return
    with contextlib.suppress(ValueError):
        assert loads(dumps(value)) == value


@given(VALUES, st.data())
def test_one_changed_byte_never_crashes(value, data):
    text = bytearray(dumps(value))
    text[data.draw(st.integers(0, len(text) - 1))] = data.draw(st.integers(0, 255))
    try:
        loads(bytes(text))
    except ValueError:
        pass

"""PHP's serialize text for plain data: what PHP's msg_send writes and msg_receive reads.

    None  N;            bool   b:1;           int   i:-5;          float  d:0.5;
    str   s:3:"abc";    bytes  s:2:"<80>x";   list, dict  a:2:{i:0;s:1:"x";s:1:"k";i:7;}

A string's length counts bytes. Objects and references (O C E R r) are refused in both directions:
they run code, or make one value out of two.

What is not the same on the other side
  tuple       as a list
  bytes       as str where they are UTF-8: PHP has one kind of string
  {"5": x}    stays a str key between Python programs; PHP reads it as the number 5, as it does
              with "5" everywhere. {5: x, "5": y} would lose one there: ValueError
  {0: x}      as [x]; {} as []: PHP has one kind of array, and keys 0..n-1 in order are a list
  -0.0, NAN, INF, -INF   kept

Contract  loads(dumps(v)) == v for what is not in that list; loads() of any bytes returns a value
          or raises ValueError, in time and memory proportional to their number.
Stands on nothing of ipckit. Pure.
Source    PHP's manual, serialize(); ext/standard/var_unserializer.re for what it accepts.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable

__all__ = ["MAX_DEPTH", "dumps", "loads"]

MAX_DEPTH = 128
"""Most arrays inside one another; PHP's own limit is 4096, Python's stack sets ours."""

_MIN_INT, _MAX_INT = -(2**63), 2**63 - 1
_INT = re.compile(rb"[+-]?[0-9]{1,20}")
_SIZE = re.compile(rb"[0-9]{1,19}")
_FLOAT = re.compile(rb"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_WORDS = {b"INF": math.inf, b"-INF": -math.inf, b"NAN": math.nan}
_DECIMAL = re.compile(r"0|-?[1-9][0-9]*")
_LEAST_PAIR = 6  # bytes of the shortest key and value: "i:0;N;"


def dumps(value: object) -> bytes:
    """Return PHP's text for None, bool, int (64 bit), float, str, bytes, list, tuple or dict.

    Keys of a dict are int (64 bit) or str.

    Raises:
        ValueError: another type, an int over 64 bits, two keys that PHP takes for one, text that
            is not UTF-8 (lone surrogates), more than MAX_DEPTH levels (a list inside itself too).
    """
    out: list[bytes] = []
    _write(value, out, 0)
    return b"".join(out)


def loads(data: bytes) -> object:
    """Return the value that `data`, one whole PHP text, stands for.

    Strings come as str where they are UTF-8, else as bytes; arrays with the keys 0..n-1 in order
    as lists, others as dicts (a key that is not UTF-8 as bytes).

    Raises:
        ValueError: not this text, more after it, an object or reference, over MAX_DEPTH levels.
        TypeError: `data` is not bytes.
    """
    if not isinstance(data, bytes | bytearray | memoryview):
        raise TypeError(f"data must be bytes, not {type(data).__name__}")
    reader = _Reader(bytes(data))
    value = reader.value(0)
    if reader.at != len(reader.data):
        raise ValueError(f"{len(reader.data) - reader.at} bytes after the end of the value")
    return value


def _write(value: object, out: list[bytes], depth: int) -> None:
    if value is None:
        out.append(b"N;")
    elif isinstance(value, bool):
        out.append(b"b:1;" if value else b"b:0;")
    elif isinstance(value, int):
        out.append(_int(value))
    elif isinstance(value, float):
        out.append(_float(value))
    elif isinstance(value, str | bytes):
        out.append(_string(value))
    elif isinstance(value, list | tuple):
        _enter(depth)
        out.append(b"a:%d:{" % len(value))
        for index, item in enumerate(value):
            out.append(b"i:%d;" % index)
            _write(item, out, depth + 1)
        out.append(b"}")
    elif isinstance(value, dict):
        _enter(depth)
        out.append(b"a:%d:{" % len(value))
        for key, item in value.items():
            out.append(_key(key, value))
            _write(item, out, depth + 1)
        out.append(b"}")
    else:
        raise ValueError(
            f"a value of type {type(value).__name__}: PHP's text has none such; "
            "use None, bool, int, float, str, bytes, list or dict"
        )


def _enter(depth: int) -> None:
    if depth >= MAX_DEPTH:
        raise ValueError(
            f"more than {MAX_DEPTH} lists or dicts inside one another; send something flatter"
        )


def _int(value: int) -> bytes:
    if not _MIN_INT <= value <= _MAX_INT:
        raise ValueError(f"an int of {value.bit_length()} bits: PHP's have 64; send it as a str")
    return b"i:%d;" % value


def _float(value: float) -> bytes:
    if math.isnan(value):
        return b"d:NAN;"
    if math.isinf(value):
        return b"d:INF;" if value > 0 else b"d:-INF;"
    text = repr(float(value))  # the shortest that reads back the same, as PHP writes it
    return b"d:%s;" % text.removesuffix(".0").encode()


def _string(value: str | bytes) -> bytes:
    if isinstance(value, str):
        value = value.encode()  # a lone surrogate is a UnicodeEncodeError, which is a ValueError
    return b's:%d:"%s";' % (len(value), value)


def _key(key: object, owner: dict[object, object]) -> bytes:
    if isinstance(key, bool) or not isinstance(key, int | str):
        raise ValueError(f"key {key!r}: must be an int or a str, as PHP's array keys are")  # noqa: TRY004
    if isinstance(key, int):
        return _int(key)
    if len(key) <= 20 and _DECIMAL.fullmatch(key) and int(key) in owner:
        raise ValueError(f"keys {key!r} and {key}: PHP takes both for the number; leave one out")
    return _string(key)


class _Reader:
    """Reads one value from `data`, from the position `at` on."""

    __slots__ = ("at", "data")

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def value(self, depth: int) -> object:
        kind = self.data[self.at : self.at + 2]
        if kind == b"N;":
            self.at += 2
            return None
        read = _READ.get(kind)
        if read is not None:
            self.at += 2
            return read(self)
        if kind == b"a:":
            _enter(depth)
            self.at += 2
            return self._array(depth + 1)
        if kind[:1] in b"OCERr" and kind[1:] == b":":
            raise ValueError(f"at byte {self.at}: an object or reference ({kind.decode()}) refused")
        raise self._bad("the start of a value")

    def _bool(self) -> bool:
        text = self.data[self.at : self.at + 2]
        if text not in {b"0;", b"1;"}:
            raise self._bad("0; or 1;")
        self.at += 2
        return text == b"1;"

    def _int(self) -> int:
        number = int(self._match(_INT, "a number"))
        self._expect(b";")
        if not _MIN_INT <= number <= _MAX_INT:
            raise self._bad("a number of 64 bits before here")
        return number

    def _float(self) -> float:
        end = self.data.find(b";", self.at, self.at + 5)
        word = _WORDS.get(self.data[self.at : end]) if end > 0 else None
        if word is not None:
            self.at = end
        else:
            word = float(self._match(_FLOAT, "a number"))
        self._expect(b";")
        return word

    def _text(self) -> str | bytes:
        size = int(self._match(_SIZE, "a length"))
        self._expect(b':"')
        if size > len(self.data) - self.at:
            raise self._bad(f"{size} bytes of a string")
        raw = self.data[self.at : self.at + size]
        self.at += size
        self._expect(b'";')
        try:
            return raw.decode()
        except UnicodeDecodeError:
            return raw

    def _array(self, depth: int) -> list[object] | dict[object, object]:
        count = int(self._match(_SIZE, "a count"))
        self._expect(b":{")
        if count * _LEAST_PAIR > len(self.data) - self.at:
            raise self._bad(f"{count} keys and values")
        pairs: dict[object, object] = {}
        for _ in range(count):
            key = self._array_key()
            if key in pairs:
                raise ValueError(f"at byte {self.at}: the key {key!r} is there twice")
            pairs[key] = self.value(depth)
        self._expect(b"}")
        if all(key == index for index, key in enumerate(pairs)):
            return list(pairs.values())
        return pairs

    def _array_key(self) -> object:
        kind = self.data[self.at : self.at + 2]
        self.at += 2
        if kind == b"i:":
            return self._int()
        if kind == b"s:":
            return self._text()
        self.at -= 2
        raise self._bad("an int or string key")

    def _match(self, pattern: re.Pattern[bytes], what: str) -> bytes:
        found = pattern.match(self.data, self.at)
        if found is None:
            raise self._bad(what)
        self.at = found.end()
        return found.group()

    def _expect(self, text: bytes) -> None:
        if not self.data.startswith(text, self.at):
            raise self._bad(repr(text.decode()))
        self.at += len(text)

    def _bad(self, what: str) -> ValueError:
        there = self.data[self.at : self.at + 12]
        return ValueError(f"not PHP's text: at byte {self.at} {what} expected, {there!r} found")


_READ: dict[bytes, Callable[[_Reader], object]] = {
    b"b:": _Reader._bool,
    b"i:": _Reader._int,
    b"d:": _Reader._float,
    b"s:": _Reader._text,
}

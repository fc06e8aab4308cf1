"""How packets are cut, as settings: what is said, whether it fits together, and what cuts so.

Contract  a `Framing` that exists can be used: wrong values and combinations are SettingsError.
          `rule()` is for the C core, `framer()` for Python; they cut every stream alike.
"""

from __future__ import annotations

import difflib
import struct
import sys
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, NamedTuple, TypedDict

from ipckit.errors import MisuseError, SettingsError
from ipckit.framing.framers import Framer, FunctionFramer, LengthFramer, SplitFramer, TailFramer

__all__ = ["Framing", "FramingSettings", "Rule"]

MAX_EOF = 8
MAX_PACKAGE = 2**31 - 1

# PHP's pack() codes. The machine's byte order where PHP takes the machine's.
_LENGTHS = {
    "c": struct.Struct("=b"),
    "C": struct.Struct("=B"),
    "s": struct.Struct("=h"),
    "S": struct.Struct("=H"),
    "n": struct.Struct(">H"),
    "v": struct.Struct("<H"),
    "l": struct.Struct("=i"),
    "L": struct.Struct("=I"),
    "N": struct.Struct(">I"),
    "V": struct.Struct("<I"),
    "q": struct.Struct("=q"),
    "Q": struct.Struct("=Q"),
    "J": struct.Struct(">Q"),
    "P": struct.Struct("<Q"),
}

_BIG = ">" if sys.byteorder == "little" else "=>"
"""How a struct's format begins when its first byte is the highest."""

BY_EOF, BY_TAIL, BY_LENGTH = 1, 2, 3
"""Kinds of a Rule; the C core has the same numbers (stream.h)."""


class Rule(NamedTuple):
    """How a whole packet is cut off the front of bytes: all that a cutter in C has to know."""

    kind: int
    most: int  # package_max_length
    eof: bytes = b""
    field_offset: int = 0
    field_size: int = 0
    body_offset: int = 0
    is_big: bool = False
    is_signed: bool = False


class FramingSettings(TypedDict, total=False):
    """The settings of `Framing` as keyword arguments, for type checkers and editors."""

    open_eof_check: bool
    open_eof_split: bool
    package_eof: bytes | str
    open_length_check: bool
    package_length_type: str
    package_length_offset: int
    package_body_offset: int
    package_length_func: Callable[[bytes, int], int] | None
    package_max_length: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Framing:
    """How packets are cut. Immutable; make a changed copy with `dataclasses.replace`.

    Raises SettingsError for a wrong value, naming it and its range.
    """

    open_eof_check: bool = False
    """Hand out what has come when its tail is package_eof: may be several packets at once."""

    open_eof_split: bool = False
    """Hand out every packet on its own. Implies open_eof_check, and wins over it."""

    package_eof: bytes | str = b"\r\n\r\n"
    """The mark at a packet's end, 1..8 bytes; str is taken as UTF-8 and kept as bytes."""

    open_length_check: bool = False
    """Cut by a length field. Not together with the EOF modes."""

    package_length_type: str = "N"
    """The length field: a code of PHP's pack(), one of c C s S n v l L N V q Q J P."""

    package_length_offset: int = 0
    """Where the length field begins in the packet, bytes from 0."""

    package_body_offset: int = 4
    """Where the counting begins: packet = package_body_offset + length field."""

    package_length_func: Callable[[bytes, int], int] | None = None
    """Asked for the length of the packet that begins at an index of some bytes: `func(data, start)`
    returns it, 0 when more bytes must come to know it, or a negative number to refuse it. Not
    together with the other modes."""

    package_max_length: int = 2 * 1024 * 1024
    """Most bytes of one packet, mark or header included; 1..2**31-1."""

    def __post_init__(self) -> None:
        """Check every value, then those that depend on each other."""
        for name in ("open_eof_check", "open_eof_split", "open_length_check"):
            if not isinstance(value := getattr(self, name), bool):
                raise SettingsError(f"{name}={value!r}: must be True or False")
        if self.open_length_check and (self.open_eof_check or self.open_eof_split):
            raise SettingsError(
                "open_length_check=True with open_eof_check or open_eof_split: a stream is cut "
                "one way; choose the length field or the EOF"
            )
        if self.package_length_func is not None:
            if not callable(self.package_length_func):
                raise SettingsError(
                    f"package_length_func={self.package_length_func!r}: must be None or a function "
                    f"of (data, start)"
                )
            if self.open_length_check or self.open_eof_check or self.open_eof_split:
                raise SettingsError(
                    "package_length_func with open_length_check, open_eof_check or "
                    "open_eof_split: a stream is cut one way; choose one of them"
                )
        eof = _encoded(self.package_eof)
        if eof is None or not 1 <= len(eof) <= MAX_EOF:
            raise SettingsError(
                f"package_eof={self.package_eof!r}: must be bytes or str of 1..{MAX_EOF} bytes"
            )
        object.__setattr__(self, "package_eof", eof)  # the one way to set a frozen field
        if not isinstance(self.package_length_type, str) or (
            self.package_length_type not in _LENGTHS
        ):
            raise SettingsError(
                f"package_length_type={self.package_length_type!r}: "
                f"must be one of {' '.join(_LENGTHS)}"
            )
        most = self.package_max_length
        _check_range("package_max_length", most, 1, MAX_PACKAGE)
        if not self.open_length_check:
            # They are not used, and a small package_max_length is fine with EOF.
            most = MAX_PACKAGE
        width = _LENGTHS[self.package_length_type].size
        if most < width:
            raise SettingsError(
                f"package_max_length={most}: must be {width} or more, the length field's own bytes"
            )
        _check_range("package_length_offset", self.package_length_offset, 0, most - width)
        _check_range("package_body_offset", self.package_body_offset, 0, most)

    @classmethod
    def names(cls) -> tuple[str, ...]:
        """Return the names of all settings, in order."""
        return tuple(field.name for field in fields(cls))

    @classmethod
    def of(cls, settings: dict[str, Any]) -> Framing:
        """Return the Framing of these settings; SettingsError for an unknown name."""
        known = cls.names()
        for name in settings:
            if name not in known:
                near = difflib.get_close_matches(str(name), known, 1, 0)[0]
                raise SettingsError(f"{name!r} is no framing setting; did you mean {near!r}?")
        return cls(**settings)

    @property
    def is_on(self) -> bool:
        """Whether the stream is cut at all."""
        return (
            self.open_eof_check
            or self.open_eof_split
            or self.open_length_check
            or self.package_length_func is not None
        )

    def rule(self) -> Rule | None:
        """Return how whole packets are cut; None when the stream is not, or by a function."""
        most = self.package_max_length
        if self.open_length_check:
            code = self.package_length_type
            field = _LENGTHS[code]
            return Rule(
                BY_LENGTH,
                most,
                field_offset=self.package_length_offset,
                field_size=field.size,
                body_offset=self.package_body_offset,
                is_big=field.format[0] in _BIG,
                is_signed=field.format[1].islower(),
            )
        if self.open_eof_split or self.open_eof_check:
            kind = BY_EOF if self.open_eof_split else BY_TAIL
            return Rule(kind, most, _encoded(self.package_eof) or b"")
        return None

    def framer(self) -> Framer:
        """Return a new Framer for one stream. MisuseError: it `is_on` not, there is no cutting."""
        if self.package_length_func is not None:
            return FunctionFramer(self.package_max_length, self.package_length_func)
        if self.open_length_check:
            return LengthFramer(
                self.package_max_length,
                _LENGTHS[self.package_length_type],
                self.package_length_offset,
                self.package_body_offset,
            )
        if not self.is_on:
            raise MisuseError(
                "framer(): this Framing cuts nothing; set one of open_eof_check, open_eof_split, "
                "open_length_check and package_length_func"
            )
        cut = SplitFramer if self.open_eof_split else TailFramer
        return cut(self.package_max_length, _encoded(self.package_eof) or b"")


def _encoded(value: object) -> bytes | None:
    if isinstance(value, str):
        return value.encode()
    return bytes(value) if isinstance(value, bytes | bytearray) else None


def _check_range(name: str, value: object, low: int, high: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise SettingsError(f"{name}={value!r}: must be an int of {low}..{high} bytes")

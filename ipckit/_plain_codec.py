"""Plain data as bytes: what may lie where somebody else could have written. Pure.

Contract  None, bool, int (64 bit), float, str, bytes, list and dict come back as they were, and
          nothing else goes in: no code is ever run to read it.
Format    MessagePack.  Stands on msgspec, ipckit.errors.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from ipckit.errors import ProtocolError

__all__ = ["ENCODE", "dump", "load"]

_DEEPEST = 100
_LOW, _HIGH = -(2**63), 2**63


def dump(data: Any) -> bytes:
    """Return `data` as bytes. TypeError naming the part that is not plain."""
    _check(data, "data", 0)
    return msgspec.msgpack.encode(data)


def load(body: bytes | memoryview) -> Any:
    """Return the data. ProtocolError: these bytes are none of ours."""
    try:
        return msgspec.msgpack.decode(body, strict=True)
    except msgspec.DecodeError as exc:
        raise ProtocolError(f"{len(body)} bytes that are no plain data: {exc}") from None


ENCODE: tuple[Callable[..., bytes], int | None] = dump, None
"""As in pickle_codec: what makes a body, and its second argument (None: it has none)."""


def _check(value: Any, path: str, depth: int) -> None:
    kind = type(value)
    if kind is str and not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError as exc:
            raise TypeError(f"{path} has half a surrogate pair: it is no UTF-8") from exc
    if value is None or kind in (bool, float, str, bytes):
        return
    if kind is int:
        if not _LOW <= value < _HIGH:
            raise TypeError(f"{path} is {value}, an int of more than 64 bits")
    elif depth > _DEEPEST:
        raise TypeError(f"{path[:200]} is nested deeper than {_DEEPEST}")
    elif kind is list:
        for at, part in enumerate(value):
            _check(part, f"{path}[{at}]", depth + 1)
    elif kind is dict:
        for key, part in value.items():
            if type(key) not in (str, int, bytes):
                raise TypeError(f"the key {key!r} of {path} must be a str, an int or bytes")
            _check(key, f"the key {key!r} of {path}", depth + 1)
            _check(part, f"{path}[{key!r}]", depth + 1)
    else:
        raise TypeError(
            f"{path} is a {kind.__name__}: plain data are None, bool, int, float, str, bytes, list "
            f"and dict, and only they go where no pickle is trusted"
        )

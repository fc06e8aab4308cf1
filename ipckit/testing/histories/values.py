"""What an operation got or gave, as data: comparing, freezing, and a JSON form that keeps types.

Contract  `same(a, b)` is ``==``, but a NaN equals a NaN and an exception equals one of its class.
          `frozen(value)` is hashable, and equal for equal values (dict, list and set included).
          `to_json`/`from_json` give back an equal value for: None, bool, int, float, str, bytes,
          bytearray, list, tuple, dict with any keys, set, frozenset, and `Raised`. Anything else
          comes back as `Opaque`, which equals whatever has the same `repr`; nothing is unpickled.
Pure.
"""

from __future__ import annotations

import base64
import copy
import math
from dataclasses import dataclass
from typing import Any

_LEAVES = (type(None), bool, int, str)
_FIXED = (type(None), bool, int, float, str, bytes)


@dataclass(frozen=True)
class Raised:
    """The result of a call that raised: its classes, nearest first, and its text.

    Equal to a `Raised` whose nearest class is among its own (or the other way round): a model that
    raises `queue.Empty` agrees with an operation that raised a subclass of it. Texts may differ.
    """

    classes: tuple[str, ...]
    text: str = ""

    @classmethod
    def of(cls, error: BaseException) -> Raised:
        """Describe `error` by the names of its classes up to `Exception`."""
        names = [f"{base.__module__}.{base.__qualname__}" for base in type(error).__mro__]
        return cls(tuple(name for name in names if name not in _TOO_WIDE), str(error))

    def __eq__(self, other: object) -> bool:
        """Compare by class."""
        if not isinstance(other, Raised):
            return NotImplemented
        return self.classes[0] in other.classes or other.classes[0] in self.classes

    def __hash__(self) -> int:
        """All hash alike: equality is by kinship."""
        return hash(Raised)

    def __repr__(self) -> str:
        """Show it as the code that raised would."""
        name = self.classes[0].removeprefix("builtins.")
        return f"raised {name}({self.text!r})" if self.text else f"raised {name}"


_TOO_WIDE = {"builtins.object", "builtins.BaseException", "builtins.Exception"}


@dataclass(frozen=True)
class Opaque:
    """A value with no JSON form, known by its `repr` only."""

    text: str

    def __eq__(self, other: object) -> bool:
        """Compare by `repr`."""
        return self.text == (other.text if isinstance(other, Opaque) else repr(other))

    def __hash__(self) -> int:
        """Hash the text."""
        return hash(self.text)

    def __repr__(self) -> str:
        """Show what the value showed."""
        return self.text


def same(one: Any, other: Any) -> bool:
    """Whether a model's answer and an operation's are the same."""
    if one is other:
        return True
    try:
        if one == other:
            return True
    except Exception:
        return False
    if isinstance(one, float) and isinstance(other, float):
        return math.isnan(one) and math.isnan(other)
    if isinstance(one, list | tuple) and type(one) is type(other) and len(one) == len(other):
        return all(same(a, b) for a, b in zip(one, other, strict=True))
    if isinstance(one, dict) and isinstance(other, dict) and one.keys() == other.keys():
        return all(same(one[key], other[key]) for key in one)
    return False


def frozen(value: Any) -> Any:
    """Give something hashable that is equal for equal values."""
    if isinstance(value, _LEAVES):
        return value
    if isinstance(value, float):
        return "nan" if value != value else value  # noqa: PLR0124 - what a NaN is
    if isinstance(value, dict):
        return dict, frozenset((frozen(key), frozen(each)) for key, each in value.items())
    if isinstance(value, list | tuple):
        return type(value), tuple(frozen(each) for each in value)
    if isinstance(value, set | frozenset):
        return set, frozenset(frozen(each) for each in value)
    try:
        hash(value)
    except TypeError:
        return type(value), repr(value)
    return value


def own_copy(value: Any) -> Any:
    """Give a value that a model may change without changing this one."""
    if isinstance(value, _FIXED):
        return value
    return copy.deepcopy(value)


def to_json(value: Any) -> Any:
    """Give the JSON form; see the head."""
    if isinstance(value, bool | int | str | type(None)) and type(value) in _LEAVES:
        return value
    if type(value) is float:
        return value if math.isfinite(value) else {"float": repr(value)}
    if type(value) in (bytes, bytearray):
        return {type(value).__name__: base64.b64encode(value).decode()}
    if type(value) is list:
        return [to_json(each) for each in value]
    if type(value) in (tuple, set, frozenset):
        return {type(value).__name__: [to_json(each) for each in value]}
    if type(value) is dict:
        return {"dict": [[to_json(key), to_json(each)] for key, each in value.items()]}
    if isinstance(value, Raised):
        return {"raised": list(value.classes), "text": value.text}
    return {"opaque": value.text if isinstance(value, Opaque) else repr(value)}


def from_json(form: Any) -> Any:
    """Give the value back; ValueError for a form that `to_json` does not make."""
    if isinstance(form, list):
        return [from_json(each) for each in form]
    if not isinstance(form, dict):
        return form
    kind = next(iter(form), None)
    content = form.get(kind)
    match kind, content:
        case "float", str():
            return float(content)
        case "bytes" | "bytearray", str():
            decoded = base64.b64decode(content)
            return decoded if kind == "bytes" else bytearray(decoded)
        case "tuple" | "set" | "frozenset", list():
            makers = {"tuple": tuple, "set": set, "frozenset": frozenset}
            return makers[kind](from_json(each) for each in content)
        case "dict", list():
            return {from_json(key): from_json(each) for key, each in content}
        case "raised", list():
            return Raised(tuple(content), form.get("text", ""))
        case "opaque", str():
            return Opaque(content)
    raise ValueError(f"a value's form is one of to_json()'s, not {form!r}")


def comes_back(value: Any) -> bool:
    """Whether the JSON form gives the value itself back, not an `Opaque`."""
    pending = [to_json(value)]
    while pending:
        form = pending.pop()
        if isinstance(form, dict) and "opaque" in form:
            return isinstance(value, Opaque)
        pending.extend(
            form.values() if isinstance(form, dict) else form if isinstance(form, list) else ()
        )
    return True

"""Everything public is documented: each name of `ipckit`, each method and property of its classes."""

from __future__ import annotations

import enum
import inspect
import re
from collections.abc import Iterator

import pytest

import ipckit

NAMES = [name for name in ipckit.__all__ if name != "__version__"]
# The classes that own something of the kernel or of a process: they must say who may share them.
SHARED = [
    "SysvQueue", "PosixQueue", "SharedQueue", "MemoryQueue", "Channel", "Client", "TaskClient", "Server",
]  # fmt: skip


def members(cls: type) -> Iterator[tuple[str, object]]:
    """The public methods and properties that ipckit wrote, of `cls` and its bases."""
    for base in cls.__mro__:
        if not base.__module__.startswith("ipckit"):
            continue
        for name, value in vars(base).items():
            if name.startswith("_"):
                continue
            plain = value.__func__ if isinstance(value, classmethod | staticmethod) else value
            if inspect.isfunction(plain) or isinstance(plain, property):
                yield f"{base.__qualname__}.{name}", plain


@pytest.mark.parametrize("name", NAMES)
def test_a_public_name_has_a_docstring(name):
    """The name itself, and each of its methods and properties, says in words what it is for."""
    thing = getattr(ipckit, name)
    undocumented = [] if (vars(thing).get("__doc__") or thing.__doc__) else [name]
    if isinstance(thing, type):
        assert thing.__doc__ != getattr(thing.__mro__[1], "__doc__", None), "an inherited docstring"
        undocumented += [path for path, value in members(thing) if not value.__doc__]

    assert undocumented == []


@pytest.mark.parametrize("name", NAMES)
def test_a_docstring_begins_with_a_sentence(name):
    """Its first paragraph ends as a sentence does, so that help() reads well."""
    thing = getattr(ipckit, name)
    texts = {name: thing.__doc__}
    if isinstance(thing, type) and not issubclass(thing, enum.Enum):
        texts |= {path: value.__doc__ for path, value in members(thing)}

    heads = {path: inspect.cleandoc(text or "").split("\n\n")[0] for path, text in texts.items()}
    assert [path for path, head in heads.items() if not head.endswith((".", ":", "::"))] == []


@pytest.mark.parametrize("name", SHARED)
def test_a_shared_class_says_who_may_share_it(name):
    """Process safe or not, thread safe or not, and what a fork does with it."""
    text = getattr(ipckit, name).__doc__

    assert re.search(r"process", text, re.IGNORECASE)
    assert re.search(r"thread", text, re.IGNORECASE)
    assert re.search(r"\bfork", text, re.IGNORECASE)

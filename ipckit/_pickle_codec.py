"""Values as pickles, between processes that trust each other.

Trust     load() is called for bytes only that came through an inherited socket or lie in inherited
          memory, or where the user says that the writers are trusted: a pickle runs code when it
          is read.
Stands on pickle.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any

__all__ = ["ENCODE", "dump", "dump_with_buffers", "load"]

load: Callable[[bytes], Any] = pickle.loads


ENCODE: tuple[Callable[..., bytes], int | None] = pickle.dumps, pickle.HIGHEST_PROTOCOL
"""What dump() calls, and its second argument: for C code, which leaves errors to dump()."""


def dump(data: Any, name: str = "data") -> bytes:
    """Return `data` pickled; TypeError naming the part of it, as `name`, that cannot be.
    MemoryError: it could be, with more memory.

    Blocks: never. Changes nothing.
    """
    return dump_with_buffers(data, None, name)


def dump_with_buffers(
    data: Any, keep: Callable[[pickle.PickleBuffer], object] | None, name: str = "data"
) -> bytes:
    """As dump(); `keep` is called with each buffer, and returns True to have it in the pickle."""
    try:
        return pickle.dumps(data, pickle.HIGHEST_PROTOCOL, buffer_callback=keep)
    except MemoryError:
        raise
    except Exception as exc:
        where, what = _culprit(data, name, 0)
        raise TypeError(
            f"{where} cannot be sent to another process: a {type(what).__name__} cannot be "
            f"pickled ({exc}); send plain data, and open such things where they are used"
        ) from exc


def _culprit(data: Any, path: str, depth: int) -> tuple[str, Any]:
    """Return the path and value of the innermost part that cannot be pickled."""
    parts: list[tuple[str, Any]] = []
    if depth < 50:
        if isinstance(data, dict):
            for key, value in data.items():
                parts += [(f"the key {key!r} of {path}", key), (f"{path}[{key!r}]", value)]
        elif isinstance(data, list | tuple):
            parts = [(f"{path}[{at}]", value) for at, value in enumerate(data)]
        elif isinstance(data, set | frozenset):
            parts = [(f"an element of {path}", value) for value in data]
        elif hasattr(data, "__dict__") and not isinstance(data, type) and not callable(data):
            parts = [(f"{path}.{name}", value) for name, value in vars(data).items()]
    for name, value in parts:
        try:
            pickle.dumps(value, pickle.HIGHEST_PROTOCOL)
        except Exception:
            return _culprit(value, name, depth + 1)
    return path, data

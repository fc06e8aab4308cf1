"""Objects as bodies and back: a pickle with its large buffers beside it, or plain data.

Contract  docs/contracts/object-queue.md, B3 and B4.
Stands on ipckit._pickle_codec, ipckit._plain_codec, ipckit.queue.objects.layout, pickle.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any

from ipckit import _pickle_codec, _plain_codec
from ipckit.queue.objects.layout import LEAST_BUFFER, OUT_OF_BAND, Layout, layout_of, parse

__all__ = ["copied", "dump", "dump_plain", "layout_for", "load", "loads"]


def dump_plain(obj: Any) -> tuple[bytes, list[memoryview]]:
    """Return plain data as bytes, without buffers. TypeError."""
    return _plain_codec.dump(obj), []


def dump(obj: Any) -> tuple[bytes, list[memoryview]]:
    """Return an object as a pickle, and the buffers that are not in it. TypeError, MemoryError."""
    found: list[pickle.PickleBuffer] = []
    data = _pickle_codec.dump_with_buffers(obj, found.append, "obj")
    if not found:
        return data, []
    buffers: list[memoryview] = []
    keep = _keeper(buffers)
    if [each for each in found if keep(each)]:  # the pickle is to have these: once more
        buffers.clear()
        data = _pickle_codec.dump_with_buffers(obj, _keeper(buffers), "obj")
    return data, buffers


def _keeper(buffers: list[memoryview]) -> Callable[[pickle.PickleBuffer], bool]:
    """Return what is called with each buffer: it keeps a large one, else it is True."""

    def keep(buffer: pickle.PickleBuffer) -> bool:
        try:
            raw = buffer.raw()
        except BufferError:  # its bytes do not lie beside each other
            return True
        if raw.nbytes < LEAST_BUFFER:
            return True
        buffers.append(raw)
        return False

    return keep


def layout_for(data: bytes, buffers: list[memoryview]) -> Layout:
    """Return the layout of a pickle and its buffers."""
    return layout_of(len(data), [(buffer.nbytes, buffer.readonly) for buffer in buffers])


def load(view: memoryview) -> Any:
    """Unpickle a body; its large buffers are views of it."""
    if not len(view) or view[0] != OUT_OF_BAND:
        return pickle.loads(view)
    layout = parse(view)
    return pickle.loads(view[layout.pickle], buffers=[view[where] for where, _ in layout.buffers])


def loads(body: bytes) -> Any:
    """Unpickle a body; its large buffers are copies."""
    if not body or body[0] != OUT_OF_BAND:
        return pickle.loads(body)
    data, buffers = copied(memoryview(body))
    return pickle.loads(data, buffers=buffers)


def copied(view: memoryview) -> tuple[bytes, list[bytes | bytearray]]:
    """Return a body's pickle and its large buffers, in memory of this process."""
    if view[0] != OUT_OF_BAND:
        return bytes(view), []
    layout = parse(view)
    return bytes(view[layout.pickle]), [
        bytes(view[where]) if readonly else bytearray(view[where])
        for where, readonly in layout.buffers
    ]

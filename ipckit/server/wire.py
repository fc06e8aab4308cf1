"""Frames between the processes of one server: what they say, and how they are packed. No I/O.

A frame is one datagram, so it arrives whole or not at all. A body over `INLINE` bytes travels
beside it, in a memory file whose descriptor comes with the frame (flag ATTACHED).

Seal      A frame that goes through a System V queue lies where others may write. It carries a
          keyed hash (blake2b) under a key that only this server's processes inherited; a message
          without a right seal is a foreign one and is never unpickled. A copy of a sealed message
          is harmless: the task's state word lets each attempt begin once.
Pickle    only inside frames that came through an inherited socket or under a right seal.
Stands on ipckit.errors. Pure.
"""

from __future__ import annotations

import hashlib
import hmac
import pickle
import struct
from collections.abc import Callable
from enum import IntEnum
from typing import Any, NamedTuple

__all__ = [
    "ATTACHED",
    "CLOSE_RESET",
    "FOREIGN",
    "FROM_OUTSIDE",
    "HAS_VALUE",
    "HEAD_SIZE",
    "INLINE",
    "LARGEST",
    "SPILLED",
    "Head",
    "Kind",
    "decode_head",
    "dump",
    "encode_head",
    "load",
    "seal",
    "unseal",
]

LARGEST = 32 * 1024
"""Bytes of the largest datagram between our processes: head and body."""

_HEAD = struct.Struct("<BBHIQII")
HEAD_SIZE = _HEAD.size
INLINE = LARGEST - HEAD_SIZE

FOREIGN = 0xFFFF
"""The source of a task that another program put into the queue."""

# Flags
ATTACHED = 1  # the body lies in the memory file that came with the frame
SPILLED = 2  # the body lies in a spill file; `number` is its size
HAS_VALUE = 4  # RESULT: the task gave one
CLOSE_RESET = 8  # CLOSE: reset instead of an orderly end
FROM_OUTSIDE = 16  # RESULT, FAILED: of a foreign task

_MAGIC = b"\x00ipckit\x01"  # PHP's serialize text never begins with NUL
_SEAL_SIZE = 16
SEAL_OVERHEAD = len(_MAGIC) + _SEAL_SIZE


class Kind(IntEnum):
    """What a frame is about."""

    TASK = 1  # to a task worker: run this
    RESULT = 2  # to the submitter: an attempt ended well
    FAILED = 3  # to the submitter: an attempt raised; the body is (type: text, traceback)
    KEEP = 4  # to a worker: you answer for this foreign task from now on
    DIED = 5  # to workers: process `sender` is gone and was swept
    ROOM = 6  # to a worker: a message was taken from the queue
    DRAIN = 7  # to a worker: look into your predecessor's inbox
    MESSAGE = 8  # send_message
    SEND = 9  # to the owner of session `ident`: send it the body
    CLOSE = 10  # to the owner of session `ident`: close it
    # To the manager
    READY = 20
    BOOT_FAILED = 21  # the body is the traceback
    LEAVING = 22  # I take nothing new: start my successor
    RELOAD = 23  # number 1: only task workers
    SHUTDOWN = 24
    STOP = 25  # number: the slot to replace


class Head(NamedTuple):
    """The fixed part of a frame. What `record` and `number` mean depends on the kind."""

    kind: int
    flags: int = 0
    sender: int = 0
    incarnation: int = 0  # of the submitter of a task: its results are for this process
    ident: int = 0  # task id or session id
    record: int = 0  # where the task's state word is
    number: int = 0  # RESULT, FAILED: the attempt


def encode_head(head: Head) -> bytes:
    """Return the head's 24 bytes."""
    return _HEAD.pack(*head)


def decode_head(frame: bytes) -> Head:
    """Return the head of a frame."""
    return Head._make(_HEAD.unpack_from(frame))


def seal(key: bytes, frame: bytes) -> bytes:
    """Return `frame` as a message for a queue that others may write to."""
    return b"".join((_MAGIC, _hash(key, frame), frame))


def unseal(key: bytes, message: bytes) -> bytes | None:
    """Return the frame in `message`; None when it is not one of ours."""
    if not message.startswith(_MAGIC) or len(message) < SEAL_OVERHEAD + HEAD_SIZE:
        return None
    frame = message[SEAL_OVERHEAD:]
    return frame if hmac.compare_digest(_hash(key, frame), message[8:SEAL_OVERHEAD]) else None


def _hash(key: bytes, frame: bytes) -> bytes:
    return hashlib.blake2b(frame, key=key, digest_size=_SEAL_SIZE).digest()


load: Callable[[bytes], Any] = pickle.loads


def dump(data: Any) -> bytes:
    """Return `data` pickled; TypeError naming the part that cannot be.

    Blocks: never. Changes nothing.
    """
    try:
        return pickle.dumps(data, pickle.HIGHEST_PROTOCOL)
    except Exception as exc:
        where, what = _culprit(data, "data", 0)
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

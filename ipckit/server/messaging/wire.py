"""Frames between the processes of one server: what they say, and how they are packed. No I/O.

A frame is one datagram, so it arrives whole or not at all. A body over `INLINE` bytes travels
beside it, in a memory file whose descriptor comes with the frame (flag ATTACHED).

Stands on the standard library. Pure.
"""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import NamedTuple

__all__ = [
    "ATTACHED",
    "CLOSE_RESET",
    "FORWARDED",
    "HEAD_SIZE",
    "INLINE",
    "LARGEST",
    "WITH_FD",
    "Head",
    "Kind",
    "decode_head",
    "encode_head",
]

LARGEST = 32 * 1024
"""Bytes of the largest datagram between our processes: head and body."""

_HEAD = struct.Struct("<BBHIQ")
HEAD_SIZE = _HEAD.size
INLINE = LARGEST - HEAD_SIZE

# Flags
ATTACHED = 1  # the body lies in the memory file that came with the frame
WITH_FD = 2  # a descriptor comes with the frame
CLOSE_RESET = 8  # CLOSE: reset instead of an orderly end
FORWARDED = 16  # by the process that had the session before


class Kind(IntEnum):
    """What a frame is about."""

    DRAIN = 7  # to a worker: your predecessor is dead, its inbox is yours; number 1: if you know
    MESSAGE = 8  # send_message
    SEND = 9  # to the owner of session `ident`: send it the body
    CLOSE = 10  # to the owner of session `ident`: close it
    PAUSE = 11  # to the owner of session `ident`: read it (number 1), or do not (0)
    SEND_FILE = 12  # to the owner of session `ident`: the body is (path, offset, length), pickled
    TAKE = 13  # session `ident` is yours: the body is a Taken, its descriptor comes with it
    DROPPED = 14  # sessions that ended with your predecessor: the body is a list of Dropped
    CATCH_UP = 15  # to the former owner of session `ident`: pass on its frames, then say CAUGHT_UP
    CAUGHT_UP = 16  # nothing for session `ident` is behind this frame
    # To the manager
    READY = 20
    BOOT_FAILED = 21  # the body is the traceback
    LEAVING = 22  # I take nothing new: start my successor
    RELOAD = 23  # number 1: only task workers
    SHUTDOWN = 24
    STOP = 25  # number: the slot to replace


class Head(NamedTuple):
    """The fixed part of a frame."""

    kind: int
    flags: int = 0
    sender: int = 0
    number: int = 0
    ident: int = 0  # session id


def encode_head(head: Head) -> bytes:
    """Return the head's 16 bytes."""
    return _HEAD.pack(*head)


def decode_head(frame: bytes) -> Head:
    """Return the head of a frame."""
    return Head._make(_HEAD.unpack_from(frame))

"""Frames over a byte stream, as a channel writes and reads them. No I/O.

Wire form, little endian::

    head     u32 size | u16 kind | u8 descriptors | u8 mark 0xC5 | u64 ident      16 bytes
    verdict  one byte: GO, a piece follows - END, the frame is whole - DROP, it never will be
    piece    the next PIECE bytes of the body (the last piece: what is left), then a verdict

So a frame is decided by its last byte, and a single byte is written whole or not at all. A
writer that gives up in the middle owes at most the rest of one piece and a DROP: the reader
then throws away what it has, and the next frame begins at a clean place.

Contract  docs/contracts/channel.md, rules C2, C5, C6, C8.
Stands on ipckit.errors.
Invariants
  F1  the reader never asks for a byte beyond the frame it reads (`Decoder.wanted`), so a frame
      leaves the socket alone: select() on it says whether there is another.
  F2  the size is judged before anything is allocated by it.
  F3  `Outgoing.give_up()` completes what was begun up to the next verdict, which is DROP.
  F4  with a buffer (`place()`) the body's bytes are in it, the first `_filled` of them, and nowhere
      else; without one they are in `_pieces` and `_step`.
"""

from __future__ import annotations

import errno
import operator
import struct
from typing import NamedTuple

from ipckit.errors import MessageTooLarge, ProtocolError

__all__ = [
    "HEAD_SIZE",
    "MAX_FDS",
    "MAX_IDENT",
    "MAX_KIND",
    "MAX_SIZE",
    "PIECE",
    "Arrived",
    "Decoder",
    "Frame",
    "FrameInto",
    "Outgoing",
    "encode_head",
]

_HEAD = struct.Struct("<IHBBQ")
_MARK = 0xC5
_GO, _END, _DROP = b"GED"

HEAD_SIZE = _HEAD.size
MAX_SIZE = 2**31 - 1
MAX_KIND = 2**16 - 1
MAX_IDENT = 2**64 - 1
MAX_FDS = 253  # SCM_MAX_FD of the kernel: more in one call is EINVAL

# A head, a piece and two verdicts are 32 KiB: Linux puts so much into one buffer of an AF_UNIX
# stream, whole or not at all, so in practice only the border between two pieces is ever seen.
# Nothing here relies on it.
PIECE = 32 * 1024 - HEAD_SIZE - 2


class Frame(NamedTuple):
    """One received unit; the receiver owns the descriptors in `fds` and closes them."""

    kind: int
    ident: int
    body: bytes
    fds: tuple[int, ...]


class FrameInto(NamedTuple):
    """One received unit whose body lies in the buffer that receive(into=...) was given."""

    kind: int
    ident: int
    body: memoryview
    fds: tuple[int, ...]


class Arrived(NamedTuple):
    """A frame came to its end; `body` is None when its writer gave it up, `fds` is a number."""

    kind: int
    ident: int
    fds: int
    body: bytes | memoryview | None


def encode_head(size: int, kind: int, ident: int, fds: int, max_frame: int) -> bytes:
    """Return the head of a frame, after every number in it was checked.

    Raises:
        MessageTooLarge: `size` is over `max_frame`.
        ValueError: kind, ident or the number of descriptors is out of range.
        TypeError: kind or ident is no int.
    """
    if size > max_frame:
        raise MessageTooLarge(
            errno.EMSGSIZE,
            f"send: a body of {size} bytes, max_frame is {max_frame}; "
            f"cut it up, or make the pair with a larger max_frame",
        )
    if kind.__class__ is not int or ident.__class__ is not int or fds > MAX_FDS:
        _check_numbers(kind, ident, fds)
    try:
        return _HEAD.pack(size, kind, fds, _MARK, ident)
    except struct.error:
        _check_numbers(kind, ident, fds)
        raise


def _check_numbers(kind: int, ident: int, fds: int) -> None:
    for name, value, high in (("kind", kind, MAX_KIND), ("ident", ident, MAX_IDENT)):
        if not hasattr(value, "__index__"):
            raise TypeError(f"{name}={value!r}: must be an int of 0..{high}")
        if not 0 <= operator.index(value) <= high:
            raise ValueError(f"{name}={value!r}: must be 0..{high}")
    if fds > MAX_FDS:
        raise ValueError(f"{fds} descriptors: one frame takes at most {MAX_FDS}; send more frames")


class Outgoing:
    """One frame on its way out: which bytes come next, and what is owed when it is given up.

    `unit` are the next bytes to write; after a write of n of them call `wrote(n)`.
    """

    __slots__ = ("_at", "_body", "_cut", "begun", "unit")

    def __init__(self, head: bytes, body: bytes | memoryview) -> None:
        self._body = body
        self._at = size = len(body)  # where in the body the next unit begins
        self._cut = HEAD_SIZE  # where in `unit` the next verdict stands; its end if none does
        self.begun = False
        if size > PIECE:
            self._at = 0
            self.unit = head + self._next()
        else:
            self.unit = b"".join((head, b"G", body, b"E") if size else (head, b"E"))

    @property
    def done(self) -> bool:
        """Whether the whole frame was written."""
        return not self.unit

    def wrote(self, count: int) -> None:
        """Account for `count` > 0 bytes of `unit` that are with the kernel."""
        self.begun = True
        if count < len(self.unit):
            self.unit = self.unit[count:]
            ended = self._at == len(self._body)
            self._cut = self._cut - count if self._cut >= count else len(self.unit) - ended
        elif self._at < len(self._body):
            self._cut = 0
            self.unit = self._next()
        else:
            self.unit = b""

    def _next(self) -> bytes:
        """The next piece after its verdict, and the END if it is the last."""
        start, self._at = self._at, min(self._at + PIECE, len(self._body))
        end = b"E" if self._at == len(self._body) else b""
        return b"".join((b"G", self._body[start : self._at], end))

    def give_up(self) -> bytes:
        """Return what must be written before any other frame (F3); b"" if nothing was begun."""
        return self.unit[: self._cut] + b"D" if self.begun and self.unit else b""


class Decoder:
    """The reading side of one channel: at most one frame, not yet whole.

    Read at most `wanted` bytes, `feed()` them. After an exception it is not used again.
    """

    __slots__ = (
        "_filled",
        "_ident",
        "_into",
        "_kind",
        "_left",
        "_max_frame",
        "_piece",
        "_pieces",
        "_step",
        "_verdict",
        "fds",
        "size",
        "wanted",
    )

    def __init__(self, max_frame: int) -> None:
        self._max_frame = max_frame
        self._into: memoryview | None = None  # F4
        self._filled = 0
        self._piece = 0  # bytes of the piece that comes
        self._verdict = bytearray(1)
        self.size = 0
        """Bytes of the body, when the head has come."""
        self._step: list[bytes] = []  # what has come of the bytes up to the next verdict
        self._pieces: list[memoryview] = []  # that came before the last one
        self._left = self._kind = self._ident = 0
        self.fds = -1
        """How many descriptors came with this frame; -1 while its head is not whole."""
        self.wanted = HEAD_SIZE + 1
        """How many bytes may be read next without touching the next frame (F1)."""

    def _restart(self) -> None:
        self._pieces.clear()
        self._left = self._filled = 0
        self.fds = -1
        self.wanted = HEAD_SIZE + 1

    @property
    def at_start(self) -> bool:
        """Whether no byte of a frame has come; the next one brings its descriptors."""
        return self.fds < 0 and not self._step

    def feed(self, data: bytes) -> Arrived | None:
        """Take 1..wanted bytes; return what they bring to its end.

        Raises:
            ProtocolError: the bytes are no frame.
            MessageTooLarge: the frame is over max_frame. Nothing was allocated for it.
        """
        step, pieces = data, self._pieces
        self.wanted -= len(data)
        if self.wanted or self._step:
            self._step.append(data)
            if self.wanted:
                return None
            step = b"".join(self._step)
            self._step.clear()
        verdict = step[-1]
        last = b""
        if self.fds < 0:
            self._begin(step)
        elif pieces or verdict != _END:
            pieces.append(memoryview(step)[:-1])
        else:
            last = step[:-1]  # the only piece
        return self._decided(verdict, last)

    def _decided(self, verdict: int, last: bytes = b"") -> Arrived | None:
        """Go on after a verdict; `last`: the only piece of a body."""
        left, body = self._left, self._into
        if verdict == _GO and left:
            self._piece = min(PIECE, left)
            self._left = left - self._piece
            self.wanted = self._piece + 1
            return None
        if verdict == _DROP:
            arrived = Arrived(self._kind, self._ident, self.fds, None)
        elif verdict == _END and not left:
            if body is not None:
                arrived = Arrived(self._kind, self._ident, self.fds, body[: self._filled])
            else:
                whole = b"".join(self._pieces) if self._pieces else last
                arrived = Arrived(self._kind, self._ident, self.fds, whole)
        else:
            raise ProtocolError(
                f"verdict {verdict:#04x} with {left} bytes of the body to come: the peer "
                f"wrote past the channel; close it and make a new pair"
            )
        self._restart()
        return arrived

    # -- into a buffer of the caller ---

    def place(self, into: memoryview) -> None:
        """Have the body in `into`, also what has come of it. It has room for `size` bytes."""
        parts: list[bytes | memoryview] = [*self._pieces, *self._step]
        for part in parts:
            into[self._filled : self._filled + len(part)] = part
            self._filled += len(part)
        self._pieces.clear()
        self._step.clear()
        self._into = into

    def unplace(self) -> None:
        """Copy what has come out of the buffer, and forget it (F4)."""
        into, self._into = self._into, None
        if into is None or not self._filled:
            return
        begun = self._piece - (self.wanted - 1)  # of a piece whose verdict has not come
        whole = self._filled - begun
        if whole:
            self._pieces.append(memoryview(bytes(into[:whole])))
        if begun:
            self._step.append(bytes(into[whole : self._filled]))
        self._filled = 0

    @property
    def placed(self) -> bool:
        """Whether the body goes into a buffer: read into `room()`, then call `came()`."""
        return self._into is not None

    def room(self) -> tuple[memoryview, bytearray]:
        """Return where the next bytes go: the rest of the piece, and its verdict."""
        assert self._into is not None
        return self._into[self._filled : self._filled + self.wanted - 1], self._verdict

    def came(self, count: int) -> Arrived | None:
        """Take 1..wanted bytes that were written into `room()`. As `feed()`."""
        self._filled += min(count, self.wanted - 1)
        self.wanted -= count
        return None if self.wanted else self._decided(self._verdict[0])

    def _begin(self, step: bytes) -> None:
        size, self._kind, fds, mark, self._ident = _HEAD.unpack_from(step)
        if mark != _MARK or fds > MAX_FDS:
            raise ProtocolError(
                f"no frame begins with {step[:HEAD_SIZE].hex()}: the peer wrote past the "
                f"channel; close it and make a new pair"
            )
        if size > self._max_frame:
            raise MessageTooLarge(
                errno.EMSGSIZE,
                f"receive: a body of {size} bytes comes, max_frame is {self._max_frame}; "
                f"the channel is dead: close it and make a pair with a larger max_frame",
            )
        self._left = self.size = size
        self.fds = fds

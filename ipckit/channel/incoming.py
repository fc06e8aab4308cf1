"""The reading side of a channel end: frames out of a socket, with their descriptors.

Contract  docs/contracts/channel.md, C1, C4 to C10, C14.
Stands on ipckit.channel.{frames,side}, ipckit.errors, ipckit._core (python/channel/: the usual
          case).
Kernel    recvmsg(2).
Invariants
  I1  `_fds` are those that came with the frame in the decoder, and no others.
  I2  between two calls the decoder has no buffer of a caller.
  I3  `broken` says why the stream cannot go on; it is set before the error is raised.
"""

from __future__ import annotations

import array
import errno
import os
import socket

from ipckit._core._frames import take
from ipckit.channel.frames import Arrived, Decoder, Frame, FrameInto
from ipckit.channel.side import Side
from ipckit.errors import MessageTooLarge, PeerGone, ProtocolError, from_errno

__all__ = ["Incoming"]

_TURN = 32  # pieces (1 MiB) between two looks at the clock, and at the loop's other tasks


class Incoming:
    """What has come of the next frame, and how the rest is read."""

    __slots__ = ("_decoder", "_fds", "_max_frame", "broken")

    def __init__(self, max_frame: int) -> None:
        self._max_frame = max_frame
        self._decoder = Decoder(max_frame)
        self._fds: list[int] = []
        self.broken = ""

    @property
    def at_start(self) -> bool:
        """Whether no byte of a frame has come."""
        return self._decoder.at_start

    def read(
        self, sock: socket.socket, side: Side, into: memoryview | None
    ) -> Frame | FrameInto | None:
        """Read what is there of one frame, at most a turn; return it when it is whole.

        Raises:
            MessageTooLarge, and `broken` is "": the body is larger than `into`; nothing is lost.
            ProtocolError, MessageTooLarge: the stream is `broken`. PeerGone: it ended.
        """
        decoder = self._decoder
        for _ in range(_TURN):
            if into is not None and decoder.fds >= 0 and not decoder.placed:
                self._place(into)
            side.torn = True
            try:
                if decoder.at_start:
                    most = self._max_frame
                    if into is not None and len(into) < most:  # a larger one stays in the socket
                        most = len(into)
                    taken = take(sock.fileno(), most, Frame)
                    if taken.__class__ is Frame:
                        side.torn = False
                        return taken if into is None else _copied(taken, into)
                    if taken is None:
                        side.torn = False
                        return None
                    data, rest = self._begun(*taken)
                    count = len(data)
                    arrived = decoder.feed(data) if data else None
                    if rest:
                        arrived = decoder.feed(rest)
                elif decoder.placed:
                    count = sock.recvmsg_into(decoder.room())[0]
                    arrived = decoder.came(count) if count else None
                else:
                    data = sock.recv(decoder.wanted)
                    count = len(data)
                    arrived = decoder.feed(data) if data else None
            except BlockingIOError:
                side.torn = False
                return None
            except (ProtocolError, MessageTooLarge) as exc:
                self.broken = str(exc)
                raise
            except ConnectionResetError:
                count, arrived = 0, None
            except OSError as exc:
                side.torn = False
                raise from_errno("recvmsg", exc.errno or 0, "while waiting for a frame") from None
            if not count:
                side.torn = False
                raise self._ended()
            frame = self._frame_of(arrived, into) if arrived is not None else None
            side.torn = False
            if frame is not None:
                return frame
        return None

    def leave(self) -> None:
        """A call is over: keep what has come of a frame, and no buffer (I2)."""
        self._decoder.unplace()

    def drop(self) -> None:
        """Close the descriptors of a frame that does not arrive."""
        while self._fds:
            os.close(self._fds.pop())

    def _place(self, into: memoryview) -> None:
        if self._decoder.size > len(into):
            raise MessageTooLarge(
                errno.EMSGSIZE,
                f"receive: a body of {self._decoder.size} bytes comes, `into` has {len(into)}; "
                f"nothing is lost: receive again with a larger buffer, or without one",
            )
        self._decoder.place(into)

    def _begun(self, data: bytes, rights: bytes, lost: bool, rest: bytes) -> tuple[bytes, bytes]:
        """Keep the descriptors that came with the first bytes of a frame; return its bytes."""
        self._fds += array.array("i", rights)
        if lost:
            raise ProtocolError(
                f"receive: descriptors were lost after {len(self._fds)}: this process has no "
                f"room for more; close some, or raise the limit (ulimit -n)"
            )
        return data, rest

    def _frame_of(self, arrived: Arrived, into: memoryview | None) -> Frame | FrameInto | None:
        """Return the frame that came to its end; None: its writer gave it up."""
        self._decoder.unplace()
        fds = tuple(self._fds)
        if len(fds) != arrived.fds:
            self.broken = f"{len(fds)} descriptors came with a frame of {arrived.fds}"
            raise ProtocolError(f"receive: {self.broken}")
        body = arrived.body
        if body is None:
            self.drop()
            return None
        self._fds = []
        if isinstance(body, memoryview):
            return FrameInto(arrived.kind, arrived.ident, body, fds)
        frame = Frame(arrived.kind, arrived.ident, body, fds)
        return frame if into is None else _copied(frame, into)

    def _ended(self) -> PeerGone:
        self.drop()
        where = "" if self._decoder.at_start else " in the middle of a frame"
        return PeerGone(f"receive: the other end was closed{where}; close this one too")


def _copied(frame: Frame, into: memoryview) -> FrameInto:
    size = len(frame.body)
    into[:size] = frame.body
    return FrameInto(frame.kind, frame.ident, into[:size], frame.fds)

"""One end of a channel: whole frames over a socketpair, waiting or not, in a loop or without.

Contract  docs/contracts/channel.md, rules C1..C14:
  C1   frames arrive as they were sent, in order: kind, ident, body, descriptors
  C2   a frame arrives whole or not at all, whatever ends its sending: time, cancelling, death
  C3   WaitTimeout on sending: this frame never arrives, the channel goes on
  C4   WaitTimeout on receiving: nothing is lost, the next receive goes on
  C5   the end of the stream is PeerGone, also in the middle of a frame
  C6   over max_frame is MessageTooLarge, before anything is allocated or written
  C7   received descriptors are the receiver's and close on exec; the sender keeps his
  C8   bytes that are no frame are ProtocolError, and the channel is dead for good
  C9   descriptors of a frame that does not arrive are closed
  C10  a receive takes one frame from the socket and no byte more: select() on fileno() is true
  C11  asend and areceive queue up in order; a cancelled one leaves the channel usable
  C12  a signal whose handler returns does not end a wait
  C13  an end between two frames can be in the args of a multiprocessing.Process
  C14  receive(into=...) has the body in the caller's buffer, or leaves the frame where it is
Kernel    socketpair(2) AF_UNIX SOCK_STREAM, sendmsg(2) with SCM_RIGHTS, poll(2).
Stands on ipckit.errors, ipckit.channel.{arguments,frames,incoming,side},
          ipckit._{spawning,timeouts}, ipckit._core (python/channel/: the usual case).
Invariants
  H1  `_owed` goes before any other byte: what is left of a frame that was given up.
  H2  `torn` is true exactly between a system call and the account of it. An exception out of a
      signal handler that strikes there leaves it true, and the channel is then dead.
  H3  the kernel limits the descriptors that a user has in flight, in all sockets together, and no
      event tells when they become less. `_crowded` says that this was met: a wait is then a pause.
"""

from __future__ import annotations

import array
import asyncio
import errno
import resource
import select
import socket
from collections.abc import Sequence
from time import monotonic
from typing import Any, Self, overload

from ipckit._closing import Closing
from ipckit._core._frames import send
from ipckit._spawning import Sent, additions, check_class, descriptor_for_child, receive_descriptor
from ipckit._timeouts import deadline_of
from ipckit.channel.arguments import (
    as_bytes,
    check_max_frame,
    descriptors,
    not_idle,
    socket_of,
    writable,
)
from ipckit.channel.frames import Frame, FrameInto, Outgoing, encode_head
from ipckit.channel.incoming import Incoming
from ipckit.channel.side import Side
from ipckit.errors import (
    MessageTooLarge,
    MisuseError,
    PeerGone,
    ProtocolError,
    WaitTimeout,
    from_errno,
)

__all__ = ["DEFAULT_MAX_FRAME", "Channel"]

DEFAULT_MAX_FRAME = 64 * 1024 * 1024

_TURN = 32  # pieces (1 MiB) between two looks at the clock, and at the loop's other tasks
_NO_SIGNAL = socket.MSG_NOSIGNAL
_OWN = frozenset("_crowded _dead _in _incoming _max_frame _out _owed _sock".split())
_CROWDED_SECONDS = 0.005  # H3: between two attempts


class Channel(Closing):
    """One end of a two-way channel of frames between related processes.

    One process at a time uses an end: a fork gives the child both, and each side closes the end
    it does not use. A `multiprocessing.Process` gets the end that its args have, and its parent
    closes that one after start(). Not thread safe, but one thread may send while another receives.
    """

    def __init__(
        self, sock: socket.socket | None = None, max_frame: int = DEFAULT_MAX_FRAME
    ) -> None:
        """Take over `sock`, a connected AF_UNIX stream. `pair()` is the usual way.

        TypeError, ValueError: there is none, or a wrong `max_frame`.
        """
        if not isinstance(sock, socket.socket):
            raise TypeError(
                f"sock={sock!r}: must be a connected AF_UNIX stream socket; Channel.pair() makes "
                f"both ends"
            )
        check_max_frame(max_frame)
        sock.setblocking(False)
        self._sock = sock
        self._max_frame = max_frame
        self._incoming = Incoming(max_frame)
        self._out = Side("send", select.POLLOUT)
        self._in = Side("receive", select.POLLIN)
        self._owed = b""
        self._crowded = False
        self._dead = ""

    @classmethod
    def pair(cls, max_frame: int = DEFAULT_MAX_FRAME) -> tuple[Self, Self]:
        """Return two connected ends.

        Args:
            max_frame: most bytes of one body, 0..2**31-1, checked on both sides.

        Raises:
            SystemCallError: no descriptors left, and the like.
        """
        check_max_frame(max_frame)
        try:
            one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        except OSError as exc:
            raise from_errno("socketpair", exc.errno or 0, "two descriptors are needed") from None
        return cls(one, max_frame), cls(other, max_frame)

    def send(
        self,
        body: bytes | bytearray | memoryview,
        *,
        kind: int = 0,
        ident: int = 0,
        fds: Sequence[int] = (),
        timeout: float | None = None,
    ) -> None:
        """Send one frame; return when the whole of it is with the kernel.

        Args:
            body: 0..max_frame bytes.
            kind: 0..65535, for the two ends to agree upon.
            ident: 0..2**64-1, likewise.
            fds: at most 253 descriptors; the receiver gets duplicates, these stay the caller's.
            timeout: seconds; None waits for ever, 0 tries once.

        Raises:
            WaitTimeout: the reader did not make room in time, or this user had more descriptors
                in flight than ulimit -n. The frame never arrives: the reader throws away the
                part he has. The channel goes on.
            PeerGone: the other end is closed. MessageTooLarge: nothing was sent.
            ProtocolError: the channel died earlier. MisuseError: closed, or another send() is
                under way. SystemCallError: e.g. a closed descriptor in `fds`; nothing arrives.

        Blocks: at most `timeout`. Signals: waits on after a handler that returns.
        Crash: a reader gets the whole frame or PeerGone.
        Source: sendmsg(2), unix(7).
        """
        side = self._out
        idle = not (side.busy or side.torn or self._owed or self._dead)
        if idle and timeout is None and not fds:  # the usual case: often one call is all
            side.busy = side.torn = True
            try:
                sent = send(self._sock.fileno(), body, kind, ident, self._max_frame)
                if sent > 0:
                    out, rights = self._outgoing(body, kind, ident, ())
                    out.wrote(sent)
                side.torn = False
                if sent > 0:
                    self._write_all(out, rights, None, None)
                if sent >= 0:
                    return
            finally:
                side.busy = False
        out, rights = self._outgoing(body, kind, ident, fds)
        deadline = deadline_of(timeout)
        self._enter(side, timeout)
        try:
            self._write_all(out, rights, deadline, timeout)
        finally:
            side.busy = False

    @overload
    def receive(self, timeout: float | None = None) -> Frame: ...
    @overload
    def receive(self, timeout: float | None = None, *, into: Any) -> FrameInto: ...
    def receive(self, timeout: float | None = None, *, into: Any = None) -> Frame | FrameInto:
        """Return the next frame; its descriptors are the caller's to close.

        Args:
            timeout: seconds; None waits for ever, 0 tries once.
            into: a buffer for the body, such as a bytearray or an array. The frame's body is then
                a view of its beginning. After an error its bytes are any.

        Raises:
            WaitTimeout: no whole frame in time. What has come is kept for the next call.
            MessageTooLarge: the body is larger than `into`. Nothing is lost: the next call gets it.
            PeerGone: the stream ended; a frame not whole and its descriptors are gone.
            ProtocolError, MessageTooLarge: what came is no frame, or over max_frame. The
                channel is dead. MisuseError: closed, or another receive() is under way.

        Blocks: at most `timeout`. Signals: waits on after a handler that returns.
        Crash: the frame, if it was taken from the socket, is gone.
        Source: recvmsg(2), unix(7).
        """
        deadline = deadline_of(timeout)
        view = None if into is None else writable(into)
        side = self._in
        self._enter(side, timeout)
        try:
            while (frame := self._incoming.read(self._sock, side, view)) is None:
                self._wait(side, deadline, timeout)
            return frame
        except (ProtocolError, MessageTooLarge):
            self._end_if_broken()
            raise
        finally:
            if view is not None:
                self._incoming.leave()
                view.release()  # an exception has this frame
            side.busy = False

    def send_nowait(
        self,
        body: bytes | bytearray | memoryview,
        *,
        kind: int = 0,
        ident: int = 0,
        fds: Sequence[int] = (),
    ) -> None:
        """Send one frame, or raise WaitTimeout if it does not fit now. Else as send()."""
        self.send(body, kind=kind, ident=ident, fds=fds, timeout=0)

    def receive_nowait(self) -> Frame:
        """Return the next frame, or raise WaitTimeout if it has not come whole. Never blocks."""
        return self.receive(timeout=0)

    async def asend(
        self,
        body: bytes | bytearray | memoryview,
        *,
        kind: int = 0,
        ident: int = 0,
        fds: Sequence[int] = (),
        timeout: float | None = None,  # noqa: ASYNC109  (the API's: the same as send())
    ) -> None:
        """As `send()`, without holding up the loop. Several run one after the other, in order.

        Leave `body` and `fds` alone until it returns. Cancelling it is as WaitTimeout: the frame
        never arrives, unless it was already with the kernel.
        """
        out, rights = self._outgoing(body, kind, ident, fds)
        deadline_of(timeout)
        side = self._out
        try:
            async with asyncio.timeout(timeout), side.lock():
                self._enter(side, timeout)
                try:
                    while not self._write(out, rights):
                        await self._ready(side)
                except BaseException:
                    self._give_up(out)
                    raise
                finally:
                    side.busy = False
        except WaitTimeout:
            raise  # of _enter(); it is a TimeoutError too
        except TimeoutError:
            raise self._late(side, timeout) from None

    @overload
    async def areceive(self, timeout: float | None = None) -> Frame: ...  # noqa: ASYNC109
    @overload
    async def areceive(self, timeout: float | None = None, *, into: Any) -> FrameInto: ...  # noqa: ASYNC109
    async def areceive(
        self,
        timeout: float | None = None,  # noqa: ASYNC109  (the API's: the same as receive())
        *,
        into: Any = None,
    ) -> Frame | FrameInto:
        """As `receive()`, without holding up the loop. Cancelling it loses nothing.

        Leave `into` alone until it returns.
        """
        deadline_of(timeout)
        view = None if into is None else writable(into)
        side = self._in
        try:
            async with asyncio.timeout(timeout), side.lock():
                self._enter(side, timeout)
                try:
                    while (frame := self._incoming.read(self._sock, side, view)) is None:
                        await self._ready(side)
                    return frame
                except (ProtocolError, MessageTooLarge):
                    self._end_if_broken()
                    raise
                finally:
                    if view is not None:
                        self._incoming.leave()
                        view.release()  # an exception has this frame
                    side.busy = False
        except WaitTimeout:
            raise  # of _enter(); it is a TimeoutError too
        except TimeoutError:
            raise self._late(side, timeout) from None

    def fileno(self) -> int:
        """Return the descriptor, for select(); -1 when closed. Do not read or write it."""
        return self._sock.fileno()

    def close(self) -> None:
        """Close this end. Waiting asend() and areceive() raise MisuseError; again: nothing."""
        for side in (self._in, self._out):
            side.end_wait(self._sock)
        self._incoming.drop()
        self._sock.close()

    def __repr__(self) -> str:
        """Say whether it is open, dead or closed."""
        fd = self.fileno()
        state = "closed" if fd < 0 else f"fd {fd}" + (", dead" if self._dead else "")
        return f"<{type(self).__name__} {state}>"

    def __reduce__(self) -> tuple[Any, ...]:
        """Send it to a process that is being started; then close() it here. Else MisuseError."""
        fd = self.fileno()
        between = self._incoming.at_start and not self._owed
        why = "closed" if fd < 0 else "dead" if self._dead else "" if between else "inside a frame"
        if any(side.busy or side.torn for side in (self._in, self._out)):
            why = "in use"
        if why:
            raise not_idle(why)
        sent = descriptor_for_child(fd, type(self).__name__, "use it after a fork")
        return _received, (type(self), sent, self._max_frame), additions(self, _OWN)

    def _outgoing(
        self, body: bytes | bytearray | memoryview, kind: int, ident: int, fds: Sequence[int]
    ) -> tuple[Outgoing, list[tuple[int, int, bytes]]]:
        view = body if body.__class__ is bytes else as_bytes(body)
        numbers = descriptors(fds) if fds else ()
        head = encode_head(len(view), kind, ident, len(numbers), self._max_frame)
        if not numbers:
            return Outgoing(head, view), []
        rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, numbers.tobytes())
        return Outgoing(head, view), [rights]

    def _enter(self, side: Side, timeout: float | None) -> None:
        """Take one direction, or say why it cannot be used."""
        if side.busy:
            text = f"{side.verb}: another {side.verb} of this end is under way"
            if timeout == 0:
                raise WaitTimeout(text)
            raise MisuseError(f"{text}; await a{side.verb}() queues up")
        if self._sock.fileno() < 0:
            raise MisuseError(f"{side.verb}: this end of the channel is closed; make a new pair")
        if side.torn and not self._dead:
            self._die("a signal handler raised in the middle of a system call (H2)")
        if self._dead:
            raise ProtocolError(f"{side.verb}: the channel is dead: {self._dead}")
        side.busy = True

    def _write_all(
        self,
        out: Outgoing,
        rights: list[tuple[int, int, bytes]],
        deadline: float | None,
        timeout: float | None,
    ) -> None:
        try:
            while not self._write(out, rights):
                self._wait(self._out, deadline, timeout)
        except BaseException:
            self._give_up(out)
            raise

    def _write(self, out: Outgoing, rights: list[tuple[int, int, bytes]]) -> bool:
        """Write while there is room, at most a turn; return whether the frame is done."""
        side, sock = self._out, self._sock
        self._crowded = False
        for _ in range(_TURN):
            side.torn = True
            try:
                if self._owed:  # alone: descriptors must come with the first byte of their frame
                    self._owed = self._owed[sock.send(self._owed, _NO_SIGNAL) :]
                elif rights and not out.begun:
                    out.wrote(sock.sendmsg([out.unit], rights, _NO_SIGNAL))
                else:
                    out.wrote(sock.send(out.unit, _NO_SIGNAL))
            except BlockingIOError:
                side.torn = False
                return False
            except OSError as exc:
                side.torn = False
                if isinstance(exc, ConnectionError):
                    raise self._closed() from None
                if exc.errno == errno.ETOOMANYREFS and rights:
                    self._crowded = True
                    return False
                what = f"{len(out.unit)} bytes"
                if rights:
                    numbers = array.array("i", rights[0][2]).tolist()
                    what += f" with fds={numbers}; each must be open in this process"
                raise from_errno("sendmsg", exc.errno or 0, what) from None
            side.torn = False
            if out.done:
                return True
        return False

    def _closed(self) -> PeerGone:
        return PeerGone("send: the other end was closed; close this too")

    def _give_up(self, out: Outgoing) -> None:
        torn = self._out.torn
        self._out.torn = True
        self._owed += out.give_up()
        self._out.torn = torn

    def _end_if_broken(self) -> None:
        """After an error of a read: a stream that cannot go on is the end of the channel."""
        if self._incoming.broken:
            self._die(self._incoming.broken)

    def _die(self, why: str) -> None:
        """End it for both directions; the peer reads end of file."""
        self._dead = why
        self._incoming.drop()
        try:
            self._sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # the peer was faster

    def _wait(self, side: Side, deadline: float | None, timeout: float | None) -> None:
        if side is self._out and self._crowded:
            left = None if deadline is None else deadline - monotonic()
            if left is not None and left <= 0:
                raise self._late(side, timeout)
            pause = _CROWDED_SECONDS if left is None else min(left, _CROWDED_SECONDS)
            if self._hung_up(pause * 1000):
                raise self._closed()
            return
        left = None if deadline is None else max(0.0, deadline - monotonic()) * 1000
        if not side.wait(self._sock, left):
            raise self._late(side, timeout)

    def _hung_up(self, pause_ms: float) -> bool:
        """H3. Pause; return whether the other end was closed, which ends the pause immediately."""
        poll = select.poll()
        poll.register(self._sock, 0)
        return bool(poll.poll(pause_ms))

    async def _ready(self, side: Side) -> None:
        if side is self._out and self._crowded:
            await asyncio.sleep(_CROWDED_SECONDS)
            if self._sock.fileno() < 0:
                raise MisuseError(f"{side.verb}: the channel was closed")
            if self._hung_up(0):
                raise self._closed()
            return
        await side.ready(self._sock)

    def _late(self, side: Side, timeout: float | None) -> WaitTimeout:
        if side is self._out and self._crowded:
            limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
            why = (
                f"this user has more descriptors in flight, sent and not received, than ulimit "
                f"-n, {limit}: receive them, or raise it; this frame never arrives: send it again"
            )
        elif side is self._out:
            why = "the reader made no room; this frame never arrives: send it again, or close()"
        else:
            why = "no whole frame came; what has come is kept: receive again"
        return WaitTimeout(f"{side.verb}: {timeout} s are over: {why}")


def _received(cls: type[Channel], sent: Sent, max_frame: int) -> Channel:
    """Unpickle an end in the process that was started with it."""
    check_class(cls, Channel)
    check_max_frame(max_frame)
    return cls(socket_of(receive_descriptor(sent)), max_frame)

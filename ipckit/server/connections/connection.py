"""One client's connection in the worker that accepted it.

Order     connect, each receive, close of one connection run one after the other, also when they
          are `async def`. While one runs up to 64 packets or package_max_length bytes wait; then
          the socket is not read.
Ends      as ipckit.server.connections.closing says.
Stands on asyncio on uvloop, ipckit.framing, ipckit.server.connections.{callback_order,closing},
          ipckit._core (python/stream/stream.h: the usual case of each packet).
Invariants
  C1  The peer's end of file and the loss of the connection are recorded when they come, also while
      a callback runs, and the first of the two brings `close`, once. After an end of file the peer
      may still read; after a loss send() returns False.
  C2  No packet is handed out while reading is paused. A transport reads after connection_made(),
      whatever was asked there; what it reads then is kept until reading is resumed.
  C3  What the kernel has acknowledged to the peer is handed out before `close`, also when a failed
      write lost the connection. A client that pause() holds is the exception.
"""

from __future__ import annotations

import asyncio
import socket
from typing import Any

from ipckit._core._accept import Accepted
from ipckit.framing import PacketRefused
from ipckit.server.connections.closing import Closing, unread_bytes
from ipckit.server.connections.fd_store import Taken
from ipckit.server.connections.life import Stage
from ipckit.server.connections.registry import Registry
from ipckit.server.connections.sendfile import FileSender, open_part
from ipckit.server.log import kind_of, limited
from ipckit.server.ports.port import OpenPort
from ipckit.server.shared.scoreboard import Row
from ipckit.server.shared.sessions import Flag, Word

__all__ = ["Connection"]

_KEEPALIVE = (
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 60),  # a silent peer is asked after a minute,
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 10),  # five times,
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 5),
    (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 110_000),  # and so is one that leaves data unread
)
_READ, _WRITTEN = Word.READ, Word.WRITTEN
_HANDED_OVER = "handed over"


class Connection(Closing, asyncio.Protocol):
    """The protocol object of one connection."""

    __slots__ = (
        "_framer",
        "_held",
        "_kept_back",
        "_marks",
        "_partial",
        "_peer",
        "_registry",
        "_resumed",
        "_settings",
        "_taken",
        "port",
        "silent",
    )

    def __init__(
        self,
        registry: Registry,
        port: OpenPort,
        sock: Accepted | socket.socket,
        taken: Taken | None = None,
    ) -> None:
        self._registry = registry
        self._host = host = registry.host
        self._socket = sock  # its fileno() is -1 once the transport has closed it
        self._server = host.server
        self.port = port
        self._settings = settings = port.settings
        self._framer = port.framing.framer() if port.framing.is_on else None
        self._max_bytes = settings.package_max_length
        self._callbacks = port.callbacks
        self._taken = taken
        self._marks: Any = None  # the session's row, ours to write until it ends
        self._partial: asyncio.TimerHandle | None = None  # until when a packet must be whole
        self._held = False  # by pause()
        self._kept_back: tuple[bytes, ...] = ()  # C2
        self._bytes_waiting = 0
        self._known = None
        self._close_is_due = False
        self._peer_ended = False  # it sends no more, or is gone
        self._end_is_due = False  # when the files are sent
        self._over_limit = False  # that is why it ends
        self._flushes = False  # it has ended, and the peer has yet to take what was sent
        self._reset = False
        self._resumed: asyncio.Future[None] | None = None
        self._linger: asyncio.TimerHandle | None = None
        self._transport: Any = None
        self._peer: Any = ""  # as the transport names it, if another worker has accepted it
        self.silent = 0  # looks of the heartbeat at which nothing had come
        self.heard = True  # since the last look of the heartbeat
        self._begin(
            host.server,
            host.slot,
            port.callbacks.get("receive"),
            self._framer,
            port.rule,
            settings.package_timeout is not None,
            host.counts_requests,
            host.row,
        )

    # -- from the transport ---

    def connection_made(self, transport: Any) -> None:
        """Give it a session, or refuse it."""
        self._transport = transport
        self._write = self._transport.write
        settings = self._settings
        transport.set_write_buffer_limits(min(64 * 1024, settings.socket_buffer_size))
        if not settings.open_tcp_nodelay and self.port.is_tcp:
            self._socket_option(socket.IPPROTO_TCP, socket.TCP_NODELAY, 0)
        if settings.tcp_keepalive and self.port.is_tcp:
            for level, option, value in _KEEPALIVE:
                self._socket_option(level, option, value)
        if self._taken is not None:
            self._peer = transport.get_extra_info("peername")
            self._go_on_as(self._taken)
            return
        session = self._registry.opened(self)
        if not session:
            limited.warning(
                "connection from %s refused: max_connection=%d are open",
                self.peer,
                settings.max_connection,
            )
            self._transport.abort()
            return
        self._owns(session)
        if self._callbacks.has("connect"):
            self._run("connect", (self._server, self.session, self._host.slot))
        self._settle()
        if self._paused:
            self._host.loop.call_soon(self._pause_again)

    def _owns(self, session: int) -> None:
        self._marks = self._host.board.sessions.row_of(session)
        self._attach(session, self._marks)
        self._registry.connections[session] = self

    def _go_on_as(self, taken: Taken) -> None:
        """Another worker began with it."""
        self._taken = None
        self._owns(taken.session)
        self._total = self._marks[_READ] + len(taken.remainder)
        self._registry.took(self, stored=taken.stored)
        if taken.held:
            self.hold(on=True)
        self._run("connection_taken", (self._server, self.session, self._host.slot))
        if taken.remainder and self._framer is not None:
            for packet in self._framer.feed(taken.remainder):
                self._received(packet)
            if self._settings.package_timeout is not None:
                self._watch_packet(False)
        self._settle()
        self._registry.came(taken)
        if self._paused:
            self._host.loop.call_soon(self._pause_again)

    def _watch_packet(self, whole: bool) -> None:
        """A packet that has begun must be whole within package_timeout."""
        if self._partial is not None and (whole or not self._unread()):
            self._partial.cancel()
            self._partial = None
        if self._partial is None and self._unread() and not self._ending:
            limit = self._settings.package_timeout or 0
            self._partial = self._host.loop.call_later(
                limit, self.end, f"a packet was not whole after {limit:g} s (package_timeout)"
            )

    def _unread(self) -> int:
        return self._framer.pending if self._framer is not None else 0

    def eof_received(self) -> bool:
        """The peer sends no more: end after the callbacks that are due."""
        self._peer_ended = True
        if not self._ending:
            self._end_by_peer()
        elif self.stage is Stage.LINGERING:
            self._transport.close()
            return False
        return True  # it may still read

    def connection_lost(self, exc: Exception | None) -> None:
        """It is gone, by us or by the peer."""
        del exc
        for timer in (self._linger, self._partial):
            if timer is not None:
                timer.cancel()
        if self._files is not None:
            self._files.drop()
        self._gone = self._peer_ended = True
        self._wake_senders()
        if self.session and not self._ending:
            if not self._close_is_due and not self._held:
                self._take_rest()
            self._end_by_peer()
        self._registry.lost()

    def _take_rest(self) -> None:
        """Hand out what has come and was not read. C3."""
        self._paused = False
        rest = unread_bytes(self._socket.fileno())
        if not rest and not self._kept_back:
            return
        if self._settings.ssl is not None:
            rest = [self._transport.decrypt(data) for data in rest]
        for data in (*self._take_kept_back(), *rest):
            if data:
                self.data_received(data)

    def _wake_senders(self) -> None:
        if self._resumed is not None and not self._resumed.done():
            self._resumed.set_result(None)

    def pause_writing(self) -> None:
        """Much waits for the peer to read it."""
        self._reader_is_slow = True

    def resume_writing(self) -> None:
        """The peer has caught up."""
        self._reader_is_slow = False
        self._wake_senders()
        if self._flushes:
            self._flushes = False
            self._wait_for_peer()

    # -- from the server ---

    def _send_behind(self, data: bytes, promised: int) -> bool:
        """Send to a peer that is slow to read, or that files are being sent to."""
        waiting = self._transport.get_write_buffer_size()
        if self._files is not None:
            waiting += self._files.bytes_behind
        if waiting > self._settings.socket_buffer_size:
            self.end(
                f"a slow reader: {waiting} bytes wait, socket_buffer_size is "
                f"{self._settings.socket_buffer_size}"
            )
            return False
        if not promised:
            self._marks[_WRITTEN] += len(data)
        if self._files is not None:
            self._files.append(data)
        else:
            self._write(data)
        self._host.row[Row.RESPONSES] += 1
        return True

    def send_file(self, path: str, offset: int, length: int) -> bool:
        """Queue part of a file for the peer; False when the connection ends, or it cannot be read.

        What is sent afterwards comes behind it.
        """
        if self._ending or self._gone:
            return False
        self._flush()
        part = open_part(path, offset, length)
        if part is None:
            return False
        if self._files is None:
            self._files = FileSender(self._transport, self._has_read)
            self._host.start(self._send_files(self._files))
        self._marks[_WRITTEN] += part.length
        self._files.append(part)
        self._host.row[Row.RESPONSES] += 1
        return True

    async def _send_files(self, files: FileSender) -> None:
        try:
            await files.run()
        except OSError as exc:
            limited.error("connection %d: a file was not sent to its end: %s", self.session, exc)
            self._reset = True
        except asyncio.CancelledError:
            if files.left and not self._gone:  # an orderly end would look like that of the file
                text = "connection %d is reset: the server ends, and %d bytes of files are not sent"
                limited.warning(text, self.session, files.left)
                self._reset = True
            raise
        finally:  # also when the server waits no longer
            self._files = None
            if self._reset:
                self.end("", reset=True)
            if self._end_is_due:
                self._end_is_due = False
                self._finish_end()

    def hold(self, *, on: bool) -> bool:
        """Do not read (pause), or read again; False when the connection ends."""
        if self._ending or self._gone:
            return False
        self._held = on
        if on:
            self._pause()
        else:
            self._resume()
        return True

    def address(self) -> tuple[bytes, int]:
        """Return the peer's IP address and port as accept(2) tells them; b"" and 0: it has none."""
        sock = self._socket
        return (sock.ip, sock.number) if isinstance(sock, Accepted) else (b"", 0)

    @property
    def peer(self) -> str:
        """Whose it is, for a text."""
        ip, number = self.address()
        if not ip:
            return str(self._peer)
        family = socket.AF_INET if len(ip) == 4 else socket.AF_INET6
        return str((socket.inet_ntop(family, ip), number))

    @property
    def can_outlive(self) -> bool:
        """Whether another process can go on with it: one can, without TLS."""
        return self._settings.ssl is None

    @property
    def is_idle(self) -> bool:
        """Whether nothing of it is under way here."""
        return not (
            self._ending
            or self.busy
            or self._files is not None
            or self._transport.is_closing()
            or self._transport.get_write_buffer_size()
        )

    @property
    def stage(self) -> Stage:
        """At which stage of its life it is (ipckit.server.connections.life)."""
        if self._gone:
            return Stage.LOST
        if self._ending == _HANDED_OVER:
            return Stage.HANDED_OVER
        if not self._ending:
            return Stage.PEER_ENDED if self._close_is_due else Stage.OPEN
        if self._flushes:
            return Stage.FLUSHING
        return Stage.ENDING if self._linger is None or self._end_is_due else Stage.LINGERING

    def descriptor(self) -> int:
        """Return the number of its descriptor, -1 when it is closed."""
        return -1 if self._transport.is_closing() else self._socket.fileno()

    def state(self) -> Taken:
        """Return what its next worker has to know. While it is idle and not read."""
        remainder = self._framer.rest if self._framer is not None else b""
        store = self._registry.fd_store
        return Taken(
            self.session,
            self.port.index,
            remainder,
            held=self._held,
            predecessor=self._host.place,
            stored=store is not None and store.has_stored(self.session),
        )

    def let_go(self) -> None:
        """It is another's: close our descriptor, and say nothing to the peer."""
        self._ending = _HANDED_OVER
        self._transport.abort()

    @property
    def protected(self) -> bool:
        """Whether the heartbeat spares it."""
        return bool(self._host.board.sessions.flags(self.session) & Flag.PROTECTED)

    async def drained(self) -> None:
        """Wait until the peer has read most of what was sent, or the session has ended."""
        while self._reader_is_slow and not self._ending and not self._gone:
            await self._resumes()

    async def _has_read(self) -> None:
        """Wait until the peer has read most of what was sent, also when the session has ended."""
        while self._reader_is_slow and not self._gone:
            await self._resumes()

    async def _resumes(self) -> None:
        if self._resumed is None or self._resumed.done():
            self._resumed = self._host.loop.create_future()
        await asyncio.shield(self._resumed)

    def end(self, why: str, *, reset: bool = False) -> bool:
        """Close from our side; `why` is logged unless it is empty. False: it ends already."""
        if self._ending:
            return False
        if why:
            text = "connection %d from %s closed: %s"
            limited.warning(text, self.session, self.peer, why, kind=f"closed: {kind_of(why)}")
        self._reset = reset
        self._over_limit = bool(why)
        self._mark_end(why or "closed by the server")
        self._after_last(-1)
        return True

    def stop_reading(self) -> None:
        """Read no more: this process leaves."""
        self._pause()

    # -- private ---

    def _stream_raised(self, error: BaseException) -> None:
        """A packet cannot be: what came before it is still handed out."""
        if not isinstance(error, PacketRefused):
            try:
                raise error
            except BaseException:  # O1; the framer has lost its place
                self._host.callback_failed("package_length_func")
            self.end("package_length_func raised")
            return
        for packet in error.packets:
            self._received(packet)
        self.end(str(error))

    def _keep_back(self, data: bytes) -> None:
        """Bytes came although reading is paused. C2."""
        self._kept_back += (data,)
        self._transport.pause_reading()

    def _take_kept_back(self) -> tuple[bytes, ...]:
        kept, self._kept_back = self._kept_back, ()
        return kept

    def _mark_end(self, why: str) -> None:
        if not self._ending:
            self._ending = why
            self._known = self._registry.closing(self)
            self._wake_senders()

    def _end_by_peer(self) -> None:
        """The peer closed: what it sent before is still worked off and answered."""
        if not self._running:
            self._mark_end("closed by the peer")
        self._after_last(self._host.slot)

    def _pause(self) -> None:
        if not self._paused and not self._transport.is_closing():
            self._paused = True
            self._transport.pause_reading()

    def _pause_again(self) -> None:
        """The transport has begun to read. C2."""
        if self._paused and not self._transport.is_closing():
            self._transport.pause_reading()

    def _resume(self) -> None:
        busy = self._running or self._held or self._ending or self._host.leaving
        if not self._paused or busy or self._transport.is_closing():
            return
        self._paused = False
        for data in self._take_kept_back():
            self.data_received(data)
        if not self._paused:
            self._transport.resume_reading()

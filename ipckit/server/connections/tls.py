"""A client's TLS connection: between the transport of its socket and its Connection.

Contract  to the socket's transport it is a protocol; to the Connection it is a transport, and gives
          it what a transport of plain TCP would: bytes while it reads, one end of file, one loss.
          The Connection exists from the end of the handshake on.
Stands on ipckit.server.connections.tls_engine, asyncio's transports.
Invariants
  T1  What comes is decrypted immediately and handed on, and to pause reading is to pause the
      socket. So nothing lies between the socket and the Connection that an end could drop.
      (uvloop's own TLS keeps what it has read while it is paused, and drops it when the peer ends.)
  T2  The connection learns of the peer's end of file once, behind all data, and not while reading
      is paused. The end is the close_notify, or the end of file of the socket where there is none.
  T3  A client that has not finished its handshake counts towards max_connection, and has ten
      seconds.
  T4  A handshake that fails leaves a log line with its reason. A client that leaves without sending
      a byte, as health checks do, leaves none.
Blocks    never; a handshake takes about a millisecond of this process's time.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, cast

from ipckit.server.connections.closing import unread_bytes
from ipckit.server.connections.connection import Connection
from ipckit.server.connections.registry import Registry
from ipckit.server.connections.tls_engine import TLSEngine
from ipckit.server.log import kind_of, limited
from ipckit.server.ports.port import OpenPort

if TYPE_CHECKING:
    from ipckit._core._accept import Accepted

__all__ = ["HANDSHAKE_SECONDS", "TLSTransport"]

HANDSHAKE_SECONDS = 10.0


class TLSTransport(asyncio.Protocol):
    """One client's; asyncio calls the first part, its Connection the second."""

    __slots__ = (
        "_connection",
        "_end_waits",
        "_ended",
        "_engine",
        "_heard",
        "_host",
        "_limit",
        "_paused",
        "_peer",
        "_port",
        "_raw",
        "_registry",
        "_socket",
    )

    def __init__(self, registry: Registry, port: OpenPort, sock: Accepted) -> None:
        self._registry = registry
        self._host = registry.host
        self._socket = sock
        self._port = port
        self._engine = TLSEngine(cast("Any", port.settings.ssl))
        self._connection: Connection | None = None
        self._raw: Any = None
        self._peer: Any = None
        self._limit: asyncio.TimerHandle | None = None
        self._heard = False
        self._paused = False
        self._ended = False  # T2: the connection knows
        self._end_waits = False  # T2: the connection learns it when reading is resumed

    # -- from the socket ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Wait for its handshake, or refuse it."""
        self._raw = transport
        self._peer = transport.get_extra_info("peername")
        if not self._registry.begins_handshake(self):
            limited.warning(
                "connection from %s refused: max_connection=%d are open",
                self._peer,
                self._port.settings.max_connection,
            )
            self._raw.abort()
            return
        self._limit = self._host.loop.call_later(
            HANDSHAKE_SECONDS, self._handshake_failed, f"it took over {HANDSHAKE_SECONDS:g} s"
        )

    def data_received(self, data: bytes) -> None:
        """Decrypt what came and hand it on. T1."""
        self._heard = True
        engine = self._engine
        if self._connection is None and (engine.is_open or engine.failure):
            return  # refused, or it failed: what still comes is of no interest
        parts = engine.receive(data)
        self._flush()
        connection = self._connection
        if connection is None:
            if engine.failure:
                self._handshake_failed(engine.failure)
            if not engine.is_open or not self._open():
                return
            connection = cast("Connection", self._connection)
        if parts:
            connection.data_received(parts[0] if len(parts) == 1 else b"".join(parts))
        if engine.failure:
            connection.end(f"TLS failed: {engine.failure}")
        elif engine.peer_closed:
            self._end_of_file()

    def eof_received(self) -> bool:
        """The socket ends: with a close_notify before it, or without."""
        if self._connection is None:
            self._handshake_failed("the client ended it", quiet=not self._heard)
            return False
        if not self._ended:
            self._ended = True
            return self._connection.eof_received()
        return not self._raw.is_closing()

    def connection_lost(self, exc: Exception | None) -> None:
        """The socket is gone."""
        if self._limit is not None:  # what it had sent may end the handshake, and more
            for data in unread_bytes(self._socket.fileno()):
                self.data_received(data)
        if self._connection is None:
            self._over()
        else:
            self._connection.connection_lost(exc)

    def pause_writing(self) -> None:
        """Much waits for the peer to read it."""
        if self._connection is not None:
            self._connection.pause_writing()

    def resume_writing(self) -> None:
        """The peer has caught up."""
        if self._connection is not None:
            self._connection.resume_writing()

    # -- from the connection: a transport ---

    def write(self, data: bytes) -> None:
        """Encrypt and send."""
        self._engine.send(data)
        self._flush()

    def write_eof(self) -> None:
        """Say close_notify, then end of file."""
        self._engine.close()
        self._flush()
        self._raw.write_eof()

    def close(self) -> None:
        """Flush, then close the socket."""
        self._raw.close()

    def abort(self) -> None:
        """Close the socket without a close_notify."""
        self._raw.abort()

    def is_closing(self) -> bool:
        """Whether it is closed, or about to be."""
        return bool(self._raw.is_closing())

    def pause_reading(self) -> None:
        """Read no more. T1."""
        self._paused = True
        self._raw.pause_reading()

    def resume_reading(self) -> None:
        """Read again; report an end of file that came during the pause. T2."""
        self._paused = False
        self._raw.resume_reading()
        if self._end_waits:
            self._host.loop.call_soon(self._end_of_file)

    def decrypt(self, data: bytes) -> bytes:
        """Return the plain text of bytes that the Connection itself has read from the socket."""
        return b"".join(self._engine.receive(data))

    def get_write_buffer_size(self) -> int:
        """Return how many bytes wait, encrypted."""
        return int(self._raw.get_write_buffer_size())

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """As the socket's transport does it."""
        self._raw.set_write_buffer_limits(high, low)

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Return "ssl_object", or what the socket's transport knows."""
        if name == "ssl_object":
            return self._engine.object
        return self._raw.get_extra_info(name, default)

    # -- private ---

    def _flush(self) -> None:
        data = self._engine.outgoing()
        if data and not self._raw.is_closing():
            self._raw.write(data)

    def _over(self) -> None:
        """The handshake is over, however it ended."""
        if self._limit is not None:
            self._limit.cancel()
            self._limit = None
        self._registry.ends_handshake(self)

    def _open(self) -> bool:
        """The handshake is done: make the Connection. False: it was refused."""
        self._over()
        self._connection = Connection(self._registry, self._port, self._socket)
        self._connection.connection_made(self)
        return bool(self._connection.session)

    def _handshake_failed(self, why: str, *, quiet: bool = False) -> None:
        """T4."""
        if self._raw.is_closing():
            return
        if not quiet:
            kind = f"TLS handshake failed: {kind_of(why)}"
            limited.warning("TLS handshake with %s failed: %s", self._peer, why, kind=kind)
        self._over()
        self._raw.close()  # behind the alert that says why

    def _end_of_file(self) -> None:
        """T2."""
        self._end_waits = self._paused
        if not self._paused and not self._ended:
            self._ended = True
            cast("Connection", self._connection).eof_received()

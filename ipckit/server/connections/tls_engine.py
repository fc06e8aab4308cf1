"""One side of a TLS connection, between bytes and bytes: the part that does no I/O.

Contract  `receive()` takes bytes of the peer's and returns the plain text that is whole by then;
          `send()` and `close()` make what `outgoing()` returns, for the peer. After a failure what
          came before it has been returned, and nothing more is.
Stands on ssl.MemoryBIO, ssl.SSLObject (OpenSSL).  Blocks  never.
Invariants
  E1  Nothing is kept back: between two calls the engine holds at most one record that is not whole
      (16 KiB and its head). So a caller that stops reading the socket has stopped everything.
  E2  The peer's close_notify ends the peer's half alone, in every version of TLS (RFC 8446, 6.1):
      what is sent afterwards still goes out.
"""

from __future__ import annotations

import ssl

__all__ = ["TLSEngine"]

_RECORD = 16384
"""Most bytes of plain text in one record."""


class TLSEngine:
    """The server's side, unless something else is said. Not thread safe."""

    __slots__ = (
        "_closed",
        "_incoming",
        "_outgoing",
        "_unsent",
        "failure",
        "is_open",
        "object",
        "peer_closed",
    )

    def __init__(self, context: ssl.SSLContext, *, server_side: bool = True) -> None:
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self.object = context.wrap_bio(self._incoming, self._outgoing, server_side=server_side)
        self.is_open = False
        """The handshake is done."""
        self.peer_closed = False
        """Its close_notify came."""
        self.failure = ""
        """Why nothing can be read or sent any more; empty: it can."""
        self._closed = False
        self._unsent: list[bytes] = []  # while TLS 1.2 renegotiates

    def shake(self) -> None:
        """Go on with the handshake, as far as what has come allows."""
        try:
            self.object.do_handshake()
        except ssl.SSLWantReadError:
            return
        except Exception as exc:  # a callback of the context's may raise anything
            self._fail(exc)
            return
        self.is_open = True

    def receive(self, data: bytes) -> list[bytes]:
        """Take bytes of the peer's; return the plain text that is whole with them, in parts."""
        parts: list[bytes] = []
        if self.failure or self.peer_closed:
            return parts
        incoming, tls = self._incoming, self.object
        incoming.write(data)
        if not self.is_open:
            self.shake()
            if not self.is_open:
                return parts
        try:
            while incoming.pending or tls.pending():
                part = tls.read(_RECORD)
                if not part:
                    self.peer_closed = True
                    break
                parts.append(part)
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:
            self.peer_closed = True
        except ssl.SSLError as exc:
            self._fail(exc)
        if self._unsent:
            self._encrypt()
        return parts

    def send(self, data: bytes) -> None:
        """Encrypt bytes for the peer."""
        if data:
            self._unsent.append(data)
            self._encrypt()

    def close(self) -> None:
        """Say close_notify, once: nothing is sent after it."""
        if self._closed or self.failure or not self.is_open:
            return
        self._closed = True
        try:
            self.object.unwrap()
        except ssl.SSLError:
            pass  # the peer's own has not come; ours is written

    def outgoing(self) -> bytes:
        """Return what the peer is to get now."""
        return self._outgoing.read()

    def _encrypt(self) -> None:
        unsent = self._unsent
        try:
            while unsent and not self._closed and not self.failure:
                data = unsent[0]
                count = self.object.write(data)
                if count < len(data):
                    unsent[0] = data[count:]
                else:
                    del unsent[0]
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLError as exc:
            self._fail(exc)

    def _fail(self, error: Exception) -> None:
        reason = getattr(error, "reason", None)
        self.failure = reason.replace("_", " ").lower() if reason else str(error)
        message = getattr(error, "verify_message", None)
        if message:
            self.failure += f" ({message})"

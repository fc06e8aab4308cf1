"""The end of one connection: what was sent is flushed, then the peer and this side close.

Ends      Always in this order. What was sent is flushed, files too, as long as the peer takes
          64 KiB of it in each ten seconds. The peer reads end of file. What it still sends is
          thrown away for at most a second. Then the descriptor is closed. (A close with unread
          bytes would make the kernel reset the connection, and lose the last answer.) A client over
          a limit has one second for all of that.
Stands on asyncio on uvloop, ipckit.server.connections.callback_order, socket(7) SO_LINGER.
Blocks    never.
"""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from abc import abstractmethod
from typing import Any

from ipckit._core._accept import Accepted
from ipckit.server.connections.callback_order import CallbackOrder
from ipckit.server.log import limited

__all__ = ["Closing", "unread_bytes"]

_LINGER = 1.0
_FLUSH_SECONDS = 10.0
_FLUSH_LEAST = 64 * 1024
_A_READ = 256 * 1024
_ABORT_NOW = struct.pack("ii", 1, 0)  # SO_LINGER on, 0 seconds: close sends RST


class Closing(CallbackOrder):
    """The part of a connection that closes it."""

    __slots__ = (
        "_end_is_due",
        "_flushes",
        "_linger",
        "_over_limit",
        "_peer_ended",
        "_reset",
        "_socket",
        "_transport",
    )

    _transport: Any
    _socket: Accepted | socket.socket
    _linger: asyncio.TimerHandle | None
    _peer_ended: bool
    """It sends no more, or is gone."""
    _end_is_due: bool
    """When the files are sent."""
    _over_limit: bool
    """That is why it ends."""
    _flushes: bool
    """It has ended, and the peer has yet to take what was sent."""
    _reset: bool
    """It ends by RST: what was not sent is dropped."""

    @property
    @abstractmethod
    def peer(self) -> str:
        """Whose it is, for a text."""

    def _finish_end(self) -> None:
        """All callbacks are over: flush, say end of file, and go when the peer has read it."""
        transport = self._transport
        if transport.is_closing():
            return
        self._flush()
        if self._linger is not None:
            self._linger.cancel()
            self._linger = None
        if self._files is not None and not self._reset:
            self._end_is_due = True  # first the files
            if self._over_limit:
                self._linger = self._host.loop.call_later(_LINGER, transport.abort)
            else:
                self._check_flush(None)
            return
        if self._reset:
            self._socket_option(socket.SOL_SOCKET, socket.SO_LINGER, _ABORT_NOW)
            transport.abort()
            return
        if self._paused and not self._peer_ended:
            self._paused = False
            transport.resume_reading()  # to see the peer's end of file
        try:
            # Also before a close: the manager may have a copy, and a close says nothing then.
            transport.write_eof()
        except (OSError, RuntimeError):
            transport.close()
            return
        self._flushes = bool(transport.get_write_buffer_size()) and not self._over_limit
        if self._flushes:
            self._check_flush(None)
            transport.set_write_buffer_limits(high=0)  # resume_writing() when it is empty
        else:
            self._wait_for_peer()

    def _check_flush(self, before: int | None) -> None:
        """What was sent goes out as the peer reads it; it must read some of it."""
        left = self._transport.get_write_buffer_size()
        if self._files is not None:
            left += self._files.left
        if before is not None and before - left < _FLUSH_LEAST:
            limited.warning(
                "connection %d from %s is cut: it did not read %d bytes that were sent to it",
                self.session,
                self.peer,
                left,
            )
            self._transport.abort()
            return
        self._linger = self._host.loop.call_later(_FLUSH_SECONDS, self._check_flush, left)

    def _wait_for_peer(self) -> None:
        """All is sent: wait for the peer's end of file, for a moment."""
        if self._linger is not None:
            self._linger.cancel()
        if self._peer_ended and not self._transport.get_write_buffer_size():
            self._transport.close()
        else:
            self._linger = self._host.loop.call_later(_LINGER, self._transport.abort)

    def _socket_option(self, level: int, option: int, value: int | bytes) -> None:
        sock = self._transport.get_extra_info("socket")
        if sock is not None:
            try:
                sock.setsockopt(level, option, value)
            except OSError as exc:
                limited.info("setsockopt on connection %d: %s", self.session, exc)


def unread_bytes(descriptor: int) -> list[bytes]:
    """Read what the kernel still has of a connection that its transport has given up."""
    parts: list[bytes] = []
    try:
        while data := os.read(descriptor, _A_READ):
            parts.append(data)
    except OSError:
        pass  # no more, the peer's reset, or it is closed already
    return parts

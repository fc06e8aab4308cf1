"""Datagram ports: packets of UDP and of unix sockets, in and out.

Contract  one datagram is one `packet` event, whole; one longer than package_max_length is thrown
          away with a log line, as the kernel throws away what finds no room. All workers read one
          socket, so a datagram in it survives any of them.
Stands on udp(7), unix(7), recv(2) MSG_TRUNC, an event loop's readers.
Invariants
  U1  One call of recv takes a datagram, and the buffer is as long as the longest that is accepted.
      Peeking at the size first would not do: another worker may take that datagram in between.
Blocks    never.  Errors  send_to(): ValueError, SystemCallError.
"""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import mmap
import os
import socket
import time
from collections.abc import Sequence
from contextvars import ContextVar
from typing import Any

from ipckit.errors import MessageTooLarge, from_errno
from ipckit.kinds import SockType
from ipckit.server.connections.host import ConnectionHost
from ipckit.server.log import limited
from ipckit.server.ports.port import OpenPort
from ipckit.server.shared.scoreboard import Row

__all__ = ["DatagramReader", "send_to"]

_A_TURN = 64
"""Most datagrams read before the loop sees to others."""

_MOST_PENDING = 256
"""Most async callbacks of one port under way; then it is not read."""

_LARGEST_UDP = 65535
"""Bytes; the length field of udp(7) has two of them."""

_ANSWERING: ContextVar[OpenPort | None] = ContextVar("answering", default=None)
"""The port whose packet is being answered: sendto() answers from there."""


class DatagramReader:
    """What one worker reads from one datagram port."""

    def __init__(self, host: ConnectionHost, port: OpenPort) -> None:
        self._host = host
        self._port = port
        self._socket = port.socket
        self._callback = port.callbacks.get("packet")
        self._most = port.settings.package_max_length
        # U1. Pages that no datagram has reached take no memory.
        is_unix = port.sock_type == SockType.UNIX_DGRAM
        size = self._most if is_unix else min(self._most, _LARGEST_UDP)
        self._buffer = memoryview(mmap.mmap(-1, size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS))
        self._pending = 0
        self._reads = False
        self._closed = False
        self._resume()

    def close(self) -> None:
        """Read no more: what comes is for others."""
        self._closed = True
        self._pause()

    def _resume(self) -> None:
        if not self._reads and not self._closed:
            self._reads = True
            self._host.loop.add_reader(self._socket.fileno(), self._readable)

    def _pause(self) -> None:
        if self._reads:
            self._reads = False
            self._host.loop.remove_reader(self._socket.fileno())

    def _readable(self) -> None:
        for _ in range(_A_TURN):
            if not self._reads:
                return
            try:
                size, address = self._socket.recvfrom_into(self._buffer, 0, socket.MSG_TRUNC)
            except BlockingIOError:
                return  # another worker was faster
            except OSError as exc:  # an ICMP error of something we sent before
                limited.info(
                    "datagram port %s:%s: recvfrom: %s", self._port.host, self._port.port, exc
                )
                continue
            if size > self._most:
                limited.warning(
                    "a datagram of %d bytes from %s was thrown away: package_max_length is %d",
                    size,
                    address,
                    self._most,
                )
                continue
            self._hand_on(self._buffer[:size].tobytes(), address)

    def _hand_on(self, data: bytes, address: Any) -> None:
        host = self._host
        host.row[Row.REQUESTS] += 1
        host.row[Row.LAST_READ] = time.monotonic_ns()
        _ANSWERING.set(self._port)
        try:
            result = self._callback(host.server, data, _client(address, self._port))  # type: ignore[misc]
        except BaseException:
            host.callback_failed("packet")
            result = None
        if result is not None and asyncio.iscoroutine(result):
            self._pending += 1
            if self._pending >= _MOST_PENDING:
                self._pause()
            host.go_on("packet", result, self._over)
        else:
            host.row[Row.REQUESTS_DONE] += 1
        _ANSWERING.set(None)
        host.count_request()

    def _over(self) -> None:
        self._host.row[Row.REQUESTS_DONE] += 1
        self._pending -= 1
        if self._pending < _MOST_PENDING:
            self._resume()


def _client(address: Any, port: OpenPort) -> dict[str, Any]:
    """Return what `packet` gets of the sender."""
    if port.sock_type == SockType.UNIX_DGRAM:
        name = address if isinstance(address, str) else os.fsdecode(address or b"")
        return {"address": name, "port": 0, "server_port": 0}
    return {"address": address[0], "port": address[1], "server_port": port.port}


def send_to(ports: Sequence[OpenPort], host: str, port: int, data: bytes) -> bool:
    """Send a datagram; False: the kernel has no room for it now.

    From the port whose packet is being answered, else from the first one of the same family.
    """
    kind, address = _target(host, port)
    answering = _ANSWERING.get()
    if answering is not None and answering.sock_type == kind:
        sock = answering.socket
    else:
        fitting = [one.socket for one in ports if one.sock_type == kind]
        if not fitting:
            raise ValueError(
                f"host={host!r}: there is no port with sock_type={kind.name} to send it from; "
                f"server.listen() makes one"
            )
        sock = fitting[0]
    try:
        sock.sendto(data, socket.MSG_DONTWAIT, address)
    except BlockingIOError:
        return False
    except OSError as exc:
        if exc.errno == errno.ENOBUFS:
            return False
        if exc.errno == errno.EMSGSIZE:
            raise MessageTooLarge(
                errno.EMSGSIZE,
                f"{len(data)} bytes are more than one datagram takes (65507 over IPv4, "
                f"net.core.wmem_max for unix sockets); send less",
            ) from None
        raise from_errno("sendto", exc.errno or errno.EIO, f"to {host}:{port}") from None
    return True


def _target(host: str, port: int) -> tuple[SockType, Any]:
    if not isinstance(host, str) or not host:
        raise ValueError(f"host={host!r}: must be an IP address, or the path of a unix socket")
    if "/" in host:
        return SockType.UNIX_DGRAM, host
    try:
        family = ipaddress.ip_address(host.partition("%")[0]).version
    except ValueError:
        raise ValueError(
            f"host={host!r}: must be an IP address (names are not looked up: that would block), "
            f"or the path of a unix socket"
        ) from None
    if not isinstance(port, int) or isinstance(port, bool) or not 1 <= port <= 65535:
        raise ValueError(f"port={port!r}: must be 1..65535")
    return (SockType.UDP if family == 4 else SockType.UDP6), (host, port)

"""The socket a server listens on: bound at once, listening later.

Stands on socket(7), ip(7), unix(7).
Crash     a unix socket's file stays; the next server finds that nobody answers there and takes
          its place.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
from collections.abc import Iterator

from ipckit.errors import AlreadyExists, NotFound, SettingsError, from_errno
from ipckit.kinds import SockType
from ipckit.server import systemd

__all__ = ["bind", "bound_elsewhere", "forget", "is_bound_elsewhere"]

_FAMILY = {
    SockType.TCP: socket.AF_INET,
    SockType.TCP6: socket.AF_INET6,
    SockType.UNIX_STREAM: socket.AF_UNIX,
    SockType.UDP: socket.AF_INET,
    SockType.UDP6: socket.AF_INET6,
    SockType.UNIX_DGRAM: socket.AF_UNIX,
}
_elsewhere = False
"""Whether this process only loads a server whose addresses its manager has."""

_DATAGRAMS = (SockType.UDP, SockType.UDP6, SockType.UNIX_DGRAM)


@contextlib.contextmanager
def bound_elsewhere() -> Iterator[None]:
    """Inside it bind() gives sockets that are bound to nothing: the addresses are another's."""
    global _elsewhere
    _elsewhere = True
    try:
        yield
    finally:
        _elsewhere = False


def is_bound_elsewhere() -> bool:
    """Whether bound_elsewhere() is in force."""
    return _elsewhere


def bind(host: str, port: int, sock_type: SockType) -> socket.socket:
    """Return a socket bound to the address; the one that systemd hands over, if there is one.

    Raises SettingsError (a port out of range), AlreadyExists (a live server's unix socket),
    SystemCallError with the kernel's errno (a busy port: EADDRINUSE).
    """
    family = _FAMILY[sock_type]
    kind = socket.SOCK_DGRAM if sock_type in _DATAGRAMS else socket.SOCK_STREAM
    if not isinstance(port, int) or isinstance(port, bool) or not 0 <= port <= 65535:
        raise SettingsError(f"port={port!r}: must be an int of 0..65535 (0: the kernel chooses)")
    if not isinstance(host, str):
        raise SettingsError(f"host={host!r}: must be a str, an address or the path of a socket")
    if _elsewhere:
        return socket.socket(family, kind)
    address = host if family == socket.AF_UNIX else (host, port)
    inherited = systemd.inherited_socket(family, kind, address)
    if inherited is not None:
        inherited.setblocking(False)
        return inherited
    sock = socket.socket(family, kind)
    try:
        if family == socket.AF_UNIX:
            _take_place(host, kind)
            sock.bind(host)
        else:
            reuse = kind == socket.SOCK_STREAM
            if reuse and port:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            sock.bind((host, port))
            if reuse:
                # For a port that the kernel chose only now: with it before, that might be one that
                # is bound but not listened to. And without it nobody could have the port again
                # while clients of ours linger.
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    except OSError as exc:
        sock.close()
        if isinstance(exc, AlreadyExists) or exc.errno is None:
            raise
        where = host if family == socket.AF_UNIX else f"{host}:{port}"
        if isinstance(exc, socket.gaierror):
            raise NotFound(
                errno.ENOENT, f"bind: {where} has no address: {exc.strerror}; choose another host"
            ) from None
        busy = exc.errno == errno.EADDRINUSE
        wanted = "stop who has it, or choose another" if busy else "choose one that we may have"
        raise from_errno("bind", exc.errno, f"{where}; {wanted}") from exc
    except BaseException:
        sock.close()
        raise
    sock.setblocking(False)
    return sock


def forget(sock: socket.socket, host: str, sock_type: SockType) -> None:
    """Close the socket, and remove its file if it is ours."""
    sock.close()
    if _FAMILY[sock_type] == socket.AF_UNIX and not systemd.has_bound(host):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(host)


def _take_place(path: str, kind: int) -> None:
    """Remove the socket file of a server that is dead; AlreadyExists if it lives."""
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(found.st_mode):
        raise AlreadyExists(errno.EEXIST, f"{path} is there and is no socket; choose another path")
    with socket.socket(socket.AF_UNIX, kind) as probe:
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
            return
    raise AlreadyExists(
        errno.EEXIST, f"a live server listens at {path}; stop it, or choose another path"
    )

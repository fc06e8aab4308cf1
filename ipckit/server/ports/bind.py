"""The socket a server listens on: bound at once, listening later.

Stands on socket(7), ip(7), unix(7), ipckit.server.system.socket_file.
Invariants
  B1  An address that this process has bound already is refused by bind(), not by a later listen(2).
Crash     a unix socket's file stays; the next server finds that nobody answers there and takes
          its place.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
import weakref
from collections.abc import Iterator
from typing import NamedTuple

from ipckit.errors import AlreadyExists, IPCError, NotFound, SettingsError, from_errno, system_call
from ipckit.kinds import SockType
from ipckit.server.ports import systemd
from ipckit.server.system.socket_file import LONGEST, SocketFile, directory_lock, is_abandoned

__all__ = ["Bound", "bind", "bound_elsewhere", "forget", "is_bound_elsewhere"]

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
_ALL = {"0.0.0.0", "::"}  # noqa: S104  (to compare with, not to bind)
_bound: weakref.WeakSet[socket.socket] = weakref.WeakSet()
"""B1. Those that this process has, except for the files of unix sockets: the kernel has those."""


class Bound(NamedTuple):
    """A socket that is bound, and its file if it has one that we made."""

    socket: socket.socket
    file: SocketFile | None


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


def bind(host: str, port: int, sock_type: SockType) -> Bound:
    """Return a socket bound to the address; the one that systemd hands over, if there is one.

    Raises SettingsError (a port out of range, a path too long or abstract), AlreadyExists (a live
    process has the unix socket), SystemCallError with the kernel's errno (a busy port, this
    process's own too: EADDRINUSE).
    """
    family = _FAMILY[sock_type]
    kind = socket.SOCK_DGRAM if sock_type in _DATAGRAMS else socket.SOCK_STREAM
    if not isinstance(port, int) or isinstance(port, bool) or not 0 <= port <= 65535:
        raise SettingsError(f"port={port!r}: must be an int of 0..65535 (0: the kernel chooses)")
    if not isinstance(host, str):
        raise SettingsError(f"host={host!r}: must be a str, an address or the path of a socket")
    if family == socket.AF_UNIX:
        _check_path(host)
    if _elsewhere:
        return Bound(socket.socket(family, kind), None)
    address = host if family == socket.AF_UNIX else (host, port)
    inherited = systemd.inherited_socket(family, kind, address)
    if inherited is not None:
        _keep(inherited, host if family == socket.AF_UNIX else f"{host}:{port}")
        inherited.setblocking(False)
        return Bound(inherited, None)
    with system_call("socket", f"to listen on {host}; raise the limit of descriptors (ulimit -n)"):
        sock = socket.socket(family, kind)
    file: SocketFile | None = None
    try:
        if family == socket.AF_UNIX:
            file = _bind_file(sock, host)
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
                _keep(sock, f"{host}:{port}")
    except OSError as exc:
        sock.close()
        if isinstance(exc, IPCError) or exc.errno is None:
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
    return Bound(sock, file)


def forget(bound: Bound) -> None:
    """Remove the socket's file if it is still ours, and close the socket."""
    if bound.file is not None:
        bound.file.remove()
    bound.socket.close()


def _check_path(path: str) -> None:
    size = len(os.fsencode(path))
    if path.startswith("\0") or not path:
        raise SettingsError(
            f"host={path!r}: an abstract address is not supported, as any user could take it; "
            f"give the path of a file"
        )
    if "\0" in path:
        raise SettingsError(f"host={path!r}: a path has no NUL in it")
    if size > LONGEST:
        raise SettingsError(
            f"host={path!r}: a unix socket's path has at most {LONGEST} bytes, this one has "
            f"{size}; choose a shorter one"
        )


def _bind_file(sock: socket.socket, path: str) -> SocketFile:
    """Bind the path, in the place of a socket file that is abandoned. AlreadyExists, OSError."""
    with directory_lock(path):
        try:
            mode = os.lstat(path).st_mode
            if not stat.S_ISSOCK(mode):
                raise AlreadyExists(
                    errno.EEXIST, f"{path} is there and is no socket; choose another path"
                )
            if not is_abandoned(path):
                raise AlreadyExists(
                    errno.EEXIST,
                    f"a live server listens at {path}; stop it, or choose another path",
                )
            os.unlink(path)
        except FileNotFoundError:
            pass
        sock.bind(path)
        try:
            return SocketFile.of(path)
        except BaseException:
            os.unlink(path)
            raise


def _keep(sock: socket.socket, where: str) -> None:
    """B1. Note a bound socket; close it and raise EADDRINUSE if there is one at its address.

    With SO_REUSEADDR the kernel refuses the second one in listen(2) only; and of one that systemd
    hands over each call makes a copy.
    """
    if any(_overlap(sock, other) for other in _bound if other.fileno() >= 0):
        sock.close()
        detail = f"{where}; this program has a port with that address already, choose another"
        raise from_errno("bind", errno.EADDRINUSE, detail)
    _bound.add(sock)


def _overlap(one: socket.socket, other: socket.socket) -> bool:
    if (one.family, one.type) != (other.family, other.type):
        return False
    here, there = one.getsockname(), other.getsockname()
    if one.family == socket.AF_UNIX:
        return bool(here == there)
    return here[1] == there[1] and (here[0] == there[0] or not _ALL.isdisjoint((here[0], there[0])))

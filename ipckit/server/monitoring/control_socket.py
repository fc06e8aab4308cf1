"""The control socket: what an operator asks the manager of a running server.

A unix stream socket, 0600. One JSON object a line in, one a line out: {"command": "status"},
"connections" ("start", "count"), "reload" ("only_task"), "reload_outcome" ("reload" and
"server" of the answer to "reload"), "stop". An answer has "error" if the command cannot be.

Contract  only our user and root are answered. The manager never waits for a client: input and
          number of clients are bounded, and who does not read its answer is dropped for the next.
Stands on unix(7), ipckit.server.ports.bind.
Crash     of the manager: the file stays; connect(2) is refused, and the next server with this
          runtime directory removes it.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import select
import socket
import struct
from collections.abc import Callable
from typing import Any

from ipckit.errors import AlreadyExists, IPCError, SystemCallError
from ipckit.kinds import SockType
from ipckit.server.config.settings import Settings
from ipckit.server.log import limited, log
from ipckit.server.ports import bind
from ipckit.server.ports.bind import Bound
from ipckit.server.rundir.runtime_dir import private_directory, runtime_directory
from ipckit.server.system.acquire import system_call
from ipckit.server.system.socket_file import LONGEST, remove_abandoned

__all__ = ["ControlSocket", "answer_line", "control_sockets", "live_sockets", "open_control"]

MAX_REQUEST = 64 * 1024
MAX_CLIENTS = 16
_PREFIX, _SUFFIX = "control-", ".sock"
_NO_MEMORY_NOW = frozenset({errno.ENOBUFS, errno.ENOMEM, errno.EINTR})

Commands = dict[str, Callable[[dict[str, Any]], dict[str, Any]]]


def answer_line(line: bytes, commands: Commands) -> bytes:
    """Return the answer to one line, with its newline. Raises nothing."""
    try:
        request = json.loads(line)
    except ValueError as exc:
        return _line({"error": f"not a line of JSON: {exc}"})
    name = request.get("command") if isinstance(request, dict) else None
    if not isinstance(name, str) or name not in commands:
        return _line({"error": f"no command {name!r}; there are {', '.join(commands)}"})
    try:
        return _line(commands[name](request))
    except (ValueError, TypeError, IPCError, OSError) as exc:
        return _line({"error": f"{type(exc).__name__}: {exc}"})


def _line(answer: dict[str, Any]) -> bytes:
    return json.dumps(answer).encode() + b"\n"


def control_sockets(directory: str) -> list[str]:
    """Return the control sockets in a runtime directory, of dead servers too."""
    return [
        os.path.join(directory, name)
        for name in sorted(os.listdir(directory))
        if name.startswith(_PREFIX) and name.endswith(_SUFFIX)
    ]


def live_sockets(directory: str) -> list[str]:
    """Return the control sockets in a runtime directory that somebody answers; remove the others'
    files.
    """
    found = []
    for path in control_sockets(directory):
        with socket.socket(socket.AF_UNIX) as probe:
            probe.setblocking(False)
            try:
                probe.connect(path)
            except ConnectionRefusedError:
                with contextlib.suppress(OSError):
                    remove_abandoned(path)
                continue
            except BlockingIOError:
                pass  # its backlog is full: it lives
            except OSError:
                continue
            found.append(path)
    return found


def open_control(settings: Settings) -> Bound | None:
    """Return a listening control socket; None if it is disabled or unavailable.

    Raises AlreadyExists, SystemCallError: `control_path` was set, and is not available.
    """
    asked = settings.control_path
    if asked is False:
        return None
    if asked is not None and asked is not True:  # which the settings refuse
        return _listening(os.path.abspath(os.fspath(asked)))
    try:
        directory = private_directory(runtime_directory(settings.runtime_dir))
        live_sockets(directory)
        try:
            return _listening(os.path.join(directory, f"{_PREFIX}{os.getpid()}{_SUFFIX}"))
        except AlreadyExists:  # a server with this pid in another pid namespace
            own = f"{_PREFIX}{os.getpid()}-{os.urandom(4).hex()}{_SUFFIX}"
            return _listening(os.path.join(directory, own))
    except (IPCError, OSError) as exc:
        log.warning("there is no control socket (control_path): %s", exc)
        return None


def _listening(path: str) -> Bound:
    if len(os.fsencode(path)) > LONGEST:
        raise SystemCallError(
            errno.ENAMETOOLONG,
            f"control_path {path}: a unix socket's path has at most {LONGEST} bytes",
        )
    mask = os.umask(0o177)
    try:
        bound = bind.bind(path, 0, SockType.UNIX_STREAM)
    except AlreadyExists as exc:
        raise AlreadyExists(errno.EEXIST, f"control_path: {exc}") from None
    finally:
        os.umask(mask)
    try:
        with system_call("listen", f"control_path {path}"):
            bound.socket.listen(MAX_CLIENTS)
    except BaseException:
        bind.forget(bound)
        raise
    return bound


class _Client:
    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.received = bytearray()
        self.unsent = b""


class ControlSocket:
    """The manager's side. One thread."""

    def __init__(self, settings: Settings) -> None:
        """Open it. Raises as open_control()."""
        self._bound = open_control(settings)
        self._listener = None if self._bound is None else self._bound.socket
        file = None if self._bound is None else self._bound.file
        self.path = "" if file is None else file.path
        """Of the socket; "": there is none, or systemd has made it."""
        self._clients: dict[int, _Client] = {}
        self._commands: Commands = {}
        self._poller = select.poll()

    def answer_with(self, commands: Commands) -> None:
        """Answer requests by these; there are none before."""
        self._commands = commands

    def serve(self, poller: select.poll) -> None:
        """Register with the manager's poller."""
        self._poller = poller
        if self._listener is not None:
            poller.register(self._listener, select.POLLIN)

    def ready(self, fd: int) -> None:
        """Do what a readable or writable descriptor asks for, if it is one of ours."""
        if self._listener is not None and fd == self._listener.fileno():
            self._accept(self._listener)
            return
        client = self._clients.get(fd)
        if client is None:
            return
        try:
            alive = self._flush_and_go_on(client) if client.unsent else self._read(client)
        except ConnectionError:  # it has gone
            alive = False
        except OSError as exc:
            alive = exc.errno in _NO_MEMORY_NOW  # then poll(2) says once more that it is readable
            limited.warning("control socket: recv%s: %s", "" if alive else ", a client goes", exc)
        if not alive:
            self._drop(client)

    def _accept(self, listening: socket.socket) -> None:
        try:
            sock, _ = listening.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return  # it went
        _, uid, _ = struct.unpack("3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        if uid not in (0, os.geteuid()):
            limited.warning("control socket: user %d was refused", uid)
            sock.close()
            return
        if len(self._clients) >= MAX_CLIENTS:
            self._drop(next(iter(self._clients.values())))
        sock.setblocking(False)
        self._clients[sock.fileno()] = _Client(sock)
        self._poller.register(sock, select.POLLIN)

    def _read(self, client: _Client) -> bool:
        part = client.sock.recv(MAX_REQUEST)
        if not part:
            return False
        client.received += part
        return self._answer(client)

    def _answer(self, client: _Client) -> bool:
        """Answer the lines that are there, one after the other, while the client reads."""
        while not client.unsent:
            line, end, rest = client.received.partition(b"\n")
            if not end:
                return len(client.received) < MAX_REQUEST
            client.received = bytearray(rest)
            client.unsent = answer_line(bytes(line), self._commands)
            self._flush(client)
        return True

    def _flush_and_go_on(self, client: _Client) -> bool:
        self._flush(client)
        return self._answer(client)

    def _flush(self, client: _Client) -> None:
        try:
            sent = client.sock.send(client.unsent)
        except BlockingIOError:
            sent = 0
        except OSError as exc:
            if exc.errno not in _NO_MEMORY_NOW:
                raise
            limited.warning("control socket: send: %s", exc)
            sent = 0
        client.unsent = client.unsent[sent:]
        self._poller.modify(client.sock, select.POLLOUT if client.unsent else select.POLLIN)

    def _drop(self, client: _Client) -> None:
        del self._clients[client.sock.fileno()]
        self._poller.unregister(client.sock)
        client.sock.close()

    def close_in_child(self) -> None:
        """In a child: it is the manager's."""
        for client in self._clients.values():
            client.sock.close()
        if self._listener is not None:
            self._listener.close()

    def close(self) -> None:
        """Remove it. By the manager, at the end."""
        if self._bound is not None:
            bind.forget(self._bound)
        self.close_in_child()

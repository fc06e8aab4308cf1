"""What a Server says to and knows of its clients: the part of `Server` that needs a session.

Contract  `docs/reference/server.md`. Wrong use is answered before anything changes.
Stands on ipckit.server.processes.{process,worker}, ipckit.server.shared.sessions,
          ipckit.server.connections.{datagrams,client_info}.
"""

from __future__ import annotations

import os
import time
from typing import Any

from ipckit.server.api.process_calls import ProcessCalls
from ipckit.server.connections import client_info
from ipckit.server.connections.datagrams import send_to
from ipckit.server.shared.sessions import Flag

__all__ = ["ClientCalls"]


class ClientCalls(ProcessCalls):
    """The calls of a server about its clients."""

    def send(self, fd: int, data: bytes) -> bool:
        """Send to a client, from any process. Never waits in a worker.

        Args:
            fd: the session id, as the callbacks got it.
            data: 1 byte or more; bytes, bytearray or memoryview.

        Returns False when there is no such session (any more). True: queued in order.

        Raises QueueFull when a worker is asked to pass on more than socket_buffer_size to another
        one that does not read. A client slower than socket_buffer_size is closed, with a log line.
        """
        process = self._process
        if process is not None and data.__class__ is bytes and data:
            connection = process.connections.get(fd)
            if connection is not None:  # the usual case: our own client
                return connection.send(data)
        _check_fd(fd)
        return self._in_process("send()").send(fd, _as_data(data))

    async def asend(self, fd: int, data: bytes) -> bool:
        """As send(), and wait until the client has read most of what was sent. In a worker."""
        _check_fd(fd)
        return await self._in_worker("asend()").asend(fd, _as_data(data))

    def close(self, fd: int, reset: bool = False) -> bool:
        """Close a client's connection, from any process; what was sent arrives first.

        reset: immediately, by RST; what was not sent is dropped. False: no such session (any more).
        """
        _check_fd(fd)
        return self._in_process("close()").close_session(fd, reset=reset)

    def sendto(self, host: str, port: int, data: bytes) -> bool:
        """Send some bytes as a datagram, from any process; False: the kernel has no room now.

        host is an IP address, or the path of a unix socket (then port does not count). It goes out
        from the port whose packet is being answered if that fits, else from the first port of the
        same family.

        Raises ValueError (no address, or no port to send from), MessageTooLarge, SystemCallError.
        """
        ports = self._running("sendto()").ports
        self._in_process("sendto()")
        return send_to(ports, host, port, _as_data(data))

    def sendfile(
        self, fd: int, path: str | os.PathLike[str], offset: int = 0, length: int = 0
    ) -> bool:
        """Send `length` bytes (0: the rest) of a file from `offset` on; from any process.

        In order with what send() was given. It is read piece by piece as the client takes it, so
        it must not change until it is sent. If it becomes shorter, or the server ends first, the
        connection is reset.

        Returns False when there is no such session. Raises NotFound, AccessDenied, ValueError (the
        file has no such part).
        """
        _check_fd(fd)
        process = self._in_process("sendfile()")
        return process.send_file(fd, *client_info.checked_part(path, offset, length))

    def pause(self, fd: int) -> bool:
        """Read nothing more of a client until resume(); the kernel then slows it down.

        What was read already still comes. False: no such session.
        """
        _check_fd(fd)
        return self._in_process("pause()").read_session(fd, on=False)

    def resume(self, fd: int) -> bool:
        """Read a client again; False: no such session."""
        _check_fd(fd)
        return self._in_process("resume()").read_session(fd, on=True)

    def protect(self, fd: int, on: bool = True) -> bool:
        """Spare a client from the heartbeat, or not any more; False: no such session."""
        _check_fd(fd)
        sessions = self._running("protect()").board.sessions
        return sessions.flag(fd, Flag.PROTECTED, on=bool(on))

    def bind(self, fd: int, uid: int) -> bool:
        """Bind a session to a user's number of your own; get_client_info() tells it.

        Once for a session: False when it is bound already, or there is no such session.
        """
        _check_fd(fd)
        if not isinstance(uid, int) or isinstance(uid, bool) or not -(2**62) <= uid < 2**62:
            raise ValueError(f"uid={uid!r}: must be an int of -2**62..2**62-1")
        return self._running("bind()").board.sessions.bind(fd, uid)

    @property
    def connections(self) -> list[int]:
        """All sessions of the server, of all its workers, the oldest first."""
        return self._running("connections").board.sessions.all()

    def get_client_list(self, start: int = 0, count: int = 10) -> list[int]:
        """Return up to `count` sessions with numbers above `start`, in order: page by page.

        Empty at the end. Raises ValueError.
        """
        for name, value, least in (("start", start, 0), ("count", count, 1)):
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                raise ValueError(f"{name}={value!r}: must be an int of {least} or more")
        return [session for session in self.connections if session > start][:count]

    def get_client_info(self, fd: int) -> dict[str, Any] | None:
        """Return what is known of a client, from any process; None: no such session.

        In the client's `close` too, where the session has ended already.

        server_port, socket_type, remote_ip, remote_port, worker_id, reactor_id (the same),
        connect_time and last_time (of its last bytes; seconds since the epoch), uid (None: not
        bound), protected, inherited (it was taken over from another worker).
        """
        _check_fd(fd)
        runtime = self._running("get_client_info()")
        known = client_info.info(runtime.board.sessions, runtime.ports, fd)
        if known is None and self._process is not None:
            known = self._process.ended_clients.get(fd)
            return None if known is None else dict(known)
        return known

    def heartbeat(self, close: bool = True) -> list[int]:
        """Return the clients that sent nothing for heartbeat_idle_time, and close them.

        Those of a port without heartbeat_idle_time, and protected ones, are never among them.
        close: False only looks.
        """
        process = self._in_process("heartbeat()")
        runtime = process.runtime
        idle = client_info.idle(runtime.board.sessions, runtime.ports, time.monotonic())
        if close:
            for session in idle:
                process.close_session(session, reset=False)
        return idle

    def exists(self, fd: int) -> bool:
        """Whether the session lives, in any worker."""
        _check_fd(fd)
        return self._running("exists()").board.sessions.owner_of(fd) >= 0


def _check_fd(fd: object) -> None:
    if not isinstance(fd, int):
        raise TypeError(f"fd={fd!r}: must be an int, a session as the callbacks get it")


def _as_data(data: bytes | bytearray | memoryview) -> bytes:
    if not isinstance(data, bytes | bytearray | memoryview):
        raise TypeError(f"data must be bytes, not {type(data).__name__}: encode it first")
    if not data:
        raise ValueError(f"data={data!r}: must be 1 byte or more; to end a connection, close() it")
    return bytes(data)  # of bytes: the same object

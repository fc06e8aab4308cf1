"""Clients of a server: `Client` speaks to a port, `TaskClient` posts tasks into its queue.

Contract  docs/contracts/framing.md for packets; the names and the time limit are Swoole's.
Kernel    socket(2), connect(2), send(2), recv(2); TaskClient: msgsnd(2).
Stands on ipckit.errors, ipckit._{spawning,timeouts}, ipckit.framing, ipckit.kinds; TaskClient alone
          also on ipckit.queue, which is imported when one is made. Never on the server.
"""

from __future__ import annotations

import errno
import os
import socket
from collections import deque
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any, Unpack

from ipckit._closing import Closing
from ipckit._spawning import additions
from ipckit._timeouts import check_timeout
from ipckit.errors import (
    IPCError,
    MessageTooLarge,
    MisuseError,
    NotFound,
    PeerGone,
    ProtocolError,
    QueueRemoved,
    SettingsError,
    WaitTimeout,
    from_errno,
)
from ipckit.framing import Framer, Framing, FramingSettings, PacketRefused
from ipckit.kinds import ANY_TASK_WORKER, SockType

if TYPE_CHECKING:
    from ipckit.queue import SysvQueue

__all__ = ["Client", "TaskClient"]

_READ = 256 * 1024  # most bytes of one read with framing
_AGAIN = 0.002  # seconds between two tries at a full backlog
_LONGEST_PATH = 107  # bytes: unix(7), sun_path without its last NUL


class _AsSet:
    def __repr__(self) -> str:
        return "<as set>"


_AS_SET: Any = _AsSet()
"""The time limit of the client, where a call gives none of its own; None means no limit."""

_KINDS = {
    SockType.TCP: (socket.AF_INET, socket.SOCK_STREAM),
    SockType.UDP: (socket.AF_INET, socket.SOCK_DGRAM),
    SockType.TCP6: (socket.AF_INET6, socket.SOCK_STREAM),
    SockType.UDP6: (socket.AF_INET6, socket.SOCK_DGRAM),
    SockType.UNIX_STREAM: (socket.AF_UNIX, socket.SOCK_STREAM),
    SockType.UNIX_DGRAM: (socket.AF_UNIX, socket.SOCK_DGRAM),
}


class ClientSettings(FramingSettings, total=False):
    """The settings of a `Client` as keyword arguments, for type checkers and editors."""

    timeout: float | None


class Client(Closing):
    """A blocking connection to one port.

    Not thread safe: one thread at a time. After a fork both processes have the same connection:
    one of them closes it. A pickle has the settings; with a connection it is TypeError.
    """

    def __init__(
        self, sock_type: SockType = SockType.TCP, **framing_settings: Unpack[ClientSettings]
    ) -> None:
        """Make a client, not connected yet; the settings are those of `set()`.

        Raises:
            SettingsError: an unknown setting, a wrong value, or framing for datagrams.
        """
        try:
            self._type = SockType(sock_type)
        except ValueError:
            names = ", ".join(SockType.__members__)
            raise SettingsError(f"sock_type={sock_type!r}: must be one of {names}") from None
        self._family, self._kind = _KINDS[self._type]
        self._sock: socket.socket | None = None
        self._where = ""
        self._connect_timeout: float | None = 0.5
        self._settings: dict[str, Any] = {}
        self._framing = Framing()
        self._framer: Framer | None = None
        self._packets: deque[bytes] = deque()
        self._refused = ""
        self.set({**framing_settings})

    def set(
        self, settings_dict: dict[str, Any] | None = None, **settings: Unpack[ClientSettings]
    ) -> None:
        """Change settings: those of `Framing`, and `timeout`.

        Args:
            settings_dict: names and values.
            **settings: the same. `timeout`: most seconds of one send() or recv(), None for no
                limit; when it is not set, the timeout of connect() holds.

        Raises:
            SettingsError: an unknown name, a wrong value, or framing for datagrams. Nothing
                is changed.
            MisuseError: framing was to change in the middle of a packet.
        """
        merged = {**self._settings, **(settings_dict or {}), **settings}
        timeout = merged.get("timeout")
        try:
            check_timeout(timeout)
        except (TypeError, ValueError) as error:
            raise SettingsError(str(error)) from None
        framing = Framing.of({name: merged[name] for name in merged if name != "timeout"})
        if framing.is_on and self._kind == socket.SOCK_DGRAM:
            raise SettingsError(
                f"framing with {self._type.name}: a datagram is a packet already; leave it out"
            )
        if framing != self._framing:
            if self._packets or (self._framer is not None and self._framer.pending):
                raise MisuseError(
                    "set: framing cannot change in the middle of a packet; recv() the rest, or "
                    "close() first"
                )
            self._framing = framing
            self._framer = framing.framer() if framing.is_on else None
        self._settings = merged

    def connect(self, host: str, port: int = 0, timeout: float | None = 0.5) -> None:
        """Connect to a port.

        Args:
            host: name or address; the path of a unix socket.
            port: 1..65535; not used for unix sockets.
            timeout: seconds; None waits for ever, 0 tries once. It is also the limit of each
                send() and recv() that has none of its own, unless the setting `timeout` was made.

        Raises:
            WaitTimeout: no answer in time. PeerGone: nobody listens there.
            NotFound: no such host or path. MisuseError: connected already.
            SystemCallError: no way there, and the like. The client can connect() again.

        Blocks: at most `timeout`, and as long as the name server takes to find a name.
        Source: connect(2), unix(7).
        """
        if self._sock is not None:
            raise MisuseError(f"connect: connected to {self._where} already; close() it first")
        if not isinstance(host, str):
            raise TypeError(f"host={host!r}: must be a str, a name, an address or a path")
        check_timeout(timeout)
        where = host if self._family == socket.AF_UNIX else f"{host}:{port}"
        address = self._address(host, port)
        try:
            self._sock = self._open(address, None if timeout is None else monotonic() + timeout)
        except (TimeoutError, BlockingIOError):
            raise WaitTimeout(f"connect: {where} did not answer{_within(timeout)}") from None
        except ConnectionError:
            raise PeerGone(f"connect: nobody listens at {where}; is the server up?") from None
        except OSError as exc:
            detail = f"{where}; is the server up, and is this its address?"
            raise from_errno("connect", exc.errno or errno.EINVAL, detail) from None
        self._where = where
        self._connect_timeout = timeout
        self._framer = self._framing.framer() if self._framing.is_on else None
        self._packets.clear()
        self._refused = ""

    def send(self, data: bytes | bytearray | memoryview, *, timeout: float | None = _AS_SET) -> int:
        """Send all of `data`; return its length in bytes.

        Args:
            data: 1 byte or more, or a datagram.
            timeout: seconds for this call; None waits for ever, 0 tries once. Without it: the
                setting `timeout`, or else the timeout of connect().

        Raises:
            WaitTimeout: the peer does not read. The text says how many bytes went out: send the
                rest, or close(). A datagram went out whole or not at all.
            PeerGone: the connection is closed. MisuseError: not connected.
            MessageTooLarge: over what a datagram can be.

        Blocks: at most `timeout`.
        Source: send(2).
        """
        sock = self._connected("send")
        if not isinstance(data, bytes | bytearray | memoryview):
            raise TypeError(f"data must be bytes, not {type(data).__name__}: encode it first")
        if not memoryview(data).c_contiguous:
            raise TypeError("data is not contiguous: send a copy, bytes(data)")
        view = memoryview(data).cast("B")
        limit = self._limit(timeout)
        deadline = _deadline(limit)
        sent = 0
        try:
            if not view and self._kind == socket.SOCK_DGRAM:
                sock.send(view)
            while sent < len(view):
                sock.settimeout(_left(deadline))
                sent += sock.send(view[sent:], socket.MSG_NOSIGNAL)
        except (TimeoutError, BlockingIOError):
            raise WaitTimeout(
                f"send: {sent} of {len(view)} bytes went to {self._where}{_within(limit)}; "
                f"send the rest, or close()"
            ) from None
        except OSError as exc:
            raise self._failed("send", exc, len(view)) from None
        return len(view)

    def recv(self, size: int = 65536, *, timeout: float | None = _AS_SET) -> bytes:
        r"""Return what came; b"" at the end of the connection.

        Args:
            size: most bytes to return, >= 1. With framing: one whole packet is returned, mark
                or header included, however long it is.
            timeout: seconds, as in send().

        Raises:
            WaitTimeout: nothing came in time (no whole packet; its part is kept).
            PeerGone: the connection broke, or ended in the middle of a packet.
            ProtocolError: a packet is too long or nonsense; those before it were returned.
            MessageTooLarge: a datagram is longer than `size`; it stays, for a larger one.
            MisuseError: not connected.

        Blocks: at most `timeout`.
        Source: recv(2).
        """
        sock = self._connected("recv")
        if not isinstance(size, int) or size < 1:
            raise ValueError(f"size={size!r}: must be an int of 1 or more bytes")
        limit = self._limit(timeout)
        deadline = _deadline(limit)
        try:
            if self._framer is not None:
                return self._packet(sock, self._framer, deadline)
            sock.settimeout(_left(deadline))
            if self._kind == socket.SOCK_DGRAM:
                return self._datagram(sock, size)
            return sock.recv(size)
        except IPCError:
            raise
        except (TimeoutError, BlockingIOError):
            raise WaitTimeout(
                f"recv: nothing came from {self._where}{_within(limit)}; recv() again, or "
                f"with a longer timeout"
            ) from None
        except OSError as exc:
            raise self._failed("recv", exc, size) from None

    def close(self) -> None:
        """Close the connection; the client can connect() again. Closed already: nothing."""
        if self._sock is not None:
            self._sock.close()
            self._sock = None

    def __getstate__(self) -> dict[str, Any]:
        """Give another process the settings, when it is not connected."""
        if self._sock is not None:
            raise TypeError(
                f"cannot pickle {type(self).__name__!r} object: its connection to {self._where} "
                f"belongs to this process; connect() in the other one"
            )
        return self.__dict__.copy()

    def _open(self, address: Any, deadline: float | None) -> socket.socket:
        sock = socket.socket(self._family, self._kind)
        try:
            if self._type == SockType.UNIX_DGRAM:
                sock.bind("")  # an abstract name, so the server can answer; no file is left
            while True:
                sock.settimeout(_left(deadline))
                try:
                    sock.connect(address)
                    return sock
                except BlockingIOError:
                    # connect(2) of a unix socket whose backlog is full fails immediately, and no
                    # event reports that there is room: retry until the time is over.
                    if self._family != socket.AF_UNIX or _left(deadline) == 0:
                        raise
                    sleep(_AGAIN)
        except BaseException:
            sock.close()
            raise

    def _packet(self, sock: socket.socket, framer: Framer, deadline: float | None) -> bytes:
        while not self._packets:
            if self._refused:
                raise ProtocolError(f"recv: {self._refused}; close() the connection")
            sock.settimeout(_left(deadline))
            data = sock.recv(_READ)
            if not data:
                if left := framer.pending:
                    self._framer = self._framing.framer()  # told once; from now on b""
                    raise PeerGone(
                        f"recv: {self._where} closed {left} bytes into a packet; connect() again"
                    )
                return b""
            try:
                self._packets.extend(framer.feed(data))
            except PacketRefused as exc:
                self._packets.extend(exc.packets)
                self._refused = str(exc)
        return self._packets.popleft()

    def _datagram(self, sock: socket.socket, size: int) -> bytes:
        length = sock.recv_into(bytearray(1), 1, socket.MSG_PEEK | socket.MSG_TRUNC)
        if length > size:
            raise MessageTooLarge(
                errno.EMSGSIZE,
                f"recv: a datagram of {length} bytes waits, size is {size}; ask for more",
            )
        return sock.recv(size)

    def _address(self, host: str, port: int) -> Any:
        if self._family == socket.AF_UNIX:
            size = len(os.fsencode(host))
            if size > _LONGEST_PATH or (host[:1] != "\0" and "\0" in host):
                raise ValueError(
                    f"host={host!r}: the path of a unix socket has at most {_LONGEST_PATH} bytes, "
                    f"this one has {size}, and no NUL but the first byte of an abstract name"
                )
            return host
        if not isinstance(port, int) or not 0 < port < 65536:
            raise ValueError(f"port={port!r}: must be an int of 1..65535")
        try:
            found = socket.getaddrinfo(host, port, self._family, self._kind)
        except (OSError, UnicodeError) as exc:
            raise NotFound(
                errno.ENOENT,
                f"getaddrinfo: {host}:{port} has no {self._type.name} address: {exc}; is "
                f"the name right?",
            ) from None
        return found[0][4]

    def _connected(self, verb: str) -> socket.socket:
        if self._sock is None:
            raise MisuseError(f"{verb}: not connected; connect(host, port) first")
        return self._sock

    def _limit(self, timeout: float | None) -> float | None:
        if timeout is _AS_SET:
            limit: float | None = self._settings.get("timeout", self._connect_timeout)
            return limit
        check_timeout(timeout)
        return timeout

    def _failed(self, call: str, exc: OSError, size: int) -> IPCError:
        if isinstance(exc, ConnectionError):
            return PeerGone(
                f"{call}: {self._where} closed the connection, or nobody is there; close() it, and "
                f"connect() again"
            )
        if exc.errno == errno.EMSGSIZE:
            return MessageTooLarge(
                errno.EMSGSIZE,
                f"{call}: a datagram of {size} bytes; one takes at most 65507; send less",
            )
        return from_errno(call, exc.errno or errno.EINVAL, f"{size} bytes, {self._where}")


def _deadline(limit: float | None) -> float | None:
    return None if limit is None else monotonic() + limit


def _left(deadline: float | None) -> float | None:
    return None if deadline is None else max(0.0, deadline - monotonic())


def _within(limit: float | None) -> str:
    return "" if limit is None else f" in {limit} s"  # without a limit it is the kernel's ETIMEDOUT


class TaskClient(Closing):
    """Posts tasks into the queue of a running server (task_ipc_mode 2 or 3), from any process.

    Process safe: any number may post. Thread safe. A fork may go on using it in both processes. A
    pickle has the key, and unpickling opens the queue: NotFound.
    """

    def __init__(self, key: int) -> None:
        """Open the server's queue.

        Args:
            key: the server's message_queue_key, e.g. from `ftok()`; not 0.

        Raises:
            NotFound: no such queue: the server is not up, or has another key.
            AccessDenied: message_queue_mode does not let this user in.
        """
        if key == 0:
            raise ValueError("key=0: that queue is private to the server; give it a key by ftok()")
        self._key = key
        self._queue = self._open()

    def post(self, data: Any, dst: int = -1, timeout: float | None = None) -> None:
        """Put one task into the queue, as PHP's msg_send($queue, $type, $data) would.

        Args:
            data: None, bool, int (64 bit), float, str, bytes, list, or dict with int or str
                keys.
            dst: a task worker, 0..task_worker_num-1 (in mode 3 any idle one takes it); -1 for
                the first idle one.
            timeout: seconds to wait for room; None waits for ever, 0 tries once.

        Raises:
            QueueFull: no room in time. MessageTooLarge: over what the queue takes. Both:
                nothing was sent.
            NotFound: the queue was removed, and the server has made no new one.
            ValueError: `dst`, or a part of `data` that the text cannot hold.

        Blocks: at most `timeout`.
        Crash: the task is wholly in the queue or not there.
        Source: msgsnd(2).
        """
        if not isinstance(dst, int) or not -1 <= dst < ANY_TASK_WORKER - 1:
            raise ValueError(f"dst={dst!r}: must be a task worker, 0 or more, or -1 for any")
        from ipckit.queue.php_format import dumps  # noqa: PLC0415  (Client must not load queues)

        body = dumps(data)
        kind = dst + 1 if dst >= 0 else ANY_TASK_WORKER
        check_timeout(timeout)
        deadline = None if timeout is None else monotonic() + timeout
        try:
            self._queue.send(body, type=kind, timeout=timeout)
        except QueueRemoved:
            # The server was restarted since: its queue has the same key and another id. The
            # old object is not closed: another thread may still be in it, and it owns nothing.
            self._queue = queue = self._open()
            queue.send(body, type=kind, timeout=_left(deadline))

    def close(self) -> None:
        """Let go of the queue; it stays where it is."""
        self._queue.close()

    def __reduce__(self) -> tuple[Any, ...]:
        """Name the queue by its key. MisuseError: it is closed."""
        _ = self._queue.id
        return type(self), (self._key,), additions(self, ("_key", "_queue"))

    def _open(self) -> SysvQueue:
        from ipckit.queue import SysvQueue  # noqa: PLC0415  (see post)

        try:
            return SysvQueue.open(self._key)
        except NotFound:
            raise NotFound(
                errno.ENOENT,
                f"msgget: no server has the message_queue_key {self._key}; is it up, with "
                f"task_ipc_mode 2 or 3?",
            ) from None

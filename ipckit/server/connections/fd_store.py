"""Connections that outlive their worker: the manager's copies of their descriptors.

A worker sends the manager a copy of every TCP connection that lives for longer than a tick, and
says when it ends. After the worker's death the kernel's own counts decide: a connection of which
every byte that was read was worked off, and every byte that was promised was written, goes to the
successor; any other is shut down, so that its client knows. Nothing is run again.

Contract  A worker has an `FdStoreClient`, the manager the `FdStore`. A connection has at most one
          copy in the manager, for as long as its session lives.
Invariants
  B1  A copy is closed as soon as its session has ended, whichever message about it comes first:
      the session itself is looked at before a copy is kept.
  B2  A child of the manager closes the copies that it inherits before it does anything else: a copy
      in another process would keep a client waiting for an end of file.
  B3  The kernel's counts are of one moment: if the peer sends or acknowledges anything between the
      calls that read them, they are read again.
Stands on ipckit.server.messaging.inbox, ipckit.server.shared.sessions, unix(7) SCM_RIGHTS, tcp(7)
          TCP_INFO.
Blocks    never: what finds no room is tried again.
Crash     of a worker before its tick: no copy, and the kernel ends the connection.
"""

from __future__ import annotations

import array
import errno
import fcntl
import os
import socket
import struct
import termios
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

from ipckit import _pickle_codec as pickle_codec
from ipckit.errors import from_errno
from ipckit.server.log import limited
from ipckit.server.messaging.inbox import Inbox
from ipckit.server.messaging.wire import Head, Kind
from ipckit.server.shared.sessions import Sessions

if TYPE_CHECKING:
    import asyncio

__all__ = ["Dropped", "FdStore", "FdStoreClient", "Taken"]

_LOOKS = 100
"""So often the counts of a connection are read until they are of one moment."""

_TICK = 0.005
"""Seconds between a connection and its copy: one that ends within it costs nothing."""

_MOST = 200
"""Descriptors in one message; the kernel takes 253."""

_SESSIONS = struct.Struct("<Q")
_ADD, _FORGET = b"+", b"-"
_LARGEST = 1 + _MOST * _SESSIONS.size
_ROOM = socket.CMSG_SPACE(4 * _MOST)
_TAKE = socket.MSG_DONTWAIT | socket.MSG_CMSG_CLOEXEC

_ESTABLISHED = 1
_INFO_SIZE = 136
_INFO_COUNTS = struct.Struct("=QQ")  # bytes_acked, bytes_received
_INFO_AT = 120
_SIOCOUTQ = termios.TIOCOUTQ  # the same number for sockets: bytes the peer has not acknowledged


class Taken(NamedTuple):
    """What a worker gets with the descriptor of a connection that becomes its own."""

    session: int
    port: int  # index of our port
    remainder: bytes  # read, and not yet a packet
    held: bool  # by pause()
    predecessor: int  # its place, if it may still pass on what others sent; -1: it is dead
    stored: bool  # the manager has a copy


class Dropped(NamedTuple):
    """A connection that ended with its worker."""

    session: int
    port: int  # index of our port
    known: dict[str, Any] | None  # of its client, as Sessions.describe() says it


class FdStoreClient:
    """A worker's end: what the manager has yet to hear of."""

    def __init__(self, loop: asyncio.AbstractEventLoop, manager: socket.socket) -> None:
        self._loop = loop
        self._manager = manager
        self._new: dict[int, Callable[[], int]] = {}
        self._gone: list[int] = []
        self._stored: set[int] = set()
        self._due: asyncio.Handle | None = None

    def add(self, session: int, descriptor: Callable[[], int]) -> None:
        """Send a copy at the next tick; `descriptor` gives its number then, -1: it is closed."""
        self._new[session] = descriptor
        if self._due is None:
            self._due = self._loop.call_later(_TICK, self._tick)

    def note_stored(self, session: int) -> None:
        """The manager has a copy of this one."""
        self._stored.add(session)

    def has_stored(self, session: int) -> bool:
        """Whether the manager has a copy, or will have it."""
        return session in self._stored

    def forget(self, session: int, *, tell: bool = True) -> None:
        """It ends (tell the manager, if he has a copy), or it is another's."""
        if self._new.pop(session, None) is None and session in self._stored:
            self._stored.discard(session)
            if tell:
                self._gone.append(session)
                if len(self._gone) == 1:
                    self._loop.call_soon(self._post_ended)

    def flush(self) -> None:
        """Send what there is now."""
        self._post_ended()
        self._tick()

    def _tick(self) -> None:
        if self._due is not None:
            self._due.cancel()
            self._due = None
        while self._new:
            try:
                some = [(session, self._new[session]()) for session in list(self._new)[:_MOST]]
                open_ones = [(session, fd) for session, fd in some if fd >= 0]
                sent = not open_ones or self._send(_ADD, *zip(*open_ones, strict=True))
            except OSError as exc:  # a transport makes its socket object when it is asked for it
                limited.warning("a connection waits for its copy: %s", exc)
                sent = False
            if not sent:
                self._due = self._loop.call_later(_TICK, self._tick)
                return
            for session, _ in some:
                del self._new[session]
            self._stored.update(session for session, _ in open_ones)

    def _post_ended(self) -> None:
        while self._gone:
            if not self._send(_FORGET, self._gone[:_MOST]):
                self._loop.call_later(_TICK, self._post_ended)
                return
            del self._gone[:_MOST]

    def _send(self, what: bytes, sessions: Iterable[int], fds: Iterable[int] = ()) -> bool:
        message = what + b"".join(map(_SESSIONS.pack, sessions))
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
        try:
            self._manager.sendmsg([message], rights, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return False
        except OSError as exc:
            # ETOOMANYREFS: more descriptors are under way than the limit allows; they will be less.
            limited.warning("sendmsg: copies of connections wait: %s", exc)
            return False
        return True


class FdStore:
    """The manager's end: the copies, and what becomes of those whose worker died."""

    def __init__(self, workers: socket.socket, sessions: Sessions, inboxes: list[Inbox]) -> None:
        self.socket = workers
        self._sessions = sessions
        self._inboxes = inboxes
        self._copies: dict[int, int] = {}  # session -> descriptor
        self._orphans: dict[int, dict[int, int]] = {}  # slot -> session -> index of our port
        self._ended: dict[int, list[Dropped]] = {}  # slot -> what its next process hears of

    @property
    def waiting(self) -> bool:
        """Whether anything waits for a successor, or for room in its inbox."""
        return bool(self._orphans or self._ended)

    def receive(self) -> None:
        """Take what the workers sent."""
        while True:
            try:
                message, ancillary, flags, _ = self.socket.recvmsg(_LARGEST, _ROOM, _TAKE)
            except BlockingIOError:
                return
            except OSError as exc:
                code = exc.errno or errno.EIO
                raise from_errno("recvmsg", code, "copies of connections wait") from None
            sessions = [number for (number,) in _SESSIONS.iter_unpack(message[1:])]
            if flags & socket.MSG_CTRUNC:
                limited.warning(
                    "recvmsg: no descriptor is free (ulimit -n): connections without a copy end "
                    "with their worker, if that dies"
                )
            if message[:1] == _ADD:
                fds = array.array("i", ancillary[0][2]) if ancillary else []
                for session, fd in zip(sessions, fds, strict=False):
                    self._add(session, fd)
            else:
                for session in sessions:
                    self._forget(session)

    def _add(self, session: int, fd: int) -> None:
        if self._sessions.owner_of(session) < 0 or session in self._copies:  # B1
            os.close(fd)
        else:
            self._copies[session] = fd

    def _forget(self, session: int) -> None:
        fd = self._copies.pop(session, None)
        if fd is not None:
            os.close(fd)

    def recover(self, place: int) -> int:
        """The process of a place is dead: keep what is whole, end the rest; return how many."""
        self.receive()
        slot = place // 2
        ended = []
        for session in self._sessions.all_of(place):
            port = self._sessions.port_of(session)
            known = self._sessions.describe(session)
            fd = self._copies.get(session)
            if fd is not None and _is_whole(fd, *self._sessions.counts(session)):
                self._orphans.setdefault(slot, {})[session] = port
            elif self._sessions.close(session, place):
                self._orphans.get(slot, {}).pop(session, None)
                ended.append(Dropped(session, port, known))
        for session in [s for s in self._copies if self._sessions.owner_of(s) < 0]:
            fd = self._copies[session]
            _shut_down(fd)
            self._forget(session)
        if ended:
            self._ended.setdefault(slot, []).extend(ended)
        return len(ended)

    def give_to_successors(self, successor_of: Callable[[int], int | None]) -> None:
        """Give what waits to the successors, as far as there is room.

        successor_of: the place of a slot's successor; None: there is none yet.
        """
        for slot in {*self._ended, *self._orphans}:
            place = successor_of(slot)
            if place is None:
                continue
            if slot in self._ended and self._post_ended(place, self._ended[slot]):
                del self._ended[slot]
            if slot in self._orphans and self._give(place, self._orphans[slot]):
                del self._orphans[slot]

    def _post_ended(self, place: int, ended: list[Dropped]) -> bool:
        return self._inboxes[place].post(Head(Kind.DROPPED), pickle_codec.dump(ended))

    def _give(self, place: int, sessions: dict[int, int]) -> bool:
        while sessions:
            session, port = next(iter(sessions.items()))
            owner = self._sessions.owner_of(session)
            if owner >= 0 and session in self._copies:
                # First: senders find the successor, which keeps what comes until it has it.
                self._sessions.hand_over(session, owner, place)
                taken = Taken(session, port, b"", held=False, predecessor=-1, stored=True)
                head = Head(Kind.TAKE, ident=session)
                if not self._inboxes[place].post_with(
                    head, pickle_codec.dump(taken), self._copies[session]
                ):
                    return False
            del sessions[session]
        return True

    def close_in_child(self) -> None:
        """In a child: B2."""
        for fd in self._copies.values():
            os.close(fd)
        self._copies.clear()

    def close(self) -> None:
        """At the end: nobody takes anything any more."""
        for fd in self._copies.values():
            _shut_down(fd)
        self.close_in_child()


def _is_whole(fd: int, read: int, written: int) -> bool:
    """Whether a dead process had worked off what it read, and written what was promised. B3."""
    for _ in range(_LOOKS):
        try:
            before = _tcp_info(fd)
            unread, unacknowledged = array.array("i", [0]), array.array("i", [0])
            fcntl.ioctl(fd, termios.FIONREAD, unread)
            fcntl.ioctl(fd, _SIOCOUTQ, unacknowledged)
            after = _tcp_info(fd)
        except OSError as exc:
            limited.warning("a copy of a connection cannot be examined: %s", exc)
            continue
        if before != after:
            continue
        state, acknowledged, received = after
        return (
            state == _ESTABLISHED
            and received - unread[0] == read
            and acknowledged + unacknowledged[0] == written
        )
    return False


def _tcp_info(fd: int) -> tuple[int, int, int]:
    """Return the state, the bytes that the peer has acknowledged, and those that it has sent."""
    sock = _as_socket(fd)
    try:
        info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _INFO_SIZE)
    finally:
        sock.detach()
    acknowledged, received = _INFO_COUNTS.unpack_from(info, _INFO_AT)
    return info[0], acknowledged, received


def _as_socket(fd: int) -> socket.socket:
    """Return the socket object of a descriptor; the kernel is not asked of which kind it is."""
    return socket.socket(socket.AF_INET, socket.SOCK_STREAM, 0, fileno=fd)


def _shut_down(fd: int) -> None:
    sock = _as_socket(fd)
    try:
        sock.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass  # the peer was first
    finally:
        sock.detach()

"""How a worker takes connections over from its predecessor, and gives its own to its successor.

Contract  `take()` makes a connection ours that came with its descriptor. `give()` hands over a
          connection that is idle. What others send to a session reaches the client in the order in
          which each of them sent it, whichever process has the connection.
Invariants
  T1  The session's owner changes before its descriptor is posted. So what is sent to the session
      from then on goes to the successor, which keeps it until it has the connection.
  T2  A predecessor that lives may still get frames that were sent before the change; it passes them
      on (FORWARDED). The successor keeps that order:
        1. It posts CATCH_UP to the predecessor.
        2. It writes the frames that the predecessor passes on, and keeps those that come straight.
        3. It writes the kept ones when CAUGHT_UP comes, which is behind all that was passed on; or
           when the predecessor is dead and its inbox was drained.
      What the successor itself sent to the predecessor comes back in the same way, and the
      successor waits for that before it takes the connection.
  T3  A connection is given on only when nothing more can be passed on to this process: the
      predecessor is dead, and what it left in its inbox has come here.
  T4  What callbacks of this process have sent to other processes is in the inboxes of those before
      a client is given on. So it arrives before what the client's callbacks send in the successor.
      For a process that does not read its inbox that is waited for no longer than reload_timeout.
Stands on ipckit.server.connections.{fd_store,connection}, ipckit.server.processes.worker, uvloop.
Crash     of the successor before it has the connection: the manager has a copy, and looks again.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket

from ipckit import _pickle_codec as pickle_codec
from ipckit.errors import SystemCallError
from ipckit.server.connections.connection import Connection
from ipckit.server.connections.fd_store import Dropped, Taken
from ipckit.server.connections.registry import Registry
from ipckit.server.log import limited
from ipckit.server.messaging.wire import FORWARDED, Head, Kind
from ipckit.server.shared.sessions import Flag

__all__ = ["Handover"]

Frames = list[tuple[Head, bytes]]


class Handover:
    """A worker's connections on their way in, and out."""

    def __init__(self, registry: Registry) -> None:
        registry.handover = self
        self._registry = registry
        self._host = registry.host
        self._sessions = self._host.board.sessions
        self._coming: dict[int, Frames] = {}  # what was sent to those that have not come yet
        self._taking: set[int] = set()
        self._predecessors: dict[int, int] = {}  # session -> place that may still pass something on
        self._held: dict[int, Frames] = {}  # T2
        self._asked: dict[int, int] = {}  # session -> how many were held when we asked
        self._awaited: dict[int, asyncio.Future[None]] = {}  # T2: session -> what we sent is back
        self._owed: tuple[int, Head, bytes, int] | None = None  # successor, frame, descriptor
        self._predecessor_is_gone = False  # the predecessor, for good: we have had only one
        self.patient = True
        """T4 is waited for."""

    # -- in ---

    def take(self, head: Head, body: bytes) -> None:
        """A session is ours; `head.number` is its descriptor."""
        taken: Taken = pickle_codec.load(body)
        session = taken.session
        known = session in self._registry.connections or session in self._taking
        if known or self._sessions.owner_of(session) != self._host.place:
            os.close(head.number)
            return
        # All that is known of it is given: nothing is asked of the kernel, which can fail.
        family = self._host.ports[taken.port].socket.family
        sock = socket.socket(family, socket.SOCK_STREAM, 0, fileno=head.number)
        sock.setblocking(False)
        self._taking.add(session)
        self._host.start(self._connect(taken, sock))

    async def _connect(self, taken: Taken, sock: socket.socket) -> None:
        host, registry = self._host, self._registry
        port = host.ports[taken.port]
        try:
            if (
                taken.predecessor >= 0
                and host.has_posted_to(taken.predecessor)
                and not self._predecessor_is_gone
            ):
                await self._what_we_sent(taken)
            await host.loop.connect_accepted_socket(
                lambda: Connection(registry, port, sock, taken), sock
            )
        except OSError as exc:
            limited.warning("connection %d was not taken over: %s", taken.session, exc)
            with contextlib.suppress(OSError):  # the client sees it although there is a copy
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()
            if registry.fd_store is not None and taken.stored:
                registry.fd_store.note_stored(taken.session)
                registry.fd_store.forget(taken.session)
            known = self._sessions.describe(taken.session)
            registry.counts.close(taken.session)
            registry.ended_elsewhere(Dropped(taken.session, taken.port, known))
        finally:
            self._taking.discard(taken.session)

    async def _what_we_sent(self, taken: Taken) -> None:
        """Wait until it is among those that are coming, or was written. T2."""
        back = self._awaited[taken.session] = self._host.loop.create_future()
        head = Head(Kind.CATCH_UP, number=self._host.place, ident=taken.session)
        self._host.post(taken.predecessor, head)
        await back

    def came(self, taken: Taken) -> None:
        """Its connection is among ours, and its callback was called: now what was sent to it."""
        session = taken.session
        self._sessions.flag(session, Flag.INHERITED, on=True)
        if taken.predecessor >= 0:
            self._predecessors[session] = taken.predecessor
        frames = self._coming.pop(session, [])
        frames.sort(key=lambda frame: not frame[0].flags & FORWARDED)  # those before the others
        for frame in frames:
            self._host.on_frame(*frame)
        if self._predecessor_is_gone:  # it died while the connection was on its way
            self.predecessor_gone()

    def is_early(self, head: Head) -> bool:
        """Whether a frame for a session has to wait, or to go elsewhere."""
        if head.ident not in self._registry.connections:
            return True
        if not self._predecessors or head.ident not in self._predecessors or head.flags & FORWARDED:
            return False
        return head.sender != self._host.slot  # T4; ours or the predecessor's own: in order

    def route(self, head: Head, body: bytes) -> None:
        """Keep an early frame, or pass it on."""
        session = head.ident
        owner = self._sessions.owner_of(session)
        if owner < 0:
            return
        if session in self._registry.connections:
            self._held.setdefault(session, []).append((head, body))
            if session not in self._asked:
                self._ask(session)
        elif (
            owner != self._host.place
        ):  # given on by us; or meant for the process at our place before us
            self._host.post(owner, head._replace(flags=head.flags | FORWARDED), body)
        else:
            self._coming.setdefault(session, []).append((head, body))

    def _ask(self, session: int) -> None:
        self._asked[session] = len(self._held[session])
        head = Head(Kind.CATCH_UP, number=self._host.place, ident=session)
        self._host.post(self._predecessors[session], head)

    def catch_up(self, head: Head) -> None:
        """All that was sent to us before this is passed on; say so."""
        self._host.post(head.number, Head(Kind.CAUGHT_UP, ident=head.ident))

    def caught_up(self, session: int) -> None:
        """T2. What was held when we asked may go."""
        if (back := self._awaited.pop(session, None)) is not None:
            if not back.done():
                back.set_result(None)
            return
        count = self._asked.pop(session, 0)
        frames = self._held.pop(session, [])
        self._let_go(frames[:count])
        if frames[count:]:
            self._held[session] = frames[count:]
            self._ask(session)

    @property
    def predecessor_is_gone(self) -> bool:
        """Whether the manager has said so."""
        return self._predecessor_is_gone

    def predecessor_gone(self) -> None:
        """Our predecessor is dead, and what it left was read."""
        self._predecessor_is_gone = True
        for session in list(self._awaited):
            self.caught_up(session)
        self._predecessors.clear()
        self._asked.clear()
        held, self._held = self._held, {}
        for frames in held.values():
            self._let_go(frames)

    def _let_go(self, frames: Frames) -> None:
        for head, body in frames:
            self._host.on_frame(head._replace(flags=head.flags | FORWARDED), body)

    def forget(self, session: int) -> None:
        """It ended."""
        for kept in (self._coming, self._predecessors, self._held, self._asked):
            if kept:
                kept.pop(session, None)

    # -- out ---

    def give(self, connection: Connection, successor: int) -> bool:
        """Hand one over; False: not now (it is busy, T3, T4; the successor's inbox is full)."""
        registry, session = self._registry, connection.session
        if not connection.is_idle or session in self._predecessors:
            return False
        if self.patient and self._host.own_frames_waiting:
            return False
        if not self.pay():
            return False
        try:  # first: what can fail
            fd = os.dup(connection.descriptor())
        except OSError as exc:
            limited.warning("dup: connection %d is not handed over yet: %s", session, exc)
            return False
        if not self._sessions.hand_over(session, self._host.place, successor):
            os.close(fd)
            return False
        body = pickle_codec.dump(connection.state())
        self._owed = successor, Head(Kind.TAKE, ident=session), body, fd
        del registry.connections[session]
        if registry.fd_store is not None:
            registry.fd_store.forget(session, tell=False)
        self.forget(session)
        connection.let_go()
        return self.pay()

    def pay(self) -> bool:
        """Post the connection that is the successor's already; False: its inbox has no room now.

        Until then it stays the successor's (T1). If it came back, what others send to it would
        arrive out of order.
        """
        if self._owed is not None:
            successor, head, body, fd = self._owed
            try:
                if not self._host.inboxes[successor].post_with(head, body, fd):
                    return False
            except SystemCallError as exc:  # no descriptor or memory for a long remainder
                limited.warning("connection %d waits to be handed over: %s", head.ident, exc)
                return False
            os.close(fd)
            self._owed = None
        return True

    def release_owed(self) -> None:
        """No more time to pay: the manager gives its copy to the successor, when we are gone."""
        if self._owed is not None:
            successor, head, _, fd = self._owed
            os.close(fd)
            self._sessions.hand_over(head.ident, successor, self._host.place)
            self._owed = None

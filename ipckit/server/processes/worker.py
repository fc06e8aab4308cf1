"""A worker: serves clients, posts tasks, hears results. asyncio on uvloop, one thread.

Stands on ipckit.server.processes.process, ipckit.server.connections.connection,
          ipckit.server.tasks.submitter, ipckit.server.messaging.inbox, uvloop.
Invariants
  W1  The loop never waits for another process: when an inbox or a socket is full, the loop is
      called when its descriptor is writable.
  W2  A client's session has one owner, the place of its worker. Other processes send to the client
      through the owner's inbox.
Ends      asked by the manager (reload, stop) it stops accepting and reading, lets tasks and
          callbacks end within max_wait_time, closes its connections in order, runs worker_stop.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import uvloop

from ipckit import _pickle_codec as pickle_codec
from ipckit.server.connections.acceptor import Acceptor
from ipckit.server.connections.connection import Connection
from ipckit.server.connections.datagrams import DatagramReader
from ipckit.server.connections.handover import Handover
from ipckit.server.connections.registry import Registry
from ipckit.server.connections.tls import TLSTransport
from ipckit.server.log import log
from ipckit.server.messaging.inbox import RETRY_SECONDS, Inbox
from ipckit.server.messaging.inbox_reader import InboxReader
from ipckit.server.messaging.outbox import Outboxes
from ipckit.server.messaging.wire import CLOSE_RESET, FORWARDED, Head, Kind
from ipckit.server.ports.port import OpenPort
from ipckit.server.processes.draining import Draining
from ipckit.server.processes.process import (
    CHECK_SECONDS,
    FILE_PROMISED,
    ORPHAN_SECONDS,
    Process,
    report_on,
)
from ipckit.server.processes.timers import LoopTimers, log_dropped
from ipckit.server.shared.exit_codes import EXIT_DONE, EXIT_RETIRED
from ipckit.server.shared.scoreboard import BEATS, Phase, Row
from ipckit.server.system.fork import fill_standard_descriptors
from ipckit.server.system.signals import note_term_handler
from ipckit.server.tasks.submitter import Submitter

if TYPE_CHECKING:
    from ipckit.server.processes.runtime import Runtime
    from ipckit.server.processes.server_handle import ServerHandle

__all__ = ["Worker"]

_CALLBACKS_SHARE = 0.8
"""Of max_wait_time, for callbacks to end by themselves; the rest is for connections."""

_FRAMES_A_TURN = 256
"""Most frames taken from the inbox before the loop sees to its clients again."""


_TO_A_SESSION = frozenset((Kind.SEND, Kind.CLOSE, Kind.PAUSE, Kind.SEND_FILE))


class Worker(Process):
    """One worker process."""

    role = "worker"

    def __init__(
        self, server: ServerHandle, runtime: Runtime, place: int, incarnation: int
    ) -> None:
        super().__init__(server, runtime, place, incarnation)
        self.loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
        asyncio.set_event_loop(self.loop)
        self.inbox = runtime.inboxes[place]
        self.ports: Sequence[OpenPort] = runtime.ports
        self.inboxes: Sequence[Inbox] = runtime.inboxes
        manager = runtime.fd_store_sockets[1] if self.settings.keep_connections else None
        self.registry = Registry(self, manager)
        self.connections = self.registry.connections
        self.handover = Handover(self.registry)
        self.timers = LoopTimers(self.loop, self.callback_failed)
        report_on(self.loop)
        self.submitter = Submitter(self, runtime.ledger) if runtime.ledger is not None else None
        server._tasks = self.submitter
        self.leaving = False
        self.deferring = False  # inside taskwait(): callbacks wait for the loop
        self.coroutines: set[asyncio.Task[Any]] = set()
        self._changed = asyncio.Event()
        most = self.settings.socket_buffer_size
        self.outboxes = Outboxes(self.inboxes, self.board, self.loop, most)
        self._asked_to_go = False
        self.cancels = False
        limit = self.settings.max_request
        grace = self.settings.request_grace(limit, self.settings.max_request_grace)
        self.counts_requests = bool(limit)
        self._requests_left = limit + random.randint(0, grace) if limit else -1

    # -- life ---

    def run(self) -> int:
        """Serve until the end; return the exit code."""
        try:
            return self.loop.run_until_complete(self._main())
        finally:
            self.loop.close()

    def woken(self) -> None:
        """Look at the phase and at what the manager wants."""
        if self.board.phase == Phase.SERVING and not self.asked_to_leave:
            self._ask_to_go()  # somebody else's SIGTERM: first a successor, then we go
        self._changed.set()

    def _check(self) -> None:
        """As woken(), without a signal: the program may have taken our SIGTERM away."""
        if self.stopping or self.asked_to_leave:
            self._changed.set()
        self.loop.call_later(CHECK_SECONDS, self._check)

    async def _main(self) -> int:
        self.loop.add_signal_handler(signal.SIGTERM, self.woken)
        note_term_handler()
        self.loop.add_reader(self.runtime.manager_pidfd, self._manager_gone)
        self._inbox_reader = InboxReader(self.loop, self.inbox, self.read_inbox)
        if self.submitter is not None:
            self.loop.add_reader(self.submitter.wakeup, self.submitter.woken)
            self.loop.call_soon(self.submitter.woken)  # a wake-up may have gone to the predecessor
        start = self.callbacks.get("worker_start")
        try:
            if start is not None:
                result = start(self.server, self.slot)
                if asyncio.iscoroutine(result):
                    await result
        except BaseException:
            return self.boot_failed()
        fill_standard_descriptors()
        acceptors = [self._accept(port) for port in self.runtime.ports if not port.datagrams]
        readers = [DatagramReader(self, port) for port in self.runtime.ports if port.datagrams]
        self.announce_ready()
        self._beat()
        self._check()
        while self.board.phase == Phase.SERVING and not self.asked_to_leave:
            await self._wait_for_change()
        began = told = time.monotonic()
        for acceptor in acceptors:
            acceptor.close()
        for reader in readers:
            reader.close()
        retiring = self.board.phase == Phase.SERVING
        draining = Draining(self)
        self.emit("worker_exit", self.slot)
        limit = self.settings.max_wait_time
        share = _CALLBACKS_SHARE
        if retiring:
            await draining.retire(began)
            told = time.monotonic()  # its end is like that of the server
            share = 0 if self.board.phase == Phase.SERVING else share
        while self.board.phase == Phase.STOPPING:
            await self._wait_for_change()
        await draining.finish(told + share * limit, told + limit)
        dropped = self.timers.drop_all()
        await draining.worker_stop()
        # What comes from now on the manager passes on; what we took must not end with us.
        self._inbox_reader.close()
        # To a server that ends: nothing is there to pass it on to, so not for longer than a second.
        await draining.flush(began + self.settings.leave_within if retiring else None)
        log_dropped(self.name, dropped + self.timers.drop_all(), self.timers.running)
        return EXIT_RETIRED if retiring else EXIT_DONE

    def _accept(self, port: OpenPort) -> Acceptor:
        beat = port.settings.heartbeat_interval
        if beat:
            self.timers.set(beat, self.registry.heartbeat, (port,), every=True)
        protocol = Connection if port.settings.ssl is None else TLSTransport
        return Acceptor(self.registry, port, protocol)

    def _beat(self) -> None:
        """Say that the loop turns, if somebody wants to know."""
        timeout = self.settings.worker_hang_timeout
        if timeout is not None:
            self.row[Row.BEAT] = time.monotonic_ns()
            self.loop.call_later(timeout / BEATS, self._beat)

    async def _wait_for_change(self) -> None:
        await self._changed.wait()
        self._changed.clear()

    def _manager_gone(self) -> None:
        self.loop.remove_reader(self.runtime.manager_pidfd)
        log.error("worker %d: the manager is gone; ending in %g s", self.slot, ORPHAN_SECONDS)
        self.loop.call_later(ORPHAN_SECONDS, os.kill, os.getpid(), signal.SIGKILL)

    def _ask_to_go(self) -> None:
        if not self._asked_to_go:
            self._asked_to_go = True
            self._post_to_manager(Kind.LEAVING)

    # -- frames ---

    def read_inbox(self, *, defer: bool = False, every: bool = False) -> None:
        """Take what is there, at most a turn's worth, or every frame."""
        self.deferring = defer
        take = self.inbox.take
        left = _FRAMES_A_TURN
        while (left or every) and (frame := take()) is not None:
            left -= 1
            self.on_frame(*frame)
        self.deferring = False
        self._inbox_reader.pause_if_blocked()

    def on_frame(self, head: Head, body: bytes) -> None:
        """Do what one frame says."""
        kind = head.kind
        if kind == Kind.MESSAGE:
            self._message(head.sender, body)
        elif kind in _TO_A_SESSION:
            if self.handover.is_early(head):
                self.handover.route(head, body)
            else:
                self._to_session(self.connections[head.ident], head, body)
        elif kind == Kind.DRAIN:
            self._drain_predecessor(from_manager=not head.number)
        elif kind == Kind.TAKE:
            self.handover.take(head, body)
        elif kind == Kind.CATCH_UP:
            self.handover.catch_up(head)
        elif kind == Kind.CAUGHT_UP:
            self.handover.caught_up(head.ident)
        elif kind == Kind.DROPPED:
            for dropped in pickle_codec.load(body):
                self.registry.ended_elsewhere(dropped)

    def _to_session(self, connection: Connection, head: Head, body: bytes) -> None:
        match head.kind:
            case Kind.SEND:
                connection.send(body, True)
            case Kind.CLOSE:
                connection.end("", reset=bool(head.flags & CLOSE_RESET))
            case Kind.PAUSE:
                connection.hold(on=not head.number)
            case Kind.SEND_FILE:
                if connection.send_file(*pickle_codec.load(body)):  # that has counted its bytes
                    self.board.sessions.promise(head.ident, -FILE_PROMISED)

    def keep_for_later(self, head: Head, body: bytes) -> bool:
        """See Process."""
        self.handover.route(head, body)
        return True

    def _message(self, sender: int, body: bytes) -> None:
        try:
            message = pickle_codec.load(body)
        except BaseException:  # the user's code, as the callback is
            self.callback_failed("pipe_message")
        else:
            self.emit("pipe_message", sender, message)

    def _drain_predecessor(self, *, from_manager: bool) -> None:
        """Our predecessor is dead, its rest passed on by the manager; take what came since.

        from_manager: the manager says that it is dead. Else a process that posted there too late
        says so: that counts only after the manager's message, whose frames are older.
        Nothing is taken when the successor has that place already: it reads the inbox then.
        """
        if not from_manager and not self.handover.predecessor_is_gone:
            return
        other = self.place ^ 1
        row = self.board.row(self.slot, other % 2)
        inbox = self.runtime.inboxes[other]
        while not row[Row.READS] and (frame := inbox.take()) is not None:
            head, body = frame
            self.on_frame(head._replace(flags=head.flags | FORWARDED), body)
        if not row[Row.READS] and inbox.blocked:  # it is not empty
            again = partial(self._drain_predecessor, from_manager=from_manager)
            self.loop.call_later(RETRY_SECONDS, again)
            return
        if not from_manager:
            return
        outbox = self.outboxes.of(self.slot)
        for _, head, body in outbox.take_back() if outbox is not None else ():
            if head.kind in _TO_A_SESSION:  # what we had for it is for us now
                self.on_frame(head._replace(flags=head.flags | FORWARDED), body)
        self.handover.predecessor_gone()

    def post(self, place: int, head: Head, body: bytes = b"") -> None:
        """Post to another process, in order; QueueFull when too much waits already. W1."""
        self.outboxes.post(place, head, body)

    def has_posted_to(self, place: int) -> bool:
        """Whether anything was ever posted to it, or to the other place of its slot."""
        return self.outboxes.of(place // 2) is not None

    @property
    def own_frames_waiting(self) -> bool:
        """Whether something that we sent, and not only pass on, waits for room elsewhere."""
        return self.outboxes.own_frames_waiting

    # -- callbacks ---

    def emit(self, event: str, *args: Any) -> bool:
        """Call the event's callback; False: there is none."""
        callback = self.callbacks.get(event)
        if callback is None:
            return False
        self.emit_to(callback, event, *args)
        return True

    def emit_to(
        self,
        callback: Callable[..., Any],
        event: str,
        *args: Any,
        then: Callable[[], object] = lambda: None,
    ) -> None:
        """Call it with the server and `args`; inside taskwait(): when the loop is back.

        `then` is called when the callback is over, also when it raised.
        """
        if self.deferring:
            self.loop.call_soon(self._call, callback, event, args, then)
        else:
            self._call(callback, event, args, then)

    def _call(
        self,
        callback: Callable[..., Any],
        event: str,
        args: tuple[Any, ...],
        then: Callable[[], object],
    ) -> None:
        try:
            result = callback(self.server, *args)
        except BaseException:
            self.callback_failed(event)
        else:
            if result is not None and asyncio.iscoroutine(result):
                self.go_on(event, result, then)
                return
        then()

    def go_on(self, event: str, coroutine: Any, then: Callable[[], object]) -> None:
        """A callback was `async def`: run it beside the rest, and `then` after it."""
        self.start(self._guard(event, coroutine, then))

    async def _guard(self, event: str, coroutine: Any, then: Callable[[], object]) -> None:
        try:
            await coroutine
        except BaseException as exc:
            if self.cancelled(exc):
                raise
            self.callback_failed(event)
        then()

    def cancelled(self, error: BaseException) -> bool:
        """Whether it came out of a callback because its time at our end is over."""
        return self.cancels and isinstance(error, asyncio.CancelledError)

    def start(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """Run it beside the rest; the process ends after it, within max_wait_time."""
        task = self.loop.create_task(coroutine)
        self.coroutines.add(task)
        task.add_done_callback(self.coroutines.discard)

    def count_request(self) -> None:
        """Count towards max_request."""
        if self._requests_left > 0:
            self._requests_left -= 1
            if not self._requests_left:
                self._ask_to_go()

    async def asend(self, session: int, data: bytes) -> bool:
        """As send(), and wait until the peer has read most of it."""
        done = self.send(session, data)
        connection = self.connections.get(session)
        if connection is not None:
            await connection.drained()
        else:
            outbox = self.outboxes.of(self.board.sessions.owner_of(session) // 2)
            if outbox is not None:
                await outbox.flushed()
        return done

    # -- timers ---

    def after(
        self, seconds: float, callback: Callable[..., Any], args: tuple[Any, ...], *, every: bool
    ) -> int:
        """Set a timer on the loop."""
        return self.timers.set(seconds, callback, args, every=every)

    def clear_timer(self, timer: int) -> bool:
        """Drop a timer; False: there is none."""
        return self.timers.clear(timer)

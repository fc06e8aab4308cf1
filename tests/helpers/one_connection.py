"""One connection on real sockets in this process: its client, and what holds its callbacks up."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from deadlines import LOOK

from ipckit.kinds import SockType
from ipckit.server.config.events import Callbacks
from ipckit.server.config.settings import Settings
from ipckit.server.connections.connection import Connection
from ipckit.server.connections.life import Event, Stage
from ipckit.server.connections.registry import Registry
from ipckit.server.ports.port import Port
from ipckit.server.shared.scoreboard import Row, Scoreboard

MUCH = bytes(32 << 20)  # more than the kernel takes from a sender whose peer does not read


async def until(condition) -> None:
    async with asyncio.timeout(LOOK):
        while not condition():  # noqa: ASYNC110  (nothing of a connection wakes a test)
            await asyncio.sleep(0)


class Host:
    """A process with connections: a ConnectionHost."""

    server = "server"
    slot = place = 0
    leaving = counts_requests = False

    def __init__(self, ports, settings):
        self.loop = asyncio.get_running_loop()
        self.board = Scoreboard(slots=1, sessions=4)
        self.row = self.board.row(0, 0)
        self.settings, self.ports, self.inboxes = settings, ports, []
        self.ended_clients, self.failed, self.running = {}, [], set()
        self.connection = self.after_last = None

    def count_request(self):
        """There is no max_request."""

    def callback_failed(self, event):
        self.failed.append(event)

    def cancelled(self, error):
        return isinstance(error, asyncio.CancelledError)

    def start(self, coroutine):
        async def run():
            await coroutine
            if not self.connection.busy:
                self.after_last = self.connection.stage  # before the loop goes on, and may lose it

        task = self.loop.create_task(run())
        self.running.add(task)
        task.add_done_callback(self.running.discard)


class Case:
    """A connection, its client, and what holds its callbacks up."""

    def __init__(self, connection, client, host, gates, file):
        self.connection, self.client, self.host = connection, client, host
        self.gates, self.file = gates, file

    async def bring_to(self, stage: Stage, sent: str, *, busy: bool) -> None:
        """sent: what the peer has yet to read. busy: `receive` runs."""
        connection = self.connection
        if busy or stage is Stage.PEER_ENDED:
            self.client.sendall(b"x")
            await until(lambda: connection._running)
        if sent == "data" or stage is Stage.FLUSHING:
            assert connection.send(MUCH)
        elif sent == "file":
            assert connection.send_file(self.file, 0, len(MUCH))
        match stage:
            case Stage.PEER_ENDED:
                self.client.shutdown(socket.SHUT_WR)
            case Stage.ENDING | Stage.FLUSHING | Stage.LINGERING:
                assert connection.end("")
            case Stage.HANDED_OVER:
                connection.let_go()
            case Stage.LOST:
                connection._transport.abort()
        await until(lambda: connection.stage is stage)

    async def happen(self, event: Event) -> bool:
        """Make it happen; False: it cannot, or it is refused."""
        connection, before = self.connection, self.connection.stage
        match event:
            case Event.PEER_ENDS:
                if connection._transport.is_closing() or connection._peer_ended:
                    return False
                self.client.shutdown(socket.SHUT_WR)
                await until(lambda: connection._peer_ended)
            case Event.CLOSE | Event.RESET:
                return connection.end("", reset=event is Event.RESET)
            case Event.GIVE:
                if not connection.is_idle:
                    return False
                connection.let_go()
            case Event.LAST_CALLBACK:
                if not connection.busy:
                    return False
                for gate in self.gates.values():
                    gate.set()
                await until(lambda: not connection.busy)
            case Event.FLUSHED:
                if before is not Stage.FLUSHING:
                    return False
                self.client.setblocking(False)
                left = len(MUCH)

                def read() -> bool:
                    nonlocal left
                    try:
                        left -= len(self.client.recv(1 << 20))
                    except BlockingIOError:
                        pass
                    return not left

                await until(read)
                await until(lambda: not connection._flushes)
            case Event.LOSS:
                connection._transport.abort()
                await until(lambda: connection._gone)
                return before is not Stage.LOST
        return True


@asynccontextmanager
async def a_connection(file: str, *, slow_close: bool) -> AsyncIterator[Case]:
    gates = {name: asyncio.Event() for name in ("receive", "close")}

    async def receive(server, fd, reactor_id, data):
        await gates["receive"].wait()

    async def wait_in_close(server, fd, reactor_id):
        await gates["close"].wait()

    callbacks = Callbacks()
    callbacks.set("receive", receive)
    callbacks.set("close", wait_in_close if slow_close else lambda *_: None)
    settings = Settings().changed({"socket_buffer_size": 2 * len(MUCH)})
    port = Port("127.0.0.1", 0, SockType.TCP)
    port.listen(8)
    opened = port.opened(0, settings, callbacks)
    host = Host((opened,), settings)
    registry = Registry(host, None)
    client = socket.create_connection(("127.0.0.1", port.port), timeout=LOOK)
    accepted, _ = opened.socket.accept()
    accepted.setblocking(False)
    connection = host.connection = Connection(registry, opened, accepted)
    await host.loop.connect_accepted_socket(lambda: connection, accepted)
    try:
        assert connection.stage is Stage.OPEN
        yield Case(connection, client, host, gates, file)
        assert host.failed == []
    finally:
        for gate in gates.values():
            gate.set()
        connection._transport.abort()
        client.close()
        port.forget()
        await until(lambda: connection._gone and not host.running)
        given = connection._ending == "handed over"  # then its session goes on elsewhere
        assert host.row[Row.CLOSED] == (0 if given else 1)

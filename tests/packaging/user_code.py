"""Code as a user writes it, for the type checkers; it is never run. A line that ends in "wrong" must be refused."""

from typing import Any, assert_type

import ipckit
from ipckit import (
    Atomic,
    Channel,
    Client,
    Int,
    Lock,
    MemoryQueue,
    PosixQueue,
    QueueFull,
    Server,
    SockType,
    Str,
    SysvQueue,
    Table,
    TaskClient,
    TaskIPC,
    ftok,
    msg_get_queue,
    msg_queue_exists,
)
from ipckit.framing import Framing
from ipckit.testing import ProcessMachine, op

assert_type(ipckit.__version__, str)
assert_type(ftok("/tmp", "a"), int)
assert_type(msg_queue_exists(1), bool)
assert_type(msg_get_queue(1), SysvQueue)

with SysvQueue.create() as sysv:
    assert_type(sysv, SysvQueue)
    assert_type(sysv.receive(timeout=1.5).body, bytes)
    assert_type(sysv.key, int | None)
    sysv.send("text")  # wrong
with PosixQueue.create("/name", max_messages=4) as posix:
    assert_type(posix, PosixQueue)
    assert_type(posix.receive().body, bytes)
assert_type(MemoryQueue().receive_nowait().type, int)
SysvQueue.create(key=1, mod=0o600)  # wrong

table = Table(8, columns={"visits": Int(8), "name": Str(16)})
assert_type(table["ada"], dict[str, int | float | str | bytes])
assert_type(table.incr("ada", "visits"), int | float)
assert_type("ada" in table, bool)
assert_type(table.count(), int)
with table.lock("ada", timeout=1) as row:
    row["visits"] = 1
    row["visits"] += 1
    row["name"] = None  # wrong
table.set("ada", 7)  # wrong

assert_type(Atomic(1).add(2), int)
assert_type(Atomic().compare_and_set(0, 1), bool)
assert_type(Lock().acquire(timeout=1), bool)
Atomic("1")  # wrong

ours, theirs = Channel.pair()
assert_type(ours, Channel)
assert_type(theirs.receive().body, bytes)
framer = Framing(open_eof_split=True).framer()
assert_type(framer.feed(b""), list[bytes])
for packet in framer.feed(b""):
    assert_type(bytes(packet), bytes)

assert_type(Client(SockType.TCP).recv(), bytes)

Client(SockType.TCP, open_eof_split=True, timeout=2).set(package_eof=b"\n")
Client(open_eof_splt=True)  # wrong
TaskClient("key")  # wrong

server = Server("127.0.0.1", sock_type=SockType.TCP, task_ipc_mode=TaskIPC.QUEUE)
server.set(worker_num=2, task_retry_delays=[0, 1], log_level="DEBUG", control_path=False)
server.set({"worker_num": 2})
settings: dict[str, Any] = {"worker_num": 2}
server.set(**settings)
server.set(worker_nun=2)  # wrong
server.set(worker_num="2")  # wrong
Server("127.0.0.1", task_workers=2)  # wrong
server.listen("127.0.0.1").set(tcp_keepalive=True, package_max_length=100)
server.listen("127.0.0.1").set(worker_num=1)  # wrong
assert_type(server.task({"any": "thing"}), int)
assert_type(server.send(1, b"bytes"), bool)
assert_type(server.get_client_info(1), dict[str, Any] | None)
assert_type(server.task_wait_multi([1, 2]), dict[int, Any])
assert_type(server.stats(), dict[str, Any])
server.send(1, "text")  # wrong


@server.on("receive")
def receive(server: Server, fd: int, reactor_id: int, data: bytes) -> None:
    try:
        assert_type(server.tick(1, print, "again"), int)
    except QueueFull as full:
        assert_type(full.errno, int | None)


receive(server, 1, 0, b"")  # the decorator leaves the function as it is


async def wait(server: Server) -> None:
    assert_type(await server.task_later(1), int)
    assert_type(await server.asend(1, b""), bool)


class Counter(ProcessMachine):
    def model(self) -> int:
        return 0

    @op()
    def add(self) -> int:
        return 1

    @add.model
    def added(self, state: int) -> tuple[int, int]:
        return state + 1, state + 1

"""What ipckit does in a container, one thing after the other: `python subjects.py NAME...`.

Prints a line of JSON for each: [name, "" or the error's class, its text]. "": it works. Each has a
process of its own, so none meets what another one left there.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import sys
import traceback
from collections.abc import Callable
from typing import Any

from deadlines import LOOK

import ipckit
from ipckit import errors

SECONDS = LOOK


def child(body: Callable[[], Any]) -> None:
    """Run it in a child. Told: what it raised there."""
    reading, told = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            body()
        except BaseException as why:
            os.write(told, json.dumps(of(why)).encode())
        finally:
            os._exit(0)
    os.close(told)
    with open(reading, "rb") as file:
        said = file.read()
    os.waitpid(pid, 0)
    if said:
        raise Told(*json.loads(said))


def use_table(table: Any) -> None:
    table["a"] = {"n": 1, "text": "one"}
    child(lambda: table.incr("a", "n", 2))

    def dies() -> None:
        with table.lock("a") as row:
            row["n"] = 99
            os._exit(0)

    child(dies)
    assert table["a"]["n"] == 3 and list(table) == ["a"]
    with table.lock("a", timeout=SECONDS) as row:
        row["n"] = 4
    assert table.get("a", "n") == 4


COLUMNS = {"n": ipckit.Int(), "text": ipckit.Str(100)}


def table() -> None:
    use_table(ipckit.Table(100, columns=COLUMNS))


def named_table() -> None:
    made = ipckit.Table(100, columns=COLUMNS, name="contained")
    try:
        use_table(ipckit.Table.open("contained"))
    finally:
        made.remove()


def large_table() -> None:
    made = ipckit.Table(1_500_000, columns=COLUMNS)
    made["a"] = {"n": 1}


def locks() -> None:
    number, lock = ipckit.Atomic(), ipckit.Lock()
    child(lambda: number.add(5))
    assert number.get() == 5
    child(lambda: lock.acquire() and os._exit(0))
    assert lock.acquire(timeout=SECONDS) and lock.recovered
    lock.release()


def sysv_queue() -> None:
    import asyncio

    with ipckit.SysvQueue.create() as queue:
        try:
            child(lambda: queue.send(b"one", timeout=SECONDS))
            assert queue.receive(timeout=SECONDS).body == b"one"

            async def receive() -> bytes:
                asyncio.get_running_loop().call_later(0.05, queue.send_nowait, b"two")
                return (await queue.areceive(timeout=SECONDS)).body

            assert asyncio.run(receive()) == b"two"
        finally:
            queue.remove()


def posix_queue() -> None:
    with ipckit.PosixQueue.create("/contained", max_message_size=64) as queue:
        try:
            child(lambda: queue.send(b"one", timeout=SECONDS))
            assert queue.receive(timeout=SECONDS).body == b"one"
        finally:
            queue.remove()


def channel() -> None:
    ours, theirs = ipckit.Channel.pair()
    with open("/dev/null", "rb") as file:
        child(lambda: theirs.send(b"x" * 100_000, fds=[file.fileno()]))
        frame = ours.receive(timeout=SECONDS)
    assert len(frame.body) == 100_000 and len(frame.fds) == 1
    for each in (*frame.fds, ours, theirs):
        os.close(each) if isinstance(each, int) else each.close()


def serve(told: int, **settings: Any) -> None:
    """A server whose worker gives its packets to a task worker."""
    server = ipckit.Server("127.0.0.1", 0, worker_num=1, task_worker_num=1)
    server.set(open_length_check=True, package_max_length=8 << 20, task_max_attempts=2, **settings)
    tasks = server.setting["task_worker_num"]
    server.on("start", lambda server: os.write(told, b"%d\n" % server.port))

    @server.on("receive")
    def receive(server: Any, fd: int, reactor_id: int, data: bytes) -> None:
        del reactor_id
        server.task([fd, data]) if tasks else server.send(fd, data)

    @server.on("task")
    def task(server: Any, task_id: int, source: int, data: Any) -> Any:
        del server, task_id, source
        return data

    @server.on("finish")
    def finish(server: Any, task_id: int, result: Any) -> None:
        del task_id
        server.send(*result)

    server.start()


def served(**settings: Any) -> None:
    """Short and long packets, there and back; the end."""
    reading, told = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reading)
        code = 1
        try:
            serve(told, **settings)
            code = 0
        except BaseException as why:
            os.write(told, json.dumps(of(why)).encode() + b"\n")
        finally:
            os._exit(code)
    os.close(told)
    with open(reading, "rb") as lines:
        try:
            line = lines.readline().decode()
            if not line.strip().isdigit():
                raise Told(*json.loads(line or '["", "nothing was said"]'))
            ask(int(line))
            os.kill(pid, signal.SIGTERM)
        except BaseException:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
            os.waitpid(pid, 0)
            raise
        assert os.waitpid(pid, 0)[1] == 0, "the server failed"


def ask(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port), SECONDS) as client:
        for size in (10, 1000, 20_000, 2_000_000):
            sent = size.to_bytes(4, "big") + b"x" * size
            client.sendall(sent)
            came = b""
            while len(came) < len(sent):
                more = client.recv(1 << 20)
                assert more, "the server closed the connection"
                came += more
            assert came == sent


class Told(Exception):
    """What another process raised: its class, its text."""


def server() -> None:
    served()


def server_without_tasks() -> None:
    served(task_worker_num=0)


def server_of_nobody() -> None:
    served(user="nobody")


def server_of_nobody_without_tasks() -> None:
    served(user="nobody", task_worker_num=0)


def server_queue() -> None:
    served(task_ipc_mode=2)


def server_ledger() -> None:
    served(task_ledger="contained")


def traced() -> None:
    from ipckit.testing import ProcessMachine, op

    class Rows(ProcessMachine):
        """A row that is read while it is written."""

        engine = "ptrace"
        libraries = ("_rows",)
        runs, examples = 3, 2

        def setup(self) -> None:
            self.table = ipckit.Table(8, columns={"n": ipckit.Int()})
            self.table["a"] = {"n": 0}

        def model(self) -> int:
            return 0

        @op()
        def add(self) -> int:
            return self.table.incr("a", "n")

        @add.model
        def _(self, state: int) -> tuple[int, int]:
            return state + 1, state + 1

    Rows.TestCase().debug()


SUBJECTS = {
    "table": table,
    "named table": named_table,
    "large table": large_table,
    "locks": locks,
    "System V queue": sysv_queue,
    "POSIX queue": posix_queue,
    "channel": channel,
    "server without tasks": server_without_tasks,
    "server": server,
    "server of nobody": server_of_nobody,
    "server of nobody without tasks": server_of_nobody_without_tasks,
    "server with a queue": server_queue,
    "server with a ledger": server_ledger,
    "ptrace engine": traced,
}


def of(why: BaseException) -> tuple[str, str]:
    if isinstance(why, Told):
        return str(why.args[0]), str(why.args[1])
    ours = getattr(errors, type(why).__name__, None) is type(why)
    name = type(why).__name__ if ours else f"{type(why).__module__}.{type(why).__qualname__}"
    return name, str(why)


def main(names: list[str]) -> None:
    for name in names:
        reading, told = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(reading)
            try:
                found: tuple[str, str] = ("", "")
                SUBJECTS[name]()
            except BaseException as why:
                found = of(why)
                traceback.print_exc()
            os.write(told, json.dumps([name, *found]).encode())
            os._exit(0)
        os.close(told)
        with open(reading, "rb") as file:
            said = file.read()
        status = os.waitpid(pid, 0)[1]
        print(said.decode() or json.dumps([name, "died", str(status)]), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:] or [*SUBJECTS])

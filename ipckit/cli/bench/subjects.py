"""What `ipckit bench` measures, each subject beside peers that every user has.

Stands on ipckit.cli.bench.{rounds,yardsticks}; leaves no queue, table or process behind.
"""

from __future__ import annotations

import asyncio
import importlib
import multiprocessing
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from typing import Any

from ipckit.cli.bench.rounds import Rounds, Row, in_a_process, timed
from ipckit.cli.bench.yardsticks import (
    bare_echo,
    bare_tasks,
    cpu_ns,
    echo_server,
    served,
    server_tasks,
    worker_of,
)
from ipckit.queue import PosixQueue, SysvQueue
from ipckit.table import Float, Int, Str, Table

__all__ = ["SUBJECTS"]

FORK = multiprocessing.get_context("fork")
"""The peers start processes as ours do. The default of Python 3.14 is another one."""

BODY = b"x" * 100
ROW: dict[str, Any] = {"id": 1, "name": "hello world", "score": 1.5}


def _calls(call: Callable[[], object], calls: int) -> Callable[[], float]:
    def loop(count: int) -> None:
        for _ in range(count):
            call()

    return timed(loop, calls)


def _queue(rounds: int) -> Iterator[Row]:
    name = f"/ipckit-bench-{time.monotonic_ns():x}"

    def there_and_back(send: Callable[[bytes], Any], receive: Callable[[], Any]) -> Any:
        def run() -> None:
            send(BODY)
            receive()

        return _calls(run, 10_000)

    with ExitStack() as made:
        ours = SysvQueue.create()
        made.callback(ours.remove)
        posix = PosixQueue.create(name)
        made.callback(posix.remove)
        simple: Any = FORK.SimpleQueue()
        made.callback(simple.close)
        runs = {
            "sysv": there_and_back(ours.send, ours.receive),
            "posix": there_and_back(posix.send, posix.receive),
            "multiprocessing.SimpleQueue": there_and_back(simple.put, simple.get),
        }
        if sysv_ipc := _installed("sysv_ipc"):
            theirs = sysv_ipc.MessageQueue(None, sysv_ipc.IPC_CREX)
            made.callback(theirs.remove)
            runs["sysv_ipc"] = there_and_back(theirs.send, theirs.receive)
        if posix_ipc := _installed("posix_ipc"):
            plain = posix_ipc.MessageQueue(f"{name}-2", posix_ipc.O_CREX, max_message_size=8192)
            made.callback(plain.close)
            made.callback(plain.unlink)
            runs["posix_ipc"] = there_and_back(plain.send, plain.receive)
        found = Rounds(runs, rounds)
    what = "SysvQueue, a message of 100 bytes sent and received"
    if sysv_ipc:
        yield found.row(what, "sysv", "sysv_ipc", "ns")
    yield found.row(what, "sysv", "multiprocessing.SimpleQueue", "ns")
    if posix_ipc:
        yield found.row("PosixQueue, the same", "posix", "posix_ipc", "ns")


def _installed(package: str) -> Any:
    """Return the package; None where it is not installed: ipckit does without it there."""
    try:
        return importlib.import_module(package)
    except ModuleNotFoundError:
        return None


def _table(rounds: int) -> Iterator[Row]:
    table = Table(1024, columns={"id": Int(8), "name": Str(64), "score": Float()})
    with FORK.Manager() as manager:
        remote, plain = manager.dict(), {"key": dict(ROW)}
        table["key"] = remote["key"] = ROW
        value = FORK.Value("q")

        def add() -> None:
            with value.get_lock():
                value.value += 1

        runs: dict[str, tuple[Callable[[], object], int]] = {
            "get": (lambda: table.get("key"), 50_000),
            "a plain dict of one process": (lambda: dict(plain["key"]), 50_000),
            "Manager().dict()": (lambda: remote["key"], 300),
            "set": (lambda: table.set("key", ROW), 50_000),
            "Manager().dict() when set": (lambda: remote.__setitem__("key", ROW), 300),
            "incr": (lambda: table.incr("key", "id"), 50_000),
            "multiprocessing.Value": (add, 20_000),
        }
        found = Rounds({name: _calls(*run) for name, run in runs.items()}, rounds)
    table.close()
    yield found.row("Table.get, a row of three columns", "get", "Manager().dict()", "ns")
    yield found.row("Table.get", "get", "a plain dict of one process", "ns")
    yield found.row("Table.set", "set", "Manager().dict() when set", "ns")
    yield found.row("Table.incr", "incr", "multiprocessing.Value", "ns")


def _pool(tasks: int, report: Callable[[float], Any]) -> None:
    with FORK.Pool(1) as pool:
        pool.apply(str)
        began = time.perf_counter()
        pool.map(_ok, ["x" * 100] * tasks, chunksize=1)
        report(tasks / (time.perf_counter() - began))


def _ok(_data: str) -> str:
    return "ok"


def _task(rounds: int) -> Iterator[Row]:
    data = "x" * 100
    runs: dict[str, Callable[[], float]] = {
        "two bare Python loops": partial(in_a_process, partial(bare_tasks, 20_000, 32, data)),
        "multiprocessing.Pool": partial(in_a_process, partial(_pool, 5000)),
    }
    for mode in (1, 2, 3):
        serve = partial(server_tasks, 20_000, 32, data, task_ipc_mode=mode)
        runs[f"mode {mode}"] = partial(in_a_process, serve)
    found = Rounds(runs, rounds)
    for mode in (1, 2, 3):
        what = f"tasks of 100 bytes to one task worker, mode {mode}"
        yield found.row(what, f"mode {mode}", "two bare Python loops", "/s", less=False)
    yield found.row("the same, mode 1", "mode 1", "multiprocessing.Pool", "/s", less=False)


def _ask(port: int, pid: int) -> float:
    """Return the ns of CPU that a server takes for a request, without those of its client."""
    asked = threading.Event()
    counts = [0] * 16

    def client(number: int) -> None:
        with socket.create_connection(("127.0.0.1", port), timeout=10) as sock:
            while not asked.is_set():
                sock.sendall(BODY)
                sock.recv(200)
                counts[number] += 1

    clients = [threading.Thread(target=client, args=(number,)) for number in range(len(counts))]
    for each in clients:
        each.start()
    worker = worker_of(pid)
    before, spent = sum(counts), cpu_ns(worker)
    time.sleep(0.3)
    took = (cpu_ns(worker) - spent) / max(1, sum(counts) - before)
    asked.set()
    for each in clients:
        each.join()
    return took


def _echo(rounds: int) -> Iterator[Row]:
    servers: dict[str, Callable[[Callable[[int], Any]], None]] = {
        "ours": echo_server,
        "a bare uvloop Protocol": bare_echo,
        "a bare asyncio Protocol": partial(bare_echo, loop=asyncio.run),
    }
    found = Rounds({name: partial(served, serve, _ask) for name, serve in servers.items()}, rounds)
    what = "CPU time of a TCP echo of 100 bytes through Server"
    for peer in list(servers)[1:]:
        yield found.row(what, "ours", peer, "ns")


SUBJECTS: dict[str, Callable[[int], Iterator[Row]]] = {
    "queue": _queue,
    "table": _table,
    "task": _task,
    "echo": _echo,
}

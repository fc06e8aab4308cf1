"""How cost grows: rows, connections, backlog, payload, processes. Curves, and verdicts.

Each point is the median of three; a verdict is over the whole curve.
"""

from __future__ import annotations

import os
import random
import resource
import socket
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from bench.plots.curves import Curve
from bench.programs import built
from bench.table import COLUMNS, ROW, bare_loop, increments, together
from ipckit.channel import Channel
from ipckit.cli.bench.rounds import Rounds, Row, in_a_process
from ipckit.cli.bench.yardsticks import bare_tasks, echo_server, served, server_tasks
from ipckit.queue import SysvQueue
from ipckit.server import Server
from ipckit.table import Table

CALLS = 20_000


def median(run: Callable[[], float], times: int = 3) -> float:
    return statistics.median(run() for _ in range(times))


def ns_of(loop: Callable[[], object], calls: int) -> float:
    """Return the ns of one call in a loop of them."""

    def run() -> float:
        began = time.perf_counter_ns()
        loop()
        return (time.perf_counter_ns() - began) / calls

    return median(run)


# -- rows ---


def rows() -> Iterator[Curve]:
    """Table's calls from 1,000 rows to a million, random keys."""
    curve = Curve("rows", "Table calls, random keys", "rows in the table", "ns for a call")
    for size in (1000, 10_000, 100_000, 1_000_000):
        names = [f"key{i}" for i in range(size)]
        wanted = random.Random(1).choices(names, k=CALLS)
        table = Table(size, columns=COLUMNS)
        plain = {}
        for name in names:
            table[name] = ROW
            plain[name] = {"id": 1, "name": "hello world", "score": 1.5}

        def each(call: Callable[[str], object], wanted: list[str] = wanted) -> Callable[[], None]:
            def loop() -> None:
                for name in wanted:
                    call(name)

            return loop

        def items(table: Table = table) -> None:
            for _ in table.items():
                pass

        curve.add("get a row", size, ns_of(each(table.get), CALLS))
        curve.add("set a row", size, ns_of(each(lambda name, t=table: t.set(name, ROW)), CALLS))
        curve.add("incr", size, ns_of(each(lambda name, t=table: t.incr(name, "id")), CALLS))
        curve.add("iterate, a row", size, ns_of(items, size))
        curve.add(
            "a plain dict, one value", size, ns_of(each(lambda name, p=plain: p[name]["id"]), CALLS)
        )
        table.close()
    yield curve


# -- connections ---


def connections() -> Iterator[Row | Curve]:
    """Echo through one connection beside so many open ones, and through 50 of them at once.

    The verdict is over two servers in turn, one with 10,000 open connections, one with none.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    curve = Curve(
        "connections", "Echo beside open connections", "open connections", "us for a request"
    )
    found = []

    def measure(many: int, few: int) -> float:
        idle: list[socket.socket] = []
        for number in (1, 10, 100, 1000, 10_000):
            while len(idle) < number:
                idle.append(socket.create_connection(("127.0.0.1", many)))
                idle[-1].sendall(b"x")
                idle[-1].recv(10)
            mine = idle[0]

            def ask(mine: socket.socket = mine) -> None:
                for _ in range(2000):
                    mine.sendall(b"x" * 100)
                    mine.recv(200)

            curve.add("one at a time", number, ns_of(ask, 2000) / 1000)
            curve.add("50 at a time, for each", number, median(partial(_load, many)))
        found.append(Rounds({"many": partial(_load, many), "beside none": partial(_load, few)}, 7))
        for sock in idle:
            sock.close()
        return 0

    serve = partial(echo_server, max_connection=11_000, backlog=2048)
    served(serve, lambda many, _: served(serve, lambda few, _: measure(many, few)))
    yield curve
    what = "a request beside 10,000 open connections"
    yield found[0].row(what, "many", "beside none", "us", 1.0)


def _load(port: int) -> float:
    """Return the us of a request, 50 connections at once."""
    wanted = [built("loadgen"), port, 50, 100, 0.4, 1]
    return 1e6 / float(subprocess.check_output([str(word) for word in wanted]).split()[0])


# -- backlog ---


def backlog() -> Iterator[Row | Curve]:
    """What task() costs, and then a task's whole way, behind so many that wait."""
    curve = Curve("backlog", "Tasks behind a backlog", "tasks that wait", "us for a task")
    for size in (1, 32, 1024, 4096, 16_384, 65_536):
        post, run = waiting(size)
        curve.add("task()", size, post)
        curve.add("run and told", size, run)
    yield curve
    for line, points in curve.lines.items():
        (_, few), (size, many) = points[2], points[-1]
        what = f"{line}, behind {size:,.0f} others"
        yield Row(what, many, "behind 1,024", few, "us", many / few, 1.0)


def waiting(size: int) -> tuple[float, float]:
    """Return the us of a task() behind `size` others that wait, and of running a task then."""

    def once() -> tuple[float, float]:
        reading, writing = os.pipe()
        pid = os.fork()
        if pid == 0:
            _backlog(size, writing)
            os._exit(0)
        os.close(writing)
        with open(reading) as pipe:
            post, run = map(float, pipe.read().split())
        os.waitpid(pid, 0)
        return post, run

    runs = [once() for _ in range(3)]
    return statistics.median(post for post, _ in runs), statistics.median(run for _, run in runs)


def _backlog(size: int, writing: int) -> None:
    more = max(1, min(size, 1024))
    server = Server("127.0.0.1", 0, worker_num=1, task_worker_num=1, log_level="ERROR")
    server.set(task_queue_size=size + more + 64, task_memory=(size + more + 64) * 512)
    server.on("receive", lambda *_: None)
    server.on("task", lambda *_: "ok")
    done = 0
    began = posted = 0.0

    def begin(server: Server, worker_id: int) -> None:
        if worker_id == 0:
            server.after(0.05, fill, server)

    def fill(server: Server) -> None:
        nonlocal began, posted
        pid = next(each["pid"] for each in server.stats()["workers"] if each["worker_id"] == 1)
        os.kill(pid, 19)  # SIGSTOP: nothing is taken while it fills up
        for _ in range(size):
            server.task("x" * 100)
        began = time.perf_counter()
        for _ in range(more):
            server.task("x" * 100)
        posted = (time.perf_counter() - began) / more
        began = time.perf_counter()
        os.kill(pid, 18)  # SIGCONT

    def finish(server: Server, _task_id: int, _result: object) -> None:
        nonlocal done
        done += 1
        if done == size + more:
            run = (time.perf_counter() - began) / done
            os.write(writing, f"{posted * 1e6} {run * 1e6}".encode())
            server.shutdown()

    server.on("worker_start", begin)
    server.on("finish", finish)
    server.start()


# -- payload ---


def payload() -> Iterator[Curve]:
    """Bytes per second by the size of one message, task or packet."""
    curve = Curve("payload", "Bytes moved, by the size of a piece", "bytes in a piece", "MB/s")
    for size in (10, 100, 1000, 10_000, 100_000, 1_000_000, 16_000_000):
        count = max(3, min(5000, 100_000_000 // size // 5))
        body = b"x" * size
        if size <= 8192:
            curve.add("SysvQueue, one way", size, through_queue(body, count) / 1e6)
        curve.add("Channel, one way", size, through_channel(body, count) / 1e6)
        tasks = max(10, min(10_000, 100_000_000 // size // 4))
        text = "x" * size
        serve = partial(server_tasks, tasks, 8, text, task_memory=256 << 20)
        curve.add("a task's data", size, in_a_process(serve) * size / 1e6)
        if size <= 100_000:
            floor = partial(bare_tasks, tasks, 8, text)
            curve.add("two bare loops", size, in_a_process(floor) * size / 1e6)
        if size <= 1_000_000:
            curve.add("echo, there and back", size, echoed(size) * size / 1e6)
    yield curve


def through_queue(body: bytes, count: int) -> float:
    queue = SysvQueue.create()
    try:
        return _one_way(lambda: queue.send(body), queue.receive, len(body) * count, count)
    finally:
        queue.remove()


def through_channel(body: bytes, count: int) -> float:
    near, far = Channel.pair()
    with near, far:
        return _one_way(lambda: near.send(body), far.receive, len(body) * count, count)


def _one_way(put: Callable[[], object], take: Callable[[], object], size: int, count: int) -> float:
    pid = os.fork()
    if pid == 0:
        for _ in range(count):
            take()
        os._exit(0)
    began = time.perf_counter()
    for _ in range(count):
        put()
    os.waitpid(pid, 0)
    return size / (time.perf_counter() - began)


def echoed(size: int) -> float:
    def measure(port: int, _pid: int) -> float:
        wanted = [built("loadgen"), port, 4, size, 0.5, 1]
        return float(subprocess.check_output([str(word) for word in wanted]).split()[0])

    return served(lambda ready: echo_server(ready, socket_buffer_size=64 << 20), measure)


# -- processes ---


def processes() -> Iterator[Curve]:
    """The work of 1 to 8 processes together, of one alone: there are two CPUs."""
    curve = Curve(
        "processes",
        "Work by several processes on two CPUs",
        "processes",
        "times one alone",
        log_y=False,
    )
    lines: dict[str, Callable[[int], int]] = {
        "incr, 1,024 keys": increments(1024),
        "incr, one key": increments(1),
        "a bare Python loop": bare_loop,
    }
    alone = {name: median(partial(_rate, 1, work)) for name, work in lines.items()}
    alone["tasks"] = median(partial(_burnt, 1))
    for count in (1, 2, 4, 8):
        for name, work in lines.items():
            curve.add(name, count, median(partial(_rate, count, work)) / alone[name])
        curve.add("tasks of 50 us", count, median(partial(_burnt, count)) / alone["tasks"])
    yield curve


def _rate(count: int, work: Callable[[int], int]) -> float:
    return sum(together(count, work))


def _burnt(task_workers: int) -> float:
    """Return tasks per second, each 50 us of Python, by so many task workers."""

    def burn(*_: Any) -> str:
        until = time.thread_time_ns() + 50_000
        while time.thread_time_ns() < until:
            pass
        return "ok"

    return in_a_process(
        partial(server_tasks, 4000, 64, "x" * 100, task_worker_num=task_workers, task=burn)
    )


def main() -> Iterator[Row | Curve]:
    """Measure."""
    yield from rows()
    yield from connections()
    yield from backlog()
    yield from payload()
    yield from processes()

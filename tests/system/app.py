"""The server under test: a client asks it by pickled requests, and it answers with what happened.

Run as `python app.py '<settings as JSON>'`. It prints its port when it serves. A request is
(verb, args...), length-framed; the answer is (True, value) or (False, class name, text).
"""

from __future__ import annotations

import asyncio
import json
import os
import pickle
import signal
import struct
import sys
import threading
import time
import warnings
from collections import Counter

import ipckit.server.supervision.monitor
from ipckit import QueueFull, Server, SockType

# What a newer Python deprecates shows here first. A fork beside threads is the tests' own doing.
warnings.filterwarnings("error", category=DeprecationWarning, module=r"ipckit\.")
warnings.filterwarnings("default", "This process .* is multi-threaded", DeprecationWarning)

settings = json.loads(sys.argv[1])
journal = settings.pop("journal", None)
host = settings.pop("host", "127.0.0.1")
kind = SockType(settings.pop("sock_type", SockType.TCP))
async_task = settings.pop("async_task", False)
ipckit.server.supervision.monitor.PERIOD = settings.pop(
    "period", ipckit.server.supervision.monitor.PERIOD
)

port = settings.pop("listen_port", 0)
server = Server(host, port, sock_type=kind, open_length_check=True, package_max_length=64 << 20)
server.set(settings)


class Stubborn:
    """It pickles, and does not come back: in a task worker, or in a worker, as it was made for."""

    def __init__(self, where):
        self.where = where

    def __reduce__(self):
        return come_back, (self.where,)


def come_back(where):
    if where == ("task worker" if server.taskworker else "worker"):
        raise ValueError(f"not in a {where}")
    return Stubborn(where)


events: list = []  # of this process
waiting: dict = {}  # task id -> fd that wants its finish event


def note(*what):
    """Append one line to the journal: a write of its own. kill -9 may cut it at the end of a page;
    as it begins with a newline, the next one is whole.
    """
    if journal:
        with open(journal, "ab", buffering=0) as file:
            file.write(f"\n{json.dumps([os.getpid(), server.worker_id, *what])}\n".encode())


def reply(fd, *answer):
    body = pickle.dumps(answer)
    server.send(fd, struct.pack(">I", len(body)) + body)


@server.on("start")
def start(server):
    print(server.port or server.host, flush=True)


@server.on("worker_start")
def worker_start(server, worker_id):
    note("worker_start", server.taskworker)


@server.on("worker_stop")
def worker_stop(server, worker_id):
    note("worker_stop", server.taskworker)


@server.on("worker_error")
def worker_error(server, worker_id, pid, exit_code, number):
    note("worker_error", worker_id, pid, exit_code, number)


@server.on("before_reload")
def before_reload(server):
    note("before_reload")


@server.on("after_reload")
def after_reload(server):
    note("after_reload")


@server.on("shutdown")
def shutdown(server):
    note("shutdown")


@server.on("connect")
def connect(server, fd, reactor_id):
    note("connect", fd, reactor_id)


@server.on("close")
def close(server, fd, reactor_id):
    note("close", fd, reactor_id)


@server.on("receive")
async def receive(server, fd, reactor_id, data):
    verb, *args = pickle.loads(data[4:])
    if verb == "finish":  # answered by the finish event, or by task_failed
        waiting[server.task(*args)] = fd
        return
    try:
        value = await VERBS[verb](fd, *args)
    except Exception as exc:
        reply(fd, False, type(exc).__name__, str(exc))
    else:
        reply(fd, True, value)


@server.on("finish")
def finish(server, task_id, result):
    note("finish", task_id, repr(result)[:40])
    if task_id in waiting:
        reply(waiting.pop(task_id), True, (task_id, server.worker_id, result))


@server.on("task_failed")
def task_failed(server, task_id, error):
    note("task_failed", task_id, error.attempts, str(error))
    if task_id in waiting:
        reply(waiting.pop(task_id), False, "TaskFailed", str(error))


@server.on("pipe_message")
def pipe_message(server, src_worker_id, message):
    if isinstance(message, dict) and "then" in message:
        server.send_message([server.worker_id, message["text"]], message["then"])
    else:
        events.append((src_worker_id, message))
        note("message", src_worker_id, repr(message)[:40])


def slow_work(seconds):
    """What the tutorial's slow call to a database is: it takes its time and hears nothing."""
    threading.Event().wait(seconds)


def wait_for_file(path):
    """Until the test makes it."""
    while not os.path.exists(path):
        slow_work(0.005)


def run(server, task_id, src_worker_id, data):
    verb, *args = data if isinstance(data, (tuple, list)) and data else ("echo", data)
    current = server.current_task
    if verb == "who":
        return (server.worker_id, os.getpid(), task_id, src_worker_id, tuple(current))
    if verb == "raise_until":
        note("attempt", task_id, current.attempt)
        if current.attempt < args[0]:
            raise ValueError(f"attempt {current.attempt} is not {args[0]}")
        return current.attempt
    if verb == "die_until":
        note("attempt", task_id, current.attempt, time.monotonic())
        if current.attempt < args[0]:
            os.kill(os.getpid(), signal.SIGKILL)
        return current.attempt
    if verb == "sleep":
        note("begin", args[0])
        slow_work(args[0])
        note("end", args[0])
        return args[-1]
    if verb == "held":  # until the test makes a file
        note("begin", args[0])
        wait_for_file(args[0])
        note("end", args[0])
        return args[-1]
    if verb == "deaf":  # it hears of its time limit, and goes on
        while True:
            try:
                slow_work(1000)
            except Exception as exc:
                note("heard", type(exc).__name__)
    if verb == "stubborn":
        return Stubborn(args[0])
    if verb == "none":
        return None
    if verb == "finish":
        server.finish(args[0])
        return None
    if verb == "large":
        return b"x" * args[0]
    if verb == "finish_twice":
        server.finish(1)
        server.finish(2)
        return None
    if verb == "send":
        return server.send(*args)
    if verb == "close":
        return server.close(*args)
    if verb == "message":
        return server.send_message(*args)
    if verb == "reply":  # to the worker that asked, however often its inbox is full
        while True:
            try:
                return server.send_message(args[0], src_worker_id)
            except QueueFull:
                slow_work(0.001)
    if verb == "once":
        note("once", *args)
        return args[0] if args[-1] == "told" else None
    if verb == "task":
        return server.task(1)
    return args[0] if verb == "echo" else data


if async_task:

    @server.on("task")
    async def task(server, task_id, src_worker_id, data):
        waits = isinstance(data, tuple) and data[0] == "await"
        await asyncio.sleep(data[1] if waits else 0)
        return run(server, task_id, src_worker_id, data)

else:
    server.on("task", run)


async def flood(fd, count, size):
    """Post `count` tasks as fast as one coroutine may; answer when all have finished."""
    done = asyncio.get_running_loop().create_future()
    left = count
    seen = set()

    def one(server, task_id, result):
        nonlocal left
        left -= 1
        seen.add(task_id)
        if not left:
            done.set_result(None)

    body = bytes(size)
    for _ in range(count):
        await server.task_later(("finish", 0, body), callback=one)
    await done
    return len(seen)


async def flood_once(fd, first, count):
    """Post tasks that note their numbers; answer how often each ended when all are over."""
    told = Counter()
    over = asyncio.Event()

    def one(server, task_id, result):
        told[result] += 1
        if len(told) == count:
            over.set()

    for number in range(first, first + count):
        await server.task_later(("once", number, "told"), callback=one)
    await over.wait()
    return len(told), max(told.values())


async def flood_at_once(fd, count, size):
    done = asyncio.get_running_loop().create_future()
    left = count

    def one(server, task_id, result):
        nonlocal left
        left -= 1
        if not left:
            done.set_result(None)

    body = bytes(size)
    ids = [server.task(("finish", 0, body), callback=one) for _ in range(count)]
    await done
    return len(set(ids))


async def late(fd):
    """A taskwait that is too late, then one that is not: it must get its own answer."""
    gate = f"{journal}.gate"
    try:
        first = server.taskwait(("held", gate, "late"), 0.02)
    except TimeoutError as exc:
        first = type(exc).__name__
    os.mknod(gate)
    return [first, server.taskwait(("sleep", 0, "in time"), None)]


async def many(fd, datas, seconds):
    answers = server.task_wait_multi(datas, seconds)
    return {
        at: (type(value).__name__, str(value)) if isinstance(value, Exception) else value
        for at, value in answers.items()
    }


async def call(fd, name, *args):
    return getattr(server, name)(*args)


async def call_with(fd, name, args, kwargs):
    return getattr(server, name)(*args, **kwargs)


async def both_ways(fd, count, size):
    """Post tasks that send a message back each; answer how many came when all have."""
    before = len(events)
    for _ in range(count):
        await server.task_later(["reply", "x" * size])
    while len(events) - before < count:  # noqa: ASYNC110  (an event a message costs more)
        await asyncio.sleep(0.005)
    came = len(events) - before
    del events[before:]  # a million of them would be all that the memory shows
    return came


async def cpu(fd):
    """The processor time that the thread of the loop has had, in seconds."""
    return time.thread_time()


async def await_(fd, name, *args):
    return await getattr(server, name)(*args)


async def stubborn(fd, where):
    return await server.task_async(("finish", Stubborn(where)))


async def stubborn_message(fd, dst):
    server.send_message(Stubborn("task worker"), dst)


async def about(fd):
    return {
        "fd": fd,
        "worker_id": server.worker_id,
        "pid": os.getpid(),
        "manager_pid": server.manager_pid,
        "master_pid": server.master_pid,
        "worker_pid": server.worker_pid,
        "taskworker": server.taskworker,
        "current_task": server.current_task,
        "setting": server.setting["worker_num"],
    }


async def messages(fd):
    return list(events)


async def echo(fd, data):
    return data


async def timers(fd):
    """tick, after, clear_timer in a worker."""
    ticks = []
    enough = asyncio.Event()

    def one(word):
        ticks.append(word)
        if len(ticks) >= 5:
            enough.set()

    tick = server.tick(0.01, one, "tick")
    after = server.after(0.005, one, "after")
    dropped = server.after(0.005, one, "dropped")
    cleared = server.clear_timer(dropped), server.clear_timer(dropped)
    await enough.wait()
    return ticks, cleared, server.clear_timer(tick), server.clear_timer(after)


async def block(fd, gate):
    note("block")
    wait_for_file(gate)


VERBS = {
    "about": about,
    "await": await_,
    "block": block,
    "both_ways": both_ways,
    "call": call,
    "call_with": call_with,
    "cpu": cpu,
    "echo": echo,
    "flood": flood,
    "flood_at_once": flood_at_once,
    "flood_once": flood_once,
    "late": late,
    "many": many,
    "messages": messages,
    "stubborn": stubborn,
    "stubborn_message": stubborn_message,
    "timers": timers,
}

server.start()

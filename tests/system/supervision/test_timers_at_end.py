"""What becomes of the timers of a process that ends: nothing is dropped without a log line."""

from __future__ import annotations

import pytest
from serving import Small, wait_for

UP = """
import mmap
up = mmap.mmap(-1, 1)

def start(server):
    os.write(1, b"%d\\n" % server.port)
    up[0] = 1

server.on("start", start)
"""
TIMERS = """
def begin(server, worker_id):
    if server.taskworker is {task}:
        server.after(3600, print)
        server.after(3600, print)
        server.tick(3600, print)
        server.clear_timer(server.after(3600, print))
        if up[0]:
            os.write(1, b"successor\\n")

{keyword} run(server, task_id, source, data):
    server.after(0, os.write, 1, b"ran\\n")

def receive(server, fd, reactor_id, data):
    if data == b"reload":
        server.reload()
    elif server.setting["task_max_request"] or {task}:
        server.task(1)
    else:
        server.after(0, os.write, 1, b"ran\\n")

server.on("worker_start", begin)
server.on("task", run)
server.on("receive", receive)
"""
COROUTINE = """
async def forever():
    while not up[0]:
        await asyncio.sleep(0.01)
    os.write(1, b"begun\\n")
    await asyncio.Event().wait()

def begin(server, worker_id):
    if server.taskworker is {task}:
        server.after(0, forever)

{keyword} run(server, task_id, source, data):
    pass

server.on("worker_start", begin)
server.on("task", run)
server.on("receive", print)
"""
USER_PROCESS = """
async def serve(server):
    server.after(3600, print)
    server.tick(3600, print)
    while not up[0]:
        await asyncio.sleep(0.01)
    os.write(1, b"begun\\n")
    await asyncio.Event().wait()

server.on("receive", print)
server.add_process(serve)
"""


def _dropped(log: str, name: str) -> int:
    """Return how many processes of this name have logged two dropped timers; none logged others."""
    line = f"{name}: 2 timers of after() were dropped at its end: their callbacks did not run"
    assert log.count("timers of after()") == log.count(line), log
    return log.count(line)


KINDS = pytest.mark.parametrize(
    ("name", "keyword"),
    [("worker 0", "def"), ("task worker 1", "def"), ("task worker 1", "async def")],
)


def _serve(name: str, keyword: str, settings: str = "") -> Small:
    timers = TIMERS.format(task=name != "worker 0", keyword=keyword)
    return Small(UP + timers, f"task_worker_num=1{settings}")


@KINDS
def test_timers_dropped_by_a_stop_are_logged(name, keyword):
    """R: after() that did not run; neither tick(), nor what was cleared, nor what has run."""
    server = _serve(name, keyword)
    with server.connect() as client:
        client.sendall(b"set one that runs")
        assert server.line() == b"ran\n"
    assert _dropped(server.end(), name) == 1


@KINDS
def test_timers_dropped_by_a_reload_are_logged(name, keyword):
    """R: once for the old process, once for its successor at the stop."""
    server = _serve(name, keyword)
    before = server.children()
    with server.connect() as client:
        client.sendall(b"reload")
        assert server.line() == b"successor\n"
        wait_for(lambda: not before & server.children())
    assert _dropped(server.end(), name) == 2


@pytest.mark.parametrize("keyword", ["def", "async def"])
def test_timers_dropped_by_max_request_are_logged(keyword):
    """R: those of a task worker that retires; the one that its last task set, too, if it is late."""
    server = _serve("task worker 1", keyword, ", task_max_request=1, task_max_request_grace=0")
    with server.connect() as client:
        client.sendall(b"one task")
        assert b"successor\n" in iter(server.line, b"")
    log = server.end()
    assert log.count("task worker 1: ") == log.count("timers of after() were dropped") == 2, log


def test_a_user_process_logs_its_dropped_timers():
    """R: it ends by SIGTERM, with timers on its loop."""
    server = Small(UP + USER_PROCESS)
    assert server.line() == b"begun\n"
    log = server.end()
    assert log.count("user process 1: 1 timers of after() were dropped at its end") == 1, log


@pytest.mark.parametrize(("name", "keyword"), [("worker 0", "def"), ("task worker 1", "async def")])
def test_a_coroutine_of_a_timer_that_is_not_over_is_logged(name, keyword):
    """R: it was begun, and its end is not waited for."""
    server = Small(
        UP + COROUTINE.format(task=name != "worker 0", keyword=keyword), "task_worker_num=1"
    )
    assert server.line() == b"begun\n"
    log = server.end()
    assert log.count(f"{name}: 1 callbacks of timers were dropped at its end") == 1, log

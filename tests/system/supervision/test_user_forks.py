"""Processes that a callback forks are the program's: SIGTERM ends them and nothing else, and none of
them goes on as a second process of the server.
"""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap

import forkserver
import pytest
from serving import LOOK

ASK = """
import json, multiprocessing, signal, time

fork = multiprocessing.get_context("fork")
reading, writing = os.pipe()

def wait_for_ever(ready=None):
    if ready is not None:
        os.write(ready, b"x")
    while True:
        pass  # pause(2) sleeps on when the signal comes just before it: Python's handler has not run

def terminated():
    child = fork.Process(target=wait_for_ever, args=(writing,))
    child.start()
    os.read(reading, 1)
    child.terminate()
    child.join(LOOK)
    code = child.exitcode
    if code is None:
        child.kill()
        child.join()
    return code

def terminated_at_once():
    codes = set()
    for _ in range(20):
        child = fork.Process(target=wait_for_ever)
        child.start()
        child.terminate()
        child.join(LOOK)
        codes.add(child.exitcode)
        if child.exitcode is None:
            child.kill()
            child.join()
            break
    return sorted(map(str, codes))

def pool_left_with_a_job():
    with fork.Pool(2) as pool:
        pool.apply_async(wait_for_ever)
        return pool.map(abs, [-1, -2])

def handled():
    signal.signal(signal.SIGTERM, lambda *_: os._exit(7))
    return terminated()

def do(what):
    return [globals()[what](), os.getpid()]

@server.on("receive")
def receive(server, fd, reactor_id, data):
    where, what = data.decode().split()
    if where == "worker":
        server.send(fd, json.dumps(do(what)).encode())
    else:
        server.task((fd, what))

@server.on("finish")
def finish(server, task_id, result):
    server.send(result[0], json.dumps(result[1]).encode())
"""
TASK = """
@server.on("task")
def task(server, task_id, source, data):
    return data[0], do(data[1])
"""
ON_LOOP = """
@server.on("task")
async def task(server, task_id, source, data):
    return data[0], do(data[1])
"""
PLACES = [("worker", TASK), ("task", TASK), ("task", ON_LOOP)]
IDS = ["worker", "task worker", "task worker on a loop"]


@pytest.mark.parametrize(("where", "task"), PLACES, ids=IDS)
@pytest.mark.parametrize(
    ("what", "expected"),
    [
        ("terminated", -15),
        ("terminated_at_once", ["-15"]),
        ("pool_left_with_a_job", [1, 2]),
        ("handled", 7),
    ],
)
def test_f21_sigterm_for_a_child_of_a_callback_is_the_childs(small, where, task, what, expected):
    """F21, S60: it ends the child, or does what the program says; the process that made it stays."""
    server = small(f"LOOK = {LOOK}\n" + ASK + task, "task_worker_num=1")
    with server.connect() as client:
        pids = []
        for _ in range(2):
            client.sendall(f"{where} {what}".encode())
            answer, pid = json.loads(client.recv(1000))
            assert answer == expected
            pids.append(pid)
    assert pids[0] == pids[1], "the process that made it was replaced"


@pytest.mark.parametrize("where", ["start", "worker_error", "add_process"])
def test_f21_sigterm_for_a_child_of_the_manager_or_of_a_user_process(where):
    """F21, S60: the server goes on until the call of shutdown()."""
    code = f"""
    import ipckit, multiprocessing, os, signal
    reading, writing = os.pipe()

    def wait_for_ever():
        os.write(writing, b"x")
        while True:
            signal.pause()

    def terminate(*args):
        child = multiprocessing.get_context("fork").Process(target=wait_for_ever)
        child.start()
        os.read(reading, 1)
        child.terminate()
        child.join({LOOK})
        print("exit code", child.exitcode, flush=True)
        child.kill()
        child.join()
        server.shutdown()
        if {where!r} == "add_process":
            signal.pause()

    server = ipckit.Server("127.0.0.1", 0)
    server.on("receive", print)
    if {where!r} == "worker_error":
        server.on("start", lambda server: os.kill(server.stats()["workers"][0]["pid"], 9))
    if {where!r} == "add_process":
        server.add_process(terminate)
    else:
        server.on({where!r}, terminate)
    server.start()
    """
    done = forkserver.run(textwrap.dedent(code), 2 * LOOK)
    assert done.returncode == 0, done
    assert "exit code -15" in done.stdout, done.stderr


def test_f21_a_signal_that_comes_during_the_fork_ends_the_child_and_wakes_nobody():
    """F21, S60: it waits until the child has its dispositions."""
    code = """
    import os, signal, socket
    armed = False

    def at_once():  # registered first, so it runs before those of ipckit
        if armed:
            os.kill(os.getpid(), signal.SIGTERM)

    os.register_at_fork(after_in_child=at_once)
    from ipckit.server.system.signals import ManagerSignals
    signals = ManagerSignals()
    signals.install()
    armed = True
    child = os.fork()
    if child == 0:
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    try:
        os.read(signals.fileno(), 10)
        print("woken")
    except BlockingIOError:
        pass
    os.kill(os.getpid(), signal.SIGTERM)  # our own still comes
    print(signals.caught)
    """
    out = subprocess.check_output(
        [sys.executable, "-c", textwrap.dedent(code)], text=True, timeout=LOOK
    )
    assert out.split("\n")[:2] == ["-15", "[15]"]


FORGETS = """
import json

@server.on("receive")
def receive(server, fd, reactor_id, data):
    for number in range(5):
        server.task(number)

@server.on("finish")
def finish(server, task_id, result):
    print(json.dumps(result), flush=True)

@server.on("task_failed")
def task_failed(server, task_id, error):
    print(json.dumps(str(error)), flush=True)

def work(number):
    child = os.fork() if number == 0 else None
    if child == 0:
        match {how!r}:
            case "raise":
                raise ValueError("in the child")
            case "sysexit":
                sys.exit(9)
            case "finish":
                server.finish("by the child")
        return "by the child"
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) if child else None
    return [number, os.getpid(), code]
"""


@pytest.mark.parametrize(
    ("how", "expected"), [("return", 0), ("raise", 1), ("sysexit", 9), ("finish", 0)]
)
@pytest.mark.parametrize("settings", ["", "task_timeout=1000, "])
@pytest.mark.parametrize("on_loop", [False, True])
def test_a_fork_in_a_task_that_comes_back_from_it_ends(small, how, expected, settings, on_loop):
    """D24: it neither ends the task nor takes another one."""
    asynchronous = "async " if on_loop else ""
    server = small(
        FORGETS.format(how=how)
        + f"""
@server.on("task")
{asynchronous}def task(server, task_id, source, number):
    return work(number)
""",
        settings + "task_worker_num=1, task_max_attempts=1",
    )
    with server.connect() as client:
        client.sendall(b"begin")
        results = [json.loads(server.line()) for _ in range(5)]
    assert [result[0] for result in results] == list(range(5))
    assert len({result[1] for result in results}) == 1, "one process runs them"
    assert results[0][2] == expected
    log = server.end()
    assert ("came back from `task`" in log) == (how != "sysexit"), log
    assert ("in the child" in log) == (how == "raise")
    assert "died" not in log

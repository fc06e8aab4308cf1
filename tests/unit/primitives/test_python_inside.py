"""Python code that runs inside a call of a table or a lock: it closes the table and uses others, or it
forks, and the call goes on in both processes.

Freed memory has other bytes (mallopt(3), M_PERTURB), so a call that uses any of it fails.
"""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap

import pytest
from deadlines import LOOK

COMMON = """
import os, select, signal, sys
from collections.abc import Mapping
from ipckit import Int, Lock, Table

COLUMNS = {"n": Int(), "by": Int()}

class Row(Mapping):
    def __init__(self, inside):
        self.inside = inside

    def __getitem__(self, name):
        self.inside()
        return 7

    def __iter__(self):
        return iter(["n"])

    def __len__(self):
        return 1

def other_memory():
    return [bytes(size) for size in (16, 32, 48, 64) for _ in range(1000)]

def end_child(pid):
    if pid == 0:
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
"""

CLOSES_AND_USES_ANOTHER = """
def inside():
    table.close()
    with Table(1, columns=COLUMNS) as another:
        another.incr("k", "n")  # this thread gives back its slots in tables that are closed
    other_memory()

name = sys.argv[1]
same = Table(10, columns=COLUMNS, name=name)
try:
    for call in ("set", "add", "__setitem__"):
        table = Table.open(name)
        table.incr("k", "by")
        getattr(table, call)(call, Row(inside))
    assert [same.get(key, "n") for key in ("set", "add", "__setitem__")] == [7] * 3
    assert same.verify() == []
finally:
    same.remove()
"""

FORKS = """
def inside():
    global child
    child = os.fork()
    other_memory()

table = Table(10, columns=COLUMNS)
table.incr("k", "by")
for call in ("set", "add", "__setitem__"):
    child = None
    getattr(table, call)(f"{call} {os.getpid()}", Row(inside))
    if child == 0:
        # The child writes by a slot of its own: when it dies with a lock, that is free.
        table.lock("k").__enter__()
    end_child(child)
    with table.lock("k", timeout=0) as row:
        row["n"] += 1
assert sorted(table[key]["n"] for key in table) == [3, 7, 7, 7]
assert table.verify() == []
"""

FORKS_IN_A_HANDLER = """
def handler(*_):
    global child
    child = os.fork()
    other_memory()

def in_child(work):
    if pid := os.fork():
        return pid
    work()
    os._exit(0)

signal.signal(signal.SIGUSR1, handler)
parent, child = os.getpid(), None
held, free = os.pipe(), os.pipe()
table, lock = Table(10, columns=COLUMNS), Lock()
table.incr("k", "by")
with lock:
    pass
kinds = {
    "lock": (lambda: lock.acquire(), lambda: lock.release()),
    "row": (lambda: table.incr("k", "n"), lambda: None),
}
take, give = kinds[sys.argv[2]]

def holder():
    with lock, table.lock("k"):
        os.write(held[1], b"x")
        os.read(free[0], 1)

def interrupt():
    while open(f"/proc/{parent}/stat").read().rpartition(") ")[2][0] != "S":
        select.select([], [], [], 0.005)
    os.kill(parent, signal.SIGUSR1)  # it waits, and has the signal before it can have the lock
    os.write(free[1], b"x")

pid = in_child(holder)
os.read(held[0], 1)
interrupter = in_child(interrupt)
take()
give()
assert child is not None
if child == 0:
    assert lock.acquire(timeout=60)  # by a slot of its own
end_child(child)
for each in (pid, interrupter):
    assert os.waitpid(each, 0)[1] == 0
recovered = lock.recovered  # the child may have ended before take() had the lock
assert lock.acquire(timeout=0)
assert recovered or lock.recovered, "the child ended with the lock"
lock.release()
assert table["k"] == {"n": 2 if sys.argv[2] == "row" else 0, "by": 1}
assert table.verify() == []
"""


@pytest.mark.parametrize(
    ("program", "argument"),
    [
        (CLOSES_AND_USES_ANOTHER, ""),
        (FORKS, ""),
        (FORKS_IN_A_HANDLER, "lock"),
        (FORKS_IN_A_HANDLER, "row"),
    ],
    ids=["closes and uses another", "forks", "forks in a handler: lock", "forks in a handler: row"],
)
def test_the_call_goes_on(program, argument):
    code = textwrap.dedent(COMMON) + textwrap.dedent(program)
    done = subprocess.run(
        [sys.executable, "-c", code, f"test-inside-{os.getpid()}", argument],
        env={**os.environ, "MALLOC_PERTURB_": "165"},
        capture_output=True,
        text=True,
        timeout=LOOK,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")

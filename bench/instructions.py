"""Instructions for one operation, and whose they are, counted by valgrind: the same on any day.

Each program is run twice, with its loop some more times the second time; what the second run has
more is the loop's. An instruction is none the slower for a line that another CPU has, so two
processes at one key cost as many as one does: that is what the times are for.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from ipckit.cli.bench.rounds import Row

FEW, MORE = 500, 2500

_TABLE = """
import sys
from bench.table import COLUMNS, ROW
from ipckit.table import Table
table = Table(1024, columns=COLUMNS)
names = [f"key{i}" for i in range(64)] * 50
for name in names: table.set(name, ROW)
for name in names[:int(sys.argv[1])]: """
_LMDB = """
import lmdb, pickle, sys, tempfile
from bench.table import ROW
folder = tempfile.TemporaryDirectory(dir="/dev/shm")
peer = lmdb.open(folder.name, map_size=1 << 26, sync=False, metasync=False, writemap=True)
with peer.begin(write=True) as step:
    for i in range(64): step.put(f"key{i}".encode(), pickle.dumps(ROW, 5))
names = [f"key{i}" for i in range(64)] * 50
for name in names[:int(sys.argv[1])]:
    with peer.begin(buffers=True) as step: step.get(name.encode())
"""
_LEDGER = """
import pickle, sys, tempfile
from ipckit.server.tasks.ledger import TaskLedger
from ipckit.server.config.settings import Settings
folder = tempfile.TemporaryDirectory()
made = TaskLedger(Settings(worker_num=1, task_worker_num=1, runtime_dir=folder.name))
worker, taker = made.view(0), made.view(2)
encode, data = (pickle.dumps, pickle.HIGHEST_PROTOCOL), "x" * 100
def task(server, task_id, source, data): return "ok"
def finish(server, task_id, result): pass
def post():
    worker.post(data, *encode)
def run():
    taker.run(task, None, pickle.loads, *encode, 1 << 62)
def tell():
    worker.collect(1)
    worker.deliver(finish, None, pickle.loads, {})
for i in range(int(sys.argv[1])):
    post(); run(); tell()
made.destroy()
"""
_FLOOR = """
import pickle, socket, sys
ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
dumps, loads, data = pickle.dumps, pickle.loads, "x" * 100
for i in range(int(sys.argv[1])):
    ours.send(dumps((i, 0, data), 5))
    number, source, got = loads(theirs.recv(1 << 18))
    theirs.send(dumps((number, "ok"), 5))
    loads(ours.recv(1 << 18))
"""


def costs(program: str) -> Counter[str]:
    """Return the instructions of one turn of a program's loop, by the file that they are of."""
    few, more = _run(program, FEW), _run(program, MORE)
    more.subtract(few)
    return Counter({name: cost // (MORE - FEW) for name, cost in more.items()})


def _run(program: str, turns: int) -> Counter[str]:
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out"
        command = [
            "valgrind", "--tool=callgrind", f"--callgrind-out-file={out}", "--quiet",
            sys.executable, "-c", program, str(turns),
        ]  # fmt: skip
        subprocess.run(command, check=True, capture_output=True)
        return _by_file(out.read_text(encoding="utf-8", errors="replace"))


def _by_file(text: str) -> Counter[str]:
    """Read callgrind's file: what each object file cost itself, not what it called."""
    found: Counter[str] = Counter()
    names: dict[str, str] = {}
    here = ""
    called = False
    for line in text.splitlines():
        kind, _, rest = line.partition("=")
        if kind in ("ob", "cob"):  # a name comes once, then its number stands for it
            number, _, path = rest.partition(" ")
            names.setdefault(number, path.rsplit("/", 1)[-1].split(".")[0])
            here = names[number] if kind == "ob" else here
        elif kind == "calls":
            called = True  # the next line is what was called
        elif line and line[0] in "0123456789+-*":
            if not called:
                found[here] += int(line.split()[-1])
            called = False
    return found


def _parts(cost: Counter[str]) -> str:
    return ", ".join(f"{name} {each:,}" for name, each in cost.most_common(4) if each > 0)


def _row(what: str, ours: Counter[str], beside: str, theirs: Counter[str]) -> Row:
    mine, other = ours.total(), theirs.total()
    return Row(f"{what}: {_parts(ours)}", mine, beside, other, "instructions", mine / other)


def main() -> Iterator[Row]:
    """Measure."""
    if shutil.which("valgrind") is None:
        print("valgrind is not here (Debian: valgrind): no instructions are counted")
        return
    peer = costs(_LMDB)
    for what, call in {
        "Table.get": "table.get(name)",
        "Table.set": "table.set(name, ROW)",
        "Table.incr": "table.incr(name, 'id')",
        "Table.get, one column": "table.get(name, 'id')",
    }.items():
        yield _row(what, costs(_TABLE + call + "\n"), f"an LMDB get: {_parts(peer)}", peer)
    floor = costs(_FLOOR)
    whole = costs(_LEDGER)
    beside = f"a round trip of two bare loops, without their system calls: {_parts(floor)}"
    yield _row("a task of 100 B there and back, both sides", whole, beside, floor)

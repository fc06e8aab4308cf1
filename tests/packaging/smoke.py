"""What a user does first, with nothing but the wheel: each primitive once, and a server with a task."""

import importlib.util
import os
import signal
import sys
import tempfile

import ipckit
from ipckit import (
    Atomic,
    Channel,
    Client,
    Int,
    Lock,
    MemoryQueue,
    PosixQueue,
    Server,
    Str,
    SysvQueue,
    Table,
    ftok,
)
from ipckit.framing import Framing


def child(work):
    pid = os.fork()
    if not pid:
        work()
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0


assert "site-packages" in ipckit.__file__, ipckit.__file__
for absent in ("hypothesis", "pytest", "textual", "prometheus_client"):
    assert importlib.util.find_spec(absent) is None, f"{absent} came with the wheel"
assert ftok(sys.executable, "a")

with SysvQueue.create() as queue:
    child(lambda: queue.send(b"sysv"))
    assert queue.receive(timeout=120).body == b"sysv"
    queue.remove()
with PosixQueue.create(f"/ipckit-smoke-{os.getpid()}") as queue:
    queue.remove()  # the name; the queue is there until the last one closes it
    child(lambda: queue.send(b"posix"))
    assert queue.receive(timeout=120).body == b"posix"
with MemoryQueue() as queue:
    queue.send(b"memory")
    assert queue.receive(timeout=120).body == b"memory"

table = Table(8, columns={"n": Int(8), "s": Str(8)})
child(lambda: table.set("a", {"n": 7, "s": "row"}))
assert table["a"] == {"n": 7, "s": "row"}
assert table.verify() == []

number, lock = Atomic(1), Lock()
child(lambda: number.add(2))
with lock:
    assert number.get() == 3

ours, theirs = Channel.pair()
ours.send(b"frame")
assert theirs.receive(timeout=120).body == b"frame"
assert Framing(open_eof_split=True, package_eof=b"\n").framer().feed(b"one\ntw") == [b"one\n"]

settings = {"package_eof": b"\n", "open_eof_split": True}
server = Server("127.0.0.1", worker_num=1, task_worker_num=1, log_level="ERROR", **settings)
server.set(runtime_dir=tempfile.mkdtemp(dir=os.getcwd()))
server.on("receive", lambda server, fd, reactor_id, data: server.task((fd, data)))
server.on("task", lambda server, task_id, source, data: (data[0], data[1].upper()))
server.on("finish", lambda server, task_id, result: server.send(*result))


@server.on("start")
def ask(server):
    if not os.fork():
        client = Client(**settings)
        client.connect("127.0.0.1", server.port, 120)
        client.send(b"hello\n")
        print("answer", client.recv(), flush=True)
        os.kill(server.manager_pid, signal.SIGTERM)
        os._exit(0)


server.start()
print("done")

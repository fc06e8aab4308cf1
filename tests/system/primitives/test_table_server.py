"""A table beside a server: shared by all its processes when it is made before start()."""

from __future__ import annotations

import subprocess
import sys

from deadlines import LOOK

PROGRAM = """
import sys, warnings
from ipckit import Client, Int, Server, Table

warnings.simplefilter("always")
shared = Table(8, columns={"n": Int()})
server = Server("127.0.0.1", 0, worker_num=1, task_worker_num=2, log_level="ERROR",
                open_eof_split=True, package_eof=b"\\n")

@server.on("start")
def start(server):
    print(server.port, flush=True)

@server.on("worker_start")
def worker_start(server, worker_id):
    if worker_id == 0:
        for _ in range(2):
            Table(4, columns={"n": Int()}).close()

@server.on("task")
def task(server, task_id, src_worker_id, data):
    for _ in range(data):
        shared.incr("all", "n")
    return shared.get("all", "n")

@server.on("receive")
async def receive(server, fd, reactor_id, data):
    for _ in range(20):
        await server.task_async(100)
    server.send(fd, b"%d\\n" % shared.get("all", "n"))

server.start()
assert shared.get("all", "n") == 2000
print("sum seen after the end", flush=True)
"""


def test_every_process_of_the_server_sees_the_same_rows_and_a_private_table_warns_once(tmp_path):
    from ipckit import Client

    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={"XDG_RUNTIME_DIR": str(tmp_path), "PATH": "/usr/bin:/bin"},
    ) as server:
        try:
            port = int(server.stdout.readline())
            with Client(open_eof_split=True, package_eof=b"\n", timeout=LOOK) as client:
                client.connect("127.0.0.1", port, timeout=LOOK)
                client.send(b"go\n")
                assert client.recv() == b"2000\n"
        finally:
            server.terminate()
            out, err = server.communicate(timeout=LOOK)
    assert server.returncode == 0, err
    assert out == "sum seen after the end\n"
    assert err.count("is shared with no other process") == 1, err
    assert "made in worker 0" in err

"""The server of the Dockerfile beside it: it answers each line in capital letters.

The tasks lie in a ledger with a name, so in /dev/shm: `docker run --shm-size` must leave room for
`task_memory`.
"""

from __future__ import annotations

import sys

from ipckit import Server, TaskQueueFull

server = Server("0.0.0.0", int(sys.argv[1]) if len(sys.argv) > 1 else 9501, worker_num=2)
server.set(
    task_worker_num=2,
    task_ledger="container",
    task_memory=32 * 2**20,
    max_connection=1000,
    max_wait_time=20,
    open_eof_split=True,
    package_eof=b"\n",
)


@server.on("start")
def start(server):
    print(f"listening on {server.port}", flush=True)


@server.on("receive")
def receive(server, fd, reactor_id, data):
    try:
        server.task([fd, data.decode(errors="replace")])
    except TaskQueueFull:
        server.send(fd, b"busy, try again later\n")


@server.on("task")
def task(server, task_id, src_worker_id, data):
    fd, text = data
    return [fd, text.upper()]


@server.on("finish")
def finish(server, task_id, result):
    fd, text = result
    server.send(fd, text.encode())


if __name__ == "__main__":
    server.start()

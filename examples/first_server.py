"""The first server: a client sends a request, a task worker does the slow work, the client gets it.

python examples/first_server.py [port]        and then, beside it: first_client.py
"""

import sys
import time

from ipckit import Server, TaskQueueFull

server = Server("127.0.0.1", int(sys.argv[1]) if len(sys.argv) > 1 else 9501)
server.set(worker_num=1, task_worker_num=2, open_eof_split=True, package_eof=b"\n")


@server.on("start")
def start(server):
    print(f"listening on {server.port}", flush=True)


@server.on("receive")
def receive(server, fd, reactor_id, data):
    try:
        task_id = server.task((fd, data.decode().strip()))  # returns at once
    except TaskQueueFull:  # too many tasks wait
        server.send(fd, b"busy, try again later\n")
    else:
        server.send(fd, f"task {task_id} was posted\n".encode())


@server.on("task")
def task(server, task_id, src_worker_id, data):
    fd, text = data
    time.sleep(0.1)  # the slow work: it blocks this task worker, and no client
    return fd, text.upper()


@server.on("finish")
def finish(server, task_id, result):
    fd, text = result
    server.send(fd, f"task {task_id} is done: {text}\n".encode())


server.start()

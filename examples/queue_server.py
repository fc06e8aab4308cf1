"""A server for tasks of other programs: they post them into its System V queue.

python examples/queue_server.py [port]     and then, beside it: task_client.py, php/producer.php
"""

import sys

from ipckit import Server, TaskIPC, ftok

server = Server("127.0.0.1", int(sys.argv[1]) if len(sys.argv) > 1 else 9503)
server.set(
    worker_num=1,
    task_worker_num=2,
    task_ipc_mode=TaskIPC.QUEUE,
    message_queue_key=ftok(__file__, "q"),  # the other programs use the same file and letter
)


@server.on("start")
def start(server):
    print(f"listening on {server.port}", flush=True)


@server.on("receive")
def receive(server, fd, reactor_id, data):  # clients may ask for the count
    server.send(fd, f"{server.stats()['task_done']} tasks are done\n".encode())


@server.on("task")
def task(server, task_id, src_worker_id, data):
    k = server.worker_id - server.setting["worker_num"]
    print(f"task worker {k} got {data!r}", flush=True)  # src_worker_id is -1: from another program


server.start()

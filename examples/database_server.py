"""A database connection for each task worker, opened in `worker_start`; only data is sent.

python examples/database_server.py [port] [file]     then, for each line, a note is kept:
printf 'buy milk\\n' | nc 127.0.0.1 9505              "pass" tries to send a connection

Crash: a task worker that is killed in the middle of a note leaves the database without that note.
Its connection ends with it. The replacement opens its own, and the task runs again.
"""

import os
import sqlite3
import sys
import uuid

from ipckit import Server, TaskQueueFull

port, path = [*sys.argv[1:], *["9505", "notes.sqlite"][len(sys.argv) - 1 :]]
server = Server("127.0.0.1", int(port))
server.set(worker_num=1, task_worker_num=2, open_eof_split=True, package_eof=b"\n")
database = None  # of this process: do not use a connection after a fork


@server.on("start")
def start(server):
    print(f"listening on {server.port}", flush=True)


@server.on("worker_start")
def worker_start(server, worker_id):
    global database
    if server.taskworker:
        database = sqlite3.connect(path, timeout=10)
        database.execute("CREATE TABLE IF NOT EXISTS notes (id TEXT PRIMARY KEY, text TEXT)")
        database.commit()
        print(f"process {os.getpid()} has a connection", file=sys.stderr, flush=True)


@server.on("worker_stop")
def worker_stop(server, worker_id):
    if database is not None:
        database.close()


@server.on("receive")
def receive(server, fd, reactor_id, data):
    text = data.decode().strip()
    if text != "pass":
        try:
            server.task((fd, uuid.uuid4().hex, text))
        except TaskQueueFull:
            server.send(fd, b"busy, try again later\n")
        return
    with sqlite3.connect(":memory:") as connection:
        try:
            server.task((fd, connection))  # it belongs to this process, so the call refuses it
        except TypeError as error:
            server.send(fd, f"TypeError: {error}\n".encode())
    connection.close()


@server.on("task")
def task(server, task_id, src_worker_id, data):
    fd, note, text = data
    with database:  # a task may run again after a crash: a note is stored once
        database.execute("INSERT OR IGNORE INTO notes VALUES (?, ?)", (note, text))
    return fd, f"kept: {text}\n"


@server.on("finish")
def finish(server, task_id, result):
    fd, answer = result
    server.send(fd, answer.encode())


server.start()

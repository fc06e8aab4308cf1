"""A server whose workers are the user nobody, with an interpreter that nobody may not read.

`python closed.py` starts it by start(), `python closed.py run` by `ipckit run`. A client asks it
before and after a reload, for tasks, a timer, a message, an error in a callback. Prints the log.
"""

from __future__ import annotations

import contextlib
import pwd
import select
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from deadlines import LOOK

APP = """
import os
import ipckit

server = ipckit.Server("127.0.0.1", 0, worker_num=1, task_worker_num=1)
server.set(user="nobody", open_eof_split=True, package_eof=b"\\n", log_file={log!r})

@server.on("start")
def start(server):
    with open({up!r}, "a") as file:
        file.write(f"{{server.port}}\\n")

@server.on("receive")
async def receive(server, fd, reactor_id, data):
    if data == b"fail\\n":
        server.send(fd, b"failing\\n")
        raise ValueError("as asked")
    if data == b"large\\n":
        length = await server.task_async(b"x" * 3_000_000)
        server.send(fd, b"%d\\n" % length)
    elif data == b"timer\\n":
        server.after(0.001, server.send, fd, b"rang\\n")
    elif data == b"message\\n":
        server.send_message((fd, 1.5, {{"a": [None]}}), 1)
    else:
        server.send(fd, b"%d\\n" % os.getuid())

@server.on("pipe_message")
def pipe_message(server, src_worker_id, message):
    server.send(message[0], b"heard\\n")

@server.on("task")
def task(server, task_id, src_worker_id, data):
    return len(data)

@server.on("finish")
def finish(server, task_id, result):
    pass

if __name__ == "__main__":
    server.start()
"""
NOBODY = pwd.getpwnam("nobody").pw_uid
ANSWERS = {
    b"who": b"%d" % NOBODY,
    b"large": b"3000000",
    b"timer": b"rang",
    b"message": b"heard",
    b"fail": b"failing",
}


def wait_for(condition, process: subprocess.Popen) -> None:
    end = time.monotonic() + LOOK
    while not condition():
        assert process.poll() is None and time.monotonic() < end
        select.select([], [], [], 0.005)


def ask(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port), LOOK) as client, client.makefile("rb") as f:
        for word, answer in ANSWERS.items():
            client.sendall(word + b"\n")
            line = f.readline()
            assert line == answer + b"\n", (word, line)


def children(pid: int) -> set[str]:
    return {*Path(f"/proc/{pid}/task/{pid}/children").read_text().split()}


def main(how: str) -> None:
    folder = Path("/tmp/app")
    folder.mkdir()
    log, up = folder / "log", folder / "up"
    (folder / "app.py").write_text(APP.format(log=str(log), up=str(up)))
    words = ["-m", "ipckit", "run", "app:server"] if how == "run" else ["app.py"]
    process = subprocess.Popen([sys.executable, *words], cwd=folder)
    try:
        wait_for(lambda: up.exists() and up.read_text().endswith("\n"), process)
        port = int(up.read_text())
        ask(port)
        before = children(process.pid)
        process.send_signal(signal.SIGUSR1)
        wait_for(
            lambda: len(children(process.pid)) == 2 and not children(process.pid) & before, process
        )
        ask(port)
        process.terminate()
        assert process.wait(LOOK) == 0
    finally:
        process.kill()
        with contextlib.suppress(FileNotFoundError):
            print(log.read_text())
        shutil.rmtree(folder)


if __name__ == "__main__":
    main(*sys.argv[1:] or ("",))

"""Task workers index a folder of text files, and continue after any kill.

python examples/file_pipeline.py FOLDER OUT [task workers]    ends when OUT/index.json is written
echo | nc -U OUT/socket                                       its progress; printed each second, too
ipckit dead ls OUT/dead.sqlite                                the files that could not be read

Two stages: one part for each file, then the index of all parts (word_index.py). Tasks carry paths,
never contents. At most 64 tasks wait, however many files there are. A task may run twice, so each
first checks whether its file exists, and writes it in one step.
Crash: `kill -9` of all processes leaves complete parts, and the tasks in a ledger with a name.
Start it again with the same arguments: it continues, and no finished file is indexed again. A file
that fails all of its attempts becomes a dead letter. It is skipped until `ipckit dead retry` and a
start.
"""

import asyncio
import hashlib
import os
import sys
import time
from pathlib import Path

from word_index import WordIndex

from ipckit import Server, SockType, TaskFailed, TaskQueueFull

folder, out = (Path(argument).resolve() for argument in sys.argv[1:3])
if out.is_relative_to(folder):
    sys.exit(f"{out} is in {folder}: the index would be indexed; choose an OUT beside it")
index = WordIndex(folder, out)
server = Server(str(out / "socket"), sock_type=SockType.UNIX_STREAM)  # refused while one is alive
index.drop_unfinished()
server.set(
    worker_num=1,
    task_worker_num=int(sys.argv[3]) if len(sys.argv) > 3 else os.cpu_count(),
    task_queue_size=64,
    task_memory=1 << 20,  # paths are short
    task_ledger=f"index.{hashlib.sha256(bytes(out)).hexdigest()[:16]}",  # one for each OUT
    task_timeout=300,
    task_max_attempts=2,
    task_retry_delays=(0.1,),
    dead_letter_path=str(out / "dead.sqlite"),
)


@server.on("task")
def task(server, task_id, src_worker_id, data):  # in a task worker
    stage, path = data
    if stage == "merge":
        return list(index.merge())
    if not index.is_done(
        path
    ):  # an earlier attempt may have finished it and been killed before it returned
        index.add(path)
    return stage


class Run:
    """The counts of worker 0. What must outlive it is in the parts and in the ledger."""

    def __init__(self):
        self.began = time.monotonic()
        self.total = self.over = self.failed = 0  # files
        self.before = 0  # files that were finished when this run began
        self.waiting = set()  # ids of tasks
        self.quiet = asyncio.Event()  # no task is waiting


books = Run()


@server.on("worker_start")
def worker_start(server, worker_id):
    if worker_id == 0:
        server.after(0, run)


async def run():
    if server.dead_letters.wanted_again() or server.stats()["tasking_num"]:
        server.after(0.1, run)  # first the tasks of an earlier start, and pending retries
        return
    given_up = {letter.data[1] for letter in server.dead_letters}
    for path in index.paths():
        books.total += 1
        books.failed += path in given_up
        books.before += path in given_up or index.is_done(path)
    books.over, books.began = books.before, time.monotonic()
    telling = server.tick(1, lambda: print(progress(), flush=True))
    try:
        for path in index.paths():
            if path not in given_up and not index.is_done(path):
                books.waiting.add(await server.task_later(["index", path]))  # waits for room
        while books.waiting:
            books.quiet.clear()
            await books.quiet.wait()
        files, words = await server.task_async(["merge", b""])
        server.clear_timer(telling)
        print(
            f"{progress()}\ndone: {files} files, {words} words, {books.failed} failed", flush=True
        )
    except TaskQueueFull:
        return  # the server is ending: the next start continues
    except TaskFailed as error:
        print(f"not merged: {error}", flush=True)
    server.shutdown()


@server.on("finish")
def finish(server, task_id, result):
    over(task_id)


@server.on("task_failed")
def task_failed(server, task_id, error):
    books.failed += over(task_id)


def over(task_id):
    ours = task_id in books.waiting  # else an earlier start posted it
    books.waiting.discard(task_id)
    books.over += ours
    if not books.waiting:
        books.quiet.set()
    return ours


def progress():
    rate = (books.over - books.before) / (time.monotonic() - books.began)
    left = f"{(books.total - books.over) / rate:.0f} s left" if rate else "none yet"
    return (
        f"{books.over} of {books.total} files, {books.failed} failed, {rate:.1f} a second, {left}"
    )


@server.on("receive")
def receive(server, fd, reactor_id, data):
    server.send(fd, progress().encode() + b"\n")


server.start()

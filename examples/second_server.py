"""The second server: 100 items, split over the task workers; failures are reported and retried.

Each task worker k gets its part by `task(part, k)`. It reports a failed item to the worker that
posted it, by `send_message`. The worker counts the failures of each item, posts it again, and after
the limit writes it into the log. (The server also retries a task that raises. Here only single
items fail, so the program counts them itself.)

    python examples/second_server.py [port]       a line "go" begins; the answer is the summary
"""

import collections
import logging
import sys

from ipckit import Server, TaskQueueFull

ITEMS, LIMIT = 100, 3

server = Server("127.0.0.1", int(sys.argv[1]) if len(sys.argv) > 1 else 9502)
server.set(worker_num=1, task_worker_num=4, open_eof_split=True, package_eof=b"\n")

log = logging.getLogger("second_server")
jobs = {}  # of this worker: fd -> Job


class Job:
    """The counts of one "go"."""

    def __init__(self):
        self.delivered = set()
        self.given_up = set()
        self.failures = collections.Counter()


@server.on("start")
def start(server):
    print(f"listening on {server.port}", flush=True)


@server.on("receive")
def receive(server, fd, reactor_id, data):
    if fd in jobs:
        server.send(fd, b"one at a time\n")
        return
    jobs[fd] = Job()
    workers = server.setting["task_worker_num"]
    try:
        for k in range(workers):
            server.task((fd, 1, list(range(k, ITEMS, workers))), k)
    except TaskQueueFull:  # results of the posted parts are ignored
        del jobs[fd]
        server.send(fd, b"busy, try again later\n")


@server.on("close")
def close(server, fd, reactor_id):
    jobs.pop(fd, None)  # later results are ignored


@server.on("task")
def task(server, task_id, src_worker_id, data):  # in a task worker
    fd, attempt, part = data
    done = []
    for item in part:
        if deliver(item, attempt):
            done.append(item)
        else:
            server.send_message((fd, attempt, item), src_worker_id)
    return fd, done


def deliver(item, attempt):
    """Every fifth item fails once, and items 13 and 77 always."""
    return item not in (13, 77) and not (item % 5 == 0 and attempt == 1)


@server.on("pipe_message")
def pipe_message(server, task_worker_id, message):  # back in the worker
    fd, attempt, item = message
    if (job := jobs.get(fd)) is None:
        return
    job.failures[item] += 1
    if job.failures[item] < LIMIT:
        try:
            server.task((fd, attempt + 1, [item]))
            return
        except TaskQueueFull:
            log.error("item %d was given up: no room for another attempt", item)
    else:
        log.error("item %d was given up after %d attempts", item, attempt)
    job.given_up.add(item)
    look(fd, job)


@server.on("finish")
def finish(server, task_id, result):
    fd, done = result
    if (job := jobs.get(fd)) is not None:
        job.delivered.update(done)
        look(fd, job)


def look(fd, job):
    """When every item is delivered or given up, answer and remove the job."""
    if len(job.delivered) + len(job.given_up) == ITEMS:
        del jobs[fd]
        server.send(
            fd,
            f"{len(job.delivered)} delivered, {len(job.given_up)} given up, "
            f"{job.failures.total()} failures\n".encode(),
        )


server.start()

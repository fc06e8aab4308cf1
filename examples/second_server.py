"""The second server: 100 items, split over the task workers; failures are reported and retried.

Each task worker k gets its part by `task(part, k)`. What fails is reported to the worker that
posted it, by `send_message`; the worker counts the failures of each item, delivers it again, and
after the limit writes it into the log. (The server also retries a task that raises. Here only
single items fail, so the program keeps the books itself, as the tutorial does.)

    python examples/second_server.py [port]       a line "go" begins; the answer is the summary
"""

import collections
import sys

from ipckit import Server

ITEMS, LIMIT = 100, 3

server = Server("127.0.0.1", int(sys.argv[1]) if len(sys.argv) > 1 else 9502)
server.set(worker_num=1, task_worker_num=4, open_eof_split=True, package_eof=b"\n")

delivered = set()
failures = collections.Counter()
given_up = set()
client = 0


@server.on("start")
def start(server):
    print(f"listening on {server.port}", flush=True)


@server.on("receive")
def receive(server, fd, reactor_id, data):
    global client
    client = fd
    workers = server.setting["task_worker_num"]
    for k in range(workers):
        server.task([(item, 1) for item in range(ITEMS) if item % workers == k], k)


@server.on("task")
def task(server, task_id, src_worker_id, part):
    done = []
    for item, attempt in part:
        if deliver(item, attempt):
            done.append(item)
        else:
            server.send_message((item, attempt), src_worker_id)
    return done


def deliver(item, attempt):
    """Every fifth item fails once, and items 13 and 77 always."""
    return item not in (13, 77) and not (item % 5 == 0 and attempt == 1)


@server.on("pipe_message")
def pipe_message(server, src_worker_id, message):
    item, attempt = message
    failures[item] += 1
    if failures[item] < LIMIT:
        server.task([(item, attempt + 1)])
    else:
        given_up.add(item)
        print(f"item {item} was given up after {failures[item]} attempts", flush=True)
        look()


@server.on("finish")
def finish(server, task_id, done):
    delivered.update(done)
    look()


def look():
    if len(delivered) + len(given_up) == ITEMS:
        summary = (
            f"{len(delivered)} delivered, {len(given_up)} given up, {failures.total()} failures"
        )
        server.send(client, summary.encode() + b"\n")


server.start()

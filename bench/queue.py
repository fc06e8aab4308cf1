"""Queues beside sysv_ipc, posix_ipc, PHP, a loop in C, and the standard library's; 100 bytes."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from functools import partial

import posix_ipc
import sysv_ipc
from faster_fifo import Queue as FasterFifo

from bench.programs import built
from ipckit.cli.bench.rounds import Rounds, Row, timed
from ipckit.queue import PosixQueue, SysvQueue

CALLS, MESSAGES = 20_000, 30_000
BODY = b"x" * 100
PHP = """
$queue = msg_get_queue(0x7e57);
$body = str_repeat("x", 100);
$began = hrtime(true);
for ($i = 0; $i < %d; $i++) {
    msg_send($queue, 1, $body, false);
    msg_receive($queue, 1, $type, 8192, $got, false);
}
echo (hrtime(true) - $began) / %d;
msg_remove_queue($queue);
"""


def there_and_back(send: Callable[[bytes], object], receive: Callable[[], object]) -> object:
    def loop(calls: int) -> None:
        for _ in range(calls):
            send(BODY)
            receive()

    return timed(loop, CALLS)


def printed(*command: str) -> float:
    return float(subprocess.check_output(command))


def one_process() -> Iterator[Row]:
    """Send and receive in one process."""
    ours, theirs = SysvQueue.create(), sysv_ipc.MessageQueue(None, sysv_ipc.IPC_CREX)
    name = f"/ipckit-bench-{os.getpid()}"
    posix = PosixQueue.create(name)
    plain = posix_ipc.MessageQueue(f"{name}-2", posix_ipc.O_CREX, max_message_size=8192)
    runs = {
        "ours": there_and_back(ours.send_nowait, ours.receive_nowait),
        "sysv_ipc": there_and_back(
            lambda body, send=theirs.send: send(body, False),
            lambda receive=theirs.receive: receive(False),
        ),
        "ours, waiting": there_and_back(ours.send, ours.receive),
        "sysv_ipc, waiting": there_and_back(theirs.send, theirs.receive),
        "the system calls alone, in C": partial(printed, built("queue_loop"), str(CALLS)),
        "ours, posix": there_and_back(posix.send, posix.receive),
        "posix_ipc": there_and_back(plain.send, plain.receive),
    }
    if shutil.which("php"):
        runs["PHP sysvmsg"] = partial(printed, "php", "-r", PHP % (CALLS, CALLS))
    try:
        found = Rounds(runs, 9)
    finally:
        for queue in (ours, theirs, posix):
            queue.remove()
        plain.unlink()
        plain.close()
    waiting = "ours, waiting"
    yield found.row("SysvQueue send + receive", waiting, "sysv_ipc, waiting", "ns", 0.70)
    yield found.row("the same, in C alone", waiting, "the system calls alone, in C", "ns")
    if "PHP sysvmsg" in runs:
        yield found.row("the same, in PHP", waiting, "PHP sysvmsg", "ns")
    yield found.row("PosixQueue send + receive", "ours, posix", "posix_ipc", "ns")


def one_way(put: Callable[[], object], get: Callable[[], object]) -> float:
    """Return messages per second from one process to another."""
    pid = os.fork()
    if pid == 0:
        for _ in range(MESSAGES):
            get()
        os._exit(0)
    began = time.perf_counter()
    for _ in range(MESSAGES):
        put()
    os.waitpid(pid, 0)
    return MESSAGES / (time.perf_counter() - began)


def two_processes() -> Iterator[Row]:
    """One process sends, another receives."""
    ours, theirs = SysvQueue.create(), sysv_ipc.MessageQueue(None, sysv_ipc.IPC_CREX)
    fork = multiprocessing.get_context("fork")
    simple, full, fast = fork.SimpleQueue(), fork.Queue(), FasterFifo()
    try:
        found = Rounds(
            {
                "ours": lambda: one_way(lambda: ours.send(BODY), ours.receive),
                "sysv_ipc": lambda: one_way(lambda: theirs.send(BODY), theirs.receive),
                "SimpleQueue": lambda: one_way(lambda: simple.put(BODY), simple.get),
                "multiprocessing.Queue": lambda: one_way(lambda: full.put(BODY), full.get),
                "faster-fifo": lambda: one_way(lambda: fast.put(BODY), fast.get),
            }
        )
    finally:
        ours.remove()
        theirs.remove()
        simple.close()
        full.close()
        full.join_thread()
    for peer in ("sysv_ipc", "faster-fifo", "SimpleQueue", "multiprocessing.Queue"):
        yield found.row("SysvQueue, one way, two processes", "ours", peer, "/s", less=False)


def main() -> Iterator[Row]:
    """Measure."""
    yield from one_process()
    yield from two_processes()

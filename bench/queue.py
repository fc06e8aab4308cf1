"""SysvQueue beside sysv_ipc, PHP and the queues of the standard library; 100 bytes."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import subprocess
import time
from collections.abc import Callable

import posix_ipc
import sysv_ipc

from bench.rounds import Row, medians, nanoseconds, shown
from ipckit.queue import PosixQueue, SysvQueue

CALLS, MESSAGES = 50_000, 100_000
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


def one_process() -> list[Row]:
    """Send and receive in one process."""
    ours, theirs = SysvQueue.create(), sysv_ipc.MessageQueue(None, sysv_ipc.IPC_CREX)
    name = f"/ipckit-bench-{os.getpid()}"
    posix = PosixQueue.create(name)
    plain = posix_ipc.MessageQueue(f"{name}-2", posix_ipc.O_CREX, max_message_size=8192)

    def ours_nowait(calls: int) -> None:
        for _ in range(calls):
            ours.send_nowait(BODY)
            ours.receive_nowait()

    def theirs_nowait(calls: int) -> None:
        for _ in range(calls):
            theirs.send(BODY, False)
            theirs.receive(False)

    def ours_waiting(calls: int) -> None:
        for _ in range(calls):
            ours.send(BODY)
            ours.receive()

    def posix_ours(calls: int) -> None:
        for _ in range(calls):
            posix.send(BODY)
            posix.receive()

    def posix_theirs(calls: int) -> None:
        for _ in range(calls):
            plain.send(BODY)
            plain.receive()

    loops = {
        "ours, nowait": ours_nowait,
        "sysv_ipc": theirs_nowait,
        "ours, waiting": ours_waiting,
        "posix, ours": posix_ours,
        "posix_ipc": posix_theirs,
    }
    try:
        found = nanoseconds(loops, CALLS)
    finally:
        for queue in (ours, theirs, posix):
            queue.remove()
        plain.unlink()
        plain.close()
    base = found["sysv_ipc"]
    rows = [
        Row("SysvQueue send + receive, sysv_ipc", found["ours, nowait"], base, "ns", 0.70),
        Row("the same with send() and receive()", found["ours, waiting"], base, "ns"),
        Row("PosixQueue, posix_ipc", found["posix, ours"], found["posix_ipc"], "ns"),
    ]
    if shutil.which("php"):
        script = PHP % (CALLS, CALLS)
        times = [float(subprocess.check_output(["php", "-r", script])) for _ in range(3)]
        rows.append(Row("the same, PHP", found["ours, nowait"], sorted(times)[1], "ns"))
    return rows


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


def two_processes() -> list[Row]:
    """One process sends, another receives."""
    ours, theirs = SysvQueue.create(), sysv_ipc.MessageQueue(None, sysv_ipc.IPC_CREX)
    simple = multiprocessing.SimpleQueue()
    try:
        found = medians(
            {
                "ours": lambda: one_way(lambda: ours.send(BODY), ours.receive),
                "sysv_ipc": lambda: one_way(lambda: theirs.send(BODY), theirs.receive),
                "simple": lambda: one_way(lambda: simple.put(BODY), simple.get),
            }
        )
    finally:
        ours.remove()
        theirs.remove()
        simple.close()
    ours_rate = found["ours"]
    return [
        Row("SysvQueue, two processes, sysv_ipc", ours_rate, found["sysv_ipc"], "/s", less=False),
        Row("the same, SimpleQueue", ours_rate, found["simple"], "/s", less=False),
    ]


def main() -> list[Row]:
    """Measure and print."""
    return shown(one_process() + two_processes())

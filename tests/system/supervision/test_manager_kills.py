"""kill -9 of the manager under load: its children go, and the next start cleans up.

In full with IPCKIT_SOAK=1.
"""

from __future__ import annotations

import os
import statistics
import time
from pathlib import Path

from deadlines import LOOK

from ipckit import SysvQueue

TIMES = 100 if os.environ.get("IPCKIT_SOAK") == "1" else 10


def queues() -> set[int]:
    rows = Path("/proc/sysvipc/msg").read_text().splitlines()[1:]
    return {int(row.split()[1]) for row in rows}


def children(pid: int) -> list[int]:
    return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_the_manager_is_killed_again_and_again(start):
    """S20, S19: the next start cleans up, and nothing else."""
    strange = SysvQueue.create()
    neighbour = start(task_ipc_mode=2)
    runtime_dir = neighbour.runtime_dir
    mine, there = queues(), set(os.listdir(runtime_dir))
    port = 0
    took = []
    for turn in range(TIMES):
        server = start(
            task_ipc_mode=2 + turn % 2, worker_num=2, task_worker_num=2, listen_port=port
        )
        port = server.port
        assert len(queues() - mine) == 1, "those of the dead runs are gone"
        assert len(set(os.listdir(runtime_dir)) - there) == 3, "spill files, control socket, record"
        clients = [server.client() for _ in range(4)]
        for client in clients:
            for _ in range(5):
                client.tell("call", "task", ("finish", b"x" * 200_000))
        for client in clients:
            client.hear()
        left = children(server.pid)
        assert len(left) == 4
        server.process.kill()
        server.process.wait(LOOK)
        began = time.monotonic()
        server.wait_for(lambda left=left: not any(map(alive, left)), "its children are gone")
        took.append(time.monotonic() - began)
    print(f"{TIMES} kills; the last child was gone after {max(took):.2f} s at most")
    assert statistics.median(took) < 2  # the machine may be busy now and then
    last = start(task_ipc_mode=2, listen_port=port)
    assert last.end() == 0
    assert queues() == mine and set(os.listdir(runtime_dir)) == there
    assert neighbour.client()("about")["pid"]
    strange.remove()

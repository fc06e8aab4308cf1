"""The start reports what the machine has no more of, and leaves nothing behind."""

from __future__ import annotations

import subprocess
import sys

import pytest
from deadlines import LOOK

SERVER = """
import ipckit
server = ipckit.Server("127.0.0.1", 0, worker_num=1, task_worker_num=1, {settings})
server.on("receive", lambda *args: None)
server.on("task", lambda *args: None)
server.on("start", lambda server: server.shutdown())
server.start()
"""
TABLE = """
import ipckit
ipckit.Table(100_000, columns={"number": ipckit.Int()}, name="full")
"""
SMALL = "mount -t tmpfs -o size=64k tmpfs /dev/shm"
NO_QUEUES = "mount -t tmpfs tmpfs /dev/shm && echo 0 >/proc/sys/kernel/msgmni"


@pytest.mark.needs_root
@pytest.mark.parametrize(
    ("place", "program", "said"),
    [
        (
            SMALL,
            SERVER.format(settings="task_ledger='full'"),
            ("a task ledger of 7", "lower task_memory, or free some", "df /dev/shm"),
        ),
        (SMALL, TABLE, ("100000 rows", "make it smaller, or free some", "df /dev/shm")),
        (
            NO_QUEUES,
            SERVER.format(settings="task_ipc_mode=2"),
            ("a private queue", "its 0 queues", "ipcs -q", "raise kernel.msgmni"),
        ),
        (
            NO_QUEUES,
            SERVER.format(settings="task_ipc_mode=3, message_queue_key=77"),
            ("key 77", "its 0 queues", "ipcs -q", "raise kernel.msgmni"),
        ),
    ],
    ids=["ledger", "table", "private queue", "queue with a key"],
)
def test_a_clear_error_and_nothing_left(place, program, said):
    """In a mount and IPC namespace of its own, so that nobody else goes without."""
    script = (
        f'mount -t tmpfs tmpfs /run && {place} && "$0" -c "$1"; echo "rc $?"\n'
        "echo left: /dev/shm/* /run/ipckit/*; ipcs -q"
    )
    run = subprocess.run(
        ["unshare", "--mount", "--ipc", "sh", "-c", script, sys.executable, program],
        check=False,
        capture_output=True,
        text=True,
        timeout=LOOK,
        env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
    )
    lines = run.stdout.splitlines()
    assert lines[0] == "rc 1", run.stderr
    error = run.stderr.splitlines()[-1]
    assert "[Errno 28]" in error
    assert [part for part in said if part not in error] == [], error
    assert lines[1] == "left: /dev/shm/* /run/ipckit/*"
    assert [line for line in lines[2:] if line.startswith("0x")] == []
    assert "Traceback" not in run.stderr.partition("SystemCallError")[2]

"""A fork while another thread joins a table waits for no other process."""

from __future__ import annotations

import subprocess
import sys

import pytest
from serving import LOOK

PROGRAM = """
import fcntl, os, select, struct, threading
from pathlib import Path
from ipckit.sync import Lock
from ipckit.table import Int, Table

def descriptors():
    links = Path("/proc/self/fd").iterdir()
    return {{link.name: os.readlink(link) for link in links if link.exists()}}.items()

before = descriptors()
{make}
segment, = [fd for fd, name in descriptors() - before if not name.startswith("/proc/")]

# As a process that is stopped while it joins: proc(5), /proc/self/fd, gives another description.
other = os.open(f"/proc/self/fd/{{segment}}", os.O_RDWR)
flock = struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
fcntl.fcntl(other, fcntl.F_OFD_SETLK, flock)
done = []
thread = threading.Thread(target=lambda: done.append({use}))
thread.start()
asleep = 0
while asleep < 20:  # in a row: it waits for the registry, not for the GIL
    state = Path(f"/proc/self/task/{{thread.native_id}}/stat").read_text().rpartition(")")[2]
    asleep = asleep + 1 if state.split()[0] == "S" else 0
    select.select([], [], [], 0.005)
assert not done
child = os.fork()
if child == 0:
    os._exit(7)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
assert thread.is_alive() and not done
os.close(other)  # it goes on
thread.join()
assert len(done) == 1
print("well")
"""


@pytest.mark.parametrize(
    ("make", "use"),
    [
        ('table = Table(64, columns={"n": Int(8)})', 'table.incr("key", "n")'),
        ("lock = Lock()", "lock.acquire()"),
    ],
    ids=["table", "lock"],
)
def test_a_fork_does_not_wait_for_a_process_that_is_stopped_while_it_joins(make, use):
    """R: the mutex that a fork takes is not held while a thread waits for the registry."""
    ran = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", PROGRAM.format(make=make, use=use)],
        check=False,
        capture_output=True,
        text=True,
        timeout=LOOK,
    )
    assert ran.stdout == "well\n", ran.stderr

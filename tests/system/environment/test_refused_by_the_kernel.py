"""A container's limits: what `ipckit doctor` says of them, and what a table does at them.

A seccomp filter refuses system calls in a process of its own; a control group is a real one.
"""

from __future__ import annotations

import json
import platform
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from deadlines import LOOK

from ipckit import _cgroup
from ipckit.cli.machine import checks

MIB = 2**20
NUMBERS = {  # pidfd_open, memfd_create, prctl, set_robust_list
    "x86_64": (434, 319, 157, 273),
    "aarch64": (434, 279, 167, 99),
}
REFUSED = """
import ctypes, os, struct, sys
calls, words = [int(each) for each in sys.argv[1].split(",")], sys.argv[2:]
steps = [(0x20, 0, 0, 0)]  # load the number of the call
steps += [(0x15, len(calls) - n, 0, call) for n, call in enumerate(calls)]  # equal: to the error
steps += [(0x06, 0, 0, 0x7FFF0000), (0x06, 0, 0, 0x50001)]  # allow; EPERM
code = b"".join(struct.pack("=HBBI", *each) for each in steps)
buffer = ctypes.create_string_buffer(code)
program = struct.pack("@HP", len(steps), ctypes.addressof(buffer))
libc = ctypes.CDLL(None, use_errno=True)
assert libc.prctl(38, 1, 0, 0, 0) == 0
if libc.prctl(22, 2, ctypes.create_string_buffer(program), 0, 0):
    sys.exit(77)
os.execv(sys.executable, [sys.executable, *words])
"""


def doctor(done: subprocess.CompletedProcess) -> dict[str, dict]:
    if done.returncode == 77:
        pytest.skip("no seccomp filters here")
    assert done.returncode in (0, 1) and done.stdout, done
    return {each["name"]: each for each in json.loads(done.stdout)["checks"]}


def run(*words: str, **more) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, *words], capture_output=True, text=True, timeout=LOOK, check=False, **more
    )


@pytest.mark.parametrize(
    ("call", "name", "text"),
    [
        (0, "kernel calls", "pidfd_open (Linux 5.3): Operation not permitted"),
        (1, "kernel calls", "memfd_create (3.17): Operation not permitted"),
        (2, "kernel calls", "prctl, by which children end with the manager: Operation not"),
        (3, "robust lists", "set_robust_list is refused (Operation not permitted)"),
    ],
)
def test_a_call_that_is_refused_is_told(call, name, text):
    """P7: with the way to have it allowed."""
    numbers = NUMBERS.get(platform.machine())
    if numbers is None:
        pytest.skip(f"the numbers of {platform.machine()} are not known here")
    refused = str(numbers[call])
    found = doctor(run("-c", REFUSED, refused, "-m", "ipckit", "doctor", "--json"))[name]
    assert found["state"] == "wrong" and text in found["found"] and "seccomp" in found["step"]
    assert doctor(run("-m", "ipckit", "doctor", "--json"))[name]["state"] == "ok"


def test_a_limit_of_the_size_of_files_is_told():
    """P7: RLIMIT_FSIZE bounds tables, ledgers, logs."""

    def lower() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (MIB, resource.RLIM_INFINITY))

    found = doctor(run("-m", "ipckit", "doctor", "--json", preexec_fn=lower))["file size"]
    assert found["state"] == "wrong" and "1,048,576 bytes" in found["found"]
    assert checks.file_size(resource.RLIM_INFINITY).state == checks.OK
    assert checks.file_size(100 * MIB).state == checks.NOTE


def test_a_limit_of_memory_is_told():
    """P6: less than /dev/shm shows is a note, next to nothing is wrong."""
    inf = float("inf")
    for left, free, state in (
        (None, 1, checks.OK),
        (inf, 1, checks.OK),
        (2 * 2**30, 2**30, checks.OK),
        (2**29, 2**30, checks.NOTE),
        (2**29, None, checks.OK),
        (MIB, 2**30, checks.WRONG),
    ):
        found = checks.group_memory(left, free)
        assert found.state == state
        assert found.state == checks.OK or ("SIGKILL" in found.found and "memory.max" in found.step)


def tree(tmp_path: Path, own: str, files: dict[str, object]) -> tuple[str, str]:
    (tmp_path / "own").write_text(own)
    for name, text in files.items():
        path = tmp_path / "mount" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{text}\n")
    return str(tmp_path / "own"), str(tmp_path / "mount")


def test_what_a_group_of_version_2_leaves(tmp_path):
    """The tightest on the way up counts; the cache of files can be reclaimed, shared memory not."""
    where = tree(
        tmp_path,
        "0::/a/b\n",
        {
            "a/memory.max": 1000,
            "a/memory.current": 700,
            "a/memory.swap.max": 0,
            "a/memory.stat": "anon 5\nshmem 500\nactive_file 20\ninactive_file 30",
            "a/b/memory.max": "max",
            "a/b/memory.current": 600,
        },
    )
    assert _cgroup.memory_left(*where) == 350
    assert _cgroup.memory_limit(*where) == 1000


def test_what_a_group_of_version_1_leaves(tmp_path):
    where = tree(
        tmp_path,
        "5:cpu:/x\n4:memory:/a\n0::/\n",
        {
            "memory/memory.limit_in_bytes": 2**63 - 4096,
            "memory/a/memory.limit_in_bytes": 1000,
            "memory/a/memory.usage_in_bytes": 700,
            "memory/a/memory.swap.max": 0,
            "memory/a/memory.stat": "total_active_file 1\ntotal_inactive_file 2",
        },
    )
    assert _cgroup.memory_left(*where) == 303


@pytest.mark.parametrize("own", ["", "0::/none\n", "nonsense\n"])
def test_what_is_not_known_is_no_limit(tmp_path, own):
    where = tree(tmp_path, own, {})
    assert _cgroup.memory_left(*where) is None
    assert _cgroup.memory_left("/none", "/none") is None


@pytest.mark.needs_root
def test_a_table_over_the_memory_of_its_group_is_refused(group):
    """P6: with the numbers, before anything is made; it was SIGKILL without a word."""
    code = f"""
import os, ipckit
open({str(group)!r}, "w").write(str(os.getpid()))
from ipckit.cli.machine import checks, facts
for name in (None, "test.group.%d" % os.getpid()):
    try:
        ipckit.Table(2_000_000, columns={{"text": ipckit.Str(100)}}, name=name)
    except ipckit.SystemCallError as why:
        print(why.errno, why)
ipckit.Table(1000, columns={{"n": ipckit.Int()}})["a"] = {{"n": 1}}
print(checks.group_memory(facts.read().cgroup_memory, 2**40).state)
"""
    done = run("-c", code)
    assert done.returncode == 0, done
    one, two, state = done.stdout.splitlines()
    for line in (one, two):
        assert line.startswith("12 [Errno 12] posix_fallocate: ")
        assert "2000000 rows needs" in line and "memory.max" in line
    assert state == "note"


NO_TIMERS = """
import resource, sys, ipckit
from ipckit.errors import BootFailed, QueueEmpty, QueueFull, SystemCallError
resource.setrlimit(resource.RLIMIT_SIGPENDING, (0, 0))

def refused(call):
    try:
        call()
    except SystemCallError as why:
        print(type(why).__name__, why)

with ipckit.SysvQueue.create() as queue:
    try:
        queue.send(b"kept", timeout=9)
        refused(lambda: queue.receive(type=2, timeout=9))
        while True:
            try:
                queue.send_nowait(bytes(1000))
            except QueueFull:
                break
        refused(lambda: queue.send(bytes(1000), timeout=9))
        assert queue.receive(timeout=9).body == b"kept"
    finally:
        queue.remove()

server = ipckit.Server("127.0.0.1", 0, worker_num=1, runtime_dir=sys.argv[1])
server.on("receive", print)
try:
    server.start()
except BootFailed as why:
    print(type(why).__name__)
"""


def test_without_timers_the_error_names_their_limit(tmp_path):
    """RLIMIT_SIGPENDING: timers and pending signals of all processes of a user."""
    done = run("-c", NO_TIMERS, str(tmp_path / "run"))
    text = "timers and pending signals of this user have the limit 0: raise it (ulimit -i)"
    of_queue = [line for line in done.stdout.splitlines() if "timer_create" in line]
    assert [line.partition(" ")[0] for line in of_queue] == ["SystemCallError"] * 2, done
    assert ["of msgrcv" in line for line in of_queue] == [True, False]
    assert all(line.endswith(text) for line in of_queue)
    assert f"so that this process ends with the manager; {text}" in done.stderr
    assert done.stdout.splitlines()[-1] == "BootFailed", done


NO_THREADS = """
import asyncio, importlib.metadata, os, resource  # all now: nobody may read the interpreter
from ipckit import Int, SysvQueue, Table
from ipckit.errors import SystemCallError
from ipckit.queue import SharedQueue

async def receive(queue):
    await queue.areceive(timeout=9)

def refused(call):
    try:
        call()
    except SystemCallError as why:
        print(why)

shared = SharedQueue()
os.setgid(54321)
os.setuid(54321)
with SysvQueue.create() as queue:
    try:
        resource.setrlimit(resource.RLIMIT_NPROC, (1, 1))
        refused(lambda: asyncio.run(receive(queue)))
        refused(lambda: asyncio.run(receive(shared)))
        with open("/proc/self/statm") as file:
            most = int(file.read().split()[0]) * resource.getpagesize() + (64 << 20)
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
        refused(lambda: SharedQueue(max_bytes=128 << 20))
        refused(lambda: Table(1 << 20, columns={"n": Int(8)}))
        print(most)
    finally:
        queue.remove()
"""


@pytest.mark.needs_root
def test_without_threads_or_addresses_the_error_names_their_limit():
    """RLIMIT_NPROC bounds a user that is not root, RLIMIT_AS a process."""
    done = run("-c", NO_THREADS)
    *lines, most = done.stdout.splitlines()
    assert ["pthread_create" in line for line in lines] == [True, True, False, False], done
    assert all("threads and processes is 1 (ulimit -u)" in line for line in lines[:2])
    assert all(f"addresses is {most} bytes (ulimit -v)" in line for line in lines[2:])

"""`ipckit ls` and `rm` beside real servers: what kill -9 leaves is named and freed, and no more."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys

import pytest
from command import ipckit, ipckit_json
from leaks import shm_files, sysv_queues
from message_queues import segment_and_semaphores
from serving import LOOK

from ipckit import NotFound, ObjectQueue, PosixQueue, SysvQueue
from ipckit.cli.inventory.collect import collect, remove

CALLBACKS = """
server.on("receive", lambda server, fd, reactor_id, data: server.send(fd, data))
server.on("task", lambda server, task_id, source, data: None)
"""
TABLE = """
table = ipckit.Table(10, columns={{"n": ipckit.Int(8)}}, name={name!r})
table["ada"] = {{"n": 1}}
"""


def ls(directory) -> dict[str, dict]:
    """The inventory with the run records of one runtime directory, by name."""
    return {each["name"]: each for each in ipckit_json("ls", "--runtime-dir", directory)["objects"]}


def named(inventory, *verdicts: str) -> set[str]:
    return {name for name, each in inventory.items() if each["verdict"] in verdicts}


@pytest.fixture
def directory(tmp_path):
    return tmp_path / "run"


@pytest.fixture
def others():
    """Somebody else's queue, of a process that is long dead."""
    code = "from ipckit import SysvQueue; q = SysvQueue.create(); q.send(b'x'); print(q.id)"
    made = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, check=True, timeout=LOOK
    )
    queue = SysvQueue.open_id(int(made.stdout))
    yield queue
    queue.remove()


def leftovers(before) -> set[str]:
    """What the kernel has more than before, in the words of `ls`; it is not asked."""
    queues, files = before
    return {f"queue:{one}" for one, _ in sysv_queues() - queues} | {
        "/dev/shm/" + name for name in shm_files() - files
    }


def test_what_a_killed_server_left_is_leaked_and_freed(small, mode, directory, tmp_path, others):
    before = sysv_queues(), shm_files()
    server = small(
        CALLBACKS,
        f"runtime_dir={str(directory)!r}, task_worker_num=1, task_ipc_mode={mode}, "
        f"pid_file={str(tmp_path / 'pid')!r}, control_path={str(tmp_path / 'control')!r}",
    )
    alive = ls(directory)
    assert named(alive, "leaked", "kept") == set()
    mine = {name for name, each in alive.items() if each["manager"] == server.process.pid}
    assert len(mine) == (3 if mode == 1 else 4), "task files, pid file, socket, and a queue"
    told = ipckit_json("rm", *mine, "--runtime-dir", directory, "--yes", code=1)
    assert f"used by process {server.process.pid}" in told["error"]
    server.kill_all()

    left = {name for name in leftovers(before) if name != f"queue:{others.id}"}
    assert len(left) == (0 if mode == 1 else 1)
    files = {str(tmp_path / "pid"), str(tmp_path / "control"), *map(str, directory.glob("spill-*"))}
    assert named(ls(directory), "leaked") == left | files == mine
    assert ls(directory)[f"queue:{others.id}"]["verdict"] == "idle"
    assert not ls(directory)[f"queue:{others.id}"]["ours"]

    arguments = ("rm", "--leaked", "--runtime-dir", directory)
    assert "nothing was removed" in ipckit(*arguments, code=1)
    assert ipckit_json(*arguments, code=1, answer="no\n") == {"error": "nothing was removed"}
    assert named(ls(directory), "leaked") == mine
    assert {*ipckit_json(*arguments, answer="y\n")["removed"]} == mine
    assert leftovers(before) <= {f"queue:{others.id}"}
    assert os.listdir(directory) == [] and sorted(os.listdir(tmp_path)) == ["run"]
    assert len(others) == 1, "it has its message"
    assert ipckit_json(*arguments) == {"removed": [], "gone_before": []}


def test_what_is_kept_on_purpose_waits_for_its_next_server(small, directory, others):
    name, key = f"test.{os.getpid()}", 0x51A70000 | os.getpid() & 0xFFFF
    settings = (
        f"runtime_dir={str(directory)!r}, task_worker_num=1, task_ipc_mode=3, "
        f"task_ledger={name!r}, message_queue_key={key}, control_path=False"
    )
    first = small(CALLBACKS + TABLE.format(name=name), settings)
    queue = SysvQueue.open(key)
    queue.send(b"i:1;", type=1)
    kept = {
        f"queue:{queue.id}",
        f"table:{name}",
        f"ledger:{name}",
        str(directory / f"ledger-{name}"),
    }
    first.kill_all()
    found = ls(directory)
    assert named(found, "kept") == kept and named(found, "leaked") == set()
    assert found[f"table:{name}"]["content"] == "1 of 10 rows: n"
    assert found[f"ledger:{name}"]["content"].endswith(" tasks")
    assert {found[each]["manager"] for each in kept} == {first.process.pid}
    assert ipckit_json("rm", "--leaked", "--runtime-dir", directory)["removed"] == []

    takes_up = CALLBACKS + f"table = ipckit.Table.open({name!r})"
    second = small(takes_up, settings)
    found = ls(directory)
    assert {found[each]["manager"] for each in kept} == {second.process.pid}
    assert named(found, "kept") == set()
    assert len(list(directory.glob("run-*"))) == 1, "the dead one's record names nothing more"
    second.kill_all()
    assert named(ls(directory), "kept") == kept

    third = small(CALLBACKS, f"runtime_dir={str(directory)!r}, control_path=False")
    assert "removed what a dead server left" not in third.end(), "a start leaves what is kept"
    assert named(ls(directory), "kept") == kept
    told = ipckit_json("rm", "--leaked", "--kept", "--yes", "--runtime-dir", directory)
    assert {*told["removed"]} == kept
    assert os.listdir(directory) == []
    with pytest.raises(NotFound):
        SysvQueue.open(key)
    assert not any(name in each for each in shm_files())


def test_a_table_that_a_worker_makes_is_kept_too(small, directory):
    name = f"test.{os.getpid()}"
    code = f"""
@server.on("worker_start")
def worker_start(server, worker_id):
    if not server.taskworker:
        server.table = ipckit.Table(10, columns={{"n": ipckit.Int(8)}}, name={name!r})
"""
    server = small(CALLBACKS + code, f"runtime_dir={str(directory)!r}, task_worker_num=1")
    assert ls(directory)[f"table:{name}"]["manager"] == server.process.pid
    server.kill_all()
    found = ls(directory)
    assert named(found, "kept") == {f"table:{name}"}
    (task_files,) = map(str, directory.glob("spill-*"))
    control = str(directory / f"control-{server.process.pid}.sock")
    assert named(found, "leaked") == {task_files, control}
    told = ipckit_json("rm", "--leaked", "--kept", "--yes", "--runtime-dir", directory)
    assert {*told["removed"]} == {f"table:{name}", task_files, control}
    assert os.listdir(directory) == []


def test_the_socket_of_a_dead_server_is_leaked(small, directory, tmp_path):
    code = f"""
server.listen({str(tmp_path / "port")!r}, sock_type=ipckit.SockType.UNIX_STREAM)
"""
    server = small(CALLBACKS + code, f"runtime_dir={str(directory)!r}")
    found = ls(directory)
    control = str(directory / f"control-{server.process.pid}.sock")
    assert found[control]["verdict"] == found[str(tmp_path / "port")]["verdict"] == "used"
    server.kill_all()
    assert named(ls(directory), "leaked") == {control, str(tmp_path / "port")}
    ipckit_json("rm", "--leaked", "--yes", "--runtime-dir", directory)
    assert sorted(os.listdir(tmp_path)) == ["run"] and os.listdir(directory) == []


def test_a_table_says_who_has_it_and_what_is_in_it(directory):
    name = f"test.{os.getpid()}"
    code = TABLE.format(name=name).replace("ipckit.", "") + "print(flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", f"from ipckit import *\n{code}"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        process.stdout.readline()
        entry = ls(directory)[f"table:{name}"]
        assert (entry["verdict"], entry["users"]) == ("used", [process.pid])
        assert (entry["ours"], entry["content"]) == (True, "1 of 10 rows: n")
        assert "is used by process" in ipckit_json("rm", name, "--yes", code=1)["error"]
        process.kill()
        process.wait(LOOK)
    assert ls(directory)[f"table:{name}"]["verdict"] == "idle", "no record says it is a server's"
    assert ipckit_json("rm", "--leaked", "--yes", "--runtime-dir", directory)["removed"] == []
    with open(f"/dev/shm/ipckit.{name}", "r+b") as file:
        file.write(b"damaged")
    assert "not readable" in ls(directory)[f"table:{name}"]["content"]
    assert ipckit_json("rm", name, "--yes")["removed"] == [f"table:{name}"]


def test_objects_that_are_not_ours_are_removed_only_by_name(directory, others):
    segment, semaphores = segment_and_semaphores()
    path = f"/dev/shm/test.{os.getpid()}"
    with open(path, "w", encoding="ascii") as file:
        file.write("x" * 100)
    mine = {f"queue:{others.id}", f"shm:{segment}", f"sem:{semaphores}", path}
    found = ls(directory)
    assert mine <= {*found} and not any(found[name]["ours"] for name in mine)
    assert found[path]["size"] == 100
    assert found[f"queue:{others.id}"]["content"].endswith("1 messages")
    assert "of others" in ipckit("ls")
    assert (
        "there is no 'test.none'" in ipckit_json("rm", path, "test.none", "--yes", code=1)["error"]
    )
    assert os.path.exists(path), "all of them or none"
    told = ipckit_json("rm", *(mine - {f"queue:{others.id}"}), "--yes")
    assert {*told["removed"]} == mine - {f"queue:{others.id}"}
    assert not os.path.exists(path)
    assert f"queue:{others.id}" in ls(directory)


@pytest.mark.needs_root
def test_posix_queues_are_listed_where_they_are_mounted(tmp_path):
    """In a mount name space of its own, so the machine keeps its mounts."""
    script = f"""
while umount /dev/mqueue 2>/dev/null; do :; done  # another name space's
mount -t mqueue none {tmp_path} || exit 77
{sys.executable} -c 'from ipckit import PosixQueue
PosixQueue.create("/test.{os.getpid()}", max_message_size=64).send(b"four")'
{sys.executable} -m ipckit ls --json
{sys.executable} -m ipckit rm /test.{os.getpid()} --yes --json
{sys.executable} -m ipckit ls --json
"""
    if shutil.which("unshare") is None:
        pytest.skip("there is no unshare(1)")
    done = subprocess.run(
        ["unshare", "--mount", "--ipc", "sh", "-c", script],
        capture_output=True,
        text=True,
        timeout=LOOK,
        check=False,
    )
    if "not permitted" in done.stderr or done.returncode == 77:
        pytest.skip(f"no mount here: {done.stderr.strip()}")
    assert done.returncode == 0, done.stderr
    first, removed, second = map(json.loads, done.stdout.splitlines())
    (queue,) = [each for each in first["objects"] if each["kind"] == "POSIX queue"]
    assert queue["name"] == f"mqueue:/test.{os.getpid()}" and queue["size"] >= 4
    assert removed["removed"] == [queue["name"]]
    assert not any(each["kind"] == "POSIX queue" for each in second["objects"])


@pytest.mark.needs_root
def test_the_queues_of_another_ipc_namespace_are_neither_listed_nor_removed():
    """F44: /dev/mqueue is the mount of the namespace outside; ours has a queue of the same name."""
    name = f"/test.{os.getpid()}"
    script = f"""
{sys.executable} -c 'from ipckit import PosixQueue
PosixQueue.create("{name}", max_message_size=64).send(b"inside")'
{sys.executable} -m ipckit ls --json
{sys.executable} -m ipckit rm {name} --yes --json
{sys.executable} -c 'from ipckit import PosixQueue
with PosixQueue.open("{name}") as queue:
    print(queue.receive_nowait().body.decode())'
"""
    if shutil.which("unshare") is None or not os.path.ismount("/dev/mqueue"):
        pytest.skip("there is no unshare(1), or no mount of POSIX queues")
    with PosixQueue.create(name, max_message_size=64) as outside:
        try:
            done = subprocess.run(
                ["unshare", "--ipc", "sh", "-c", script],
                capture_output=True,
                text=True,
                timeout=LOOK,
                check=False,
            )
            if "not permitted" in done.stderr:
                pytest.skip(f"no namespace here: {done.stderr.strip()}")
            listed, refused, inside = done.stdout.splitlines()
            found = json.loads(listed)
            assert not any(each["kind"] == "POSIX queue" for each in found["objects"])
            (note,) = (each for each in found["notes"] if "POSIX queues" in each)
            assert "another IPC namespace" in note
            assert "there is no" in json.loads(refused)["error"]
            assert inside == "inside", "it is there still"
            outside.send(b"outside", timeout=0)
        finally:
            outside.remove()


def test_a_posix_queue_that_was_made_again_is_not_removed():
    """F44: only what was listed goes."""
    if not os.path.ismount("/dev/mqueue"):
        pytest.skip("no mount of POSIX queues")
    name = f"/test.{os.getpid()}"
    with PosixQueue.create(name, max_message_size=64) as queue:
        (entry,) = (each for each in collect([]).entries if each.name == f"mqueue:{name}")
        queue.remove()
        with PosixQueue.create(name, max_message_size=64) as again:
            assert remove([entry], []) == []
            again.send(b"x", timeout=0)
            again.remove()


def test_a_shared_queue_that_nobody_has(directory):
    """It is named, with what is in it; one that is damaged, too; and it is removed by its name."""
    name = f"test.{os.getpid()}"
    code = f"""
queue = SharedQueue.create({name!r}, max_messages=8, max_bytes=4096, max_attempts=1)
queue.send_many([b"dead", b"leased", b"waits"])
queue.lease().give_back()
job = queue.lease()
print("made", flush=True)
input()
"""
    with subprocess.Popen(
        [sys.executable, "-c", f"from ipckit import *\n{code}"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        process.stdout.readline()
        entry = ls(directory)[f"shared-queue:{name}"]
        assert (entry["verdict"], entry["users"]) == ("used", [process.pid])
        assert (entry["kind"], entry["ours"]) == ("shared queue", True)
        assert entry["content"] == "1 of 8 messages, 1 leased, 1 dead"
        process.kill()
        process.wait(LOOK)
    assert ls(directory)[f"shared-queue:{name}"]["verdict"] == "idle"
    with open(f"/dev/shm/ipckit-queue.{name}", "r+b") as file:
        file.write(b"damaged")
    assert "not readable" in ls(directory)[f"shared-queue:{name}"]["content"]
    assert ipckit_json("rm", name, "--yes")["removed"] == [f"shared-queue:{name}"]


def test_a_queue_of_objects_is_listed_as_one_of_bytes(directory):
    """What it holds is not read: pickles, too."""
    name = f"test.objects.{os.getpid()}"
    for trusted in (False, True):
        with ObjectQueue.create(name, trusted=trusted, max_messages=8, max_bytes=4096) as queue:
            queue.put([1])
            assert ls(directory)[f"shared-queue:{name}"]["content"] == "1 of 8 messages"
            queue.remove()

"""posix_ipc and the C core do the same, and the core does it alone where a package is missing."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import resource
import subprocess
import sys
import uuid

import pytest
from deadlines import RUN
from message_queues import POSIX, segment_and_semaphores

from ipckit.cli.inventory.system_v import ByCore, ByPackage
from ipckit.queue import posix_core
from ipckit.queue.posix_calls import CALLS

ABSENT = """
import sys
for package in {absent!r}:
    sys.modules[package] = None  # its import raises ModuleNotFoundError
{code}
"""


@pytest.fixture(params=sorted(POSIX))
def calls(request):
    return POSIX[request.param]._calls


@pytest.fixture
def name(calls):
    name = f"/ipckit-calls-{uuid.uuid4().hex}"
    yield name
    try:
        calls.unlink(name)
    except FileNotFoundError:
        pass


def number(call, *arguments):
    with pytest.raises(OSError) as refused:
        call(*arguments)
    return refused.value.errno


def test_a_queue_has_what_was_asked_for(calls, name):
    made = calls.make(name, 0o600, 2, 16)
    found = calls.find(name)
    assert (found.name, found.max_messages, found.max_message_size) == (name, 2, 16)
    assert os.fstat(made.mqd).st_ino == os.fstat(found.mqd).st_ino
    made.send(b"low", 0)
    made.send(b"high\0" + bytes(11), 32767)
    assert made.current_messages == found.current_messages == 2
    assert found.receive() == (b"high\0" + bytes(11), 32767)
    assert found.receive() == (b"low", 0)
    found.close()
    made.close()


def test_each_refusal_has_the_errno_of_its_call(calls, name):
    assert number(calls.find, name) == errno.ENOENT
    assert number(calls.unlink, name) == errno.ENOENT
    assert number(calls.make, name, 0o600, 2**31 - 1, 2**31 - 1) == errno.EINVAL
    made = calls.make(name, 0o600, 1, 16)
    assert number(calls.make, name, 0o600, 1, 16) == errno.EEXIST
    assert number(made.receive) == errno.EAGAIN
    assert number(made.send, b"x" * 17, 0) == errno.EMSGSIZE
    made.send(b"", 0)
    assert number(made.send, b"", 0) == errno.EAGAIN
    made.close()
    before = resource.getrlimit(resource.RLIMIT_MSGQUEUE)
    resource.setrlimit(resource.RLIMIT_MSGQUEUE, (100, before[1]))
    try:
        assert number(calls.make, f"{name}-2", 0o600, 1, 16) == errno.EMFILE
    finally:
        resource.setrlimit(resource.RLIMIT_MSGQUEUE, before)


def test_a_reader_needs_no_right_to_write(calls, name):
    calls.make(name, 0o600, 1, 16).close()
    for writable, access in ((False, os.O_RDONLY), (True, os.O_RDWR)):
        found = calls.find(name, writable=writable)
        assert fcntl.fcntl(found.mqd, fcntl.F_GETFL) & os.O_ACCMODE == access
        assert not os.get_blocking(found.mqd) and not os.get_inheritable(found.mqd)
        found.close()


@pytest.mark.needs_root
def test_a_stranger_is_refused(calls, name):
    made = calls.make(name, 0o600, 1, 16)
    child = os.fork()
    if not child:
        os.setgid(65534)
        os.setuid(65534)
        both = {number(calls.find, name), number(calls.unlink, name)}
        os._exit(both != {errno.EACCES})
    assert os.waitpid(child, 0)[1] == 0
    made.close()


@pytest.fixture(params=[ByCore, ByPackage])
def objects(request):
    if request.param is ByPackage:
        pytest.importorskip("sysv_ipc", reason="no wheel for this Python: the core does its part")
    return request.param()


def test_segments_and_semaphores_are_removed(objects):
    segment, semaphores = segment_and_semaphores()
    objects.remove_segment(segment)
    objects.remove_semaphores(semaphores)
    with pytest.raises(FileNotFoundError):
        objects.remove_segment(segment)
    with pytest.raises(FileNotFoundError):
        objects.remove_semaphores(semaphores)


@pytest.mark.needs_root
def test_those_of_another_user_stay(objects):
    segment, semaphores = segment_and_semaphores()
    child = os.fork()
    if not child:
        os.setgid(65534)
        os.setuid(65534)
        refused = []
        for call, which in (
            (objects.remove_segment, segment),
            (objects.remove_semaphores, semaphores),
        ):
            try:
                call(which)
            except PermissionError:
                refused.append(which)
        os._exit(refused != [segment, semaphores])
    assert os.waitpid(child, 0)[1] == 0
    objects.remove_segment(segment)
    objects.remove_semaphores(semaphores)


def python(code, absent=("posix_ipc", "sysv_ipc"), status=0):
    done = subprocess.run(
        [sys.executable, "-c", ABSENT.format(absent=absent, code=code)],
        capture_output=True,
        text=True,
        timeout=RUN,
        check=False,
    )
    assert done.returncode == status, done.stderr
    return done.stdout if status == 0 else done.stderr


def test_the_core_is_chosen_where_the_package_is_absent():
    assert python("from ipckit.queue.posix_calls import CALLS; print(CALLS.__name__)") == (
        "ipckit.queue.posix_core\n"
    )
    assert CALLS is posix_core or CALLS.__name__ == "ipckit.queue.posix_package"


def test_without_the_packages_everything_works(tmp_path):
    """Queues, the inventory, its removal, the doctor and the bench."""
    segment, semaphores = segment_and_semaphores()
    code = f"""
from ipckit import PosixQueue
from ipckit.cli import main
queue = PosixQueue.create("/ipckit-absent-{os.getpid()}", max_message_size=64)
queue.send(b"there")
assert queue.receive(timeout=0).body == b"there"
queue.remove()
for words in (["rm", "shm:{segment}", "sem:{semaphores}", "--yes"], ["ls"], ["doctor"],
              ["bench", "queue", "--rounds", "1"]):
    print(flush=True)
    try:
        main([*words, "--json"])
    except SystemExit as end:
        assert end.code in (0, None) or words == ["doctor"], end.code
"""
    removed, listed, doctor, bench = (
        json.loads(part) for part in python(code).split("\n\n") if part.strip()
    )
    assert {*removed["removed"]} == {f"shm:{segment}", f"sem:{semaphores}"}
    assert not {f"shm:{segment}", f"sem:{semaphores}"} & {
        entry["name"] for entry in listed["objects"]
    }
    (modules,) = [check for check in doctor["checks"] if check["name"] == "modules"]
    assert modules["state"] == "ok"
    assert modules["found"].endswith("the C core does the part of sysv_ipc and posix_ipc")
    assert {row["beside"] for row in bench["rows"]} == {"multiprocessing.SimpleQueue"}


def test_a_broken_package_is_an_error(tmp_path):
    """Only the absence of a package is no error."""
    (tmp_path / "posix_ipc.py").write_text("import that_is_not_there\n")
    code = f"sys.path.insert(0, {str(tmp_path)!r})\nimport ipckit.queue.posix"
    assert "that_is_not_there" in python(code, absent=(), status=1)

"""Making and finding queues: create, open, open_id, open_or_create, rights, and copy_message."""

from __future__ import annotations

import errno
import os
import resource
import sys
import threading
import uuid

import pytest
from deadlines import LOOK
from message_queues import posix  # noqa: F401  (a fixture)

from ipckit.errors import AccessDenied, AlreadyExists, NotFound, QueueRemoved, SystemCallError
from ipckit.queue import PosixQueue, SysvQueue
from ipckit.queue.sysv_calls import copy_message


@pytest.fixture
def key():
    """A key that nobody uses, and no queue of it left afterwards."""
    key = int.from_bytes(os.urandom(3), "big") | 0x4D000000
    yield key
    try:
        SysvQueue.open(key).remove()
    except NotFound:
        pass


@pytest.fixture
def name():
    name = f"/ipckit-test-{uuid.uuid4().hex}"
    yield name
    try:
        PosixQueue.open(name).remove()
    except NotFound:
        pass


def test_sysv_by_key(key):
    with pytest.raises(NotFound, match=str(key)):
        SysvQueue.open(key)
    made = SysvQueue.create(key, mode=0o640, max_bytes=500)
    assert (made.key, made.statistics().mode, made.statistics().max_bytes) == (key, 0o640, 500)
    with pytest.raises(AlreadyExists, match=str(key)):
        SysvQueue.create(key)
    for found in (
        SysvQueue.open(key),
        SysvQueue.open_id(made.id),
        SysvQueue.open_or_create(key, mode=0o666),
    ):
        assert (found.id, found.key, found.statistics().mode) == (made.id, key, 0o640)
    made.remove()
    for wrong in (lambda: SysvQueue.open(key), lambda: SysvQueue.open_id(made.id)):
        with pytest.raises(NotFound):
            wrong()
    with pytest.raises(QueueRemoved):
        found.send_nowait(b"")


def test_sysv_private_queues_are_found_by_id_alone():
    one, other = SysvQueue.create(), SysvQueue.create()
    assert one.id != other.id
    assert SysvQueue.open_id(one.id).key is None
    one.remove()
    other.remove()


def test_sysv_wrong_arguments():
    """Refused before a queue is made (the fixture of all tests looks)."""
    for key in (0, 2**31, -(2**31) - 1):
        for call in (SysvQueue.create, SysvQueue.open, SysvQueue.open_or_create):
            with pytest.raises(ValueError):
                call(key)
    for key in ("5", 1.5):
        for call in (SysvQueue.create, SysvQueue.open, SysvQueue.open_or_create):
            with pytest.raises(TypeError):
                call(key)
    for call in (SysvQueue.open, SysvQueue.open_or_create):
        with pytest.raises(TypeError):
            call(None)
    for wrong in ({"mode": 0o1000}, {"max_bytes": -1}, {"mode": -1}):
        with pytest.raises(ValueError):
            SysvQueue.create(**wrong)
    with pytest.raises(ValueError):
        SysvQueue.open_id(-1)
    with pytest.raises(TypeError):
        SysvQueue.open_id("1")


def in_child(call) -> int:
    """Run `call` in a child as nobody; 0 when it returned True."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.setgroups([])
            os.setgid(65534)
            os.setuid(65534)
            code = 0 if call() else 2
        except BaseException as exc:
            print(repr(exc), file=sys.stderr, flush=True)
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def denied(call) -> bool:
    try:
        call()
    except AccessDenied:
        return True
    return False


@pytest.mark.needs_root
def test_rights(key, name, posix):
    """AccessDenied for another user: each right on its own; nothing is changed or left."""
    queue = SysvQueue.create(key, mode=0o600)
    ranked = posix.create(name, max_message_size=64)

    def stranger():
        mine = SysvQueue.open(key)
        return all(
            [
                denied(lambda: mine.send_nowait(b"")),
                denied(mine.receive_nowait),
                denied(mine.statistics),
                denied(lambda: mine.set(mode=0o666)),
                denied(mine.remove),
                denied(lambda: SysvQueue.open_id(mine.id)),
                denied(lambda: posix.open(name)),
                denied(lambda: SysvQueue.create(max_bytes=2**30)),
            ]
        )

    assert in_child(stranger) == 0
    queue.set(mode=0o602)  # others may write: send only
    assert in_child(lambda: SysvQueue.open(key).send_nowait(b"x") is None) == 0
    assert queue.receive_nowait().body == b"x"
    ranked.close()


def test_posix_by_name(name, posix):
    with pytest.raises(NotFound, match=name):
        posix.open(name)
    made = posix.create(name, max_messages=2, max_message_size=10)
    with pytest.raises(AlreadyExists, match=name):
        posix.create(name)
    found = posix.open_or_create(name, max_messages=5)
    assert found.statistics().max_messages == 2 and found.name == name
    assert not os.get_inheritable(found.fileno())
    made.remove()
    with pytest.raises(NotFound, match=name):
        found.remove()
    found.send_nowait(b"still")
    assert made.receive_nowait().body == b"still"
    for queue in (made, found):
        queue.close()
        assert queue.fileno() == -1


def test_posix_wrong_arguments(name, posix):
    for wrong in ("", "x", "/", "/a/b", "/" + "a" * 255, "/a\0", "/.", "/.."):
        for call in (posix.create, posix.open, posix.open_or_create):
            with pytest.raises(ValueError):
                call(wrong)
    with pytest.raises(TypeError):
        posix.open(b"/x")
    for wrong in ({"mode": 0o1000}, {"max_messages": 0}, {"max_message_size": 0}):
        with pytest.raises(ValueError):
            posix.create(name, **wrong)
    with pytest.raises((ValueError, SystemCallError), match="1000000"):
        posix.create(name, max_messages=1_000_000)
    with pytest.raises(NotFound):
        posix.open(name)


def test_many_open_or_create_at_once(key, name, posix):
    """One queue, whoever comes first."""
    ids, names = [], []

    def go():
        ids.append(SysvQueue.open_or_create(key).id)
        queue = posix.open_or_create(name)
        names.append(os.fstat(queue.fileno()).st_ino)
        queue.close()

    threads = [threading.Thread(target=go) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LOOK)
    assert len(ids) == len(names) == 8
    assert len(set(ids)) == len(set(names)) == 1


def test_copy_message_leaves_it_there():
    with SysvQueue.create() as queue:
        queue.send_nowait(b"first", type=3)
        queue.send_nowait(b"", type=4)
        for _ in range(2):
            assert copy_message(queue.id, 0) in {(3, b"first"), None}
            assert copy_message(queue.id, 1) in {(4, b""), None}
            assert copy_message(queue.id, 2) is None
        assert len(queue) == 2
        queue.remove()
        with pytest.raises(QueueRemoved):
            copy_message(queue.id, 0)


def test_importing_the_pure_part_loads_no_core():
    """ipckit.queue.php_format alone: neither the C core nor asyncio."""
    code = (
        "import sys, ipckit.queue.php_format\n"
        "assert not {'ipckit._core', 'asyncio', 'posix_ipc'} & set(sys.modules), sys.modules\n"
    )
    assert os.spawnv(os.P_WAIT, sys.executable, [sys.executable, "-c", code]) == 0


def test_a_posix_queue_over_the_users_limit_has_its_errno(posix):
    """posix_ipc gives none; the text says where the limit is."""
    before = resource.getrlimit(resource.RLIMIT_MSGQUEUE)
    resource.setrlimit(resource.RLIMIT_MSGQUEUE, (1000, before[1]))
    try:
        with pytest.raises(SystemCallError, match="10 x 8192 bytes; see `ulimit -q`") as refused:
            posix.create(f"/ipckit-making-{os.getpid()}")
    finally:
        resource.setrlimit(resource.RLIMIT_MSGQUEUE, before)
    assert refused.value.errno == errno.EMFILE

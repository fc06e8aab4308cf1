"""What a process gets that multiprocessing starts without a fork: rules M2, T22, Q16 and C13.

Each test is a program in a file of its own, because such a process imports the program.
docs/reference/start-methods.md has the table of all objects: tests/system/primitives/test_start_methods.py.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import textwrap

import pytest
from deadlines import LOOK, RUN

from ipckit.channel import Channel
from ipckit.errors import MisuseError, NotFound, PeerGone, WaitTimeout
from ipckit.queue import PosixQueue, SysvQueue
from ipckit.table import Int, Table

HEAD = f"""
import multiprocessing, os, pickle, signal, sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing.reduction import ForkingPickler
from ipckit import *

context = multiprocessing.get_context(sys.argv[1])
LOOK = {LOOK}

def start(target, *args):
    process = context.Process(target=target, args=args)
    process.start()
    return process

def well(*processes):
    for process in processes:
        process.join(LOOK)
    assert [process.exitcode for process in processes] == [0] * len(processes)

def tell(number, value):
    number.set(value)
    number.wake(1000)

def descriptors(kind):
    links = []
    for fd in os.listdir("/proc/self/fd"):
        try:
            links.append(os.readlink("/proc/self/fd/" + fd))
        except OSError:
            pass  # the one that lists them
    return [link for link in links if kind in link]

class Die:
    # A process that unpickles it is killed there.
    def __reduce__(self):
        return die, ()

def die():
    os.kill(os.getpid(), signal.SIGKILL)

class Apart:
    # A pickle inside the pickle, as other packages make them of functions.
    def __init__(self, thing):
        self.thing = thing

    def __reduce__(self):
        return pickle.loads, (bytes(ForkingPickler.dumps(self.thing)),)
"""


@pytest.fixture(params=["spawn", "forkserver"])
def program(request, tmp_path):
    """Run a program with one of the start methods; it must end well, and silently."""

    def run(text: str) -> None:
        path = tmp_path / "program.py"
        main = textwrap.indent(textwrap.dedent(text.partition("# main\n")[2]), "    ")
        path.write_text(
            HEAD
            + textwrap.dedent(text.partition("# main\n")[0])
            + f"\nif __name__ == '__main__':\n{main}"
        )
        done = subprocess.run(
            [sys.executable, "-W", "error", path, request.param],
            capture_output=True,
            text=True,
            timeout=RUN,
            check=False,
        )
        assert (done.returncode, done.stdout + done.stderr) == (0, "")

    return run


def test_m2_an_arena_is_mapped_once_and_a_lock_stays_one_lock(program):
    """M2: also when the two come in two pickles; and the parent may delete its own."""
    program("""
        def work(number, lock, twin, gate):
            with open("/proc/self/maps") as maps:
                assert sum("ipckit.sync" in line for line in maps) == 1
            assert len(descriptors("ipckit.sync")) == 1
            with lock:
                assert twin.locked()
                try:
                    twin.acquire()
                except DeadlockError:
                    pass
                else:
                    raise AssertionError("two locks")
            mine = [Atomic(1) for _ in range(2000)]  # they take no cell of the parent's
            tell(gate, 1)
            assert gate.wait(1, LOOK)
            assert number.get() == 7

        # main
        number, lock, gate = Atomic(7), Lock(), Atomic()
        child = start(work, number, lock, Apart(lock), gate)
        del number
        assert gate.wait(0, LOOK)
        others = [Atomic(9) for _ in range(2000)]  # they do not take the child's cell
        assert not lock.locked()
        tell(gate, 2)
        well(child)
        assert {other.get() for other in others} == {9}
    """)


def test_m2_a_held_lock_stays_with_its_thread_and_survives_a_killed_child(program):
    """M2, L5."""
    program("""
        class Own(Lock):
            pass

        def work(lock, gate):
            assert lock.what == "attributes of the program travel"
            tell(gate, 1)
            assert lock.acquire(timeout=LOOK)
            assert not lock.recovered
            tell(gate, 2)
            die()

        # main
        lock, gate = Own(), Atomic()
        lock.what = "attributes of the program travel"
        with lock:
            child = start(work, lock, gate)
            assert gate.wait(0, LOOK)
            assert gate.get() == 1
        assert gate.wait(1, LOOK)
        child.join(LOOK)
        assert lock.acquire(timeout=LOOK)
        assert lock.recovered
    """)


def test_t22_a_child_keeps_a_table_that_its_parent_closes_or_removes(program):
    """T22: with a name or without; and two handles of it that came in two pickles."""
    program("""
        def work(tables, twin, gate):
            tell(gate, 1)
            assert gate.wait(1, LOOK)
            for table in tables:
                assert table["a"] == {"n": 1}
                table.incr("a", "n")
                assert table.verify() == []
            tables[0].close()
            assert twin["a"] == {"n": 2}, "the handles close on their own"
            tables[1].incr("a", "n", 40)
            try:
                tables[1].remove()
            except NotFound:
                pass
            else:
                raise AssertionError("the parent had removed it")

        # main
        gate = Atomic()
        tables = [Table(8, columns={"n": Int(8)}), Table(8, columns={"n": Int(8)}, name="T22")]
        for table in tables:
            table.set("a", {"n": 1})
        named = Table.open("T22")
        child = start(work, tables, Apart(tables[0]), gate)
        assert gate.wait(0, LOOK)
        tables[0].close()
        tables[1].remove()
        assert not os.path.exists("/dev/shm/ipckit.T22")
        tell(gate, 2)
        well(child)
        assert named["a"] == {"n": 42}
        named.close()
        assert descriptors("ipckit.table") == []
    """)


def test_t22_a_locked_row_stays_with_its_thread(program):
    """T22: the child waits for it, and a killed child's lock is free."""
    program("""
        def work(table, gate):
            try:
                table.set("a", {"n": 5})  # waits for the parent
            finally:
                tell(gate, 1)
            with table.lock("a", LOOK) as row:
                row["n"] = 6
                tell(gate, 2)
                die()

        # main
        table, gate = Table(8, columns={"n": Int(8)}), Atomic()
        with table.lock("a") as row:
            child = start(work, table, gate)
            while table.statistics().waiting == 0:
                assert child.is_alive()
                gate.wait(0, 0.01)
            assert gate.get() == 0
            row["n"] = 4
        assert gate.wait(0, LOOK)
        child.join(LOOK)
        assert table["a"] == {"n": 5}
        with table.lock("a", LOOK) as row:
            assert row["n"] == 5
        assert table.verify() == []
    """)


def test_t22_a_pickle_opens_a_named_table():
    """T22: the same one, or NotFound."""
    with Table(8, columns={"n": Int(8)}, name="T22") as table:
        table.set("a", {"n": 1})
        data = pickle.dumps(table)
        with pickle.loads(data) as twin:
            twin.incr("a", "n")
        assert table["a"] == {"n": 2}
        table.remove()
    with pytest.raises(NotFound, match="T22"):
        pickle.loads(data)
    with Table(8, columns={"n": Int(8)}, name="T22") as other:
        with pytest.raises(NotFound, match="another one has the name"):
            pickle.loads(data)
        other.remove()
    with pytest.raises(MisuseError, match="not made yet"):
        pickle.dumps(Table(8))
    nameless = Table(8, columns={"n": Int(8)})
    with nameless, pytest.raises(MisuseError, match=r"through inheritance.*give the table a name"):
        pickle.dumps(nameless)


def test_t22_pools(program):
    """T22: initargs take any table, what is submitted takes those with a name."""
    program("""
        def begin(table):
            global mine
            mine = table

        def add(number):
            mine.incr("a", "n", number)
            return os.getpid()

        def look(table):
            return table["a"]

        # main
        table = Table(8, columns={"n": Int(8)})
        with ProcessPoolExecutor(2, context, begin, (table,)) as pool:
            pids = set(pool.map(add, range(5)))
            assert os.getpid() not in pids
            assert table["a"] == {"n": 10}
            try:
                pool.submit(look, table).result(LOOK)
            except MisuseError as error:
                assert "give the table a name" in str(error)
            else:
                raise AssertionError("it has no name")
            with Table(8, columns={"n": Int(8)}, name="T22") as named:
                named.set("a", {"n": 3})
                assert pool.submit(look, named).result(LOOK) == {"n": 3}
                named.remove()
        with context.Pool(1, begin, (table,), maxtasksperchild=1) as pool:
            pool.map(add, range(3), chunksize=1)  # by three processes
            pool.close()
            pool.join()
        assert table["a"] == {"n": 13}
    """)


@pytest.mark.parametrize("key", [None, 0x51A6])
def test_q16_a_pickle_opens_a_system_v_queue(key):
    """Q16: private or with a key; NotFound after its removal, also when the key is another's."""
    with SysvQueue.create(key) as queue:
        data = pickle.dumps(queue)
        with pickle.loads(data) as twin:
            assert (twin.id, twin.key) == (queue.id, key)
            twin.send(b"x")
        assert queue.receive(timeout=0).body == b"x"
        queue.remove()
    with SysvQueue.create(key) as other:
        with pytest.raises(NotFound, match="no queue has the id"):
            pickle.loads(data)
        other.remove()


def test_q16_a_pickle_opens_a_posix_queue():
    """Q16: the same one, or NotFound."""
    name = f"/ipckit-q16-{os.getpid()}"
    with PosixQueue.create(name, max_message_size=64) as queue:
        data = pickle.dumps(queue)
        with pickle.loads(data) as twin:
            assert twin.name == name
            twin.send(b"x", priority=2)
        assert queue.receive(timeout=0) == (2, b"x")
        queue.remove()
    with pytest.raises(NotFound, match="there is no queue"):
        pickle.loads(data)
    with PosixQueue.create(name, max_message_size=64) as other:
        with pytest.raises(NotFound, match="another one has the name"):
            pickle.loads(data)
        other.remove()


@pytest.mark.needs_root
def test_q16_a_process_that_may_only_send(program):
    """Q16: it cannot look at the queue, and unpickles it all the same."""
    program("""
        def work(data):
            os.setgroups([])
            os.setgid(65534)
            os.setuid(65534)
            queue = pickle.loads(data)
            queue.send(b"x", timeout=LOOK)
            try:
                queue.receive(timeout=0)
            except AccessDenied:
                return
            raise AssertionError("it may only send")

        # main
        with SysvQueue.create(mode=0o602) as queue:
            try:
                well(start(work, pickle.dumps(queue)))
                assert queue.receive(timeout=0).body == b"x"
            finally:
                queue.remove()
    """)


def test_c13_an_end_goes_to_a_child_and_dies_with_it(program):
    """C13: the child has this end alone; a killed one leaves PeerGone, unpickled or not."""
    program("""
        def work(end):
            assert len(descriptors("socket:")) == 1
            end.send(end.receive(timeout=LOOK).body)

        # main
        for sent, killed in (([], False), ([Die()], True)):
            ours, theirs = Channel.pair(max_frame=5)
            child = start(work, *sent, theirs)
            theirs.close()
            if not killed:
                ours.send(b"hello")
                assert ours.receive(timeout=LOOK).body == b"hello"
            try:
                ours.receive(timeout=LOOK)
            except PeerGone:
                pass
            else:
                raise AssertionError("nobody is there")
            child.join(LOOK)
            assert child.exitcode == (-signal.SIGKILL if killed else 0)
            ours.close()
    """)


def test_c13_an_end_inside_a_frame_stays():
    """C13: of what is half sent or half received only this process knows."""
    ours, theirs = Channel.pair()
    with ours, theirs:
        with pytest.raises(MisuseError, match=r"through inheritance.*in the args"):
            pickle.dumps(ours)
        with pytest.raises(WaitTimeout):
            ours.send(bytes(1 << 20), timeout=0)
        with pytest.raises(MisuseError, match="inside a frame"):
            pickle.dumps(ours)
        with pytest.raises(WaitTimeout):
            theirs.receive(timeout=0)
        with pytest.raises(MisuseError, match="inside a frame"):
            pickle.dumps(theirs)
        theirs.close()
        with pytest.raises(MisuseError, match="closed"):
            pickle.dumps(theirs)
        with pytest.raises(PeerGone):
            ours.send(b"")


def test_a_child_that_never_unpickles_leaves_nothing(program):
    """T22, M2, C13: no descriptor, no name, no lock."""
    program("""
        # main
        kinds = ("ipckit.", "socket:")
        first = Lock()
        start(len, ()).join(LOOK)  # multiprocessing has its own descriptors now
        before = [sorted(descriptors(kind)) for kind in kinds]
        table, lock = Table(8, columns={"n": Int(8)}), Lock()
        named = Table(8, columns={"n": Int(8)}, name="T22")
        ends = Channel.pair()
        things = [table, named, lock, ends[1]]
        for order in ([Die(), things], [things, Die()]):
            child = start(len, *order)
            child.join(LOOK)
            assert child.exitcode == -signal.SIGKILL
        assert lock.acquire(timeout=0)
        table.set("a", {"n": 1})
        for thing in (table, named, *ends):
            thing.close()
        assert os.path.exists("/dev/shm/ipckit.T22"), "its owner removes it"
        os.unlink("/dev/shm/ipckit.T22")
        assert [sorted(descriptors(kind)) for kind in kinds] == before
    """)


def test_a_server_that_runs_stays(program):
    """Only the processes that it starts may use it."""
    program("""
        def begin(server, worker_id):
            try:
                start(len, server)
            except MisuseError as error:
                assert "a server that runs cannot be pickled" in str(error)
                tell(refused, 1)
            finally:
                server.shutdown()

        # main
        refused = Atomic()
        server = Server("127.0.0.1", 0, worker_num=1, log_level="ERROR", runtime_dir=os.getcwd())
        server.on("receive", print)
        server.on("worker_start", begin)
        server.start()
        assert refused.get() == 1
    """)

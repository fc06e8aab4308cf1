"""Named tables: what may be opened, what is refused, and that nothing is left of a failure."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import warnings

import pytest
from deadlines import LOOK
from family import all_well, family

from ipckit.errors import (
    AccessDenied,
    AlreadyExists,
    MisuseError,
    NotFound,
    SegmentCorrupt,
    SystemCallError,
)
from ipckit.table import Bytes, Float, Int, Str, Table

COLUMNS = {"n": Int(4), "text": Str(30), "x": Float(), "raw": Bytes(9)}
NAME = f"test-{os.getpid()}"
PATH = f"/dev/shm/ipckit.{NAME}"


@pytest.fixture
def table():
    with Table(20, columns=COLUMNS, name=NAME, key_size=12) as table:
        table["k"] = {"n": 5, "text": "five", "x": 0.5, "raw": b"\0"}
        yield table
    if os.path.exists(PATH):
        os.unlink(PATH)


def test_who_opens_it_sees_the_same_rows_and_columns(table):
    with Table.open(NAME) as other:
        assert other["k"] == table["k"]
        other.set("k", {"n": 6})
        assert table.get("k", "n") == 6
        assert other.statistics() == table.statistics()
        assert other.size == 20
        assert other.memory_size == table.memory_size == os.stat(PATH).st_size
        assert repr(other) == f"<Table {NAME!r}: 20 rows>"


def test_an_unrelated_process_opens_it(table):
    program = f"from ipckit import Table; t = Table.open({NAME!r}); print(t['k']); t.incr('k', 'n')"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=LOOK, check=True
    )
    assert done.stdout == "{'n': 5, 'text': 'five', 'x': 0.5, 'raw': b'\\x00'}\n"
    assert table.get("k", "n") == 6


def test_it_is_its_owners_alone(table):
    assert os.stat(PATH).st_mode & 0o777 == 0o600
    with Table(1, columns=COLUMNS, name=f"{NAME}.read", mode=0o644) as other:
        assert os.stat(f"{PATH}.read").st_mode & 0o777 == 0o644
        other.remove()


def test_a_name_is_taken_once(table):
    with pytest.raises(AlreadyExists, match=NAME):
        Table(20, columns=COLUMNS, name=NAME)
    with pytest.raises(AlreadyExists):
        Table(20).column("n", Table.TYPE_INT).create(NAME)
    assert table["k"]["n"] == 5


def test_remove_takes_the_name_and_leaves_the_rows_to_who_has_them(table):
    other = Table.open(NAME)
    table.remove()
    with pytest.raises(NotFound, match=NAME):
        Table.open(NAME)
    other.set("k", {"n": 7})
    assert other.get("k", "n") == 7
    with pytest.raises(NotFound):
        other.remove()
    other.close()
    with pytest.raises(MisuseError, match="closed"):
        table.get("k")


@pytest.mark.parametrize("name", ["", "a" * 201, "a/b", "ä", "a b", "..\0", "a\n"])
def test_wrong_names(name):
    for call in (
        lambda: Table(1, columns=COLUMNS, name=name),
        lambda: Table(1).column("n", Table.TYPE_INT).create(name),
        lambda: Table.open(name),
    ):
        with pytest.raises(ValueError, match=r"1\.\.200"):
            call()
    with pytest.raises(TypeError, match="int"):
        Table.open(5)


@pytest.mark.parametrize("mode", [-1, 0o1000, "rw", 0o10600])
def test_wrong_modes(mode):
    with pytest.raises(ValueError, match="mode="):
        Table(1, columns=COLUMNS, name=f"{NAME}.m", mode=mode)


def test_a_name_without_columns_is_misplaced():
    with pytest.raises(ValueError, match="create"):
        Table(1, name=NAME)


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666])
def test_what_others_may_write_is_not_trusted(table, mode):
    os.chmod(PATH, mode)
    with pytest.raises(AccessDenied, match="not trusted") as caught:
        Table.open(NAME)
    assert caught.value.errno == errno.EACCES


@pytest.mark.needs_root
def test_another_users_is_not_used(table):
    os.chown(PATH, 12345, -1)
    with pytest.raises(AccessDenied, match="12345"):
        Table.open(NAME)

    def as_nobody():
        os.chown(PATH, 0, -1)
        os.setuid(65534)
        with pytest.raises(AccessDenied):
            Table.open(NAME)

    with family() as start:
        assert all_well(start(as_nobody))


def test_no_regular_file(table):
    os.unlink(PATH)
    os.mkfifo(PATH)
    with pytest.raises(SegmentCorrupt, match="regular"):
        Table.open(NAME)
    os.unlink(PATH)
    os.symlink("/etc/passwd", PATH)
    with pytest.raises(SegmentCorrupt, match="symbolic"):
        Table.open(NAME)
    os.unlink(PATH)
    os.mkdir(PATH)
    try:
        with pytest.raises((SegmentCorrupt, SystemCallError)):
            Table.open(NAME)
    finally:
        os.rmdir(PATH)


@pytest.mark.parametrize("size", [0, 1, 100, 4096, 8191, 8192, 20_000])
def test_a_cut_off_file(table, size):
    table.close()
    os.truncate(PATH, size)
    with pytest.raises(SegmentCorrupt, match=r"empty|shorter|size"):
        Table.open(NAME)


def test_a_longer_file(table):
    os.truncate(PATH, os.stat(PATH).st_size + 4096)
    with pytest.raises(SegmentCorrupt, match="size"):
        Table.open(NAME)


def patch(offset: int, body: bytes) -> None:
    with open(PATH, "r+b") as file:
        file.seek(offset)
        file.write(body)


@pytest.mark.parametrize(
    ("offset", "body", "why"),
    [
        (0, b"not ours", "no table"),
        (8, b"\x63", "another version"),
        (12, b"\x01\x02\x03\x04", "another kind of machine"),
        (16, b"\x18", "another C library|another kind"),
        (20, b"\xff\xff\xff\x7f", "damaged"),
        (28, b"\x00\x10", "damaged"),
        (40, b"\x01", "damaged"),
        (4096 + 20, b"!", "damaged"),
    ],
)
def test_a_changed_header(table, offset, body, why):
    patch(offset, body)
    with pytest.raises(SegmentCorrupt, match=why):
        Table.open(NAME)


def test_a_changed_body_is_never_a_crash(table):
    """What can be read is read; a number out of its range is SegmentCorrupt. (More in tests/c.)"""
    size = os.stat(PATH).st_size
    program = f"""
import random, resource
from ipckit import SegmentCorrupt, Table, TableFull, WaitTimeout
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
rng = random.Random(3)
said = 0
for _ in range(300):
    with open({PATH!r}, "r+b") as file:
        file.seek(rng.randrange(73728, {size}))
        file.write(rng.randbytes(rng.choice((1, 4, 8, 64))))
    with Table.open({NAME!r}) as table:
        for call in (
            lambda: table.get("k"),
            lambda: list(table.items()),
            lambda: len(table),
            lambda: "x" in table,
        ):
            try:
                call()
            except SegmentCorrupt:
                said += 1
print(said > 0)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=LOOK, check=False
    )
    assert (done.returncode, done.stdout) == (0, "True\n"), done


@pytest.mark.needs_root
def test_a_full_shared_memory_raises_and_leaves_nothing():
    """ENOSPC when it is made; no SIGBUS later, no file, no descriptor."""
    program = """
import errno, os
from ipckit import Int, Str, SystemCallError, Table
before = len(os.listdir("/proc/self/fd"))
try:
    Table(100_000, columns={"n": Int(), "s": Str(100)}, name="too.large")
except SystemCallError as exc:
    assert exc.errno == errno.ENOSPC, exc
    assert "bytes of shared memory" in str(exc), exc
else:
    raise SystemExit("it was made")
assert os.listdir("/dev/shm") == [], os.listdir("/dev/shm")
assert len(os.listdir("/proc/self/fd")) == before
with Table(100, columns={"n": Int(), "s": Str(100)}, name="fits") as table:
    for i in range(100):
        table[str(i)] = {"n": i, "s": "x" * 100}
    table.remove()
"""
    done = subprocess.run(
        [
            "unshare", "--mount", "sh", "-c",
            'mount -t tmpfs -o size=1m none /dev/shm && exec "$0" -c "$1"',
            sys.executable, program,
        ],
        capture_output=True, text=True, timeout=LOOK, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")


def test_a_table_over_all_memory_is_refused_at_once():
    with pytest.raises(SystemCallError) as caught:
        Table(2**31 - 1, columns={"raw": Bytes(2**20)}, name=f"{NAME}.large")
    assert caught.value.errno in {errno.ENOSPC, errno.EOVERFLOW, errno.EFBIG, errno.EINVAL}
    assert not os.path.exists(f"{PATH}.large")


def test_a_killed_creator_leaves_no_half_made_table():
    """The name is the last step: whoever is killed before it has made nothing."""

    def create():
        while True:
            Table(2000, columns=COLUMNS, name=f"{NAME}.half").remove()

    with warnings.catch_warnings(), family() as start:
        for _ in range(40):
            child = start(create)
            while not os.path.exists(f"{PATH}.half") and child.status is None:
                pass
            child.kill()
            try:
                with Table.open(f"{NAME}.half") as found:
                    assert len(found) == 0
                    assert found.verify() == []
                    found.remove()
            except NotFound:
                pass


def test_closed_descriptors_are_told_not_mixed_up():
    """A daemon that closes all descriptors: reading goes on, a first write says what is gone."""
    with Table(4, columns={"n": Int()}) as table:
        table["k"] = {"n": 1}

        def as_daemon():
            os.closerange(3, 100)
            fd = os.open("/etc/passwd", os.O_RDONLY)
            assert table["k"] == {"n": 1}
            with pytest.raises(SystemCallError, match="descriptor"):
                table["k"] = {"n": 2}
            table.close()
            os.fstat(fd)  # it was not closed in the table's place

        with family() as start:
            assert all_well(start(as_daemon))
        assert table["k"] == {"n": 1}

"""A queue in an SQLite file: SELECT and then UPDATE gives one job to two workers.

python -m pytest sqlite_queue.py
"""

import contextlib
import queue
import sqlite3
import tempfile

from hypothesis import strategies as st

from ipckit.testing import Kill, ProcessMachine, op
from ipckit.testing.models import FifoQueue

FIRST = "SELECT id, job FROM jobs WHERE NOT taken ORDER BY id LIMIT 1"


class WrongQueue(ProcessMachine):
    """Another worker may select the same row before this one has marked it."""

    specification = FifoQueue()  # put(value); get() gives the oldest, or raises queue.Empty
    faults = (Kill(),)
    engine = "stepped"  # one step at a time, in drawn orders
    runs = 5  # a run makes files, and is slow

    def setup(self):
        self.folder = tempfile.TemporaryDirectory()
        with self.connected() as database:
            database.execute(
                "CREATE TABLE jobs (id INTEGER PRIMARY KEY, job INT, taken INT DEFAULT 0)"
            )

    def teardown(self):
        self.folder.cleanup()

    @contextlib.contextmanager
    def connected(self):  # each process needs a connection of its own
        path = f"{self.folder.name}/queue"
        with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as database:
            database.execute("PRAGMA synchronous = OFF")  # a process dies here, not the machine
            yield database

    @op(value=st.integers(0, 3))
    def put(self, value):
        with self.connected() as database:
            database.execute("INSERT INTO jobs (job) VALUES (?)", [value])

    @op()
    def get(self):
        with self.connected() as database:
            return self.claim(database)

    def claim(self, database):
        row = database.execute(FIRST).fetchone()
        if row is None:
            raise queue.Empty
        database.execute("UPDATE jobs SET taken = 1 WHERE id = ?", [row[0]])
        return row[1]


class RightQueue(WrongQueue):
    """The transaction has the right to write before it reads."""

    def claim(self, database):
        database.execute("BEGIN IMMEDIATE")
        try:
            return super().claim(database)
        finally:
            database.execute("COMMIT")


class AlsoRightQueue(WrongQueue):
    """One statement does both."""

    def claim(self, database):
        row = database.execute(
            "UPDATE jobs SET taken = 1 WHERE id ="
            " (SELECT id FROM jobs WHERE NOT taken ORDER BY id LIMIT 1) RETURNING job"
        ).fetchone()
        if row is None:
            raise queue.Empty
        return row[0]


TestWrong = WrongQueue.TestCase
TestRight = RightQueue.TestCase
TestAlsoRight = AlsoRightQueue.TestCase

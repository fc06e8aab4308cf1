"""A queue in an SQLite file: SELECT and then UPDATE gives one job to two workers.

python -m pytest sqlite_queue.py
"""

import os
import queue
import sqlite3
import tempfile

from hypothesis import strategies as st

from ipckit.testing import ProcessMachine, op
from ipckit.testing.models import FifoQueue

FIRST = "SELECT id, job FROM jobs WHERE NOT taken ORDER BY id LIMIT 1"


class WrongQueue(ProcessMachine):
    """Another worker may select the same row before this one has marked it."""

    engine = "stepped"  # one step at a time, in random orders
    specification = FifoQueue()  # put(value); get() gives the oldest, or raises queue.Empty
    processes = operations = 2
    runs = 40  # of each program: the moment between the two statements is short

    def setup(self):
        self.folder = tempfile.TemporaryDirectory()
        self.owner, self.connection = 0, None
        self.run("CREATE TABLE jobs (id INTEGER PRIMARY KEY, job INT, taken INT DEFAULT 0)")

    def teardown(self):
        self.connection.close()
        self.folder.cleanup()

    def run(self, *statement):
        if self.owner != os.getpid():  # each process needs a connection of its own
            path = os.path.join(self.folder.name, "queue")
            self.owner = os.getpid()
            self.connection = sqlite3.connect(path, isolation_level=None)
            self.connection.execute(
                "PRAGMA synchronous = OFF"
            )  # a power failure does not matter here
        return self.connection.execute(*statement).fetchone()

    @op(value=st.integers(0, 9))
    def put(self, value):
        self.run("INSERT INTO jobs (job) VALUES (?)", [value])

    @op()
    def get(self):
        return self.claim()

    def claim(self):
        row = self.run(FIRST)
        if row is None:
            raise queue.Empty
        self.run("UPDATE jobs SET taken = 1 WHERE id = ?", [row[0]])
        return row[1]


class RightQueue(WrongQueue):
    """The transaction gets the write lock before it reads."""

    def claim(self):
        self.run("BEGIN IMMEDIATE")
        try:
            return super().claim()
        finally:
            self.run("COMMIT")


class AlsoRightQueue(WrongQueue):
    """One statement does both."""

    def claim(self):
        row = self.run(
            "UPDATE jobs SET taken = 1 WHERE id = (SELECT id FROM jobs WHERE NOT taken"
            " ORDER BY id LIMIT 1) RETURNING job"
        )
        if row is None:
            raise queue.Empty
        return row[0]


TestWrong = WrongQueue.TestCase
TestRight = RightQueue.TestCase
TestAlsoRight = AlsoRightQueue.TestCase

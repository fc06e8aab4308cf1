"""A counter in a file that several processes share: one that loses counts, one that does not.

python -m pytest flock_counter.py
"""

import fcntl
import tempfile
from pathlib import Path

from ipckit.testing import Kill, ProcessMachine, op


class WrongCounter:
    """Reads before it has the lock."""

    def __init__(self, path):
        self.path = path

    def add(self):
        value = int(self.path.read_text())
        with self.path.open("r+") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            file.write(str(value + 1))
        return value + 1


class RightCounter(WrongCounter):
    """Reads and writes under the lock; closing the file writes it out, then unlocks."""

    def add(self):
        with self.path.open("r+") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            value = int(file.read())
            file.seek(0)
            file.write(str(value + 1))
        return value + 1


class WrongFile(ProcessMachine):
    """The machine of the counter."""

    kind = WrongCounter
    faults = (Kill(),)  # sometimes a process is killed inside add()

    def setup(self):  # before each run, in the parent
        self.folder = tempfile.TemporaryDirectory()
        path = Path(self.folder.name, "count")
        path.write_text("0")
        self.counter = self.kind(path)

    def teardown(self):  # after each run, in the parent
        self.folder.cleanup()

    def model(self):  # the first state of the model
        return 0

    @op()
    def add(self):  # in one of several processes, at the same time as others
        return self.counter.add()

    @add.model
    def _(self, state):  # add() without other processes: the new state, and the result
        return state + 1, state + 1


class RightFile(WrongFile):
    """The machine of the other counter."""

    kind = RightCounter


TestWrong = WrongFile.TestCase
TestRight = RightFile.TestCase

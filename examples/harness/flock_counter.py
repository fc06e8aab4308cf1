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
    """What the harness is to try."""

    kind = WrongCounter
    faults = (Kill(),)  # now and then a process is killed inside of add()

    def setup(self):  # before each run, in the parent
        self.folder = tempfile.TemporaryDirectory()
        path = Path(self.folder.name, "count")
        path.write_text("0")
        self.counter = self.kind(path)

    def teardown(self):  # after each run, in the parent
        self.folder.cleanup()

    def model(self):  # the state of a counter that nobody else uses
        return 0

    @op()
    def add(self):  # in one of several processes, at the same time as others
        return self.counter.add()

    @add.model
    def _(self, state):  # what add() would do alone: the new state, and the result
        return state + 1, state + 1


class RightFile(WrongFile):
    """The same, for the other counter."""

    kind = RightCounter


TestWrong = WrongFile.TestCase
TestRight = RightFile.TestCase

"""`multiprocessing.Value`: `+= 1` reads, then writes, and its own lock does not cover both.

python -m pytest multiprocessing_value.py
"""

import multiprocessing

from ipckit.testing import ProcessMachine, op
from ipckit.testing.models import Counter


class WrongValue(ProcessMachine):
    """Each access takes the lock, but another process may change the value between two."""

    engine = "stepped"  # one step at a time, in random orders
    specification = Counter()  # has add(by) and get()

    def setup(self):
        fork = multiprocessing.get_context("fork")  # the harness forks its processes
        self.value = fork.Value("q", 0)

    @op()
    def add(self):
        self.value.value += 1
        return self.value.value

    @op()
    def get(self):
        return self.value.value


class RightValue(WrongValue):
    """The lock is held from the first read to the last."""

    @op()
    def add(self):
        with self.value.get_lock():
            self.value.value += 1
            return self.value.value


TestWrong = WrongValue.TestCase
TestRight = RightValue.TestCase

"""UltraDict 0.0.6: increments under the dict's own lock add up, while others read without it;
and a lock of a killed process can be stolen, as its README shows (also needs psutil).
python -m pytest examples/survey/ultradict.py
"""

import itertools
import os

import pytest

from ipckit.testing import Kill, ProcessMachine, kill_point, op

pytest.importorskip("UltraDict")
pytest.importorskip("atomics")
from UltraDict import UltraDict

NUMBER = itertools.count()


class Shared(ProcessMachine):
    """One number in a dict; its buffer is small, so that a full dump comes soon."""

    options = {"buffer_size": 60, "shared_lock": False}  # noqa: RUF012
    runs = 5
    examples = 300

    def setup(self):
        name = f"survey_{os.getpid()}_{next(NUMBER)}"
        self.dict = UltraDict(name=name, create=True, **self.options)
        self.dict["n"] = 0

    def teardown(self):
        self.dict.close(unlink=True)

    def model(self):
        return 0


class UltraDictCounts(Shared):
    """No faults: what the README promises of `lock`, by default an RLock of multiprocessing.

    (The stepped engine cannot try the other, SharedLock: it spins instead of waiting.)
    """

    engine = "stepped"

    @op()
    def add(self):
        with self.dict.lock:
            self.dict["n"] += 1
            return self.dict["n"]

    @add.model
    def _(self, state):
        return state + 1, state + 1

    @op()
    def read(self):
        return self.dict["n"]

    @read.model
    def _(self, state):
        return state, state


class UltraDictLockSteals(Shared):
    """A process is killed with the lock; the others steal it, as the README shows."""

    options = {"shared_lock": True}  # noqa: RUF012
    engine = "real"
    faults = (Kill(at="held"),)
    deadline = 3.0
    runs = 2

    @op()
    def add(self):
        with self.dict.lock(timeout=0.2, steal_after_timeout=True):
            kill_point("held")
            self.dict["n"] += 1

    @add.model
    def _(self, state):
        return state + 1, None


TestCounts = UltraDictCounts.TestCase
TestLockSteals = UltraDictLockSteals.TestCase

"""atomics 1.0.3: additions to an integer in shared memory are atomic ("thread-safe and
process-safe"), also when a process is killed in one.
python -m pytest examples/survey/atomics_.py
"""

import mmap

import pytest
from hypothesis import strategies as st

from ipckit.testing import Kill, ProcessMachine, op

atomics = pytest.importorskip("atomics")


class Atomics(ProcessMachine):
    """fetch_add, load and compare-exchange of one integer."""

    engine = "ptrace"
    libraries = ("patomic",)
    faults = (Kill(),)
    examples = 100
    runs = 3
    small = st.integers(0, 3)

    def setup(self):
        self.memory = mmap.mmap(-1, 4096)
        self.view = atomics.atomicview(buffer=memoryview(self.memory)[:4], atype=atomics.INT)
        self.number = self.view.__enter__()

    def teardown(self):
        self.view.__exit__(None, None, None)

    def model(self):
        return 0

    @op(by=small)
    def add(self, by):
        return self.number.fetch_add(by)

    @add.model
    def _(self, state, by):
        return state + by, state

    @op()
    def load(self):
        return self.number.load()

    @load.model
    def _(self, state):
        return state, state

    @op(old=small, new=small)
    def swap(self, old, new):
        return bool(self.number.cmpxchg_strong(expected=old, desired=new).success)

    @swap.model
    def _(self, state, old, new):
        return (new, True) if state == old else (state, False)


class AtomicsReal(Atomics):
    """The same at full speed."""

    engine = "real"
    runs = 10


TestAtomics = Atomics.TestCase
TestReal = AtomicsReal.TestCase

"""faster-fifo 1.5.2: get() returns each value once, in the order of the puts.
python -m pytest examples/survey/faster_fifo_.py
"""

import pytest
from hypothesis import strategies as st

from ipckit.testing import ProcessMachine, op
from ipckit.testing.models import FifoQueue

pytest.importorskip("faster_fifo")
from faster_fifo import Queue


class FasterFifo(ProcessMachine):
    """Puts and gets that do not wait; a process is paused between two machine instructions."""

    engine = "ptrace"
    libraries = ("faster_fifo",)
    specification = FifoQueue()
    examples = 100
    runs = 3
    deadline = 2.0

    def setup(self):
        self.queue = Queue(max_size_bytes=10_000)

    def teardown(self):
        self.queue.close()

    @op(value=st.integers(0, 9))
    def put(self, value):
        self.queue.put(value, block=False)

    @op()
    def get(self):
        return self.queue.get(block=False)


class FasterFifoReal(FasterFifo):
    """The same at full speed."""

    engine = "real"
    runs = 10


TestFifo = FasterFifo.TestCase
TestReal = FasterFifoReal.TestCase

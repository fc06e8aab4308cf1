"""CPython 3.11's multiprocessing.Queue: what a living process put is got once; with kills this is
not claimed (the manual warns of them).
python -m pytest examples/survey/multiprocessing_queue.py
"""

import contextlib
import multiprocessing
import queue

from hypothesis import strategies as st

from ipckit.testing import Kill, ProcessMachine, invariant, op

FORK = multiprocessing.get_context("fork")


class QueueKeeps(ProcessMachine):
    """A put returns before its value is sent, so a get may find nothing; later all is there."""

    faults = ()
    before = after = 0
    runs = 3
    deadline = 4.0

    def setup(self):
        self.queue = FORK.Queue()

    def teardown(self):
        self.queue.close()
        self.queue.cancel_join_thread()

    def model(self):
        return ()

    @op(value=st.integers(0, 9))
    def put(self, value):
        self.queue.put(value)

    @put.model
    def _(self, state, value):
        return tuple(sorted((*state, value))), None

    @op()
    def get(self):
        with contextlib.suppress(queue.Empty):
            return self.queue.get(timeout=0.05)

    @get.model
    def _(self, state):
        left = [state[:at] + state[at + 1 :] for at in range(len(state))]
        return [(state, None), *zip(left, state, strict=True)]

    @invariant()
    def all_there(self, history):
        dead = {event.process for event in history.events if event.kind == "killed"}
        puts = [x for x in history if x.name == "put" and x.process not in dead and not x.cut]
        gone = [x for x in history.results("get") if x is not None]
        unsure = history.cut("get")  # each may have taken one
        with contextlib.suppress(queue.Empty):
            while True:
                gone.append(self.queue.get(timeout=0.3))
        for each in puts:
            if each.arguments["value"] in gone:
                gone.remove(each.arguments["value"])
            else:
                unsure -= 1
        assert unsure >= 0, "a living process's put was never got"


class QueueKilled(QueueKeeps):
    """The same, with kills."""

    faults = (Kill(),)


TestQueue = QueueKeeps.TestCase
TestQueueKilled = QueueKilled.TestCase

"""The harness on server tasks in every mode: clients are killed, and task workers in their tasks.

A task that was asked for and answered ran once, or as often as its task worker died in it and once
more; one whose client was killed ran at most so often. IPCKIT_SOAK=1 draws twenty times as many.
"""

from __future__ import annotations

import itertools
import os
from collections import Counter as Bag

import pytest
from hypothesis import strategies as st
from serving import LOOK, Ask, Running

from ipckit.testing import Kill, ProcessMachine, invariant, op
from ipckit.testing.search.search import run_machine

SCALE = 20 if os.environ.get("IPCKIT_SOAK") == "1" else 1
RUNS = itertools.count()


class Tasks(ProcessMachine):
    running: Running
    processes = 3
    operations = 3
    before = after = 1
    examples = 40 * SCALE
    runs = 1
    deadline = LOOK
    faults = (Kill(),)

    def setup(self):
        self.run = next(RUNS)
        self.counted = self.stats()["task_count"]

    def stats(self):
        """The numbers, when no task waits or runs."""
        ask = Ask(self.running)
        try:
            return self.running.wait_for(
                lambda: (found := ask("call", "stats"))["tasking_num"] == 0 and found, "no task"
            )
        finally:
            ask.close()

    def model(self):
        return None

    def ask(self, *request):
        ask = Ask(self.running)
        try:
            return ask("await", "task_async", request, LOOK)
        finally:
            ask.close()

    @op(value=st.binary(max_size=9000))
    def echo(self, value):
        return self.ask("echo", value)

    @echo.model
    def _(self, state, value):
        return state, value

    @op(value=st.integers(0, 2))
    def once(self, value):
        return self.ask("once", self.run, value)

    @once.model
    def _(self, state, value):
        return state, None

    @op(attempts=st.integers(2, 3))
    def die(self, attempts):
        """The task worker is killed in the task until its last attempt."""
        return self.ask("die_until", attempts)

    @die.model
    def _(self, state, attempts):
        return state, attempts

    @invariant(when="quiet")
    def each_ran_once(self, history):
        noted = self.running.journal("once")
        ran = Bag(entry[4] for entry in noted if entry[3] == self.run)
        asked = [each for each in history if each.name == "once"]
        for value in range(3):
            of_value = [each for each in asked if each.arguments["value"] == value]
            done = sum(not each.cut for each in of_value)
            assert done <= ran[value] <= len(of_value), (value, done, ran[value], len(of_value))

    @invariant(when="quiet")
    def nothing_drifts(self, history):
        """Every task is counted once, as what became of it; no attempt is made for nothing."""
        now = self.stats()
        done = sum(not each.cut for each in history)
        assert done <= now["task_count"] - self.counted <= len(history)
        assert now["task_count"] == now["task_done"] + now["task_buried"] and not now["task_buried"]
        assert now["task_failed"] == now["task_retries"]


@pytest.mark.parametrize("mode", [1, 2, 3])
@pytest.mark.timeout(3600)
def test_tasks_are_answered_and_run_once(mode, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    running = Running(tmp_path, task_ipc_mode=mode, worker_num=2, task_worker_num=2)
    try:
        run_machine(type(f"TasksOfMode{mode}", (Tasks,), {"running": running}))
    finally:
        code = running.end()
    assert code == 0, running.log()[-4000:]

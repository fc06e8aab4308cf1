"""K5: many tasks given up together do not hold up the manager's loop, and none is left out."""

from __future__ import annotations

import errno
import time

import pytest

from ipckit.errors import SystemCallError
from ipckit.server.config.settings import Settings
from ipckit.server.tasks import recovery
from ipckit.server.tasks.dead_letters import DeadLetters
from ipckit.server.tasks.ledger import TaskLedger
from ipckit.server.tasks.recovery import LETTERS_A_TURN, TaskRecovery
from ipckit.server.tasks.retry_policy import Failure

TASKS = 3 * LETTERS_A_TURN + 5  # more than three turns write
TAKER = 2  # the first place of the one task worker


@pytest.fixture
def ledger(tmp_path):
    made = TaskLedger(
        Settings(
            worker_num=1,
            task_worker_num=1,
            task_queue_size=TASKS,
            task_memory=1 << 20,
            runtime_dir=str(tmp_path),
        )
    )
    yield made
    made.destroy()


@pytest.fixture
def letters(tmp_path):
    made = DeadLetters(str(tmp_path / "letters"))
    made.prepare()
    return made


def keeper_of(ledger, letters):
    return TaskRecovery(ledger, letters, lambda worker: 2 * worker, limit=None, outside=True)


def claimed(ledger, count):
    """Post and claim so many tasks; return what give_up() needs of each, in their order."""
    submitter, taker = ledger.view(0), ledger.view(TAKER)
    for number in range(count):
        assert submitter.submit(b"%d" % number, -1, True) > 0
    return [(taker, *taker.claim()[:3]) for _ in range(count)]


def give_up(ledger, tasks):
    for taker, record, task_id, attempt in tasks:
        ledger.give_up(taker, record, task_id, attempt, Failure("gone", at=time.time()))


def test_a_turn_writes_some_letters_and_asks_for_the_next_turn_at_once(ledger, letters):
    give_up(ledger, claimed(ledger, TASKS))
    keeper = keeper_of(ledger, letters)
    written = []
    for _ in range(4):
        now = time.monotonic_ns()
        keeper.tend(now)
        written.append(len(letters))
        assert keeper.next_due == now  # also behind the last one: some may have come before it
    assert written == [LETTERS_A_TURN, 2 * LETTERS_A_TURN, 3 * LETTERS_A_TURN, TASKS]
    now = time.monotonic_ns()
    keeper.tend(now)
    assert keeper.next_due > now
    assert sorted(int(letter.body) for letter in letters) == list(range(TASKS))


def test_letters_before_the_place_where_a_turn_went_on_are_written_too(ledger, letters):
    tasks = claimed(ledger, TASKS)
    early, late = tasks[:5], tasks[5:]
    give_up(ledger, late)
    keeper = keeper_of(ledger, letters)
    keeper.tend(time.monotonic_ns())
    give_up(ledger, early)
    turns = 1
    while len(letters) < TASKS:
        assert (turns := turns + 1) < 7
        keeper.tend(time.monotonic_ns())


def test_the_end_of_the_server_writes_all_of_them(ledger, letters):
    give_up(ledger, claimed(ledger, TASKS))
    keeper = keeper_of(ledger, letters)
    keeper.tend(time.monotonic_ns())
    keeper.account_for_the_rest()
    assert len(letters) == TASKS


class SlowAndRefused(DeadLetters):
    """The first attempt to write fails, and the time of the end is over then."""

    refused = False

    def add(self, letter):
        if not self.refused:
            self.refused = True
            raise SystemCallError(errno.ENOLCK, "fcntl: no locks are left")
        super().add(letter)


@pytest.mark.parametrize("given_up", [True, False], ids=["given up", "not run"])
def test_the_end_of_the_server_tries_again_also_without_time(
    ledger, tmp_path, monkeypatch, given_up
):
    monkeypatch.setattr(recovery, "LAST_SECONDS", 0.0)
    letters = SlowAndRefused(str(tmp_path / "letters"))
    letters.prepare()
    if given_up:
        give_up(ledger, claimed(ledger, 1))
    else:
        assert ledger.view(0).submit(b"0", -1, True) > 0
    keeper_of(ledger, letters).account_for_the_rest()
    assert letters.refused and len(letters) == 1

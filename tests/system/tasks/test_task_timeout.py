"""The time limit of an attempt: told to the callback first, by the kernel's kill then."""

from __future__ import annotations

import pytest
from serving import LOOK, Refused

from ipckit.server.tasks.dead_letters import DeadLetters


@pytest.fixture(params=[False, True], ids=["def", "async"])
def coroutine(request) -> bool:
    return request.param


def test_the_callback_hears_it_and_its_process_lives(start, mode):
    """D13: the exception comes first."""
    running = start(task_ipc_mode=mode, task_timeout=2, task_max_attempts=2)
    ask = running.client()
    text = r"TaskFailed.*TaskTimeout: the attempt took longer than task_timeout=2 s"
    with pytest.raises(Refused, match=text):
        ask("await", "task_async", ("sleep", 1000), LOOK)
    assert ask("await", "task_async", ("finish", "well"), LOOK) == "well"
    assert running.journal("worker_error") == []
    assert len(running.journal("begin")) == 2 and running.journal("end") == []


def test_who_goes_on_is_killed_and_that_is_an_attempt(start, tmp_path):
    """D13, D10: a second later the kill."""
    path = tmp_path / "letters"
    running = start(task_timeout=2, task_max_attempts=2, dead_letter_path=str(path))
    ask = running.client()
    with pytest.raises(Refused, match=r"TaskFailed.*TaskTimeout: it went on for .* and was killed"):
        ask("await", "task_async", ("deaf",), LOOK)
    assert [entry[3] for entry in running.journal("heard")] == ["TaskTimeout"] * 2
    (letter,) = DeadLetters(str(path))
    assert [each.signal for each in letter.attempts] == [9, 9]
    assert ask("await", "task_async", ("finish", "well"), LOOK) == "well"


def test_who_is_in_time_hears_nothing(start, coroutine):
    """D13: nothing comes late."""
    running = start(task_timeout=1000, async_task=coroutine)
    ask = running.client()
    task_id, deadline = ask("await", "task_async", ("who",), LOOK)[4][::3]
    assert task_id == 1 and deadline > 0
    for number in range(50):
        assert ask("await", "task_async", ("finish", number), LOOK) == number
    assert running.journal("worker_error") == []


def test_a_coroutine_is_ended_too(start):
    running = start(task_timeout=2, task_max_attempts=1, async_task=True)
    ask = running.client()
    with pytest.raises(Refused, match="TaskTimeout"):
        ask("await", "task_async", ("await", 1000), LOOK)
    assert ask("await", "task_async", ("finish", "well"), LOOK) == "well"
    assert running.journal("worker_error") == []

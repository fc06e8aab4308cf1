"""Tasks that were given up: what is kept of them, and what can be done with it."""

from __future__ import annotations

import os
import sqlite3

import pytest

from ipckit import AccessDenied, NotFound
from ipckit.server.attempts import Failure
from ipckit.server.dead_letters import DeadLetter, DeadLetters


def letter(number, error="ValueError: no"):
    failures = Failure("KeyError: first", "trace", None, 1.5), Failure(error, "", 9, 2.5)
    return DeadLetter(0, number, 0, -1, True, b"i:5;", failures, 1.0, 3.0)


def test_a_letter_comes_back(tmp_path):
    rung = []
    letters = DeadLetters(str(tmp_path / "letters"), lambda: rung.append(1))
    assert list(letters) == [] and len(letters) == 0 and letters.wanted_again() == []
    letters.add(letter(7))
    letters.add(letter(8, "OSError: other"))
    letters.add(letter(9))
    first, second, third = letters
    assert (first.task_id, first.data, first.error) == (7, 5, "ValueError: no")
    assert first.attempts[1].signal == 9 and first.attempts[0].traceback == "trace"
    assert letters[second.id] == second
    assert letters.groups() == {"ValueError: no": 2, "OSError: other": 1}
    letters.remove(third.id)
    letters.retry(first.id)
    assert rung == [1]
    assert [each.task_id for each in letters] == [8] and len(letters) == 1
    assert [each.task_id for each in letters.wanted_again()] == [7]
    letters.tried_again(first.id)
    assert letters.wanted_again() == []
    for call in (letters.retry, letters.remove, letters.__getitem__):
        with pytest.raises(NotFound, match=f"no dead letter {first.id}"):
            call(first.id)
    assert os.stat(letters.path).st_mode & 0o777 == 0o600


def test_a_file_that_others_may_write_is_refused(tmp_path):
    path = tmp_path / "letters"
    path.touch()
    os.chmod(path, 0o666)
    with pytest.raises(AccessDenied, match="mode 0o666"):
        DeadLetters(str(path)).add(letter(1))
    os.symlink(path, tmp_path / "link")
    with pytest.raises(OSError, match="symbolic links"):
        len(DeadLetters(str(tmp_path / "link")))


def test_what_is_no_database_is_told(tmp_path):
    path = tmp_path / "letters"
    path.write_bytes(b"nothing of the kind" * 100)
    os.chmod(path, 0o600)
    with pytest.raises(sqlite3.DatabaseError):
        list(DeadLetters(str(path)))


def test_every_attempt_is_kept_and_the_task_can_be_tried_again(start, mode, tmp_path):
    path = tmp_path / "letters"
    running = start(
        task_ipc_mode=mode, task_max_attempts=2, dead_letter_path=str(path), task_retry_delays=(0,)
    )
    ask = running.client()
    ask("call", "task", ("raise_until", 3))
    ask("call", "task", ("die_until", 3))
    running.wait_for(lambda: len(running.journal("task_failed")) == 2, "both are given up")
    letters = DeadLetters(str(path))
    by_data = {each.data[0]: each for each in letters}
    raised, died = by_data["raise_until"], by_data["die_until"]
    assert len(raised.attempts) == len(died.attempts) == 2
    assert "Traceback" in raised.attempts[0].traceback and raised.attempts[0].signal is None
    assert [each.signal for each in died.attempts] == [9, 9]
    assert raised.created_at <= raised.attempts[0].at <= raised.buried_at
    assert ask("call", "stats")["task_buried"] == 2
    letters.retry(raised.id)
    running.wait_for(lambda: len(running.journal("task_failed")) == 3, "it is tried, in vain")
    again = [each for each in letters if each.data[0] == "raise_until"]
    assert len(again) == 1 and again[0].id != raised.id and again[0].task_id > raised.task_id

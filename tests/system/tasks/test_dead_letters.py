"""Tasks that were given up: what is kept of them, and what can be done with it."""

from __future__ import annotations

import json
import os
import pty
import sqlite3
import subprocess
import sys

import pytest
from deadlines import LOOK

from ipckit import AccessDenied, NotFound
from ipckit.server.tasks.dead_letters import DeadLetter, DeadLetters
from ipckit.server.tasks.retry_policy import Failure


def letter(number, error="ValueError: no"):
    failures = Failure("KeyError: first", "trace", None, 1.5), Failure(error, "", 9, 2.5)
    return DeadLetter(0, number, -1, -1, "php", b"i:5;", failures, 1.0, 3.0)


def test_a_letter_comes_back(tmp_path):
    woken = []
    letters = DeadLetters(str(tmp_path / "letters"), lambda: woken.append(1))
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
    assert woken == [1]
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
    """D11: the letter has every attempt."""
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


def ipckit(*arguments):
    """Run the command; return its exit code, stdout and stderr."""
    done = subprocess.run(
        [sys.executable, "-m", "ipckit", *arguments],
        capture_output=True,
        text=True,
        timeout=LOOK,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


@pytest.fixture
def kept(tmp_path):
    """Three letters of two errors."""
    path = tmp_path / "letters"
    for number, error in ((7, "ValueError: no"), (8, "OSError: other"), (9, "ValueError: no")):
        DeadLetters(str(path)).add(letter(number, error))
    return str(path)


def test_dead_ls_groups_by_error(kept):
    code, out, _ = ipckit("dead", "ls", kept)
    lines = out.splitlines()
    assert code == 0 and len(lines) == 4
    assert lines[0].split()[0] == "2" and lines[0].endswith("ValueError: no")
    assert lines[1].split() == ["1", "3"] and lines[3].split() == ["2"]
    code, out, _ = ipckit("dead", "ls", kept, "--json")
    groups = json.loads(out)
    assert code == 0
    assert [(each["count"], each["ids"]) for each in groups] == [(2, [1, 3]), (1, [2])]


def test_dead_show_tells_every_attempt(kept):
    code, out, _ = ipckit("dead", "show", kept, "2")
    assert code == 0
    for part in (
        "task 8 of another program",
        "data: 5",
        "KeyError: first\ntrace",
        "OSError: other",
    ):
        assert part in out
    code, out, _ = ipckit("dead", "show", kept, "2", "--json")
    form = json.loads(out)
    assert code == 0 and form["task_id"] == 8 and form["attempts"][1]["signal"] == 9


def test_dead_rm_and_retry_take_ids_an_error_or_all(kept):
    letters = DeadLetters(kept)
    code, _, err = ipckit("dead", "rm", kept, "1", "5")
    assert code == 1 and "no dead letter 5" in err and len(letters) == 3, "nothing is changed"
    assert ipckit("dead", "rm", kept, "--error", "OSError: other")[:2] == (0, "1 removed\n")
    assert ipckit("dead", "retry", kept, "3", "3")[:2] == (0, "1 to be tried again\n")
    assert [each.task_id for each in letters.wanted_again()] == [9]
    assert ipckit("dead", "rm", kept, "--all", "--json")[:2] == (0, '{"ids": [1]}\n')
    assert ipckit("dead", "rm", kept, "--all")[0] == 1, "there is none"
    assert ipckit("dead", "ls", kept)[:2] == (0, "no dead letters\n")


def test_dead_says_what_is_wrong(tmp_path, kept):
    for wrong in (("rm", kept), ("rm", kept, "1", "--all"), ("show", kept), ("bury", kept), ()):
        assert ipckit("dead", *wrong)[0] == 2, wrong
    missing = str(tmp_path / "none")
    code, out, err = ipckit("dead", "ls", missing, "--json")
    assert code == 1 and missing in err and missing in json.loads(out)["error"]
    assert not os.path.exists(missing)
    os.truncate(kept, 0)
    with open(kept, "wb") as file:
        file.write(b"nothing of the kind" * 100)
    code, _, err = ipckit("dead", "ls", kept)
    assert code == 1 and "not a database" in err


def test_what_an_ordered_end_leaves_is_written_down(start, tmp_path):
    """D17: what waited is not forgotten."""
    path = tmp_path / "letters"
    settings = {"dead_letter_path": str(path), "task_worker_num": 1, "max_wait_time": 0.1}
    running = start(**settings, task_retry_delays=[3600])
    ask = running.client()
    ask("call", "task", ("raise_until", 2))
    running.wait_for(lambda: ask("call", "stats")["task_retries"] == 1, "it waits for its pause")
    ask.tell("call", "task", ("sleep", 1000))
    running.wait_for(lambda: running.journal("begin"), "the task worker is busy")
    ask = running.client()
    ask("call", "task", ("once", "x" * 100_000))
    ask("call_with", "task", [("once", 1)], {"delay": 3600})
    running.end()
    assert "4 tasks were not run: the server stopped; 4 of them" in running.log()
    letters = {each.data[0]: each for each in DeadLetters(str(path))}
    assert {each.error for each in letters.values()} == {"the server stopped"}
    assert [each.error for each in letters["raise_until"].attempts] == [
        "ValueError: attempt 1 is not 2",
        "the server stopped",
    ]
    assert "died: signal 6" in letters["sleep"].attempts[0].error
    for each in DeadLetters(str(path)):
        if each.data[0] == "once":
            DeadLetters(str(path)).retry(each.id)
    again = start(**settings)
    again.wait_for(lambda: len(again.journal("once")) == 2, "the next server runs them")


def test_a_path_that_cannot_be_is_told_at_start(start, tmp_path):
    with pytest.raises(AssertionError, match=r"NotFound.*dead_letter_path .*/no/letters"):
        start(dead_letter_path=str(tmp_path / "no" / "letters"))
    (tmp_path / "text").write_text("nothing of the kind" * 100)
    os.chmod(tmp_path / "text", 0o600)
    with pytest.raises(AssertionError, match=r"SystemCallError.*not a database"):
        start(dead_letter_path=str(tmp_path / "text"))


def test_letters_of_a_ledger_with_a_name_are_read_and_tried_again_by_any_server(start, tmp_path):
    """A named ledger keeps plain data, another one pickles: a letter says which."""
    path = tmp_path / "letters"
    settings = {"task_max_attempts": 1, "dead_letter_path": str(path)}
    named = start(**settings, task_ledger=f"test.{os.getpid()}")
    ask = named.client()
    ask("call", "task", ["raise_until", 2])
    named.wait_for(lambda: named.journal("task_failed"), "it is given up")
    (plain,) = DeadLetters(str(path))
    DeadLetters(str(path)).retry(plain.id)
    named.wait_for(lambda: len(named.journal("task_failed")) == 2, "and once more")
    named.end()
    (plain,) = DeadLetters(str(path))
    assert plain.data == ["raise_until", 2]
    unnamed = start(**settings)
    ask = unnamed.client()
    ask("call", "task", ("raise_until", 2))
    DeadLetters(str(path)).retry(plain.id)
    unnamed.wait_for(lambda: len(unnamed.journal("task_failed")) == 2, "both are given up")
    unnamed.end()
    assert {type(each.data) for each in DeadLetters(str(path))} == {list, tuple}
    again = start(**settings, task_ledger=f"test.{os.getpid()}")
    for letter in DeadLetters(str(path)):
        DeadLetters(str(path)).retry(letter.id)
    again.wait_for(lambda: again.log().count("cannot be tried again") == 2, "both are pickled")
    left = {type(each.data) for each in DeadLetters(str(path))}
    assert left == {list, tuple}, "and stay letters"
    assert not again.journal("task_failed")


def test_relative_paths_are_those_of_the_start(tmp_path):
    """F27: the manager, a worker and a task worker change their working directory."""
    (tmp_path / "elsewhere").mkdir()
    names = (
        "dead_letter_path",
        "pid_file",
        "log_file",
        "runtime_dir",
        "control_path",
        "task_tmpdir",
    )
    settings = ", ".join(f"{name}={name!r}" for name in names)
    code = f"""
import os, ipckit
server = ipckit.Server("socket", 0, sock_type=ipckit.SockType.UNIX_STREAM, worker_num=1,
    task_worker_num=1, task_max_attempts=1, {settings})
def task(server, task_id, source, data):
    os.chdir("elsewhere")
    raise ValueError("no" * 100_000)
def failed(server, task_id, failure):
    os.write(1, b"%d\\n" % len(server.dead_letters))
server.on("start", lambda server: (os.chdir("elsewhere"), os.write(1, b"up\\n")))
server.on("worker_start", lambda server, worker: server.task("x" * 100_000) if worker == 0 else None)
server.on("receive", print); server.on("task", task); server.on("task_failed", failed)
server.start()
"""
    with subprocess.Popen(
        [sys.executable, "-c", code], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        try:
            assert {process.stdout.readline(), process.stdout.readline()} == {b"up\n", b"1\n"}
            assert len(DeadLetters(str(tmp_path / "dead_letter_path"))) == 1
            assert not os.listdir(tmp_path / "elsewhere")
        finally:
            process.terminate()
            process.communicate(timeout=LOOK)
    assert process.returncode == 0
    left = {each for each in os.listdir(tmp_path) if not each.startswith("dead_letter_path")}
    assert left == {"elsewhere", "log_file", "runtime_dir", "task_tmpdir"}
    assert not os.listdir(tmp_path / "runtime_dir") and not os.listdir(tmp_path / "task_tmpdir")
    assert not os.listdir(tmp_path / "elsewhere")


def on_a_terminal(*words) -> str:
    """What the command prints on a terminal."""
    ours, theirs = pty.openpty()
    try:
        process = subprocess.Popen([sys.executable, "-m", "ipckit", *words], stdout=theirs)
        os.close(theirs)
        printed = b""
        while part := read(ours):
            printed += part
        assert process.wait(LOOK) == 0
    finally:
        os.close(ours)
    return printed.decode().replace("\r\n", "\n")


def read(fd: int) -> bytes:
    try:
        return os.read(fd, 65536)
    except OSError:  # EIO: whoever wrote has gone
        return b""


def test_a_terminal_gets_what_it_can_take(tmp_path):
    """A long text is cut there, with a note; a pipe and --full get all of it; `ls` has a header."""
    path = str(tmp_path / "letters")
    body = b's:500000:"' + b"x" * 500_000 + b'";'
    failure = Failure("ValueError: " + "e" * 100_000, "t" * 100_000, None, 1.0)
    DeadLetters(path).add(DeadLetter(0, 1, -1, -1, "php", body, (failure,), 1.0, 2.0))
    shown = on_a_terminal("dead", "show", path, "1")
    assert len(shown) < 20_000
    assert shown.count("characters are left out: --full shows them") == 3
    assert "[496,002 characters are left out" in shown and "data: 'xxx" in shown
    whole = on_a_terminal("dead", "show", path, "1", "--full")
    code, piped, _ = ipckit("dead", "show", path, "1")
    assert code == 0 and len(piped) > 700_000 and whole == piped
    head, first, *_ = on_a_terminal("dead", "ls", path).splitlines()
    assert head.split()[0] == "count" and head.endswith("error, and below it the ids")
    assert first.index("ValueError") == head.index("error,")

"""`ipckit demo`: 10,000 recipients, one mail each, whatever fails and whoever is killed."""

from __future__ import annotations

import email.policy
import errno
import hashlib
import json
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from deadlines import LOOK, RUN

from ipckit.cli.demo import command
from ipckit.cli.demo.mail import (
    MAX_ATTEMPTS,
    attempt_fails,
    file_name,
    message_id,
    message_ids,
    render,
)

SIZE = 10_000 if os.environ.get("IPCKIT_SOAK") == "1" else 2000


def demo(out: Path, *arguments: str, **options) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "ipckit", "demo", "--out", out, *arguments],
        capture_output=True,
        text=True,
        timeout=RUN,
        check=False,
        **options,
    )


def mails(out: Path) -> dict[str, str]:
    """Return a hash of each file's content, by its name."""
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in out.iterdir()}


def sound_attempt(number: int, first: int = 1) -> int:
    """The first attempt from `first` on that the demo does not fail on purpose."""
    attempt = first
    while attempt_fails(number, attempt):
        attempt += 1
    return attempt


def failures(recipients: int) -> int:
    """How many attempts the demo fails on purpose."""
    return sum(sound_attempt(number) - 1 for number in range(1, recipients + 1))


def retries_by_one_kill(recipients: int) -> set[int]:
    """What one kill can add: none, if it met nobody or an attempt that was to fail; else one.

    One, and those after it that fail on purpose and would not have been made without the kill.
    """
    added = {0}
    for number in range(1, recipients + 1):
        sound = sound_attempt(number)
        added.add(sound_attempt(number, sound + 1) - sound)
    return added


def check_table(done: subprocess.CompletedProcess, recipients: int, killed: int) -> None:
    """The table is true, and its last line says the same as JSON."""
    *table, last = done.stdout.splitlines()
    figures = json.loads(last)
    assert [line.split()[-1].replace(",", "") for line in table] == [
        str(value) for value in figures.values()
    ]
    assert figures["recipients"] == figures["delivered"] == recipients
    assert figures["given_up"] == 0
    assert figures["task_workers_killed"] == killed
    by_kill = figures["retries"] - failures(recipients)
    assert by_kill in (retries_by_one_kill(recipients) if killed else {0})
    assert figures["attempts"] == recipients + figures["retries"]


@pytest.fixture(scope="module")
def mode_1(tmp_path_factory) -> dict[str, str]:
    out = tmp_path_factory.mktemp("mode1")
    done = demo(out, "--mode", "1")
    assert done.returncode == 0, done
    check_table(done, 10_000, killed=0)
    return mails(out)


def test_10000_mails_in_mode_1(mode_1):
    assert len(mode_1) == 10_000
    assert 0.19 < failures(10_000) / (10_000 + failures(10_000)) < 0.21, "one in five"


@pytest.mark.parametrize("mode", ["2", "3"])
def test_every_mode_gives_the_same_files_and_the_table_is_true(tmp_path, mode_1, mode):
    done = demo(tmp_path, "--mode", mode, "--recipients", str(SIZE))
    assert done.returncode == 0, done
    names = {file_name(number) for number in range(1, SIZE + 1)}
    assert mails(tmp_path) == {name: mode_1[name] for name in names}
    check_table(done, SIZE, killed=0)
    assert f"{SIZE}/{SIZE} mails" in done.stderr


@pytest.mark.parametrize("mode", ["1", "2", "3"])
def test_a_task_worker_is_killed_and_nothing_is_lost(tmp_path, mode):
    done = demo(tmp_path, "--mode", mode, "--recipients", "3000", "--kill")
    assert done.returncode == 0, done
    check_table(done, 3000, killed=1)
    assert len(list(tmp_path.iterdir())) == 3000


@pytest.mark.parametrize("who", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_no_process_outlives_the_demo(tmp_path, who):
    """Whatever ends it: the server ends too (it holds stderr), and its queue is removed."""
    with subprocess.Popen(
        [sys.executable, "-m", "ipckit", "demo", "--out", tmp_path, "--recipients", "50000"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # noqa: PLW1509
    ) as process:
        assert process.stderr is not None
        said = b""
        while b"/50000 mails" not in said:
            assert select.select([process.stderr], [], [], RUN)[0], said
            said += os.read(process.stderr.fileno(), 65536)
        if who == signal.SIGINT:
            os.killpg(process.pid, who)  # as a terminal does
        else:
            process.send_signal(who)
        end = time.monotonic() + LOOK
        while more := (
            select.select([process.stderr], [], [], max(0, end - time.monotonic()))[0]
            and os.read(process.stderr.fileno(), 65536)
        ):
            said += more
        assert more == b"", "somebody still holds stderr"
        assert process.wait(RUN) == (1 if who == signal.SIGINT else -who)
        assert b"Traceback" not in said


def test_json_prints_one_document_and_no_more(tmp_path):
    done = demo(tmp_path, "--recipients", "7", "--json")
    assert done.returncode == 0 and done.stderr == ""
    assert json.loads(done.stdout)["delivered"] == 7
    assert done.stdout.count("\n") == 1


def test_an_earlier_run_is_replaced_and_strangers_are_kept(tmp_path):
    assert demo(tmp_path, "--recipients", "20").returncode == 0
    (tmp_path / ".7.4711.part").write_text("half a mail")  # a task worker was killed here
    assert demo(tmp_path, "--recipients", "10").returncode == 0
    assert len(list(tmp_path.iterdir())) == 10
    for stranger in ("mine.txt", "000011.eml"):  # the second only looks like ours
        (tmp_path / stranger).write_text("keep me")
        done = demo(tmp_path, "--recipients", "10", "--json")
        assert done.returncode == 1 and stranger in done.stderr
        assert stranger in json.loads(done.stdout)["error"]
        assert len(list(tmp_path.iterdir())) == 11
        (tmp_path / stranger).unlink()


def test_a_directory_that_cannot_be_is_a_no_without_a_traceback(tmp_path):
    (tmp_path / "file").touch()
    done = demo(tmp_path / "file", "--json")
    assert done.returncode == 1
    assert done.stderr.startswith("ipckit demo: ") and done.stderr.count("\n") == 1
    assert os.strerror(errno.EEXIST) in json.loads(done.stdout)["error"]


def test_files_where_it_is_run_stand_in_for_no_module(tmp_path):
    (tmp_path / "csv.py").write_text("raise SystemExit('the wrong csv')")
    ipckit = Path(sys.executable).with_name("ipckit")
    done = subprocess.run(
        [ipckit, "demo", "--recipients", "5"],
        cwd=tmp_path,
        capture_output=True,
        timeout=RUN,
        check=False,
    )
    assert done.returncode == 0, done
    assert len(list((tmp_path / "build/demo").iterdir())) == 5


def test_a_terminal_gets_a_bar(tmp_path):
    ours, theirs = os.openpty()
    try:
        done = subprocess.run(
            [sys.executable, "-m", "ipckit", "demo", "--out", tmp_path, "--recipients", "9"],
            stdout=subprocess.DEVNULL,
            stderr=theirs,
            timeout=RUN,
            check=False,
        )
        said = os.read(ours, 65536).decode()
    finally:
        os.close(ours)
        os.close(theirs)
    assert done.returncode == 0, said
    assert f"\r[{'#' * 40}] 9/9\r\n" in said


def test_a_reader_that_goes_away_gets_no_traceback(tmp_path):
    with subprocess.Popen(
        [sys.executable, "-m", "ipckit", "demo", "--out", tmp_path, "--recipients", "3", "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.close()
        assert process.wait(RUN) == 1
        assert process.stderr.read() == b""


@pytest.mark.parametrize(
    "arguments",
    [
        ("--mode", "4"),
        ("--recipients", "0"),
        ("--recipients", "many"),
        ("--task-workers", "257"),
        ("--nonsense",),
    ],
)
def test_wrong_use_exits_2(tmp_path, arguments):
    done = demo(tmp_path / "out", *arguments)
    assert done.returncode == 2 and "usage:" in done.stderr
    assert not (tmp_path / "out").exists()


def test_no_command_is_wrong_use_and_version_is_one_line():
    ask = [sys.executable, "-m", "ipckit"]
    assert subprocess.run(ask, capture_output=True, timeout=RUN, check=False).returncode == 2
    done = subprocess.run([*ask, "--version"], capture_output=True, timeout=RUN, check=False)
    assert done.returncode == 0 and done.stdout.startswith(b"ipckit ")


ROW = {"name": "李雷 Müller", "address": "a@example.org", "product": "a tea set, blue"}


def mail(number: int) -> bytes:
    return render({"number": str(number), "amount": "3.50", "due": "2026-12-01", **ROW})


def test_a_mail_is_one_that_a_mail_program_understands():
    read = email.message_from_bytes(mail(7), policy=email.policy.default)
    assert read["to"].addresses[0].display_name == ROW["name"]
    assert read["message-id"] == message_id(7)
    assert read["date"].datetime.year == 2026
    assert "Dear 李雷 Müller,\n\nthank you for ordering a tea set, blue.\n" in (
        read.get_content().replace("\r\n", "\n")
    )
    assert not read.defects
    assert mail(7).count(b"\n") == mail(7).count(b"\r\n")


def test_nobody_fails_every_attempt():
    assert not any(attempt_fails(number, MAX_ATTEMPTS) for number in range(1, 1000))


def test_the_demo_finds_what_is_wrong_with_its_files(tmp_path):
    """Missing, twice, another one's, one too many: each is reported."""
    (tmp_path / file_name(1)).write_bytes(mail(1))
    (tmp_path / file_name(2)).write_bytes(mail(2))
    assert command._wrong_files(tmp_path, 2) == []
    assert command._wrong_files(tmp_path, 1) == ["000002.eml is nobody's mail"]
    assert command._wrong_files(tmp_path, 3) == ["000003.eml is missing"]
    (tmp_path / file_name(2)).write_bytes(mail(1))
    assert command._wrong_files(tmp_path, 2) == [
        f"000002.eml has Message-ID {[message_id(1)]}, not {message_id(2)}"
    ]
    (tmp_path / file_name(2)).write_bytes(b"")
    assert len(command._wrong_files(tmp_path, 2)) == 1


def test_only_the_head_of_a_mail_has_its_message_id():
    assert message_ids(b"Message-ID: <a>\r\n\r\nMessage-ID: <b>\r\n") == ["<a>"]
    assert message_ids(b"Message-ID: <a>\r\nmessage-id: <b>\r\n\r\n") == ["<a>", "<b>"]

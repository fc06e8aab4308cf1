"""The log of a server: lines that may come without end are few, and none is left out in silence."""

from __future__ import annotations

import logging
import subprocess
import sys

import pytest
from deadlines import LOOK

from ipckit import TaskTimeout
from ipckit.server.log import LimitedLog, kind_of, log, set_up, take_down


@pytest.fixture
def lines(caplog):
    """The messages of the server's log."""
    with caplog.at_level(logging.INFO, "ipckit.server"):
        yield lambda: caplog.messages


def test_ten_lines_at_once_and_then_a_count(lines):
    timers = []
    limited = LimitedLog()
    limited.later = lambda seconds, call: timers.append((seconds, call))
    for number in range(1000):
        limited.warning("client %d is slow", number)
    assert lines() == [f"client {number} is slow" for number in range(10)]
    ((seconds, _),) = timers
    assert 0 < seconds < 1.1
    limited.flush()
    assert lines()[10:] == ["990 more lines like this one were left out: client 999 is slow"]
    limited.flush()
    assert len(lines()) == 11, "none was left out: nothing is said"


def test_an_error_of_another_kind_is_not_left_out(lines):
    limited = LimitedLog()
    for _ in range(100):
        limited.error("%s raised", "receive", kind="receive raised")
    limited.error("%s raised", "close", kind="close raised")
    assert lines()[-1] == "close raised"


def test_what_stands_below_a_line_is_made_only_where_the_line_is_written(lines):
    limited, made = LimitedLog(), []
    for number in range(20):
        limited.write(
            logging.ERROR, "it raised %d", number, more=lambda: made.append(1) or "Traceback"
        )
    assert len(made) == 10 and lines()[0] == "it raised 0\nTraceback"


def test_the_timer_tells_what_was_left_out(lines):
    timers = []
    limited = LimitedLog()
    limited.later = lambda seconds, call: timers.append(call)
    for _ in range(12):
        limited.warning("slow")
    while len(lines()) == 10:
        timers[-1]()  # too early: it asks for another one
    assert lines()[10:] == ["2 more lines like this one were left out: slow"]
    asked = len(timers)
    timers[-1]()
    assert len(timers) == asked, "nothing is left to tell"


def test_a_level_that_is_off_counts_for_nothing(lines):
    limited = LimitedLog()
    for _ in range(20):
        limited.write(logging.DEBUG, "detail")
    limited.flush()
    assert lines() == []


def test_a_child_does_not_tell_what_its_parent_left_out():
    code = """
import logging, os
from ipckit.server.log import limited, log
log.addHandler(logging.StreamHandler())
for number in range(12):
    limited.warning("line %d", number)
if not os.fork():
    limited.flush()
    limited.warning("the child's")
    os._exit(0)
os.wait()
limited.flush()
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=LOOK, check=True
    )
    assert done.stderr.splitlines()[10:] == [
        "the child's",
        "2 more lines like this one were left out: line 11",
    ]


def test_lines_that_differ_in_numbers_are_of_one_kind():
    assert kind_of("a slow reader: 17 bytes wait") == kind_of("a slow reader: 4096 bytes wait")
    assert kind_of("a slow reader") != kind_of("a slow sender")


def test_a_log_file_on_a_full_disk_can_be_closed(capsys):
    handler = set_up("/dev/full", logging.INFO)
    log.warning("nobody will read this")
    take_down(handler)
    assert handler not in log.handlers
    assert "No space left on device" in capsys.readouterr().err


class Raises(logging.Handler):
    def __init__(self, error):
        super().__init__()
        self.error = error

    def emit(self, record):
        raise self.error


@pytest.mark.parametrize("error", [TaskTimeout("of an attempt"), KeyboardInterrupt()])
def test_what_a_signal_raises_while_a_line_is_written_is_the_caller_s(error):
    """L3."""
    handler = Raises(error)
    log.addHandler(handler)
    try:
        with pytest.raises(type(error)):
            log.warning("of the test")
    finally:
        log.removeHandler(handler)

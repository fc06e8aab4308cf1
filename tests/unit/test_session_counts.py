"""The counts of sessions are right whenever their process is killed."""

from __future__ import annotations

import os
import signal
import sys

import pytest

from ipckit.server.board import Board, Row
from ipckit.server.session_counts import close_session, open_session, settle
from ipckit.server.sessions import Client

OWNER = 2


def killed_at(step: int, work) -> bool:
    """Run it in a child that kills itself before the step-th instruction; False: it came through."""
    child = os.fork()
    if child == 0:
        left = step

        def trace(frame, event, arg):
            nonlocal left
            frame.f_trace_opcodes = True
            if event == "opcode":
                left -= 1
                if not left:
                    os.kill(os.getpid(), signal.SIGKILL)
            return trace

        signal.alarm(60)
        sys.settrace(trace)
        work()
        os._exit(0)
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status)


def opening(board, row):
    return lambda: open_session(board.sessions, row, OWNER, Client(0))


def closing(board, row):
    return lambda: close_session(board.sessions, row, OWNER, board.sessions.all_of(OWNER)[0])


@pytest.mark.parametrize("work", [opening, closing])
def test_a_kill_at_any_instruction_leaves_them_right(work):
    step, done, undone = 0, 0, 0
    while True:
        step += 1
        board = Board(slots=3, sessions=8)
        row = board.row(OWNER // 2, OWNER % 2)
        for _ in range(3):
            assert open_session(board.sessions, row, OWNER, Client(0))
        was_killed = killed_at(step, work(board, row))
        for _ in range(2):  # the second time changes nothing
            settle(board.sessions, row, OWNER)
        there = len(board.sessions.all())
        assert row[Row.ACCEPTED] - row[Row.CLOSED] == there, step
        assert row[Row.ACCEPTED] + row[Row.CLOSED] in (3, 4)
        done, undone = done + (there != 3), undone + (there == 3)
        if not was_killed:
            break
    assert done > 10 and undone > 10, "it was met before and after"


def test_what_is_anothers_is_not_counted():
    board = Board(slots=3, sessions=8)
    row = board.row(1, 0)
    session = board.sessions.open(4)
    assert not close_session(board.sessions, row, OWNER, session)
    assert row[Row.CLOSED] == 0
    for _ in range(board.sessions.places - 1):
        assert open_session(board.sessions, row, OWNER, Client(0))
    assert open_session(board.sessions, row, OWNER, Client(0)) == 0
    assert row[Row.ACCEPTED] == board.sessions.places - 1

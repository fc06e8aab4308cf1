"""Sessions are counted in the row of their process. Kills inside: tests/c/kill/kill_session.c."""

from __future__ import annotations

import time

from ipckit.server.shared.scoreboard import Row, Scoreboard
from ipckit.server.shared.session_counts import SessionCounts
from ipckit.server.shared.sessions import Word

OWNER = 3


def test_what_is_opened_and_closed_is_counted_and_written_down():
    board = Scoreboard(slots=3, sessions=8)
    row, counts = board.row(OWNER // 2, OWNER % 2), SessionCounts(board, OWNER)
    before = time.time()
    session = counts.open(2, bytes(range(16)), 65535)
    assert board.sessions.owner_of(session) == OWNER
    assert (row[Row.ACCEPTED], row[Row.CLOSED], row[Row.COUNTING]) == (1, 0, 0)
    told = board.sessions.describe(session)
    assert before <= told.pop("connect_time") <= told.pop("last_time") <= time.time()
    assert told == {
        "port": 2, "ip": bytes(range(16)), "remote_port": 65535, "worker_id": OWNER // 2,
        "uid": None, "protected": False, "inherited": False,
    }  # fmt: skip
    assert board.sessions.row_of(session)[Word.READ] == 2**64 - 1, "its first callback is due"
    assert board.sessions.counts(session)[1] == 0
    assert counts.close(session)
    assert not counts.close(session), "it is gone"
    assert (row[Row.ACCEPTED], row[Row.CLOSED], row[Row.COUNTING]) == (1, 1, 0)
    assert board.sessions.all() == []


def test_a_row_is_used_again_without_what_was_there():
    board = Scoreboard(slots=3, sessions=8)
    counts = SessionCounts(board, OWNER)
    for _ in range(2 * board.sessions.places):
        session = counts.open(0, b"\x7f\0\0\1", 1)
        told = board.sessions.describe(session)
        assert (told["uid"], told["ip"][:4], told["ip"][4:]) == (None, b"\x7f\0\0\1", bytes(12))
        assert board.sessions.bind(session, 5)
        board.sessions.promise(session, 7)
        assert counts.close(session)


def test_what_is_anothers_is_not_counted():
    board = Scoreboard(slots=3, sessions=8)
    row, counts = board.row(OWNER // 2, OWNER % 2), SessionCounts(board, OWNER)
    session = board.sessions.open(4)
    assert not counts.close(session)
    assert row[Row.CLOSED] == 0
    for _ in range(board.sessions.places - 1):
        assert counts.open(0)
    assert counts.open(0) == 0
    assert row[Row.ACCEPTED] == board.sessions.places - 1


def test_what_a_dead_process_was_about_to_do_is_counted_once():
    board = Scoreboard(slots=3, sessions=8)
    row, counts = board.row(OWNER // 2, OWNER % 2), SessionCounts(board, OWNER)
    first, second = counts.open(0), board.sessions.open(OWNER)
    row[Row.COUNTING], row[Row.COUNTED] = second << 1, 1  # opened, and not counted
    for _ in range(2):
        counts.settle()
        assert (row[Row.ACCEPTED], row[Row.CLOSED], row[Row.COUNTING]) == (2, 0, 0)
    row[Row.COUNTING], row[Row.COUNTED] = first << 1 | 1, 0  # to be closed, and still there
    counts.settle()
    assert (row[Row.ACCEPTED], row[Row.CLOSED]) == (2, 0)
    assert board.sessions.close(first, OWNER)
    row[Row.COUNTING], row[Row.COUNTED] = first << 1 | 1, 0  # closed, and not counted
    counts.settle()
    assert (row[Row.ACCEPTED], row[Row.CLOSED]) == (2, 1)


def test_sessions_are_numbered_over_all_processes():
    """Also those that another process than the one that opened them closes."""
    board = Scoreboard(slots=3, sessions=8)
    first, second = SessionCounts(board, 0), SessionCounts(board, 3)
    number = board.session_number(2)
    sessions = [first.open(0) for _ in range(3)]
    SessionCounts(board, 4).open(0)  # of a slot that is not asked for
    assert number() == 3
    assert board.sessions.hand_over(sessions[0], 0, 3)
    assert second.close(sessions[0])
    assert number() == 2
    assert board.row(1, 1)[Row.CLOSED] == 1

"""The board: session ids, owners and parities, alone and between processes."""

from __future__ import annotations

import os
import signal

import hypothesis.strategies as st
import pytest
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from ipckit.server.shared.scoreboard import Phase, Row, Scoreboard


@pytest.fixture
def board():
    return Scoreboard(slots=3, sessions=8)


def in_child(work) -> int:
    """Run `work` in a forked process, for a minute at most; return its pid."""
    child = os.fork()
    if child == 0:
        signal.alarm(60)
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    return child


def test_a_new_board_is_empty(board):
    assert board.phase == Phase.SERVING
    assert [board.sessions.owner_of(session) for session in range(-1, 40)] == [-1] * 41
    assert all(board.total(word) == 0 for word in range(Row.WORDS))


def test_words_of_a_row_are_its_own():
    numbers = {name: word for name, word in vars(Row).items() if name.isupper() and name != "WORDS"}
    assert len(set(numbers.values())) == len(numbers), "two names for one word"
    assert max(numbers.values()) < Row.WORDS


def test_rows_do_not_overlap(board):
    for slot in range(3):
        for parity in range(2):
            row = board.row(slot, parity)
            assert len(row) == Row.WORDS
            for word in range(Row.WORDS):
                row[word] = 10 * slot + parity + 1
    assert board.phase == Phase.SERVING and board.sessions.open(0) == 1
    for slot in range(3):
        for parity in range(2):
            assert set(board.row(slot, parity)) == {10 * slot + parity + 1}
    assert board.total(Row.TASKS) == 1 + 2 + 11 + 12 + 21 + 22
    assert board.total(Row.TASKS, range(1, 2)) == 11 + 12
    assert board.total(Row.TASKS, range(2)) == 1 + 2 + 11 + 12


def test_the_newest_ready_process_has_the_parity(board):
    assert [board.parity(slot) for slot in range(3)] == [0, 0, 0]
    for incarnation in range(1, 6):
        board.row(1, incarnation % 2)[Row.INCARNATION] = incarnation
        assert [board.parity(slot) for slot in range(3)] == [0, incarnation % 2, 0]


def test_phases_are_seen_by_every_process(board):
    def work():
        board.set_phase(Phase.STOPPING)
        board.row(2, 1)[Row.TASKS] = 7

    assert os.waitpid(in_child(work), 0)[1] == 0
    assert (board.phase, board.total(Row.TASKS)) == (Phase.STOPPING, 7)


# -- sessions ---


class Sessions(RuleBasedStateMachine):
    """Against a dict: an id is given once, to one owner, and only he can close it."""

    owners = st.integers(0, 3)

    @initialize(sessions=st.integers(1, 12))
    def make(self, sessions):
        self.board = Scoreboard(slots=2, sessions=sessions)
        self.live: dict[int, int] = {}
        self.given: set[int] = set()

    @rule(owner=owners)
    def open(self, owner):
        session = self.board.sessions.open(owner)
        if session == 0:
            assert len(self.live) == self.board.sessions.places
            return
        assert session > 0 and session not in self.given, "an id was used before"
        self.given.add(session)
        self.live[session] = owner

    @rule(data=st.data(), owner=owners)
    def close(self, data, owner):
        session = data.draw(st.sampled_from(sorted(self.given)) if self.given else st.just(1))
        right = self.live.get(session) == owner
        assert self.board.sessions.close(session, owner) == right
        if right:
            del self.live[session]

    @rule(owner=owners)
    def the_owner_dies(self, owner):
        his = sorted(session for session, who in self.live.items() if who == owner)
        assert sorted(self.board.sessions.close_all_of(owner)) == his
        for session in his:
            del self.live[session]

    @invariant()
    def owners_are_known(self):
        assert {s: self.board.sessions.owner_of(s) for s in self.given} == dict.fromkeys(
            self.given, -1
        ) | self.live


TestSessions = Sessions.TestCase


def test_there_is_room_for_all_and_an_answer_when_there_is_none(board):
    opened = [board.sessions.open(0) for _ in range(board.sessions.places)]
    assert len(opened) >= 8 and all(opened)
    assert board.sessions.open(0) == 0
    assert board.sessions.close(opened[3], 0)
    again = board.sessions.open(1)
    assert again > max(opened) and board.sessions.owner_of(again) == 1
    assert board.sessions.owner_of(opened[3]) == -1, "an old id is found in its old place"


@pytest.mark.parametrize("session", [0, -1, 1 << 40, 1 << 63, 1 << 80])
def test_numbers_that_are_no_session(board, session):
    board.sessions.open(0)
    assert board.sessions.owner_of(session) == -1


def test_sessions_of_many_processes_are_unique(board):
    """Four processes open and close at the same time; each of them owns what it got."""
    reading, writing = os.pipe()

    def work(owner):
        mine = []
        for _ in range(2000):
            session = board.sessions.open(owner)
            assert session and board.sessions.owner_of(session) == owner
            assert not board.sessions.close(session, owner + 1)
            assert board.sessions.close(session, owner)
            mine.append(session)
        os.close(reading)
        with os.fdopen(writing, "wb") as file:
            file.write(b"".join(session.to_bytes(8) for session in mine))

    children = [in_child(lambda: work(owner)) for owner in range(4)]
    os.close(writing)
    with os.fdopen(reading, "rb") as file:
        told = file.read()
    assert [os.waitpid(child, 0)[1] for child in children] == [0] * 4
    assert len(told) == 4 * 2000 * 8
    assert len({told[at : at + 8] for at in range(0, len(told), 8)}) == 4 * 2000

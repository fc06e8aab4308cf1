"""The manager's part in tasks: what the dead held, what is due, what is given up.

Stands on ipckit.server.tasks.ledger.
Blocks    on the disk, for a dead letter or a spill file; for another writer of the dead letters
          for LOCK_SECONDS at most, and PATIENCE at the end of the server. There also for what
          keeps letters from being written, for LAST_SECONDS and LAST_ATTEMPTS attempts.
Invariants
  K1  What a dead process held is recovered after it was reaped, and before its place is used again.
  K2  A task that is given up is written down before its submitter learns of it.
  K3  When MOST_DELIVERIES processes die in the callback that gets one result, the task is given up.
      If `task_failed` kills its process as well, the task is over.
  K4  A letter that cannot be written is tried again after a pause, and holds up nothing. One that
      never can be is given up after a few attempts, and the log says what was known of its task.
  K5  One call of tend() writes at most LETTERS_A_TURN letters, so the manager sees to signals and
      deaths between two calls. The next call goes on behind them. The end of the server writes the
      rest.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from itertools import count

from ipckit._core import _ledger
from ipckit.errors import IPCError, ProtocolError
from ipckit.server.log import limited, log
from ipckit.server.shared.scoreboard import Row
from ipckit.server.system.failure_policy import (
    Operation,
    code_of,
    decide,
    in_words,
    lies_in_the_data,
    pause_after,
)
from ipckit.server.tasks.dead_letters import PATIENCE, DeadLetter, DeadLetters
from ipckit.server.tasks.ledger import FILES, TaskLedger
from ipckit.server.tasks.retry_policy import MOST_DELIVERIES, Failure
from ipckit.server.tasks.spill import body_name
from ipckit.server.tasks.time_limit import HARD_SECONDS

__all__ = ["LETTERS_A_TURN", "TaskRecovery"]

LAST_SECONDS = 2.0
"""So long letters that cannot be written are tried again at the end of the server, and so many
times at least: an attempt may take longer than that on a busy machine."""

LAST_ATTEMPTS = 3

_AGAIN_NS = 1_000_000_000
"""After so long the dead letters are looked at again for those that are to be tried again."""

LETTERS_A_TURN = 64
"""Each is a transaction of its own."""

LOCK_SECONDS = 0.05
"""Of waiting for another program that writes dead letters."""


class TaskRecovery:
    """What the manager does with the ledger. One process, one thread."""

    def __init__(
        self,
        ledger: TaskLedger,
        letters: DeadLetters,
        place_of: Callable[[int], int],
        *,
        limit: float | None,
        outside: bool,
    ) -> None:
        self._ledger = ledger
        self._letters = letters
        self._limit = limit  # seconds of an attempt
        letters.patience = LOCK_SECONDS
        self._letters_due = 0  # ns: no letter is written, or read, before
        self._failures = 0  # of the dead letters' file, in a row
        self._next_letter = 0  # the record at which the next turn begins
        self._failed_letters: dict[int, int] = {}  # task id -> attempts to write it down
        self._place_of = place_of  # the place of the newest process of a worker
        self._outside = outside  # other programs may ask for letters to be tried again
        self._view = ledger.overview
        self.wakeup = ledger.wakeups[ledger.manager]
        self.old = ledger.taken_up
        self.next_due = 0
        """When tend() has something to do, ns of the monotonic clock; 0: at the next wake-up."""

    def recover(self, place: int, row: memoryview, how: str, signal: int | None) -> None:
        """K1. What it was at has failed, and is counted in `row`."""
        view = self._view
        self._give_up_deadly_ends(place, how, signal)
        view.sweep(place)
        self._clear_what_is_left()
        for record in self._each(_ledger.RUNNING, place):
            task_id, _, _, attempt, *_, began, _, _ = view.look(record)
            took = (time.monotonic_ns() - began) / 1e9
            if self._limit is not None and signal and took >= self._limit + HARD_SECONDS:
                how = f"TaskTimeout: it went on for {took:.1f} s and was killed; {how}"
            failure = Failure(how, signal=signal, at=time.time())
            self._ledger.attempt_failed(view, row, record, task_id, attempt, failure)
        self.tend(time.monotonic_ns())

    def take_up(self) -> None:
        """Go on with what an earlier server left: nobody else is at work yet."""
        view = self._view
        self._give_up_deadly_ends(-1, "the server died", None)
        view.recover()
        self._clear_what_is_left()
        row = memoryview(bytearray(8 * Row.WORDS)).cast("Q")  # nobody of this server counts it
        for record in self._each(_ledger.RUNNING, -1):
            task_id, _, _, attempt, *_ = view.look(record)
            failure = Failure("the server died", at=time.time())
            self._ledger.attempt_failed(view, row, record, task_id, attempt, failure)
        self._ledger.spill.keep_only(
            {
                view.look(record)[0]
                for state in range(_ledger.BLOCKED, _ledger.CLEARING)
                for record in self._each(state, -1)
            }
        )
        log.info("task ledger %r is taken up: %d tasks", self._ledger.name, self.unfinished())

    def _give_up_deadly_ends(self, place: int, how: str, signal: int | None) -> None:
        """K3. Those that were being delivered by the dead process of a place (-1: any)."""
        view = self._view
        for record in self._each(_ledger.DELIVERING, place):
            deliveries = view.deliveries(record)
            if deliveries < MOST_DELIVERIES:
                continue
            task_id, _, _, attempt, _, _, _, flags, *_ = view.look(record)
            if flags & _ledger.LOST:
                log.error(
                    "that task %d was given up is not told any more: of `task_failed` its process "
                    "died %d times (%s); the dead letter has all of it",
                    task_id,
                    deliveries,
                    how,
                )
                if view.end(record):
                    self._ledger.remove_files(task_id, attempt)
                    view.clear(record)
                continue
            error = f"the worker died {deliveries} times while it was given the result; {how}"
            failure = Failure(error, signal=signal, at=time.time())
            self._ledger.give_up(view, record, task_id, attempt, failure)

    def inherit(self, place: int, successor: int) -> None:
        """The tasks that a gone process asked for are its successor's."""
        self._view.move(place, successor)

    def tend(self, now: int) -> None:
        """Queue what is due, and write down what is given up."""
        self._ledger.silence(self._ledger.manager)
        self.next_due = self._view.wake_due(now)
        if now >= self._letters_due:
            try:
                self._tend_letters(now)
                self._failures = 0
            except Exception as exc:  # sqlite3 has its own; the file may be another program's
                self._failures += 1
                pause = decide(Operation.STEP, code_of(exc), self._failures) or 0.0
                self._letters_due = now + int(max(1.0, pause) * 1e9)
                limited.error("dead letters cannot be written or read: %s", in_words(exc))
        if now < self._letters_due:
            self._look_at(self._letters_due)
        elif self._outside:
            self._look_at(now + _AGAIN_NS)

    def _tend_letters(self, now: int) -> None:
        self._write_letters(now, LETTERS_A_TURN)
        for letter in self._letters.wanted_again():
            if not self._try_again(letter):
                self._look_at(now + _AGAIN_NS)

    def _write_letters(self, now: int, most: int) -> None:
        """K5. Raises SystemCallError: no letter can be written now."""
        began, left = self._next_letter, most
        for record in self._each(_ledger.BURIED, -1, began):
            if not left:
                self._next_letter = record
                self._look_at(now)
                return
            left -= 1
            self._bury(record)
        self._next_letter = 0
        if began:
            self._look_at(now)

    def _look_at(self, moment: int) -> None:
        self.next_due = min(self.next_due or moment, moment)

    def unfinished(self) -> int:
        """How many tasks wait or run."""
        states, _, _, waiting, _ = self._view.totals()
        return waiting + states[_ledger.RUNNING]

    def account_for_the_rest(self) -> None:
        """The server ends: log what was not run, and where it is."""
        self._letters.patience = PATIENCE  # there is no next time
        if self._outside:
            _until_done(self._write_the_rest)
        left = self.unfinished()
        if not left:
            return
        if self._ledger.name is not None:
            log.info("%d tasks wait in task ledger %r", left, self._ledger.name)
            return
        kept = self._keep_the_rest() if self._outside else 0
        log.warning(
            "%d tasks were not run: the server stopped; %d of them are in the dead letters",
            left,
            kept,
        )

    def _write_the_rest(self) -> bool:
        """K5. In a ledger with a name they wait for the next server if they cannot be written."""
        self._next_letter = 0
        try:
            self._write_letters(0, self._ledger.records)
        except Exception as exc:  # sqlite3 has its own; the file may be another program's
            limited.error("dead letters were not written: %s", in_words(exc))
            return False
        return True

    def _keep_the_rest(self) -> int:
        """The ledger goes with the server: write down what was not run. Return how many."""
        stopped = Failure("the server stopped", at=time.time())
        left = [
            record
            for state in (_ledger.BLOCKED, _ledger.DELAYED, _ledger.QUEUED)
            for record in self._each(state, -1)
        ]
        kept = 0

        def keep() -> bool:
            nonlocal kept
            before = len(left)
            left[:] = [record for record in left if not self._kept(record, stopped)]
            kept += before - len(left)
            return not left

        _until_done(keep)
        return kept

    def _kept(self, record: int, why: Failure) -> bool:
        try:
            self._letters.add(self._letter_of(record, why))
        except (IPCError, OSError, MemoryError) as exc:
            limited.error("a task that was not run is not in the dead letters: %s", in_words(exc))
            return False
        return True

    def _bury(self, record: int) -> None:
        """K2, K4. Raises SystemCallError: no letter can be written now."""
        task_id, _, _, attempt, *_ = self._view.look(record)
        letter = self._letter_of(record)
        try:
            self._letters.add(letter)
        except (IPCError, OSError) as exc:
            failures = self._failed_letters[task_id] = self._failed_letters.get(task_id, 0) + 1
            if not lies_in_the_data(code_of(exc)):
                raise
            if decide(Operation.LETTER, code_of(exc), failures) is not None:
                self._look_at(time.monotonic_ns() + _AGAIN_NS)
                return
            limited.error("task %d has no dead letter: %s; %s", task_id, exc, letter.error)
        self._failed_letters.pop(task_id, None)
        if self._view.written_down(record) == 1:
            self._ledger.remove_files(task_id, attempt)
            self._view.clear(record)

    def _letter_of(self, record: int, *more: Failure) -> DeadLetter:
        task_id, _, _, attempt, _, source, dst, flags, _, created, *_, body = self._view.look(
            record
        )
        foreign = bool(flags & _ledger.FOREIGN)
        numbers = range(1, attempt + 1)
        made = [self._ledger.failure_of(task_id, number, later=True) for number in numbers]
        return DeadLetter(
            0,
            task_id,
            -1 if foreign else source,
            dst,
            "php" if foreign else self._ledger.form,
            self._body(task_id) if body is None else body,
            (*made, *more),
            time.time() - (time.monotonic_ns() - created) / 1e9,
            time.time(),
        )

    def _body(self, task_id: int) -> bytes:
        try:
            return self._ledger.spill.read(body_name(task_id)) or b""
        except ProtocolError:
            return b""  # what lies there is not ours; why it failed is among the attempts

    def _try_again(self, letter: DeadLetter) -> bool:
        """Queue a letter's task again; False: there is no room."""
        body = letter.body
        if letter.form == "pickle" != self._ledger.form:
            # Reading it would run user code here, and a ledger with a name keeps no pickle.
            self._letters.kept(letter.id)
            limited.error(
                "dead letter %d cannot be tried again: its data is pickled, and a server with a "
                "task_ledger runs plain data only; retry it in a server without one",
                letter.id,
            )
            return True
        if letter.form == "plain" != self._ledger.form:
            body = self._ledger.dump(letter.data)
        taken = self._view.take()
        if taken is None:
            return False
        record, task_id = taken
        self._view.flag(record, _ledger.FOREIGN if letter.form == "php" else 0, 0)
        if not self._view.put(record, body):
            if len(body) <= _ledger.INSIDE:
                self._view.release(record)
                return False
            try:
                self._ledger.spill.write(body_name(task_id), body)
            except IPCError:
                self._view.release(record)
                raise
            self._view.spill_body(record, len(body), 1 << 62)
        worker = max(letter.src_worker_id, 0)
        self._view.ask_for(record, self._place_of(worker), worker)
        self._view.publish(record, letter.dst, 0)
        self._letters.tried_again(letter.id)
        limited.info("dead letter %d is task %d now", letter.id, task_id)
        return True

    def _clear_what_is_left(self) -> None:
        for record in self._each(_ledger.CLEARING, self._ledger.manager):
            task_id, _, _, attempt, _, _, _, flags, *_ = self._view.look(record)
            if flags & FILES:
                self._ledger.remove_files(task_id, attempt)
            self._view.clear(record)

    def _each(self, state: int, place: int, first: int = 0) -> Iterator[int]:
        """Give every record that is in this state when it is looked at, held by that place."""
        record = first - 1
        while (record := self._view.next(record + 1, state, place)) >= 0:
            yield record


def _until_done(do: Callable[[], bool]) -> None:
    """Do it until it returns True, LAST_ATTEMPTS times and for LAST_SECONDS: the server ends."""
    end = time.monotonic() + LAST_SECONDS
    for attempt in count(1):
        if do():
            return
        pause = pause_after(attempt)
        if attempt >= LAST_ATTEMPTS and time.monotonic() + pause > end:
            return
        time.sleep(pause)

"""Dead letters: the tasks that were given up, with all that is known of each attempt.

Kept in SQLite: in `dead_letter_path`, or in a file of the server's run directory, which goes with
the server. One writer, the manager, adds them; any process reads, removes, or asks for one to be
tried again.

Contract  a letter is there before its submitter hears that the task was given up. Every call opens
          the file itself, so no connection is carried over a fork.
Trust     a letter's data is pickled. So the file must be ours and closed to others (0600), as the
          directory of the spill files is; else AccessDenied.
Stands on sqlite3 (WAL), ipckit.server.tasks.retry_policy,
          ipckit.server.messaging.wire, ipckit._plain_codec.
Blocks    on the disk; while another process writes, for `patience` seconds at most.
Crash     of a writer: a letter is there whole or not at all.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import sqlite3
import stat
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from ipckit import _pickle_codec as pickle_codec
from ipckit import _plain_codec as plain_codec
from ipckit._text import escape_surrogates
from ipckit.errors import AccessDenied, NotFound, SystemCallError, from_errno, system_call
from ipckit.queue import php_format
from ipckit.server.system.failure_policy import in_words
from ipckit.server.tasks.retry_policy import Failure

__all__ = ["DeadLetter", "DeadLetters"]

_TABLE = """
create table if not exists letters (
    id integer primary key autoincrement,
    task_id integer not null,
    source integer not null,
    dst integer not null,
    form text not null,
    body blob not null,
    attempts text not null,
    error text not null,
    created_at real not null,
    buried_at real not null,
    again integer not null default 0
)
"""
PATIENCE = 5.0

_COLUMNS = "id, task_id, source, dst, form, body, attempts, created_at, buried_at"


_READERS: dict[str, Callable[[bytes], Any]] = {
    "pickle": pickle_codec.load,
    "plain": plain_codec.load,
    "php": php_format.loads,
}


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """One task that was given up. Times in seconds since the epoch."""

    id: int  # of the letter
    task_id: int
    src_worker_id: int  # -1: from another program
    dst: int
    form: str  # of the body: "pickle", "plain" (of a ledger with a name), "php" (foreign)
    body: bytes  # the data as it was kept: `data` reads it
    attempts: tuple[Failure, ...]  # in their order; `signal` is what its process died of
    created_at: float
    buried_at: float

    @property
    def error(self) -> str:
        """How the last attempt ended: "Type: text", or how its process died."""
        return self.attempts[-1].error if self.attempts else ""

    @property
    def data(self) -> Any:
        """The task's data. Raises what its types raise when they are unpickled."""
        return _READERS[self.form](self.body)


class DeadLetters:
    """The dead letters of a server. Process safe; iteration gives the oldest first.

    A pickle has the path, and nothing of the server.
    """

    def __init__(self, path: str, wake: Callable[[], None] = lambda: None) -> None:
        self.path = path
        self.patience = PATIENCE
        """Seconds to wait while another process writes."""
        self._wake = wake

    def __reduce__(self) -> tuple[Any, ...]:
        """Name the file; a process that is started may have another working directory."""
        return type(self), (os.path.abspath(self.path),), {"patience": self.patience}

    def __iter__(self) -> Iterator[DeadLetter]:
        """Give every letter; those that are to be tried again are no letters any more."""
        with self._opened() as base:
            query = f"select {_COLUMNS} from letters where not again order by id"  # noqa: S608
            rows = base.execute(query).fetchall()
        return map(_letter, rows)

    def __len__(self) -> int:
        """Return how many there are."""
        with self._opened() as base:
            return int(base.execute("select count(*) from letters where not again").fetchone()[0])

    def __getitem__(self, letter_id: int) -> DeadLetter:
        """Return one letter; NotFound."""
        with self._opened() as base:
            query = f"select {_COLUMNS} from letters where id = ? and not again"  # noqa: S608
            row = base.execute(query, (letter_id,)).fetchone()
        if row is None:
            raise self._no_letter(letter_id)
        return _letter(row)

    def groups(self) -> dict[str, int]:
        """Return how many letters have each error, the commonest first."""
        return dict(Counter(letter.error for letter in self).most_common())

    def retry(self, letter_id: int) -> None:
        """Have the task tried again, with all its attempts, as a new task. NotFound.

        Does not wait: the running server, or the next one with this path, takes it up.
        """
        self._change("update letters set again = 1 where id = ? and not again", letter_id)
        self._wake()

    def remove(self, letter_id: int) -> None:
        """Forget the task. NotFound."""
        self._change("delete from letters where id = ? and not again", letter_id)

    # -- by the manager ---

    def prepare(self) -> None:
        """Make the file if it is missing, or see that it is one of ours.

        Raises AccessDenied, SystemCallError (no such directory, no database, no room).
        """
        try:
            with self._opened():
                pass
        except sqlite3.Error as exc:
            raise SystemCallError(
                errno.EIO, f"dead letters in {self.path}: {in_words(exc)}"
            ) from None

    def add(self, letter: DeadLetter) -> None:
        """Keep a letter; its id is given here.

        Raises SystemCallError: EBUSY (another process writes), ENOSPC, EIO; EINVAL when this
        letter cannot be kept at all, such as one of more than a gigabyte.
        """
        try:
            with self._opened() as base:
                base.execute(
                    "insert into letters (task_id, source, dst, form, body, attempts, "
                    "error, created_at, buried_at) values (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                    (
                        letter.task_id,
                        letter.src_worker_id,
                        letter.dst,
                        letter.form,
                        letter.body,
                        json.dumps([failure.to_json() for failure in letter.attempts]),
                        escape_surrogates(letter.error),
                        letter.created_at,
                        letter.buried_at,
                    ),
                )
        except (sqlite3.Error, ValueError, OverflowError) as exc:
            raise SystemCallError(
                _code_of(exc), f"a dead letter into {self.path}: {in_words(exc)}"
            ) from None

    def wanted_again(self) -> list[DeadLetter]:
        """Return the letters that are to be tried again."""
        if not os.path.exists(self.path):
            return []
        with self._opened() as base:
            query = f"select {_COLUMNS} from letters where again order by id"  # noqa: S608
            return [_letter(row) for row in base.execute(query)]

    def tried_again(self, letter_id: int) -> None:
        """The task was queued again: forget the letter."""
        with self._opened() as base:
            base.execute("delete from letters where id = ?", (letter_id,))

    def kept(self, letter_id: int) -> None:
        """The task cannot be queued again: it is a letter as before."""
        with self._opened() as base:
            base.execute("update letters set again = 0 where id = ?", (letter_id,))

    # -- private ---

    def _change(self, statement: str, letter_id: int) -> None:
        with self._opened() as base:
            if not base.execute(statement, (letter_id,)).rowcount:
                raise self._no_letter(letter_id)

    def _no_letter(self, letter_id: int) -> NotFound:
        return NotFound(
            errno.ENOENT,
            f"there is no dead letter {letter_id} in {self.path}; `ipckit dead ls` shows those "
            f"there are",
        )

    @contextlib.contextmanager
    def _opened(self) -> Iterator[sqlite3.Connection]:
        """Give the file's connection; what was done in the block is committed at its end."""
        _make_private(self.path)
        base = sqlite3.connect(self.path, timeout=self.patience)
        try:
            base.execute("pragma journal_mode = wal")
            base.execute("pragma synchronous = normal")
            base.execute(_TABLE)
            with base:
                yield base
        finally:
            base.close()


def _code_of(error: Exception) -> int:
    """Return the errno that says what is wrong: the file for now, or this letter for ever."""
    if not isinstance(error, sqlite3.Error) or isinstance(error, sqlite3.DataError):
        return errno.EINVAL
    primary = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_IOERR) & 0xFF
    known = {
        sqlite3.SQLITE_BUSY: errno.EBUSY,
        sqlite3.SQLITE_LOCKED: errno.EBUSY,
        sqlite3.SQLITE_FULL: errno.ENOSPC,
        sqlite3.SQLITE_TOOBIG: errno.EINVAL,
    }
    return known.get(primary, errno.EIO)


def _make_private(path: str) -> None:
    """Make the file if it is missing. AccessDenied when others could write to it."""
    try:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as exc:
        what = f"dead_letter_path {path}: a plain file of ours, in a directory that exists"
        raise from_errno("open", exc.errno or 0, what) from None
    with system_call("fstat or close", f"dead_letter_path {path}"):
        try:
            found = os.fstat(fd)
        finally:
            os.close(fd)
    if found.st_uid != os.geteuid() or found.st_mode & 0o022 or not stat.S_ISREG(found.st_mode):
        raise AccessDenied(
            errno.EACCES,
            f"{path} must be a file of user {os.geteuid()} that others may not write (it is of "
            f"user {found.st_uid}, mode {stat.S_IMODE(found.st_mode):#o}): mend it, or choose "
            f"another dead_letter_path",
        )


def _letter(row: tuple[Any, ...]) -> DeadLetter:
    number, task_id, source, dst, form, body, attempts, created_at, buried_at = row
    failures = tuple(Failure(**each) for each in json.loads(attempts))
    return DeadLetter(number, task_id, source, dst, form, body, failures, created_at, buried_at)

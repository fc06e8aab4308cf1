"""F23, where a name stands for an object of the kernel: to remove one leaves another in place.

A table, a POSIX queue and a server's ledger are removed by their name, which may have been taken
away and given again; each goes by what it is.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from message_queues import posix  # noqa: F401  (a fixture)

from ipckit import Int, NotFound, Table
from ipckit.server.config.settings import Settings
from ipckit.server.tasks.ledger import TaskLedger

NAME = f"test.again.{os.getpid()}"


def test_a_table_that_was_made_again_stays():
    """F23: also for a table that was opened, not made."""
    old = Table(8, columns={"n": Int()}, name=NAME)
    opened = Table.open(NAME)
    old.remove()
    with Table(8, columns={"n": Int()}, name=NAME) as new:
        new["a"] = {"n": 1}
        with pytest.raises(NotFound, match="another one by now, which stays"):
            opened.remove()
        with Table.open(NAME) as found:
            assert found["a"]["n"] == 1
        new.remove()
    opened.close()


def test_a_posix_queue_that_was_made_again_stays(posix):
    """F23: the messages of the other one are there still."""
    old = posix.create(f"/{NAME}", max_message_size=64)
    opened = posix.open(f"/{NAME}")
    old.remove()
    with old, opened, posix.create(f"/{NAME}", max_message_size=64) as new:
        new.send(b"kept", timeout=0)
        for one in (old, opened):
            with pytest.raises(NotFound, match="another queue by now, which stays"):
                one.remove()
        assert new.receive_nowait().body == b"kept"
        new.remove()
        with pytest.raises(NotFound, match="was removed before"):
            new.remove()


def test_the_ledger_of_a_server_that_was_made_again_stays(tmp_path):
    """F23: its file was removed while the server ran, and another one has the name."""
    tmp_path.chmod(0o700)
    ledger = TaskLedger(
        Settings(
            worker_num=1,
            task_worker_num=1,
            task_queue_size=4,
            task_memory=16384,
            runtime_dir=str(tmp_path),
            task_ledger=NAME,
        )
    )
    path = Path(ledger.file)
    path.unlink()
    path.write_bytes(b"another")
    try:
        ledger.destroy()
        assert path.read_bytes() == b"another"
    finally:
        path.unlink(missing_ok=True)

"""The kernel's own lists: System V objects, POSIX queues, files of shared memory.

Stands on /proc/sysvipc (sysvipc(7)), mq_overview(7), shm_overview(7).
Blocks    never.  Errors  what is not there or may not be read is left out.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator

from ipckit._segments import LEDGERS, QUEUES, TABLES
from ipckit.cli.inventory.entry import Entry
from ipckit.cli.inventory.processes import Users
from ipckit.errors import IPCError
from ipckit.queue.posix_calls import CALLS
from ipckit.queue.shared import open_any
from ipckit.server.tasks.named_ledger import tasks_in
from ipckit.table import Table

__all__ = ["mqueue_mounts", "own_mqueue_mount", "posix_queues", "shared_files", "system_v"]

_SHM = "/dev/shm"  # noqa: S108  (where POSIX shared memory is)
_SEMAPHORE = "sem."


def system_v(users: Users) -> Iterator[Entry]:
    """Give the queues, segments and semaphore sets of System V."""
    for row in _rows("msg"):
        last = {row["lspid"], row["lrpid"]} - {0}
        yield Entry(
            f"queue:{row['msqid']}",
            "System V queue",
            row["uid"],
            row["perms"],
            row["cbytes"],
            f"key {row['key'] & 0xFFFFFFFF:#x}, {row['qnum']} messages",
            {
                "queue": row["msqid"],
                "key": row["key"],
                "uid": row["uid"],
                "changed_at": row["ctime"],
            },
            *users.alive_and_dead(last),
        )
    for row in _rows("shm"):
        having = users.of_system_v(row["shmid"])
        yield Entry(
            f"shm:{row['shmid']}",
            "System V segment",
            row["uid"],
            row["perms"],
            row["size"],
            f"key {row['key'] & 0xFFFFFFFF:#x}, {row['nattch']} attached",
            {"shm": row["shmid"]},
            having or (users.alive_and_dead({row["cpid"]})[0] if row["nattch"] else ()),
            users.alive_and_dead({row["cpid"], row["lpid"]} - {0})[1],
        )
    for row in _rows("sem"):
        yield Entry(
            f"sem:{row['semid']}",
            "System V semaphores",
            row["uid"],
            row["perms"],
            None,
            f"key {row['key'] & 0xFFFFFFFF:#x}, {row['nsems']} semaphores",
            {"sem": row["semid"]},
        )


def _rows(kind: str) -> list[dict[str, int]]:
    try:
        with open(f"/proc/sysvipc/{kind}", encoding="utf-8") as file:
            heads, *rows = [line.split() for line in file]
    except (OSError, ValueError):
        return []  # a kernel without System V objects
    return [
        {
            head: int(value, 8 if head == "perms" else 10)
            for head, value in zip(heads, row, strict=False)
        }
        for row in rows
    ]


def mqueue_mounts() -> list[str]:
    """Return where a file system of POSIX queues is mounted, of any IPC namespace."""
    with open("/proc/self/mounts", encoding="utf-8", errors="surrogateescape") as file:
        return [line.split()[1] for line in file if line.split()[2] == "mqueue"]


def own_mqueue_mount() -> str | None:
    """Return where the POSIX queues of our own IPC namespace are mounted; None: nowhere.

    A mount shows the queues of the namespace that mounted it, to whoever looks; mq_open(3) goes
    to those of the caller's. A queue of one byte, made and removed, tells the device of ours.
    """
    mounts = mqueue_mounts()
    if not mounts:
        return None
    try:
        probe = CALLS.make(f"/ipckit-ls-{os.urandom(8).hex()}", 0o600, 1, 1)
    except OSError:  # no room for one more: those there are must do
        return next(filter(_shows_ours, mounts), None)
    try:
        CALLS.unlink(probe.name)
        device = os.fstat(probe.mqd).st_dev
    finally:
        probe.close()
    for mount in mounts:
        with contextlib.suppress(OSError):
            if os.stat(mount).st_dev == device:
                return mount
    return None


def _shows_ours(mount: str) -> bool:
    """Whether a queue that is listed here is the one that mq_open(3) gives."""
    with contextlib.suppress(OSError):
        for name in os.listdir(mount):
            with contextlib.suppress(OSError):
                queue = CALLS.find(f"/{name}", writable=False)
                try:
                    listed = os.lstat(os.path.join(mount, name))
                    return os.path.samestat(os.fstat(queue.mqd), listed)
                finally:
                    queue.close()
    return False


def posix_queues(users: Users, mount: str | None) -> Iterator[Entry]:
    """Give the POSIX queues of our IPC namespace, by own_mqueue_mount()."""
    if mount is None:
        return
    for name in sorted(os.listdir(mount)):
        path = os.path.join(mount, name)
        with contextlib.suppress(OSError):
            found = os.lstat(path)
            yield Entry(
                f"mqueue:/{name}",
                "POSIX queue",
                found.st_uid,
                stat.S_IMODE(found.st_mode),
                *_waiting(path),
                {"mqueue": path, "inode": found.st_ino},
                users.of_file(found),
            )


def _waiting(path: str) -> tuple[int | None, str]:
    try:
        with open(path, encoding="utf-8") as file:
            words = dict(word.split(":", 1) for word in file.read().split())
        return int(words["QSIZE"]), f"{words['QSIZE']} bytes wait"
    except (OSError, ValueError, KeyError) as why:
        return None, f"may not be looked at: {why}"


def shared_files(users: Users) -> Iterator[Entry]:
    """Give the files of shared memory: our tables, queues and ledgers, and everybody else's."""
    for name in sorted(os.listdir(_SHM)) if os.path.isdir(_SHM) else ():
        path = f"{_SHM}/{name}"
        try:
            found = os.lstat(path)
        except FileNotFoundError:
            continue
        kind, short, content = _about(path, found)
        ours = name.startswith(tuple(known.prefix for known, _, _ in _OURS))
        yield Entry(
            short,
            kind,
            found.st_uid,
            stat.S_IMODE(found.st_mode),
            found.st_size,
            content,
            {"segment": path, "inode": found.st_ino},
            users.of_file(found),
            ours=ours,
        )


def _about(path: str, found: os.stat_result) -> tuple[str, str, str]:
    """Return the kind of a file of shared memory, its name for `rm`, and what is in it."""
    name = path.rpartition("/")[2]
    if name.startswith(_SEMAPHORE):
        return "POSIX semaphore", path, ""
    for known, word, look in _OURS:
        if not name.startswith(known.prefix):
            continue
        short = name.removeprefix(known.prefix)
        try:
            content = look(short, path, found)
        except (IPCError, OSError, ValueError) as why:
            content = f"not readable: {why}"
        return known.kind, f"{word}:{short}", content
    return "shared file", path, ""


def _in_ledger(_name: str, path: str, found: os.stat_result) -> str:
    return "" if found.st_uid != os.geteuid() else f"{tasks_in(path)} tasks"


def _in_queue(name: str, _path: str, _found: os.stat_result) -> str:
    with open_any(name) as queue:
        told = queue.statistics()
    content = f"{told.messages} of {told.max_messages} messages"
    for count, what in ((told.leased, "leased"), (told.delayed, "delayed"), (told.dead, "dead")):
        content += f", {count} {what}" if count else ""
    return content


def _in_table(name: str, _path: str, _found: os.stat_result) -> str:
    with Table.open(name) as table:
        told = table.statistics()
    return f"{told.rows} of {told.size} rows: {', '.join(told.columns)}"


_OURS = (
    (LEDGERS, "ledger", _in_ledger),  # first: their names begin as those of tables
    (QUEUES, "shared-queue", _in_queue),
    (TABLES, "table", _in_table),
)

"""What ipckit does where a container, or its kernel, lacks something, and what it says of that.

Each row is a place without one thing. In it each subject (subjects.py) either works, or raises the
error of ipckit.errors that names the thing and the way out. Nothing is left behind, and `ipckit
doctor` says beforehand what will not work. confine.py makes the place.
"""

from __future__ import annotations

import dataclasses
import errno
import json
import os
import pwd
from pathlib import Path
from typing import Any

import pytest
from confinement import confined

HERE = Path(__file__).parent
pytestmark = pytest.mark.needs_namespaces

SUBJECTS = (
    "table",
    "named table",
    "locks",
    "System V queue",
    "POSIX queue",
    "channel",
    "server without tasks",
    "server",
    "server with a queue",
    "server with a ledger",
    "ptrace engine",
)
SERVERS = ("server", "server with a queue", "server with a ledger")
EVERY_SERVER = ("server without tasks", *SERVERS)


@dataclasses.dataclass(frozen=True)
class Said:
    """An error, or an answer of `ipckit doctor`: its class or state, and parts of its text."""

    kind: str
    parts: tuple[str, ...]

    def fits(self, kind: str, text: str) -> bool:
        return kind == self.kind and all(part in text for part in self.parts)


@dataclasses.dataclass(frozen=True)
class Row:
    """A place (confine.py), the subjects that do not work there, and the checks of `doctor`."""

    name: str
    place: dict[str, Any]
    errors: dict[str, Said] = dataclasses.field(default_factory=dict)
    doctor: dict[str, Said] = dataclasses.field(default_factory=dict)

    def __str__(self) -> str:
        return self.name


def each(names: tuple[str, ...], kind: str, *parts: str) -> dict[str, Said]:
    return dict.fromkeys(names, Said(kind, parts))


def place(name: str) -> dict[str, Any]:
    return {"places": [name]}


RUNTIME = f"/var/tmp/ipckit-{os.geteuid()}" if os.geteuid() else "/run/ipckit"
MOUNT_SHM = "mount -t tmpfs -o mode=1777 tmpfs /dev/shm"
MOUNT_PROC = "mount -t proc proc /proc"
ULIMIT = "the limit of the size of a file is 65536 bytes: raise it (ulimit -f)"

PLACES = [
    Row("nothing is missing", {}),
    Row(
        "no dev-shm",
        place("no /dev/shm"),
        each(
            ("named table", "server with a ledger"),
            "NotFound",
            "open: No such file or directory: an unnamed file in /dev/shm; mount it",
            MOUNT_SHM,
            "or give no name",
        ),
        {
            "named segments": Said("wrong", ("no file can be made in /dev/shm", MOUNT_SHM)),
            "shared memory": Said("wrong", ("there is no /dev/shm", "mount a tmpfs at /dev/shm")),
        },
    ),
    Row(
        "64 KB of dev-shm",
        place("64 KB of /dev/shm"),
        {
            "named table": Said(
                "SystemCallError",
                (
                    "posix_fallocate: No space left on device: a table of 100 rows needs ",
                    "make it smaller, or free some (see df /dev/shm)",
                    "docker run --shm-size",
                ),
            ),
            "server with a ledger": Said(
                "SystemCallError",
                (
                    "posix_fallocate: No space left on device: a task ledger of ",
                    "lower task_memory, or free some (see df /dev/shm)",
                    "docker run --shm-size",
                ),
            ),
        },
        {
            "shared memory": Said(
                "wrong", ("/dev/shm is full: 64 of 64 KiB are free", "docker run --shm-size")
            )
        },
    ),
    Row(
        "no proc",
        place("no /proc"),
        {
            **each(
                ("table", "locks", "ptrace engine"),
                "NotFound",
                "join: No such file or directory: a shared segment is opened by /proc/self/fd",
                MOUNT_PROC,
            ),
            "named table": Said("NotFound", ("/proc/self/fd, naming the table", MOUNT_PROC)),
            **each(EVERY_SERVER, "NotFound", "a server needs /proc", MOUNT_PROC),
        },
        {
            "/proc": Said("wrong", ("it is not mounted", MOUNT_PROC)),
            "queues": Said("ok", ()),
            "memory of the control group": Said("note", ("not known",)),
            "orphans": Said("note", ("not known",)),
            "leaked objects": Said("note", ("not known without /proc",)),
        },
    ),
    Row(
        "read-only root",
        place("read-only root"),
        each(
            SERVERS,
            "SystemCallError",
            f"mkdir: Read-only file system: {RUNTIME} cannot be made",
            "choose another with runtime_dir",
        ),
        {
            "runtime directory": Said(
                "wrong",
                (
                    f"{RUNTIME} cannot be made in {os.path.dirname(RUNTIME)}",
                    "runtime_dir",
                    f"docker run --tmpfs {os.path.dirname(RUNTIME)}",
                ),
            )
        },
    ),
    Row("uid without a name", {"uid": 54321}),
    Row(
        "64 descriptors",
        {"limits": {"NOFILE": 64}},
        each(
            EVERY_SERVER,
            "SettingsError",
            "the hard limit of descriptors is 64, and these processes need ",
            "ulimit -Hn",
            "docker run --ulimit nofile=",
        ),
        {"open files, hard limit": Said("wrong", ("64 descriptors", "docker run --ulimit nofile"))},
    ),
    Row(
        "files of 64 KB",
        {"limits": {"FSIZE": 65536}},
        {
            **each(
                ("table", "named table", "ptrace engine"),
                "SystemCallError",
                "posix_fallocate: File too large: a table of ",
                ULIMIT,
            ),
            "locks": Said("SystemCallError", ("posix_fallocate: File too large: ", ULIMIT)),
            **each(
                ("server", "server with a queue"),
                "SystemCallError",
                "ftruncate: File too large: ",
                ULIMIT,
            ),
            "server with a ledger": Said(
                "SystemCallError", ("posix_fallocate: File too large: a task ledger of ", ULIMIT)
            ),
        },
        {"file size": Said("wrong", ("at most 65,536 bytes", "ulimit -f unlimited"))},
    ),
]

CALLS = {  # of these calls, the subjects that need them, and the check of doctor with its state
    "pidfd_open": ((*EVERY_SERVER, "ptrace engine"), "kernel calls", "wrong"),
    "memfd_create": (
        ("table", "locks", *EVERY_SERVER, "ptrace engine"),
        "kernel calls",
        "wrong",
    ),
    "eventfd": (("System V queue", *EVERY_SERVER, "ptrace engine"), "kernel calls", "wrong"),
    "msgget": (("System V queue", "server with a queue"), "queues", "wrong"),
    "ptrace": (("ptrace engine",), "ptrace", "note"),
    "set_robust_list": ((), "robust lists", "wrong"),
    "futex_waitv": ((), "futex_waitv", "note"),
    "get_robust_list": ((), "robust lists", "ok"),
    "io_uring": ((), "kernel calls", "ok"),
}


def refusals() -> list[Row]:
    rows = []
    for code, kind in (("EPERM", "AccessDenied"), ("ENOSYS", "SystemCallError")):
        why = os.strerror(getattr(errno, code))
        for call, (subjects, check, state) in CALLS.items():
            errors = each(
                subjects,
                kind,
                f"{call}: {why}: ",
                f"a seccomp filter refuses {call}",
                "docker run --security-opt seccomp=PROFILE",
                "ipckit doctor",
            )
            said = (call, why, "seccomp") if state == "wrong" else ("seccomp",)
            doctor = {check: Said(state, said if state != "ok" else ())}
            rows.append(Row(f"{call} is {code}", {"refused": {call: code}}, errors, doctor))
        errors = each(
            EVERY_SERVER,
            "BootFailed",
            f"prctl or timer_create: {why}: so that this process ends with the manager",
            "a seccomp filter refuses prctl or timer_create",
        ) | {
            "ptrace engine": Said(
                kind, (f"prctl: {why}: ", "a seccomp filter refuses prctl", "ipckit doctor")
            )
        }
        doctor = {"kernel calls": Said("wrong", ("prctl", why, "seccomp"))}
        rows.append(Row(f"prctl is {code}", {"refused": {"prctl": code}}, errors, doctor))
    return rows


ROWS = [*PLACES, *refusals()]


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_each_part_works_or_names_what_is_missing(row):
    """P6, P7."""
    subjects_work_or_say(row, SUBJECTS)


def subjects_work_or_say(row: Row, subjects: tuple[str, ...]) -> None:
    told = confined(row.place, str(HERE / "subjects.py"), *subjects)
    assert told["code"] == 0, told
    found = {name: (kind, text) for name, kind, text in map(json.loads, told["out"].splitlines())}
    assert {*found} == {*subjects}
    wrong = {
        name: said
        for name, said in found.items()
        if not row.errors.get(name, Said("", ())).fits(*said)
    }
    assert wrong == {}, told["err"]
    assert told["left"] == [], told["err"]


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_doctor_names_it_beforehand(row):
    """P7: and nothing else is wrong."""
    doctor_says(row)


def doctor_says(row: Row) -> None:
    words = ("doctor", "--set", "max_connection=1", "--set", "backlog=1", "--json")
    told = confined(row.place, "-m", "ipckit", *words)
    assert told["out"], told
    checks = {check["name"]: check for check in json.loads(told["out"])["checks"]}
    for name, said in row.doctor.items():
        text = f"{checks[name]['found']}; {checks[name]['step']}"
        assert said.fits(checks[name]["state"], text), checks[name]
    wrong = {name for name, check in checks.items() if check["state"] == "wrong"}
    assert wrong == {name for name, said in row.doctor.items() if said.kind == "wrong"}
    assert told["code"] == bool(wrong)
    assert told["left"] == []


@pytest.mark.needs_root
def test_a_group_with_less_memory_than_a_table(group):
    """P6: the table is refused, and not its process killed; all that fits works."""
    row = Row(
        "64 MiB for the group",
        {"group": str(group)},
        {
            "large table": Said(
                "SystemCallError",
                (
                    "posix_fallocate: Cannot allocate memory: a table of 1500000 rows needs ",
                    "the memory limit of the control group leaves ",
                    "raise it (memory.max, docker run --memory)",
                ),
            ),
            "server with a ledger": Said(
                "SystemCallError",
                (
                    "posix_fallocate: Cannot allocate memory: a task ledger of ",
                    "lower task_memory",
                    "the memory limit of the control group leaves ",
                ),
            ),
        },
        {"memory of the control group": Said("note", ("MiB are left under its limit", "SIGKILL"))},
    )
    subjects_work_or_say(row, (*SUBJECTS, "large table"))
    doctor_says(row)


@pytest.mark.needs_root
def test_a_root_that_may_not_become_another_user():
    """In a user namespace of one user, as in some containers without root: P5."""
    nobody = pwd.getpwnam("nobody")
    row = Row(
        "a root alone",
        {"uid": 0},
        {
            "server of nobody": Said(
                "SystemCallError",
                (
                    f" of spill files, for user {nobody.pw_uid}; it takes CAP_CHOWN ",
                    "and a user that this user namespace knows",
                ),
            ),
            "server of nobody without tasks": Said(
                "BootFailed",
                (
                    f"to become user {nobody.pw_uid}, group {nobody.pw_gid}; it takes CAP_SETUID ",
                    "docker run --cap-add SETUID --cap-add SETGID",
                ),
            ),
        },
    )
    subjects_work_or_say(row, ("server", *row.errors))

"""A program for test_start_undone.py: one start after another, each of which fails at another call.

Arguments: a directory, "calls" or "descriptors", "tasks" or "none". Each start is in a child of its
own. "calls": the interpreter's profile function raises ENOSPC in place of the n-th call of a C
function that is one of CALLS, for n = 0, 1, ... "descriptors": the limit of descriptors is raised by
one from start to start. All of them end at the first fork(2) at the latest, which fails with EPERM.
Prints a line of JSON for each start: which call failed, what start() raised, what is left.
"""

from __future__ import annotations

import codecs
import errno
import json
import os
import resource
import sys

from ipckit import IPCError, Server, SockType, SysvQueue
from ipckit.server.config.settings import Settings
from ipckit.server.system.acquire import hold_name
from ipckit.server.tasks.ledger import TaskLedger
from ipckit.server.tasks.named_ledger import tasks_in

codecs.lookup("ascii")  # else the first use imports it, and that may be what fails

KEY = 0x1BC0DE01
LEDGER = "start-undone"
FILE = f"/dev/shm/ipckit.ledger.{LEDGER}"
CALLS = frozenset(
    """
    bind chmod chown close_range connect dup eventfd fchmod fchown fcntl fstat ftruncate getsockname
    getsockopt link listdir listen lockf lstat makedirs memfd_create mkdir msgctl msgget open
    pidfd_open posix_fallocate pread pwrite rename replace rmdir sendto setrlimit setsockopt socketpair
    set_wakeup_fd stat unlink write
    """.split()
)
folder, how, stored = sys.argv[1:]
run = os.path.join(folder, "run")
SETTINGS = {
    "worker_num": 2,
    "task_worker_num": 1,
    "task_queue_size": 64,
    "task_ledger": LEDGER,
    "task_tmpdir": os.path.join(folder, "spill"),
    "runtime_dir": run,
}


def prepare() -> None:
    """Leave three tasks in the ledger, and a message in the queue."""
    ledger = TaskLedger(Settings().changed(SETTINGS))
    for number in range(3):
        ledger.view(0).submit(ledger.dump(number), -1, False)
    ledger.destroy(keep=True)
    SysvQueue.create(KEY, mode=0o600).send(b"i:1;")


def server() -> Server:
    made = Server(
        os.path.join(folder, "port"),
        sock_type=SockType.UNIX_STREAM,
        **SETTINGS,
        task_ipc_mode=2,
        message_queue_key=KEY,
        message_queue_mode=0o640,
        pid_file=os.path.join(folder, "pid"),
        control_path=os.path.join(folder, "control"),
        dead_letter_path=os.path.join(folder, "letters"),
        log_file=os.path.join(folder, "log"),
    )
    made.on("receive", print)
    made.on("task", print)
    return made


class Failing:
    """A profile function that raises in place of the n-th call, and is taken away by that."""

    def __init__(self, number: int) -> None:
        self.left = number
        self.failed = ""

    def __call__(self, frame, event, function) -> None:
        if event == "c_call" and function.__name__ in CALLS:
            self.left -= 1
            if self.left < 0:
                self.failed = function.__name__
                raise OSError(errno.ENOSPC, "of the test")


def no_fork() -> int:
    sys.setprofile(None)  # from here on it is undone
    raise PermissionError(errno.EPERM, "of the test")


def start(number: int) -> dict[str, object]:
    """In a child: start, and return what happened."""
    os.fork = no_fork
    made = server()
    failing = Failing(number)
    if how == "calls":
        sys.setprofile(failing)
    else:
        used = len(os.listdir("/proc/self/fd")) - 1
        setrlimit, (_, hard) = resource.setrlimit, resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit = lambda *_: None  # start() would raise it
        setrlimit(resource.RLIMIT_NOFILE, (used + number, hard))
    try:
        made.start()
        raised, typed = "", False
    except BaseException as exc:
        sys.setprofile(None)
        raised, typed = f"{type(exc).__name__}: {exc}", isinstance(exc, IPCError)
        if not made._ended:  # it may be started again, and has its port until then
            made.ports[0].forget()
    return {"failed": failing.failed, "raised": raised, "typed": typed}


def left() -> list[str]:
    """Return what is there beside what was there before, and what is missing."""
    found = {os.path.join(folder, name) for name in os.listdir(folder)}
    kept = ("run", "spill", "letters", "letters-wal", "letters-shm", "log")
    found -= {os.path.join(folder, name) for name in kept}
    for inner in ("run", "spill"):
        if os.path.isdir(os.path.join(folder, inner)):
            found |= {os.path.join(inner, name) for name in os.listdir(os.path.join(folder, inner))}
    found |= {f"/dev/shm/{name}" for name in os.listdir("/dev/shm")}
    queues = [SysvQueue.open_id(number) for number in queue_ids()]
    found |= {f"queue {q.key:#x} {q.statistics().messages} {q.statistics().mode:o}" for q in queues}
    if os.path.exists(FILE):
        found |= {f"{tasks_in(FILE)} tasks"}
    for name, of in (
        (f"ipckit-message-queue-{KEY:08x}", "/proc/self/ns/ipc"),
        (f"ipckit-task-ledger-{os.geteuid()}-{LEDGER}", "/dev/shm"),
    ):
        guard = hold_name(name, of)
        assert guard is not None, f"{name} is held"
        guard.close()
    return sorted(found)


def queue_ids() -> list[int]:
    with open("/proc/sysvipc/msg") as file:
        return [int(line.split()[1]) for line in file.readlines()[1:]]


def main() -> None:
    if stored == "tasks":
        prepare()
    number = 0
    while True:
        reading, writing = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(reading)
            os.write(writing, json.dumps(start(number)).encode())
            os._exit(0)
        os.close(writing)
        with open(reading) as file:
            answer = json.loads(file.read())
        os.waitpid(pid, 0)
        print(json.dumps({"number": number, **answer, "left": left()}), flush=True)
        number += 1
        if not answer["failed"] and "fork" in answer["raised"]:
            return


main()

"""Every limit of the kernel that ipckit meets, against what settings need. Pure.

Contract  a limit is short if it is known, the settings need a number, and it is less. What depends
          on the program alone (the size of its messages, the tables it makes) has no need here.
Source    sysvipc(7), mq_overview(7), getrlimit(2), listen(2); the defaults of containers are those
          of docker's and podman's manuals.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ipckit.cli.machine.facts import Facts
from ipckit.kinds import TaskIPC
from ipckit.server.config.descriptor_limit import descriptors_beside
from ipckit.server.config.settings import Settings
from ipckit.server.tasks.ledger import memory_for

__all__ = ["Limit", "compare"]

_MESSAGES, _MESSAGE_SIZE = 10, 8192
"""What PosixQueue.create() asks for if nothing else is said."""

_PER_MESSAGE = 128
"""Bytes that the kernel counts for a message beside its body, at most."""


@dataclass(frozen=True, slots=True)
class Limit:
    """One limit. `value` None: this kernel does not show it; infinity: there is none."""

    name: str
    value: float | None
    needed: float | None
    unit: str
    about: str
    raised: str  # how to raise it; {} is the number
    container: str = ""  # what containers have by default, and how they get more

    @property
    def short(self) -> bool:
        """Whether it is less than what is needed."""
        return self.value is not None and self.needed is not None and self.value < self.needed

    @property
    def advice(self) -> str:
        """Return how to raise it; if it is short, to what is needed."""
        number = f"{self.needed:.0f}" if self.short else "N"
        both = f"{self.raised}; {self.container}" if self.container else self.raised
        return both.replace("{}", number)

    def form(self) -> dict[str, Any]:
        """Return it for JSON, which knows no infinity: "unlimited"."""
        unlimited = self.value == float("inf")
        return {
            "name": self.name,
            "value": "unlimited" if unlimited else self.value,
            "needed": self.needed,
            "unit": self.unit,
            "short": self.short,
            "about": self.about,
            "raise": self.advice,
        }


def compare(facts: Facts, settings: Settings, user_processes: int = 0) -> list[Limit]:
    """Return every limit, with what a server of these settings needs of it."""
    tasks = settings.task_worker_num > 0
    queue = tasks and settings.task_ipc_mode != TaskIPC.UNIX_SOCKET
    named = tasks and settings.task_ledger is not None
    processes = settings.worker_num + settings.task_worker_num + user_processes + 2
    ledger = memory_for(settings) if tasks else 0
    return [
        *_system_v(facts, queue=queue),
        *_posix_queues(facts),
        Limit(
            "/dev/shm free",  # noqa: S108  (where POSIX shared memory is)
            facts.shm_free,
            ledger if named else None,
            "bytes",
            f"of {_bytes(facts.shm_size)}; tables with a name, the ledger of task_ledger",
            "mount -o remount,size={} /dev/shm, or free some: ipckit ls",
            "containers have 64 MiB: docker run --shm-size {}; kubernetes: an emptyDir of medium "
            "Memory at /dev/shm",
        ),
        Limit(
            "memory of the control group",
            facts.cgroup_memory,
            ledger or None,
            "bytes",
            "left to this group; the task ledger (task_memory), tables, and the processes' own",
            "raise the group's memory.max (systemd: MemoryMax=)",
            "docker run --memory {}",
        ),
        Limit(
            "open files, hard limit",
            facts.descriptors,
            settings.max_connection + descriptors_beside(settings, user_processes),
            "descriptors",
            "of one process; max_connection, and some for each worker",
            "ulimit -Hn {} as root, LimitNOFILE={} for systemd, or lower max_connection",
            "docker run --ulimit nofile={}",
        ),
        Limit(
            "net.core.somaxconn",
            facts.somaxconn,
            settings.backlog,
            "connections",
            "that wait to be accepted at one port; backlog is cut to it without a word",
            "sysctl -w net.core.somaxconn={}",
            "docker run --sysctl net.core.somaxconn={}",
        ),
        Limit(
            "processes of this user",
            facts.processes,
            processes,
            "processes",
            "all of the user's on this machine count (root has no limit)",
            "ulimit -Hu {} as root, LimitNPROC={} for systemd",
            "docker run --ulimit nproc={}",
        ),
        Limit(
            "processes of the control group",
            facts.cgroup_pids,
            processes,
            "processes",
            "left to this group: workers, task workers, the manager, one more in a reload",
            "raise the group's pids.max (systemd: TasksMax={})",
            "podman has 2048: podman run --pids-limit {}",
        ),
        Limit(
            "kernel.pid_max",
            facts.pid_max,
            processes,
            "processes",
            "of the machine",
            "sysctl -w kernel.pid_max={}",
        ),
    ]


def _system_v(facts: Facts, *, queue: bool) -> list[Limit]:
    there = facts.queues or 0
    return [
        Limit(
            "kernel.msgmax",
            facts.msgmax,
            None,
            "bytes",
            "of one System V message: a SysvQueue's, a task that PHP posts",
            "sysctl -w kernel.msgmax={}",
            "containers have 8192: docker run --sysctl kernel.msgmax={}",
        ),
        Limit(
            "kernel.msgmnb",
            facts.msgmnb,
            None,
            "bytes",
            "that wait in one System V queue; a queue keeps what it was made with",
            "sysctl -w kernel.msgmnb={}, or max_bytes= of SysvQueue.create() as root",
            "containers have 16384: docker run --sysctl kernel.msgmnb={}",
        ),
        Limit(
            "kernel.msgmni",
            facts.msgmni,
            there + (1 if queue else 0),
            "queues",
            f"of the machine; there are {there}, task_ipc_mode 2 and 3 make one more",
            "sysctl -w kernel.msgmni={}, or free some: ipckit ls",
            "containers have 32000: docker run --sysctl kernel.msgmni={}",
        ),
    ]


def _posix_queues(facts: Facts) -> list[Limit]:
    return [
        Limit(
            "fs.mqueue.msg_max",
            facts.mq_messages,
            _MESSAGES,
            "messages",
            "in one POSIX queue: max_messages of PosixQueue.create()",
            "sysctl -w fs.mqueue.msg_max={}",
            "docker run --sysctl fs.mqueue.msg_max={}",
        ),
        Limit(
            "fs.mqueue.msgsize_max",
            facts.mq_size,
            _MESSAGE_SIZE,
            "bytes",
            "of one POSIX message: max_message_size of PosixQueue.create()",
            "sysctl -w fs.mqueue.msgsize_max={}",
            "docker run --sysctl fs.mqueue.msgsize_max={}",
        ),
        Limit(
            "fs.mqueue.queues_max",
            facts.mq_queues,
            1,
            "queues",
            "POSIX queues of the machine",
            "sysctl -w fs.mqueue.queues_max={}",
            "docker run --sysctl fs.mqueue.queues_max={}",
        ),
        Limit(
            "bytes in POSIX queues of this user",
            facts.mq_bytes,
            _MESSAGES * (_MESSAGE_SIZE + _PER_MESSAGE),
            "bytes",
            "hard limit; each queue counts in full when it is made",
            "ulimit -Hq {} as root, LimitMSGQUEUE={} for systemd",
            "docker run --ulimit msgqueue={}",
        ),
    ]


def _bytes(number: int | None) -> str:
    return "unknown" if number is None else f"{number:,}"

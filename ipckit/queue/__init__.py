"""Message queues: System V, POSIX, in shared memory, and references in memory.

A module is loaded when one of its names is first used (PEP 562), so that the pure parts, such as
``ipckit.queue.php_format``, load neither the C core nor asyncio.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ipckit.queue.contract import Message as Message
    from ipckit.queue.contract import Statistics as Statistics
    from ipckit.queue.memory import MemoryPriorityQueue as MemoryPriorityQueue
    from ipckit.queue.memory import MemoryQueue as MemoryQueue
    from ipckit.queue.objects.lease import ObjectLease as ObjectLease
    from ipckit.queue.objects.queue import ObjectQueue as ObjectQueue
    from ipckit.queue.posix import PosixQueue as PosixQueue
    from ipckit.queue.posix import PosixStatistics as PosixStatistics
    from ipckit.queue.relay import QueueRelay as QueueRelay
    from ipckit.queue.relay import Seen as Seen
    from ipckit.queue.relay import Wakeup as Wakeup
    from ipckit.queue.shared import Lease as Lease
    from ipckit.queue.shared import Reservation as Reservation
    from ipckit.queue.shared import SharedQueue as SharedQueue
    from ipckit.queue.shared_views import DeadMessage as DeadMessage
    from ipckit.queue.shared_views import DeadMessages as DeadMessages
    from ipckit.queue.shared_views import DeadObject as DeadObject
    from ipckit.queue.shared_views import DeadObjects as DeadObjects
    from ipckit.queue.shared_views import LeaseHolder as LeaseHolder
    from ipckit.queue.shared_views import SharedStatistics as SharedStatistics
    from ipckit.queue.sysv import SysvQueue as SysvQueue

_HOME = {
    name: home
    for home, names in {
        "contract": "Message Statistics",
        "sysv": "SysvQueue",
        "posix": "PosixQueue PosixStatistics",
        "memory": "MemoryQueue MemoryPriorityQueue",
        "relay": "QueueRelay Seen Wakeup",
        "shared": "Lease Reservation SharedQueue",
        "objects.lease": "ObjectLease",
        "objects.queue": "ObjectQueue",
        "shared_views": (
            "DeadMessage DeadMessages DeadObject DeadObjects LeaseHolder SharedStatistics"
        ),
        "php": (
            "msg_get_queue msg_send msg_receive msg_stat_queue msg_set_queue msg_remove_queue "
            "msg_queue_exists MSG_IPC_NOWAIT MSG_NOERROR MSG_EXCEPT"
        ),
    }.items()
    for name in names.split()
}

__all__ = [*_HOME]  # noqa: PLE0604  (a computed list)


def __getattr__(name: str) -> object:
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module 'ipckit.queue' has no attribute {name!r}")
    return getattr(importlib.import_module(f"ipckit.queue.{home}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)

"""ipckit: Python processes on one Linux machine, working together.

Tiers, each usable alone; importing one primitive loads no other (PEP 562)::

    ipckit.cli   ipckit.testing                     T4
    ipckit.server   ipckit.client                   T3
    ipckit.keys | queue | table | channel |
           sync | framing                           T2   never import each other
    ipckit._core                                    T1   the C core and its gate
    ipckit.errors                                   T0
"""

from __future__ import annotations

import importlib

from ipckit._distribution import OURS, why_not

_HOME = {
    "ftok": "keys",
    "SysvQueue": "queue",
    "PosixQueue": "queue",
    "ObjectQueue": "queue",
    "SharedQueue": "queue",
    "MemoryQueue": "queue",
    "msg_get_queue": "queue.php",
    "msg_send": "queue.php",
    "msg_receive": "queue.php",
    "msg_stat_queue": "queue.php",
    "msg_set_queue": "queue.php",
    "msg_remove_queue": "queue.php",
    "msg_queue_exists": "queue.php",
    "Table": "table",
    "MemoryTable": "table",
    "Int": "table",
    "Float": "table",
    "Str": "table",
    "Bytes": "table",
    "Channel": "channel",
    "Atomic": "sync",
    "Lock": "sync",
    "Server": "server",
    "TaskIPC": "kinds",
    "SockType": "kinds",
    "Client": "client",
    "TaskClient": "client",
}
_ERRORS = (
    "AccessDenied AlreadyExists BootFailed DeadlockError IPCError InternalError "
    "MessageTooLarge MisuseError NotFound PeerGone ProtocolError QueueEmpty QueueFull "
    "QueueRemoved SchemaError SegmentCorrupt SettingsError SystemCallError TableFull "
    "TaskFailed TaskQueueFull TaskTimeout WaitTimeout"
).split()
_HOME.update(dict.fromkeys(_ERRORS, "errors"))

__all__ = [*_HOME, "__version__"]  # noqa: PLE0604  (a computed list; meta tests check each name)


def __getattr__(name: str) -> object:
    if name == "__version__":
        from importlib.metadata import version  # noqa: PLC0415  (slow: it loads email and socket)

        return version(OURS)
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module 'ipckit' has no attribute {name!r}")
    try:
        return getattr(importlib.import_module(f"ipckit.{home}"), name)
    except (ImportError, AttributeError) as exc:
        hint = why_not(exc)
        if hint:
            raise ImportError(hint) from exc
        raise


def __dir__() -> list[str]:
    return sorted(__all__)

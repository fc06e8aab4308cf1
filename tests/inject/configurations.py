"""The servers that fail: what each is set to, and which ways it goes. Pure."""

from __future__ import annotations

import os
from typing import Any, NamedTuple

__all__ = ["CONFIGURATIONS", "REQUESTS", "Configuration"]

REQUESTS = 6
"""`max_request` and `task_max_request` where processes retire."""

START, STOP, USER_DEATH = "start", "stop", "user_death"
_SERVING = ("accept", "ports", "tasks", "large", "letters", "control")
_CHANGES = ("task_death", "worker_death", "reload", USER_DEATH)
_QUEUE = ("foreign",)

_USER = {"user": "nobody"} if os.geteuid() == 0 else {}


class Configuration(NamedTuple):
    settings: dict[str, Any]
    ways: tuple[str, ...]
    users: str = "def"
    """Of which kind the callback of the user process is; "": there is none."""
    tls: bool = True
    """Whether there is more than one port: TLS, UDP and a unix socket beside TCP."""
    program: bool = False
    """Whether `ipckit run` serves it: each process imports the module."""


def _retiring(mode: int) -> Configuration:
    limits = ("max_request", "task_max_request")
    settings = dict.fromkeys(limits, REQUESTS) | {f"{limit}_grace": 0 for limit in limits}
    return Configuration({"task_ipc_mode": mode, **settings}, ("retirement",), users="")


CONFIGURATIONS = {
    "mode 1": Configuration({"task_ipc_mode": 1}, (START, *_SERVING, *_CHANGES, STOP)),
    "mode 2": Configuration(
        {"task_ipc_mode": 2}, (START, *_SERVING, *_QUEUE, *_CHANGES, STOP), users="async def"
    ),
    "mode 3": Configuration({"task_ipc_mode": 3}, (START, *_SERVING, *_QUEUE, *_CHANGES, STOP)),
    "ledger": Configuration(
        {"task_ipc_mode": 1, "task_ledger": "inject", "log_file": "log_file"},
        (START, *_SERVING, *_CHANGES, STOP),
        users="async def",
    ),
    "run": Configuration(
        {"task_ipc_mode": 2, **_USER},
        (START, "accept", "tasks", "large", *_QUEUE, *_CHANGES, STOP),
        tls=False,
        program=True,
    ),
    **{f"retire {mode}": _retiring(mode) for mode in (1, 2, 3)},
}
"""`user` needs root. What is a file's name is in the directory of the lane."""

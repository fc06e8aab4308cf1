"""Every setting of a server: name, type, default, range; checked before any process exists.

Contract  `Settings.changed()` returns a checked copy or raises SettingsError and changes nothing;
          the text names the value, the range, and for an unknown name the nearest one.
Stands on ipckit.errors, ipckit.framing, ipckit.kinds. No I/O but os.cpu_count().
Invariants
  G1  a Settings object is always valid.
"""

from __future__ import annotations

import dataclasses
import difflib
import logging
import math
import os
import re
import ssl as ssl_module
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from ipckit.errors import SettingsError
from ipckit.framing import Framing
from ipckit.kinds import TaskIPC
from ipckit.server.config.identity import group_id, user_id

__all__ = ["MAX_PROCESSES", "PORT_SETTINGS", "Settings", "nearest"]

MAX_PROCESSES = 2047
"""Workers and task workers together: twice that (old and new in a reload) owners in 12 bits."""

PORT_SETTINGS = (
    *Framing.names(),
    "heartbeat_idle_time",
    "heartbeat_check_interval",
    "open_tcp_nodelay",
    "package_timeout",
    "socket_buffer_size",
    "ssl",
    "tcp_keepalive",
)
"""What a single port may have of its own."""

_KIB = 1024
_MIB = 1024 * 1024


def nearest(name: object, known: tuple[str, ...] | list[str]) -> str:
    """Return "; did you mean 'x'?" for the known name most like `name`."""
    found = difflib.get_close_matches(str(name), known, 1, 0)
    return f"; did you mean {found[0]!r}?" if found else ""


def _whole(low: int, high: int | None = None, unit: str = "") -> Callable[[Any], str]:
    span = f"{low}..{high}" if high is not None else f"{low} or more"

    def wrong(value: Any) -> str:
        fits = isinstance(value, int) and not isinstance(value, bool) and value >= low
        if fits and (high is None or value <= high):
            return ""
        return f"an int of {span}{unit}"

    return wrong


def _number(low: float, high: float) -> Callable[[Any], str]:
    def wrong(value: Any) -> str:
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if number and math.isfinite(value) and low <= value <= high:
            return ""
        return f"a number of {low:g}..{high:g} seconds"

    return wrong


def _flag(value: Any) -> str:
    return "" if isinstance(value, bool) else "True or False"


def _rights(value: Any) -> str:
    fits = isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 0o777
    return "" if fits else "permission bits, 0..0o777"


def _key(value: Any) -> str:
    fits = isinstance(value, int) and not isinstance(value, bool) and -(2**31) <= value < 2**32
    return (
        "" if fits else "a queue key of -2**31..2**32-1, as ftok() returns it (0: a private queue)"
    )


def _path(value: Any) -> str:
    path = os.fspath(value) if isinstance(value, os.PathLike) else value
    if path is not None and not isinstance(path, str):
        return "a path or None"
    return (
        "a path or None, not empty and without a NUL" if path == "" or "\0" in (path or "") else ""
    )


def _path_or_no(value: Any) -> str:
    return "a path, None or False" if value is not False and _path(value) else ""


def _delays(value: Any) -> str:
    one = _number(0, 86400)
    fits = isinstance(value, tuple | list) and value and not any(one(delay) for delay in value)
    return "" if fits else "a tuple of one or more delays of 0..86400 seconds"


def _level(value: Any) -> str:
    if isinstance(value, str) and value.upper() in logging.getLevelNamesMapping():
        return ""
    return _whole(0)(value) and "a level's name (DEBUG, INFO, WARNING, ERROR) or its number"


def _mode(value: Any) -> str:
    fits = not isinstance(value, bool) and value in list(TaskIPC)
    return "" if fits else "1 (unix socket), 2 (queue) or 3 (contended queue)"


def _or_none(value: Any, wrong: Callable[[Any], str]) -> str:
    why = "" if value is None else wrong(value)
    return f"{why}, or None" if why else ""


def _limit(value: Any) -> str:
    return _or_none(value, _number(0.001, 86400))


def _hang(value: Any) -> str:
    return _or_none(value, _number(0.1, 86400))


def _name(value: Any) -> str:
    fits = isinstance(value, str) and re.fullmatch(r"[A-Za-z0-9._-]{1,100}", value)
    return "" if value is None or fits else "a name of 1..100 of A-Z a-z 0-9 . _ -, or None"


def _delivery(value: Any) -> str:
    return "" if value in ("at_least_once", "at_most_once") else '"at_least_once" or "at_most_once"'


def _grace(value: Any) -> str:
    return _or_none(value, _whole(0))


def _ssl(value: Any) -> str:
    fits = isinstance(value, ssl_module.SSLContext)
    return "" if value is None or fits else "an ssl.SSLContext with a certificate, or None"


def _user(value: Any) -> str:
    known = value is None or (_is_id(value) and user_id(value) is not None)
    return "" if known else "the name or the number of a user of this machine, or None"


def _group(value: Any) -> str:
    known = value is None or (_is_id(value) and group_id(value) is not None)
    return "" if known else "the name or the number of a group of this machine, or None"


def _is_id(value: Any) -> bool:
    number = isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**32 - 1
    return number or isinstance(value, str)


def _anything(value: Any) -> str:
    del value
    return ""


def _setting(default: Any, wrong: Callable[[Any], str]) -> Any:
    return field(default=default, metadata={"wrong": wrong})


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """All settings with their values. Times in seconds, sizes in bytes."""

    # Processes
    worker_num: int = field(
        default_factory=lambda: os.cpu_count() or 1,
        metadata={"wrong": _whole(1, MAX_PROCESSES)},
    )
    max_request: int = _setting(0, _whole(0))
    max_request_grace: int | None = _setting(None, _grace)
    max_wait_time: float = _setting(3, _number(0, 86400))
    reload_async: bool = _setting(default=True, wrong=_flag)
    reload_timeout: float = _setting(30, _number(0, 86400))
    worker_hang_timeout: float | None = _setting(None, _hang)
    user: str | int | None = _setting(None, _user)
    group: str | int | None = _setting(None, _group)

    # Tasks
    task_worker_num: int = _setting(0, _whole(0, MAX_PROCESSES))
    task_ipc_mode: int = _setting(TaskIPC.UNIX_SOCKET, _mode)
    message_queue_key: int = _setting(0, _key)
    message_queue_mode: int = _setting(0o600, _rights)
    task_max_request: int = _setting(0, _whole(0))
    task_max_request_grace: int | None = _setting(None, _grace)
    task_tmpdir: str | os.PathLike[str] | None = _setting(None, _path)
    task_max_attempts: int = _setting(3, _whole(1, 255))
    task_retry_delays: tuple[float, ...] | list[float] = _setting((0, 1, 5), _delays)
    task_queue_size: int = _setting(4096, _whole(1, 2**24))
    task_memory: int = _setting(64 * _MIB, _whole(4096, 2**40, " bytes"))
    task_timeout: float | None = _setting(None, _limit)
    task_delivery: str = _setting("at_least_once", _delivery)
    task_ledger: str | None = _setting(None, _name)
    dead_letter_path: str | os.PathLike[str] | None = _setting(None, _path)

    # Connections
    max_connection: int = _setting(10000, _whole(1, 2**20))
    backlog: int = _setting(512, _whole(1, 65535))
    heartbeat_idle_time: float = _setting(0, _number(0, 10**9))
    heartbeat_check_interval: float = _setting(0, _number(0, 10**9))
    socket_buffer_size: int = _setting(8 * _MIB, _whole(1, 2**40, " bytes"))
    open_tcp_nodelay: bool = _setting(default=True, wrong=_flag)
    tcp_keepalive: bool = _setting(default=False, wrong=_flag)
    keep_connections: bool = _setting(default=True, wrong=_flag)
    package_timeout: float | None = _setting(None, _limit)
    ssl: ssl_module.SSLContext | None = _setting(None, _ssl)

    # Framing; what is right for these, ipckit.framing knows
    open_eof_check: bool = _setting(default=False, wrong=_anything)
    open_eof_split: bool = _setting(default=False, wrong=_anything)
    package_eof: bytes | str = _setting(b"\r\n\r\n", _anything)
    open_length_check: bool = _setting(default=False, wrong=_anything)
    package_length_type: str = _setting("N", _anything)
    package_length_offset: int = _setting(0, _anything)
    package_body_offset: int = _setting(4, _anything)
    package_length_func: Callable[[bytes, int], int] | None = _setting(None, _anything)
    package_max_length: int = _setting(2 * _MIB, _anything)

    # Files and logs
    pid_file: str | os.PathLike[str] | None = _setting(None, _path)
    log_file: str | os.PathLike[str] | None = _setting(None, _path)
    log_level: str | int = _setting("INFO", _level)
    control_path: str | os.PathLike[str] | bool | None = _setting(None, _path_or_no)
    runtime_dir: str | os.PathLike[str] | None = _setting(None, _path)

    def __post_init__(self) -> None:
        """Check every value, then those that depend on each other (G1)."""
        for entry in dataclasses.fields(self):
            value = getattr(self, entry.name)
            wrong = entry.metadata["wrong"](value)
            if wrong:
                raise SettingsError(f"{entry.name}={value!r}: must be {wrong}")
        self.framing()
        if self.worker_num + self.task_worker_num > MAX_PROCESSES:
            raise SettingsError(
                f"worker_num={self.worker_num} and task_worker_num={self.task_worker_num}: "
                f"together at most {MAX_PROCESSES}; take fewer"
            )

    @classmethod
    def names(cls) -> tuple[str, ...]:
        """Return the names of all settings, in order."""
        return tuple(entry.name for entry in dataclasses.fields(cls))

    def changed(self, changes: dict[str, Any]) -> Settings:
        """Return a checked copy with `changes`; SettingsError otherwise."""
        known = self.names()
        for name in changes:
            if name not in known:
                raise SettingsError(f"there is no setting {name!r}{nearest(name, known)}")
        return dataclasses.replace(self, **changes)

    def with_whole_paths(self) -> Settings:
        """Return them with absolute paths: the working directory may change later.

        Raises SettingsError: a path is relative, and the working directory was removed.
        """
        paths: dict[str, Any] = {}
        for each in dataclasses.fields(self):
            value = getattr(self, each.name)
            if each.metadata["wrong"] in (_path, _path_or_no) and value not in (None, True, False):
                try:
                    paths[each.name] = os.path.abspath(os.fspath(value))
                except FileNotFoundError:
                    raise SettingsError(
                        f"{each.name}={value!r}: the working directory was removed; give an "
                        f"absolute path"
                    ) from None
        return self.changed(paths)

    def as_dict(self) -> dict[str, Any]:
        """Return name -> value of all settings."""
        return {name: getattr(self, name) for name in self.names()}

    def framing(self) -> Framing:
        """Return how a connection's stream is cut into packets."""
        return Framing(**{name: getattr(self, name) for name in Framing.names()})

    @property
    def level(self) -> int:
        """log_level as a logging number."""
        if isinstance(self.log_level, int):
            return self.log_level
        return logging.getLevelNamesMapping()[self.log_level.upper()]

    @property
    def leave_within(self) -> float:
        """Seconds for the work, and the end, of a process that was replaced."""
        return self.reload_timeout + self.max_wait_time

    @property
    def heartbeat_interval(self) -> float:
        """Seconds between two looks for idle connections; 0: off."""
        if self.heartbeat_idle_time <= 0:
            return 0
        return self.heartbeat_check_interval or self.heartbeat_idle_time / 2

    def request_grace(self, limit: int, grace: int | None) -> int:
        """Return how many requests more than `limit` a process may get, at most."""
        if grace is not None:
            return grace
        return limit // 2 if limit > 10 else 0

"""The settings as keyword arguments, for type checkers and editors; `Settings` and `Framing` check
the values, and tests/unit/server/test_settings.py holds names and types equal to theirs.

Stands on ipckit.framing.
"""

from __future__ import annotations

import os
import ssl as ssl_module

from ipckit.framing import FramingSettings

__all__ = ["PortSettings", "ServerSettings"]


class PortSettings(FramingSettings, total=False):
    """What a single port may have of its own."""

    heartbeat_idle_time: float
    heartbeat_check_interval: float
    socket_buffer_size: int
    open_tcp_nodelay: bool
    tcp_keepalive: bool
    package_timeout: float | None
    ssl: ssl_module.SSLContext | None


class ServerSettings(PortSettings, total=False):
    """All settings of a server."""

    worker_num: int
    max_request: int
    max_request_grace: int | None
    max_wait_time: float
    reload_async: bool
    reload_timeout: float
    worker_hang_timeout: float | None
    user: str | int | None
    group: str | int | None
    task_worker_num: int
    task_ipc_mode: int
    message_queue_key: int
    message_queue_mode: int
    task_max_request: int
    task_max_request_grace: int | None
    task_tmpdir: str | os.PathLike[str] | None
    task_max_attempts: int
    task_retry_delays: tuple[float, ...] | list[float]
    task_queue_size: int
    task_memory: int
    task_timeout: float | None
    task_delivery: str
    task_ledger: str | None
    dead_letter_path: str | os.PathLike[str] | None
    max_connection: int
    backlog: int
    keep_connections: bool
    pid_file: str | os.PathLike[str] | None
    log_file: str | os.PathLike[str] | None
    log_level: str | int
    control_path: str | os.PathLike[str] | bool | None
    runtime_dir: str | os.PathLike[str] | None

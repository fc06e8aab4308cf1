"""Settings: names and defaults of the promise, and every wrong value answered."""

from __future__ import annotations

import os
import re
from typing import get_type_hints

import pytest

from ipckit import SettingsError
from ipckit.client import ClientSettings
from ipckit.framing import Framing, FramingSettings
from ipckit.server.config.setting_types import PortSettings, ServerSettings
from ipckit.server.config.settings import PORT_SETTINGS, Settings

# By hand from the promise; `worker_num` is the number of CPUs.
DEFAULTS = {
    "worker_num": os.cpu_count(), "task_worker_num": 0, "task_ipc_mode": 1, "message_queue_key": 0,
    "message_queue_mode": 0o600, "task_ledger": None, "task_max_request": 0,
    "task_max_request_grace": None, "task_tmpdir": None, "task_max_attempts": 3,
    "task_retry_delays": (0, 1, 5), "task_timeout": None, "task_queue_size": 4096,
    "task_memory": 64 * 1024 * 1024, "task_delivery": "at_least_once", "dead_letter_path": None,
    "max_request": 0, "max_request_grace": None, "max_wait_time": 3, "reload_async": True,
    "reload_timeout": 30,
    "keep_connections": True, "max_connection": 10000, "backlog": 512, "worker_hang_timeout": None,
    "heartbeat_idle_time": 0, "heartbeat_check_interval": 0, "open_eof_check": False,
    "open_eof_split": False, "package_eof": b"\r\n\r\n", "open_length_check": False,
    "package_length_type": "N", "package_length_offset": 0, "package_body_offset": 4,
    "package_length_func": None,
    "package_max_length": 2 * 1024 * 1024, "package_timeout": None,
    "socket_buffer_size": 8 * 1024 * 1024, "open_tcp_nodelay": True, "tcp_keepalive": False,
    "ssl": None, "user": None, "group": None, "pid_file": None, "log_file": None,
    "log_level": "INFO", "control_path": None, "runtime_dir": None,
}  # fmt: skip

WRONG = {
    "worker_num": [0, -1, 1.5, True, "2", None],
    "task_worker_num": [-1, 5000, "1"],
    "task_ipc_mode": [0, 4, "2", True],
    "message_queue_key": [2**32, -(2**31) - 1, "key", 1.0],
    "message_queue_mode": [-1, 0o1000, "600"],
    "task_max_request": [-1, 1.0],
    "task_max_request_grace": [-1, "x"],
    "task_tmpdir": [5],
    "task_max_attempts": [0, 256, "3"],
    "task_retry_delays": [(), (-1,), 5, ("1",), (float("nan"),), (float("inf"),)],
    "task_queue_size": [0, 2**24 + 1],
    "max_request": [-1],
    "max_wait_time": [-1, float("nan"), float("inf"), "3", True],
    "max_connection": [0, 2**20 + 1],
    "backlog": [0, 65536],
    "heartbeat_idle_time": [-1, "5"],
    "package_length_type": ["x", "", 5],
    "package_eof": [b"", b"123456789", 5],
    "package_length_func": [4, "len"],
    "package_max_length": [0, 2**31],
    "open_eof_check": [1, "yes"],
    "socket_buffer_size": [0, -5],
    "open_tcp_nodelay": [1],
    "log_level": ["LOUD", -1, 1.5],
    "runtime_dir": [7],
}


def test_every_setting_has_its_default():
    assert Settings().as_dict() == DEFAULTS


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name, values in WRONG.items() for value in values]
)
def test_a_wrong_value_is_named_with_its_range(name, value):
    with pytest.raises(SettingsError) as refused:
        Settings().changed({name: value})
    assert f"{name}={value!r}: must be" in str(refused.value)


@pytest.mark.parametrize(
    ("wrong", "near"), [("worker_nun", "worker_num"), ("taskmode", "task_ipc_mode"), ("eof", "")]
)
def test_an_unknown_name_gives_the_nearest(wrong, near):
    with pytest.raises(SettingsError, match=f"there is no setting '{wrong}'; did you mean '{near}"):
        Settings().changed({wrong: 1})


def test_a_change_is_whole_or_none():
    """S2: what is wrong changes nothing that stands beside it."""
    settings = Settings()
    with pytest.raises(SettingsError):
        settings.changed({"worker_num": 7, "task_worker_num": -1})
    assert settings == Settings()


def test_what_depends_on_each_other():
    with pytest.raises(SettingsError, match="together at most 2047"):
        Settings(worker_num=1024, task_worker_num=1024)
    with pytest.raises(SettingsError, match="choose the length field or the EOF"):
        Settings(open_eof_split=True, open_length_check=True)
    assert Settings(heartbeat_idle_time=10).heartbeat_interval == 5
    assert Settings(heartbeat_idle_time=10, heartbeat_check_interval=1).heartbeat_interval == 1
    assert Settings(heartbeat_check_interval=1).heartbeat_interval == 0
    assert [Settings().request_grace(limit, None) for limit in (0, 10, 11, 50)] == [0, 0, 5, 25]
    assert Settings().request_grace(50, 3) == 3
    assert (Settings(log_level="debug").level, Settings(log_level=17).level) == (10, 17)
    assert re.fullmatch(r"\d+", str(Settings().worker_num))


@pytest.mark.parametrize(
    ("typed", "real", "names"),
    [
        (FramingSettings, Framing, Framing.names()),
        (PortSettings, Settings, PORT_SETTINGS),
        (ServerSettings, Settings, Settings.names()),
    ],
)
def test_what_type_checkers_see_is_what_there_is(typed, real, names):
    """R-typed-settings: each name is known as a keyword, with the type of its value."""
    seen, there = get_type_hints(typed), get_type_hints(real)
    assert seen == {name: there[name] for name in names}
    assert typed.__required_keys__ == frozenset()


def test_the_settings_of_a_client_are_those_of_framing_and_timeout():
    """R-typed-settings."""
    assert get_type_hints(ClientSettings) == {
        **get_type_hints(FramingSettings),
        "timeout": float | None,
    }

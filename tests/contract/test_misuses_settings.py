"""Every setting of a server given a wrong type, and a value out of its range.

Each error names the setting, the value and what it must be, and nothing is changed. A setting
without a line here makes the test fail.
"""

from __future__ import annotations

import re

import pytest
from misuses import stand_apart

from ipckit import Server, SettingsError
from ipckit.server.config.settings import PORT_SETTINGS, Settings

ANY = object()  # a type that no setting has
NO_RANGE = None  # a value of the right type cannot be wrong

FLAG = (1, NO_RANGE, "True or False")
PATH = (7, NO_RANGE, "a path or None")
COUNT = ("2", -1, "an int of 0 or more")
HOW_LONG = ("2", -1, "a number of 0.001..86400 seconds, or None")
IDLE = ("2", -1, "a number of 0..1e+09 seconds")
GRACE = ("2", -1, "an int of 0 or more, or None")

WRONG = {
    "worker_num": ("2", 0, "an int of 1..2047"),
    "max_request": COUNT,
    "max_request_grace": GRACE,
    "max_wait_time": ("3", 86401, "a number of 0..86400 seconds"),
    "reload_async": FLAG,
    "reload_timeout": ("3", 86401, "a number of 0..86400 seconds"),
    "worker_hang_timeout": ("2", 0.01, "a number of 0.1..86400 seconds, or None"),
    "user": (1.5, "nobody at all", "the name or the number of a user of this machine, or None"),
    "group": (1.5, 2**32, "the name or the number of a group of this machine, or None"),
    "task_worker_num": (True, 2048, "an int of 0..2047"),
    "task_ipc_mode": ("2", 4, "1 (unix socket), 2 (queue) or 3 (contended queue)"),
    "message_queue_key": ("key", 2**32, "a queue key of -2**31..2**32-1"),
    "message_queue_mode": ("rw", 0o1000, "permission bits, 0..0o777"),
    "task_max_request": COUNT,
    "task_max_request_grace": GRACE,
    "task_tmpdir": PATH,
    "task_max_attempts": ("3", 256, "an int of 1..255"),
    "task_retry_delays": (5, (), "a tuple of one or more delays of 0..86400 seconds"),
    "task_queue_size": (1.5, 2**24 + 1, "an int of 1..16777216"),
    "task_memory": ("1M", 4095, "an int of 4096..1099511627776 bytes"),
    "task_timeout": HOW_LONG,
    "task_delivery": (1, "once", '"at_least_once" or "at_most_once"'),
    "task_ledger": (7, "a/b", "a name of 1..100 of A-Z a-z 0-9 . _ -, or None"),
    "dead_letter_path": PATH,
    "max_connection": ("9", 0, "an int of 1..1048576"),
    "backlog": ("9", 65536, "an int of 1..65535"),
    "heartbeat_idle_time": IDLE,
    "heartbeat_check_interval": IDLE,
    "socket_buffer_size": ("8M", 0, "an int of 1..1099511627776 bytes"),
    "open_tcp_nodelay": FLAG,
    "tcp_keepalive": FLAG,
    "keep_connections": FLAG,
    "package_timeout": HOW_LONG,
    "ssl": ("cert.pem", NO_RANGE, "an ssl.SSLContext with a certificate, or None"),
    "open_eof_check": FLAG,
    "open_eof_split": FLAG,
    "package_eof": (7, b"", "bytes or str of 1..8 bytes"),
    "open_length_check": FLAG,
    "package_length_type": (4, "x", "one of c C s S n v l L N V q Q J P"),
    "package_length_offset": ("0", -1, "an int of 0..2147483643 bytes"),
    "package_body_offset": ("4", -1, "an int of 0..2147483647 bytes"),
    "package_length_func": (7, NO_RANGE, "None or a function of (data, start)"),
    "package_max_length": ("2M", 0, "an int of 1..2147483647 bytes"),
    "pid_file": PATH,
    "log_file": PATH,
    "log_level": (1.5, "LOUD", "a level's name (DEBUG, INFO, WARNING, ERROR) or its number"),
    "control_path": (True, NO_RANGE, "a path, None or False"),
    "runtime_dir": PATH,
}
"""Name -> a wrong type, a value out of range, what it must be."""


def wrong_values():
    for name, (of_type, of_range, limit) in WRONG.items():
        for value in (ANY, of_type) if of_range is NO_RANGE else (ANY, of_type, of_range):
            yield pytest.param(name, value, limit, id=f"{name}={value!r}"[:50].split(" at 0x")[0])


@pytest.fixture(scope="module")
def server():
    """A server that has not started."""
    made = Server("127.0.0.1")
    yield made
    made.ports[0].forget()


@pytest.mark.parametrize(("name", "value", "limit"), list(wrong_values()))
def test_a_wrong_setting_is_named_with_its_value_and_limit(server, name, value, limit):
    before = server.setting
    calls = [lambda: server.set(**{name: value}), lambda: server.set({name: value})]
    if name in PORT_SETTINGS:
        calls.append(lambda: server.ports[0].set(**{name: value}))
    for call in calls:
        with pytest.raises(SettingsError) as caught:
            call()
        text = str(caught.value)
        assert stand_apart(text, [f"{name}={value!r}", "must be", limit]), text
        assert re.search(f"must be {re.escape(limit)}", text), text
    assert server.setting == before


def test_every_setting_has_a_line():
    assert list(WRONG) == list(Settings.names())

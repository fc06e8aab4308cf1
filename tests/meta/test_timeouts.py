"""`timeout` means the same in all of ipckit, as the tutorial says, and so does its default."""

from __future__ import annotations

import inspect

import pytest

import ipckit

OTHERS = {
    "Client.connect": "0.5",  # Swoole's
    "Client.recv": "<as set>",
    "Client.send": "<as set>",
    "Server.taskwait": "0.5",  # Swoole's
    "Server.task_wait_multi": "0.5",
}


def with_timeout():
    for name in ipckit.__all__:
        value = getattr(ipckit, name)
        calls = {name: value}
        if inspect.isclass(value):
            members = inspect.getmembers(value, inspect.isroutine)
            calls |= {f"{name}.{key}": each for key, each in members if key[0] != "_"}
        for where, call in calls.items():
            try:
                found = inspect.signature(call).parameters
            except (TypeError, ValueError):
                continue
            if "timeout" in found:
                yield where, found["timeout"].default


@pytest.mark.parametrize(("where", "default"), list(with_timeout()))
def test_no_limit_is_the_default(where, default):
    """Seconds; None waits for ever."""
    if where in OTHERS:
        assert repr(default) == OTHERS[where]
    else:
        assert default is None

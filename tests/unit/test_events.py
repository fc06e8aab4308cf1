"""Events: one name for every spelling, the nearest for a wrong one."""

from __future__ import annotations

import functools

import pytest

from ipckit import SettingsError
from ipckit.server.events import Callbacks, canonical

EVENTS = (
    "start shutdown worker_start worker_stop worker_error before_reload after_reload connect "
    "receive close task finish task_failed pipe_message"
).split()


@pytest.mark.parametrize("name", EVENTS)
def test_every_spelling_is_one_event(name):
    words = name.split("_")
    camel = words[0] + "".join(word.title() for word in words[1:])
    for spelling in (name, camel, camel[0].upper() + camel[1:], name.upper(), "on_" + name,
                     "on" + camel[0].upper() + camel[1:], name.replace("_", "")):  # fmt: skip
        assert canonical(spelling) == name


@pytest.mark.parametrize(
    ("wrong", "near"), [("recieve", "receive"), ("workerStrat", "worker_start"), ("tsk", "task")]
)
def test_an_unknown_one_gives_the_nearest(wrong, near):
    with pytest.raises(SettingsError, match=f"no event '{wrong}'; did you mean '{near}'"):
        canonical(wrong)


async def coroutine(*args):
    """An async callback."""


class AsyncCall:
    async def __call__(self, *args):
        """The same, as an object."""


@pytest.mark.parametrize("callback", [coroutine, AsyncCall(), functools.partial(coroutine, 1)])
def test_the_manager_has_no_loop(callback):
    callbacks = Callbacks()
    for name in ("start", "shutdown", "worker_error", "before_reload", "after_reload"):
        with pytest.raises(SettingsError, match="no event loop"):
            callbacks.set(name, callback)
    callbacks.set("task", callback)
    assert callbacks.any_async("finish", "task") and not callbacks.any_async("finish")


def test_wrong_callbacks():
    callbacks = Callbacks()
    for wrong in (5, None, "f"):
        with pytest.raises(SettingsError, match="must be callable"):
            callbacks.set("task", wrong)
    with pytest.raises(SettingsError, match="event=5: must be a str"):
        callbacks.set(5, print)
    assert not callbacks.has("task") and callbacks.get("task") is None

"""Events: one name for every spelling, the nearest for a wrong one."""

from __future__ import annotations

import functools

import pytest

from ipckit import SettingsError
from ipckit.server.config.events import Callbacks, canonical

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


def wrapped(*args, **kwargs):
    """It takes anything, whatever it wraps."""


wrapped.__wrapped__ = lambda: None


@pytest.mark.parametrize(
    "callback",
    [
        lambda server, fd, reactor_id, data: None,
        lambda *args: None,
        lambda server, *rest, **more: None,
        lambda server, fd, reactor_id, data, more=1: None,
        functools.partial(lambda mine, server, fd, reactor_id, data: None, "mine"),
        functools.partial(lambda server, fd, reactor_id, data, mine: None, mine=1),
        print,
        type,  # no signature that Python knows
        AsyncCall(),
        wrapped,
    ],
)
def test_a_callback_that_takes_the_event_s_arguments_is_set(callback):
    Callbacks().set("receive", callback)


@pytest.mark.parametrize(
    ("event", "callback", "expected"),
    [
        ("receive", lambda server, fd, data: None, "f(server, fd, reactor_id, data)"),
        (
            "receive",
            lambda server, fd, reactor_id, data, more: None,
            "f(server, fd, reactor_id, data)",
        ),
        (
            "receive",
            lambda server, fd, reactor_id, data, *, more: None,
            "f(server, fd, reactor_id, data)",
        ),
        (
            "receive",
            functools.partial(lambda server, fd: None, 1),
            "f(server, fd, reactor_id, data)",
        ),
        ("workerStart", lambda: None, "f(server, worker_id)"),
        ("task", lambda server, data: None, "f(server, task_id, src_worker_id, data)"),
        ("start", lambda server, more: None, "f(server)"),
    ],
)
def test_a_callback_of_the_wrong_arity_is_refused_when_it_is_set(event, callback, expected):
    """S1: with the event's name and what it is called with; not at the first packet."""
    callbacks = Callbacks()
    with pytest.raises(SettingsError) as caught:
        callbacks.set(event, callback)
    assert expected in str(caught.value) and repr(canonical(event)) in str(caught.value)
    assert callbacks.names() == ()

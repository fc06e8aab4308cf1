"""The events of a server: their names, where each runs, and which callback is called.

Contract  any spelling of an event's name ("workerStart", "WorkerStart", "worker_start") is one
          event; an unknown one is a SettingsError with the nearest name.
Stands on ipckit.errors. Pure.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from typing import Any

from ipckit.errors import SettingsError
from ipckit.server.config.settings import nearest

__all__ = ["MANAGER_EVENTS", "Callbacks", "canonical"]

MANAGER_EVENTS = ("start", "shutdown", "worker_error", "before_reload", "after_reload")
"""They run in the manager, which has no loop: `def` only."""

_FROM = ("fd", "reactor_id")
_ARGUMENTS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(MANAGER_EVENTS, ()),
    "worker_error": ("worker_id", "pid", "exit_code", "signal"),
    **dict.fromkeys(("worker_start", "worker_stop", "worker_exit"), ("worker_id",)),
    **dict.fromkeys(("connect", "close", "connection_taken"), _FROM),
    "receive": (*_FROM, "data"),
    "packet": ("data", "client"),
    "task": ("task_id", "src_worker_id", "data"),
    "finish": ("task_id", "result"),
    "task_failed": ("task_id", "error"),
    "pipe_message": ("src_worker_id", "message"),
}
"""Event -> what its callback gets after the server."""

_ALL = tuple(_ARGUMENTS)
WORKER_EVENTS = tuple(name for name in _ALL if name not in MANAGER_EVENTS)


def canonical(event: str) -> str:
    """Return the event's one name; SettingsError with the nearest one when there is none."""
    if not isinstance(event, str):
        raise SettingsError(f"event={event!r}: must be a str, the name of an event")
    name = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", event).lower().removeprefix("on_")
    if name not in _ALL:
        flat = {known.replace("_", ""): known for known in _ALL}
        name = flat.get(name.replace("_", ""), name)
    if name not in _ALL:
        raise SettingsError(f"there is no event {event!r}{nearest(name, _ALL)}")
    return name


def is_async(callback: Callable[..., Any]) -> bool:
    """Whether calling `callback` gives a coroutine, also for objects with an async __call__."""
    if inspect.iscoroutinefunction(callback):
        return True
    return not inspect.isroutine(callback) and inspect.iscoroutinefunction(
        getattr(callback, "__call__", None)  # noqa: B004  (we look for its kind, not for it)
    )


def check_arguments(what: str, callback: Callable[..., Any], arguments: tuple[str, ...]) -> None:
    """SettingsError if `callback` cannot be called with so many arguments by position.

    What has no signature that Python knows, as some builtins, is taken as it is.
    """
    try:
        signature = inspect.signature(callback, follow_wrapped=False)
    except (ValueError, TypeError):
        return
    try:
        signature.bind(*arguments)
    except TypeError as exc:
        name = getattr(callback, "__qualname__", repr(callback))
        raise SettingsError(
            f"the callback of {what} is called as f({', '.join(arguments)}), and {name}{signature} "
            f"cannot be: {exc}; change its parameters"
        ) from None


class Callbacks:
    """Event name -> the user's callable. Filled before start(), inherited by every process."""

    def __init__(self) -> None:
        self._of: dict[str, Callable[..., Any]] = {}

    def set(self, event: str, callback: Callable[..., Any]) -> None:
        """Set the callback of `event`; SettingsError if it cannot be one."""
        name = canonical(event)
        if not callable(callback):
            raise SettingsError(f"the callback of {name!r} must be callable, not {callback!r}")
        if name in MANAGER_EVENTS and is_async(callback):
            raise SettingsError(
                f"{name!r} runs in the manager, which has no event loop: write it with `def`"
            )
        check_arguments(repr(name), callback, ("server", *_ARGUMENTS[name]))
        self._of[name] = callback

    def get(self, name: str) -> Callable[..., Any] | None:
        """Return the callback of the event with this (canonical) name."""
        return self._of.get(name)

    def names(self) -> tuple[str, ...]:
        """Return the events that have one."""
        return tuple(self._of)

    def has(self, name: str) -> bool:
        """Whether there is one."""
        return name in self._of

    def over(self, others: Callbacks) -> Callbacks:
        """Return all callbacks, these before the others'."""
        both = Callbacks()
        both._of = {**others._of, **self._of}
        return both

    def any_async(self, *names: str) -> bool:
        """Whether one of these is `async def`."""
        return any(is_async(self._of[name]) for name in names if name in self._of)

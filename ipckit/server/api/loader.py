"""A server whose code is a module that every process imports for itself: `ipckit run`.

The manager imports nothing of it, so a process that it makes later has nothing old: a reload takes
new code. What the manager must know before the first fork (settings, addresses, which callbacks
there are), a child that imports the module tells it once, at the start.

Contract  addresses and the settings of the whole server stay as they were at the start; callbacks,
          user processes and the settings of ports are the module's as each process finds it. The
          manager's events run in a child of their own each, which the manager waits for, as it
          waits for a callback.
Imports   importlib.metadata before any process changes its user: invalidate_caches() imports it
          since Python 3.13, and the setting `user` may name one that cannot read it.
Stands on ipckit.server.api.server, ipckit.server.ports.bind, importlib.
Fork      a process loads after the fork, under its own user, before anything else runs in it.
Crash     a module that cannot be loaded is a failed boot: of the server at its start, of the new
          process in a reload, and the old ones stay.
"""

from __future__ import annotations

import dataclasses
import importlib
import importlib.metadata
import logging
import os
import pickle
import signal
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

from ipckit.errors import MisuseError, SettingsError, system_call
from ipckit.server.api.server import Server
from ipckit.server.config.events import MANAGER_EVENTS
from ipckit.server.config.settings import PORT_SETTINGS, Settings, nearest
from ipckit.server.log import log
from ipckit.server.ports import bind
from ipckit.server.supervision.callback_child import run_in_child
from ipckit.server.system.fork import flush_output

if TYPE_CHECKING:
    from ipckit.server.processes.runtime import Runtime

__all__ = ["Application", "LoadFailed"]

_OF_THE_MODULE = ("ssl", "package_length_func")
"""Settings that cannot leave the process that made them; the manager needs neither."""


class LoadFailed(Exception):
    """The module cannot be loaded, or has no such server; the text says why."""


@dataclass(frozen=True, slots=True)
class _PortForm:
    host: str
    port: int
    type: int
    settings: dict[str, Any]
    events: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Form:
    """What the manager must know."""

    settings: dict[str, Any]
    explicit: set[str]
    events: tuple[str, ...]
    ports: tuple[_PortForm, ...]
    user_processes: int


class Application:
    """MODULE:NAME, where NAME is a Server or a function that returns one, and settings over its."""

    def __init__(self, module: str, name: str, settings: dict[str, Any]) -> None:
        self._module = module
        self._name = name
        self._settings = settings
        self._form: _Form | None = None

    def load(self) -> Server:
        """Import the module here, and return its server, which is bound to nothing. LoadFailed."""
        importlib.invalidate_caches()
        with bind.bound_elsewhere():
            try:
                found = self._found(importlib.import_module(self._module))
            except LoadFailed:
                raise
            except (Exception, SystemExit) as exc:
                if isinstance(exc, ModuleNotFoundError) and self._is_it(exc.name):
                    raise LoadFailed(
                        f"there is no module {exc.name!r} in {os.getcwd()} nor where Python looks "
                        f"otherwise; go to its directory, or name that in PYTHONPATH"
                    ) from None
                told = _in_their_words(exc)
                raise LoadFailed(f"{self._module}:{self._name} cannot be loaded\n{told}") from None
        try:
            found.set(self._settings)
        except SettingsError as why:
            raise LoadFailed(str(why)) from None
        return found

    def _is_it(self, missing: str | None) -> bool:
        """Whether the missing module is the one that was asked for, or a package that it is in."""
        return missing is not None and f"{self._module}.".startswith(f"{missing}.")

    def _found(self, module: Any) -> Server:
        names = [name for name, value in vars(module).items() if isinstance(value, Server)]
        known = names or [name for name in vars(module) if not name.startswith("_")]
        try:
            found = getattr(module, self._name)
        except AttributeError:
            raise LoadFailed(
                f"the module {self._module!r} has no {self._name!r}{nearest(self._name, known)}"
            ) from None
        if callable(found) and not isinstance(found, Server):
            found = found()
            what = f"{self._module}:{self._name}() returned"
        else:
            what = f"{self._module}:{self._name} is"
        if not isinstance(found, Server):
            raise LoadFailed(
                f"{what} {type(found).__name__}, no ipckit.Server; name a server, or a function "
                f"without arguments that returns one"
            )
        return found

    # -- the manager ---

    def server(self) -> Server:
        """Return the manager's server, bound to the module's addresses; its start() serves.

        Raises LoadFailed (with the traceback, if it is the module's), and as Server() does.
        """
        form = self._form = _ask_a_child(self)
        first, *more = form.ports
        server = Server(first.host, first.port, sock_type=first.type, **form.settings)  # type: ignore[arg-type]
        server._application = self
        server._explicit = form.explicit
        for event in form.events:
            server.on(event, self._forward(event) if event in MANAGER_EVENTS else _elsewhere)
        made = [server.ports[0], *(server.listen(p.host, p.port, p.type) for p in more)]  # type: ignore[arg-type]
        for port, told in zip(made, form.ports, strict=True):
            port.set(told.settings)
            for event in told.events:
                port.on(event, _elsewhere)
        for _ in range(form.user_processes):
            server.add_process(_elsewhere)
        return server

    def needs(self) -> tuple[Settings, int]:
        """Return the server's settings, and how many user processes it has. Binds nothing.

        Raises LoadFailed.
        """
        form = _ask_a_child(self)
        return Settings(**form.settings), form.user_processes

    def _forward(self, event: str) -> Callable[..., None]:
        def forward(server: Server, *args: object) -> None:
            def run() -> None:
                mine, _ = self.enter(server)
                callback = mine._callbacks.get(event)
                if callback is not None:  # the new code may have none any more
                    callback(mine, *args)

            assert server._manager is not None, "it runs in the manager"
            code = run_in_child(server._manager, os.getpid(), run)
            if code:
                raise MisuseError(f"{event} did not end well (exit code {code}); see the log")

        return forward

    # -- the children ---

    def enter(self, server: Server, *, tell: bool = False) -> tuple[Server, Runtime]:
        """In a child: load the module; return its server in the running one's place.

        `tell`: log what of the new code does not count before a restart.

        Raises LoadFailed, SettingsError (other addresses than at the start), what the module does.
        """
        assert self._form is not None, "the manager has asked"
        handlers = list(log.handlers)
        mine = self.load()
        if server._settings.log_file is None and logging.getLogger().handlers:
            for handler in handlers:  # the module logs its own way; not every line twice
                log.removeHandler(handler)
        changed = _changed(self._form, mine) if tell else []
        if changed:
            log.warning(
                "%s: %s changed; a reload takes no notice of that: restart the server",
                self._module,
                ", ".join(changed),
            )
        return mine, _stand_in(mine, server)


def _stand_in(mine: Server, server: Server) -> Runtime:
    """Have `mine` serve in the place of the running server, with its own callbacks.

    Raises SettingsError: another address, a missing callback.
    """
    assert server._runtime is not None, "it runs"
    if len(mine.ports) != len(server.ports):
        raise SettingsError(
            f"there are {len(mine.ports)} ports now, and were {len(server.ports)} at the start: a "
            f"reload keeps addresses; restart the server"
        )
    for port, other in zip(mine.ports, server.ports, strict=True):
        port.stand_in_for(other)
    mine.port = server.port
    mine._settings = server._settings.changed(
        {name: getattr(mine._settings, name) for name in PORT_SETTINGS}
    )
    missing = len(server._user_processes) - len(mine._user_processes)
    mine._user_processes += [_no_longer] * missing
    mine._check_tasks()
    mine._runtime = dataclasses.replace(
        server._runtime,
        settings=mine._settings,
        callbacks=mine._callbacks,
        ports=mine._opened(),
        user_processes=tuple(mine._user_processes),
    )
    return mine._runtime


def _settings_of(server: Server) -> dict[str, Any]:
    return {
        name: _plain(value) for name, value in server.setting.items() if name not in _OF_THE_MODULE
    }


def _plain(value: Any) -> Any:
    """Return a setting without a class of the module's: a path, an enumeration."""
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if type(value).__module__.partition(".")[0] in ("builtins", "ipckit"):
        return value
    if isinstance(value, int):
        return int.__int__(value)
    if isinstance(value, str):
        return str.__str__(value)
    return value


def _changed(form: _Form, server: Server) -> list[str]:
    """Return the differences from what the manager knows, in words."""
    now = _settings_of(server)
    changed = [name for name in now if now[name] != form.settings[name]]
    changed = [name for name in changed if name not in PORT_SETTINGS]
    events = {*server._callbacks.names()} & {*MANAGER_EVENTS} - {*form.events}
    changed += [f"the callback of {event}" for event in sorted(events)]
    if len(server._user_processes) != form.user_processes:
        changed.append("the number of user processes")
    return changed


def _form_of(server: Server) -> _Form:
    return _Form(
        settings=_settings_of(server),
        explicit=server._explicit,
        events=server._callbacks.names(),
        ports=tuple(
            _PortForm(
                port.host,
                port.port,
                int(port.type),
                {n: _plain(v) for n, v in port._changes.items() if n not in _OF_THE_MODULE},
                port._callbacks.names(),
            )
            for port in server.ports
        ),
        user_processes=len(server._user_processes),
    )


def _ask_a_child(application: Application) -> _Form:
    """Load it in a child, and return what it tells. LoadFailed, SystemCallError."""
    with system_call("pipe2", "to load the module; it wants two free descriptors (ulimit -n)"):
        reading, writing = os.pipe()
    flush_output()
    # Where our parent ignores it, the kernel would reap the child itself.
    before = signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    try:
        try:
            with system_call(
                "fork", "to load the module; see ulimit -u and pids.max of the cgroup"
            ):
                pid = os.fork()
        except BaseException:
            os.close(writing)
            raise
        if pid == 0:
            os.close(reading)
            _post_to_manager(application, writing)
        os.close(writing)
        told = b"".join(iter(lambda: os.read(reading, 1 << 16), b""))
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    finally:
        os.close(reading)
        signal.signal(signal.SIGCHLD, before)
    if not told:
        how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        raise LoadFailed(f"the process that loaded {application._module!r} ended early: {how}")
    try:
        form = pickle.loads(told)
    except Exception as exc:  # a class of the module's, which is not imported here
        raise LoadFailed(_not_plain(application, exc)) from None
    if isinstance(form, str):
        raise LoadFailed(form)
    assert isinstance(form, _Form)
    return form


def _post_to_manager(application: Application, writing: int) -> NoReturn:
    code = 1
    try:
        try:
            form = _form_of(application.load())
        except LoadFailed as why:
            told = pickle.dumps(str(why))
        else:
            try:
                told = pickle.dumps(form)
            except Exception as exc:
                told = pickle.dumps(_not_plain(application, exc, form))
        with open(writing, "wb") as file:
            file.write(told)
        flush_output()
        code = 0
    finally:
        os._exit(code)


def _not_plain(application: Application, exc: Exception, form: _Form | None = None) -> str:
    """Say which settings cannot be sent to the manager, which has nothing of the module."""
    every = {} if form is None else dict(form.settings)
    for port in () if form is None else form.ports:
        every |= {f"{name} of the port {port.host}": value for name, value in port.settings.items()}
    names = []
    for name, value in every.items():
        try:
            pickle.dumps(value)
        except Exception:
            names.append(name)
    which = ", ".join(names) or "a setting"
    return (
        f"{application._module}:{application._name}: {which} cannot be told to the manager, which "
        f"imports nothing of the module: use plain values ({type(exc).__name__}: {exc})"
    )


def _in_their_words(exc: BaseException) -> str:
    """Return the traceback from the first frame on that is neither ours nor the import system's."""
    trace = exc.__traceback__
    while trace is not None:
        name = trace.tb_frame.f_code.co_filename
        if name not in (__file__, importlib.__file__) and not name.startswith("<frozen importlib"):
            break
        trace = trace.tb_next
    return "".join(traceback.format_exception(type(exc), exc, trace)).rstrip()


def _elsewhere(*_: Any) -> NoReturn:
    raise MisuseError("this callback is the module's; the manager does not have it")


def _no_longer(*_: Any) -> NoReturn:
    raise MisuseError("the module has no such user process any more: restart the server")

"""A port: an address that a server serves, with callbacks and settings of its own if it likes.

Contract  bound at once, listening in start(); a program that ends without having served leaves no
          file of a unix socket. A port that sets any of the packet settings has none
          of the server's; each other setting, and each callback, is the server's until it has its
          own.
Stands on ipckit.server.ports.bind, ipckit.server.config.{settings,events}.
"""

from __future__ import annotations

import os
import socket
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Unpack

from ipckit.errors import MisuseError, SettingsError, from_errno, system_call
from ipckit.framing import Framing, Rule
from ipckit.kinds import SockType
from ipckit.server.config.events import Callbacks, canonical
from ipckit.server.config.setting_types import PortSettings
from ipckit.server.config.settings import PORT_SETTINGS, Settings, nearest
from ipckit.server.ports import bind

__all__ = ["OpenPort", "Port"]

PORT_EVENTS = ("connect", "receive", "packet", "close", "connection_taken")
"""What a single port may have its own callback for."""

DATAGRAMS = (SockType.UDP, SockType.UDP6, SockType.UNIX_DGRAM)


@dataclass(frozen=True, slots=True)
class OpenPort:
    """A port as the processes of a running server see it."""

    index: int  # in server.ports
    host: str
    port: int
    sock_type: SockType
    socket: socket.socket
    settings: Settings
    callbacks: Callbacks
    framing: Framing
    rule: Rule | None  # of the framing
    is_tcp: bool  # whether its connections are TCP's

    @property
    def datagrams(self) -> bool:
        """Whether it has packets and no connections."""
        return self.sock_type in DATAGRAMS


class Port:
    """One more address of a server, made by `server.listen()`; `server.ports[0]` is its own."""

    def __init__(self, host: str, port: int, sock_type: SockType) -> None:
        self._started = False
        if sock_type not in list(SockType):
            known = ", ".join(SockType.__members__)
            raise SettingsError(f"sock_type={sock_type!r}: must be one of SockType's, {known}")
        self.type = SockType(sock_type)
        self._bound = bind.bind(host, port, self.type)
        self.host = host
        self.port: int = 0
        if self._bound.socket.family != socket.AF_UNIX:
            try:
                with system_call("getsockname", f"the port on {host}"):
                    self.port = self._bound.socket.getsockname()[1] or port
            except BaseException:
                bind.forget(self._bound)
                raise
        self._dropped = weakref.finalize(self, _drop, os.getpid(), self._bound)
        self._changes: dict[str, Any] = {}
        self._callbacks = Callbacks()

    def set(
        self, settings_dict: dict[str, Any] | None = None, /, **settings: Unpack[PortSettings]
    ) -> None:
        """Change settings of this port alone, all or none of them.

        Raises SettingsError (a wrong value, or one that only the server has), MisuseError after
        start().
        """
        self._only_before_start("set()")
        changes = {**(settings_dict or {}), **settings}
        for name in changes:
            if name not in PORT_SETTINGS:
                raise SettingsError(
                    f"a port has no setting {name!r}{nearest(name, PORT_SETTINGS)}; settings of "
                    f"the whole server belong to server.set()"
                )
        _resolved(Settings(), {**self._changes, **changes})
        self._changes.update(changes)

    def on(self, event: str, callback: Callable[..., Any] | None = None) -> Any:
        """Set the callback of an event for this port alone; without a callback: a decorator.

        The events: connect, receive, packet, close, connection_taken. Raises SettingsError,
        MisuseError after start().
        """
        self._only_before_start("on()")
        name = canonical(event)
        if name not in PORT_EVENTS:
            raise SettingsError(f"the event {name!r} is the whole server's: use server.on()")
        if callback is not None:
            self._callbacks.set(name, callback)
            return None

        def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
            self._callbacks.set(name, function)
            return function

        return decorate

    def opened(self, index: int, settings: Settings, callbacks: Callbacks) -> OpenPort:
        """Return it with what the server gives it; SettingsError without the callback it needs."""
        own = _resolved(settings, self._changes)
        framing = own.framing()
        mine = OpenPort(
            index,
            self.host,
            self.port,
            self.type,
            self._bound.socket,
            own,
            self._callbacks.over(callbacks),
            framing,
            framing.rule(),
            self.type in (SockType.TCP, SockType.TCP6),
        )
        needed = "packet" if mine.datagrams else "receive"
        if not mine.callbacks.has(needed):
            kind = "datagram" if mine.datagrams else "stream"
            raise SettingsError(
                f"a {kind} port needs a `{needed}` callback: server.on({needed!r}, f)"
            )
        return mine

    def stand_in_for(self, other: Port) -> None:
        """Take the socket of a port that is bound already. SettingsError: of another address."""
        if (self.type, self.host) != (other.type, other.host) or self.port not in (0, other.port):
            raise SettingsError(
                f"the address is {self.host}:{self.port} now, and was {other.host}:{other.port} at "
                f"the start: a reload keeps addresses; restart the server"
            )
        self._bound.socket.close()
        self._bound, self.port, self._started = other._bound, other.port, True

    @property
    def file(self) -> str | None:
        """The path of the file that we made: of a unix socket that is not one of systemd's."""
        return None if self._bound.file is None else self._bound.file.path

    def listen(self, backlog: int) -> None:
        """Let the kernel take connections; nothing is set any more. SystemCallError: it is busy."""
        self._started = True
        if self.type not in DATAGRAMS:
            try:
                self._bound.socket.listen(backlog)
            except OSError as exc:
                detail = f"{self.host}:{self.port}; stop who has it, or choose another"
                raise from_errno("listen", exc.errno or 0, detail) from None

    def forget(self) -> None:
        """Close it, and remove its file if that is still ours."""
        bind.forget(self._bound)
        self._dropped.detach()

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take the socket that a process was started with, close-on-exec as any other."""
        self.__dict__.update(state)
        self._bound.socket.set_inheritable(False)

    def _only_before_start(self, call: str) -> None:
        if self._started:
            raise MisuseError(f"{call}: the server runs already; call it before start()")


def _drop(pid: int, bound: bind.Bound) -> None:
    """The program ends, or has dropped the port, and start() has not ended: its file goes as well.

    Not in a child of the process that has bound it.
    """
    if os.getpid() == pid:
        bind.forget(bound)


def _resolved(settings: Settings, changes: dict[str, Any]) -> Settings:
    own_packets = not changes.keys().isdisjoint(Framing.names())
    plain = {name: getattr(Settings(), name) for name in Framing.names()} if own_packets else {}
    return settings.changed({**plain, **changes})

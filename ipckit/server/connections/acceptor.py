"""How a worker takes the clients of one port from the kernel.

By accept(2) of our own: libuv closes the clients that wait when its process has no descriptor left,
and tells nobody of that, nor of any other failure.

Contract  a client that cannot be taken now waits in the port's backlog, and is taken when it can
          be. Every failure is in the log, with the call and its errno.
Invariants
  A1  When accept(2) fails for want of a descriptor or of memory, it is called again after a pause.
      The other workers, and the connections of this one, go on.
  A2  When accept(2) fails because of its client (the client has gone, or the network or a firewall
      refused it), only that client is lost.
  A3  Every client that was taken has a transport, or is closed and named in the log.
  A4  No client has one of the descriptors 0 to 2, even if a callback closed them: else what C code
      prints as an error would be sent to that client.
Stands on ipckit._core (python/accept/module.c), ipckit.server.system.fork, uvloop.
Blocks    never.
"""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Callable, Coroutine
from typing import Any

from ipckit._core._accept import Accepted, accept
from ipckit.server.connections.registry import Registry
from ipckit.server.log import limited
from ipckit.server.ports.port import OpenPort
from ipckit.server.system.fork import fill_standard_descriptors

__all__ = ["Acceptor"]

_PAUSE = 0.1
"""Seconds between a call that failed for want of something and the next."""

_OF_ITS_CLIENT = frozenset(
    {
        errno.ECONNABORTED,
        errno.EHOSTDOWN,
        errno.EHOSTUNREACH,
        errno.ENETDOWN,
        errno.ENETUNREACH,
        errno.ENONET,
        errno.ENOPROTOOPT,
        errno.EOPNOTSUPP,
        errno.EPERM,
        errno.EPROTO,
    }
)
"""A2. See accept(2), "Error handling"."""


class Acceptor:
    """The clients of one port that come to this worker."""

    def __init__(
        self,
        registry: Registry,
        port: OpenPort,
        protocol: Callable[[Registry, OpenPort, Accepted], asyncio.BaseProtocol],
    ) -> None:
        """Take them from now on. `protocol` makes what a client's transport talks to."""
        self._registry = registry
        self._host = registry.host
        self._port = port
        self._listener = port.socket.fileno()
        self._family = int(port.socket.family)
        self._protocol = protocol
        self._transport_for: Callable[..., Coroutine[Any, Any, Any]] = (
            registry.host.loop.connect_accepted_socket
        )
        self._on_failure = self._failed  # one for all clients, which keep it
        self._pause: asyncio.TimerHandle | None = None
        self._resume()

    def close(self) -> None:
        """Take no more. A client that has not been taken waits for another worker."""
        if self._pause is not None:
            self._pause.cancel()
            self._pause = None
        self._host.loop.remove_reader(self._listener)

    def _resume(self) -> None:
        self._pause = None
        self._host.loop.add_reader(self._listener, self._ready)

    def _ready(self) -> None:
        try:
            client = accept(self._listener, self._family)
        except OSError as exc:
            self._log("accept", exc)
            if exc.errno not in _OF_ITS_CLIENT:  # A1
                self._host.loop.remove_reader(self._listener)
                self._pause = self._host.loop.call_later(_PAUSE, self._resume)
            return
        if client is None:
            return  # another worker was faster
        if client.moved:  # A4
            fill_standard_descriptors()
        protocol = self._protocol(self._registry, self._port, client)
        client.begin(self._transport_for(lambda: protocol, client), self._on_failure)

    def _failed(self, error: OSError) -> None:
        """A client has no transport, and its descriptor is closed. A3."""
        self._log("a client's socket", error)

    def _log(self, what: str, error: OSError) -> None:
        limited.warning(
            "worker %d: port %s:%s: %s failed: %s",
            self._host.slot,
            self._port.host,
            self._port.port,
            what,
            error,
            kind=f"{what} failed: {error.errno}",
        )

"""The connections of one process: those that are open, and what is counted and kept for them.

Contract  a session is in `connections` from its connection's begin until its end is due. Sessions
          are counted in shared memory as they open and close. Of a TCP connection that another
          process can go on with, the manager has a copy of the descriptor (`fd_store`).
Stands on ipckit.server.connections.{fd_store,client_info}, ipckit.server.shared.session_counts.
Blocks    never.
"""

from __future__ import annotations

import socket
from typing import Any

from ipckit.server.connections import client_info
from ipckit.server.connections.fd_store import Dropped, FdStoreClient, Taken
from ipckit.server.connections.host import Client, ConnectionHost, HandoverEvents, Handshake
from ipckit.server.ports.port import OpenPort
from ipckit.server.shared.scoreboard import Row
from ipckit.server.shared.session_counts import SessionCounts

__all__ = ["Registry"]


class Registry:
    """The connections of one worker. One thread, the loop's."""

    def __init__(self, host: ConnectionHost, manager: socket.socket | None) -> None:
        """manager: takes copies of connections; None: none outlives its process."""
        self.host = host
        self.connections: dict[int, Any] = {}
        """By session."""
        self.counts = SessionCounts(host.board, host.place)
        self.fd_store = None if manager is None else FdStoreClient(host.loop, manager)
        self.handover: HandoverEvents | None = None
        self.open = 0
        """Transports that are not yet lost: more than `connections` while some linger."""
        self.handshakes: set[Handshake] = set()
        self._session_number = host.board.session_number(host.settings.worker_num)
        self._has_tls = any(port.settings.ssl is not None for port in host.ports)

    def opened(self, connection: Client) -> int:
        """Return a session id for a new connection; 0: there are too many."""
        self.open += 1
        if self._is_full():
            return 0
        port = connection.port
        session = self.counts.open(port.index, *connection.address())
        if session and self.fd_store is not None and port.is_tcp and connection.can_outlive:
            self.fd_store.add(session, connection.descriptor)
        return session

    def _is_full(self) -> bool:
        number = self._session_number()
        if self._has_tls:
            host = self.host
            number += host.board.total(Row.HANDSHAKES, range(host.settings.worker_num))
        return number >= self.host.settings.max_connection

    def begins_handshake(self, handshake: Handshake) -> bool:
        """Count a client that has yet to shake hands; False: there are too many."""
        if self._is_full():
            return False
        self.handshakes.add(handshake)
        self.host.row[Row.HANDSHAKES] = len(self.handshakes)
        return True

    def ends_handshake(self, handshake: Handshake) -> None:
        """It is a connection now, or gone."""
        self.handshakes.discard(handshake)
        self.host.row[Row.HANDSHAKES] = len(self.handshakes)

    def took(self, connection: Client, *, stored: bool) -> None:
        """A connection of another worker is ours."""
        self.open += 1
        if self.fd_store is not None and stored:
            self.fd_store.note_stored(connection.session)

    def came(self, taken: Taken) -> None:
        """Its `connection_taken` was called: what others sent to it before is due."""
        if self.handover is not None:
            self.handover.came(taken)

    def closing(self, connection: Client) -> dict[str, Any] | None:
        """The session ends: nobody finds it any more. Return what its `close` may ask for."""
        session = connection.session
        known = None
        if self.connections.pop(session, None) is not None:
            if connection.port.callbacks.has("close"):
                known = client_info.info(self.host.board.sessions, self.host.ports, session)
            self.counts.close(session)
            if self.handover is not None:
                self.handover.forget(session)
            if self.fd_store is not None:
                self.fd_store.forget(session)
        return known

    def lost(self) -> None:
        """The descriptor of a connection is closed."""
        self.open -= 1

    def ended_elsewhere(self, dropped: Dropped) -> None:
        """A connection ended with its worker, our predecessor: call its `close`."""
        session, host = dropped.session, self.host
        if self.handover is not None:
            self.handover.forget(session)
        callback = host.ports[dropped.port].callbacks.get("close")
        if callback is None:
            return
        if dropped.known is not None:
            host.ended_clients[session] = client_info.described(host.ports, dropped.known)
        host.emit_to(
            callback, "close", session, -1, then=lambda: host.ended_clients.pop(session, None)
        )

    def heartbeat(self, port: OpenPort) -> None:
        """Close those of a port of which nothing was heard for heartbeat_idle_time."""
        idle = port.settings.heartbeat_idle_time
        looks = max(1, round(idle / port.settings.heartbeat_interval))
        for connection in list(self.connections.values()):
            if connection.port is not port:
                continue
            if connection.heard:
                connection.heard = False
                connection.silent = 0
                continue
            connection.silent += 1
            if connection.silent >= looks and not connection.protected:
                connection.end(f"nothing was heard for {idle:g} s (heartbeat_idle_time)")

"""A client of the server under failures: it asks by lines, and judges what it gets."""

from __future__ import annotations

import select
import socket
import ssl

from inject.surroundings.patience import MOST, Hang, Patience

_LOOK = 0.5
"""Seconds between two looks whether it takes too long."""


class Wrong(AssertionError):
    """A connection was answered wrongly."""


class Closed(Exception):
    """The server ended the connection: an answer of its own, if the log says why."""


class Line:
    """One connection. Every wait has the deadline."""

    def __init__(self, address: tuple[str, int] | str, tls: bool = False) -> None:
        family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
        self._sock = socket.socket(family, socket.SOCK_STREAM)
        self._sock.settimeout(MOST)
        self._rest = b""
        patience = Patience()
        try:
            self._sock.connect(address)
            if tls:
                patience.watch()
                # Without the system's authorities, which take long to load.
                context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
                context.check_hostname = False
                context.verify_mode = ssl.CERT_NONE
                self._sock = context.wrap_socket(self._sock)
        except TimeoutError:
            self._sock.close()
            raise Hang("connect() was not answered") from None
        except (ConnectionError, ssl.SSLError) as exc:
            self._sock.close()
            raise Closed(f"connect(): {exc}") from None
        patience.check("connect()")

    def ask(self, *words: object) -> None:
        patience = Patience()
        try:
            self._sock.sendall((" ".join(map(str, words)) + "\n").encode())
        except TimeoutError:
            raise Hang(f"{words} was not read") from None
        except OSError as exc:
            raise Closed(f"{words}: {exc}") from None
        patience.check(f"{words} is read")

    def hear(self, token: int) -> list[str]:
        """Return the words of the answer behind its token."""
        patience = Patience()
        self._sock.settimeout(_LOOK)
        while b"\n" not in self._rest:
            try:
                part = self._sock.recv(1 << 16)
            except TimeoutError:
                patience.check(f"an answer to {token}")
                continue
            except OSError as exc:
                raise Closed(f"{token}: {exc}") from None
            if not part:
                raise Closed(f"{token}: end of file")
            self._rest += part
        self._sock.settimeout(MOST)
        patience.check(f"an answer to {token}")
        line, _, self._rest = self._rest.partition(b"\n")
        words = line.decode().split(" ")
        if words[0] != str(token):
            raise Wrong(f"the answer to {token} was {line[:80]!r}")
        return words[1:]

    def close(self) -> None:
        self._sock.close()


def datagram(address: tuple[str, int], token: int) -> bool:
    """Send one and wait a moment for it to come back; False: UDP has lost it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.sendto(str(token).encode(), address)
        if not select.select([sock], [], [], 0.5)[0]:
            return False
        answer = sock.recv(100)
        if answer != str(token).encode():
            raise Wrong(f"the datagram {token} came back as {answer!r}")
        return True

"""A new client in C: taken from the kernel, and led to its transport."""

from __future__ import annotations

import asyncio
import errno
import os
import resource
import socket
import subprocess
import sys

import pytest
import uvloop
from deadlines import LOOK, RUN

from ipckit._core._accept import Accepted, accept

ADDRESSES = {
    "inet": (socket.AF_INET, ("127.0.0.1", 0)),
    "inet6": (socket.AF_INET6, ("::1", 0)),
    "unix": (socket.AF_UNIX, None),
}


@pytest.fixture(params=ADDRESSES)
def listener(request, tmp_path):
    family, address = ADDRESSES[request.param]
    with socket.socket(family) as sock:
        sock.bind(address or str(tmp_path / "sock"))
        sock.listen()
        sock.setblocking(False)
        yield sock


def connected(listener: socket.socket) -> socket.socket:
    client = socket.socket(listener.family)
    client.connect(listener.getsockname())
    client.settimeout(LOOK)
    return client


def taken(listener: socket.socket) -> Accepted:
    client = accept(listener.fileno(), listener.family)
    assert client is not None
    return client


def is_open(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True


def test_a_client_has_what_uvloop_and_the_server_ask_for(listener):
    with connected(listener) as client:
        new = taken(listener)
        assert (new.family, new.type, new.moved) == (listener.family, socket.SOCK_STREAM, False)
        if listener.family == socket.AF_UNIX:
            assert (new.ip, new.number) == (b"", 0)
        else:
            ip, number = client.getsockname()[:2]
            assert (new.ip, new.number) == (socket.inet_pton(listener.family, ip), number)
        assert not os.get_blocking(new.fileno())
        assert not os.get_inheritable(new.fileno())
        with socket.socket(fileno=os.dup(new.fileno())) as end:
            end.sendall(b"x")
        assert client.recv(1) == b"x"


def test_without_a_client_there_is_none(listener):
    assert accept(listener.fileno(), listener.family) is None


def test_what_is_dropped_is_closed(listener):
    with connected(listener) as client:
        new = taken(listener)
        descriptor = new.fileno()
        del new
        assert not is_open(descriptor)
        assert client.recv(1) == b""


@pytest.mark.parametrize(
    ("descriptor", "code"),
    [
        (lambda: os.open(os.devnull, os.O_RDONLY), errno.ENOTSOCK),
        (lambda: socket.socket().detach(), errno.EINVAL),
    ],
    ids=["no socket", "it does not listen"],
)
def test_a_failure_has_its_errno(descriptor, code):
    number = descriptor()
    with pytest.raises(OSError) as raised:
        accept(number, socket.AF_INET)
    os.close(number)
    assert raised.value.errno == code


def test_a_client_that_finds_no_descriptor_waits(listener):
    with connected(listener) as client:
        lowest = os.dup(0)
        os.close(lowest)
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, hard))
        try:
            with pytest.raises(OSError) as raised:
                accept(listener.fileno(), listener.family)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert raised.value.errno == errno.EMFILE
        new = taken(listener)
        with socket.socket(fileno=os.dup(new.fileno())) as end:
            end.sendall(b"x")
        assert client.recv(1) == b"x"


STANDARD = """
import os, resource, socket
from ipckit._core._accept import accept
listener = socket.create_server(("127.0.0.1", 0))
client = socket.create_connection(listener.getsockname())
lowest = os.dup(0)
os.close(lowest)
os.close(0)
if {full}:
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, lowest))
try:
    new = accept(listener.fileno(), socket.AF_INET)
    print(new.fileno() > 2, new.moved)
except OSError as exc:
    print(exc.errno)
client.settimeout({look})
try:
    print(os.fstat(0))
except OSError:
    print("closed")
print({full} and client.recv(1))
"""


@pytest.mark.parametrize(
    ("full", "told"),
    [(False, ["True True", "closed", "False"]), (True, [str(errno.EMFILE), "closed", "b''"])],
    ids=["moved", "no other is free"],
)
def test_no_client_has_a_standard_descriptor(full, told):
    """N2. Without another one it is closed."""
    code = STANDARD.format(full=full, look=LOOK)
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=RUN, check=True
    )
    assert done.stdout.splitlines() == told, done.stderr


transports = []


class Echo(asyncio.Protocol):
    def connection_made(self, transport):
        transports[:] = [transport]

    def data_received(self, data):
        transports[0].write(data)


def never(error: OSError) -> None:
    pytest.fail(f"it was told of {error!r}")


def test_it_is_led_to_a_transport_that_closes_its_descriptor(listener):
    """N1, N3."""

    async def main(client):
        loop = asyncio.get_running_loop()
        new = taken(listener)
        descriptor = new.fileno()
        new.begin(loop.connect_accepted_socket(Echo, new), never)
        client.setblocking(False)
        await loop.sock_sendall(client, b"x")
        assert await loop.sock_recv(client, 1) == b"x"
        (transport,) = transports
        assert transport.get_extra_info("socket").fileno() == descriptor
        assert new.fileno() == descriptor
        transport.close()
        assert await loop.sock_recv(client, 1) == b""
        assert new.fileno() == -1
        assert not is_open(descriptor)
        os.dup2(client.fileno(), descriptor)  # the number is somebody else's now
        del new
        assert is_open(descriptor)
        os.close(descriptor)

    with connected(listener) as client:
        uvloop.run(main(client))


def test_an_error_of_the_coroutine_is_told_and_the_descriptor_closed(listener):
    async def fails():
        raise ConnectionResetError(errno.ECONNRESET, "gone")

    told = []
    with connected(listener) as client:
        new = taken(listener)
        new.begin(fails(), told.append)
        assert [error.errno for error in told] == [errno.ECONNRESET]
        assert new.fileno() == -1
        assert client.recv(1) == b""


def test_any_other_exception_is_the_callers_and_the_descriptor_closed(listener):
    async def fails():
        raise ValueError("wrong")

    with connected(listener) as client:
        new = taken(listener)
        with pytest.raises(ValueError, match="wrong"):
            new.begin(fails(), never)
        assert client.recv(1) == b""


def test_it_goes_on_for_as_long_as_the_coroutine_waits(listener):
    steps = []

    async def waits_twice(futures):
        steps.extend([await future for future in futures])
        raise OSError(errno.EPIPE, "late")

    async def main():
        loop = asyncio.get_running_loop()
        futures = [loop.create_future(), loop.create_future()]
        told = loop.create_future()
        new = taken(listener)
        new.begin(waits_twice(futures), told.set_result)
        for number, future in enumerate(futures):
            future.set_result(number)
        assert (await told).errno == errno.EPIPE
        assert steps == [0, 1]
        descriptor = new.fileno()
        assert is_open(descriptor), "it is the transport's since the first step"
        os.close(descriptor)
        new()
        with pytest.raises(SystemError):
            new.begin(None, never)

    with connected(listener):
        uvloop.run(main())


def test_nothing_makes_one_but_accept():
    with pytest.raises(TypeError):
        Accepted()

"""A file that is being sent when its connection is closed: piece by piece, to its end, or cut."""

from __future__ import annotations

import asyncio

import pytest
import uvloop
from one_connection import MUCH, a_connection, until

from ipckit.server.connections import closing
from ipckit.server.connections.life import Stage

IN_MEMORY = 1 << 20


@pytest.fixture
def file(tmp_path):
    (tmp_path / "file").write_bytes(MUCH)
    return str(tmp_path / "file")


def run(test, file):
    async def main():
        async with a_connection(file, slow_close=False) as case:
            assert case.connection.send_file(file, 0, len(MUCH))
            await test(case, case.connection)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())


async def turns(count):
    for _ in range(count):
        await asyncio.sleep(0)


@pytest.mark.parametrize("peer_ends", [False, True])
def test_the_rest_of_a_file_waits_for_its_reader_and_arrives(file, peer_ends):
    """D29: not all of it is read into memory, and the loop goes on."""

    async def test(case, connection):
        assert connection.end("")
        if peer_ends:
            case.client.shutdown(1)
        await turns(2000)
        assert connection.stage is Stage.ENDING
        assert connection._transport.get_write_buffer_size() < IN_MEMORY
        case.client.setblocking(False)
        got = 0

        def read():
            nonlocal got
            try:
                part = case.client.recv(1 << 18)
            except BlockingIOError:
                return False
            got += len(part)
            return not part

        await until(read)
        assert got == len(MUCH)

    run(test, file)


def test_a_reader_that_takes_nothing_of_it_is_cut(file, monkeypatch):
    monkeypatch.setattr(closing, "_FLUSH_SECONDS", 0.05)

    async def test(case, connection):
        assert connection.end("")
        await until(lambda: connection._gone)

    run(test, file)


def test_a_client_over_a_limit_has_a_second_for_it(file, monkeypatch):
    monkeypatch.setattr(closing, "_LINGER", 0.05)

    async def test(case, connection):
        assert connection.end("it is over a limit")
        await until(lambda: connection._gone)

    run(test, file)


@pytest.mark.parametrize("closed", [False, True])
def test_a_file_that_a_server_at_its_end_does_not_finish_ends_in_a_reset(file, closed):
    """An orderly end of file would tell the client that it has all of it."""

    async def test(case, connection):
        if closed:
            assert connection.end("")
        await turns(2000)
        for task in [*case.host.running]:
            task.cancel()
        connection.end("")
        await until(lambda: connection._gone)
        with pytest.raises(ConnectionResetError):
            while case.client.recv(1 << 20):
                pass

    run(test, file)

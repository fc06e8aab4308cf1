"""What from-swoole.md says is different, where no other suite shows it: the calls of the manager and
of user processes, both families at one port number, the clients of one port, types in a table.
"""

from __future__ import annotations

import json
import socket

import pytest
from serving import LOOK

from ipckit import Float, Int, SchemaError, Server, SettingsError, Str, Table

CALLS = """
import json
from ipckit import MisuseError

def refused(*calls):
    names = []
    for call in calls:
        try:
            call()
        except MisuseError as error:
            names.append(str(error).partition("(")[0])
    return names

@server.on("receive")
def receive(server, fd, reactor_id, data):
    server.send(fd, json.dumps(found).encode() + b"\\n")

@server.on("task")
def task(server, task_id, source, data):
    pass

found = {}

@server.on("pipe_message")
def pipe_message(server, source, message):
    found["user process"] = message

@server.add_process
def user(server):
    names = refused(lambda: server.task(1), lambda: server.tick(1, print))
    server.send_message(names, 0)
    os.read(os.pipe()[0], 1)

@server.on("start")
def start(server):
    names = refused(
        lambda: server.send(1, b"x"), lambda: server.close(1), lambda: server.task(1),
        lambda: server.tick(1, print), lambda: server.after(1, print),
        lambda: server.send_message("x", 0),
    )
    os.write(answer[1], json.dumps(names).encode())
    print(server.port, flush=True)

answer = os.pipe()

@server.on("worker_start")
def worker_start(server, number):
    if number == 0:
        server.after(0, hear)

def hear():
    os.set_blocking(answer[0], False)
    try:
        found["manager"] = json.loads(os.read(answer[0], 1000))
    except BlockingIOError:
        server.after(0.01, hear)  # until `start` has run
"""


def test_what_the_manager_and_user_processes_may_not_do_is_told(small):
    """Each of these calls of Swoole's is MisuseError there, with the place where it belongs."""
    server = small(CALLS, "task_worker_num=1, max_wait_time=1")

    def found() -> dict:
        with server.connect() as client:
            client.sendall(b"x")
            return json.loads(client.makefile().readline())

    server.wait_for(lambda: len(found()) == 2)
    assert found() == {
        "manager": ["send", "close", "task", "tick", "after", "send_message"],
        "user process": ["task", "a user process has timers only if its callback is `async def`"],
    }
    server.end()


def test_one_port_number_for_both_families_and_the_clients_of_one_port(small):
    """`::` takes IPv6 alone; a second port beside it takes the others."""
    server = small(
        """
        from ipckit import SockType
        second = server.listen("::1", server.port, SockType.TCP6)

        @server.on("receive")
        def receive(server, fd, reactor_id, data):
            known = [(each, server.get_client_info(each)) for each in server.connections]
            mine = [each for each, info in known if info["socket_type"] == SockType.TCP6]
            server.send(fd, f"{len(known)} {len(mine)} {fd in mine}\\n".encode())
        """
    )
    if not socket.has_ipv6:
        pytest.skip("no IPv6 here")
    with server.connect() as one, socket.create_connection(("::1", server.address[1]), LOOK) as two:
        one.sendall(b"x")
        assert one.makefile().readline() in ("2 1 False\n", "1 0 False\n")
        two.sendall(b"x")
        assert two.makefile().readline() == "2 1 True\n"
    server.end()


@pytest.mark.parametrize("row", [{"n": "12"}, {"n": 1.5}, {"f": "1.5"}, {"s": 5}])
def test_no_value_is_converted_in_a_table(row):
    table = Table(8, columns={"n": Int(8), "f": Float(), "s": Str(16)})
    with pytest.raises(SchemaError, match="takes a"):
        table.set("a", row)
    assert "a" not in table
    table.set("a", {"f": 3})
    assert table.get("a", "f") == 3.0
    table.close()


def test_a_size_is_a_number():
    with pytest.raises(SettingsError, match="package_max_length='2M': must be an int"):
        Server("127.0.0.1", 0, package_max_length="2M")  # type: ignore[arg-type]

"""The programs under examples/ do what they say, as a user would run them."""

from __future__ import annotations

import re
import signal
import sqlite3
import subprocess
import sys

import pytest
from example_programs import EXAMPLES, LOOK, program, run, serve, wait_for_tasks  # noqa: F401 (a fixture)
from start_method import METHODS, set_default


def test_first_server_and_client(serve):
    port = serve("first_server.py").port
    assert run(sys.executable, program("first_client.py"), port).splitlines() == [
        "task 1 was posted",
        "task 1 is done: HELLO, TASK WORKER",
    ]
    again = run(sys.executable, program("first_client.py"), port, "again")
    assert again.splitlines()[1] == "task 2 is done: AGAIN"


def test_second_server(serve):
    """20 items fail once; two of the others fail three times, and are given up."""
    server = serve("second_server.py")
    with server.client() as client, server.client() as other:
        for _ in range(2):
            client.send(b"go\n")
            other.send(b"go\n")
            assert client.recv() == b"98 delivered, 2 given up, 26 failures\n"
            assert other.recv() == b"98 delivered, 2 given up, 26 failures\n"
        server.end()
        assert client.recv() == b"" == other.recv(), "one answer for each go"
    given_up = re.findall(r"item (\d+) was given up after 3 attempts", server.log.read_text())
    assert sorted(given_up) == ["13"] * 4 + ["77"] * 4


@pytest.mark.parametrize("method", METHODS)
def test_parent_and_child(method, tmp_path, monkeypatch):
    """With every default of multiprocessing."""
    set_default(method, tmp_path, monkeypatch)
    for _ in range(2):  # the first leaves nothing in the way of the second
        lines = run(sys.executable, program("parent_child_queue.py")).splitlines()
        assert lines[:5] == [f"child got 'message {number}'" for number in range(5)]
        assert lines[5] == "child ended with 0, 0 messages are left"


def test_tasks_from_another_process(serve):
    server = serve("queue_server.py")
    assert run(sys.executable, program("task_client.py")) == "2 tasks posted\n"
    wait_for_tasks(server, 2)
    printed = server.end()
    assert re.search(r"task worker [01] got \['resize', 'photo.jpg', {'width': 640}\]", printed)
    assert "task worker 1 got ['resize', '传真.png', {'width': 320}]" in printed


def test_the_server_of_the_container(serve):
    with serve("container/server.py").client() as client:
        client.send(b"hello\n")
        assert client.recv() == b"HELLO\n"


def test_what_the_dockerfile_copies_is_there():
    """It is not built here; docker is no tool of the suites."""
    text = (EXAMPLES / "container" / "Dockerfile").read_text()
    copied = re.findall(r"^COPY (?!--from)(\S+) ", text, re.MULTILINE)
    assert copied == [".", "examples/container/server.py"]
    assert all((EXAMPLES.parent / path).exists() for path in copied)
    assert f'CMD ["python", "{copied[1].rpartition("/")[2]}"]' in text, "no shell takes its SIGTERM"


@pytest.mark.needs_php
def test_tasks_from_php(serve):
    server = serve("queue_server.py")
    assert run("php", program("php/producer.php")) == "2 tasks posted\n"
    wait_for_tasks(server, 2)
    printed = server.end()
    for k in range(2):
        assert f"task worker {k} got {{'from': 'PHP', 'for': {k}, 'sizes': [1, 2.5, None]}}" in (
            printed
        )


@pytest.mark.needs_php
def test_php_without_a_server_says_so():
    done = subprocess.run(
        ["php", program("php/producer.php")],
        capture_output=True,
        text=True,
        timeout=LOOK,
        check=False,
    )
    assert done.returncode == 1 and "is queue_server.py running?" in done.stderr


def redis(port: str, *words: str, said: bytes = b"") -> bytes:
    done = subprocess.run(
        ["redis-cli", "-p", port, *words],
        input=said,
        capture_output=True,
        timeout=LOOK,
        check=False,
    )
    assert done.returncode == 0, done
    return done.stdout


@pytest.mark.needs_redis
def test_redis_clients_and_the_resp_server(serve):
    server = serve("resp_server.py")
    port = server.port
    said = b"\n".join(
        [
            *(b"PING", b"SET a 1", b"SET a 2 NX", b"GET a", b"INCRBY a 41", b"DECR a", b"GET none"),
            *(b"SET b x", b"INCR b", b"MGET a b c", b"DEL a b c", b"DBSIZE", b"ECHO", b"WHAT"),
        ]
    )
    answers = redis(port, said=said).decode().split("\n")
    answers = [line for line in answers if line]
    assert answers == [
        *("PONG", "OK", "1", "42", "41", "OK", "ERR the value is no integer", "41", "x", "2", "0"),
        *("ERR wrong number of arguments", "ERR unknown command"),
    ]
    body = b"\r\n*3\r\n\0" * 50
    assert redis(port, "-x", "SET", "raw", said=body) == b"OK\n"
    assert redis(port, "GET", "raw") == body + b"\n"
    sets = b"".join(b"SET key:%d value:%d\r\n" % (number, number) for number in range(10_000))
    assert b"errors: 0, replies: 10000" in redis(port, "--pipe", said=sets)
    names = [f"key:{number}" for number in range(0, 10_000, 97)]
    expected = "".join(f"value:{number}\n" for number in range(0, 10_000, 97)).encode()
    assert redis(port, "MGET", *names) == expected
    assert redis(port, "FLUSHALL") == b"OK\n"


@pytest.mark.needs_redis
@pytest.mark.parametrize("pipeline", ["1", "16"])
def test_redis_benchmark_counts_right_through_a_reload(serve, pipeline):
    """40,000 increments of 100 keys by 50 clients during two reloads: none is lost."""
    server = serve("resp_server.py")
    benchmark = subprocess.Popen(
        [
            *("redis-benchmark", "-p", server.port, "-c", "50", "-n", "40000", "-P", pipeline),
            *("-r", "100", "-q", "INCR", "key:__rand_int__"),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    reloads = 0
    while benchmark.poll() is None:
        if reloads < 2 and int(redis(server.port, "DBSIZE")) > 50 * reloads:
            server.process.send_signal(signal.SIGUSR1)
            reloads += 1
    printed, _ = benchmark.communicate(timeout=LOOK)
    assert benchmark.returncode == 0, printed
    assert b"requests per second" in printed
    assert reloads == 2
    names = redis(server.port, "KEYS", "key:*").decode().split()
    assert len(names) == 100
    assert sum(int(value) for value in redis(server.port, "MGET", *names).split()) == 40_000


def test_the_rate_limiter_holds_its_limit_in_four_processes():
    """Each caller gets its burst and its rate, not one more, though all ask without a pause."""
    lines = run(sys.executable, program("rate_limiter.py")).splitlines()
    row = r"(ada|bob): (\d+) allowed of (\d+), the limit is ([\d.]+)"
    found = [re.fullmatch(row, line) for line in lines]
    assert [match and match[1] for match in found] == ["ada", "bob"], lines
    for match in found:
        allowed, asked, limit = float(match[2]), float(match[3]), float(match[4])
        assert 20 <= allowed <= limit
        assert asked > allowed, "it was never at its limit"


def test_a_database_connection_for_each_task_worker(serve, tmp_path):
    server = serve("database_server.py", str(tmp_path / "notes.sqlite"))
    texts = [f"note {number}" for number in range(50)]
    with server.client() as client:
        for text in texts:
            client.send(text.encode() + b"\n")
        answers = {client.recv().decode() for _ in texts}
        assert answers == {f"kept: {text}\n" for text in texts}
        client.send(b"pass\n")
        refused = client.recv().decode()
        assert refused.startswith("TypeError: ") and "sqlite3.Connection" in refused
        assert "[1]" in refused, "it names the part"
    server.end()
    database = sqlite3.connect(tmp_path / "notes.sqlite")
    kept = [text for (text,) in database.execute("SELECT text FROM notes")]
    database.close()
    assert sorted(kept) == sorted(texts)


def test_the_list_of_examples_is_whole():
    listed = set(re.findall(r"^\| `(\S+)` \|", (EXAMPLES / "README.md").read_text(), re.MULTILINE))
    folders = {f"{path.name}/" for path in EXAMPLES.iterdir() if path.is_dir()}
    there = {path.name for path in EXAMPLES.glob("*.py")}
    there |= {f"php/{path.name}" for path in EXAMPLES.glob("php/*.php")}
    there |= {f"queues/{path.name}" for path in EXAMPLES.glob("queues/*.py")}
    there |= folders - {"__pycache__/", "php/", "queues/"}
    assert listed == there

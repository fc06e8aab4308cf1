"""The numbers for Prometheus, from within a server and from beside it."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from serving import LOOK
from watching import ask, served, stopped, until  # noqa: F401  (a fixture)

from ipckit import MisuseError, Server
from ipckit.metrics import Watching, collector
from ipckit.queue import SharedQueue

TABLE = (Path(__file__).parents[3] / "docs/reference/top.md").read_text().partition("| name |")[2]

WITHIN = """
from prometheus_client import CollectorRegistry, start_http_server
from ipckit.metrics import collector

server.on("receive", lambda server, fd, reactor_id, data: server.send(fd, data))

def export(server):
    registry = CollectorRegistry()
    registry.register(collector(server))
    exporter, thread = start_http_server(0, "127.0.0.1", registry)
    with open(FILE + ".new", "w") as file:
        file.write(str(exporter.server_port))
    os.rename(FILE + ".new", FILE)
    thread.join()

server.add_process(export)
"""


@pytest.fixture
def jobs():
    """A queue with a leased message, one that was given back, and a dead one."""
    with SharedQueue.create("jobs", max_messages=8, max_bytes=4096, max_attempts=1) as queue:
        queue.send_many([b"dead", b"leased", b"waits"])
        queue.lease().give_back()
        with queue.lease():
            yield queue
        queue.remove()


def scraped(url: str) -> str:
    with urllib.request.urlopen(url, timeout=LOOK) as answer:
        return answer.read().decode()


def value(text: str, name: str) -> float:
    (found,) = re.findall(rf"^{re.escape(name)} (\S+)$", text, re.MULTILINE)
    return float(found)


def test_a_server_gives_its_own(small, tmp_path):
    file = tmp_path / "port"
    server = small(f"FILE = {str(file)!r}\n{WITHIN}")
    with server.connect() as client:
        client.sendall(b"x")
        assert client.recv(1) == b"x"
        server.wait_for(file.exists)
        text = scraped(f"http://127.0.0.1:{file.read_text()}/metrics")
    assert value(text, "ipckit_requests_total") == value(text, "ipckit_connections") == 1
    assert value(text, 'ipckit_worker_resident_bytes{role="worker",worker="0"}') > 1e6


def test_a_server_that_does_not_run_has_none():
    server = Server("127.0.0.1", 0)
    with pytest.raises(MisuseError, match="while it runs"):
        list(collector(server).collect())
    server.ports[0].forget()


def test_the_exporter_serves_a_stuck_server_and_outlives_it(served, jobs, tmp_path):
    ask(served, "wait wait quick")
    words = [sys.executable, "-m", "ipckit", "metrics", str(tmp_path / "pid"), "--port", "0"]
    exporter = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    try:
        assert exporter.stdout is not None
        url = exporter.stdout.readline().split()[1]

        def scrape() -> str:
            return scraped(url)

        running = "ipckit_tasks_running"
        until(scrape, lambda text: value(text, running) == 2)
        with stopped(served.process.pid):
            text = scrape()
        assert value(text, "ipckit_up") == 1
        named = set(re.findall(r"^# HELP (\w+)", text, re.MULTILINE))
        assert named == set(re.findall(r"`(ipckit_\w+)`", TABLE)), "the page names every one"
        assert value(text, "ipckit_tasks_queued") == 1
        assert value(text, "ipckit_tasks_total") == 3
        assert value(text, 'ipckit_request_seconds_bucket{le="+Inf"}') == 1
        (tmp_path / "mended").touch()
        text = until(scrape, lambda text: value(text, "ipckit_tasks_done_total") == 3)
        assert value(text, "ipckit_task_seconds_count") == 3
        assert value(text, "ipckit_task_seconds_sum") > 0
        counts = re.findall(r'ipckit_task_seconds_bucket\{le="[^"]*"\} (\S+)', text)
        assert sorted(map(float, counts)) == list(map(float, counts)) and float(counts[-1]) == 3
        served.end()
        text = scrape()
        assert value(text, "ipckit_up") == 0
        for state, count in {"waiting": 1, "leased": 1, "delayed": 0, "dead": 1}.items():
            name = f'ipckit_shared_queue_messages{{queue="jobs",state="{state}"}}'
            assert value(text, name) == count
        assert value(text, 'ipckit_shared_queue_redelivered_total{queue="jobs"}') == 0
        jobs.dead.retry(next(iter(jobs.dead)).id)
        jobs.receive_nowait()
        jobs.receive_nowait()
        text = scrape()
        assert value(text, 'ipckit_shared_queue_oldest_seconds{queue="jobs"}') > 0
    finally:
        exporter.send_signal(signal.SIGTERM)
        assert exporter.wait(LOOK) == 0
        exporter.stdout.close()


def test_without_a_server_there_is_one_number(tmp_path):
    registry = CollectorRegistry()
    registry.register(watching := Watching(str(tmp_path / "pid")))
    assert value(generate_latest(registry).decode(), "ipckit_up") == 0
    watching.close()

"""The examples that post tasks from web frameworks, each under its real server.

Flask and Django under gunicorn, a page under php-fpm, and what they answer when the queue is full
or the server was killed.
"""

from __future__ import annotations

import contextlib
import errno
import http.client
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from example_programs import EXAMPLES, LOOK, gunicorn, program, run, serve, wait_for_tasks  # noqa: F401 (a fixture)
from watching import until

from ipckit import NotFound, SysvQueue, Table, ftok


@pytest.fixture
def flask_port(tmp_path):
    with gunicorn(tmp_path, "flask_app:app") as port:
        yield port


def ask_web(port: int, path: str, *data: object) -> tuple[int, dict]:
    """GET, or with data POST it as JSON; return the status and the JSON of the answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=LOOK)
    try:
        method, body = ("POST", json.dumps(data[0])) if data else ("GET", None)
        connection.request(method, path, body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()


def test_tasks_from_flask(serve, flask_port):
    status, answer = ask_web(flask_port, "/tasks", {"resize": "too early"})
    assert status == 503 and "is queue_server.py running?" in answer["error"]
    server = serve("queue_server.py")
    for number in range(20):
        data = {"resize": "传真.png", "number": number}
        assert ask_web(flask_port, "/tasks", data) == (202, {"posted": True})
    status, answer = ask_web(flask_port, "/tasks", "x" * 1_000_000)
    assert status == 413 and "1000" in answer["error"], answer
    wait_for_tasks(server, 20)
    printed = server.end()
    for number in range(20):
        assert printed.count(f"got {{'resize': '传真.png', 'number': {number}}}") == 1


TASKS = """
import os
from django_tasks import task

def note(path, text):
    with open(path, "a") as file:
        print(text, file=file)

@task()
def record(path, number):
    note(path, number)
    return number

@task()
def hold(path, fifo):
    note(path, f"held by {fifo}")
    return open(fifo).read()

@task()
def die(path):
    note(path, "died")
    os._exit(9)

@task(takes_context=True)
async def context(context, *, word):
    return [word, context.attempt, context.task_result.id]

@task()
def returns(size):
    return "x" * size if size else {1, 2}

def no_task(path):
    note(path, "called")
"""

# Is run as a Django process beside the site: it posts, refreshes until all are finished, and prints.
RESULTS = """
import json, select, sys, time
import django_site, site_tasks
from django_site import default_task_backend

def finished(*results):
    end = time.monotonic() + LOOK
    for result in results:
        result.refresh()
        while not result.is_finished:
            assert time.monotonic() < end, result
            select.select([], [], [], 0.01)
            result.refresh()
    return results

path = sys.argv[1]
"""


@pytest.fixture
def django(tmp_path, monkeypatch):
    """Tasks of the test's own beside the site's; a function that runs code in a Django process."""
    (tmp_path / "site_tasks.py").write_text(TASKS)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{EXAMPLES}")
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")

    def process(code: str):
        return json.loads(
            run(sys.executable, "-c", f"LOOK = {LOOK}\n{RESULTS}{code}", str(tmp_path / "notes"))
        )

    yield process
    key = ftok(EXAMPLES, "d")
    name = f"django-{key & 0xFFFFFFFF:08x}"
    Table.open(name).remove()
    without_queue(key)
    Path(f"/dev/shm/ipckit.ledger.{name}").unlink(missing_ok=True)  # the same


def without_queue(key: int) -> None:
    """Remove the queue that a test left which failed between a kill and the next start."""
    with contextlib.suppress(NotFound):
        SysvQueue.open(key).remove()


def notes(tmp_path) -> list[str]:
    path = tmp_path / "notes"
    return path.read_text().splitlines() if path.exists() else []


def release(fifo: Path) -> None:
    """End the task that reads the fifo, or will."""

    def opened() -> int | None:
        try:
            return os.open(fifo, os.O_WRONLY | os.O_NONBLOCK)
        except OSError as error:
            if error.errno == errno.ENXIO:  # nobody reads yet
                return None
            raise

    os.close(until(opened, lambda fd: fd is not None))


def test_tasks_and_results_of_django(django, serve, tmp_path):
    with gunicorn(tmp_path, "django_site:application") as port:
        status, answer = ask_web(port, "/tasks", {"text": "too early"})
        assert status == 503 and "is django_server.py running?" in answer["error"]
        server = serve("django_server.py")
        answers = [ask_web(port, "/tasks", {"text": f"传真 {n} {n}"}) for n in range(20)]
        assert [status for status, _ in answers] == [202] * 20

        def look(answer: dict) -> dict:
            status, found = until(
                lambda: ask_web(port, f"/tasks/{answer['id']}"),
                lambda seen: seen[1]["status"] in {"SUCCESSFUL", "FAILED"},
            )
            assert status == 200
            return found

        for number, (_, answer) in enumerate(answers):
            assert look(answer) == {
                "status": "SUCCESSFUL",
                "attempts": 1,
                "last_error": None,
                "value": {"传真": 1, str(number): 2},
            }
        status, answer = ask_web(port, "/tasks", {"text": "x" * 5000})
        assert status == 413 and "at most 4096 fit" in answer["error"]
        assert ask_web(port, "/tasks/none")[0] == 404 == ask_web(port, "/tasks/" + "0" * 32)[0]
        wrong = look(ask_web(port, "/tasks", {"text": 5})[1])
        assert (wrong["status"], wrong["attempts"]) == ("FAILED", 3)
        assert "'int' object has no attribute 'split'" in wrong["last_error"]
    assert "was given up after 3 attempts" in server.log.read_text()
    server.end(tracebacks=True)


def test_what_the_django_backend_has_and_has_not(django, serve, tmp_path):
    server = serve("django_server.py")
    said = django("""
import asyncio
from datetime import timedelta
from ipckit import TaskClient
from django.utils import timezone
from django_tasks.exceptions import TaskException

def refused(call, *args, **kwargs):
    try:
        call(*args, **kwargs)
    except (TaskException, TypeError) as error:
        return f"{type(error).__name__}: {error}"

record, other = site_tasks.record, django_site.count_words
context = site_tasks.context.enqueue(word="async")
set_, long = site_tasks.returns.enqueue(0), site_tasks.returns.enqueue(3000)
died = site_tasks.die.enqueue(path)
last = asyncio.run(record.aenqueue(path, 7))
again = asyncio.run(record.aget_result(last.id))
finished(context, set_, long, died, last, again)
call = {"id": "0" * 32, "task": "site_tasks.no_task", "queue": "default", "args": [path],
        "kwargs": {}, "enqueued_at": str(timezone.now())}
with TaskClient(default_task_backend.key) as client:  # whoever may write to the queue can
    client.post(json.dumps(call), timeout=LOOK)
end = time.monotonic() + LOOK
while (row := default_task_backend.results.get("0" * 32)) is None or row["status"] != "FAILED":
    assert time.monotonic() < end, row
    select.select([], [], [], 0.01)
print(json.dumps({
    "context": [context.return_value, context.id, context.attempts],
    "returned": [(r.status, r.attempts, [e.exception_class_path for e in r.errors]) for r in (set_, long)],
    "died": [died.status, died.attempts, died.errors[0].exception_class_path],
    "no_task": json.loads(row["outcome"])["errors"][-1],
    "again": [again.return_value, again.args, str(again.enqueued_at) < str(again.finished_at)],
    "refused": [
        refused(record.using, priority=1),
        refused(record.using, run_after=timezone.now() + timedelta(1)),
        refused(record.using, queue_name="other"),
        refused(record.enqueue, path, {1, 2}),
        refused(other.get_result, last.id),
        refused(record.get_result, "none"),
    ],
}))
""")
    word, attempt, ident = said["context"][0]
    assert [word, attempt] == ["async", 1] and [ident, 1] == said["context"][1:]
    (ended, attempts, errors), (long_ended, long_attempts, long_errors) = said["returned"]
    assert (ended, attempts, errors) == ("FAILED", 1, ["builtins.TypeError"])
    assert (long_ended, long_attempts, long_errors) == ("FAILED", 1, ["builtins.ValueError"])
    assert said["died"] == ["FAILED", 3, "ipckit.errors.TaskFailed"]
    assert "site_tasks.no_task is no task" in said["no_task"][1]
    assert said["again"] == [7, [str(tmp_path / "notes"), 7], True]
    assert [text.partition(":")[0] for text in said["refused"]] == [
        *(["InvalidTaskError"] * 3 + ["TypeError", "TaskResultMismatch", "TaskResultDoesNotExist"]),
    ]
    assert "priority" in said["refused"][0] and "run_after" in said["refused"][1]
    assert Counter(notes(tmp_path)) == {"died": 3, "7": 1}, "what is no task was not called"
    server.end(tracebacks=True)


def test_finished_results_of_django_make_room_for_new_ones(django):
    """The older half of them; without any, the error says so and nothing is kept or posted."""
    said = django("""
import django_backend
from ipckit import SysvQueue, TableFull
from django_tasks.exceptions import TaskResultDoesNotExist
from django_site import count_words
django_backend.RESULTS = 10

def kept(result):
    try:
        return bool(default_task_backend.get_result(result.id))
    except TaskResultDoesNotExist:
        return False

queue = SysvQueue.create(default_task_backend.key)  # nobody reads it
try:
    results = [count_words.enqueue(str(number)) for number in range(10)]
    try:
        count_words.enqueue("one more")
    except TableFull as error:
        refused = str(error)
    posted = len(queue)
    for number in (3, 5, 7, 9):
        default_task_backend.results.set(results[number].id, {"finished_at": 100.0 - number})
    results.append(count_words.enqueue("one more"))
    print(json.dumps([refused, posted, [n for n, one in enumerate(results) if not kept(one)]]))
finally:
    queue.remove()
""")
    assert "10" in said[0] and said[1] == 10
    assert said[2] == [7, 9], "of the four that are finished, the two that were so first"


def hold_both(django, tmp_path) -> list[str]:
    """Keep both task workers busy, and five tasks waiting; return the ids of all seven."""
    for k in range(2):
        os.mkfifo(tmp_path / f"notes.fifo{k}")
    posted = django("""
results = [site_tasks.hold.enqueue(path, f"{path}.fifo{k}") for k in range(2)]
results += [site_tasks.record.enqueue(path, number) for number in range(5)]
print(json.dumps([one.id for one in results]))
""")
    until(lambda: notes(tmp_path), lambda seen: len(seen) == 2)
    return posted


def ends(django, ids: list[str]) -> list[list]:
    """Wait for all of them; return the status, the attempts and the return value of each."""
    return django(f"""
results = [default_task_backend.get_result(one) for one in {ids!r}]
print(json.dumps([[r.status, r.attempts, r.return_value] for r in finished(*results)]))
""")


def test_django_tasks_outlive_a_server_that_is_killed(django, serve, tmp_path):
    """kill -9 of all of it: what waits is run once, what ran is run again; the results say so.

    Before and after the kill tasks can be posted, until the queue is full: then the web user
    has an error in about the second that the backend waits.
    """
    first = serve("django_server.py")
    before = hold_both(django, tmp_path)
    first.kill()
    after, error, seconds, kept = django("""
from ipckit import QueueFull
results = []
try:
    for number in range(5, 1000):
        start = time.monotonic()
        results.append(site_tasks.record.enqueue(path, number))
except QueueFull as full:
    rows = len(default_task_backend.results)
    print(json.dumps([[one.id for one in results], str(full), time.monotonic() - start, rows]))
""")
    assert 1 <= seconds < LOOK / 2 and "do not fit beside" in error, error
    assert kept == len(before + after), "nothing is kept of the one that was refused"
    with gunicorn(tmp_path, "django_site:application") as port:
        status, answer = ask_web(port, "/tasks", {"text": "one more " * 30})
        assert status == 503 and "do not fit beside" in answer["error"]
    second = serve("django_server.py")
    for k in range(2):
        release(tmp_path / f"notes.fifo{k}")
    ended = ends(django, before + after)
    count = len(ended) - 2
    assert ended[:2] == [["SUCCESSFUL", 2, ""]] * 2, "what ran was run again"
    assert ended[2:] == [["SUCCESSFUL", 1, number] for number in range(count)]
    ran = Counter(notes(tmp_path))
    assert {ran[str(number)] for number in range(count)} == {1}, "each that waited ran once"
    assert len(ran) == count + 2 and set(ran.values()) == {1, 2}
    second.end()


def test_django_tasks_outlive_a_server_that_ends_in_order(django, serve, tmp_path):
    """Its queue goes with it; what waited there is posted again by the next one."""
    first = serve("django_server.py")
    posted = hold_both(django, tmp_path)
    first.process.send_signal(signal.SIGTERM)
    until(first.log.read_text, lambda log: "the server ends in order" in log)
    first.end()  # a second signal kills it: nothing more is begun
    assert len(notes(tmp_path)) == 2, "none of the five has run"
    second = serve("django_server.py")
    for k in range(2):
        release(tmp_path / f"notes.fifo{k}")
    again, waited = [["SUCCESSFUL", 2, ""]] * 2, [["SUCCESSFUL", 1, n] for n in range(5)]
    assert ends(django, posted) == again + waited
    assert sorted(note for note in notes(tmp_path) if note.isdigit()) == list("01234")
    second.end()


@pytest.fixture
def fpm(tmp_path):
    """A php-fpm master of our own with two children; the path of its socket."""
    (tmp_path / "fpm.conf").write_text(
        f"""
[global]
daemonize = no
error_log = /proc/self/fd/2
[www]
listen = {tmp_path}/fpm.sock
pm = static
pm.max_children = 2
"""
    )
    binary = max(map(str, Path("/usr/sbin").glob("php-fpm*")))
    root = ["--allow-to-run-as-root"] if os.geteuid() == 0 else []
    with (tmp_path / "fpm.log").open("wb") as log:
        master = subprocess.Popen(
            [binary, "--fpm-config", tmp_path / "fpm.conf", *root], stderr=log
        )
    try:
        until((tmp_path / "fpm.log").read_text, lambda text: "ready to handle connections" in text)
        yield tmp_path / "fpm.sock"
    finally:
        master.send_signal(signal.SIGTERM)
        try:
            master.wait(LOOK)
        except subprocess.TimeoutExpired:
            master.kill()
            raise
        without_queue(ftok(program("queue_server.py"), "q"))


def ask_fpm(sock: Path, body: str) -> tuple[int, dict]:
    """POST as a web server would, by FastCGI; return the status and the JSON of the answer."""
    request = {
        "REQUEST_METHOD": "POST",
        "SCRIPT_FILENAME": program("php/fpm.php"),
        "CONTENT_TYPE": "application/json",
        "CONTENT_LENGTH": str(len(body.encode())),
    }
    done = subprocess.run(
        ["cgi-fcgi", "-bind", "-connect", sock],
        input=body,
        capture_output=True,
        text=True,
        timeout=LOOK,
        check=True,
        env={**os.environ, **request},
    )
    head, _, answer = done.stdout.replace("\r\n", "\n").partition("\n\n")
    status = re.search(r"^Status: (\d+)", head, re.MULTILINE)
    return int(status[1]) if status else 200, json.loads(answer)


def ran(printed: str) -> list[int]:
    """The numbers of the tasks that the task workers printed; two may share a line."""
    found = re.findall(r"task worker [01] got \{'传真': True, 'number': (\d+)", printed)
    return sorted(map(int, found))


@pytest.mark.needs_php_fpm
def test_tasks_from_php_fpm(fpm, serve):
    status, answer = ask_fpm(fpm, '"too early"')
    assert status == 503 and "is queue_server.py running?" in answer["error"]
    server = serve("queue_server.py")
    for number in range(20):
        body = json.dumps({"传真": True, "number": number})
        assert ask_fpm(fpm, body) == (202, {"posted": True})
    status, answer = ask_fpm(fpm, json.dumps("x" * 100_000))
    limit = Path("/proc/sys/kernel/msgmax").read_text().strip()
    assert status == 413 and f"100012 bytes; a message has at most {limit}" in answer["error"]
    assert ask_fpm(fpm, "{no JSON")[0] == 400
    wait_for_tasks(server, 20)
    assert ran(server.end()) == list(range(20))


@pytest.mark.needs_php_fpm
def test_php_fpm_posts_while_the_server_is_dead_until_the_queue_is_full(fpm, serve):
    """What was answered by 202 is run once by the next server, all of it."""
    first = serve("queue_server.py")
    assert ask_fpm(fpm, json.dumps({"传真": True, "number": 0}))[0] == 202
    wait_for_tasks(first, 1)
    assert ran(first.kill()) == [0]
    number, status = 0, 202
    while status == 202:
        number += 1
        body = json.dumps({"传真": True, "number": number, "more": "x" * 1000})
        status, answer = ask_fpm(fpm, body)
    assert status == 503 and answer["error"].startswith(
        f"the queue is full: {number - 1} tasks wait"
    )
    assert number > 5
    second = serve("queue_server.py")
    wait_for_tasks(second, number - 1)
    assert ran(second.end()) == list(range(1, number))


def ask_cache(port: int, number: int) -> tuple[str, str, int]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=LOOK)
    try:
        connection.request("GET", f"/square?{number}")
        kind, value, pid = connection.getresponse().read().decode().split()
        return kind, value, int(pid)
    finally:
        connection.close()


def test_workers_of_gunicorn_share_a_cache_and_one_is_killed(tmp_path):
    with gunicorn(tmp_path, "--preload", "gunicorn_cache:app") as port:
        first = [ask_cache(port, number) for number in range(50)]
        assert [(kind, value) for kind, value, _ in first] == [
            ("miss", str(number**2)) for number in range(50)
        ]
        os.kill(first[0][2], signal.SIGKILL)
        end = time.monotonic() + LOOK
        pids = set()
        while len(pids - {first[0][2]}) < 2:  # the other one, and the successor
            assert time.monotonic() < end
            try:
                kind, value, pid = ask_cache(port, 7)
            except (ConnectionError, http.client.HTTPException):
                continue  # the killed one had taken this connection
            assert (kind, value) == ("hit", "49")
            pids.add(pid)

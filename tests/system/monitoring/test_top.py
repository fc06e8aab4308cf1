"""`ipckit top` against real servers: one that is stuck, one whose manager is stopped, a terminal."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
import textwrap
import time

import pytest
from command import ipckit_json
from serving import LOOK
from textual.widgets import DataTable
from watching import ask, served, stopped, until  # noqa: F401  (a fixture)

from ipckit import NotFound
from ipckit.cli.top.letters import Letters
from ipckit.cli.top.screen import Top
from ipckit.server.monitoring.find_server import manager_pid
from ipckit.server.monitoring.live_view import Watched, worker_state
from ipckit.table import Int, Table


def ipckit(*words, code=0) -> str:
    """Run the command; return what it prints."""
    line = [sys.executable, "-m", "ipckit", *map(str, words)]
    done = subprocess.run(line, capture_output=True, text=True, timeout=LOOK, check=False)
    assert done.returncode == code, done.stderr
    return done.stdout + done.stderr


def once(path) -> dict:
    return ipckit_json("top", path, "--once")


def test_a_stopped_worker_and_a_stopped_manager_are_seen(served, tmp_path):
    began = time.monotonic()
    ask(served, "wait wait quick fail")
    path = tmp_path / "pid"
    form = until(lambda: once(path), lambda form: all(one["doing"] for one in form["workers"][1:]))
    worker, *task_workers = form["workers"]
    with stopped(served.process.pid), stopped(worker["pid"]), stopped(task_workers[0]["pid"]):
        form = until(lambda: once(path), lambda form: form["workers"][0]["state"] == "stopped")
        text = ipckit("top", path, "--once")
    assert form["manager"] == "stopped" and form["phase"] == "serving"
    assert form["ports"] == [f"127.0.0.1:{served.address[1]}"]
    assert [one["state"] for one in form["workers"]] == ["stopped", "stopped", "busy"]
    doing = sorted(one["doing"] for one in form["workers"][1:])
    assert doing == ["task 1, attempt 1", "task 2, attempt 1"]
    assert form["workers"][1]["since"] > 0 and form["workers"][1]["pid"] == task_workers[0]["pid"]
    stats = form["stats"]
    assert (stats["request_count"], stats["task_queued"], stats["task_running"]) == (1, 2, 2)
    assert 0 < stats["task_oldest_seconds"] < time.monotonic() - began
    assert form["request_seconds"]["p50"] > 0
    assert form["task_seconds"]["p50"] is None, "no attempt has ended"
    assert "manager stopped" in text and "2 wait, 2 run" in text


def test_a_restart_and_its_reason(served, tmp_path):
    path = tmp_path / "pid"
    first = once(path)["workers"][1]["pid"]
    began = time.time()
    os.kill(first, signal.SIGKILL)
    one = until(
        lambda: once(path)["workers"][1],
        lambda one: one["restarts"] == 1 and one["state"] == "idle",
    )
    assert one["pid"] != first and one["last_death"] == "signal 9 (Killed)"
    assert began <= one["died_at"] <= time.time()
    assert "last death" in ipckit("top", path, "--once")


def test_a_server_is_found_by_whatever_names_it(served, tmp_path):
    pid = served.process.pid
    run = tmp_path / "run"
    control = run / f"control-{pid}.sock"
    assert {manager_pid(str(path)) for path in (run, control, tmp_path / "pid")} == {pid}
    with stopped(pid):
        for _ in range(40):  # more than its backlog holds
            assert manager_pid(str(control)) == manager_pid(str(run)) == pid
    (tmp_path / "no-pid").write_text("me\n")
    for path, why in (
        (tmp_path / "nothing", "give a server's control socket or pid file"),
        (tmp_path / "no-pid", "a pid file has one number, not 'me'"),
        (tmp_path, "no server runs with a control socket in"),
    ):
        with pytest.raises(NotFound, match=why):
            manager_pid(str(path))


def test_a_process_with_a_board_of_no_server_is_no_manager():
    said = in_a_process_of_its_own("""
        board = Scoreboard(slots=1, sessions=4)
        try:
            Watched(os.getpid())
        except NotFound as why:
            print(why)
    """)
    assert "is no manager of an ipckit server" in said


def test_boards_of_one_moment_are_no_trouble():
    """Two descriptors of one age, with one number as they are looked at: either will do."""
    said = in_a_process_of_its_own("""
        about = {
            "started_at": 7.0, "worker_num": 1, "task_worker_num": 0, "ports": [],
            "dead_letters": None, "control_path": "", "ledger": "",
        }
        boards = [Scoreboard(slots=1, sessions=4, about=about) for _ in range(2)]
        with Watched(os.getpid()) as watched:
            print(watched.started_at)
    """)
    assert said == "7.0\n"


def in_a_process_of_its_own(code: str) -> str:
    """Return what it prints: a process that has no board but those that it makes."""
    head = """
        import os
        from ipckit import NotFound
        from ipckit.server.shared.scoreboard import Scoreboard
        from ipckit.server.monitoring.live_view import Watched
    """
    words = [sys.executable, "-c", textwrap.dedent(head) + textwrap.dedent(code)]
    return subprocess.run(words, stdout=subprocess.PIPE, text=True, timeout=LOOK, check=True).stdout


def test_its_end_is_seen(served):
    with Watched(served.process.pid) as watched:
        assert watched.snapshot().manager == "running"
        served.kill()
        snapshot = watched.snapshot()
    assert snapshot.manager == "gone"
    assert {worker.state for worker in snapshot.workers} == {"gone"}
    with pytest.raises(NotFound):
        Watched(served.process.pid)


@pytest.mark.needs_root
def test_another_user_is_refused(served):
    code = (
        "import os, sys\n"
        "from ipckit.server.monitoring.live_view import Watched\n"
        "from ipckit import AccessDenied\n"
        "os.setgid(65534); os.setuid(65534)\n"
        "try: Watched(int(sys.argv[1]))\n"
        "except AccessDenied as why: print(why)\n"
    )
    words = [sys.executable, "-c", code, str(served.process.pid)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=LOOK, check=False)
    assert "is another user's: be that user, or root" in done.stdout, done.stderr


def test_nothing_of_the_server_is_changed_by_looking(served, tmp_path):
    ask(served, "wait wait quick quick")
    pid = served.process.pid
    until(lambda: once(tmp_path / "pid"), lambda form: form["stats"]["task_running"] == 2)
    with Watched(pid) as watched:
        with pytest.raises(TypeError, match="read-only"):
            watched.board.row(0, 0)[0] = 1
        with watched._looking():
            for record in range(4):
                watched.overview.next(record, 0, -1)
            watched.overview.wake_due(1 << 62)  # writes, but only into its own copy
        before = watched.snapshot().stats["task_queued"]
    (tmp_path / "mended").touch()
    assert before == 2
    until(lambda: once(tmp_path / "pid"), lambda form: form["stats"]["task_done"] == 4)


@pytest.mark.parametrize(
    ("process", "since", "mean", "state"),
    [
        ("S", None, 0.0, "idle"),
        ("S", 9.0, 0.0, "busy"),
        ("R", 11.0, 0.0, "stuck"),
        ("S", 11.0, 2.0, "busy"),
        ("S", 21.0, 2.0, "stuck"),
        ("T", None, 0.0, "stopped"),
        ("t", 50.0, 0.0, "stopped"),
        ("Z", None, 0.0, "gone"),
        ("", 50.0, 0.0, "gone"),
    ],
)
def test_the_rule_of_states(process, since, mean, state):
    assert worker_state(process, since, mean) == state


def shown(app, widget: str) -> str:
    return str(app.screen_stack[0].query_one(widget).render())


def order(app) -> list[str]:
    workers = app.screen_stack[0].query_one("#workers", DataTable)
    return [str(workers.get_row_at(row)[0]) for row in range(workers.row_count)]


def drawn(app) -> list[str]:
    """The lines of the screen."""
    strips = app.screen._compositor.render_strips()
    return ["".join(part.text for part in strip) for strip in strips]


async def settles(pilot, condition):
    """Let the app go on until the condition holds."""
    end = time.monotonic() + LOOK
    while not condition():
        assert time.monotonic() < end
        await pilot.pause(0.02)


def test_its_keys(served, tmp_path):
    """Sort, reverse and pause; a dead letter is looked at, tried again, and is gone."""
    ask(served, "wait fail quick")
    table = Table(8, columns={"n": Int(8)}, name=f"test-top-{os.getpid()}")
    table["a"] = {"n": 1}

    async def use():
        with Watched(served.process.pid) as watched:
            app = Top(watched, 0.1)
            async with app.run_test(size=(130, 34)) as pilot:
                await settles(pilot, lambda: "1 buried" in shown(app, "#tasks"))
                assert f"test-top-{os.getpid()}"[:16] in shown(app, "#tables")
                assert "12%  1 of 8" in shown(app, "#tables")
                assert order(app) == ["0", "1", "2"]
                await pilot.press("r")
                assert order(app) == ["2", "1", "0"]
                await pilot.press("s")
                assert app.sort == "state" and order(app)[0] in ("1", "2")
                for _ in range(6):
                    await pilot.press("s")
                assert app.sort == "worker" and order(app) == ["0", "1", "2"]
                await pilot.press("p")
                assert "paused" in shown(app, "#head")
                ask(served, "quick")
                held = app._snapshot
                await pilot.pause(0.3)
                assert app._snapshot is held
                await pilot.press("p")
                await settles(pilot, lambda: app._snapshot is not held)
                await pilot.press("d")
                assert isinstance(app.screen, Letters)
                letter = app.screen.query_one("#letter")
                await settles(pilot, lambda: "ValueError: no such image" in str(letter.render()))
                assert "data    'fail'" in str(letter.render())
                (tmp_path / "mended").touch()
                await pilot.press("t")
                await settles(pilot, lambda: "no task was given up" in str(letter.render()))
                await pilot.press("escape")
                await settles(pilot, lambda: watched.snapshot().stats["task_done"] == 4)
                assert len(app.screen_stack) == 1
                served.kill()
                await settles(pilot, lambda: "the server has ended" in shown(app, "#head"))
                await pilot.press("q")

    try:
        asyncio.run(use())
    finally:
        table.remove()


@pytest.mark.parametrize("size", [(80, 24), (100, 30), (129, 24), (130, 34)])
def test_nothing_is_cut_off(served, size):
    """R-top-80: 80 columns and 24 lines are enough."""
    ask(served, "wait wait " + "quick " * 20)

    async def use():
        with Watched(served.process.pid) as watched:
            app = Top(watched, 0.1)
            async with app.run_test(size=size) as pilot:
                await settles(pilot, lambda: "20 wait" in shown(app, "#queue"))
                await settles(pilot, lambda: "q quit" in "".join(drawn(app)))  # it comes last
                lines = drawn(app)
                workers = app.query_one("#workers", DataTable)
                assert workers.max_scroll_x == 0 and len(workers.columns) >= 7
                if size[1] <= 24:
                    assert workers.max_scroll_y == 0
                await pilot.resize_terminal(130, 34)
                await settles(pilot, lambda: len(workers.columns) == 10)
            return lines

    lines = asyncio.run(use())
    assert not [line for line in lines if "…" in line], lines
    text = "\n".join(lines)
    for word in ("● serving", "task 1, attempt 1", "20 wait", "2 run", "retries 0", "q quit"):
        assert word in text, text


def test_a_timer_that_fires_while_it_ends_draws_nothing(served):
    """Textual closes the screens first, then stops the timers: a look and a resize may come then."""

    async def use():
        with Watched(served.process.pid) as watched:
            app = Top(watched, 0.1)
            late = []
            close_all = app._close_all

            async def close_all_then_fire() -> None:
                await close_all()
                late.append(len(app.screen_stack))
                app.look()
                app._draw()

            app._close_all = close_all_then_fire
            async with app.run_test(size=(100, 30)) as pilot:
                await settles(pilot, lambda: "serving" in shown(app, "#head"))
            assert late[0] == 0, "the screens were closed before it fired"

    asyncio.run(use())


def test_a_process_that_leaves_has_a_line_of_its_own(served, tmp_path):
    """F30: the worker, "leaving", the pid, for how long; until it has left."""
    ask(served, "wait")

    def busy() -> list[dict]:
        return [one for one in once(tmp_path / "pid")["workers"] if one["doing"]]

    (old,) = until(busy, bool)

    def lines(app) -> list[list[str]]:
        shown = app.screen_stack[0].query_one("#workers", DataTable)
        rows = ([str(cell) for cell in shown.get_row_at(row)] for row in range(shown.row_count))
        return [row[:4] for row in rows if "leaving" in row]

    async def use():
        with Watched(served.process.pid) as watched:
            app = Top(watched, 0.1)
            async with app.run_test(size=(130, 34)) as pilot:
                assert not lines(app)
                served.process.send_signal(signal.SIGUSR2)
                line = [str(old["worker_id"]), "", "leaving", str(old["pid"])]
                await settles(pilot, lambda: line in lines(app))
                (tmp_path / "mended").touch()
                await settles(pilot, lambda: not lines(app))

    asyncio.run(use())


@pytest.mark.needs_tmux
def test_it_runs_in_a_terminal(served, tmp_path):
    ask(served, "wait fail")
    tmux = ["tmux", "-L", f"ipckit-{os.getpid()}", "-f", "/dev/null"]

    def screen() -> str:
        words = [*tmux, "capture-pane", "-p", "-t", "top"]
        return subprocess.run(
            words, capture_output=True, text=True, timeout=LOOK, check=False
        ).stdout

    command = f"{sys.executable} -m ipckit top --interval 0.2 {tmp_path / 'pid'}"
    start = [*tmux, "new-session", "-d", "-s", "top", "-x", "130", "-y", "34", command]
    environment = {**os.environ, "TERM": "xterm-256color", "LC_ALL": "C.UTF-8"}
    for size in ("COLUMNS", "LINES"):  # readline puts them there; they are not this terminal's
        environment.pop(size, None)
    subprocess.run(start, timeout=LOOK, check=True, env=environment)
    try:
        all_there = ("task 1, attempt 1", "1 buried", "q quit")
        text = until(screen, lambda text: all(word in text for word in all_there))
        assert f"server {served.process.pid} on 127.0.0.1:{served.address[1]}" in text
        assert "● serving" in text
        with Watched(served.process.pid) as watched:
            (stuck,) = [one for one in watched.snapshot().workers if one.doing]
        with stopped(stuck.pid):
            row = rf" task worker +stopped +{stuck.pid} .* task 1, attempt 1 "
            until(screen, lambda text: re.search(row, text))
        with stopped(served.process.pid):
            until(screen, lambda text: "● manager stopped" in text)
        send = [*tmux, "send-keys", "-t", "top"]
        subprocess.run([*send, "d"], timeout=LOOK, check=True)
        until(screen, lambda text: "1 dead letters" in text and "no such image" in text)
        subprocess.run([*send, "q"], timeout=LOOK, check=True)
        until(screen, lambda text: not text)
    finally:
        subprocess.run([*tmux, "kill-server"], timeout=LOOK, check=False, capture_output=True)


def test_what_it_cannot_do_is_told(served, tmp_path):
    path = tmp_path / "pid"
    assert "the output is no terminal: --once prints one snapshot" in ipckit("top", path, code=1)
    assert "--json prints one snapshot" in ipckit("top", path, "--json", code=1)
    assert "must be 0.1..3600 seconds" in ipckit("top", path, "--interval", "0", code=2)

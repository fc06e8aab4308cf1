"""`ipckit status`, `connections`, `reload`, `stop`: ask the manager of a running server.

Blocks    10 s for an answer; `reload --wait` until the reload is over, or its --timeout.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import time
from typing import Any

from ipckit.cli.answers import CommandFailed, WrongUse, add_command, completed_by

__all__ = ["add_to"]

_DEADLINE = 10.0
_POLL_SECONDS = 0.1
_TEXT = """\
Asks the manager of a running server. PATH is its control socket (`control_path`). Without it: the
only live one in the runtime directory of this user; if there are more, they are named. `reload` and
`stop` take it only if that server was started in this directory; else they name it.
"""

_ENDED = "{}: the server ended before the reload was over"


def add_to(subparsers: Any, common: argparse.ArgumentParser) -> None:
    """Add the four commands to the command line."""
    for name, run, text, example in (
        (
            "status",
            _status,
            "the numbers of a running server; 1: one flaps",
            "ipckit status --json",
        ),
        (
            "connections",
            _connections,
            "its clients, a page of them",
            "ipckit connections --start 1000 --count 50",
        ),
        (
            "reload",
            _reload,
            "replace its processes one by one; under `ipckit run` with new code",
            "ipckit reload --wait --timeout 60",
        ),
        ("stop", _stop, "end it in order", "ipckit stop /run/ipckit/control-4711.sock"),
    ):
        parser = add_command(
            subparsers, common, name, help=text, description=_TEXT, example=example
        )
        path = parser.add_argument("path", metavar="PATH", nargs="?", help="its control socket")
        completed_by(path, lambda _: _control_sockets())
        parser.set_defaults(run=run)
        if name == "reload":
            parser.add_argument("--only-task", action="store_true", help="only the task workers")
            parser.add_argument(
                "--wait",
                action="store_true",
                help="until every old process has left; 1: it failed, the old ones serve",
            )
            parser.add_argument(
                "--timeout",
                type=_seconds,
                metavar="S",
                help="with --wait: exit code 1 after this many seconds; the reload goes on",
            )
        if name == "connections":
            parser.add_argument("--start", type=int, default=0, help="those above this session")
            parser.add_argument("--count", type=int, default=100, help="so many at most (100)")


def _seconds(text: str) -> float:
    value = float(text)
    if not 0 < value <= 1e6:
        raise argparse.ArgumentTypeError(f"{text}: must be above 0, at most 1000000 seconds")
    return value


def _control_sockets() -> list[str]:
    from ipckit.server.monitoring.control_socket import control_sockets  # noqa: PLC0415 - others start without it
    from ipckit.server.rundir.runtime_dir import runtime_directories  # noqa: PLC0415

    return [
        path
        for directory in runtime_directories()
        if os.path.isdir(directory)
        for path in control_sockets(directory)
    ]


def _server_of(options: argparse.Namespace, *, here: bool) -> str:
    """Return the path of the control socket that is meant."""
    from ipckit.server.monitoring.find_server import only_server  # noqa: PLC0415
    from ipckit.server.rundir.runtime_dir import runtime_directory  # noqa: PLC0415 - others start without it

    return options.path or only_server(runtime_directory(None), here=here)


def _ask(options: argparse.Namespace, **request: Any) -> dict[str, Any]:
    return _ask_at(_server_of(options, here=request["command"] in ("reload", "stop")), **request)


def _ask_at(path: str, **request: Any) -> dict[str, Any]:
    try:
        answer = _exchange(path, request, _DEADLINE)
    except OSError as exc:
        raise CommandFailed(
            f"{path}: {exc.strerror or exc}: no server answers there; give its "
            f"control socket, or leave the path out"
        ) from None
    if not answer.endswith(b"\n"):
        raise CommandFailed(f"{path}: the server closed the connection; ask again")
    return _read(path, answer)


def _exchange(path: str, request: dict[str, Any], seconds: float) -> bytes:
    """Return the answer to one request; without a newline: the connection was closed. OSError."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(seconds)
        sock.connect(path)
        sock.sendall(json.dumps(request).encode() + b"\n")
        return sock.makefile("rb").readline()


def _read(path: str, answer: bytes) -> dict[str, Any]:
    try:
        form = dict(json.loads(answer))
    except (ValueError, TypeError):
        raise CommandFailed(
            f"{path}: what answers there is no ipckit server; give a control socket"
        ) from None
    if "error" in form:
        raise CommandFailed(form["error"])
    return form


def _status(options: argparse.Namespace) -> int:
    form = _ask(options, command="status")
    stats = form["stats"]
    code = 1 if any(each["flapping"] for each in stats["workers"]) else 0
    if options.json:
        print(json.dumps(form))
        return code
    up = time.time() - stats["start_time"]
    print(f"server {form['pid']} on {', '.join(form['ports'])}, up {up:.0f} s")
    for name in (
        "connection_num",
        "request_count",
        "task_queued",
        "task_running",
        "task_done",
        "task_buried",
        "task_refused",
        "task_oldest_seconds",
        "task_workers_needed",
        "worker_restarts",
        "callback_errors",
    ):
        value = stats[name]
        print(f"  {name:20} {value:.1f}" if isinstance(value, float) else f"  {name:20} {value}")
    print("  worker      pid  requests     tasks  restarts     MiB")
    for each in stats["workers"]:
        print(
            f"  {each['worker_id']:6} {each['pid']:8} {each['requests']:9} {each['tasks']:9} "
            f"{each['restarts']:9} {each['rss'] / 2**20:7.1f}"
            f"{'  flapping' if each['flapping'] else ''}"
            f"{'  last death: ' + each['last_death'] if each['last_death'] else ''}"
        )
    for line in _coming_and_going(stats):
        print(f"  {line}")
    return code


def _coming_and_going(stats: dict[str, Any]) -> list[str]:
    """Return a line for each process that is not ready yet, or was replaced and has not ended."""
    now = time.time()
    return [
        f"worker {each['worker_id']}: process {one['pid']} {does}, "
        f"for {max(0.0, now - one['since']):.0f} s"
        for each in stats["workers"]
        for does, which in (("starts", "starting"), ("leaves", "leaving"))
        for one in each.get(which, ())
    ]


def _connections(options: argparse.Namespace) -> int:
    form = _ask(options, command="connections", start=options.start, count=options.count)
    if options.json:
        print(json.dumps(form))
        return 0
    now = time.time()
    print("  session  worker  idle s  from")
    for each in form["connections"]:
        where = f"{each['remote_ip']}:{each['remote_port']}" if each["remote_ip"] else "unix"
        idle = now - each["last_time"]
        print(f"{each['fd']:9} {each['worker_id']:7} {idle:7.1f}  {where}")
    return 0


def _reload(options: argparse.Namespace) -> int:
    if options.timeout is not None and not options.wait:
        raise WrongUse("--timeout is how long --wait waits: give both")
    path = _server_of(options, here=True)
    form = _ask_at(path, command="reload", only_task=options.only_task)
    text = "reloading" if form["started"] else "a reload runs; one more comes after it"
    if options.wait:
        form |= _outcome(path, form, options.timeout)
    if form.get("done"):
        if not form["ok"]:
            raise CommandFailed(_why_not(form))
        text = "reloaded: every process is new, and every old one has left"
    print(json.dumps(form) if options.json else text)
    return 0


def _why_not(form: dict[str, Any]) -> str:
    """Return what went wrong in a reload."""
    if form["reason"]:
        return f"the reload failed: {form['reason'].rstrip()}"
    late = ", ".join(map(str, form["killed"]))
    return (
        f"every process is new, but an old one did not leave in time (reload_timeout, "
        f"max_wait_time) and was killed; the log has its stack dump: worker {late}"
    )


def _outcome(path: str, form: dict[str, Any], seconds: float | None) -> dict[str, Any]:
    """Ask again and again until the reload that `form` names is over; return its outcome."""
    if "reload" not in form:
        raise CommandFailed(f"{path}: reloading, but this server is too old for --wait")
    server = form["server"]
    request = {"command": "reload_outcome", "reload": form["reload"], "server": server}
    end = None if seconds is None else time.monotonic() + seconds
    while not form["done"]:
        left = _DEADLINE if end is None else end - time.monotonic()
        if left <= 0:
            raise CommandFailed(_not_yet(path, seconds))
        time.sleep(min(_POLL_SECONDS, left))
        try:
            answer = _exchange(path, request, max(_POLL_SECONDS, min(_DEADLINE, left)))
        except (TimeoutError, BlockingIOError):
            continue  # it is stopped, or in a callback; there is no room for one more client
        except (FileNotFoundError, ConnectionError):
            raise CommandFailed(_ENDED.format(path)) from None
        if not answer.endswith(b"\n"):
            continue  # other clients took its place; if it has ended, connect says so
        form = _read(path, answer)
        if server != form.get("server"):
            raise CommandFailed(_ENDED.format(path))
    return form


def _not_yet(path: str, seconds: float | None) -> str:
    text = f"the reload is not over after {seconds:g} s, and goes on"
    try:
        held_up_by = _coming_and_going(_ask_at(path, command="status")["stats"])
    except CommandFailed:  # it does not answer
        held_up_by = []
    return "; ".join([text, *held_up_by])


def _stop(options: argparse.Namespace) -> int:
    form = _ask(options, command="stop")
    print(json.dumps(form) if options.json else f"server {form['pid']} ends")
    return 0

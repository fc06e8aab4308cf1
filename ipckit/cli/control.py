"""`ipckit status`, `connections`, `reload`, `stop`: ask the manager of a running server."""

from __future__ import annotations

import argparse
import json
import os
import socket
import time
from typing import Any

from ipckit.cli.answers import CommandFailed, add_command, completed_by

__all__ = ["add_to"]

_DEADLINE = 10.0
_TEXT = """\
Asks the manager of a running server. PATH is its control socket (`control_path`). Without it: the
only live one in the runtime directory of this user; if there are more, they are named. `reload` and
`stop` take it only if that server was started in this directory; else they name it.
"""


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
            "ipckit reload --only-task",
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
        if name == "connections":
            parser.add_argument("--start", type=int, default=0, help="those above this session")
            parser.add_argument("--count", type=int, default=100, help="so many at most (100)")


def _control_sockets() -> list[str]:
    from ipckit.server.control import control_sockets  # noqa: PLC0415 - others start without it
    from ipckit.server.spill import runtime_directories  # noqa: PLC0415

    return [
        path
        for directory in runtime_directories()
        if os.path.isdir(directory)
        for path in control_sockets(directory)
    ]


def _ask(options: argparse.Namespace, **request: Any) -> dict[str, Any]:
    from ipckit.server.spill import runtime_directory  # noqa: PLC0415 - others start without it
    from ipckit.server.target import only_server  # noqa: PLC0415

    changes = request["command"] in ("reload", "stop")
    path = options.path or only_server(runtime_directory(None), here=changes)
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(_DEADLINE)
        try:
            sock.connect(path)
            sock.sendall(json.dumps(request).encode() + b"\n")
            answer = sock.makefile("rb").readline()
        except OSError as exc:
            raise CommandFailed(
                f"{path}: {exc.strerror or exc}: no server answers there; give its "
                f"control socket, or leave the path out"
            ) from None
    if not answer.endswith(b"\n"):
        raise CommandFailed(f"{path}: the server closed the connection; ask again")
    try:
        form = dict(json.loads(answer))
    except (ValueError, TypeError):
        raise CommandFailed(
            f"{path}: who answers there is no ipckit server; give a control socket"
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
    return code


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
    form = _ask(options, command="reload", only_task=options.only_task)
    text = "reloading" if form["started"] else "a reload runs; one more comes after it"
    print(json.dumps(form) if options.json else text)
    return 0


def _stop(options: argparse.Namespace) -> int:
    form = _ask(options, command="stop")
    print(json.dumps(form) if options.json else f"server {form['pid']} ends")
    return 0

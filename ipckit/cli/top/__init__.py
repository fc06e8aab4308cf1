"""`ipckit top`: what a running server is at, live, in the terminal or a browser.

It reads the server's memory and asks it nothing, so it also shows a server that is stuck. PATH is
its control socket, its pid file or its runtime directory. Without it: the only server in the
runtime directory of this user.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import shlex
import sys
import time
from contextlib import closing
from typing import Any

from ipckit.cli.answers import CommandFailed, add_command, port_from

__all__ = ["add_to"]


def add_to(subparsers: Any, common: argparse.ArgumentParser) -> None:
    """Add `top` to the command line."""
    parser = add_command(
        subparsers,
        common,
        "top",
        help="what a running server is at, live",
        description=__doc__ or "",
        example="ipckit top --once --json",
    )
    parser.add_argument("path", metavar="PATH", nargs="?", help="of the server, see above")
    parser.add_argument(
        "--interval", type=_seconds, default=1.0, metavar="S", help="seconds between two looks (1)"
    )
    way = parser.add_mutually_exclusive_group()
    way.add_argument("--once", action="store_true", help="print one snapshot and end; for scripts")
    way.add_argument("--web", action="store_true", help="serve it to browsers of this machine")
    parser.add_argument(
        "--port",
        type=port_from(1),
        default=8000,
        metavar="N",
        help="with --web: of 127.0.0.1 (8000)",
    )
    parser.set_defaults(run=_top)


def _seconds(text: str) -> float:
    value = float(text)
    if not 0.1 <= value <= 3600:
        raise argparse.ArgumentTypeError(f"{text}: must be 0.1..3600 seconds")
    return value


def _top(options: argparse.Namespace) -> int:
    from ipckit.server.monitoring.find_server import manager_pid  # noqa: PLC0415 - others start without it
    from ipckit.server.monitoring.live_view import Watched  # noqa: PLC0415

    if options.json and not options.once:
        raise CommandFailed("--json prints one snapshot: say --once as well")
    if options.web:
        return _web(options)
    with Watched(manager_pid(options.path)) as watched:
        if options.once:
            return _once(watched, as_json=options.json)
        _need("textual", "top")
        if not sys.stdout.isatty() and "TEXTUAL_DRIVER" not in os.environ:
            raise CommandFailed("the output is no terminal: --once prints one snapshot")
        from ipckit.cli.top.screen import Top  # noqa: PLC0415 - textual is an extra

        Top(watched, options.interval).run()
    return 0


def _need(module: str, extra: str) -> None:
    if importlib.util.find_spec(module) is None:
        raise CommandFailed(
            f"{module} is not installed: pip install 'ipckit-linux[{extra}]'; "
            f"`ipckit top --once` works without it"
        )


def _web(options: argparse.Namespace) -> int:
    from ipckit.server.monitoring.find_server import manager_pid  # noqa: PLC0415 - others start without it

    manager_pid(options.path)  # before a browser finds out
    _need("textual", "web")
    _need("textual_serve", "web")
    from ipckit.cli.top.web import WebView  # noqa: PLC0415 - an extra

    words = [sys.executable, "-m", "ipckit", "top", "--interval", str(options.interval)]
    if options.path is not None:
        words.append(options.path)
    WebView(shlex.join(words), options.port).serve()
    return 0


def _once(watched: Any, *, as_json: bool) -> int:
    from ipckit.server.monitoring.named_segments import (  # noqa: PLC0415 - others start without it
        named_queues,
        named_tables,
    )

    snapshot = watched.snapshot()
    with closing(named_tables()) as tables, closing(named_queues()) as queues:
        found, waiting = tables.look(), queues.look()
    if as_json:
        told = {
            "tables": [each._asdict() for each in found],
            "queues": [each._asdict() for each in waiting],
        }
        print(json.dumps({**snapshot.to_json(), **told}))
        return 0
    for line in _lines(snapshot, found, waiting):
        print(line)
    return 0


def _lines(snapshot: Any, tables: list[Any], queues: list[Any]) -> list[str]:
    """Return a snapshot as text."""
    from ipckit.cli.top.series import (  # noqa: PLC0415
        able_task_workers,
        duration,
        is_short,
        size,
    )
    from ipckit.server.shared.histogram import percentiles  # noqa: PLC0415

    stats = snapshot.stats
    needed, there = stats["task_workers_needed"], stats["task_worker_num"]
    short = is_short(needed, able_task_workers(snapshot), stats["task_queued"])
    up = duration(snapshot.at - stats["start_time"])
    state = snapshot.phase if snapshot.manager != "running" else snapshot.state
    state += f", manager {snapshot.manager}"
    ago = stats["task_refused_seconds"]
    last = "" if ago is None else f", the last one {duration(ago)} ago"
    ended = f"{stats['task_done']} done, {stats['task_buried']} buried"
    lines = [
        f"server {snapshot.pid} on {', '.join(snapshot.ports)}, up {up}, {state}",
        f"  requests      {stats['request_count']}, connections {stats['connection_num']}, "
        + _times(percentiles(snapshot.request_times)),
        f"  tasks         {stats['task_queued']} wait, {stats['task_running']} run, the oldest for "
        f"{duration(stats['task_oldest_seconds'])}, " + _times(percentiles(snapshot.task_times)),
        f"  ended         {ended}, {stats['task_retries']} retries",
        f"  refused       {stats['task_refused']} tasks{last}",
        f"  errors        {stats['callback_errors']} in callbacks",
        f"  task workers  {needed:.1f} needed now, {there} there{': too few' if short else ''}",
        "  worker  role         state        pid  for      requests     tasks  restarts       rss",
    ]
    for each in snapshot.workers:
        lines.append(
            f"  {each.worker_id:6}  {each.role:11}  {each.state:7} {each.pid:8}  "
            f"{duration(each.since):7} {each.requests:9} {each.tasks:9} {each.restarts:9} "
            f"{size(each.rss):>9}{'  flapping' if each.flapping else ''}"
            f"{'  ' + each.doing if each.doing else ''}"
        )
        lines += [
            f"  worker {each.worker_id}: process {leaving['pid']} leaves, "
            f"for {duration(max(0.0, snapshot.at - leaving['since']))}"
            for leaving in each.leaving
        ]
        if each.last_death:
            lines.append(f"  {'':6}  last death {_clock(each.died_at)}: {each.last_death}")
    for table in tables:
        fill = table.error or f"{table.rows} of {table.size} rows, {size(table.memory)}"
        if table.locked and not table.error:
            fill += f", {table.locked} locked, {table.waiting} wait for that"
        lines.append(f"  table {table.name}: {fill}")
    for queue in queues:
        fill = queue.error or (
            f"{queue.messages} of {queue.size} messages, {queue.leased} leased, {queue.delayed} "
            f"delayed, {queue.dead} dead, {queue.redelivered} redelivered, the oldest for "
            f"{duration(queue.oldest or 0.0)}, {size(queue.memory)}"
        )
        if queue.holders:
            fill += f", leased by {', '.join(map(str, queue.holders))}"
        lines.append(f"  queue {queue.name}: {fill}")
    return lines


def _times(found: Any) -> str:
    from ipckit.cli.top.series import duration  # noqa: PLC0415

    return f"p50 {duration(found.p50)}, p90 {duration(found.p90)}, p99 {duration(found.p99)}"


def _clock(moment: float | None) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(moment)) if moment else "earlier"

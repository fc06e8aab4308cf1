"""`ipckit demo`: the main job, end to end, on real input.

A client uploads a CSV file with the recipients; a server splits it over its task workers; each
task renders one mail and puts it into the output directory by an atomic rename. One in five
attempts fails on purpose, and the server delivers the task again. At the end every file is read.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import select
import signal
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from ipckit.cli.answers import CommandFailed, add_command
from ipckit.cli.demo.mail import file_name, message_id, message_ids, recipients_csv
from ipckit.client import Client

__all__ = ["add_to", "run"]

_MAIL = re.compile(r"(\d{6})\.eml")
_PART = re.compile(r"\.\d+\.\d+\.part")  # what a task worker was writing when it was killed
_ROADS = {1: "unix sockets", 2: "a System V queue", 3: "a System V queue, any takes any"}
_BOOT_SECONDS = 30
_SILENT_SECONDS = 60  # the server tells something ten times a second
_END_SECONDS = 10


def add_to(subparsers: Any, common: argparse.ArgumentParser) -> None:
    """Add `demo` to the command line."""
    parser = add_command(
        subparsers,
        common,
        "demo",
        help="10,000 personalised mails by task workers, failures delivered again",
        description=__doc__ or "",
        example="ipckit demo --mode 3 --task-workers 8 --kill",
    )
    parser.add_argument(
        "--mode",
        type=int,
        choices=tuple(_ROADS),
        default=2,
        help="task_ipc_mode: 1 sockets, 2 System V queue (default), 3 the same, any takes any",
    )
    parser.add_argument(
        "--recipients", type=_up_to(999_999), default=10_000, metavar="N", help="default: 10000"
    )
    parser.add_argument(
        "--task-workers", type=_up_to(256), default=3, metavar="N", help="default: 3"
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("build/demo"),
        metavar="DIR",
        help="default: build/demo; mails of an earlier demo in it are replaced",
    )
    parser.add_argument("--kill", action="store_true", help="kill -9 a task worker half way")
    parser.set_defaults(run=run)


def _up_to(most: int) -> Callable[[str], int]:
    def number(text: str) -> int:
        if not text.isdecimal() or not 1 <= int(text) <= most:
            raise argparse.ArgumentTypeError(f"{text!r} is not a number of 1..{most}")
        return int(text)

    return number


def run(options: argparse.Namespace) -> int:
    """Run it; 0 when there is exactly one mail for every recipient."""
    out: Path = options.out
    _clean(out)
    bar = _Bar(options.recipients, silent=options.json)
    bar.say(
        f"{options.recipients:,} mails by {options.task_workers} task workers over "
        f"{_ROADS[options.mode]}; one attempt in five fails on purpose"
    )
    with _server(options) as port:
        last = _upload(port, options.recipients, bar)
    for part in out.glob(".*.part"):
        part.unlink()
    wrong = _wrong_files(out, options.recipients)
    for line in wrong[:10]:
        print(f"ipckit demo: {line}", file=sys.stderr)
    if not wrong:
        bar.say(f"read them all: one mail for each recipient, e.g. {out / file_name(1)}")
    _print_result(last, options)
    return 1 if wrong else 0


def _clean(out: Path) -> None:
    """Remove what an earlier demo made; touch nothing if there is anything else."""
    out.mkdir(parents=True, exist_ok=True)
    paths = sorted(out.iterdir())
    for path in paths:
        if not _is_ours(path):
            raise CommandFailed(
                f"{out} has something that the demo did not make: {path.name}. "
                f"Nothing was removed; choose another directory with --out"
            )
    for path in paths:
        path.unlink()


def _is_ours(path: Path) -> bool:
    if path.is_symlink() or not path.is_file():
        return False
    mail = _MAIL.fullmatch(path.name)
    if mail is None:
        return _PART.fullmatch(path.name) is not None
    return message_ids(path.read_bytes()) == [message_id(int(mail[1]))]


@contextlib.contextmanager
def _server(options: argparse.Namespace) -> Iterator[int]:
    """Run the server beside us; give its port; end it, whatever happens.

    Our end of its stdin closes even when we are killed, and then it ends by itself.
    """
    how = {
        "mode": options.mode,
        "task_workers": options.task_workers,
        "directory": str(options.out),
        "kill": options.kill,
    }
    # -P: files of the user's directory must not stand in for modules
    command = [sys.executable, "-P", "-m", "ipckit.cli.demo.server", json.dumps(how)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        try:
            stdout = process.stdout
            ready = stdout is not None and select.select([stdout], [], [], _BOOT_SECONDS)[0]
            line = stdout.readline() if stdout is not None and ready else b""
            if not line.strip().isdigit():
                raise CommandFailed("the server did not come up; what it says is above")
            yield int(line)
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(_END_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()


def _upload(port: int, recipients: int, bar: _Bar) -> dict[str, Any]:
    """Upload the file, show how it goes; return the last answer."""
    table = recipients_csv(recipients)
    with Client(open_length_check=True, timeout=_SILENT_SECONDS) as client:
        client.connect("127.0.0.1", port, timeout=5)
        client.send(struct.pack(">I", len(table)) + table)
        try:
            while packet := client.recv():
                answer: dict[str, Any] = json.loads(packet[4:])
                bar.show(answer["delivered"] + answer["given_up"])
                if answer["what"] == "done":
                    return answer
        finally:
            bar.end()
    raise CommandFailed("the server closed the connection; what it says is above")


class _Bar:
    """A progress bar on stderr; on anything but a terminal, a line for every tenth."""

    def __init__(self, total: int, *, silent: bool) -> None:
        self._total = total
        self._silent = silent
        self._tty = sys.stderr.isatty()
        self._told = 0
        self._shown = False

    def say(self, line: str) -> None:
        """Print a line, unless silent."""
        if not self._silent:
            print(line, file=sys.stderr, flush=True)

    def show(self, done: int) -> None:
        """Show that `done` are over."""
        if self._silent:
            return
        tenths = done * 10 // self._total
        if self._tty:
            filled = "#" * (40 * done // self._total)
            print(f"\r[{filled:<40}] {done}/{self._total}", end="", file=sys.stderr, flush=True)
            self._shown = True
        elif tenths > self._told:
            self._told = tenths
            print(f"{done}/{self._total} mails", file=sys.stderr, flush=True)

    def end(self) -> None:
        """Go to the next line."""
        if self._shown:
            print(file=sys.stderr)


def _wrong_files(out: Path, recipients: int) -> list[str]:
    """Return what is not as promised: one file for each recipient, with his mail in it, no more."""
    expected = {file_name(number): message_id(number) for number in range(1, recipients + 1)}
    wrong = []
    for name in sorted(os.listdir(out)):
        promised = expected.pop(name, None)
        if promised is None:
            wrong.append(f"{name} is nobody's mail")
        elif (found := message_ids((out / name).read_bytes())) != [promised]:
            wrong.append(f"{name} has Message-ID {found}, not {promised}")
    return wrong + [f"{name} is missing" for name in expected]


def _print_result(last: dict[str, Any], options: argparse.Namespace) -> None:
    seconds = last["seconds"]
    table = {
        "recipients": options.recipients,
        "delivered": last["delivered"],
        "attempts": last["attempts"],
        "retries": last["retries"],
        "given_up": last["given_up"],
        "task_workers_killed": last["killed"],
        "seconds": round(seconds, 3),
        "tasks_per_second_per_task_worker": round(
            last["attempts"] / seconds / options.task_workers, 1
        ),
    }
    if not options.json:
        for name, value in table.items():
            print(f"{name.replace('_', ' '):<34}{value:>12,}")
    print(json.dumps(table))

"""`ipckit demo`: the main job, end to end, on real input.

A client uploads a CSV file with the recipients; a server splits it over its task workers; each
task renders one mail and puts it into the output directory by an atomic rename. One in five
attempts fails on purpose, and the server delivers the task again.
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
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ipckit.cli.demo_mail import file_name, message_id, recipients_csv
from ipckit.client import Client

__all__ = ["add_to", "run"]

_OURS = re.compile(r"\d{6,}\.eml|\.\d+\.\d+\.part")
_BOOT_SECONDS = 20
_END_SECONDS = 10


def add_to(subparsers: Any) -> None:
    """Add `demo` to the command line."""
    parser = subparsers.add_parser(
        "demo",
        help="10,000 personalised mails by task workers, failures delivered again",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--mode", type=int, choices=(1, 2, 3), default=2, help="task_ipc_mode (2: System V queue)"
    )
    parser.add_argument("--recipients", type=_count, default=10_000, metavar="N")
    parser.add_argument("--task-workers", type=_count, default=3, metavar="N")
    parser.add_argument("--out", type=Path, default=Path("build/demo"), metavar="DIR")
    parser.add_argument("--kill", action="store_true", help="kill -9 one task worker half way")
    parser.add_argument("--json", action="store_true", help="print the JSON line alone")
    parser.set_defaults(run=run)


def _count(text: str) -> int:
    number = int(text)
    if not 1 <= number <= 999_999:
        raise argparse.ArgumentTypeError(f"{text} is not in 1..999999")
    return number


def run(options: argparse.Namespace) -> int:
    """Run it; 0 when there is exactly one mail for every recipient."""
    out: Path = options.out
    strangers = _clean(out)
    if strangers:
        print(
            f"ipckit demo: {out} has files that the demo did not make ({strangers[0]}); "
            f"choose another directory with --out",
            file=sys.stderr,
        )
        return 1
    with _server(options.mode, options.task_workers, out) as port:
        last = _upload(port, options)
    for part in out.glob(".*.part"):
        part.unlink()  # of a task worker that was killed
    wrong = _wrong_files(out, options.recipients)
    for line in wrong[:10]:
        print(f"ipckit demo: {line}", file=sys.stderr)
    _print_result(last, options)
    return 1 if wrong else 0


def _clean(out: Path) -> list[str]:
    """Remove what an earlier demo made; return the names of what it did not make."""
    out.mkdir(parents=True, exist_ok=True)
    names = sorted(os.listdir(out))
    strangers = [name for name in names if not _OURS.fullmatch(name)]
    if not strangers:
        for name in names:
            (out / name).unlink()
    return strangers


@contextlib.contextmanager
def _server(mode: int, task_workers: int, out: Path) -> Iterator[int]:
    """Run the server beside us; give its port; end it, whatever happens."""
    command = [
        sys.executable,
        "-m",
        "ipckit.cli.demo_server",
        str(mode),
        str(task_workers),
        str(out),
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        try:
            stdout = process.stdout
            ready = stdout is not None and select.select([stdout], [], [], _BOOT_SECONDS)[0]
            line = stdout.readline() if stdout is not None and ready else b""
            if not line.strip().isdigit():
                raise SystemExit("ipckit demo: the server did not come up; its log is above")
            yield int(line)
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(_END_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()


def _upload(port: int, options: argparse.Namespace) -> dict[str, Any]:
    """Upload the file, show how it goes; return the last answer."""
    client = Client(open_length_check=True)
    client.connect("127.0.0.1", port, timeout=5)
    bar = _Bar(options.json)
    kill = options.kill
    try:
        table = recipients_csv(options.recipients)
        client.send(struct.pack(">I", len(table)) + table)
        while True:
            packet = client.recv()
            if not packet:
                raise SystemExit("ipckit demo: the server closed the connection")
            answer: dict[str, Any] = json.loads(packet[4:])
            bar.show(answer["delivered"] + answer["given_up"], options.recipients)
            if answer["what"] == "done":
                return answer
            if kill and answer["delivered"] > options.recipients // 3:
                kill = False
                os.kill(answer["task_worker_pids"][0], signal.SIGKILL)
    finally:
        bar.end()
        client.close()


class _Bar:
    """A progress bar on stderr; on anything but a terminal, a line for every tenth."""

    def __init__(self, silent: bool) -> None:
        self._silent = silent
        self._tty = sys.stderr.isatty()
        self._told = 0

    def show(self, done: int, total: int) -> None:
        """Show that `done` of `total` are over."""
        if self._silent:
            return
        if self._tty:
            filled = "#" * (40 * done // total)
            print(f"\r[{filled:<40}] {done}/{total}", end="", file=sys.stderr, flush=True)
        elif done * 10 // total > self._told:
            self._told = done * 10 // total
            print(f"{done}/{total} mails", file=sys.stderr, flush=True)

    def end(self) -> None:
        """Go to the next line."""
        if self._tty and not self._silent:
            print(file=sys.stderr)


def _wrong_files(out: Path, recipients: int) -> list[str]:
    """Return what is not as promised: one file for each recipient, with his mail in it."""
    wrong = []
    found = set(os.listdir(out))
    for number in range(1, recipients + 1):
        name = file_name(number)
        if name not in found:
            wrong.append(f"{name} is missing")
            continue
        found.remove(name)
        head = (out / name).read_bytes()
        if head.count(f"Message-ID: {message_id(number)}\r\n".encode()) != 1:
            wrong.append(f"{name} is not the mail of recipient {number}")
    return wrong + [f"{name} is nobody's mail" for name in sorted(found)]


def _print_result(last: dict[str, Any], options: argparse.Namespace) -> None:
    seconds = last["seconds"]
    table = {
        "recipients": options.recipients,
        "delivered": last["delivered"],
        "attempts": last["attempts"],
        "retries": last["retries"],
        "given_up": last["given_up"],
        "seconds": round(seconds, 3),
        "tasks_per_second_per_task_worker": round(
            last["attempts"] / seconds / options.task_workers, 1
        ),
    }
    if not options.json:
        for name, value in table.items():
            print(f"{name.replace('_', ' '):<34}{value:>12,}")
    print(json.dumps(table))

"""The dead letters of a server, in `ipckit top`: a list, one of them in full, another try.

Stands on textual, ipckit.server.tasks.dead_letters.
Blocks    on the disk; while the server writes a letter, for 5 s at most.
"""

from __future__ import annotations

import contextlib
import os
import socket
import sqlite3
import time
from typing import ClassVar

from rich.console import JustifyMethod  # noqa: TC002  (as TC003)
from rich.text import Text
from textual.app import ComposeResult  # noqa: TC002  (as TC003)
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.screen import Screen
from textual.widgets import DataTable, Footer, Static

from ipckit._text import escape_surrogates
from ipckit.errors import IPCError, NotFound
from ipckit.server.tasks.dead_letters import DeadLetter, DeadLetters

__all__ = ["Letters"]

_SHOWN = 500
_DIM, _WARN = "#7d8799", "#ffd166"


class Letters(Screen[None]):
    """The list of the tasks that were given up, the newest first, and the one under the cursor."""

    CSS = """
    Letters { background: #14181f; color: #d7dde8; }
    #list { height: 1fr; margin: 1 1 0 1; border: round #3a4658; background: #14181f; }
    #list > .datatable--header { background: #1c232d; color: #9fb0c8; }
    #list > .datatable--cursor { background: #2b3a50; }
    #list, #one { border-title-color: #9fb0c8; }
    #list:focus { background-tint: transparent 0%; }
    #one { height: 1fr; margin: 0 1; border: round #3a4658; padding: 0 1; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,d", "back", "back"),
        Binding("t", "retry", "try it again"),
        Binding("l", "load", "read again"),
    ]

    def __init__(self, path: str, control_path: str) -> None:
        super().__init__()
        self._path = path
        self._control_path = control_path
        self._letters = DeadLetters(path, self._wake)
        self._shown: dict[str, DeadLetter] = {}

    def compose(self) -> ComposeResult:
        """Lay it out."""
        yield DataTable(id="list", cursor_type="row")
        with VerticalScroll(id="one"):
            yield Static(id="letter")
        yield Footer(show_command_palette=False)

    def on_mount(self) -> None:
        """Read the list."""
        table = self.query_one("#list", DataTable)
        for name in ("letter", "task", "given up", "attempts", "error"):
            side: JustifyMethod = "left" if name in ("given up", "error") else "right"
            table.add_column(Text(name, justify=side), key=name)
        self.query_one("#one").border_title = "the one under the cursor"
        self.action_load()
        table.focus()

    def action_back(self) -> None:
        """Leave."""
        self.dismiss()

    def action_load(self) -> None:
        """Read the list again."""
        try:
            found = list(self._letters) if os.path.exists(self._path) else []
        except (IPCError, sqlite3.Error) as why:
            self.notify(str(why), severity="error")
            found = []
        self._shown = {str(letter.id): letter for letter in found[::-1][:_SHOWN]}
        table = self.query_one("#list", DataTable)
        row = table.cursor_row
        table.clear()
        for key, letter in self._shown.items():
            table.add_row(
                Text(key, justify="right"),
                Text(str(letter.task_id), justify="right"),
                Text(_clock(letter.buried_at), _DIM),
                Text(str(len(letter.attempts)), justify="right"),
                Text(escape_surrogates(letter.error.partition("\n")[0]), _WARN),
                key=key,
            )
        left = len(found) - len(self._shown)
        more = f", {left} older ones: ipckit dead ls {self._path}" if left else ""
        table.border_title = f"{len(found)} dead letters{more}"
        table.move_cursor(row=row, animate=False)
        if not self._shown:
            self.query_one("#letter", Static).update(Text("no task was given up", _DIM))

    def on_data_table_row_highlighted(self, event: DataTable.RowHighlighted) -> None:
        """Show the letter under the cursor."""
        letter = self._shown.get(str(event.row_key.value))
        if letter is not None:
            self.query_one("#letter", Static).update(_in_full(letter))

    def action_retry(self) -> None:
        """Have the letter under the cursor tried again, with all its attempts."""
        keys = list(self._shown)
        row = self.query_one("#list", DataTable).cursor_row
        if not 0 <= row < len(keys):
            return
        letter = self._shown[keys[row]]
        try:
            self._letters.retry(letter.id)
        except NotFound:
            self.notify(f"letter {letter.id} is gone already", severity="warning")
        except (IPCError, sqlite3.Error) as why:
            self.notify(str(why), severity="error")
        else:
            self.notify(f"task {letter.task_id} is to be tried again, as a new task")
        self.action_load()

    def _wake(self) -> None:
        """Have the manager look now: whoever connects to its control socket wakes it."""
        if not self._control_path:
            return
        with socket.socket(socket.AF_UNIX) as sock, contextlib.suppress(OSError):
            sock.setblocking(False)
            sock.connect(self._control_path)


def _in_full(letter: DeadLetter) -> Text:
    try:
        data = repr(letter.data)
    except Exception as why:  # its types may not be importable here: the bytes are
        data = f"cannot be read here ({type(why).__name__}: {why}): {letter.body!r}"
    source = f"worker {letter.src_worker_id}" if letter.src_worker_id >= 0 else "another program"
    text = Text.assemble(
        ("data    ", _DIM), data, "\n",
        ("asked   ", _DIM), f"{_clock(letter.created_at)} by {source}", "\n",
        ("ended   ", _DIM), _clock(letter.buried_at), "\n",
    )  # fmt: skip
    for number, attempt in enumerate(letter.attempts, 1):
        text.append(f"\nattempt {number}, {_clock(attempt.at)}: ", _DIM)
        text.append(escape_surrogates(attempt.error), _WARN)
        if attempt.traceback:
            text.append(f"\n{escape_surrogates(attempt.traceback.rstrip())}\n")
    return text


def _clock(moment: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(moment))

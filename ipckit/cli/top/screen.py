"""The live view of `ipckit top`.

Stands on textual (the extra `top`), ipckit.cli.top.{series,tables,letters},
          ipckit.server.monitoring.live_view.
Blocks    never for the server. A look takes a few milliseconds and is made on the event loop.
"""

from __future__ import annotations

import time
from typing import Any, ClassVar

from rich.console import JustifyMethod  # noqa: TC002  (as TC003)
from rich.text import Text
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.widgets import DataTable, Footer, Static

from ipckit._text import escape_surrogates
from ipckit.cli.top.letters import Letters
from ipckit.cli.top.series import (
    Series,
    able_task_workers,
    bar,
    count,
    duration,
    fitting,
    is_short,
    moment_of,
    size,
    sparkline,
)
from ipckit.server.monitoring.live_view import Snapshot, Watched, WorkerSnapshot
from ipckit.server.monitoring.named_segments import (
    QueueSnapshot,
    TableSnapshot,
    named_queues,
    named_tables,
)

__all__ = ["Top"]

_ALARM, _WARN, _GOOD, _DIM = "bold #ff6b6b", "#ffd166", "#7bd88f", "#7d8799"
_LINE = "#5cc8ff"
_STATES = {"stuck": _ALARM, "stopped": _ALARM, "gone": _WARN, "busy": _GOOD, "idle": _DIM}
_URGENCY = ("stopped", "stuck", "gone", "busy", "idle")
_COLUMNS = (
    ("worker", 6),
    ("role", 11),
    ("state", 7),
    ("pid", 8),
    ("for", 8),
    ("doing", 25),
    ("a second", 8),
    ("in all", 10),
    ("restarts", 8),
    ("memory", 9),
)
"""With their widths. A worker handles requests, a task worker attempts of tasks."""
_LEAST = {"doing": 17, "role": 6, "restarts": 8}
_ORDER = ("in all", "memory", "doing", "role", "a second")
"""What gives way where they do not all fit: 80 columns are enough for the rest."""

_WIDE, _TALL = 130, 30
"""Columns and lines of a terminal from which on nothing is cut down."""

_LEFT = ("role", "state", "doing")
_SORTS = ("worker", "state", "for", "a second", "in all", "restarts", "memory")


_Parts = list[str | tuple[str, str]]
"""Of a text: each with its style, or without one."""


class Top(App[None]):
    """One server, looked at again and again."""

    TITLE = "ipckit top"
    ENABLE_COMMAND_PALETTE = False
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (_WIDE, "-wide")]  # noqa: RUF012  (as the base class has it)
    VERTICAL_BREAKPOINTS = [(0, "-short"), (_TALL, "-tall")]  # noqa: RUF012  (the same)
    CSS = """
    Screen { background: #14181f; color: #d7dde8; }
    #head { height: 1; padding: 0 2; background: #222b38; }
    #cards { height: 7; margin: 1 1 0 1; }
    .card { width: 1fr; height: 7; border: round #3a4658; padding: 0 1; margin: 0 1 0 0; }
    .card.alarm { border: round #ff6b6b; }
    .card, #workers, #low Static { border-title-color: #9fb0c8; border-subtitle-color: #9fb0c8; }
    #workers:focus { background-tint: transparent 0%; }
    #needed { margin: 0; }
    #workers { height: 1fr; margin: 0 1; border: round #3a4658; background: #14181f; }
    #workers > .datatable--header { background: #1c232d; color: #9fb0c8; }
    #workers > .datatable--cursor { background: #2b3a50; }
    #low { height: 8; margin: 0 1; }
    #low Static { height: 8; border: round #3a4658; padding: 0 1; }
    #head, .card, #low Static { text-wrap: nowrap; text-overflow: ellipsis; }
    #restarts { width: 1fr; margin: 0 1 0 0; }
    #tables { width: 1fr; }
    .-narrow .card { padding: 0; margin: 0; }
    .-short #cards { margin: 0 1; }
    .-short #low, .-short #low Static { height: 4; }
    Footer { background: #222b38; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("q", "quit", "quit"),
        Binding("p", "pause", "pause"),
        Binding("s", "sort", "sort by the next column"),
        Binding("r", "reverse", "reverse"),
        Binding("d", "letters", "dead letters"),
    ]

    def __init__(self, watched: Watched, interval: float = 1.0) -> None:
        super().__init__()
        self.watched = watched
        self.sort = "worker"
        self.descending = False
        self.paused = False
        self._interval = interval
        self._series = Series()
        self._tables, self._queues = named_tables(), named_queues()
        self._snapshot: Snapshot | None = None
        self._found: list[TableSnapshot] = []
        self._waiting: list[QueueSnapshot] = []

    # -- life ---

    def compose(self) -> ComposeResult:
        """Lay it out."""
        yield Static(id="head")
        with Horizontal(id="cards"):
            for name, title in (
                ("requests", "requests"),
                ("tasks", "tasks"),
                ("queue", "queue"),
                ("needed", "task workers"),
            ):
                card = Static(id=name, classes="card")
                card.border_title = title
                yield card
        yield DataTable(id="workers", cursor_type="row", zebra_stripes=False)
        with Horizontal(id="low"):
            restarts, tables = Static(id="restarts"), Static(id="tables")
            restarts.border_title, tables.border_title = "restarts", "named tables and queues"
            yield restarts
            yield tables
        yield Footer(show_command_palette=False)

    def on_mount(self) -> None:
        """Take the first look."""
        workers = self.query_one("#workers", DataTable)
        workers.border_title = "workers"
        self.look()
        self.set_interval(self._interval, self.look)

    def on_resize(self) -> None:
        """Draw it for the size that the terminal has now, when all has its place."""
        self.call_after_refresh(self._draw)

    def on_unmount(self) -> None:
        """Let go of the tables and queues."""
        self._tables.close()
        self._queues.close()

    def look(self) -> None:
        """Take a snapshot, unless it is paused, and draw it."""
        if self.paused or not self.is_running:
            return
        self._snapshot = self.watched.snapshot()
        self._found, self._waiting = self._tables.look(), self._queues.look()
        self._series.add(moment_of(self._snapshot))
        self._draw()

    # -- keys ---

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Keys of the workers do nothing on another screen, and are not offered there."""
        del parameters
        return len(self.screen_stack) == 1 or action not in ("pause", "sort", "reverse", "letters")

    def action_pause(self) -> None:
        """Hold the snapshot still, or go on."""
        self.paused = not self.paused
        self._draw()

    def action_sort(self) -> None:
        """Sort by the next column."""
        self.sort = _SORTS[(_SORTS.index(self.sort) + 1) % len(_SORTS)]
        self.descending = self.sort not in ("worker", "state")
        self._draw()

    def action_reverse(self) -> None:
        """Turn the order round."""
        self.descending = not self.descending
        self._draw()

    def action_letters(self) -> None:
        """Show the tasks that were given up."""
        if self.watched.dead_letters is None:
            self.notify("this server has no task workers")
            return
        self.push_screen(Letters(self.watched.dead_letters, self.watched.control_path))

    # -- drawing ---

    def _draw(self) -> None:
        snapshot = self._snapshot
        # Textual closes the screens before it stops the timers, and may still call this between.
        if snapshot is None or not self.is_running:
            return
        base = self.screen_stack[0]
        base.query_one("#head", Static).update(self._head(snapshot))
        for name, text in (
            ("requests", self._requests(snapshot)),
            ("tasks", self._tasks(snapshot)),
            ("queue", self._queue(snapshot)),
            ("needed", self._needed(snapshot)),
            ("restarts", _restarts(snapshot)),
            ("tables", _named(self._found, self._waiting)),
        ):
            base.query_one(f"#{name}", Static).update(text)
        stats = snapshot.stats
        able = able_task_workers(snapshot)
        short = is_short(stats["task_workers_needed"], able, stats["task_queued"])
        base.query_one("#needed").set_class(short, "alarm")
        base.query_one("#queue").set_class(snapshot.refuses_tasks, "alarm")
        self._draw_workers(base.query_one("#workers", DataTable), snapshot)

    def _draw_workers(self, shown: DataTable[Text], snapshot: Snapshot) -> None:
        row = shown.cursor_row
        # The border takes two cells, and so does the bar of more rows than there is room for.
        columns = fitting(_COLUMNS, _LEAST, _ORDER, self.size.width - 6)
        shown.clear(columns=True)
        for name, width in columns:
            side: JustifyMethod = "left" if name in _LEFT else "right"
            shown.add_column(Text(name, justify=side), key=name, width=width)
        for worker in self._sorted(snapshot.workers):
            cells = self._cells(worker, short=dict(columns)["role"] < 11)
            shown.add_row(*(cells[name] for name, _ in columns), key=str(worker.worker_id))
            for leaving in worker.leaving:
                late = {**dict.fromkeys(cells, Text("")), **_leaving(worker, leaving, snapshot.at)}
                key = f"{worker.worker_id}, process {leaving['pid']}"
                shown.add_row(*(late[name] for name, _ in columns), key=key)
        shown.move_cursor(row=row, animate=False)
        order = "▼" if self.descending else "▲"
        shown.border_subtitle = f"by {self.sort} {order}"

    def _sorted(self, workers: list[WorkerSnapshot]) -> list[WorkerSnapshot]:
        def value(worker: WorkerSnapshot) -> float:
            return {
                "worker": worker.worker_id,
                "state": _URGENCY.index(worker.state),
                "for": worker.since or 0.0,
                "a second": sum(self._series.of_worker(worker.worker_id)),
                "in all": worker.requests + worker.tasks,
                "restarts": worker.restarts,
                "memory": worker.rss,
            }[self.sort]

        return sorted(workers, key=value, reverse=self.descending)

    def _cells(self, worker: WorkerSnapshot, *, short: bool) -> dict[str, Text]:
        rate = sum(self._series.of_worker(worker.worker_id))  # one of them is 0
        style = _STATES[worker.state]
        alarm = style if worker.state in ("stuck", "stopped") else ""
        role = worker.role.removesuffix(" worker") if short else worker.role
        cells = {
            "worker": (str(worker.worker_id), alarm),
            "role": (role, alarm),
            "state": (worker.state, style),
            "pid": (str(worker.pid or "-"), alarm or _DIM),
            "for": (duration(worker.since), alarm),
            "doing": (worker.doing or "-", alarm or ("" if worker.doing else _DIM)),
            "a second": (f"{rate:,.1f}", "" if rate else _DIM),
            "in all": (f"{worker.requests + worker.tasks:,}", _DIM),
            "restarts": (
                f"{worker.restarts}{' !' if worker.flapping else ''}",
                _WARN if worker.restarts else _DIM,
            ),
            "memory": (size(worker.rss), _DIM),
        }
        return {
            name: Text(text, style, justify="left" if name in _LEFT else "right")
            for name, (text, style) in cells.items()
        }

    def _head(self, snapshot: Snapshot) -> Text:
        state = f"● {snapshot.state}", _GOOD if snapshot.state == "serving" else _ALARM
        paused = ("   ‖ paused" if self.paused else "", "bold #ffd166")
        server = (
            ("server ", _DIM),
            str(snapshot.pid),
            (" on ", _DIM),
            escape_surrogates(", ".join(snapshot.ports)),
            (" up ", _DIM),
            duration(snapshot.at - snapshot.stats["start_time"]),
        )
        clock = time.strftime("%H:%M:%S", time.localtime(snapshot.at)), _DIM
        if self._is_narrow:  # what may be cut off is last
            text = Text.assemble(state, paused, "  ", *server)
        else:
            name = ("ipckit top  ", "bold")
            text = Text.assemble(name, *server, "   ", state, "   ", clock, paused)
        text.no_wrap = True
        return text

    @property
    def _is_narrow(self) -> bool:
        return self.size.width < _WIDE

    def _width(self, name: str) -> int:
        return max(8, self.screen_stack[0].query_one(f"#{name}").content_size.width)

    def _requests(self, snapshot: Snapshot) -> Text:
        rates = self._series.rates("requests")
        stats = snapshot.stats
        now, opened = rates[-1] if rates else 0.0, stats["connection_num"]
        errors = stats["callback_errors"]
        if self._is_narrow:
            first: _Parts = [(count(now), "bold"), ("/s ", _DIM), count(opened), (" conn", _DIM)]
            alarm = f"{count(errors)} errors" if errors else ""
        else:
            what = " connection" if opened == 1 else " connections"
            first = [(f"{now:,.0f}", "bold"), (" a second  ", _DIM), f"{opened:,}", (what, _DIM)]
            alarm = _counted(errors, "callback error")
        line = sparkline(rates, self._width("requests"))
        times = self._times("request_times")
        return Text.assemble(*first, "\n", (line, _LINE), "\n", (alarm, _ALARM), "\n", *times)

    def _tasks(self, snapshot: Snapshot) -> Text:
        rates = self._series.rates("tasks")
        now, buried = rates[-1] if rates else 0.0, snapshot.stats["task_buried"]
        style = _WARN if buried else ""
        if self._is_narrow:
            first: _Parts = [(count(now), "bold"), ("/s ", _DIM), (count(buried), style)]
        else:
            first = [(f"{now:,.1f}", "bold"), (" a second  ", _DIM), (f"{buried:,}", style)]
        line = sparkline(rates, self._width("tasks"))
        times = self._times("task_times")
        return Text.assemble(*first, (" buried", _DIM), "\n", (line, _LINE), "\n\n", *times)

    def _times(self, name: str) -> _Parts:
        found = self._series.percentiles(name)._asdict()
        if self._is_narrow:
            del found["p90"]
        width = self._width(name.replace("_times", "s")) // len(found)
        return [
            ("".join(f"{title:{width}}" for title in found), _DIM),
            "\n" + "".join(f"{duration(value):{width}}" for value in found.values()),
        ]

    def _queue(self, snapshot: Snapshot) -> Text:
        stats = snapshot.stats
        waiting, oldest = stats["task_queued"], stats["task_oldest_seconds"]
        running, refused = stats["task_running"], stats["task_refused"]
        style = "bold" if not waiting else f"bold {_WARN}"
        if self._is_narrow:
            first: _Parts = [(count(waiting), style), (" wait ", _DIM), count(running)]
            first.append((" run", _DIM))
            alarm = f"{count(refused)} refused" if refused else ""
        else:
            first = [(f"{waiting:,}", style), (" wait  ", _DIM), f"{running:,}", (" run", _DIM)]
            alarm = f"{_counted(refused, 'task')} refused" if refused else ""
        return Text.assemble(
            *first,
            "\n",
            (sparkline(self._series.depths(), self._width("queue")), _LINE),
            "\n",
            (alarm, _ALARM),
            "\n",
            ("oldest ", _DIM),
            (duration(oldest), _ALARM if oldest > 10 else ""),
            ("\nretries " if self._is_narrow else "  retries ", _DIM),
            f"{stats['task_retries']:,}",
        )

    def _needed(self, snapshot: Snapshot) -> Text:
        stats = snapshot.stats
        needed, there = stats["task_workers_needed"], stats["task_worker_num"]
        busy = there - stats["task_idle_worker_num"]
        able = able_task_workers(snapshot)
        short = is_short(needed, able, stats["task_queued"])
        style = _ALARM if short else "bold"
        filled = bar(busy / there if there else 0.0, self._width("needed")), _LINE
        idle = f"{there - able} stuck or gone" if able < there else "", _ALARM
        few = "too few for what arrives" if short else "", _ALARM
        if self._is_narrow:
            first: _Parts = [(f"{needed:.1f}", style), (" needed", _DIM)]
            rest: _Parts = [
                f"{busy} of {there} busy\n",
                idle,
                "\n",
                ("too few" if short else "", _ALARM),
            ]
            return Text.assemble(*first, "\n", filled, "\n", *rest)
        first = [(f"{needed:.1f}", style), (" needed now  ", _DIM), str(there), (" there", _DIM)]
        return Text.assemble(*first, "\n", filled, "\n\n", f"{busy} busy  ", idle, "\n", few)


def _leaving(worker: WorkerSnapshot, leaving: dict[str, Any], now: float) -> dict[str, Text]:
    """Return the cells of a process of this worker that was replaced and has not ended."""
    return {
        "worker": Text(str(worker.worker_id), _DIM, justify="right"),
        "state": Text("leaving", _WARN),
        "pid": Text(str(leaving["pid"]), _DIM, justify="right"),
        "for": Text(duration(max(0.0, now - leaving["since"])), _DIM, justify="right"),
    }


def _counted(number: int, what: str) -> str:
    """Return "3 whats"; "" for none."""
    return f"{number:,} {what}{'s' * (number != 1)}" if number else ""


def _restarts(snapshot: Snapshot) -> Text:
    died = [worker for worker in snapshot.workers if worker.last_death]
    died.sort(key=lambda worker: -(worker.died_at or 0.0))
    text = Text(no_wrap=True, overflow="ellipsis")
    total = sum(worker.restarts for worker in snapshot.workers)
    text.append(f"{total}", _WARN if total else "")
    text.append(
        " since the start; the last death of each worker:" if died else " since the start", _DIM
    )
    for worker in died[:5]:
        clock = time.strftime("%H:%M:%S", time.localtime(worker.died_at or 0))
        text.append(f"\n{clock}  ", _DIM)
        text.append(f"{worker.role} {worker.worker_id}  ")
        text.append(str(worker.last_death), _WARN)
        if worker.flapping:
            text.append("  flapping", _ALARM)
    return text


def _named(tables: list[TableSnapshot], queues: list[QueueSnapshot]) -> Text:
    text = Text(no_wrap=True, overflow="ellipsis")
    found: list[TableSnapshot | QueueSnapshot] = [*tables, *queues]
    if not found:
        text.append("none on this machine", _DIM)
    for index, each in enumerate(found[:6]):
        text.append("\n" if index else "")
        text.append(f"{each.name:16.16} ")
        if each.error:
            text.append(each.error, _ALARM)
        elif isinstance(each, QueueSnapshot):
            _add_queue(text, each)
        else:
            _add_table(text, each)
    if len(found) > 6:
        text.append(f"  and {len(found) - 6} more", _DIM)
    return text


def _add_share(text: Text, count: int, most: int, memory: int) -> None:
    share = count / most
    text.append(bar(share, 10), _ALARM if share > 0.9 else _LINE)
    text.append(f" {share:4.0%}  {count:,} of {most:,}", "")
    text.append(f"  {size(memory)}", _DIM)


def _add_table(text: Text, table: TableSnapshot) -> None:
    _add_share(text, table.rows, table.size, table.memory)
    if table.locked:
        text.append(f"  {table.locked} locked", _DIM)
    if table.waiting:
        text.append(f"  {table.waiting} wait", _WARN)


def _add_queue(text: Text, queue: QueueSnapshot) -> None:
    held = queue.messages + queue.leased + queue.delayed + queue.dead
    _add_share(text, held, queue.size, queue.memory)
    if queue.leased:
        text.append(f"  {queue.leased} leased", _DIM)
    if queue.oldest is not None:
        text.append(f"  oldest {duration(queue.oldest)}", _DIM)
    if queue.redelivered:
        text.append(f"  {queue.redelivered} redelivered", _WARN)
    if queue.dead:
        text.append(f"  {queue.dead} dead", _ALARM)

"""`ipckit top --web` in a real Chromium, beside a server with a stuck task worker and a restart."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import time

import pytest
from chromium import Page, chromium
from deadlines import RUN
from watching import ask, served, stopped, until, view, web  # noqa: F401  (fixtures)

from ipckit.server.monitoring.live_view import Snapshot, Watched


async def read(page: Page, *words: str) -> str:
    """Return the text of the view once the patterns are in it, each in one line.

    A task worker that is busy is stuck after ten seconds, and a browser may take longer to start.
    It is drawn on a canvas. What is selected with Shift and the mouse is put into its text field.
    """
    end = time.monotonic() + RUN
    while True:
        await page.drag((2, 2), (1298, 700))
        text = await page.run("document.querySelector('.xterm-helper-textarea')?.value") or ""
        missing = [word for word in words if not re.search(word, text)]
        if not missing:
            return text
        assert time.monotonic() < end, f"{missing} not in\n{text}"


@pytest.mark.needs_chromium
def test_a_browser_shows_what_is_stuck_what_waits_and_what_was_restarted(served, web, tmp_path):
    """The stuck task worker with its task, the queue's depth and age, the restart with its reason."""

    def snapshot(watched: Watched, condition) -> Snapshot:
        return until(watched.snapshot, condition)

    ask(served, "wait wait")
    with Watched(served.process.pid) as watched:
        first = snapshot(watched, lambda now: now.stats["task_running"] == 2)
        os.kill(first.workers[2].pid, signal.SIGKILL)  # its task is given up
        snapshot(watched, lambda now: now.workers[2].state == "idle" and now.workers[2].restarts)
        ask(served, "wait quick quick quick")
        now = snapshot(watched, lambda now: now.stats["task_running"] == 2)
    stuck, replaced = now.workers[1:]
    assert now.stats["task_queued"] == 3

    async def look() -> None:
        async with chromium(tmp_path / "profile") as page:
            await page.open(web)
            await read(
                page,
                rf" 1  task worker +stopped +{stuck.pid} +\d\S* \S+  {stuck.doing} ",
                rf" 2  task worker +(?:busy|stuck) +{replaced.pid} +\d\S* \S+  task \d+, attempt 1 .* 1 ",
                r" 3 wait  2 run ",
                r"oldest [1-9]",
                r"1 since the start; the last death of each worker:",
                r"\d\d:\d\d:\d\d  task worker 2  signal 9 \(Killed\)",
                r" 1 buried ",
            )
            await page.type("p")
            await read(page, "paused")

    with stopped(stuck.pid):
        asyncio.run(look())

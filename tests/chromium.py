"""A real Chromium without a window, by its DevTools protocol: a page, its mouse and its text.

Contract  `chromium()` runs one until the block ends, whatever happens in it; every wait has a
          deadline. It needs the program `chromium`, which loads only what the test asks for.
Stands on aiohttp (its websocket).
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import aiohttp
from serving import LOOK


class Page:
    """The one page of the browser."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._asked = 0
        self._session: dict[str, str] = {}

    async def ask(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Send a command of the protocol; return its result."""
        self._asked += 1
        await self._socket.send_json(
            {"id": self._asked, "method": method, "params": parameters, **self._session}
        )
        while True:
            answer = await self._socket.receive_json(timeout=LOOK)
            if answer.get("id") == self._asked:
                assert "error" not in answer, answer
                return answer["result"]

    async def close(self) -> None:
        """End the browser."""
        self._session = {}
        await self.ask("Browser.close")

    async def open(self, url: str) -> None:
        """Show that address."""
        made = await self.ask("Target.createTarget", url=url)
        attached = await self.ask("Target.attachToTarget", targetId=made["targetId"], flatten=True)
        self._session = {"sessionId": attached["sessionId"]}

    async def run(self, script: str) -> Any:
        """Return the value of a script in the page."""
        done = await self.ask("Runtime.evaluate", expression=script, returnByValue=True)
        assert "exceptionDetails" not in done, done
        return done["result"].get("value")

    async def type(self, text: str) -> None:
        """Type it, where the page has its focus."""
        await self.ask("Input.insertText", text=text)

    async def drag(self, begin: tuple[int, int], end: tuple[int, int]) -> None:
        """Select with the mouse what a program in a terminal would take for itself: with Shift."""
        for kind, (x, y) in (
            ("mousePressed", begin),
            ("mouseMoved", end),
            ("mouseReleased", end),
        ):
            await self.ask(
                "Input.dispatchMouseEvent",
                type=kind,
                x=x,
                y=y,
                button="left",
                buttons=1,
                clickCount=1,
                modifiers=8,
            )


@contextlib.asynccontextmanager
async def chromium(profile: Path) -> AsyncIterator[Page]:
    """Give the page of a browser that keeps its files in `profile`."""
    with _running(profile) as process:
        async with (
            aiohttp.ClientSession() as session,
            session.ws_connect(_address(process), max_msg_size=0) as socket,
        ):
            page = Page(socket)
            yield page
            await page.close()
        process.wait(LOOK)


@contextlib.contextmanager
def _running(profile: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Start it; at the end of the block no process of it is left."""
    line = [
        *("chromium", "--headless", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"),
        *("--no-first-run", "--disable-extensions", "--disable-background-networking"),
        *("--window-size=1300,800", "--remote-debugging-port=0", f"--user-data-dir={profile}"),
    ]
    process = subprocess.Popen(
        line, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True
    )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(LOOK)
        process.stderr.close()


def _address(process: subprocess.Popen[bytes]) -> str:
    """Return where it listens: it says so on stderr."""
    said = b""
    while b"DevTools listening on " not in said or not said.endswith(b"\n"):
        ready, _, _ = select.select([process.stderr], [], [], LOOK)
        more = os.read(process.stderr.fileno(), 65536) if ready else b""
        assert more, said
        said += more
    return said.partition(b"DevTools listening on ")[2].split()[0].decode()

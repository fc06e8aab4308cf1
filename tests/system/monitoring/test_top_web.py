"""`ipckit top --web`: the view reaches a browser's socket; pages of other sites do not reach it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import time
import urllib.request

import aiohttp
import pytest
from leaks import children
from serving import LOOK
from watching import ask, served, view, web  # noqa: F401  (fixtures)

from ipckit.cli.top.web import is_own_page


def get(url: str) -> str:
    with urllib.request.urlopen(url, timeout=LOOK) as answer:
        return answer.read().decode("utf-8", "replace")


def test_the_page_loads_nothing_from_elsewhere(web):
    page = get(web)
    assert "<title>ipckit top</title>" in page
    loaded = re.findall(r'(?:src|href)="([^"]+)"|url\("([^"]+)"\)', page)
    paths = ["".join(pair) for pair in loaded]
    assert len(paths) == 3 and all(path.startswith("/static/") for path in paths)
    for path in paths:
        assert get(web + path)


def test_the_view_is_seen_and_takes_keys(served, web):
    ask(served, "wait wait quick")

    async def use() -> None:
        async with aiohttp.ClientSession() as session:
            where = f"{web}/ws?width=130&height=34"
            async with session.ws_connect(where, headers={"Origin": web}) as view:
                await seen(view, b"task 2, attempt 1")
                await view.send_json(["stdin", "p"])
                await seen(view, b"paused")

    asyncio.run(use())


def test_its_end_ends_the_views(view, web):
    async def use() -> int:
        async with aiohttp.ClientSession() as session, session.ws_connect(f"{web}/ws") as browser:
            await seen(browser, b"serving")
            (top,) = children(view.pid)
            view.send_signal(signal.SIGINT)
            while not browser.closed:
                await browser.receive(timeout=LOOK)
            assert await asyncio.to_thread(view.wait, LOOK) == 0
            return top

    top = asyncio.run(use())
    assert not os.path.exists(f"/proc/{top}")


async def seen(view, words: bytes) -> None:
    """Read what the view draws until the words are there, in whatever parts they come."""
    end, drawn = time.monotonic() + LOOK, b""
    while words not in re.sub(rb"\x1b\[[0-9;?]*[A-Za-z]", b"", drawn):
        assert time.monotonic() < end, drawn[-2000:]
        with contextlib.suppress(TimeoutError):
            message = await view.receive(timeout=1)
            drawn += message.data if isinstance(message.data, bytes) else b""


def test_a_page_of_another_site_is_refused(web):
    async def use(headers) -> None:
        async with aiohttp.ClientSession() as session:
            await session.ws_connect(f"{web}/ws", headers=headers)

    evil = "evil.example"
    for headers in ({"Origin": f"http://{evil}"}, {"Host": evil}, {"Origin": "null"}):
        with pytest.raises(aiohttp.WSServerHandshakeError) as why:
            asyncio.run(use(headers))
        assert why.value.status == 403


@pytest.mark.parametrize(
    ("host", "origin", "own"),
    [
        ("127.0.0.1:8000", "http://127.0.0.1:8000", True),
        ("localhost:9000", "http://localhost:9000", True),
        ("localhost", None, True),
        ("localhost:9000", "http://localhost:8000", False),
        ("localhost:9000", "https://localhost:9000", False),
        ("localhost.evil.example:9000", None, False),
        (None, None, False),
    ],
)
def test_whose_page_it_is(host, origin, own):
    assert is_own_page(host, origin) is own

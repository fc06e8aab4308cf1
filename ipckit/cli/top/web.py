"""`ipckit top --web`: the live view in a browser, on the loopback address alone.

Each browser window runs its own `ipckit top`. The page loads nothing from elsewhere, and works
behind a forwarded port (`ssh -L`).

Contract  a page of another site cannot reach the view through the user's browser: a connection is
          refused whose Host is no name of the loopback address, or whose Origin is another one.
          Other users of this machine can reach it, as any port of the loopback address.
Stands on textual-serve (the extra `web`), aiohttp.
"""

from __future__ import annotations

import asyncio
import os
from typing import Any
from urllib.parse import urlsplit

from aiohttp import web
from textual_serve.server import Server

__all__ = ["LOOPBACK", "WebView", "is_own_page"]

LOOPBACK = "127.0.0.1"
_NAMES = (LOOPBACK, "localhost")


def is_own_page(host: str | None, origin: str | None) -> bool:
    """Whether a request with these headers comes from our own page, or from no page at all."""
    own = host is not None and urlsplit(f"//{host}").hostname in _NAMES
    return own and origin in (None, f"http://{host}")


class WebView(Server):
    """Serves the view to browsers of this machine."""

    def __init__(self, command: str, port: int) -> None:
        page = os.path.join(os.path.dirname(os.path.abspath(__file__)), "page")
        super().__init__(command, LOOPBACK, port, "ipckit top", templates_path=page)
        self._views: set[asyncio.Task[Any]] = set()

    def serve(self, debug: bool = False) -> None:
        """Serve until SIGINT or SIGTERM. OSError: the port cannot be bound."""
        self.debug = debug
        web.run_app(self._make_app(), host=self.host, port=self.port, print=self._serving)

    def _serving(self, *_: object) -> None:
        """Say where it is; it listens now."""
        print(f"serving http://{LOOPBACK}:{self.port} (Ctrl-C ends it)", flush=True)

    async def on_startup(self, app: web.Application) -> None:
        """Nothing: that is before it listens."""

    async def handle_websocket(self, request: web.Request) -> web.WebSocketResponse:
        """Run a view for a browser window, if it is of our own page."""
        if not is_own_page(request.headers.get("Host"), request.headers.get("Origin")):
            raise web.HTTPForbidden(text="not from a page of another site")
        view = asyncio.ensure_future(super().handle_websocket(request))
        self._views.add(view)
        try:
            return await view
        finally:
            self._views.discard(view)

    async def on_shutdown(self, app: web.Application) -> None:
        """End the views that are open; they would be waited for."""
        del app
        for view in self._views:
            view.cancel()
        await asyncio.gather(*self._views, return_exceptions=True)

"""The server under failures: its callbacks note in the journal what they received (page.py).

A request is a line `verb token ...`, an answer a line that begins with the request's token. So an
answer to somebody else's question is seen.
"""

from __future__ import annotations

import asyncio
import os
import select
import signal
import ssl
from collections.abc import Callable
from typing import Any

from inject.library.page import (
    CALLBACK_RAISED,
    CLOSE,
    CONNECT,
    ENDED,
    FINISHED,
    GIVEN_UP,
    PROMISED,
    READY,
    RELOADED,
    RUN,
    TASK_WORKER,
    USER_PROCESS,
    WORKER,
    WORKER_START,
    Page,
)
from ipckit import IPCError, Server, SockType

LARGE = b"x" * 300_000
"""Neither the ledger nor a frame has room for it inside: it goes beside, into a file."""


HELD = b"x" * 130_000
"""It lies in the ledger, and takes a block of its largest size."""


def make(
    page: Page,
    settings: dict[str, Any],
    tls: ssl.SSLContext | None,
    sent_file: str,
    hold: str,
    users: str,
) -> Server:
    """Return the server; its ports are TCP, TLS, UDP and a unix socket, in this order.

    A task of the kind `held` lasts as long as there is a file `hold`.
    """
    lines = {"open_eof_check": True, "open_eof_split": True, "package_eof": "\n"}
    server = Server("127.0.0.1", 0, **lines)
    if tls is not None:
        server.listen("127.0.0.1", 0, SockType.TCP).set(ssl=tls, **lines)
        path = os.path.join(settings["runtime_dir"], "..", "socket")
        server.listen("127.0.0.1", 0, SockType.UDP)
        # Last: a listen() that fails leaves the program with the ports that it has.
        server.listen(os.path.abspath(path), 0, SockType.UNIX_STREAM).set(**lines)
    server.set(settings)
    _callbacks(server, page, sent_file, hold)
    if users:
        server.add_process(_user_process(page, users))
    return server


def context(certificate: str) -> ssl.SSLContext:
    """Return what TLS needs; the program has it before anything fails."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.load_cert_chain(certificate)
    return made


def _user_process(page: Page, kind: str) -> Callable[[Server], Any]:
    """It sends a message to a worker as it begins, and waits for its end."""

    def begin(server: Server) -> None:
        page.role(USER_PROCESS)
        page.note(WORKER_START, server.worker_id, 0)
        server.send_message((0, 0, b""), 0)

    def user_process(server: Server) -> None:
        begin(server)
        signal.pause()

    async def async_user_process(server: Server) -> None:
        begin(server)
        server.after(0, lambda: None)
        await asyncio.Event().wait()

    return user_process if kind == "def" else async_user_process


def _callbacks(server: Server, page: Page, sent_file: str, hold: str) -> None:
    asked: dict[int, tuple[int, int]] = {}  # of this worker: task id -> token, session

    def answer(session: int, *words: object) -> None:
        server.send(session, (" ".join(map(str, words)) + "\n").encode())

    @server.on("start")
    def start(server):
        for index, port in enumerate(server.ports):
            page.note(READY, port.port, index)

    @server.on("shutdown")
    def shutdown(server):
        page.note(ENDED)

    @server.on("after_reload")
    def after_reload(server):
        page.note(RELOADED)

    @server.on("worker_start")
    def worker_start(server, worker_id):
        page.role(TASK_WORKER if server.taskworker else WORKER)
        page.note(WORKER_START, worker_id, server.taskworker)

    @server.on("connect")
    def connect(server, session, reactor_id):
        page.note(CONNECT, session)

    @server.on("close")
    def close(server, session, reactor_id):
        page.note(CLOSE, session)

    @server.on("receive")
    def receive(server, session, reactor_id, data):
        verb, token, *rest = data.decode().split()
        try:
            if verb == "wait":
                return wait(session, int(token))
            request(verb, session, int(token), *rest)
        except IPCError as exc:
            answer(session, token, "refused", type(exc).__name__, exc)
        except MemoryError:
            answer(session, token, "refused", "MemoryError")
        except OSError as exc:
            page.note(CALLBACK_RAISED, exc.errno or 0)
            answer(session, token, "raised", exc)

    async def wait(session, token):
        try:
            page.note(PROMISED, token)
            result = await server.task_async([token, -1, "small", b""], timeout=8)
            page.note(FINISHED, token)
            answer(session, token, "done", result[0])
        except IPCError as exc:
            page.note(GIVEN_UP, token)
            answer(session, token, "refused", type(exc).__name__, exc)
        except OSError as exc:
            page.note(CALLBACK_RAISED, exc.errno or 0)
            answer(session, token, "raised", exc)

    def request(verb, session, token, *rest):
        match verb:
            case "echo":
                answer(session, token, "echo")
            case "task":
                (kind,) = rest
                delay = 0.3 if kind == "late" else 0
                body = LARGE if kind in ("large", "large_fails") else b""
                body = HELD if kind == "held" else body
                task_id = server.task([token, session, kind, body], delay=delay)
                page.note(PROMISED, token, task_id)
                asked[task_id] = token, session
                if kind in ("late", "held"):
                    answer(session, token, "later")
            case "message":
                size, dst = rest
                body = LARGE if size == "large" else b""
                server.send_message((token, session, body), int(dst))
            case "who":
                answer(session, token, server.worker_id, os.getpid())
            case "file":
                server.send(session, f"{token} ".encode())
                if not server.sendfile(session, sent_file):
                    server.send(session, b"refused sendfile\n")

    @server.on("packet")
    def packet(server, data, address):
        server.sendto(address["address"], address["port"], data)

    @server.on("pipe_message")
    def pipe_message(server, src_worker_id, message):
        token, session, body = message
        answer(session, token, "message", len(body))

    @server.on("task")
    def task(server, task_id, src_worker_id, data):
        if isinstance(data, str):  # of another program
            page.note(RUN, int(data))
            page.note(FINISHED, int(data))
            return None
        token, session, kind, _ = data
        page.note(RUN, token, server.current_task.attempt)
        match kind:
            case "fails" | "large_fails":
                raise ValueError(f"task {token} fails")
            case "dies" if server.current_task.attempt == 1:
                os.kill(os.getpid(), signal.SIGKILL)
            case "slow":
                select.select([], [], [], 0.05)
            case "held":
                while os.path.exists(hold):
                    select.select([], [], [], 0.005)
            case "sends":
                server.send(session, f"{token} sent\n".encode())
        return [token, session, LARGE if kind == "large" else b""]

    @server.on("finish")
    def finish(server, task_id, data):
        token, session, body = data
        page.note(FINISHED, token)
        answer(session, token, "done", len(body))

    @server.on("task_failed")
    def task_failed(server, task_id, error):
        page.note(GIVEN_UP, 0, task_id)
        token, session = asked.get(task_id, (0, 0))
        answer(session, token, "given_up")

"""The demo's server, a program of its own: `python -m ipckit.cli.demo.server JSON`.

The JSON object has mode, task_workers, directory, kill. The server takes a CSV file as one
length-framed packet, hands one task for each recipient to its task workers, and answers with JSON
packets: how far it is, about ten times a second, and at the end what the server counted.

Its first line on stdout is its port. It ends when its stdin does, so it outlives nobody.
"""

from __future__ import annotations

import asyncio
import csv
import io
import json
import os
import signal
import struct
import sys
import time
from typing import Any

from ipckit.cli.demo.mail import MAX_ATTEMPTS, attempt_fails, file_name, render
from ipckit.errors import TaskQueueFull
from ipckit.server import Server

__all__ = ["make_server"]

_PROGRESS_SECONDS = 0.1


class Bounced(Exception):
    """The failure made on purpose: as if a mail server had said no for now."""


class Job:
    """One uploaded file, in the worker that took it."""

    def __init__(self, server: Server, fd: int, *, kill: bool) -> None:
        self.server = server
        self.fd = fd
        self.total = 0
        self.delivered = 0
        self.given_up = 0
        self.killed = 0
        self._kill = kill
        self._began = time.monotonic()
        self._timer = server.tick(_PROGRESS_SECONDS, self.tell, "progress")

    async def post(self, table: bytes) -> None:
        """Post one task for each row; each wait for room lets the loop serve clients."""
        rows = list(csv.DictReader(io.StringIO(table.decode(), newline="")))
        self.total = len(rows)
        for row in rows:
            try:
                await self.server.task_later(row)
            except TaskQueueFull:  # it waits for room, so this is the end of the server
                return

    def mark_delivered(self) -> None:
        """One more is done; half way, kill a task worker if that was asked for."""
        self.delivered += 1
        if self._kill and not self.killed and self.delivered >= self.total // 2:
            self._kill_one()
        self._look()

    def _kill_one(self) -> None:
        stats = self.server.stats()
        for row in stats["workers"]:
            if row["worker_id"] >= stats["worker_num"] and row["pid"] > 0:
                os.kill(row["pid"], signal.SIGKILL)
                self.killed = 1
                return

    def mark_given_up(self) -> None:
        """One more has failed all its attempts."""
        self.given_up += 1
        self._look()

    def _look(self) -> None:
        if self.delivered + self.given_up == self.total:
            self.server.clear_timer(self._timer)
            self.tell("done")

    def tell(self, what: str) -> None:
        """Send one JSON packet."""
        stats = self.server.stats()
        answer = {
            "what": what,
            "delivered": self.delivered,
            "given_up": self.given_up,
            "killed": self.killed,
            "seconds": time.monotonic() - self._began,
            "attempts": stats["task_done"] + stats["task_failed"],
            "retries": stats["task_retries"],
        }
        body = json.dumps(answer).encode()
        self.server.send(self.fd, struct.pack(">I", len(body)) + body)


def make_server(*, mode: int, task_workers: int, directory: str, kill: bool) -> Server:
    """Return the server, ready to start."""
    server = Server(
        "127.0.0.1",
        0,
        worker_num=1,
        task_worker_num=task_workers,
        task_ipc_mode=mode,
        task_max_attempts=MAX_ATTEMPTS,
        task_retry_delays=(0, 0.01, 0.05),
        open_length_check=True,
        package_max_length=256 * 1024 * 1024,
        log_level="ERROR",
    )
    jobs: list[Job] = []

    @server.on("start")
    def start(server: Server) -> None:
        print(server.port, flush=True)

    @server.on("worker_start")
    async def worker_start(server: Server, worker_id: int) -> None:
        if worker_id == 0:
            loop = asyncio.get_running_loop()

            def ended() -> None:
                loop.remove_reader(sys.stdin)
                server.shutdown()

            loop.add_reader(sys.stdin, ended)

    @server.on("receive")
    async def receive(server: Server, fd: int, reactor_id: int, data: bytes) -> None:
        del reactor_id
        jobs[:] = [Job(server, fd, kill=kill)]
        await jobs[0].post(data[4:])

    @server.on("task")
    def task(server: Server, task_id: int, source: int, row: dict[str, str]) -> int:
        del task_id, source
        number = int(row["number"])
        current = server.current_task
        if current is not None and attempt_fails(number, current.attempt):
            raise Bounced(f"recipient {number}, attempt {current.attempt}: try again later")
        part = os.path.join(directory, f".{number}.{os.getpid()}.part")
        with open(part, "wb") as file:
            file.write(render(row))
        os.rename(part, os.path.join(directory, file_name(number)))
        return number

    @server.on("finish")
    def finish(server: Server, task_id: int, number: int) -> None:
        del server, task_id, number
        jobs[0].mark_delivered()

    @server.on("task_failed")
    def task_failed(server: Server, task_id: int, error: Any) -> None:
        del server, task_id, error
        jobs[0].mark_given_up()

    return server


if __name__ == "__main__":
    make_server(**json.loads(sys.argv[1])).start()

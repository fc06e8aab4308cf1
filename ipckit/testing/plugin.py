"""The pytest plugin ``ipckit``: fixtures `no_leaks` and `deadline`, and the harness's options.

It is registered by the entry point of the distribution, so nothing is to be configured. It loads
no hypothesis, and nothing of ipckit but what a test asks for.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from types import FrameType

import pytest

SETTLES = 5.0  # seconds that the kernel gets to reap what was killed


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the harness's options."""
    group = parser.getgroup("ipckit", "ipckit.testing")
    group.addoption(
        "--ipckit-seconds",
        type=float,
        metavar="N",
        help="draw programs for N seconds for each ProcessMachine, instead of its own number",
    )
    group.addoption("--ipckit-seed", type=int, metavar="N", help="repeat the search of that seed")
    group.addoption(
        "--ipckit-replay",
        type=Path,
        metavar="FILE",
        help="run a saved failure of a ProcessMachine again",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Hand the options to the harness, if there are any."""
    seconds, seed, replay = (
        config.getoption(f"--ipckit-{name}") for name in ("seconds", "seed", "replay")
    )
    if (seconds, seed, replay) != (None, None, None):
        from ipckit.testing.search.search import options  # noqa: PLC0415 - it loads hypothesis

        options.seconds, options.seed, options.replay = seconds, seed, replay


def left() -> dict[str, set[str]]:
    """Give what outlives a test when nobody ends it: System V objects, /dev/shm, POSIX queues,
    children, and this process's descriptors.
    """
    found: dict[str, set[str]] = {}
    for kind in ("msg", "shm", "sem"):
        path = Path(f"/proc/sysvipc/{kind}")
        rows = path.read_text().splitlines()[1:] if path.exists() else []
        found[f"System V {kind}"] = {row.split()[1] for row in rows}
    for folder in ("/dev/shm", "/dev/mqueue"):  # noqa: S108 - looked at only
        found[folder] = set(os.listdir(folder)) if os.path.isdir(folder) else set()
    found["children"] = set()
    for task in Path("/proc/self/task").iterdir():
        with contextlib.suppress(FileNotFoundError):  # a thread that has just ended
            found["children"] |= set((task / "children").read_text().split())
    links = set()
    for number in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):  # the listing's own
            links.add(f"{number} {os.readlink(f'/proc/self/fd/{number}')}")
    found["descriptors"] = {link for link in links if not link.endswith("/fd")}
    return found


@pytest.fixture
def no_leaks() -> Iterator[None]:
    """Fail the test if it leaves behind what was not there before.

    Looked at: System V queues, segments and semaphores, /dev/shm, /dev/mqueue, child processes, and
    open descriptors. All but the last two are the whole machine's: what other programs make during
    the test is seen too. Waits up to 5 s for what is just going away.
    """
    before = left()
    yield
    until = time.monotonic() + SETTLES
    while True:
        rest = {kind: now - before[kind] for kind, now in left().items() if now - before[kind]}
        if not rest:
            return
        if time.monotonic() > until:
            told = "; ".join(f"{kind}: {', '.join(sorted(what))}" for kind, what in rest.items())
            pytest.fail(f"left behind: {told}")
        time.sleep(0.01)


@pytest.fixture
def deadline() -> Callable[[float], AbstractContextManager[None]]:
    """Give ``deadline(seconds)``: a context whose body is interrupted and fails when it is late.

    By SIGALRM in the main thread (ValueError elsewhere): a system call that waits is interrupted,
    C code that spins is not. The failure has the stack of where it was. Contexts may be nested; the
    inner one's time counts while it is open.
    """
    return _deadline


@contextlib.contextmanager
def _deadline(seconds: float) -> Iterator[None]:
    if seconds <= 0:
        raise ValueError(f"a deadline is a number of seconds above 0, not {seconds!r}")

    def late(_number: int, frame: FrameType | None) -> None:
        where = "".join(traceback.format_stack(frame, limit=6))
        pytest.fail(f"not done within {seconds} s, but here:\n{where}", pytrace=False)

    before = signal.signal(signal.SIGALRM, late)
    began = time.monotonic()
    outer, _ = signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        if outer:
            rest = max(outer - (time.monotonic() - began), 1e-6)
            signal.setitimer(signal.ITIMER_REAL, rest)

"""Fixtures of every suite: nothing may be left behind, and skips are counted.

A test marked ``needs_X`` is skipped by name when X is missing; under IPCKIT_ALL_TOOLS=1 the same
skip is a failure.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile(
    "ci", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True
)
settings.register_profile("deep", parent=settings.get_profile("ci"), max_examples=5000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))

NEEDS = {
    "needs_chromium": ("chromium", lambda: shutil.which("chromium") is not None),
    "needs_fish": ("fish", lambda: shutil.which("fish") is not None),
    "needs_php": ("php-cli with sysvmsg", lambda: shutil.which("php") is not None),
    "needs_php_fpm": (
        "php-fpm and cgi-fcgi",
        lambda: any(Path("/usr/sbin").glob("php-fpm*")) and shutil.which("cgi-fcgi") is not None,
    ),
    "needs_redis": ("redis-tools", lambda: shutil.which("redis-benchmark") is not None),
    "needs_root": ("root", lambda: os.geteuid() == 0),
    "needs_socat": ("socat and ncat", lambda: all(map(shutil.which, ("socat", "ncat")))),
    "needs_strace": ("strace", lambda: shutil.which("strace") is not None),
    "needs_systemd": ("systemd", lambda: shutil.which("systemd-socket-activate") is not None),
    "needs_tmux": ("tmux", lambda: shutil.which("tmux") is not None),
    "needs_zsh": ("zsh", lambda: shutil.which("zsh") is not None),
}


def pytest_runtest_setup(item: pytest.Item) -> None:
    for mark, (what, there) in NEEDS.items():
        if item.get_closest_marker(mark) and not there():
            if os.environ.get("IPCKIT_ALL_TOOLS") == "1":
                pytest.fail(f"{what} is missing, and IPCKIT_ALL_TOOLS=1 allows no skip")
            pytest.skip(f"{mark}: {what} is missing")


def sysv_queues() -> set[tuple[int, int]]:
    """Every System V queue there is, as (id, change time)."""
    rows = Path("/proc/sysvipc/msg").read_text().splitlines()[1:]
    return {(int(row.split()[1]), int(row.split()[-1])) for row in rows}


def children(pid: int | None = None) -> set[int]:
    """The processes that this one started and has not reaped."""
    pid = pid or os.getpid()
    found = set()
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(FileNotFoundError):  # a thread that has just ended
            found |= {int(child) for child in (task / "children").read_text().split()}
    return found


def shm_files() -> set[str]:
    return set(os.listdir("/dev/shm"))


def descriptors() -> set[str]:
    return set(os.listdir("/proc/self/fd"))


@pytest.fixture(autouse=True)
def nothing_left_behind():
    """After each test there are no more queues, segments or children than before it."""
    before = ({q for q, _ in sysv_queues()}, shm_files(), children())
    yield
    deadline = time.monotonic() + 5
    while True:
        after = ({q for q, _ in sysv_queues()}, shm_files(), children())
        left = [sorted(a - b) for a, b in zip(after, before, strict=True)]
        if not any(left):
            return
        if time.monotonic() > deadline:
            pytest.fail(f"left behind: queues {left[0]}, /dev/shm {left[1]}, children {left[2]}")
        time.sleep(0.01)  # the kernel takes a moment to reap what was killed

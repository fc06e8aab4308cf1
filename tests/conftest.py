"""Fixtures of every suite: nothing may be left behind, and skips are counted.

Each run has namespaces of its own (leaks.py), so it sees no queue or segment of another program.
Where that is not permitted, its head says so, and the leak check looks at child processes only.

A test marked ``needs_X`` is skipped by name when X is missing; under IPCKIT_ALL_TOOLS=1 the same
skip is a failure.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import time
from pathlib import Path

import forkserver
import pytest
from deadlines import LOOK
from hypothesis import HealthCheck, settings
from leaks import children, objects, own_namespaces

settings.register_profile(
    "ci", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True
)
settings.register_profile("deep", parent=settings.get_profile("ci"), max_examples=5000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))

SETTLES = LOOK  # only what really stays behind takes so long
NAMESPACES = {"missing": "not tried yet"}

NEEDS = {
    "needs_chromium": ("chromium", lambda: shutil.which("chromium") is not None),
    "needs_faketime": (
        "libfaketime",
        lambda: any(Path("/usr/lib").glob("*/faketime/libfaketime.so.1")),
    ),
    "needs_fish": ("fish", lambda: shutil.which("fish") is not None),
    "needs_namespaces": ("unshare(2) of IPC namespaces", lambda: not NAMESPACES["missing"]),
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
    "needs_ziglang": (
        "the group `wheel` of pyproject.toml (make wheel)",
        lambda: importlib.util.find_spec("ziglang") is not None,
    ),
    "needs_zsh": ("zsh", lambda: shutil.which("zsh") is not None),
}


def pytest_configure() -> None:
    NAMESPACES["missing"] = own_namespaces()


def pytest_report_header() -> str:
    missing = NAMESPACES["missing"]
    return f"leaks of queues and shared memory are not looked for: {missing}" if missing else ""


def pytest_runtest_setup(item: pytest.Item) -> None:
    for mark, (what, there) in NEEDS.items():
        if item.get_closest_marker(mark) and not there():
            if os.environ.get("IPCKIT_ALL_TOOLS") == "1":
                pytest.fail(f"{what} is missing, and IPCKIT_ALL_TOOLS=1 allows no skip")
            pytest.skip(f"{mark}: {what} is missing")


@pytest.fixture(autouse=True)
def nothing_left_behind():
    """After each test there are no more queues, segments or children than before it.

    Objects are looked at where all of them are this run's (`leaks.own_namespaces`).
    """
    before = left()
    yield
    deadline = time.monotonic() + SETTLES
    while more := left() - before:
        if time.monotonic() > deadline:
            pytest.fail(f"left behind: {', '.join(sorted(more))}")
        time.sleep(0.01)  # the kernel takes a moment to reap what was killed


def left() -> set[str]:
    programs = children() - forkserver.own() | forkserver.children()
    found = {f"child {pid}" for pid in programs}
    return found if NAMESPACES["missing"] else found | objects()

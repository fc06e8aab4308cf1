"""Each tier can be used alone: importing one primitive loads no other, and nothing slow by chance.

Every case is a fresh interpreter that runs one line and prints what is loaded after it.
"""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from deadlines import RUN

import ipckit

ROOT = Path(__file__).parents[2]

_CONTRACTS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
_LAYERS = next(c["layers"] for c in _CONTRACTS["contracts"] if c["id"] == "tiers")
TIERS = [[name.strip(" ()") for name in layer.split("|")] for layer in _LAYERS]
PRIMITIVES = next(tier for tier in TIERS if "queue" in tier)
ABOVE = [name for tier in TIERS[: TIERS.index(PRIMITIVES)] for name in tier]

# Imports every module below a package, so that a lazy __init__ hides nothing. What is for posix_ipc
# is not imported where that has no wheel.
ALL_OF = """
import importlib, pkgutil
home = importlib.import_module({name!r})
for found in pkgutil.walk_packages(getattr(home, "__path__", []), {name!r} + "."):
    try:
        importlib.import_module(found.name)
    except ModuleNotFoundError as missing:
        if missing.name != "posix_ipc":
            raise
"""

# What only the server, the harness or an extra needs.
EXTRAS = ["uvloop", "hypothesis", "pytest", "textual", "textual_serve", "prometheus_client"]


def loaded_after(line: str) -> set[str]:
    code = f"{line}\nimport sys, json; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-I", "-c", code],
        check=False,
        capture_output=True,
        text=True,
        timeout=RUN,
    )
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout))


def within(loaded: set[str], packages: list[str]) -> set[str]:
    """Those of `loaded` that are one of `packages` or below one."""
    return {m for m in loaded if any(m == p or m.startswith(f"{p}.") for p in packages)}


@pytest.mark.parametrize("primitive", PRIMITIVES)
def test_a_primitive_stands_alone(primitive):
    """All modules of one primitive together load no other primitive and no tier above."""
    loaded = loaded_after(ALL_OF.format(name=f"ipckit.{primitive}"))
    others = [f"ipckit.{name}" for name in (*PRIMITIVES, *ABOVE) if name != primitive]

    assert f"ipckit.{primitive}" in loaded
    assert within(loaded, EXTRAS) == set()
    assert within(loaded, others) == set()


@pytest.mark.parametrize("part", ["server", "client", "cli", "testing"])
def test_what_an_extra_brings_is_loaded_by_no_import(part):
    """The parts above the primitives are imported without the packages of the extras."""
    assert within(loaded_after(f"import ipckit.{part}"), EXTRAS[1:]) == set()


@pytest.mark.parametrize(
    ("line", "absent"),
    [
        (
            "import ipckit",
            [
                *(f"ipckit.{name}" for tier in TIERS for name in tier if name != "_distribution"),
                *("asyncio", "socket", "subprocess", "email", "cffi"),
            ],
        ),
        ("from ipckit import ftok", ["ipckit.queue", "ipckit.channel", "ipckit._core", "asyncio"]),
        ("from ipckit import NotFound", ["ipckit.queue", "ipckit.channel", "asyncio", "socket"]),
        ("from ipckit import SockType, TaskIPC", ["ipckit.server", "asyncio", "socket"]),
        ("from ipckit import SysvQueue", ["ipckit.channel", "ipckit.server", "posix_ipc"]),
        ("from ipckit import PosixQueue", ["ipckit.channel", "ipckit.server", "ipckit.queue.sysv"]),
        ("from ipckit import MemoryQueue", ["ipckit._core", "posix_ipc", "sysv_ipc"]),
        ("from ipckit import Channel", ["ipckit.queue", "ipckit.server", "ipckit.table", "uvloop"]),
        (
            "from ipckit import Client, TaskClient",
            ["ipckit.queue", "ipckit.server", "ipckit.channel", "ipckit._core", "asyncio"],
        ),
        ("import ipckit.queue", ["ipckit._core", "asyncio", "socket"]),
        ("import ipckit.queue.php_format", ["ipckit._core", "asyncio", "socket"]),
        ("import ipckit.framing", ["ipckit.channel", "ipckit.queue", "asyncio", "socket"]),
    ],
)
def test_a_line_loads_no_more_than_it_needs(line, absent):
    """What is not needed for a name is not loaded for it."""
    assert within(loaded_after(line), absent) == set()


def test_the_lazy_names_are_complete():
    """Every public error is at the top, dir() tells all names, an unknown one is AttributeError."""
    from ipckit import errors

    public = {name for name in errors.__all__ if isinstance(getattr(errors, name), type)}
    assert public <= set(ipckit.__all__)
    assert dir(ipckit) == sorted(ipckit.__all__)
    with pytest.raises(AttributeError, match="'ipckit' has no attribute 'Qeue'"):
        _ = ipckit.Qeue


def test_extras_are_loaded_by_who_asks_for_them_alone():
    """Neither the server nor the command, its `top` and `metrics` included, load an extra."""
    extras = ["aiohttp", "hypothesis", "prometheus_client", "rich", "textual", "textual_serve"]
    line = f"{ALL_OF.format(name='ipckit.server')}\nimport ipckit.cli, ipckit.cli.top, ipckit.cli.metrics"
    loaded = loaded_after(line)
    assert "ipckit.cli.top" in loaded and "ipckit.server.monitoring.live_view" in loaded
    assert within(loaded, extras) == set()


@pytest.mark.parametrize(
    ("path", "name", "home"),
    [
        ("ipckit.server.dead_letters", "DeadLetters", "ipckit.server.tasks.dead_letters"),
        ("ipckit.server.dead_letters", "DeadLetter", "ipckit.server.tasks.dead_letters"),
        ("ipckit.server.port", "Port", "ipckit.server.ports.port"),
        ("ipckit.server", "Server", "ipckit.server.api.server"),
    ],
)
def test_a_documented_path_stays(path, name, home):
    """Programs import from these; what they get is the one that the server uses."""
    found = getattr(importlib.import_module(path), name)
    assert found is getattr(importlib.import_module(home), name)

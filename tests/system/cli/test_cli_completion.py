"""Shells complete the command line: a real bash and zsh behind a terminal, and fish."""

from __future__ import annotations

import contextlib
import os
import pty
import select
import subprocess
import sys
import time
from pathlib import Path

import pytest
from command import ipckit, ipckit_json
from serving import LOOK

BIN = Path(sys.executable).parent


class Terminal:
    """A shell behind a terminal."""

    def __init__(self, *shell: str, folder: Path) -> None:
        self.ours, theirs = pty.openpty()
        self.process = subprocess.Popen(
            shell,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            cwd=folder,
            env={
                "PATH": f"{BIN}:{os.environ['PATH']}",
                "HOME": str(folder),
                "TERM": "dumb",
                "PS1": "$ ",
            },
            start_new_session=True,
        )
        os.close(theirs)

    def type(self, keys: str) -> None:
        os.write(self.ours, keys.encode())

    def shows(self, text: str) -> str:
        """Wait until the text is on the screen; return all that came."""
        seen, end = "", time.monotonic() + LOOK
        while text not in seen:
            left = end - time.monotonic()
            assert left > 0 and select.select([self.ours], [], [], left)[0], (text, seen)
            seen += os.read(self.ours, 65536).decode(errors="replace")
        return seen

    def close(self) -> None:
        self.process.kill()
        self.process.wait(LOOK)
        os.close(self.ours)


@pytest.fixture
def terminal(tmp_path):
    with contextlib.ExitStack() as ends:

        def begin(*shell: str) -> Terminal:
            made = Terminal(*shell, folder=tmp_path)
            ends.callback(made.close)
            return made

        yield begin


def completes(shell: Terminal, tmp_path: Path) -> None:
    (tmp_path / "shop.py").touch()
    shell.type("ipckit conn\t")
    shell.shows("ipckit connections ")
    shell.type("\x15ipckit dead sh\t")
    shell.shows("ipckit dead show ")
    shell.type("\x15ipckit reload --only\t")
    shell.shows("ipckit reload --only-task ")
    shell.type("\x15ipckit reload --wa\t")
    shell.shows("ipckit reload --wait ")
    shell.type("\x15ipckit run shop\t")
    shell.shows("ipckit run shop:server")
    shell.type("\x15ipckit limits --set max_conn\t")
    shell.shows("ipckit limits --set max_connection=")


def test_bash(terminal, tmp_path):
    shell = terminal("bash", "--noprofile", "--norc", "-i")
    shell.type('eval "$(ipckit completion bash)"; echo do""ne\n')
    shell.shows("done")
    completes(shell, tmp_path)
    path = f"/dev/shm/test.{os.getpid()}.segment"
    try:
        Path(path).touch()
        shell.type(f"\x15ipckit rm /dev/shm/test.{os.getpid()}\t")
        shell.shows(f"ipckit rm {path}")
    finally:
        os.unlink(path)


@pytest.mark.needs_zsh
def test_zsh(terminal, tmp_path):
    shell = terminal("zsh", "-f", "-i")
    shell.type(
        "autoload -U compinit is-at-least; compinit -u -D;"
        'eval "$(ipckit completion zsh)"; echo do""ne\n'
    )
    shell.shows("done")
    completes(shell, tmp_path)


@pytest.mark.needs_fish
def test_fish(tmp_path):
    script = "ipckit completion fish | source; complete -C 'ipckit {}'"
    for typed, found in (
        ("conn", "connections"),
        ("dead sh", "show"),
        ("reload --on", "--only-task"),
        ("reload --wa", "--wait"),
    ):
        done = subprocess.run(
            ["fish", "--no-config", "-c", script.format(typed)],
            env={"PATH": f"{BIN}:{os.environ['PATH']}", "HOME": str(tmp_path)},
            capture_output=True,
            text=True,
            timeout=LOOK,
            check=True,
        )
        assert [line.split("\t")[0].strip() for line in done.stdout.splitlines()] == [found]


def test_without_the_package_it_says_what_to_install(tmp_path):
    assert ipckit_json("completion", "zsh")["script"].startswith("#compdef ipckit")
    (tmp_path / "argcomplete.py").write_text("raise ImportError('not here')\n")
    told = ipckit("completion", "bash", code=1, PYTHONPATH=str(tmp_path))
    assert "pip install 'ipckit-linux[completion]'" in told
    ipckit("status", code=1, PYTHONPATH=str(tmp_path), _ARGCOMPLETE="1")

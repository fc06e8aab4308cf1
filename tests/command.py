"""The `ipckit` command as a user runs it: a process of its own."""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys

from deadlines import LOOK

from ipckit.cli import main


def ipckit(*words, code: int = 0, runtime=None, answer: str = "", **variables: str) -> str:
    """Run it; return what it printed, both streams. `runtime`: the XDG_RUNTIME_DIR."""
    environment = {**os.environ, **variables}
    if runtime:
        environment["XDG_RUNTIME_DIR"] = str(runtime)
    done = subprocess.run(
        [sys.executable, "-m", "ipckit", *map(str, words)],
        input=answer,
        capture_output=True,
        text=True,
        timeout=LOOK,
        env=environment,
        check=False,
    )
    assert done.returncode == code, (done.stdout, done.stderr)
    return done.stdout + done.stderr


def ipckit_json(*words, code: int = 0, answer: str = ""):
    """Run it with --json in this process, which is faster; return its document."""
    out = io.StringIO()
    before, sys.stdin = sys.stdin, io.StringIO(answer)
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(io.StringIO()) as errors:
            try:
                found = main([*map(str, words), "--json"])
            except SystemExit as end:  # argparse's way
                found = end.code
    finally:
        sys.stdin = before
    assert found == code, (out.getvalue(), errors.getvalue())
    return json.loads(out.getvalue())

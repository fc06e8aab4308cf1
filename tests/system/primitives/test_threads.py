"""Threads that share the primitives, in several processes at once (contracts T, SY, Q, C).

Where CPython has no GIL the threads run at the same time in the C core; elsewhere they change at any
bytecode. In full (IPCKIT_SOAK=1) it takes 60 s.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
from pathlib import Path

from deadlines import RUN

SOAK = os.environ.get("IPCKIT_SOAK") == "1"
FREE = bool(sysconfig.get_config_var("Py_GIL_DISABLED"))
PROGRAM = Path(__file__).with_name("threads_work.py")


def test_threads_of_processes_tear_lose_and_reorder_nothing():
    """32 threads of 4 processes on one Table, Lock, Atomic, SysvQueue, PosixQueue and Channel."""
    tests = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, PROGRAM, "60s" if SOAK else "100"],
        env={**os.environ, "PYTHONPATH": str(tests)} | ({"PYTHON_GIL": "0"} if FREE else {}),
        capture_output=True,
        text=True,
        timeout=RUN + 60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    print(found)
    assert found["faults"] == []
    assert found["gil"] == (not FREE)
    assert SOAK or found["turns"] == 32 * 100

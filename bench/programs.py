"""The C programs beside these files, built when they are wanted."""

from __future__ import annotations

import subprocess
from functools import cache
from pathlib import Path

__all__ = ["built"]


@cache
def built(name: str) -> str:
    """Build it; return its path."""
    program = Path("build/bench") / name
    program.parent.mkdir(parents=True, exist_ok=True)
    source = Path(__file__).parent / "c" / f"{name}.c"
    subprocess.run(["cc", "-O2", "-D_GNU_SOURCE", "-o", program, source], check=True)
    return str(program)

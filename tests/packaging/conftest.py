"""The sdist, the wheel that is built from it, and an environment with nothing but that wheel.

All three are made once for the folder. The wheel is built as a user's pip builds it: in isolation,
from the sdist, with a PATH that has a compiler and nothing else.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest
from deadlines import RUN

ROOT = Path(__file__).parents[2]
COMPILER = ("cc", "gcc", "as", "ld", "ar", "ranlib")
MANYLINUX = Path(__file__).with_name("manylinux.py")
MADE_WITH = str(sysconfig.get_config_var("CC")).split()[0]
"""The compiler that this Python was made with: CMake gets its name as the one to use."""


def run(*command: str | Path, path: Path, **more) -> str:
    """Return what a command printed; it sees the programs in `path` only, and no setting of ours."""
    kept = {name: os.environ[name] for name in ("HOME", "LANG") if name in os.environ}
    index = {name: value for name, value in os.environ.items() if name.startswith("PIP_")}
    done = subprocess.run(
        command,
        env={**kept, **index, "PATH": str(path)},
        capture_output=True,
        text=True,
        timeout=RUN,
        check=False,
        **more,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="package")
def only_a_compiler(tmp_path_factory):
    """A folder for PATH with the compiler."""
    folder = tmp_path_factory.mktemp("compiler")
    for name in {*COMPILER, MADE_WITH}:
        found = shutil.which(name)
        assert found, f"{name}: a compiler is needed"
        (folder / name).symlink_to(found)
    return folder


@pytest.fixture(scope="package")
def sdist(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sdist")
    tools = Path(sys.executable).parent
    run(sys.executable, "-m", "build", "-sn", "-o", folder, ROOT, path=tools)
    (made,) = folder.iterdir()
    return made


@pytest.fixture(scope="package")
def wheel(sdist, only_a_compiler, tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    pip = (sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-cache-dir", "-w", folder)
    run(*pip, sdist, path=only_a_compiler)
    (made,) = folder.iterdir()
    return made


@pytest.fixture(scope="package")
def manylinux(sdist, tmp_path_factory):
    """The wheel as it is published: `make wheel` makes it in the same way."""
    folder = tmp_path_factory.mktemp("manylinux")
    tools = Path(sys.executable).parent
    run(sys.executable, MANYLINUX, "--sdist", sdist, folder, path=tools)
    (made,) = folder.iterdir()
    return made


@pytest.fixture(scope="package")
def installed(manylinux, tmp_path_factory):
    """The Python of an environment where the wheel was installed without a compiler."""
    folder = tmp_path_factory.mktemp("user")
    venv.create(folder / "env", with_pip=False)
    python = folder / "env" / "bin" / "python"
    nothing = folder / "nothing"
    nothing.mkdir()
    pip = (sys.executable, "-m", "pip", "--python", python, "install", "--only-binary", ":all:")
    run(*pip, manylinux, path=nothing)
    return python

"""The published wheel on other releases of Debian, each with its own Python and no compiler.

`make roots` runs this, as root. The first time it makes the roots (roots.py).
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from deadlines import RUN

from .roots import RELEASES, inside, root

pytestmark = pytest.mark.needs_root
HERE = Path(__file__).parent
PROJECT = HERE.parents[1]
SMOKE = HERE.parent / "packaging/smoke.py"
INSTALL = """
set -e
for name in cc gcc clang c99 tcc; do
  if command -v $name; then echo "there is a compiler"; exit 1; fi
done
$PYTHON -m venv --without-pip /tmp/env
pip=$(echo /mnt/pip-*.whl)
$PYTHON $pip/pip -q --python /tmp/env/bin/python install --no-index --find-links /mnt ipckit-linux
cd /tmp
/tmp/env/bin/python -I -W error /srv/smoke.py
/tmp/env/bin/ipckit demo --json
"""


def run(*command: str | Path) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=RUN, check=False)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """As `make wheel` makes it."""
    folder = tmp_path_factory.mktemp("wheel")
    run(sys.executable, HERE.parent / "packaging/manylinux.py", folder)
    (made,) = folder.glob("*.whl")
    return made


@pytest.fixture(params=RELEASES)
def release(request):
    return RELEASES[request.param]


@pytest.fixture
def wheels(release, wheel, tmp_path):
    """The wheel, pip, and all that the wheel depends on for that Python; nothing is compiled."""
    platforms = [
        word
        for each in (
            "manylinux_2_28",
            "manylinux_2_17",
            "manylinux_2_5",
            "manylinux2014",
            "manylinux1",
        )
        for word in ("--platform", f"{each}_x86_64")
    ]
    version = ("--python-version", release.python, "--implementation", "cp")
    pip = (sys.executable, "-m", "pip", "download", "-q", "--only-binary", ":all:")
    run(*pip, *version, *platforms, "-d", tmp_path, wheel, "pip")
    return tmp_path


@pytest.fixture
def smoke(tmp_path_factory):
    folder = tmp_path_factory.mktemp("smoke")
    shutil.copy(SMOKE, folder)
    return folder


def test_it_is_installed_and_runs_without_a_compiler(release, wheels, smoke):
    """Each primitive, a server with a task, and the demo, with the dependencies of the index."""
    script = INSTALL.replace("$PYTHON", release.path)
    said = inside(root(release.name), wheels, smoke, "sh", "-c", script).splitlines()
    assert said[:2] == ["answer b'HELLO\\n'", "done"]
    demo = json.loads(said[-1])
    assert (demo["delivered"], demo["given_up"]) == (10_000, 0)

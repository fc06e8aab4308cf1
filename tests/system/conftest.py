"""Fixtures of the system suites: servers that must end in order."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from serving import Running, Small


@pytest.fixture
def start(tmp_path):
    """Start servers; each must end with code 0 and leave nothing in its runtime directory."""
    running: list[Running] = []

    def begin(**settings) -> Running:
        running.append(Running(tmp_path, **settings))
        return running[-1]

    yield begin
    for one in running:
        killed = one.process.poll() is not None
        code = one.end()
        assert killed or code == 0, one.log()[-4000:]
        if not killed and one.runtime_dir.exists():
            assert os.listdir(one.runtime_dir) == []


@pytest.fixture(params=[1, 2, 3], ids=["mode1", "mode2", "mode3"])
def mode(request) -> int:
    return request.param


@pytest.fixture
def small():
    made: list[Small] = []

    def make(callbacks: str, settings: str = "", host: str = "127.0.0.1") -> Small:
        made.append(Small(callbacks, settings, host))
        return made[-1]

    yield make
    for one in made:
        if one.process.poll() is None:
            one.end()
        for pipe in (one.process.stdout, one.process.stderr):
            if pipe is not None:
                pipe.close()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """Return a file with a key and its certificate, for localhost."""
    path = tmp_path_factory.mktemp("tls") / "both.pem"
    subprocess.run(
        f"openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 "
        f"-subj /CN=localhost -keyout {path} -out {path}.crt".split(),
        check=True,
        capture_output=True,
    )
    path.write_bytes(path.read_bytes() + Path(f"{path}.crt").read_bytes())
    return path


@pytest.fixture
def group():
    """A control group with 64 MiB of memory; gives the file that takes a process into it."""
    for base, name in (
        ("/sys/fs/cgroup/memory", "memory.limit_in_bytes"),
        ("/sys/fs/cgroup", "memory.max"),
    ):
        path = Path(base) / f"ipckit-test-{os.getpid()}"
        try:
            path.mkdir()
        except OSError:
            continue
        try:
            (path / name).write_text(str(64 * 2**20))
            yield path / "cgroup.procs"
            return
        except OSError:
            continue
        finally:
            path.rmdir()
    pytest.skip("no control group for memory can be made here")

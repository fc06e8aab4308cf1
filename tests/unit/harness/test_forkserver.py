"""A program that is forked is what a new interpreter is: each assertion holds for both."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import forkserver
import leaks
import pytest
from deadlines import LOOK
from serving import wait_for


def popen(words, stdout, stderr, bufsize=-1):
    return subprocess.Popen(
        [sys.executable, *words],
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=stderr,
        bufsize=bufsize,
    )


@pytest.fixture(params=[forkserver.start, popen], ids=["forked", "new"])
def begin(request):
    return lambda *words: request.param(words, forkserver.PIPE, forkserver.PIPE)


def ended(process) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=LOOK)
    return process.returncode, out.decode(), err.decode()


def test_a_forked_program_comes_from_the_server():
    process = forkserver.start(["-c", "pass"], forkserver.PIPE, forkserver.PIPE)
    assert isinstance(process, forkserver.Program)
    assert ended(process) == (0, "", "")


@pytest.mark.parametrize(
    ("code", "returned", "last"),
    [
        ("pass", 0, ""),
        ("raise SystemExit(3)", 3, ""),
        ("raise SystemExit('no')", 1, "no"),
        ("import os; os._exit(4)", 4, ""),
        ("1 / 0", 1, "ZeroDivisionError: division by zero"),
        ("import os; os.kill(os.getpid(), 9)", -9, ""),
        ("raise KeyboardInterrupt", -2, "KeyboardInterrupt"),
    ],
)
def test_its_end(begin, code, returned, last):
    code, _, err = ended(begin("-c", code))
    assert (code, err.strip().rpartition("\n")[2]) == (returned, last)


def test_what_is_due_at_its_end_is_done(begin):
    code = "import atexit; atexit.register(print, 'over'); print('first')"
    assert ended(begin("-c", code)) == (0, "first\nover\n", "")


def test_its_arguments_main_and_surroundings(begin, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SET_FOR_THIS_TEST", "1")
    program = tmp_path / "program.py"
    program.write_text(
        "import json, os, pickle, resource, sys\n"
        "class Mine: pass\n"
        "assert isinstance(pickle.loads(pickle.dumps(Mine())), Mine)\n"
        "found = [__name__, __file__, sys.argv, sys.path[0], os.getcwd(), os.environ['SET_FOR_THIS_TEST'],\n"
        "         resource.getrlimit(resource.RLIMIT_CORE)[0], sys.stdin.read()]\n"
        "print(json.dumps(found))\n"
    )
    before = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (0, before[1]))
    try:
        code, out, err = ended(begin(str(program), "one", "two"))
    finally:
        resource.setrlimit(resource.RLIMIT_CORE, before)
    assert code == 0, err
    path, here = str(program), str(tmp_path)
    assert json.loads(out) == ["__main__", path, [path, "one", "two"], here, here, "1", 0, ""]


def test_code_has_the_name_of_its_argument(begin):
    code, out, _ = ended(begin("-c", "import sys; print(sys.argv, repr(sys.path[0]))", "one"))
    assert (code, out) == (0, "['-c', 'one'] ''\n")


def test_it_has_no_other_descriptor(begin):
    other = begin("-c", "import signal; signal.pause()")
    reader, writer = os.pipe()
    os.set_inheritable(writer, True)
    try:
        found = "import os; print(sorted(map(int, os.listdir('/proc/self/fd')))[:-1])"
        assert ended(begin("-c", found))[1] == "[0, 1, 2]\n"
    finally:
        os.close(reader)
        os.close(writer)
        other.kill()
        ended(other)


def test_it_is_waited_for_and_signalled(begin):
    process = begin("-c", "import signal; signal.pause()")
    assert process.poll() is None
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.01)
    process.terminate()
    assert process.wait(LOOK) == process.poll() == process.returncode == -15
    process.send_signal(9)
    ended(process)


def test_a_variable_of_the_interpreter_asks_for_a_new_one(monkeypatch):
    monkeypatch.setenv("PYTHONHASHSEED", "0")
    code = "import sys; print(sys.flags.hash_randomization)"
    process = forkserver.start(["-c", code], forkserver.PIPE, forkserver.PIPE)
    assert isinstance(process, subprocess.Popen)
    assert ended(process) == (0, "0\n", "")


def test_one_that_is_too_large_is_refused():
    with pytest.raises(ValueError, match=r"of \d+ bytes: at most 131072"):
        forkserver.start(["-c", "#" * 131072], forkserver.PIPE, forkserver.PIPE)
    assert ended(forkserver.start(["-c", "pass"], forkserver.PIPE, forkserver.PIPE))[0] == 0


def test_one_that_is_left_behind_is_seen(request):
    process = forkserver.start(
        ["-c", "import signal; signal.pause()"], forkserver.PIPE, forkserver.PIPE
    )
    conftest = request.config.pluginmanager.get_plugin(
        str(Path(forkserver.__file__).with_name("conftest.py"))
    )
    assert f"child {process.pid}" in conftest.left()
    assert process.pid in forkserver.children()
    assert process.pid not in leaks.children()
    process.kill()
    ended(process)
    wait_for(lambda: process.pid not in forkserver.children())

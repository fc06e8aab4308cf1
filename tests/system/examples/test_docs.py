"""Every block of code of the pages runs as it stands, and prints what the page says.

How a page says what a block is: tests/pages.py.
"""

from __future__ import annotations

import collections
import doctest
import functools
import os
import re
import signal
import socket
import subprocess
import sys
import tomllib

import pytest
from deadlines import RUN
from pages import DOCS, ROOT, Block, blocks, commands, pages

from ipckit.server.config.settings import Settings

# Blocks that cannot run here, each with its reason beside it on the page.
NOT_RUN = {
    "docs/explanation/processes.md": 1,
    "docs/explanation/tasks.md": 1,
    "docs/first-ten-minutes.md": 4,
    "docs/harness.md": 1,
    "docs/how-to/in-a-container.md": 2,
}
ALL = {path: blocks(path) for path in pages()}
EVERY = [block for found in ALL.values() for block in found]
PROGRAMS = [block for block in EVERY if block.language == "python" and not block.mark]
SESSIONS = [
    path
    for path, found in ALL.items()
    if any(b.language == "console" and not b.mark for b in found)
]
CHECKER = doctest.OutputChecker()
LISTENS = """
import select, sys, time
end, port = time.monotonic() + 120, f":{int(sys.argv[1]):04X} "
while not any(port in line and " 0A " in line for line in open("/proc/net/tcp")):
    assert time.monotonic() < end, "nobody listens"
    select.select([], [], [], 0.01)
"""


def after(block: Block) -> Block | None:
    """The block that follows on the page, if it is what this one prints."""
    found = ALL[ROOT / block.page]
    following = found[found.index(block) + 1 :][:1]
    return next((one for one in following if one.mark == "prints"), None)


# What is another one at each run, and of the same form.
VARIES = [
    (r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} \d+ ", "TIME PID "),
    (r"\b(server|manager) \d+", r"\1 PID"),
    (r"\bup \d+ s$", "up SECONDS"),
    (r"^  connection_num +[01]$", "CLIENTS"),  # one that has just left may still be counted
    (r"^  task_workers_needed +[01]\.\d$", "BUSY"),  # by the time that the tasks took
    (r"^( +\d+){5} +[\d.]+$", "ROW"),
    (r"\b(failed|passed) in [\d.]+s$", r"\1 in SECONDS"),
]


def steady(text: str) -> str:
    for pattern, word in VARIES:
        text = re.sub(pattern, word, text, flags=re.MULTILINE)
    return text


def in_any_order(text: str) -> str:
    """The lines of a log sorted: several processes write it, each when it runs."""
    lines = text.splitlines(keepends=True)
    logged = iter(sorted(line for line in lines if line.startswith("TIME PID ")))
    return "".join(next(logged) if line.startswith("TIME PID ") else line for line in lines)


def assert_printed(told: str, printed: str, where: str) -> None:
    expected, came = steady(told), steady(printed)
    if "..." not in told:
        expected, came = in_any_order(expected), in_any_order(came)
    same = CHECKER.check_output(expected, came, doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    assert same, f"{where} says:\n{told}\nand this came:\n{printed}"


@pytest.mark.parametrize("block", PROGRAMS, ids=str)
def test_a_program_runs(block, tmp_path):
    """From a file, as a reader runs it: before Python 3.13 a traceback of `-c` has no lines of it."""
    program = tmp_path / "program.py"
    program.write_text(block.text)
    done = subprocess.run(
        [sys.executable, "-W", "error", program.name],
        cwd=tmp_path,
        env={**os.environ, "XDG_RUNTIME_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=RUN,
        check=False,
    )
    assert done.returncode == 0, done
    assert "Traceback" not in done.stderr
    told = after(block)
    if told is not None:
        assert_printed(told.text, done.stdout, str(told))


@pytest.mark.parametrize("path", SESSIONS, ids=lambda path: path.stem)
def test_a_session_goes_as_it_is_told(path, tmp_path):
    """The console blocks of a page, one after the other, in one shell and one directory."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    for name in (".venv", "venv"):
        (tmp_path / name).symlink_to(sys.prefix)
    (tmp_path / "listens.py").write_text(LISTENS)
    script, told = ["exec 2>&1"], []
    for number, block in enumerate(ALL[path]):
        if block.mark == "file":
            later = [b.text for b in ALL[path][number:] if b.language == "console"]
            assert any(block.said in text for text in later), f"{block}: nothing runs it"
            body = block.text.replace("9501", port)
            script.append(f"cat > {block.said} <<'END OF FILE'\n{body}END OF FILE")
        elif block.language == "console" and not block.mark:
            for command, printed in commands(block):
                script += [f"echo '@@{len(told)}@@'", command]
                if command.endswith("&"):
                    script.append(f".venv/bin/python listens.py {port}")
                told.append((str(block), command, printed))
    with subprocess.Popen(
        ["bash", "-c", "\n".join(script).replace("9501", port)],
        cwd=tmp_path,
        # An editable install, which a reader has not, makes pytest warn of its finder.
        env={**os.environ, "XDG_RUNTIME_DIR": str(tmp_path), "PYTEST_ADDOPTS": "-W ignore"},
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as shell:
        try:
            printed, _ = shell.communicate(timeout=RUN)
        finally:
            if shell.poll() is None:
                os.killpg(shell.pid, signal.SIGKILL)
    parts = dict(re.findall(r"^@@(\d+)@@\n(.*?)(?=^@@|\Z)", printed, re.MULTILINE | re.DOTALL))
    assert len(parts) == len(told), printed
    for number, (where, command, expected) in enumerate(told):
        shown = parts[str(number)].replace(port, "9501")
        assert_printed(expected, shown, f"{where}, $ {command},")


@pytest.mark.needs_php
@pytest.mark.parametrize("block", [b for b in EVERY if b.language == "php"], ids=str)
def test_php_reads_it(block, tmp_path):
    (tmp_path / "block.php").write_text(block.text.removeprefix("<?php\n").join(["<?php\n", ""]))
    subprocess.run(["php", "-l", "block.php"], cwd=tmp_path, timeout=RUN, check=True)


@pytest.mark.needs_systemd
@pytest.mark.parametrize("block", [b for b in EVERY if b.language == "ini"], ids=str)
def test_systemd_takes_the_unit(block, tmp_path):
    """It says nothing of one in which it understands every word."""
    unit = tmp_path / "page.service"
    unit.write_text(re.sub(r"(?<==)/srv/\S+/python", sys.executable, block.text))
    done = subprocess.run(
        ["systemd-analyze", "verify", unit],
        capture_output=True,
        text=True,
        timeout=RUN,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


@functools.cache
def help_of(command: str) -> str:
    asked = [sys.executable, "-m", "ipckit", command, "--help"]
    done = subprocess.run(asked, capture_output=True, text=True, timeout=RUN, check=False)
    return done.stdout if done.returncode == 0 else ""


def is_there(line: str) -> bool:
    """Whether a line of a shell block calls what exists, with options that exist."""
    line = re.sub(r"(^|\s)#.*", "", line).strip()
    make = re.fullmatch(r"make (\S+)", line)
    if make:
        return bool(re.search(rf"^{make[1]}:", (ROOT / "Makefile").read_text(), re.MULTILINE))
    install = re.fullmatch(r"pip install '?(?:ipckit-linux|\.)(?:\[([\w,]+)\])?'?", line)
    if install:
        project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
        return {*(install[1] or "testing").split(",")} <= project["optional-dependencies"].keys()
    calls = re.findall(r"\bipckit ([a-z]+)\b([^|)]*)", line)
    return bool(calls) and all(
        help_of(command) and all(one in help_of(command) for one in re.findall(r"--[a-z-]+", rest))
        for command, rest in calls
    )


def test_commands_exist():
    """What is not run in a session is a target of the Makefile, an installation, or our command."""
    shown = [(block, block.text.splitlines()) for block in EVERY if block.language == "sh"]
    wrong = [
        f"{block}: {line}"
        for block, lines in shown
        for line in lines
        if not block.mark and line.strip() and not is_there(line)
    ]
    assert shown and wrong == []


@pytest.mark.parametrize(
    "line",
    ["make nothing", "pip install '.[nothing]'", "pip install flask", "ipckit bury", "ls",
     "ipckit stop --nothing", "eval $(ipckit status --nothing)"],
)  # fmt: skip
def test_what_does_not_exist_is_found(line):
    assert not is_there(line)


def test_no_block_is_passed_over_in_silence():
    """Each is run or compared, or has a reason not to be; those are counted here."""
    tried = {"python", "console", "php", "sh", "ini"}
    left = [b for b in EVERY if not b.mark and b.language not in tried and "{" not in b.language]
    assert [str(block) for block in left] == []
    assert [str(b) for b in EVERY if b.mark == "not run" and len(b.said) < 5] == []
    assert [str(b) for b in EVERY if b.mark == "prints" and not followed(b)] == []
    assert collections.Counter(b.page for b in EVERY if b.mark == "not run") == NOT_RUN


def followed(block: Block) -> bool:
    """Whether what it says is compared with what something prints."""
    found = ALL[ROOT / block.page]
    return found[max(found.index(block) - 1, 0)] in PROGRAMS


def test_the_table_of_settings_is_true():
    page = (DOCS / "reference/settings.md").read_text()
    rows = dict(re.findall(r"^\| `(\w+)` \| `.*?` \| (.*) \|$", page, re.MULTILINE))
    assert set(Settings.names()) <= set(rows)


def test_links_of_the_pages_are_well_formed_or_lead_somewhere():
    """What is not reached from here has at least the form of an address; the rest is a file."""
    wrong = []
    for path in [*pages(), ROOT / "README.md", ROOT / "CONTRIBUTING.md", *ROOT.glob("README.*.md")]:
        for link in re.findall(r"\]\(([^)\s]+)\)", re.sub(r"`[^`\n]*`", "", path.read_text())):
            where = link.partition("#")[0]
            if link.startswith(("http:", "https:")):
                good = re.fullmatch(r"https://[\w.-]+\.[a-z]{2,}(/[^\s<>\"]*)?", link)
            else:
                good = not where or (path.parent / where).exists()
            if not good:
                wrong.append(f"{path.relative_to(ROOT)}: {link}")
    assert wrong == []

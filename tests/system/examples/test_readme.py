"""Every block of the README runs as it stands, in a process of its own; its links lead somewhere."""

from __future__ import annotations

import os
import re
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from deadlines import LOOK
from pages import ROOT, blocks

from ipckit import SysvQueue, msg_receive

README = (ROOT / "README.md").read_text()
BLOCKS = blocks(ROOT / "README.md")
PYTHON, PHP, SHELL = (
    [block.text for block in BLOCKS if block.language == kind] for kind in ("python", "php", "sh")
)
SERVER, CLIENT, *ALONE = PYTHON


def run(block: str, folder: Path | None = None) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", block],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=LOOK,
        check=False,
    )


def promised(block: str) -> str:
    found = re.search(r"print\(.*\) +# (.*)", block)
    assert found is not None, "a block says in a comment what it prints"
    return found[1]


def test_the_server_of_the_first_screen_serves_its_client():
    assert SERVER.count("9501") == 1 == CLIENT.count("9501")
    tell = "server.on('start', lambda server: print(server.port, flush=True))\nserver.start()\n"
    code = SERVER.replace("9501", "0").replace("server.start()\n", tell)
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            assert select.select([process.stdout], [], [], LOOK)[0]
            port = process.stdout.readline().decode().strip()
            done = run(CLIENT.replace("9501", port))
            assert done.stdout.strip() == promised(CLIENT), done
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                assert process.wait(LOOK) == 0
            except subprocess.TimeoutExpired:
                process.kill()
                raise


def own_key(block: str) -> str:
    """The same block with a key that no other run of these tests has at this time."""
    return block.replace("0x51A7", hex(0x51A70000 + os.getpid() % 0x10000))


@pytest.mark.parametrize("block", ALONE, ids=["queue", "table", "channel", "framing", "harness"])
def test_a_block_prints_what_its_comment_says(block, tmp_path):
    done = run(own_key(block), tmp_path)
    assert done.returncode == 0, done
    assert done.stdout.strip() == promised(block)


@pytest.mark.needs_php
def test_the_block_of_php_sends_what_python_receives():
    (block,) = PHP
    with SysvQueue.create(int(own_key("0x51A7"), 16)) as queue:
        try:
            subprocess.run(["php", "-r", own_key(block)], timeout=LOOK, check=True)
            assert len(queue) == 1
            assert repr(msg_receive(queue, 0, 8192)) == promised(ALONE[0])
        finally:
            queue.remove()


def test_its_commands_are_the_makefiles():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    commands = re.findall(r"^make (\S+)", SHELL[0], re.MULTILINE)
    assert commands and set(commands) <= targets


def test_the_chinese_one_has_the_same_blocks_names_and_links():
    """What is code is the same to the letter; so are the names in the text, and where links lead."""
    chinese = (ROOT / "README.zh.md").read_text()
    fence = re.compile(r"^```(\w+\n.*?)^```", re.MULTILINE | re.DOTALL)
    same = [(block.language, block.text) for block in BLOCKS]
    assert [(b.language, b.text) for b in blocks(ROOT / "README.zh.md")] == same
    names, links = re.compile(r"`([^`\n]+)`"), re.compile(r"\]\(([^)]+)\)")
    for pattern in (names, links):
        ours, theirs = (sorted(pattern.findall(fence.sub("", text))) for text in (README, chinese))
        exchanged = {"README.md", "README.zh.md"}
        assert [x for x in ours if x not in exchanged] == [x for x in theirs if x not in exchanged]
    heads = re.compile(r"^#+ ", re.MULTILINE)
    assert heads.findall(fence.sub("", README)) == heads.findall(fence.sub("", chinese))


def test_every_block_is_of_a_kind_that_is_tried():
    assert {block.language for block in BLOCKS} == {"python", "php", "sh"}
    assert not any(block.mark for block in BLOCKS)
    assert "README.zh.md" in README.partition("\n\n##")[0]


def test_its_links_lead_somewhere():
    links = re.findall(r"\]\(([^)]+)\)", README)
    assert links and [link for link in links if not (ROOT / link).exists()] == []

"""Every Python block of the README runs as it stands, in a process of its own."""

from __future__ import annotations

import re
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ipckit import Client

README = (Path(__file__).parents[2] / "README.md").read_text()
BLOCKS = re.findall(r"^```python\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


def test_the_server_of_the_first_screen_serves():
    code = (
        BLOCKS[0]
        .replace("9501", "0")
        .replace(
            "server.start()",
            "server.on('start', lambda server: print(server.port, flush=True))\nserver.start()",
        )
    )
    assert "start', lambda" in code
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            assert select.select([process.stdout], [], [], 30)[0]
            client = Client(open_eof_split=True, package_eof=b"\n")
            client.connect("127.0.0.1", int(process.stdout.readline()), timeout=5)
            client.send(b"hello\n")
            assert client.recv() == b"HELLO\n"
            client.close()
        finally:
            process.send_signal(signal.SIGTERM)
            assert process.wait(30) == 0


@pytest.mark.parametrize("block", BLOCKS[1:], ids=["queue", "channel"])
def test_a_block_prints_what_its_comment_says(block):
    done = subprocess.run(
        [sys.executable, "-c", block], capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 0, done
    promised = re.search(r"print\(.*\) +# (.*)", block)
    assert promised is not None and done.stdout.strip() == promised[1]

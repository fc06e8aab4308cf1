"""The examples of shared queues: a crawler whose processes are killed, and frames that nobody copies."""

from __future__ import annotations

import re
import sys

import pytest
from example_programs import program, run


def test_a_crawler_whose_processes_are_killed_fetches_every_page():
    """The story of the issue in its full size: 20,000 pages, a kill each 100 ms."""
    out = run(sys.executable, program("queues/crawler.py"))
    told = re.fullmatch(r"20000 of 20000 pages, (\d+) kills, (\d+) fetched again\n", out)
    assert told and int(told[2]) <= int(told[1])


def test_a_crawler_that_is_killed_very_often():
    """Little work between two kills."""
    out = run(sys.executable, program("queues/crawler.py"), "20000", "0.001")
    told = re.fullmatch(r"20000 of 20000 pages, (\d+) kills, (\d+) fetched again\n", out)
    assert told and int(told[1]) > 10 and int(told[2]) <= int(told[1])


def test_frames_go_through_three_processes():
    pytest.importorskip("numpy")
    out = run(sys.executable, program("queues/frames.py"), "30")
    assert re.fullmatch(r"30 frames, 435 bright pixels, [\d,]+ MiB/s\n", out)

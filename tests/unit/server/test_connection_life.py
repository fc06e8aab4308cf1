"""The life of a connection: every event at every stage, on real sockets, does what the table says."""

from __future__ import annotations

import asyncio
import itertools

import pytest
import uvloop
from one_connection import MUCH, a_connection

from ipckit.server.connections.life import LIFE, Event, Stage

PAIRS = list(itertools.product(Stage, Event))
WAYS = list(itertools.product(("", "data", "file"), (False, True), (False, True)))


def exists(stage: Stage, sent: str, busy: bool, slow_close: bool) -> bool:
    """Whether a connection stays at a stage in this way."""
    match stage:
        case Stage.ENDING:
            return busy or slow_close or sent == "file"
        case Stage.FLUSHING | Stage.LINGERING:
            return not (busy or slow_close or sent)
        case Stage.HANDED_OVER | Stage.LOST:
            return not (busy or sent)
        case _:
            return True


def stages_after(stage: Stage, event: Event, file: str) -> set[Stage]:
    """Make the event happen in each way there is; return where it led to."""

    async def one(sent: str, busy: bool, slow_close: bool) -> Stage | None:
        async with a_connection(file, slow_close=slow_close) as case:
            await case.bring_to(stage, sent, busy=busy)
            happened = await case.happen(event)
            after = case.connection.stage
            if event is Event.LAST_CALLBACK and happened:
                after = case.host.after_last
            assert happened or after is stage, "refused, and yet it changed"
            return after if happened else None

    found = set()
    for way in WAYS:
        if exists(stage, *way):
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                found.add(runner.run(one(*way)))
    return found - {None}


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("life") / "file"
    path.write_bytes(MUCH)
    return str(path)


@pytest.mark.parametrize(("stage", "event"), PAIRS, ids=lambda each: each.name.lower())
def test_it_goes_where_the_table_says_and_everywhere_it_says(stage, event, file):
    assert stages_after(stage, event, file) == LIFE.get((stage, event), set())

"""The page for contributors leads each wish to one room, and knows every room that there is."""

from __future__ import annotations

import ast
import re

import pytest
from pages import DOCS, ROOT

PAGE = (DOCS / "developing/where-does-it-go.md").read_text()
WISHES = PAGE[PAGE.index("## Ten wishes") : PAGE.index("## The rooms")]
ROOMS = PAGE[PAGE.index("## The rooms") : PAGE.index("## Which file")]
ROWS = re.findall(r"^\| (?!I want|-)(.+) \| (.+) \|$", WISHES, re.MULTILINE)


def test_there_are_ten_wishes_of_ten_kinds():
    assert len({wish for wish, _ in ROWS}) == len({room for _, room in ROWS}) == 10


@pytest.mark.parametrize(("wish", "answer"), ROWS)
def test_a_wish_leads_to_one_room_that_says_what_it_is_for(wish, answer):
    (room,) = re.findall(r"`(.+?)`", answer)
    head = ast.get_docstring(ast.parse((ROOT / room / "__init__.py").read_text()))
    assert room.endswith("/")
    assert head
    assert "\n" not in head.partition("\n\n")[0], "one line says what the room is for"


@pytest.mark.parametrize("house", ["ipckit/server", "ipckit/_core", "ipckit/testing"])
def test_every_room_is_on_the_page(house):
    told = set(re.findall(rf"`{house}/(\w+)/`", ROOMS))
    there = {p.name for p in (ROOT / house).iterdir() if p.is_dir() and p.name != "__pycache__"}
    assert told == there

"""Plain English where a person reads: the rules and what is not clean yet are in tests/helpers/prose.py."""

from __future__ import annotations

import prose
import pytest

LONG = "word " * 21 + "and N, " + "word " * 20 + "end."
AS = {
    "page.md": "A page.\n\n- {}\n",
    "cell.md": "| a | {} |\n",
    "comment.py": "x = 1  # {}\n",
    "docstring.pyi": 'def f():\n    """{}"""\n',
    "error.py": "raise ValueError('{}')\n",
    "log.py": "log.warning('{}')\n",
    "comment.c": "/* {} */\n",
    "line.h": "int x; // {}\n",
    "string.c": 'fail("{}");\n',
    "script.sh": "# {}\n",
}


@pytest.fixture(scope="module")
def found() -> list[prose.Finding]:
    return prose.everything()


def is_under(path: str, entry: str) -> bool:
    return path == entry or path.startswith(f"{entry}/")


def test_what_a_person_reads_is_plain(found):
    wrong = [f for f in found if not any(is_under(f.path, entry) for entry in prose.NOT_YET)]
    assert not wrong, "\n".join(map(str, wrong))


def clean(entries: tuple[str, ...], found: list[prose.Finding]) -> list[str]:
    return [entry for entry in entries if not any(is_under(f.path, entry) for f in found)]


def test_what_is_called_not_clean_yet_is_not(found):
    assert clean(prose.NOT_YET, found) == [], "take these out of NOT_YET in tests/helpers/prose.py"


def test_an_entry_that_is_clean_is_reported():
    one = prose.Finding("ipckit/server/messaging/wire.py", 1, "anew", "")
    assert clean(("ipckit/server", "ipckit/serve", "docs"), [one]) == ["ipckit/serve", "docs"]


@pytest.mark.parametrize("name", AS)
@pytest.mark.parametrize("rule", prose.RULES, ids=lambda rule: rule.name)
def test_a_planted_sentence_is_found(rule, name):
    found = prose.findings(name, AS[name].format(rule.planted))
    assert [f.rule for f in found] == [rule.name]
    assert rule.instead in str(found[0])


@pytest.mark.parametrize("name", AS)
@pytest.mark.parametrize("rule", prose.RULES, ids=lambda rule: rule.name)
def test_a_name_or_code_is_no_prose(rule, name):
    assert prose.findings(name, AS[name].format(f"`{rule.planted}`")) == []
    assert prose.findings("page.md", f"```text\n{rule.planted}\n```\n") == []
    assert prose.findings("code.py", f"x = {rule.planted!r}\n") == []


def test_a_sentence_that_goes_over_a_line_is_found():
    text = "# A comment, and all of it but\n# for the last one.\n"
    (found,) = prose.findings("comment.py", text)
    assert (found.line, found.rule) == (2, "but for")


@pytest.mark.parametrize("name", ["page.md", "cell.md"])
def test_a_long_sentence_of_a_page_is_found(name):
    assert [f.rule for f in prose.findings(name, AS[name].format(LONG))] == [prose.LONG]
    shorter = LONG.replace("and N, ", "end. And ")
    assert prose.findings(name, AS[name].format(shorter)) == []


@pytest.mark.parametrize(
    "right",
    [
        "Who owns the lock?",
        "The people who read it.",
        "All four run at once.",
        "It returns at once.",
        "The user who calls it, whoever that is.",
    ],
)
def test_what_is_plain_is_not_found(right):
    assert prose.findings("page.md", right) == []

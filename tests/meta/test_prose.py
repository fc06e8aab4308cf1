"""Plain English where a person reads: the rules are in tests/helpers/prose.py."""

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


def test_what_a_person_reads_is_plain():
    wrong = prose.everything()
    assert not wrong, "\n".join(map(str, wrong))


@pytest.mark.parametrize("where", prose.WHERE)
def test_every_place_is_read(where, tmp_path):
    path = where if where.endswith(".md") else f"{where}/deep/page.md"
    (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / path).write_text("Of N, it is made anew.\n")
    assert [(f.path, f.rule) for f in prose.everything(tmp_path)] == [(path, "anew")]
    assert (prose.ROOT / where).exists()


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

"""No text of a program is encoded in a way that can fail: F1 as a rule of the project.

A str that came from os.listdir() may hold lone surrogates, and `.encode()` raises for them. In
ipckit each call of it says what happens then (`errors`), encodes JSON (which is ASCII), or stands
in a `try` that turns the UnicodeEncodeError into an error of ours.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "ipckit"
HANDLED = {"UnicodeEncodeError", "ValueError", "UnicodeError"}
CANNOT_FAIL = {
    "framing/settings.py:_encoded": "a setting: the error is a ValueError of set() before a process exists",
    "queue/php.py:_plain": "the error is a ValueError, a caller's",
    "queue/php_format.py:_float": "digits",
    "queue/php_format.py:_string": "the error is a ValueError, a caller's",
    "table/segment.py:_columns": "Schema has refused such names",
    "_segments.py:mapped_segments": "our own folder, and digits",
    "cli/bench/rounds.py:in_a_process": "a float",
    "cli/inventory/processes.py:_look_at": "our own folder",
    "cli/demo/mail.py:recipients_csv": "our own text",
}


def bare_encodes(source: str) -> list[tuple[str, int]]:
    """The function and line of each call of encode() that raises for a lone surrogate."""
    found = []

    def walk(node: ast.AST, function: str, safe: bool) -> None:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            function = node.name
        if isinstance(node, ast.Try):
            names = {
                n.id for h in node.handlers for n in ast.walk(h.type or h) if type(n) is ast.Name
            }
            for part in node.body:
                walk(part, function, safe or bool(names & HANDLED))
            for part in (*node.handlers, *node.orelse, *node.finalbody):
                walk(part, function, safe)
            return
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            called = node.func
            errors = len(node.args) > 1 or any(word.arg == "errors" for word in node.keywords)
            of = called.value
            json = isinstance(of, ast.Call) and ast.unparse(of.func) == "json.dumps"
            module = isinstance(of, ast.Name | ast.Attribute) and "msgpack" in ast.unparse(of)
            ascii_ = any(
                word.arg == "encoding" and ast.literal_eval(word.value) == "ascii"
                for word in node.keywords
                if isinstance(word.value, ast.Constant)
            )
            if called.attr == "write_text" and not (errors or ascii_):
                found.append((function, node.lineno))
            if called.attr == "encode" and not (errors or json or module or safe):
                found.append((function, node.lineno))
        for child in ast.iter_child_nodes(node):
            walk(child, function, safe)

    walk(ast.parse(source), "", safe=False)
    return found


def test_no_text_is_encoded_so_that_it_can_fail():
    """F1: a name that is no UTF-8 ends nothing, wherever it is written."""
    wrong, used = [], set()
    for path in sorted(PACKAGE.rglob("*.py")):
        name = str(path.relative_to(PACKAGE))
        for function, line in bare_encodes(path.read_text()):
            where = f"{name}:{function}"
            used.add(where)
            if where not in CANNOT_FAIL:
                wrong.append(
                    f"{name}:{line}: encode() in {function}() may raise; see ipckit/_text.py"
                )
    assert not wrong, "\n".join(wrong)
    assert used == CANNOT_FAIL.keys()


@pytest.mark.parametrize(
    "line",
    [
        "def f(text): return text.encode()",
        "def f(text): return text.encode('utf-8')",
        "def f(path, text): path.write_text(text, encoding='utf-8')",
        "def f(text):\n    try: pass\n    except UnicodeEncodeError: text.encode()",
        "def f(text):\n    try: text.encode()\n    except OSError: pass",
    ],
)
def test_what_can_fail_is_found(line):
    assert [function for function, _ in bare_encodes(line)] == ["f"]


@pytest.mark.parametrize(
    "line",
    [
        "def f(text): return text.encode('utf-8', 'replace')",
        "def f(text): return json.dumps(text).encode()",
        "def f(path, text): path.write_text(text, encoding='utf-8', errors='replace')",
        "def f(path, text): path.write_text(json.dumps(text), encoding='ascii')",
        "def f(text):\n    try: text.encode()\n    except UnicodeEncodeError: pass",
    ],
)
def test_what_cannot_fail_is_not(line):
    assert bare_encodes(line) == []


def test_no_codec_is_imported_when_there_may_be_no_descriptor():
    """Python has UTF-8 built in. It imports any other codec at its first use, from a file."""
    of_the_server = [path for path in PACKAGE.rglob("*.py") if "testing" not in path.parts]
    other = re.compile(r"encoding=\"(?!utf-8\")|(?:en|de)code\(\"(?!utf-8\"|surrogate|backslash)")
    assert len(of_the_server) > 100
    assert [str(path) for path in of_the_server if other.search(path.read_text())] == []

"""Plain English, as far as a script can judge it: the words to avoid, and what to write instead.

It reads the pages, the comments and docstrings of Python and C, and the texts of errors and log
lines. Code, names in backticks and blocks of code are no prose. `tests/meta/test_prose.py` runs it
in `make check`; `python tests/helpers/prose.py PATH...` prints what it finds in PATH.
"""

from __future__ import annotations

import ast
import io
import re
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
LONGEST = 40  # words of a sentence of a page
READ = {".md", ".py", ".pyi", ".c", ".h", ".cpp", ".sh", ".php"}
WHERE = ("README.md", "CONTRIBUTING.md", "docs", "newsfragments", "examples", "findings", "bench",
         "ipckit", "tests")  # fmt: skip


class Rule(NamedTuple):
    """A pattern that is not wanted, and what to write instead of it."""

    name: str
    pattern: str
    instead: str
    planted: str
    allowed: str = r"(?!)"
    """Where the pattern is right: a pattern of its own, which overlaps the finding."""

    def hits(self, text: str) -> list[re.Match[str]]:
        """Return where the pattern is, and is not right. A space is any white space."""
        right = [m.span() for m in re.finditer(self.allowed.replace(" ", r"\s+"), text)]
        found = re.finditer(self.pattern.replace(" ", r"\s+"), text)
        return [m for m in found if not any(a < m.end() and m.start() < b for a, b in right)]


RULES = (
    Rule(
        "headless who",
        r"\bWho\b(?![^.;]*\?)|[,;:(]\s*who\b(?![^.;]*\?)"
        r"|\b(?:for|by|to|of|from|with|than|as|if|when|that|so|because|while|whether|"
        r"wakes?|gives?|tells?) who\b",
        'name the one who acts: "the process that ends a task", "if you post many tasks"',
        "Who ends a task rings once.",
        r"\b(?:depends? on|knows? of) who\b",
    ),
    Rule("but for", r"\bbut for\b", "except for; without", "All of it, but for the last one."),
    Rule(
        "at once",
        r"\bat once\b",
        "immediately; at the same time; in the same place: say which",
        "To have its result at once, write it so.",
        r"\b(?:all|both|two|three|four|several|many|more than one|\d+) (?:[\w-]+ ){0,4}at once\b"
        r"|\b(?:raises?|returns?|fails?|succeeds|ends?|answers?|refused|closed|killed|free|taken|usable|"
        r"bound|leave|begins?|run|work|call|written|under way|\w+Error|QueueFull|QueueEmpty) at once\b",
    ),
    Rule("anew", r"\banew\b", "again; from the start", "The table is made anew."),
    Rule("befall", r"\bbefalls?\b|\bbefell\b", "happens to", "What befalls a worker."),
    Rule(
        "is told",
        r"\b(?:is|are|was|were|be|been|being) told\b",
        "say who learns it, and how: receives, is notified, logs",
        "The worker is told of it.",
        r"\b(?:is|are|was|were) told apart\b",
    ),
    Rule(
        "is had",
        r"\b(?:is|are|was|were|be|been) had\b",
        "is available; exists",
        "A path that cannot be had is an error.",
    ),
    Rule("shall", r"\bshall\b", "must; will; is to", "What a task worker shall run."),
    Rule(
        "meanwhile",
        r"\b[Mm]eanwhile\b",
        "say during what: while it waits",
        "It waits for room meanwhile.",
    ),
    Rule(
        "home-made words",
        r"\b(?:[Bb]ells?|heirs?|estates?|keepers?|thie(?:f|ves)|crews?)\b",
        "the term of docs/glossary.md: wakeup, successor, source, recovery, new owner, processes",
        "It rings the bell of its successor.",
    ),
)
LONG = "long sentence"
INSTEAD = {rule.name: rule.instead for rule in RULES} | {
    LONG: f"two sentences: one has at most {LONGEST} words"
}


class Finding(NamedTuple):
    """What was found where."""

    path: str
    line: int
    rule: str
    text: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.rule}: {self.text!r} -> {INSTEAD[self.rule]}"


def blanked(text: str, pattern: str, flags: int = 0) -> str:
    """Return the text with spaces where the pattern was, so that lines and columns stay."""
    return re.sub(pattern, lambda m: re.sub(r"[^\n]", " ", m[0]), text, flags=flags)


def in_words(text: str) -> str:
    """Return the text with one word for each name in backticks, each role and each link."""
    text = re.sub(r"(?:\{[\w:]+\})?(`+)[^`]+?\1", lambda m: "N" + "\n" * m[0].count("\n"), text)
    text = re.sub(r"\]\([^)\s]*\)", "]", text)
    text = re.sub(r"\*\*|(?<!\w)[*_](?=\w)|(?<=\w)[*_](?!\w)", "", text)
    return re.sub(r"https?://\S+", "N", text)


def of_page(text: str) -> Iterator[tuple[int, str]]:
    """The paragraphs, items and cells of a page, each with its first line."""
    text = blanked(text, r"^( *)(`{3,})[^\n]*\n.*?^\1\2[^\n]*$", re.MULTILINE | re.DOTALL)
    text = blanked(text, r"<!--.*?-->", re.DOTALL)
    start, block = 1, ""
    for number, line in enumerate([*text.splitlines(), ""], 1):
        ends = not line.strip() or re.match(r"\s*(?:[-*|#>]|\d+\.) ?", line)
        if ends and block:
            yield start, block
            block = ""
        if line.lstrip().startswith("|"):
            for cell in line.strip().strip("|").split("|"):
                yield number, cell.strip()
        elif line.strip():
            if not block:
                start = number
            block += line + "\n"


def of_python(source: str) -> Iterator[tuple[int, str]]:
    """The comments, docstrings, and texts of errors and log lines."""
    run: list[str] = []
    start = last = 0
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT and "noqa" not in token.string:
            if token.start[0] != last + 1 and run:
                yield start, "\n".join(run)
                run = []
            start = start if run else token.start[0]
            last = token.start[0]
            run.append(token.string.lstrip("#! "))
    if run:
        yield start, "\n".join(run)
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            if isinstance(node.value.value, str):
                yield node.lineno, node.value.value
        elif isinstance(node, ast.Raise) or (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr in {"debug", "info", "warning", "error", "exception", "limited"}
        ):
            for part in ast.walk(node):
                if isinstance(part, ast.Constant) and isinstance(part.value, str):
                    yield part.lineno, part.value


def of_c(source: str) -> Iterator[tuple[int, str]]:
    """The comments, and the strings that have words in them."""
    for found in re.finditer(
        r'/\*.*?\*/|(?://[^\n]*\n[ \t]*)+|"(?:[^"\\\n]|\\.)*"', source, re.DOTALL
    ):
        text = found[0]
        if text[0] == '"' and text.count(" ") < 3:
            continue
        text = re.sub(r"^\s*(?:/\*+|\*+/|\*|//+)", "", text, flags=re.MULTILINE).replace("*/", "")
        yield source.count("\n", 0, found.start()) + 1, text.strip('"')


def of_script(source: str) -> Iterator[tuple[int, str]]:
    """The comments of a shell or PHP script."""
    for number, line in enumerate(source.splitlines(), 1):
        found = re.search(r"(?:^|\s)(?:#|//)\s(.*)", line)
        if found:
            yield number, found[1]


READERS = {".md": of_page, ".py": of_python, ".pyi": of_python, ".sh": of_script, ".php": of_script}


def findings(path: str, source: str) -> list[Finding]:
    """Return what is not plain in a file of that name."""
    suffix = Path(path).suffix
    found = []
    for start, prose in READERS.get(suffix, of_c)(source):
        text = in_words(prose)
        for rule in RULES:
            for hit in rule.hits(text):
                near = " ".join(text[max(0, hit.start() - 20) : hit.end() + 30].split())
                found.append(Finding(path, start + text.count("\n", 0, hit.end()), rule.name, near))
        if suffix == ".md":
            found += [
                Finding(path, start + text.count("\n", 0, at), LONG, f"{words} words: {begin}")
                for at, words, begin in long_sentences(text)
            ]
    return found


def long_sentences(text: str) -> Iterator[tuple[int, int, str]]:
    """Sentences of too many words: where they begin, how many words, and the first ones."""
    at = 0
    for sentence in re.split(r"(?<=[.!?:])[)\"*]*\s+(?=[\"(*`\[]*[A-Z0-9])", text):
        words = re.findall(r"\S*\w\S*", sentence)
        at = text.index(sentence, at)
        if len(words) > LONGEST:
            yield at, len(words), " ".join(words[:6])


def files(where: Path) -> Iterator[Path]:
    if where.is_file():
        yield where
        return
    yield from sorted(
        path for path in where.rglob("*") if path.suffix in READ and "__pycache__" not in path.parts
    )


def everything(root: Path = ROOT) -> list[Finding]:
    """Return what is not plain in the whole project."""
    return [
        each
        for where in WHERE
        for path in files(root / where)
        for each in findings(str(path.relative_to(root)), path.read_text())
    ]


def main(paths: list[str]) -> int:
    found = [
        each
        for where in paths or [*WHERE]
        for path in files(Path(where).resolve())
        for each in findings(str(path.relative_to(ROOT)), path.read_text())
    ]
    print(*found, f"{len(found)} findings", sep="\n")
    return bool(found)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""The blocks of code of a page, and what is said of each in the comment before it.

Stands on sybil, which knows where a fenced block begins and ends.

A fenced block may follow a comment of one line, which readers of the page do not see:

    <!-- file: NAME -->       a program that the page's console blocks run under that name
    <!-- prints -->           what the program before it prints; `...` stands for anything
    <!-- not run: REASON -->  it cannot be run; test_docs.py counts these
"""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

from sybil.document import Document
from sybil.parsers.markdown.lexers import FencedCodeBlockLexer

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
FENCES = FencedCodeBlockLexer(r"[^\n]*")
MARK = re.compile(r"<!-- *(?P<mark>[^:]*?)(?:: *(?P<said>.*?))? *-->")
MARKS = ("file", "prints", "not run")


@dataclasses.dataclass(frozen=True)
class Block:
    page: str
    line: int
    language: str
    text: str
    mark: str = ""  # one of MARKS
    said: str = ""  # what follows the mark's colon

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def blocks(path: Path) -> list[Block]:
    """Return every fenced block of a page, in order, wherever it stands."""
    text = path.read_text()
    found = []
    for region in FENCES(Document(text, str(path))):
        before = text[: region.start].splitlines() or [""]
        comment = MARK.fullmatch(before[-1].strip())
        known = comment is not None and comment["mark"] in MARKS
        found.append(
            Block(
                page=str(path.relative_to(ROOT)),
                line=len(before) + 1,
                language=region.lexemes["language"],
                text=str(region.lexemes["source"]),
                mark=comment["mark"] if known else "",
                said=(comment["said"] or "") if known else "",
            )
        )
    return found


def pages() -> list[Path]:
    """Return all pages whose code is tried: the documentation. The README has its own suite."""
    return sorted(DOCS.rglob("*.md"))


def commands(block: Block) -> list[tuple[str, str]]:
    """Return the commands of a console block, each with the lines that it prints."""
    found: list[tuple[str, str]] = []
    for line in block.text.splitlines(keepends=True):
        if line.startswith("$ "):
            found.append((line[2:].rstrip("\n"), ""))
        elif line.startswith("> "):  # goes on
            found[-1] = (f"{found[-1][0]}\n{line[2:]}".rstrip("\n"), "")
        else:
            command, printed = found[-1]
            found[-1] = (command, printed + line)
    return found

"""What holds for every command: help with an example, one JSON document in every case, exit codes."""

from __future__ import annotations

import argparse
import json
import shlex
import socket
import threading

import pytest
from command import ipckit_json
from deadlines import LOOK

from ipckit.cli import main, parser


def commands(of=None, *words: str) -> list[tuple[tuple[str, ...], argparse.ArgumentParser]]:
    """Every command and verb with its parser."""
    found = []
    for action in (of or parser())._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, each in action.choices.items():
                below = commands(each, *words, name)
                found += below or [((*words, name), each)]
    return found


EVERY = commands()
FAILS = {
    ("run",): ("no.such.module:server",),
    ("dead", "ls"): ("/nowhere/letters",),
    ("dead", "show"): ("/nowhere/letters", "1"),
    ("dead", "retry"): ("/nowhere/letters", "--all"),
    ("dead", "rm"): ("/nowhere/letters", "1"),
    ("rm",): ("no such object", "--yes"),
    ("limits",): ("--set", "no_setting=1"),
    ("doctor",): ("--set", "no_setting=1"),
    ("demo",): ("--out", "/proc/self/cmdline"),
    **{(name,): ("/nowhere/socket",) for name in ("status", "connections", "reload", "stop")},
}
"""Arguments with which a command can only say no; `ls` and `completion` always can."""


def names(every) -> list[str]:
    return [" ".join(words) for words, _ in every]


def test_there_are_all_of_them():
    assert set(names(EVERY)) >= {
        *"demo run status connections reload stop ls rm limits doctor completion".split(),
        *(f"dead {verb}" for verb in ("ls", "show", "retry", "rm")),
    }


@pytest.mark.parametrize(("words", "of"), EVERY, ids=names(EVERY))
def test_help_has_an_example_that_is_right_use(words, of):
    assert "--json" in of.format_help()
    lines = of.format_help().partition("example:\n")[2].splitlines()
    examples = [line.strip() for line in lines if line.strip()]
    assert examples
    for line in examples:
        (*_, command) = line.removesuffix('"').split("$(")  # eval "$(ipckit ...)"
        said = shlex.split(command.removesuffix(")").partition(" | ")[0])
        assert said[: 1 + len(words)] == ["ipckit", *words]
        parser().parse_args(said[1:])


@pytest.mark.parametrize("words", FAILS, ids=" ".join)
def test_a_no_is_a_document_too(words):
    told = ipckit_json(*words, *FAILS[words], code=1)
    assert list(told) == ["error"] and told["error"]


def test_whatever_can_fail_is_here():
    assert {words for words, _ in EVERY} - {*FAILS} <= {
        ("ls",), ("completion",), ("top",), ("bench",), ("metrics",),
    }  # fmt: skip


@pytest.mark.parametrize(("words", "_"), EVERY, ids=names(EVERY))
def test_wrong_use_is_a_document_too(words, _):
    told = ipckit_json(*words, "--no-such-option", code=2)
    assert list(told) == ["error"] and told["error"]


def test_wrong_use_is_told_in_words(capsys):
    for words, text in (
        (["rm"], "either --leaked, or names"),
        (["rm", "--leaked", "queue:1"], "either --leaked, or names"),
        (["rm", "queue:1", "--kept"], "--kept belongs to --leaked"),
    ):
        assert main(words) == 2
        out, err = capsys.readouterr()
        assert out == "" and text in err
    with pytest.raises(SystemExit, match="2"):
        main(["nothing"])
    assert "invalid choice: 'nothing'" in capsys.readouterr().err


@pytest.mark.parametrize("answer", [b"", b"hello\n", b"[1]\n", b'{"error": "not today"}\n'])
def test_who_answers_is_no_server(tmp_path, answer):
    path = str(tmp_path / "socket")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        listener.settimeout(LOOK)

        def serve() -> None:
            with listener.accept()[0] as sock:
                sock.recv(1000)
                sock.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        told = ipckit_json("status", path, code=1)
        thread.join(LOOK)
    assert {
        b"": "closed the connection",
        b"hello\n": "no ipckit server",
        b"[1]\n": "no ipckit server",
        b'{"error": "not today"}\n': "not today",
    }[answer] in told["error"]
    assert json.dumps(told)

"""Beside a PID 1 that reaps nobody, a killed server is a zombie, and counts as dead everywhere."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from confinement import confined

pytestmark = pytest.mark.needs_namespaces


@pytest.fixture(scope="module")
def told():
    """What zombies.py prints, in a pid namespace whose PID 1 waits for its own child alone."""
    found = confined({"reaps": False}, str(Path(__file__).parent / "zombies.py"))
    assert found["code"] == 0, found
    assert found["left"] == [], found
    return json.loads(found["out"])


def test_its_processes_are_zombies(told):
    assert told["states"] == ["Z", "Z", "Z"]


def verdicts(said) -> set[str]:
    code, out, _ = said
    assert code == 0
    objects = json.loads(out)["objects"]
    assert {each["kind"] for each in objects} == {
        "System V queue", "pid file", "task files", "control socket"
    }  # fmt: skip
    return {each["verdict"] for each in objects}


def test_what_it_left_is_leaked_until_the_next_start(told):
    assert verdicts(told["ls"]) == {"leaked"}
    assert verdicts(told["then"]) == {"used"}


def test_doctor_names_what_it_left_and_who_does_not_reap(told):
    code, out, _ = told["doctor"]
    checks = {each["name"]: each for each in json.loads(out)["checks"]}
    assert code == 1 and json.loads(out)["wrong"] == ["leaked objects"]
    assert checks["leaked objects"]["step"] == "ipckit rm --leaked"
    assert checks["orphans"]["state"] == "note"
    assert "3 processes have ended, and PID 1 (" in checks["orphans"]["found"]
    assert checks["orphans"]["step"] == "have an init as PID 1: docker run --init"


def test_it_cannot_be_watched_or_asked(told):
    code, _, err = told["top"]
    assert code == 1 and "has ended" in err
    code, _, err = told["status"]
    assert code == 1 and "no server runs with a control socket in /" in err
    assert told["watching"] == [["ipckit_up", 0.0]]

"""ftok: what it refuses, and the number, written out once more from the manual page."""

from __future__ import annotations

import os

import pytest

from ipckit.errors import NotFound
from ipckit.keys import ftok


@pytest.mark.parametrize("proj", [1, 5, 127, 128, 255])
def test_the_number_of_the_manual_page(tmp_path, proj):
    """16 bits of the inode, 8 of the device, 8 of proj, as a signed number."""
    stat = os.stat(tmp_path)
    raw = bytes([proj, stat.st_dev & 0xFF, stat.st_ino >> 8 & 0xFF, stat.st_ino & 0xFF])
    assert ftok(tmp_path, proj) == int.from_bytes(raw, "big", signed=True)


def test_characters_and_paths_of_every_type(tmp_path):
    """A character is its byte; str, bytes and PathLike are one path; links are followed."""
    assert ftok(tmp_path, "a") == ftok(str(tmp_path), b"a") == ftok(os.fsencode(tmp_path), 97)
    assert ftok(tmp_path, b"\xff") == ftok(tmp_path, 255)
    link = tmp_path / "link"
    link.symlink_to(tmp_path)
    assert ftok(link, 1) == ftok(tmp_path, 1)


def test_no_such_path(tmp_path):
    with pytest.raises(FileNotFoundError, match="missing") as caught:
        ftok(tmp_path / "missing", "a")
    assert isinstance(caught.value, NotFound) and caught.value.errno


@pytest.mark.parametrize("proj", ["", "ab", "é", "中", b"", b"ab", 0, 256, -1, "\ud800"])
def test_wrong_values(proj):
    with pytest.raises(ValueError):
        ftok("/", proj)


@pytest.mark.parametrize("proj", [None, 1.0, True, ["a"], bytearray(b"a")])
def test_wrong_types(proj):
    with pytest.raises(TypeError):
        ftok("/", proj)


@pytest.mark.parametrize("path", [None, 0, 1.5, ["/"]])
def test_wrong_types_of_paths(path):
    """A number is no path, although os.stat would take it for a descriptor."""
    with pytest.raises(TypeError):
        ftok(path, "a")

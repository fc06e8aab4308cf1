"""Settings of framing and the exact answers of small streams. Rule numbers: docs/contracts/framing.md."""

from __future__ import annotations

import pickle
import re
import struct
from dataclasses import FrozenInstanceError, replace

import pytest

from ipckit.errors import IPCError, MisuseError, ProtocolError, SettingsError
from ipckit.framing import Framing, PacketRefused


def test_defaults_are_those_of_the_api():
    """Without settings there is no framing, and the values are Swoole's."""
    framing = Framing()

    with pytest.raises(MisuseError, match="set one of open_eof_check, open_eof_split"):
        framing.framer()
    assert not framing.is_on
    assert (framing.package_eof, framing.package_length_type) == (b"\r\n\r\n", "N")
    assert (framing.package_length_offset, framing.package_body_offset) == (0, 4)
    assert framing.package_max_length == 2 * 1024 * 1024


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"open_eof_check": 1}, "open_eof_check=1: must be True or False"),
        ({"open_length_check": "yes"}, "open_length_check='yes'"),
        ({"package_eof": b""}, "package_eof=b'': must be bytes or str of 1..8 bytes"),
        ({"package_eof": b"123456789"}, "1..8 bytes"),
        ({"package_eof": "äöüäö"}, "1..8 bytes"),
        ({"package_eof": 7}, "package_eof=7"),
        ({"package_length_type": "X"}, "package_length_type='X': must be one of c C s S n v"),
        ({"package_length_type": 4}, "package_length_type=4"),
        ({"package_max_length": 0}, "package_max_length=0: must be an int of 1..2147483647"),
        ({"package_max_length": "2M"}, "package_max_length='2M'"),
        ({"package_max_length": True}, "package_max_length=True"),
        ({"package_length_offset": -1}, "package_length_offset=-1: must be an int of 0.."),
        (
            {"open_length_check": True, "package_max_length": 10, "package_length_offset": 7},
            "package_length_offset=7: must be an int of 0..6",
        ),
        (
            {"open_length_check": True, "package_max_length": 10, "package_body_offset": 11},
            "package_body_offset=11: must be an int of 0..10",
        ),
        ({"open_length_check": True, "open_eof_check": True}, "choose the length field or the EOF"),
        ({"open_length_check": True, "open_eof_split": True}, "choose the length field or the EOF"),
        ({"package_length_func": 4}, "package_length_func=4: must be None or a function"),
        (
            {"package_length_func": len, "open_eof_split": True},
            "package_length_func with open_length_check, open_eof_check or open_eof_split",
        ),
    ],
)
def test_wrong_settings_are_refused(settings, says):
    """A wrong value raises SettingsError with the value and its range."""
    with pytest.raises(SettingsError, match=re.escape(says)):
        Framing(**settings)


def test_of_names_the_nearest_setting():
    """An unknown name raises SettingsError with the nearest one; known ones are taken."""
    with pytest.raises(SettingsError, match=r"'open_eof_chek'.*'open_eof_check'"):
        Framing.of({"open_eof_chek": True})
    assert Framing.of({"open_eof_check": True}) == Framing(open_eof_check=True)
    assert set(Framing.names()) >= {"package_eof", "package_max_length"}


def test_a_framing_is_a_value():
    """Settings cannot be changed in place; a changed copy checks itself; str becomes bytes."""
    framing = Framing(open_eof_split=True, package_eof="\n")
    with pytest.raises(FrozenInstanceError):
        framing.package_eof = b"x"

    assert framing.package_eof == b"\n"
    assert replace(framing, package_eof="€").package_eof == "€".encode()
    with pytest.raises(SettingsError):
        replace(framing, package_eof=b"")


def test_p4_split_wins_over_check():
    """P4: with both EOF settings every packet comes on its own."""
    both = Framing(open_eof_check=True, open_eof_split=True, package_eof=b"\n").framer()
    check = Framing(open_eof_check=True, package_eof=b"\n").framer()

    assert both.feed(b"a\nb\nc") == [b"a\n", b"b\n"]
    assert check.feed(b"a\nb\nc") == []
    assert check.pending == 5
    assert check.feed(b"\n") == [b"a\nb\nc\n"]
    assert check.pending == 0


def test_p4_check_mode_over_the_limit_looks_for_the_marks():
    """P4: many packets that never end with a read are no reason to refuse them."""
    framer = Framing(open_eof_check=True, package_eof=b"\n", package_max_length=4).framer()

    assert framer.feed(b"a\nb") == []
    assert framer.feed(b"b\nc") == [b"a\n", b"bb\n"]
    assert framer.pending == 1
    with pytest.raises(PacketRefused):
        framer.feed(b"cccc\n")


@pytest.mark.parametrize(
    ("settings", "packet"),
    [
        ({"open_eof_split": True}, b"hello\r\n\r\n"),
        ({"open_eof_check": True}, b"hello\r\n\r\n"),
        ({"open_length_check": True}, b"\0\0\0\5hello"),
    ],
)
def test_p9_one_whole_packet_is_not_copied(settings, packet):
    """P9: a feed that is exactly one packet gives back the very same object."""
    framer = Framing(**settings).framer()

    assert framer.feed(packet)[0] is packet
    assert framer.pending == 0
    assert framer.feed(b"") == []


@pytest.mark.parametrize("settings", [{"open_eof_split": True}, {"open_length_check": True}])
def test_a_packet_of_exactly_the_limit_passes(settings):
    """package_max_length counts the whole packet, mark or header included."""
    framer = Framing(**settings, package_max_length=10).framer()
    size = {"open_eof_split": b"123456\r\n\r\n", "open_length_check": b"\0\0\0\x06123456"}
    packet = size[next(iter(settings))]

    assert framer.feed(packet) == [packet]
    assert framer.feed(packet[:9]) + framer.feed(packet[9:]) == [packet]


def test_p6_refused_on_the_field_alone():
    """P6: the length field decides; nothing is held for a packet that is refused."""
    framer = Framing(open_length_check=True).framer()

    with pytest.raises(
        ProtocolError, match=r"2097157 bytes.*package_max_length is 2097152"
    ) as info:
        framer.feed(b"\0\0\0\1x" + struct.pack(">I", 2 * 1024 * 1024 + 1))
    assert info.value.packets == [b"\0\0\0\1x"]
    assert framer.pending == 0
    with pytest.raises(PacketRefused):
        framer.feed(b"\0\0\0\1x")


def test_p7_a_packet_ends_after_its_length_field():
    """P7: a length that ends inside the header is refused; one that ends with it is a packet."""
    framer = Framing(open_length_check=True, package_body_offset=0).framer()

    assert framer.feed(b"\0\0\0\4\0\0\0\5x") == [b"\0\0\0\4", b"\0\0\0\5x"]
    with pytest.raises(PacketRefused, match="at least 4 bytes"):
        framer.feed(b"\0\0\0\3")


def test_the_refusal_survives_pickling():
    """PacketRefused crosses process borders with its text and its packets."""
    twin = pickle.loads(pickle.dumps(PacketRefused("too long", packets=[b"a"])))

    assert (str(twin), twin.packets) == ("too long", [b"a"])
    assert isinstance(twin, IPCError)


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (lambda data, start: -7, "package_length_func refused a packet: -7"),
        (lambda data, start: 101, "a packet of 101 bytes: package_max_length is 100"),
        (lambda data, start: None, "package_length_func returned None: must be an int"),
        (lambda data, start: True, "package_length_func returned True: must be an int"),
        (lambda data, start: data[9], "package_length_func raised IndexError: index out of range"),
    ],
)
def test_p10_what_the_function_may_not_answer(answer, says):
    """The packets before are handed out; then the stream is refused for good."""
    settings = Framing(
        package_length_func=lambda data, start: answer(data, start) if start else 3,
        package_max_length=100,
    )
    framer = settings.framer()
    with pytest.raises(PacketRefused, match=re.escape(says)) as refused:
        framer.feed(b"onetwo")
    assert refused.value.packets == [b"one"]
    with pytest.raises(PacketRefused, match=re.escape(says)):
        framer.feed(b"x")


def test_p10_it_is_asked_once_for_a_packet_whose_length_is_known():
    asked = []

    def length_of(data, start):
        asked.append((data[start:], start))
        return data[start]

    framer = Framing(package_length_func=length_of).framer()
    assert framer.feed(b"\x03ab\x04x") == [b"\x03ab"]
    assert framer.feed(b"y") == []
    assert framer.pending == 3
    assert framer.feed(b"z\x01") == [b"\x04xyz", b"\x01"]
    assert asked == [(b"\x03ab\x04x", 0), (b"\x04x", 3), (b"\x01", 4)]
    whole = b"\x02!"
    assert framer.feed(whole)[0] is whole

"""The chat and the fan-out: through a reload, kills in mid-conversation, slow readers, stuck workers.

People are clients of ours, and one is socat.
"""

from __future__ import annotations

import socket
import threading

import pytest
from example_programs import LOOK, serve  # noqa: F401  (a fixture)
from gathering import Gathering, OnSocat, Person, gather  # noqa: F401  (a fixture)
from watching import stopped, until


@pytest.mark.needs_socat
def test_people_talk(gather):
    hall = gather("chat_server.py")
    ada, bob = hall.come("ada"), hall.come("bob", kind=OnSocat)
    eve = Person(hall.server, "eve")
    hall.people.append(eve)
    bob.say("hello, \x1b[31m世界\r")  # what a terminal would obey is taken out
    for one in (ada, bob):
        one.expect("bob: hello, [31m世界")
    eve.ask("hello", "! first: /join ROOM")
    eve.ask("/name ann", "! you have a name")
    eve.ask("/dance", "! /name NAME, /join ROOM, /leave, /to NAME LINE, /who, /quit")
    eve.ask("/to carl are you there?", "! there is no carl")
    eve.ask("/to bob are you there?", "eve to bob: are you there?")
    bob.expect("eve to bob: are you there?")
    eve.ask("/join garden", "* eve has joined garden")
    bob.ask("/who", "* ada bob")
    bob.ask("/join garden", "* bob has left hall")
    bob.expect("* bob has joined garden")
    ada.expect("* bob has left hall")
    eve.expect("* bob has joined garden")
    with hall.server.client() as other:
        other.send(b"hello\n/name ada\n")
        assert other.recv() == b"! first: /name NAME\n"
        assert other.recv() == b"! ada is taken\n"
    eve.ask("/quit", "")
    bob.expect("* eve has left")
    hall.people.append(Person(hall.server, "eve", "garden"))  # her name is free
    bob.expect("* eve has joined garden")
    bob.close()
    hall.people[-1].expect("* bob has left")


def conversation(hall: Gathering, speakers: list[str], event) -> None:
    """All talk; `event()` comes in the middle of it."""
    over = threading.Event()
    threads = [
        threading.Thread(target=person.talk, args=(hall.people, speakers, over))
        for person in hall.people
    ]

    def heard(count: int) -> None:
        least = [len(person.heard) + count for person in hall.people]

        def go_on() -> bool:
            pairs = zip(hall.people, threads, least, strict=True)
            return all(len(one.heard) >= most or not at.is_alive() for one, at, most in pairs)

        until(go_on, bool)

    for thread in threads:
        thread.start()
    try:
        heard(100)
        event()
        heard(100)
    finally:
        over.set()
        for thread in threads:
            thread.join(LOOK)


@pytest.mark.needs_socat
def test_a_reload_in_mid_conversation_is_not_noticed(gather):
    hall = gather("chat_server.py")
    speakers = ["ada", "bob", "carl"]
    for name in (*speakers, "dora", "eve"):
        hall.come(name, kind=OnSocat if name == "bob" else Person)
    since = {}

    def reload() -> None:
        hall.reload()
        since.update((one.name, one.said) for one in hall.people)

    conversation(hall, speakers, reload)
    for person in hall.people:
        for speaker in hall.people[:3]:
            numbers = person.heard_of(speaker.name)
            assert sorted(numbers) == list(range(speaker.said)), "all of them, and once"
            after = [number for number in numbers if number >= since[speaker.name]]
            assert after == sorted(after) and after
        assert person.still_here() and len(person.heard) > 200
    hall.people[4].ask("/who", "* ada bob carl dora eve")


@pytest.mark.needs_socat
def test_a_kill_of_a_worker_costs_only_who_was_under_way(gather):
    """kill -9 of each worker, at rest: nobody notices. In mid-conversation: those that stay have
    missed no line, and hear the names of the lost; the lost come back under their names.
    """
    hall = gather("chat_server.py")
    speakers = ["ada", "bob", "carl"]
    for name in (*speakers, "dora", "eve", "fred"):
        hall.come(name, kind=OnSocat if name == "bob" else Person)
    for worker_id in (0, 1):
        hall.rest()
        hall.kill(worker_id)
        for speaker in hall.people:
            speaker.say(f"after {worker_id}")
            for person in hall.people:
                person.expect(f"{speaker.name}: after {worker_id}")
    hall.rest()
    conversation(hall, speakers, lambda: hall.kill(hall.workers_of_sessions()[0]))
    lost = [person for person in hall.people if not person.still_here()]
    for person in hall.people:
        for speaker in hall.people[:3]:
            numbers = person.heard_of(speaker.name)
            assert numbers == list(range(len(numbers))), "in order, once, from the first on"
            if person not in lost:
                assert len(numbers) >= len(speaker.heard_of(speaker.name))
                assert speaker in lost or len(numbers) == speaker.said
    for person in lost:
        hall.people.remove(person)
        person.close()
    for person in hall.people:
        told = {line for line in person.heard if line.endswith(" was lost")}
        assert {f"* {one.name} was lost" for one in lost if one.name in speakers} <= told
    back = [Person(hall.server, person.name) for person in lost]
    hall.people += back
    hall.rest()
    with_all = Person(hall.server, "guest", "hall")
    hall.people.append(with_all)
    for person in back:
        person.ask("/join hall", f"* {person.name} has joined hall")
        with_all.expect(f"* {person.name} has joined hall")
    with_all.ask("/who", "* ada bob carl dora eve fred guest")


def test_a_slow_reader_is_closed_and_the_others_hear_all(gather):
    hall = gather("chat_server.py")
    ada, bob = hall.come("ada"), hall.come("bob")
    with socket.socket() as slow:
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        slow.settimeout(LOOK)
        slow.connect(("127.0.0.1", int(hall.server.port)))
        slow.sendall(b"/name slow\n/join hall\n")
        for one in (ada, bob):
            one.expect("* slow has joined hall")
        for number in range(20_000):
            ada.say(f"{number} {'x' * 1900}")
            for one in (ada, bob):
                assert one.hear_to(f"ada: {number} {'x' * 1900}")
            if ada.heard:
                break
        while slow.recv(1 << 20):  # what was sent before, then the end
            pass
    for one in (ada, bob):
        assert one.still_here() and one.heard == ["* slow was lost"]
    assert "a slow reader" in hall.server.log.read_text()


def test_lines_that_a_stuck_worker_keeps_are_told_to_who_said_them(gather):
    hall = gather("chat_server.py")
    while len(set(owners := hall.workers_of_sessions())) < 2:
        hall.come(f"p{len(hall.people)}")
    ada = hall.people[0]
    at_hand = [one for one, owner in zip(hall.people, owners, strict=True) if owner == owners[0]]
    beyond = [one for one in hall.people if one not in at_hand]
    lines = []
    with stopped(hall.workers()[1 - owners[0]].pid):
        while not ada.heard:
            lines.append(f"p0: {len(lines)} {'x' * 1900}")
            assert len(lines) < 2_000, "so many long lines wait for a stopped worker"
            ada.say(lines[-1].removeprefix("p0: "))
            for one in at_hand:
                assert one.hear_to(lines[-1])
    notices = len(ada.heard) - 1
    while len(ada.heard) > notices:  # until it reads again
        notices = len(ada.heard)
        lines.append(f"p0: {len(lines)}")
        ada.say(lines[-1].removeprefix("p0: "))
        assert ada.still_here()
        ada.heard = [line for line in ada.heard if line not in lines]
    missed = sum(
        int(line.removeprefix("! ").removesuffix(" did not get that")) for line in ada.heard
    )
    for one in beyond:
        assert one.hear_to(lines[-1])
        heard = [*one.heard, lines[-1]]
        assert heard == [line for line in lines if line in set(heard)]
        missed -= len(lines) - len(heard)
    assert missed == 0, "as many as were told"

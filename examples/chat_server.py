"""A chat for any client that sends lines: names, rooms, private words; several workers serve it.

python examples/chat_server.py [port]     and then, in two terminals: nc 127.0.0.1 9506

It shows  a Table that the workers share, and `server.send`, which reaches the clients of them all.
Order     who reads his own line back knows that all in the room were sent it before. The lines of
          one person come to everybody in his order, also while his worker is replaced, if nobody
          is stuck for longer than max_wait_time.
Slow      readers: send() says True while the line may wait. Over socket_buffer_size the server
          closes that one, `close` tells the room, nobody else notices.
Crash     of a worker, and a reload: names, rooms and quiet connections go on. Who had a line under
          way, or was just being sent one, is disconnected: nobody misses a line unknowingly.
Limits    each line looks at everybody: 0.5 ms for 1,000 people.
"""

import collections
import logging
import sys

from ipckit import IPCError, Lock, QueueFull, Server, Str, Table

people = Table(10_000, columns={"name": Str(32), "room": Str(32)}, key_size=20)  # by session
naming = Lock()  # one at a time looks whether a name is free, and takes it
lines = collections.deque()  # of this worker: what is being told, (room, line, who is last)
log = logging.getLogger("chat_server")

server = Server("127.0.0.1", int(sys.argv[1]) if len(sys.argv) > 1 else 9506)
server.set(worker_num=2, max_connection=people.size, open_eof_split=True, package_eof=b"\n")
server.set(package_max_length=2_000, socket_buffer_size=256 * 1024)
server.set(tcp_keepalive=True, worker_hang_timeout=10)  # who is gone without a word is found out


def sessions(**wanted):
    """Return who has this name, or is in this room; perhaps one that ended with its worker."""
    (item,) = wanted.items()
    return [int(fd) for fd, person in people.items() if item in person.items()]


def tell(room, line, last=0):
    """Send to all in a room, to `last` at the end.

    A send that finds too slow a reader calls `close` at once, which tells the room: that line
    comes behind the one that is under way.
    """
    lines.append((room, f"{line}\n".encode(), last))
    if len(lines) > 1:
        return
    try:
        while lines:
            deliver(*lines[0])
            lines.popleft()
    finally:
        lines.clear()


def deliver(room, line, last):
    missed = 0
    for fd in sorted(sessions(room=room), key=lambda fd: fd == last):
        try:
            if not server.send(fd, line):
                depart(fd, "was lost")  # the worker died while it was closing him
        except QueueFull:  # his worker is stopped, or in an endless loop: soon it is killed
            missed += 1
    if missed and not (last and server.send(last, b"! %d did not get that\n" % missed)):
        log.warning("%d in %s did not get %r", missed, room, line)


def depart(fd, how):
    person = people.get(str(fd))
    if person and people.delete(str(fd)) and person["room"]:  # one process deletes it
        tell(person["room"], f"* {person['name']} {how}")


def name(fd, wanted):
    with naming:  # if the worker is killed here, the lock is free, the row whole or not there
        if any(server.exists(other) for other in sessions(name=wanted)):
            raise ValueError(f"{wanted} is taken")
        if not people.add(str(fd), {"name": wanted}):
            raise ValueError("you have a name")
    server.send(fd, f"* hello {wanted}\n".encode())


def move(fd, room=""):
    person = people.get(str(fd))
    if person["room"]:
        tell(person["room"], f"* {person['name']} has left {person['room']}", fd)
    people.set(str(fd), {"room": room})
    if room:
        tell(room, f"* {person['name']} has joined {room}", fd)


def say(fd, line):
    person = people.get(str(fd))
    if not person["room"]:
        raise ValueError("first: /join ROOM")
    tell(person["room"], f"{person['name']}: {line}", fd)


def private(fd, to, *words):
    line = f"{people.get(str(fd), 'name')} to {to}: {' '.join(words)}\n".encode()
    if not any(server.send(other, line) for other in sessions(name=to)):
        raise ValueError(f"there is no {to}")
    server.send(fd, line)


def who(fd):
    there = sessions(room=people.get(str(fd), "room"))
    names = [people.get(str(other), "name", "") for other in there if server.exists(other)]
    server.send(fd, f"* {' '.join(sorted(names))}\n".encode())


def end(fd):
    depart(fd, "has left")
    server.close(fd)


commands = {"/name": name, "/join": move, "/leave": move, "/to": private, "/who": who, "/quit": end}
commands["say"] = say  # of a line that begins with no /


@server.on("start")
def start(server):
    print(f"listening on {server.port}", flush=True)


@server.on("receive")
def receive(server, fd, reactor_id, data):
    line = "".join(filter(str.isprintable, data.decode(errors="replace"))).strip()
    command, *words = line.split() if line.startswith("/") else ("say", line)
    try:
        if command not in {"/name", "/quit"} and not people.exists(str(fd)):
            raise ValueError("first: /name NAME")
        commands[command](fd, *words)
    except (LookupError, TypeError):
        server.send(fd, b"! /name NAME, /join ROOM, /leave, /to NAME LINE, /who, /quit\n")
    except (ValueError, IPCError) as error:  # wrong use, or no more room
        server.send(fd, f"! {error}\n".encode())


@server.on("close")
def close(server, fd, reactor_id):
    depart(fd, "has left" if reactor_id >= 0 else "was lost")  # -1: too slow, or a worker's death


server.start()

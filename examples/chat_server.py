"""A chat for any client that sends lines: names, rooms, private messages; several workers.

python examples/chat_server.py [port]     and then, in two terminals: nc 127.0.0.1 9506

It shows  a Table that all workers share, and `server.send`, which reaches their clients.
Order     a person reads his own line after it was sent to all others in the room. The lines of one
          person keep their order for every reader, also while his worker is replaced, unless a
          process is stuck for longer than max_wait_time.
Slow      readers: send() returns True while the line may wait. Over socket_buffer_size the server
          closes that connection, `close` tells the room, and the other clients notice nothing.
Crash     of a worker, and a reload: names, rooms and idle connections stay. A client with a line in
          progress, in either direction, is disconnected, so nobody misses a line unknowingly.
Limits    each line scans all people: 0.5 ms for 1,000.
"""

import collections
import logging
import sys

from ipckit import IPCError, Lock, QueueFull, Server, Str, Table

people = Table(10_000, columns={"name": Str(32), "room": Str(32)}, key_size=20)  # by session
naming = Lock()  # held while a process checks that a name is free, and takes it
lines = (
    collections.deque()
)  # of this worker, being sent: (room, line, the session that gets it last)
log = logging.getLogger("chat_server")

server = Server("127.0.0.1", int(sys.argv[1]) if len(sys.argv) > 1 else 9506)
server.set(worker_num=2, max_connection=people.size, open_eof_split=True, package_eof=b"\n")
server.set(package_max_length=2_000, socket_buffer_size=256 * 1024)
server.set(tcp_keepalive=True, worker_hang_timeout=10)  # detects clients that vanished


def sessions(**wanted):
    """Return the sessions with this name or in this room; one may have ended with its worker."""
    (item,) = wanted.items()
    return [int(fd) for fd, person in people.items() if item in person.items()]


def tell(room, line, last=0):
    """Send to all in a room, to `last` at the end.

    A send to a reader that is too slow calls `close` before it returns, and `close` tells the
    room. That line is sent after the current one.
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
                depart(fd, "was lost")  # the worker died while it closed the connection
        except QueueFull:  # that worker is stopped or hangs: it will be killed
            missed += 1
    if missed and not (last and server.send(last, b"! %d did not get that\n" % missed)):
        log.warning("%d in %s did not get %r", missed, room, line)


def depart(fd, how):
    person = people.get(str(fd))
    if person and people.delete(str(fd)) and person["room"]:  # one process deletes it
        tell(person["room"], f"* {person['name']} {how}")


def name(fd, wanted):
    with (
        naming
    ):  # if the worker is killed here, the lock is released, and the row is complete or absent
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
commands["say"] = say  # for a line that does not begin with /


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

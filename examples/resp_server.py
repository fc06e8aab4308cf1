"""A small Redis: its protocol (RESP) in front of a Table that all workers share.

python examples/resp_server.py [port]        and then: redis-cli -p PORT, redis-benchmark -p PORT

It knows PING, ECHO, SET [NX], GET, MGET, DEL, EXISTS, INCR, INCRBY, DECR, DECRBY, KEYS, DBSIZE,
FLUSHALL. A reload of the server, and a crash of a worker, keep the clients' connections.
"""

import fnmatch
import sys

from ipckit import Bytes, IPCError, Server, Table

rows = Table(100_000, columns={"value": Bytes(1024)}, key_size=128)


def length_of_command(data: bytes, start: int) -> int:
    """Return the bytes of the command at `start`: a line, or *N and N times $LENGTH and a body."""
    end = data.find(b"\r\n", start)
    if end < 0:
        return 0
    if data[start] != ord("*"):
        return end + 2 - start
    at = end + 2
    for _ in range(int(data[start + 1 : end])):
        end = data.find(b"\r\n", at)
        if end < 0:
            return 0
        size = int(data[at + 1 : end])
        if data[at] != ord("$") or size < 0:
            return -1
        at = end + 2 + size + 2
    return at - start


def arguments(command: bytes) -> list[bytes]:
    """Return the words of a whole command."""
    if command[0] != ord("*"):
        return command.split()
    words = []
    at = command.index(b"\r\n") + 2
    while at < len(command):
        end = command.index(b"\r\n", at)
        size = int(command[at + 1 : end])
        words.append(command[end + 2 : end + 2 + size])
        at = end + 2 + size + 2
    return words


class Simple(str):
    """An answer of one word."""

    __slots__ = ()


def reply(answer) -> bytes:
    """Encode it as RESP."""
    if answer is None:
        return b"$-1\r\n"
    if isinstance(answer, Simple):
        return b"+%s\r\n" % answer.encode()
    if isinstance(answer, int):
        return b":%d\r\n" % answer
    if isinstance(answer, list):
        return b"*%d\r\n" % len(answer) + b"".join(map(reply, answer))
    return b"$%d\r\n%s\r\n" % (len(answer), answer)


def put(key, value, option=b""):
    if option.upper() == b"NX":
        return Simple("OK") if rows.add(key, {"value": value}) else None
    if option:
        raise ValueError("of the options only NX is known")
    rows.set(key, {"value": value})
    return Simple("OK")


def integer(text):
    try:
        return int(text)
    except ValueError:
        raise ValueError("the value is no integer") from None


def increase(key, by):
    with rows.lock(key) as row:  # no other worker changes it here; an exception keeps the old value
        number = integer(row["value"] or 0) + integer(by)
        row["value"] = b"%d" % number
    return number


def keys(pattern):
    names = (key.encode() if isinstance(key, str) else key for key in rows)
    return [name for name in names if fnmatch.fnmatchcase(name, pattern)]


def flush():
    for key in list(rows):
        rows.delete(key)
    return Simple("OK")


commands = {
    b"PING": lambda text=None: Simple("PONG") if text is None else text,
    b"ECHO": lambda text: text,
    b"SET": put,
    b"GET": lambda key: rows.get(key, "value"),
    b"MGET": lambda *keys: [rows.get(key, "value") for key in keys],
    b"DEL": lambda *keys: sum(rows.delete(key) for key in keys),
    b"EXISTS": lambda *keys: sum(key in rows for key in keys),
    b"INCR": lambda key: increase(key, 1),
    b"INCRBY": increase,
    b"DECR": lambda key: increase(key, -1),
    b"DECRBY": lambda key, by: increase(key, -integer(by)),
    b"KEYS": keys,
    b"DBSIZE": lambda: len(rows),
    b"FLUSHALL": flush,
    b"CONFIG": lambda *_: [],  # redis-benchmark asks; there is none
    b"COMMAND": lambda *_: [],  # and so does redis-cli
}

server = Server("127.0.0.1", int(sys.argv[1]) if len(sys.argv) > 1 else 9503)
server.set(worker_num=2, package_length_func=length_of_command)


@server.on("start")
def start(server):
    print(f"listening on {server.port}", flush=True)


@server.on("receive")
def receive(server, fd, reactor_id, data):
    words = arguments(data)
    if not words:
        return
    try:
        answer = reply(commands[words[0].upper()](*words[1:]))
    except KeyError:
        answer = b"-ERR unknown command\r\n"
    except TypeError:
        answer = b"-ERR wrong number of arguments\r\n"
    except (ValueError, IPCError) as error:  # no integer, too long, no more room
        answer = b"-ERR %s\r\n" % str(error).encode()
    server.send(fd, answer)


server.start()

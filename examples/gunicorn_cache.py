"""A cache that all workers of gunicorn share: a Table made before they are forked.

gunicorn --workers 2 --preload --chdir examples gunicorn_cache:app      and then:
curl http://127.0.0.1:8000/square?7      "hit" or "miss", the answer, the worker's process

One worker at a time computes an answer, inside the lock of its row. Requests for that answer wait,
and all others go on. Crash: a worker that is killed inside the lock leaves the old row, and its
lock is released, so the next worker computes the answer. The cache outlives every worker, but not
gunicorn itself.
CACHE_ROWS (10,000), CACHE_TTL (60) and CACHE_WORK (0), in seconds, come from the environment.
"""

import os
import sys
import time

from ipckit import Float, Str, Table, TableFull, WaitTimeout

ROWS = int(os.environ.get("CACHE_ROWS", "10000"))
TTL = float(os.environ.get("CACHE_TTL", "60"))
WORK = float(os.environ.get("CACHE_WORK", "0"))  # the time to compute an answer
PATIENCE = 20  # less than gunicorn's own, which kills a worker that is busy for 30 s
cache = Table(ROWS, columns={"value": Str(64), "until": Float()})  # --preload: inherited by all


def square(text):
    while True:
        found = cache.get(text)
        if found is not None and time.monotonic() < found["until"]:
            return "hit", found["value"]
        try:
            with cache.lock(text, timeout=PATIENCE) as row:
                if time.monotonic() < row["until"]:
                    return "hit", row["value"]  # another worker stored it while this one waited
                print(f"worker {os.getpid()} makes {text}", file=sys.stderr, flush=True)
                time.sleep(WORK)
                row.update(value=str(int(text) ** 2), until=time.monotonic() + TTL)
                return "miss", row["value"]
        except TableFull:  # raised by the lock, before any work
            make_room()


def make_room():
    """Delete a quarter: the rows that expire first, except those that are being computed."""
    rows = sorted(cache.items(), key=lambda item: item[1]["until"])
    left = len(rows) // 4 + 1
    for text, _ in rows:
        try:
            with cache.lock(text, timeout=0):
                pass
        except (WaitTimeout, TableFull):  # TableFull: another worker has just deleted it
            continue
        cache.delete(text)
        left -= 1
        if not left:
            return


def app(environ, start_response):
    text = environ["QUERY_STRING"]
    if not text.isascii() or not text.isdecimal() or len(text) > 30:
        start_response("400 Bad Request", [("Content-Type", "text/plain")])
        return [b"ask for /square?7, of at most 30 digits\n"]
    try:
        kind, value = square(text)
    except WaitTimeout:
        start_response("503 Service Unavailable", [("Content-Type", "text/plain")])
        return [f"not made within {PATIENCE} s: ask again\n".encode()]
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [f"{kind} {value} {os.getpid()}\n".encode()]

"""A cache that all workers of gunicorn share: a Table made before they are forked.

gunicorn --workers 2 --preload --chdir examples gunicorn_cache:app      and then:
curl http://127.0.0.1:8000/square?7      "hit" or "miss", the worker's process, the answer
"""

import os
import time

from ipckit import Float, Str, Table

TTL = 60.0
cache = Table(10_000, columns={"value": Str(64), "until": Float()})  # --preload: inherited by all


def square(text):
    found = cache.get(text)
    if found is not None and time.monotonic() < found["until"]:
        return "hit", found["value"]
    value = str(int(text) ** 2)  # stands for slow work
    cache.set(text, {"value": value, "until": time.monotonic() + TTL})  # whole, or not at all
    return "miss", value


def app(environ, start_response):
    text = environ["QUERY_STRING"]
    if not text.isascii() or not text.isdecimal() or len(text) > 30:
        start_response("400 Bad Request", [("Content-Type", "text/plain")])
        return [b"ask for /square?7, of at most 30 digits\n"]
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [f"{' '.join(square(text))} {os.getpid()}\n".encode()]

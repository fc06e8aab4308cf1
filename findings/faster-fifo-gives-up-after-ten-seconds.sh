#!/usr/bin/env bash
# Behaviour: faster_fifo.Queue has the methods of multiprocessing.Queue, whose get() and put() wait
#            without a limit. Its own wait for ten seconds, then raise queue.Empty or queue.Full.
# Seen:      faster-fifo 1.5.2: Empty and Full after 10.0 s each.
# Source:    faster_fifo/faster_fifo.pyx, DEFAULT_TIMEOUT.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q faster-fifo==1.5.2
timeout 60 "$folder/venv/bin/python" - <<'PYTHON'
import importlib.metadata
import queue
import time

import faster_fifo

print(f"faster-fifo {importlib.metadata.version('faster-fifo')}")
jobs = faster_fifo.Queue(1000)
waits = {}
for name, call in ("get", lambda: jobs.get()), ("put", lambda: jobs.put(bytes(600))):
    begun = time.monotonic()
    try:
        call()  # of an empty queue
        begun = time.monotonic()
        call()  # the second does not fit
    except (queue.Empty, queue.Full) as exc:
        waits[name] = (type(exc).__name__, round(time.monotonic() - begun))
print(waits)
assert waits == {"get": ("Empty", 10), "put": ("Full", 10)}
PYTHON

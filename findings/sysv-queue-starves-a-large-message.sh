#!/usr/bin/env bash
# Behaviour: a msgsnd() that waits for room has no place in line. Later calls whose smaller messages
#            fit go first, so one large message waits as long as small ones keep the queue full.
# Seen:      Linux 6.18.44, sysv_ipc 1.2.0: 20,000 messages of 100 bytes are sent and received while
#            one of 150 bytes waits. It is sent when two small ones have left.
# Source:    linux/ipc/msg.c, do_msgsnd() and ss_wakeup(); msgsnd(2) states no order.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q sysv_ipc==1.2.0
uname -sr
timeout 60 "$folder/venv/bin/python" - <<'PYTHON'
import os

import sysv_ipc

SMALL, LARGE = 1, 2
queue = sysv_ipc.MessageQueue(None, sysv_ipc.IPC_CREX)
try:
    queue.max_size = 1000
    for _ in range(10):
        queue.send(b"s" * 100, type=SMALL)
    sender = os.fork()
    if sender == 0:
        queue.send(b"L" * 150, type=LARGE)
        os._exit(0)
    blocked = 0
    while blocked < 1000:  # it sleeps in the call: a thousand looks say so
        with open(f"/proc/{sender}/stat") as file:
            blocked = blocked + 1 if file.read().rpartition(")")[2].split()[0] == "S" else 0
    for passed in range(1, 20_001):
        queue.receive(type=SMALL)
        queue.send(b"s" * 100, type=SMALL, block=False)
    waits = os.waitpid(sender, os.WNOHANG) == (0, 0)
    print(f"{passed} small messages passed; the large one waits: {waits}")
    for _ in range(2):
        queue.receive(type=SMALL)
    assert waits and os.waitpid(sender, 0) == (sender, 0)
    print(f"two small ones received: sent, {len(queue.receive(type=LARGE)[0])} bytes")
finally:
    queue.remove()
PYTHON

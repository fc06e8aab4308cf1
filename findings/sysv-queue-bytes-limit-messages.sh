#!/usr/bin/env bash
# Behaviour: msg_qbytes, "the maximum number of bytes in the queue", is also the maximum number of
#            messages. A queue of 64 bytes is full after 64 messages of no bytes at all.
# Seen:      Linux 6.18.44, sysv_ipc 1.2.0: 64 sends, then EAGAIN, with 0 bytes in the queue.
# Source:    msgsnd(2) names the limit in its text on blocking; linux/ipc/msg.c, msg_fits_inqueue().
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q sysv_ipc==1.2.0
uname -sr
"$folder/venv/bin/python" - <<'PYTHON'
import sysv_ipc

queue = sysv_ipc.MessageQueue(None, sysv_ipc.IPC_CREX)
try:
    queue.max_size = 64
    sent = 0
    try:
        while sent < 1000:
            queue.send(b"", block=False)
            sent += 1
    except sysv_ipc.BusyError as exc:
        print(f"full after {sent} empty messages: {exc}")
finally:
    queue.remove()
assert sent == 64
PYTHON

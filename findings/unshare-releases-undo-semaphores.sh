#!/usr/bin/env bash
# Behaviour: a process that moves to a new IPC namespace undoes its SEM_UNDO operations at that moment.
#            A semaphore that it has acquired is free for the others, and the process goes on.
# Seen:      Linux 6.18.44, sysv_ipc 1.2.0: value 0 before unshare(CLONE_NEWIPC), 1 after it, and the
#            process that has acquired it lives.
# Source:    linux/kernel/fork.c, ksys_unshare() calls exit_sem(); unshare(2) says it for
#            CLONE_SYSVSEM, which CLONE_NEWIPC implies. semop(2) names the end of the process alone.
# Needs root.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q sysv_ipc==1.2.0
uname -sr
timeout 60 "$folder/venv/bin/python" - <<'PYTHON'
import ctypes
import os

import sysv_ipc

CLONE_NEWIPC = 0x08000000
semaphore = sysv_ipc.Semaphore(None, sysv_ipc.IPC_CREX, initial_value=1)
semaphore.undo = True
steps, step = os.pipe()
told, tell = os.pipe()
holder = os.fork()
if holder == 0:
    os.close(step)
    semaphore.acquire()
    os.write(tell, b"a")
    os.read(steps, 1)
    code = ctypes.CDLL(None).unshare(CLONE_NEWIPC)
    os.write(tell, b"u" if code == 0 else b"refused")
    os.read(steps, 1)
    os._exit(0)
try:
    assert os.read(told, 1) == b"a"
    before = semaphore.value
    os.write(step, b"x")
    assert os.read(told, 7) == b"u", "unshare was refused: run it as root"
    after = semaphore.value
    lives = os.waitpid(holder, os.WNOHANG) == (0, 0)
    print(f"value while it is held: {before}; after unshare(CLONE_NEWIPC): {after}; the holder lives: {lives}")
finally:
    semaphore.remove()
    os.close(step)
    os.waitpid(holder, 0)
assert (before, after, lives) == (0, 1, True)
PYTHON

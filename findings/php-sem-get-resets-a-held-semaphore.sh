#!/usr/bin/env bash
# Behaviour: sem_get() sets the semaphore to its maximum whenever no PHP process uses it. A lock that
#            a program in another language holds is free for PHP at that moment.
# Seen:      PHP 8.2.36 (Debian 12, php-cli), sysv_ipc 1.2.0, Linux 6.18.44: Python has acquired the
#            semaphore, its value is 0, and a new PHP process acquires it without waiting.
# Source:    php-src/ext/sysvsem/sysvsem.c, sem_get(): the set has a second semaphore, the number of
#            PHP processes that use the set, and a first user writes the value. The manual says that of
#            the permissions; it asks for a set of three semaphores, not for users that are counted.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q sysv_ipc==1.2.0
php --version | head -n 1
uname -sr
"$folder/venv/bin/python" - <<'PYTHON'
import random
import subprocess

import sysv_ipc

key = random.randrange(1, 2**31)


def php(use):
    program = f"$lock = sem_get({key}, 1, 0600); echo json_encode({use});"
    return subprocess.run(["php", "-r", program], check=True, capture_output=True, text=True).stdout


print("PHP makes the semaphore, acquires and releases it:", php("sem_acquire($lock) && sem_release($lock)"))
lock = sysv_ipc.Semaphore(key)
try:
    lock.acquire(0)
    held = lock.value
    entered = php("sem_acquire($lock, true)")
    print(f"Python holds it, value {held}; PHP acquires it without waiting: {entered}; value {lock.value}")
finally:
    lock.remove()
assert (held, entered) == (0, "true")
PYTHON

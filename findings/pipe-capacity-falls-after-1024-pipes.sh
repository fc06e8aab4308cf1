#!/usr/bin/env bash
# Behaviour: a user's pipes after the first 1024 hold 8 KiB each instead of 64 KiB. pipe() reports
#            nothing, and pipes of all processes of the user count.
# Seen:      Linux 6.18.44: 1024 pipes of 65,536 bytes, 76 of 8,192.
# Source:    linux/fs/pipe.c, alloc_pipe_info(); /proc/sys/fs/pipe-user-pages-soft in pipe(7).
#            Processes with CAP_SYS_RESOURCE or CAP_SYS_ADMIN are exempt.
# Needs root, for a user without other pipes.
set -euo pipefail
uname -sr
python3 - <<'PYTHON'
import collections
import fcntl
import os
import resource

PIPES, UNUSED_USER = 1100, 54_321
limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
os.setgid(UNUSED_USER)
os.setuid(UNUSED_USER)
sizes = collections.Counter(fcntl.fcntl(os.pipe()[0], fcntl.F_GETPIPE_SZ) for _ in range(PIPES))
with open("/proc/sys/fs/pipe-user-pages-soft") as file:
    print(f"pipe-user-pages-soft {file.read().strip()}; pipes by capacity: {dict(sizes)}")
assert sizes == {65_536: 1024, 8_192: PIPES - 1024}
PYTHON

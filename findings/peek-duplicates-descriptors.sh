#!/usr/bin/env bash
# Behaviour: recvmsg(2) with MSG_PEEK on a Unix socket installs the descriptors of an SCM_RIGHTS
#            message each time. A program that peeks at a message before it reads it has each
#            descriptor twice, and leaks one for each peek.
# Seen:      Linux 6.18.44: three peeks and one read of one descriptor give four.
# Source:    linux/net/unix/af_unix.c, unix_peek_fds(); unix(7) does not say it.
set -euo pipefail
uname -sr
python3 - <<'PYTHON'
import os
import socket

sender, receiver = socket.socketpair()
reading, _ = os.pipe()
socket.send_fds(sender, [b"x"], [reading])


def count() -> int:
    return len(os.listdir("/proc/self/fd"))


before = count()
for flags in (socket.MSG_PEEK, socket.MSG_PEEK, socket.MSG_PEEK, 0):
    receiver.recvmsg(1, socket.CMSG_SPACE(4), flags)
print("one descriptor sent, new descriptors here:", count() - before)
assert count() - before == 4
PYTHON

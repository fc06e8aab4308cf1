#!/usr/bin/env bash
# Behaviour: the peer that SO_PEERCRED shows to a client of a Unix socket is the process that called
#            listen() last, not the one that accepts. A second listen(), such as that of
#            asyncio.start_unix_server(sock=...) in a child, changes it.
# Seen:      Linux 6.18.44: after a child called listen() and ended, clients see the pid of the child.
# Source:    linux/net/unix/af_unix.c, unix_listen() sets the credentials at each call; unix(7) on
#            SO_PEERCRED names listen(2), not that it may come twice.
set -euo pipefail
uname -sr
python3 - <<'PYTHON'
import os
import socket
import struct

listener = socket.socket(socket.AF_UNIX)
listener.bind("")  # an abstract name of the kernel's choice
listener.listen()


def server_pid():
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(listener.getsockname())
        return struct.unpack("iII", client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0]


before = server_pid()
child = os.fork()
if child == 0:
    listener.listen()
    os._exit(0)
os.waitpid(child, 0)
after = server_pid()
names = {os.getpid(): "the parent", child: "the child, which has ended"}
print(f"server, by SO_PEERCRED: {names[before]}; after a listen() of a child: {names[after]}")
assert (before, after) == (os.getpid(), child)
PYTHON

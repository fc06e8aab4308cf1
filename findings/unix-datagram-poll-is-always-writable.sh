#!/usr/bin/env bash
# Behaviour: poll(2) says POLLOUT for an unconnected Unix datagram socket while sendto() to a full
#            receiver fails with EAGAIN. An event loop that waits for "writable" and sends again
#            loops without a pause. For a connected socket the answer is right.
# Seen:      Linux 6.18.44, net.unix.max_dgram_qlen 10: EAGAIN, then POLLOUT; none once connected.
# Source:    linux/net/unix/af_unix.c, unix_dgram_poll(): only a connected peer's queue is looked
#            at; unix(7) does not say it.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
uname -sr
python3 - "$folder/receiver" <<'PYTHON'
import select
import socket
import sys

receiver = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
receiver.bind(sys.argv[1])
sender = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
sender.setblocking(False)
sent = 0
try:
    while sent < 100_000:
        sender.sendto(b"x", sys.argv[1])
        sent += 1
except BlockingIOError:
    print(f"EAGAIN after {sent} datagrams")
poller = select.poll()
poller.register(sender, select.POLLOUT)
unconnected = bool(poller.poll(0))
sender.connect(sys.argv[1])
connected = bool(poller.poll(0))
print(f"poll says writable: unconnected {unconnected}, connected {connected}")
assert sent < 100_000 and unconnected and not connected
PYTHON

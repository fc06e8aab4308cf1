#!/usr/bin/env bash
# Behaviour: a bind() to an ipc:// address that another socket is bound to succeeds. The first socket
#            reports no error and gets no new peer; what is sent goes to the second.
# Seen:      pyzmq 27.3.0: both binds succeed; the message is at the second socket. Two binds to one
#            tcp:// port: EADDRINUSE.
# Source:    libzmq/src/ipc_listener.cpp unlinks the file before it binds; zmq_ipc(7) says so.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q pyzmq==27.3.0
"$folder/venv/bin/python" - "$folder/socket" <<'PYTHON'
import sys

import zmq

print(f"pyzmq {zmq.pyzmq_version()}, libzmq {zmq.zmq_version()}")
context = zmq.Context()
first, second, third, sender = (context.socket(kind) for kind in (zmq.PULL, zmq.PULL, zmq.PULL, zmq.PUSH))
address = f"ipc://{sys.argv[1]}"
first.bind(address)
second.bind(address)
print("ipc, second bind: no error")
sender.connect(address)
sender.send(b"to the first")
at_second, at_first = bool(second.poll(10_000)), bool(first.poll(0))
print(f"the message is at the first: {at_first}, at the second: {at_second}")
port = third.bind_to_random_port("tcp://127.0.0.1")
try:
    context.socket(zmq.PULL).bind(f"tcp://127.0.0.1:{port}")
    refused = False
except zmq.ZMQError as exc:
    refused = exc.errno == zmq.EADDRINUSE
    print(f"tcp, second bind: {exc}")
context.destroy(linger=0)
assert (at_first, at_second, refused) == (False, True, True)
PYTHON

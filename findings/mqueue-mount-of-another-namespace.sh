#!/usr/bin/env bash
# Behaviour: a mount of the mqueue file system belongs to the IPC namespace that mounted it. After
#            unshare(CLONE_NEWIPC) /dev/mqueue still lists the old namespace's queues, while
#            mq_open and mq_unlink act on the new, empty one. `rm` of the listed file removes the
#            old namespace's queue; mq_unlink of the listed name fails with ENOENT.
# Seen:      Linux 6.18.44, posix_ipc 1.3.2.
# Source:    mq_overview(7), "Mounting the message queue filesystem"; ipc_namespaces(7).
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q posix_ipc==1.3.2
uname -sr
cat >"$folder/inner.py" <<'PYTHON'
import os
import sys

import posix_ipc

print("listed:", os.listdir(sys.argv[1]))
try:
    posix_ipc.unlink_message_queue("/outer")
except posix_ipc.ExistentialError as exc:
    print("mq_unlink: no such queue", type(exc).__name__)
posix_ipc.MessageQueue("/inner", posix_ipc.O_CREX).close()
print("after mq_open of /inner:", os.listdir(sys.argv[1]))
os.unlink(f"{sys.argv[1]}/outer")
print("after rm of the file:", os.listdir(sys.argv[1]))
PYTHON
seen=$(unshare --ipc --mount bash -euc '
  mkdir "$1/mq"
  mount -t mqueue none "$1/mq"
  "$1/venv/bin/python" -c "import posix_ipc as p; p.MessageQueue(\"/outer\", p.O_CREX).close()"
  unshare --ipc "$1/venv/bin/python" "$1/inner.py" "$1/mq"' bash "$folder")
echo "$seen"
[ "$seen" = "listed: ['outer']
mq_unlink: no such queue ExistentialError
after mq_open of /inner: ['outer']
after rm of the file: []" ]

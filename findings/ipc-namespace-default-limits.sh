#!/usr/bin/env bash
# Behaviour: a new IPC namespace starts with the kernel's default limits for System V and POSIX
#            queues. It does not take those of the namespace that made it. A host that was tuned
#            with sysctl -w kernel.msgmax=... gives its containers 8192 and 10 all the same.
# Seen:      Linux 6.18.44: 65536 and 99 are set, the nested namespace has 8192 and 10.
# Source:    ipc_namespaces(7) says that the files are per namespace, and nothing of their values;
#            linux/ipc/msg.c msg_init_ns(), linux/ipc/mqueue.c mq_init_ns().
set -euo pipefail
uname -sr
seen=$(unshare --ipc bash -euc '
  echo 65536 >/proc/sys/kernel/msgmax
  echo 99 >/proc/sys/fs/mqueue/msg_max
  cat /proc/sys/kernel/msgmax /proc/sys/fs/mqueue/msg_max
  unshare --ipc cat /proc/sys/kernel/msgmax /proc/sys/fs/mqueue/msg_max' | paste -sd' ')
echo "outer msgmax, outer msg_max, inner msgmax, inner msg_max: $seen"
[ "$seen" = "65536 99 8192 10" ]

"""A network namespace of a process's own, in which no other program has a socket.

Contract  `own_network()` gives it to this process and all that it starts, with the loopback device
          up; False: that is not permitted, and nothing has changed.
Kernel    unshare(2) CLONE_NEWNET needs CAP_SYS_ADMIN; netdevice(7) SIOCSIFFLAGS.
"""

from __future__ import annotations

import ctypes
import fcntl
import socket
import struct

_NEWNET = 0x40000000  # sched.h
_SET_FLAGS, _UP = 0x8914, 0x1  # netdevice(7)


def own_network() -> bool:
    """See the head."""
    if ctypes.CDLL(None).unshare(_NEWNET) != 0:
        return False
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        fcntl.ioctl(sock, _SET_FLAGS, struct.pack("16sh14x", b"lo", _UP))
    return True

"""PHP's message queue functions: its argument order and its data format, with exceptions.

Where PHP returns false and warns, these raise what SysvQueue raises; where it returns true they do.
Contract  docs/contracts/queue.md; a real PHP reads what these send, and the reverse.
Stands on ipckit.errors, ipckit.queue.{php_format,sysv}.
Source    PHP's manual, chapter "Semaphore, Shared Memory and IPC"; ext/sysvmsg.
"""

from __future__ import annotations

from collections.abc import Mapping

from ipckit.errors import NotFound
from ipckit.queue.contract import MAX_TYPE, check_number
from ipckit.queue.php_format import dumps, loads
from ipckit.queue.sysv import SysvQueue

__all__ = [
    "MSG_EXCEPT",
    "MSG_IPC_NOWAIT",
    "MSG_NOERROR",
    "msg_get_queue",
    "msg_queue_exists",
    "msg_receive",
    "msg_remove_queue",
    "msg_send",
    "msg_set_queue",
    "msg_stat_queue",
]

MSG_IPC_NOWAIT = 1
MSG_NOERROR = 2
MSG_EXCEPT = 4

_SETTABLE = {
    "msg_perm.uid": "uid",
    "msg_perm.gid": "gid",
    "msg_perm.mode": "mode",
    "msg_qbytes": "max_bytes",
}
_READ_ONLY = {"msg_stime", "msg_rtime", "msg_ctime", "msg_qnum", "msg_lspid", "msg_lrpid"}


def msg_get_queue(key: int, permissions: int = 0o600) -> SysvQueue:
    """Return the queue with this key, made with these rights if there is none.

    key is -2**31..2**31-1, e.g. from ftok(); 0 makes a new private queue. Raises as
    SysvQueue.open_or_create().
    """
    if key == 0:
        return SysvQueue.create(mode=permissions)
    return SysvQueue.open_or_create(key, mode=permissions)


def msg_send(
    queue: SysvQueue,
    message_type: int,
    message: object,
    serialize: bool = True,
    blocking: bool = True,
) -> bool:
    """Send one message; wait for room without limit.

    Args:
        queue: of msg_get_queue(), or any SysvQueue.
        message_type: 1..2**63-1.
        serialize: write PHP's text.
        blocking: False raises QueueFull instead of waiting.
        message: with serialize: None, bool, int, float, str, bytes, list or dict
            (ipckit.queue.php_format); without: bytes, str (as UTF-8), or a number, sent as PHP
            prints it.

    Returns True. Raises as SysvQueue.send(); ValueError or TypeError for another message.
    """
    body = dumps(message) if serialize else _plain(message)
    _checked(queue).send(body, type=message_type, timeout=None if blocking else 0)
    return True


def msg_receive(
    queue: SysvQueue,
    desired_message_type: int,
    max_message_size: int,
    unserialize: bool = True,
    flags: int = 0,
) -> tuple[int, object]:
    """Receive one message; return (received_type, message).

    Args:
        queue: of msg_get_queue(), or any SysvQueue.
        desired_message_type: 0 any, n > 0 that one, -n the lowest type <= n.
        max_message_size: bytes, 1 or more; a longer one raises MessageTooLarge and stays.
        unserialize: read PHP's text; else the message is bytes.
        flags: MSG_IPC_NOWAIT: QueueEmpty instead of waiting. MSG_EXCEPT: any type but the desired
            one. MSG_NOERROR: cut a longer message.

    Raises as SysvQueue.receive(). ValueError: it was not PHP's text, or is cut; as in PHP the
    message is taken all the same. Use unserialize=False where anybody may send.
    """
    if not isinstance(flags, int):
        raise TypeError(f"flags={flags!r}: must be an int")
    if flags & ~(MSG_IPC_NOWAIT | MSG_NOERROR | MSG_EXCEPT):
        raise ValueError(
            f"flags={flags}: must be 0, or of MSG_IPC_NOWAIT, MSG_NOERROR and MSG_EXCEPT"
        )
    check_number("desired_message_type", desired_message_type, -MAX_TYPE, MAX_TYPE)
    check_number("max_message_size", max_message_size, 1, 2**63 - 1)
    got = _checked(queue).receive(
        type=desired_message_type,
        # As in the kernel: excluding makes sense for one type only, else it is ignored.
        exclude=bool(flags & MSG_EXCEPT) and desired_message_type > 0,
        max_size=max_message_size,
        truncate=bool(flags & MSG_NOERROR),
        timeout=0 if flags & MSG_IPC_NOWAIT else None,
    )
    return got.type, loads(got.body) if unserialize else got.body


def msg_stat_queue(queue: SysvQueue) -> dict[str, int]:
    """Return PHP's array of the queue's state. Raises as SysvQueue.statistics()."""
    now = _checked(queue).statistics()
    return {
        "msg_perm.uid": now.uid,
        "msg_perm.gid": now.gid,
        "msg_perm.mode": now.mode,
        "msg_stime": int(now.sent_at),
        "msg_rtime": int(now.received_at),
        "msg_ctime": int(now.changed_at),
        "msg_qnum": now.messages,
        "msg_qbytes": now.max_bytes,
        "msg_lspid": now.last_sender_pid,
        "msg_lrpid": now.last_receiver_pid,
    }


def msg_set_queue(queue: SysvQueue, data: Mapping[str, int]) -> bool:
    """Change msg_perm.uid, msg_perm.gid, msg_perm.mode, msg_qbytes as far as `data` has them.

    The other keys of msg_stat_queue() are ignored, as PHP does; unknown ones are ValueError.
    Returns True. Raises as SysvQueue.set().
    """
    if not isinstance(data, Mapping):
        raise TypeError(f"data={data!r}: must be a dict, such as {{'msg_qbytes': 16384}}")
    unknown = sorted(set(data) - set(_SETTABLE) - _READ_ONLY)
    if unknown:
        raise ValueError(
            f"data has {', '.join(map(repr, unknown))}: must be of {', '.join(sorted(_SETTABLE))}"
        )
    _checked(queue).set(**{name: data[key] for key, name in _SETTABLE.items() if key in data})
    return True


def msg_remove_queue(queue: SysvQueue) -> bool:
    """Destroy the queue for everybody. Returns True. Raises as SysvQueue.remove()."""
    _checked(queue).remove()
    return True


def msg_queue_exists(key: int) -> bool:
    """Whether there is a queue with this key now; never for 0, which is no key."""
    if key == 0:
        return False
    try:
        SysvQueue.open(key).close()
    except NotFound:
        return False
    return True


def _checked(queue: SysvQueue) -> SysvQueue:
    """Return the queue, or refuse what is none, e.g. a key."""
    if not isinstance(queue, SysvQueue):
        raise TypeError(f"queue={queue!r}: must be a SysvQueue, as msg_get_queue(key) returns it")
    return queue


def _plain(message: object) -> bytes:
    """Return what PHP sends with serialize=false: strings as they are, numbers printed."""
    if isinstance(message, bytes):
        return message
    if isinstance(message, str):
        return message.encode()
    if isinstance(message, bool | int):
        return b"%d" % message
    if isinstance(message, float):
        return b"%f" % message
    raise TypeError(
        f"message of type {type(message).__name__}: must be bytes, str or a number without "
        f"serialize; leave serialize=True to send it"
    )

"""The errors are those of the documentation, and they cross process borders unharmed."""

from __future__ import annotations

import errno
import pickle
import queue

import pytest

from ipckit import errors
from ipckit.errors import IPCError, SystemCallError, from_errno

# What each one is besides an IPCError, and the fields it carries.
TABLE = {
    "IPCError": ((), {}),
    "SettingsError": ((ValueError,), {}),
    "MisuseError": ((RuntimeError,), {}),
    "BootFailed": ((RuntimeError,), {"worker_id": 3, "remote_traceback": "Traceback ..."}),
    "ProtocolError": ((), {}),
    "PeerGone": ((ConnectionError,), {}),
    "WaitTimeout": ((TimeoutError,), {}),
    "TaskFailed": ((), {"task_id": 7, "attempts": 3, "remote_traceback": "Traceback ..."}),
    "TaskTimeout": ((TimeoutError,), {}),
    "TaskQueueFull": ((queue.Full,), {"setting": "task_memory"}),
    "TableFull": ((), {"size": 64, "key": b"k"}),
    "SchemaError": ((ValueError,), {}),
    "SegmentCorrupt": ((), {}),
    "DeadlockError": ((), {}),
    "SystemCallError": ((OSError,), {}),
    "AlreadyExists": ((SystemCallError, FileExistsError), {}),
    "NotFound": ((SystemCallError, FileNotFoundError), {}),
    "AccessDenied": ((SystemCallError, PermissionError), {}),
    "QueueFull": ((SystemCallError, queue.Full, BlockingIOError), {}),
    "QueueEmpty": ((SystemCallError, queue.Empty, BlockingIOError), {}),
    "QueueRemoved": ((SystemCallError,), {}),
    "MessageTooLarge": ((SystemCallError,), {}),
    "InternalError": ((), {}),
}
TEXT = "msgsnd: 9000 bytes, the limit is 8192"


def sample(name: str) -> IPCError:
    cls = getattr(errors, name)
    if issubclass(cls, SystemCallError):
        return cls(errno.EIO, TEXT)
    return cls(TEXT, **TABLE[name][1])


def test_there_are_these_and_no_others():
    """The table above is the whole list."""
    public = {n for n in errors.__all__ if isinstance(getattr(errors, n), type)}
    assert public == set(TABLE)


@pytest.mark.parametrize("name", TABLE)
def test_what_each_one_is(name):
    """Each is an IPCError and the standard class that a Python programmer would catch."""
    cls = getattr(errors, name)
    assert issubclass(cls, IPCError)
    for base in TABLE[name][0]:
        assert issubclass(cls, base)
    standard = {b for b in cls.__mro__ if b.__module__ != "ipckit.errors"}
    expected = {b for base in (Exception, *TABLE[name][0]) for b in base.__mro__}
    assert standard == {b for b in expected if b.__module__ != "ipckit.errors"}


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("name", TABLE)
def test_each_one_survives_pickling(name, protocol):
    """Type, text, errno and fields are the same on the other side."""
    error = sample(name)
    twin = pickle.loads(pickle.dumps(error, protocol))

    assert type(twin) is type(error)
    assert str(twin) == str(error)
    assert TEXT in str(twin)
    assert getattr(twin, "errno", None) == getattr(error, "errno", None)
    assert {f: getattr(twin, f) for f in TABLE[name][1]} == TABLE[name][1]


@pytest.mark.parametrize("name", [n for n, (bases, _) in TABLE.items() if SystemCallError in bases])
def test_a_system_call_error_has_its_errno(name):
    """errno and strerror are set, as on every OSError."""
    error = sample(name)
    assert (error.errno, error.strerror) == (errno.EIO, TEXT)


@pytest.mark.parametrize(
    ("call", "code", "name"),
    [
        ("msgsnd", errno.EAGAIN, "QueueFull"),
        ("msgrcv", errno.ENOMSG, "QueueEmpty"),
        ("msgrcv", errno.E2BIG, "MessageTooLarge"),
        ("msgrcv", errno.EIDRM, "QueueRemoved"),
        ("msgget", errno.ENOENT, "NotFound"),
        ("msgget", errno.EEXIST, "AlreadyExists"),
        ("msgctl", errno.EPERM, "AccessDenied"),
        ("mq_send", errno.ETIMEDOUT, "QueueFull"),
        ("mq_receive", errno.ETIMEDOUT, "QueueEmpty"),
        ("msgsnd", errno.EINVAL, "SystemCallError"),
    ],
)
def test_errno_to_class(call, code, name):
    """An errno with one meaning for its call has its class; the text names call and detail."""
    error = from_errno(call, code, "key 5")

    assert type(error) is getattr(errors, name)
    assert error.errno == code
    assert str(error).startswith(f"[Errno {code}] {call}: ")
    assert str(error).endswith(": key 5")

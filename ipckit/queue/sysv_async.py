"""areceive at System V queues: relays, and the waits for them in each event loop.

For each loop and choice of messages one relay, made at first use. Several areceives of one choice
wait one after the other, in the order of the calls, so one message wakes one of them.

Stands on ipckit._core (queues/sysv), ipckit.errors, ipckit.queue.{contract,relay}.
Invariants
  V0  an empty message that a relay took is in `given` until an areceive takes it, in this turn of
      the loop; if none does, it goes back into the queue. It stays only if the kernel refuses it
      (no right to send), and then goes to the next receive.
  V1  a relay is armed only while an areceive waits with it. So nobody in this process holds an
      empty message (the only kind that a relay takes) except an areceive that is about to get it.
  V2  the relays of a process that forked stay its own: the child drops them and makes new ones.
"""

# ruff: noqa: A002  (`type` is the kernel's word and the API's)

from __future__ import annotations

import asyncio
import errno
import os
from collections import deque

from ipckit._core import ffi, lib
from ipckit.errors import MisuseError
from ipckit.queue.contract import Message, fits
from ipckit.queue.relay import QueueRelay, Seen

__all__ = ["Waits"]

_IDLE = 8  # relays, each a thread, kept for the next areceive of their choice

_Choice = tuple[asyncio.AbstractEventLoop, int, bool]


class _Post:
    """Where the areceives of one choice wait in one loop: their order, and their relay."""

    __slots__ = ("closed", "future", "given", "lock", "loop", "pid", "relay", "users")

    def __init__(
        self, loop: asyncio.AbstractEventLoop, relay: QueueRelay, given: deque[Message]
    ) -> None:
        self.loop = loop
        self.given = given
        self.relay = relay
        self.lock = asyncio.Lock()
        self.pid = os.getpid()
        self.users = 0
        self.closed = False
        self.future: asyncio.Future[None] | None = None

    async def wakeup(self) -> None:
        """Return when it is worth looking into the queue again."""
        future = self.future = self.loop.create_future()
        try:
            if self.closed:  # by another thread, which came too early to see the future
                raise _refusal()
            self.loop.add_reader(self.relay.fileno(), _wake, future)
            self.relay.arm()
            await future
        finally:
            self.future = None
            self._rest()

    def _rest(self) -> None:
        """Leave the descriptor and the queue alone again (V1)."""
        fd = self.relay.fileno()
        if fd < 0 or self.pid != os.getpid():  # V2: the loop's epoll is the parent's, too
            return
        if not self.loop.is_closed():
            self.loop.remove_reader(fd)
        self.relay.disarm()  # after a wake-up it rests already, and this costs nothing
        wakeup = self.relay.collect()
        if wakeup.seen is Seen.EMPTY:
            self.given.append(Message(wakeup.type, b""))

    def close(self) -> None:
        """Close the relay, or let the last of those who wait do it in their own thread."""
        self.closed = True
        future = self.future
        if not self.users or self.loop.is_closed():
            self.relay.close()
        elif future is not None:
            self.loop.call_soon_threadsafe(_refuse, future)


class Waits:
    """The relays of one queue object. A loop runs in one thread, so each post has one user."""

    def __init__(self) -> None:
        """Begin without any."""
        self.given: deque[Message] = deque()
        self._posts: dict[_Choice, _Post] = {}
        self._pid = os.getpid()

    def enter(self, queue_id: int, type: int, exclude: bool) -> _Post:
        """Return the post for this choice in the running loop; leave() it afterwards."""
        self._after_fork()
        loop = asyncio.get_running_loop()
        choice = (loop, type, exclude)
        post = self._posts.get(choice)
        if post is None:
            self.drop_idle(keep=_IDLE - 1)
            relay = QueueRelay(queue_id, type=type, exclude=exclude)
            post = self._posts[choice] = _Post(loop, relay, self.given)
        post.users += 1
        return post

    def nobody(self) -> bool:
        """Whether no areceive waits, so that another one needs not stand behind it."""
        return not any(post.users for post in tuple(self._posts.values()))

    def leave(self, post: _Post, queue_id: int) -> None:
        """Say that one areceive is over; what it was given and did not take goes back (V0)."""
        post.users -= 1
        if post.closed and not post.users:
            post.relay.close()
        self._give_back(queue_id)

    def take_given(self, type: int, exclude: bool) -> Message | None:
        """Return an empty message that was given and fits, or None."""
        self._after_fork()
        while True:
            fitting = [given for given in tuple(self.given) if fits(given.type, type, exclude)]
            if not fitting:
                return None
            best = min(fitting, key=lambda given: given.type) if type < 0 else fitting[0]
            try:
                self.given.remove(best)
            except ValueError:
                continue  # another thread was faster
            return best

    def drop_idle(self, *, keep: int) -> None:
        """Close the relays of closed loops, and of this loop's unused ones all but the last."""
        idle = [(choice, post) for choice, post in tuple(self._posts.items()) if not post.users]
        for choice, post in idle[: max(0, len(idle) - keep)]:
            # Another loop's thread may be about to enter its own post.
            if post.loop.is_closed() or post.loop is _running_loop():
                self._posts.pop(choice, None)
                post.relay.close()

    def close(self, queue_id: int) -> None:
        """Close all relays; waiting areceives raise MisuseError."""
        self._after_fork()
        self._give_back(queue_id)
        posts = tuple(self._posts.values())
        self._posts.clear()
        for post in posts:
            post.close()

    def _after_fork(self) -> None:
        if self._pid == os.getpid():
            return
        self._pid = os.getpid()
        self.given.clear()  # the parent has them
        for post in self._posts.values():  # V2
            post.relay.close()
        self._posts.clear()

    def _give_back(self, queue_id: int) -> None:
        message = ffi.new("struct ipk_message *")
        for _ in range(len(self.given)):
            try:
                given = self.given.popleft()
            except IndexError:
                return
            message.type = given.type
            code = lib.ipk_msgq_send(queue_id, message, 0, 0)
            if code < 0 and code != -errno.EIDRM:
                self.given.append(given)


def _wake(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def _refuse(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_exception(_refusal())


def _refusal() -> MisuseError:
    return MisuseError("receive: the queue object was closed while this one waited")


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None

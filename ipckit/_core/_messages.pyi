from collections.abc import Sized

from ipckit.queue.contract import Body, Message

class _Queue:
    _id: int
    def _begin(self, queue_id: int, message: type[Message], given: Sized | None, /) -> None: ...

class Sysv(_Queue):
    def _take_now(self, kind: int, /) -> Message | int: ...
    def send(self, body: Body, *, type: int = 1, timeout: float | None = None) -> None: ...
    def send_nowait(self, body: Body, *, type: int = 1) -> None: ...
    def receive(
        self,
        *,
        type: int = 0,
        exclude: bool = False,
        max_size: int | None = None,
        truncate: bool = False,
        timeout: float | None = None,
    ) -> Message: ...
    def receive_nowait(
        self,
        *,
        type: int = 0,
        exclude: bool = False,
        max_size: int | None = None,
        truncate: bool = False,
    ) -> Message: ...

class Posix(_Queue):
    def send(self, body: Body, *, priority: int = 0, timeout: float | None = None) -> None: ...
    def send_nowait(self, body: Body, *, priority: int = 0) -> None: ...
    def receive(self, *, timeout: float | None = None) -> Message: ...
    def receive_nowait(self) -> Message: ...

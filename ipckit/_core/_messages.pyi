from abc import ABCMeta, abstractmethod
from collections.abc import Sized
from typing import type_check_only

from ipckit.queue.contract import Body, Message

class _Queue:
    _id: int
    def _begin(self, queue_id: int, message: type[Message], given: Sized | None, /) -> None: ...
    def _end(self) -> int: ...

# What a subclass of Sysv defines, and Sysv calls by name with the arguments that it was given.
@type_check_only
class _SysvCases(metaclass=ABCMeta):
    @abstractmethod
    def _send(self, body: Body, *, type: int = 1, timeout: float | None = None) -> None: ...
    @abstractmethod
    def _send_nowait(self, body: Body, *, type: int = 1) -> None: ...
    @abstractmethod
    def _receive(
        self,
        *,
        type: int = 0,
        exclude: bool = False,
        max_size: int | None = None,
        truncate: bool = False,
        timeout: float | None = None,
    ) -> Message: ...
    @abstractmethod
    def _receive_nowait(
        self,
        *,
        type: int = 0,
        exclude: bool = False,
        max_size: int | None = None,
        truncate: bool = False,
    ) -> Message: ...

# The same of Posix.
@type_check_only
class _PosixCases(metaclass=ABCMeta):
    @abstractmethod
    def _send(self, body: Body, *, priority: int = 0, timeout: float | None = None) -> None: ...
    @abstractmethod
    def _send_nowait(self, body: Body, *, priority: int = 0) -> None: ...
    @abstractmethod
    def _receive(self, *, timeout: float | None = None) -> Message: ...
    @abstractmethod
    def _receive_nowait(self) -> Message: ...

class Sysv(_Queue, _SysvCases, metaclass=ABCMeta):
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

class Posix(_Queue, _PosixCases, metaclass=ABCMeta):
    def send(self, body: Body, *, priority: int = 0, timeout: float | None = None) -> None: ...
    def send_nowait(self, body: Body, *, priority: int = 0) -> None: ...
    def receive(self, *, timeout: float | None = None) -> Message: ...
    def receive_nowait(self) -> Message: ...

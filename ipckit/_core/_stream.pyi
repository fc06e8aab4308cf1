from abc import ABCMeta, abstractmethod
from collections import deque
from collections.abc import Callable
from typing import Any, type_check_only

HEARD: int
READ: int
WRITTEN: int
SESSION_WORDS: int
REQUESTS: int
REQUESTS_DONE: int
RESPONSES: int
LAST_READ: int
PROCESS_WORDS: int

# What a subclass of Stream defines, and Stream calls by name: all that is not the usual case.
@type_check_only
class _Unusual(metaclass=ABCMeta):
    @abstractmethod
    def _put_aside(self, packet: bytes, /) -> None: ...  # while a callback is under way
    @abstractmethod
    def _receive_raised(self, error: BaseException, /) -> None: ...
    @abstractmethod
    def _receive_returned(self, result: object, /) -> None: ...  # a coroutine, or of no interest
    @abstractmethod
    def _go_on_with_waiting(self) -> None: ...
    @abstractmethod
    def _count_request(self) -> None: ...
    @abstractmethod
    def _watch_packet(self, whole: bool, /) -> None: ...
    @abstractmethod
    def _keep_back(self, data: bytes, /) -> None: ...  # bytes that came while reading is paused
    @abstractmethod
    def _stream_raised(self, error: BaseException, /) -> None: ...  # no packet can be cut
    @abstractmethod
    def _send_behind(self, data: bytes, promised: int, /) -> bool: ...  # behind what waits

class Stream(_Unusual, metaclass=ABCMeta):
    session: int
    heard: bool
    _write: Callable[[bytes], object]
    _files: Any
    _ending: str
    _waiting: deque[tuple[str, tuple[Any, ...]]] | None
    _total: int
    _running: bool
    _reader_is_slow: bool
    _gone: bool
    _paused: bool
    def _begin(
        self,
        server: Any,
        slot: int,
        on_receive: Callable[..., Any] | None,
        framer: Any,
        rule: tuple[int, int, bytes, int, int, int, bool, bool] | None,
        watches: bool,
        counts: bool,
        row: memoryview,
        /,
    ) -> None: ...
    def _attach(self, session: int, row: memoryview, /) -> None: ...
    def _settle(self) -> None: ...
    def _timed(self) -> None: ...
    def _flush(self) -> None: ...
    def _received(self, packet: bytes, /) -> None: ...
    def data_received(self, data: bytes, /) -> None: ...
    def send(self, data: bytes, promised: bool = False, /) -> bool: ...

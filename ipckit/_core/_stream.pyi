from collections import deque
from collections.abc import Callable
from typing import Any

HEARD: int
READ: int
WRITTEN: int
SESSION_WORDS: int
REQUESTS: int
REQUESTS_DONE: int
RESPONSES: int
LAST_READ: int
PROCESS_WORDS: int

class Stream:
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

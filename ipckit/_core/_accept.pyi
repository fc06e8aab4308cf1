from collections.abc import Callable, Coroutine
from typing import Any, final

@final
class Accepted:
    @property
    def family(self) -> int: ...
    @property
    def type(self) -> int: ...
    @property
    def ip(self) -> bytes: ...  # 4 or 16 bytes; of a unix socket: none
    @property
    def number(self) -> int: ...  # of its port
    @property
    def moved(self) -> bool: ...  # it had one of the descriptors 0 to 2
    def begin(
        self, coroutine: Coroutine[Any, Any, Any], failed: Callable[[OSError], object], /
    ) -> None: ...
    def __call__(self, *args: object, **keywords: object) -> None: ...  # for a future: go on
    def fileno(self) -> int: ...
    def close(self) -> None: ...

def accept(listener: int, family: int, /) -> Accepted | None: ...

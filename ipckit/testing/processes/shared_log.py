"""The log of one run in memory that all its processes share: what survives a kill.

Contract  Each lane has one writer. `call(index, moment)` is written before an operation,
          `done(...)` after it; a writer that dies between two instructions leaves an operation
          called, or done, never half a result: the count is stored last.
          Lanes have room for `CALLS` calls and `ROOM` bytes of results.
"""

from __future__ import annotations

import mmap
import pickle
import struct
from typing import Any

CALLS = 1024
ROOM = 4 * 1024 * 1024
_COUNTS = struct.Struct("=QQQ")  # called, done, bytes used
_CALL = struct.Struct("=qqIIQQ")  # called at, returned at, steps, points, offset, size
_HEAD = 64
_LANE = _HEAD + CALLS * _CALL.size + ROOM


class SharedLog:
    """Shared memory for the calls of `lanes` processes; made before they are forked."""

    def __init__(self, lanes: int) -> None:
        self.lanes = lanes
        self._memory = mmap.mmap(-1, mmap.PAGESIZE + lanes * _LANE)  # shared, and empty pages free

    def clear(self) -> None:
        """Forget every call, for the next run."""
        for lane in range(self.lanes):
            _COUNTS.pack_into(self._memory, self._lane(lane), 0, 0, 0)
        self.start_at(0)

    def close(self) -> None:
        """Let go of the memory; processes that have it keep it."""
        self._memory.close()

    def start_at(self, moment: int) -> None:
        """Say when all begin."""
        struct.pack_into("=q", self._memory, 0, moment)

    def starts_at(self) -> int:
        """Give the moment said."""
        return int(struct.unpack_from("=q", self._memory, 0)[0])

    def grant(self, lane: int, steps: int) -> None:
        """Say how many steps a lane may do."""
        struct.pack_into("=q", self._memory, 8 + 8 * lane, steps)

    def granted(self, lane: int) -> int:
        """Give the number said."""
        return int(struct.unpack_from("=q", self._memory, 8 + 8 * lane)[0])

    def call(self, lane: int, index: int, moment: int) -> None:
        """Say that call `index` begins at `moment`. ValueError: there are more than `CALLS`."""
        if index >= CALLS:
            raise ValueError(f"a process makes at most {CALLS} calls in a run")
        start = self._lane(lane)
        _CALL.pack_into(self._memory, start + _HEAD + index * _CALL.size, moment, 0, 0, 0, 0, 0)
        struct.pack_into("=Q", self._memory, start, index + 1)

    def done(
        self, lane: int, index: int, moment: int, steps: int, points: int, result: Any
    ) -> None:
        """Say that call `index` returned. ValueError: its result cannot be kept."""
        start = self._lane(lane)
        used = _COUNTS.unpack_from(self._memory, start)[2]
        try:
            data = pickle.dumps(result, pickle.HIGHEST_PROTOCOL)
        except Exception as error:
            raise ValueError(
                f"an operation returned {result!r}, which cannot be pickled ({error}):"
                " return plain data"
            ) from error
        if used + len(data) > ROOM:
            raise ValueError(
                f"the results of one process take more than {ROOM} bytes: return less, a hash say"
            )
        at = start + _HEAD + CALLS * _CALL.size + used
        self._memory[at : at + len(data)] = data
        struct.pack_into(
            "=qIIQQ",
            self._memory,
            start + _HEAD + index * _CALL.size + 8,
            moment,
            steps,
            points,
            used,
            len(data),
        )
        struct.pack_into("=Q", self._memory, start + 16, used + len(data))
        struct.pack_into("=Q", self._memory, start + 8, index + 1)

    def counts(self, lane: int) -> tuple[int, int]:
        """Give how many calls began, and how many of them returned."""
        called, done, _ = _COUNTS.unpack_from(self._memory, self._lane(lane))
        return called, done

    def read(self, lane: int, index: int) -> tuple[int, int, int, int, Any]:
        """Give (called at, returned at, steps, kill points, result) of a call that returned."""
        start = self._lane(lane)
        called, returned, steps, points, offset, size = _CALL.unpack_from(
            self._memory, start + _HEAD + index * _CALL.size
        )
        at = start + _HEAD + CALLS * _CALL.size + offset
        return called, returned, steps, points, pickle.loads(self._memory[at : at + size])

    def called_at(self, lane: int, index: int) -> int:
        """Give the moment at which call `index` began."""
        start = self._lane(lane)
        return int(_CALL.unpack_from(self._memory, start + _HEAD + index * _CALL.size)[0])

    @staticmethod
    def _lane(lane: int) -> int:
        return mmap.PAGESIZE + lane * _LANE

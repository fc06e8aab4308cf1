"""The framers: each cuts one stream in one way, and holds the bytes of the packet not yet whole.

Contract  docs/contracts/framing.md, rules P1..P11. `Framing.framer()` makes the right one.
Invariants
  N1  `_buffer` holds the bytes of one packet not yet whole, from its first byte, and nothing
      else (in tail mode: what came since the last mark at a tail). So a packet is cut off by
      emptying the buffer, never by deleting its front, and the whole cost is linear.
  N2  `_idle` is true exactly when `_buffer` is empty and nothing was refused.
  N3  `len(_buffer) <= package_max_length` between two calls.
  N4  once something was refused, every later feed() raises.
"""

from __future__ import annotations

import struct
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

from ipckit.errors import ProtocolError

__all__ = ["Framer", "FunctionFramer", "LengthFramer", "PacketRefused", "SplitFramer", "TailFramer"]


class PacketRefused(ProtocolError):
    """A packet is too large or its length is nonsense; the stream cannot be read on.

    Field: `packets`, the whole packets of that feed() which came before the bad one, in order.
    """

    def __init__(self, message: str = "", *, packets: list[bytes] | None = None) -> None:
        super().__init__(message)
        self.packets = packets or []


class Framer(ABC):
    """The state of one stream. Not thread safe; a fork copies it, and so does a pickle."""

    __slots__ = ("_buffer", "_idle", "_max", "_refused")

    def __init__(self, package_max_length: int) -> None:
        self._max = package_max_length
        self._buffer = bytearray()
        self._idle = True
        self._refused = ""

    @property
    def pending(self) -> int:
        """Bytes that wait for the rest of their packet; 0 after a refusal."""
        return len(self._buffer)

    @property
    def rest(self) -> bytes:
        """What waits for the rest of its packet: fed to another framer, it goes on there."""
        return bytes(self._buffer)

    def __getstate__(self) -> dict[str, Any]:
        """Return all that it holds, so that a copy goes on in the middle of a packet."""
        slots = (name for cls in type(self).__mro__ for name in getattr(cls, "__slots__", ()))
        return {name: getattr(self, name) for name in slots}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take what __getstate__() returned."""
        for name, value in state.items():
            setattr(self, name, value)

    @abstractmethod
    def feed(self, data: bytes) -> list[bytes]:
        """Take the next bytes of the stream; return the packets that are whole with them.

        Args:
            data: any number of bytes, as they came. Must be `bytes`: a packet may be `data`
                itself.

        Raises:
            PacketRefused: a packet is over package_max_length, or its length is negative or
                ends inside the length field. `.packets` has those before it; what came after
                it is dropped. Every later feed() raises again, with no packets.

        Blocks: never.
        """

    def _hold(self, rest: bytes) -> None:
        self._buffer += rest
        self._idle = not self._buffer

    def _refuse(self, why: str, packets: list[bytes]) -> PacketRefused:
        self._refused = why
        self._idle = False
        self._buffer = bytearray()
        return PacketRefused(why, packets=packets)

    def _too_long(self, size: int, packets: list[bytes]) -> PacketRefused:
        return self._refuse(
            f"a packet of {size} bytes or more without its EOF: package_max_length is "
            f"{self._max}; send smaller packets or raise it",
            packets,
        )


class _Marked(Framer):
    """What both EOF modes share: cutting a run of bytes that begins with a packet."""

    __slots__ = ("_eof",)

    def __init__(self, package_max_length: int, eof: bytes) -> None:
        super().__init__(package_max_length)
        self._eof = eof

    def _split(self, data: bytes, start: int, packets: list[bytes]) -> list[bytes]:
        """Append the packets of `data` from `start` on, hold the rest. `_buffer` is empty."""
        eof, width, most = self._eof, len(self._eof), self._max
        find = data.find
        # The mark must end within `most` bytes, so a longer packet is not even searched through.
        while (at := find(eof, start, start + most)) >= 0:
            end = at + width
            packets.append(data[start:end])
            start = end
        if len(data) - start > most:
            raise self._too_long(len(data) - start, packets)
        self._hold(data[start:])
        return packets


class SplitFramer(_Marked):
    """open_eof_split: every packet on its own."""

    __slots__ = ()

    def feed(self, data: bytes) -> list[bytes]:
        eof = self._eof
        width = len(eof)
        if self._idle:
            if data.find(eof) == (size := len(data)) - width >= 0 and size <= self._max:
                return [data]
            return self._split(data, 0, [])
        if self._refused:
            raise PacketRefused(self._refused)
        # The mark may lie over the border: it then begins in the last width - 1 held bytes.
        held = self._buffer
        overlap = min(width - 1, len(held))
        at = (held[len(held) - overlap :] + data[: width - 1]).find(eof)
        end = at + width - overlap
        if at < 0:
            at = data.find(eof)
            end = at + width if at >= 0 else len(data)
        if len(held) + end > self._max:
            raise self._too_long(len(held) + end, [])
        held += data[:end]
        if at < 0:
            return []
        packet = bytes(held)
        held.clear()
        return self._split(data, end, [packet])


class TailFramer(_Marked):
    """open_eof_check alone: what has come is handed out when its tail is the mark."""

    __slots__ = ()

    def feed(self, data: bytes) -> list[bytes]:
        if self._idle:
            if len(data) > self._max:
                return self._split(data, 0, [])
            if data.endswith(self._eof):
                return [data]
            self._hold(data)
            return []
        if self._refused:
            raise PacketRefused(self._refused)
        held = self._buffer
        held += data
        if len(held) > self._max:
            # One packet too long, or many that never met a tail: look for the marks. What is
            # held after that has no mark, so no byte is searched more than twice.
            run = bytes(held)
            held.clear()
            return self._split(run, 0, [])
        if not held.endswith(self._eof):
            return []
        packet = bytes(held)
        held.clear()
        self._idle = True
        return [packet]


class LengthFramer(Framer):
    """open_length_check: total = package_body_offset + the length field."""

    __slots__ = ("_body_offset", "_format", "_head", "_length_offset", "_total", "_unpack_from")

    def __init__(
        self, package_max_length: int, field: struct.Struct, length_offset: int, body_offset: int
    ) -> None:
        super().__init__(package_max_length)
        self._format = field.format
        self._unpack_from = field.unpack_from
        self._length_offset = length_offset
        self._body_offset = body_offset
        self._head = length_offset + field.size
        self._total = 0  # of the packet in _buffer; 0 while its length field is not whole

    def __getstate__(self) -> dict[str, Any]:
        state = super().__getstate__()
        del state["_unpack_from"]  # a method of a Struct, which has no pickle
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._unpack_from = struct.Struct(self._format).unpack_from

    def feed(self, data: bytes) -> list[bytes]:
        size = len(data)
        packets: list[bytes] = []
        start = 0
        if not self._idle:
            start = self._complete(data, packets)
            if start < 0:
                return packets
        head = self._head
        unpack_from = self._unpack_from
        while size - start >= head:
            length = unpack_from(data, start + self._length_offset)[0]
            total = self._body_offset + length
            if length < 0 or not head <= total <= self._max:
                raise self._bad_length(length, packets)
            end = start + total
            if end > size:
                self._total = total
                break
            packets.append(data[start:end])  # the whole of `data` is not copied: same object
            start = end
        if start < size:
            self._buffer += data[start:]
            self._idle = False
        return packets

    def _complete(self, data: bytes, packets: list[bytes]) -> int:
        """Finish the packet in `_buffer`; return how much of `data` it took, -1: not enough."""
        if self._refused:
            raise PacketRefused(self._refused)
        held = self._buffer
        start = 0
        if not self._total:
            start = self._head - len(held)
            held += data[:start]
            if len(held) < self._head:
                return -1
            length = self._unpack_from(held, self._length_offset)[0]
            total = self._body_offset + length
            if length < 0 or not self._head <= total <= self._max:
                raise self._bad_length(length, packets)
            self._total = total
        end = start + self._total - len(held)
        held += data[start:end]
        if len(held) < self._total:
            return -1
        packets.append(bytes(held))
        held.clear()
        self._total = 0
        self._idle = True
        return end

    def _bad_length(self, length: int, packets: list[bytes]) -> PacketRefused:
        total = self._body_offset + length
        if length >= 0 and total > self._max:
            why = f"package_max_length is {self._max}; send smaller packets or raise it"
        else:
            why = f"a packet has at least {self._head} bytes, up to the end of its length field"
        return self._refuse(
            f"a packet of {total} bytes (package_body_offset {self._body_offset} + "
            f"length field {length}): {why}",
            packets,
        )


class FunctionFramer(Framer):
    """package_length_func: the program knows where a packet ends."""

    __slots__ = ("_length_of", "_total")

    def __init__(self, package_max_length: int, length_of: Callable[[bytes, int], int]) -> None:
        super().__init__(package_max_length)
        self._length_of = length_of
        self._total = 0  # of the packet in _buffer; 0 while it is not known

    def feed(self, data: bytes) -> list[bytes]:
        total, self._total = self._total, 0
        if not self._idle:
            if self._refused:
                raise PacketRefused(self._refused)
            held = self._buffer
            held += data
            if len(held) < total:
                self._total = total
                return []
            data = bytes(held)
            held.clear()
        packets: list[bytes] = []
        start = 0
        while start < len(data):
            total = total or self._ask(data, start, packets)
            if not total or start + total > len(data):
                break
            packets.append(data[start : start + total])  # the whole of `data`: the same object
            start += total
            total = 0
        self._total = total
        self._hold(data[start:])
        return packets

    def _ask(self, data: bytes, start: int, packets: list[bytes]) -> int:
        try:
            total = self._length_of(data, start)
        except Exception as exc:
            why = f"package_length_func raised {type(exc).__name__}: {exc}"
            raise self._refuse(why, packets) from exc
        if not isinstance(total, int) or isinstance(total, bool):
            why = f"package_length_func returned {total!r}: must be an int"
            raise self._refuse(why, packets)
        if total < 0:
            raise self._refuse(f"package_length_func refused a packet: {total}", packets)
        here = len(data) - start
        if (total or here) > self._max:
            raise self._refuse(
                f"a packet of {total or here} bytes{'' if total else ' or more'}: "
                f"package_max_length is {self._max}; send smaller packets or raise it",
                packets,
            )
        return total

"""Packets in a byte stream: cut at an end mark (EOF), by a length field or by a function. No I/O.

Feed it the bytes a socket gave you; it hands back whole packets, mark or header included. It
never reads, writes, blocks or looks at a clock, so every test of it is exact.

Contract  docs/contracts/framing.md, rules P1..P11.
Stands on ipckit.errors.
Used by   the server's connections and ipckit.client.
"""

from ipckit.framing.framers import Framer, PacketRefused
from ipckit.framing.settings import Framing, Rule
from ipckit.framing.settings import FramingSettings as FramingSettings  # for type checkers

__all__ = ["Framer", "Framing", "PacketRefused", "Rule"]

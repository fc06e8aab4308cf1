"""Channels: whole frames between two processes of one machine, with descriptors if wanted.

Contract  docs/contracts/channel.md, rules C1..C14.
"""

from ipckit.channel.channel import DEFAULT_MAX_FRAME, Channel
from ipckit.channel.frames import MAX_FDS, MAX_IDENT, MAX_KIND, Frame, FrameInto

__all__ = ["DEFAULT_MAX_FRAME", "MAX_FDS", "MAX_IDENT", "MAX_KIND", "Channel", "Frame", "FrameInto"]

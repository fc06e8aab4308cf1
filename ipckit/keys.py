"""Keys for System V objects: the number that a path and a project stand for.

Kernel    none; the number is computed from stat(2). Source: ftok(3), and PHP's ftok().
Stands on ipckit.errors.
Collides  a key has 16 bits of the inode, 8 of the device, 8 of the project: two files may have one
          key, and a file that was deleted and made again has another one. Use a file that stays.
"""

from __future__ import annotations

import os

from ipckit.errors import from_errno

__all__ = ["ftok"]

_WANTED = "name a file that exists, and that may be reached"


def ftok(path: str | bytes | os.PathLike[str] | os.PathLike[bytes], proj: str | bytes | int) -> int:
    """Return the key of `path` and `proj`: the same signed 32-bit number as C's and PHP's ftok.

    Args:
        path: a file or directory that exists; links are followed.
        proj: one character of one byte, as PHP takes it, or an int 1..255, as C takes it. PHP turns
            a number into its digit: PHP's ftok($p, 5) is ftok(p, "5"), not ftok(p, 5).

    Raises:
        FileNotFoundError: no such path (NotFound). AccessDenied: a directory on the way is closed.
        ValueError: another length or range. TypeError: other types.

    Blocks: only in the file system. Process and thread safe; a fork changes nothing.
    """
    number = _project(proj)
    if not isinstance(path, str | bytes | os.PathLike):  # os.stat would take a descriptor
        raise TypeError(f"path={path!r}: must be str, bytes or os.PathLike")
    try:
        stat = os.stat(path)
    except OSError as exc:
        raise from_errno("stat", exc.errno or 0, f"{os.fspath(path)!r}; {_WANTED}") from None
    key = number << 24 | (stat.st_dev & 0xFF) << 16 | stat.st_ino & 0xFFFF
    return key - 2**32 if key >= 2**31 else key


def _project(proj: str | bytes | int) -> int:
    if isinstance(proj, bool) or not isinstance(proj, str | bytes | int):
        raise TypeError(f"proj={proj!r}: must be one character (str or bytes) or an int")
    if isinstance(proj, int):
        if not 1 <= proj <= 255:
            raise ValueError(f"proj={proj!r}: must be 1..255")
        return proj
    raw = proj.encode(errors="surrogatepass") if isinstance(proj, str) else proj
    if len(raw) != 1:
        raise ValueError(f"proj={proj!r}: must be one character of one byte, not {len(raw)} bytes")
    return raw[0]

"""Roots of Debian's releases, and programs that run in one of them: what a fresh machine is.

Contract  `root()` returns the folder of a release: its C library, a Python and a shell, and no
          compiler. It is made once, from Debian's mirror, in IPCKIT_ROOTS (~/.cache/ipckit-roots).
          Debian 11 has no Python that is new enough: one is compiled in a root of that release which
          has a compiler, from the source package of Debian 12, and added.
          `inside()` runs a command there, in mount and IPC namespaces of its own. The root is
          read-only except for an empty /tmp and /run, which are gone afterwards.
Needs     root, mmdebstrap(1), unshare(1). The first time it takes ten minutes.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import tarfile
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from deadlines import RUN

CACHE = Path(os.environ.get("IPCKIT_ROOTS", "~/.cache/ipckit-roots")).expanduser()
MIRROR = "http://deb.debian.org/debian"
SOURCE = f"{MIRROR}/pool/main/p/python3.11/python3.11_3.11.2.orig.tar.gz"
BASE = "base-files,coreutils,dash"


@dataclass(frozen=True)
class Release:
    """A release of Debian, and the Python that runs in it."""

    name: str
    python: str
    path: str
    packages: str


RELEASES = {
    each.name: each
    for each in (
        Release("bullseye", "3.11", "/opt/python/bin/python3.11", "libsqlite3-0,libssl1.1,zlib1g"),
        Release("bookworm", "3.11", "/usr/bin/python3.11", "python3"),
        Release("trixie", "3.13", "/usr/bin/python3.13", "python3"),
    )
}
COMPILING = (
    "diffutils,findutils,gcc,grep,libc6-dev,libsqlite3-dev,libssl-dev,make,mawk,sed,zlib1g-dev"
)
COMPILE = """
set -e
ln -sf mawk /usr/bin/awk  # the packages are extracted, and not configured
cd /srv/Python-*
./configure -q --prefix=/opt/python --without-doc-strings --disable-test-modules \
  --without-ensurepip
make -s -j"$(nproc)" altinstall COMPILEALL_OPTS=--help
"""
PLACES = ("proc", "dev", "run", "tmp", "mnt", "srv")
ENTER = """
set -e
root=$1; mnt=$2; srv=$3; rights=$4; shift 4
mount --make-rprivate /
mount --bind "$root" "$root"
mount -o "remount,bind,$rights" "$root"
mount --rbind /proc "$root/proc"
mount --rbind /dev "$root/dev"
mount -t tmpfs tmpfs "$root/dev/shm"
mount -t mqueue none "$root/dev/mqueue"
mount -t tmpfs tmpfs "$root/run"
mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
mount --bind "$mnt" "$root/mnt"
mount --bind "$srv" "$root/srv"
exec /usr/bin/env -i PATH=/usr/bin:/bin HOME=/tmp LANG=C.UTF-8 /usr/sbin/chroot "$root" "$@"
"""


def root(name: str) -> Path:
    """Return the folder of a release; make it if it is not there."""
    release = RELEASES[name]

    def fill(folder: Path) -> None:
        bootstrap(folder, name, f"{BASE},{release.packages}")
        if release.path.startswith("/opt"):
            shutil.copytree(
                compiled(name) / "opt", folder / "opt", symlinks=True, dirs_exist_ok=True
            )

    return made_once(CACHE / name, fill)


def compiled(name: str) -> Path:
    """Return a root of the release with a compiler, and with a Python in /opt."""

    def fill(folder: Path) -> None:
        bootstrap(folder, name, f"{BASE},bash,{COMPILING}")
        source = folder / "usr/src"
        archive, _ = urllib.request.urlretrieve(SOURCE, source / "python.tar.gz")
        with tarfile.open(archive) as opened:
            opened.extractall(source, filter="data")
        inside(folder, source, source, "sh", "-c", COMPILE, rights="rw")

    return made_once(CACHE / f"{name}-compiler", fill)


def made_once(made: Path, fill: Callable[[Path], None]) -> Path:
    """Return a folder that is filled; of two processes that fill it at once, one is too late."""
    if made.is_dir():
        return made
    CACHE.mkdir(parents=True, exist_ok=True)
    half = CACHE / f".{made.name}.{os.getpid()}"
    shutil.rmtree(half, ignore_errors=True)
    try:
        fill(half)
        try:
            half.rename(made)
        except OSError:
            if not made.is_dir():
                raise
    finally:
        shutil.rmtree(half, ignore_errors=True)
    return made


def bootstrap(folder: Path, name: str, packages: str) -> None:
    """Fill a folder with a release's packages. A mirror that stands still is good enough here."""
    command(
        *("mmdebstrap", "--variant=extract", f"--include={packages}"),
        *("--aptopt=Acquire::Check-Valid-Until false", name, folder, f"deb {MIRROR} {name} main"),
    )
    for place in PLACES:
        (folder / place).mkdir(exist_ok=True)


def inside(folder: Path, mnt: Path, srv: Path, *what: str, rights: str = "ro") -> str:
    """Return what a command printed in the root: /mnt and /srv are two folders of this machine."""
    enter = ("unshare", "--mount", "--ipc", "sh", "-c", ENTER, "sh")
    return command(*enter, folder, mnt, srv, rights, *what)


def command(*words: str | Path) -> str:
    """Return what a command printed. RuntimeError: it failed, with what it printed."""
    done = subprocess.run(words, capture_output=True, text=True, timeout=RUN * 6, check=False)
    if done.returncode != 0:
        shown = shlex.join(map(str, words))[-300:]
        raise RuntimeError(f"{shown}: {done.returncode}\n{done.stdout}\n{done.stderr}")
    return done.stdout

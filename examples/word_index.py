"""Which words are in which files of a folder: the work of file_pipeline.py, without any server.

Each file gives a part, and all parts give the index. Each is written completely or not at all,
under a name that follows from its path. So `kill -9` may interrupt every call, and you can repeat
it.
Paths are relative to the folder, and bytes: the name of a file need not be text.
"""

import collections
import hashlib
import json
import os
import re
import tempfile


class WordIndex:
    """The index of `folder`, stored in `out`."""

    def __init__(self, folder, out):
        self.folder, self.out = bytes(folder), out
        self.parts, self.unfinished = out / "parts", out / "unfinished"
        for needed in (self.parts, self.unfinished):
            needed.mkdir(parents=True, exist_ok=True)

    def paths(self):
        for place, _, names in os.walk(self.folder):
            for path in (os.path.join(place, name) for name in names):
                if os.path.isfile(path) and not os.path.islink(path):
                    yield os.path.relpath(path, self.folder)

    def is_done(self, path):
        """Whether the part matches the current file: both have the same modification time."""
        try:
            return self._part(path).stat().st_mtime_ns == os.stat(self._source(path)).st_mtime_ns
        except FileNotFoundError:
            return False

    def add(self, path):
        """Make its part. Raises OSError or UnicodeDecodeError if the file cannot be read."""
        words = collections.Counter()
        with open(self._source(path), encoding="utf-8") as file:
            mtime_ns = os.fstat(file.fileno()).st_mtime_ns
            for line in file:
                words.update(re.findall(r"\w+", line.lower()))
        part = {"path": os.fsdecode(path), "words": words}
        self._write(self._part(path), part, mtime_ns)

    def merge(self):
        """Make `index.json`: {word: {path: how often}}. Return how many files and words it has."""
        files, index = 0, collections.defaultdict(dict)
        for entry in sorted(self.parts.iterdir()):
            part = json.loads(entry.read_text())
            if self.is_done(os.fsencode(part["path"])):  # else the file was removed or changed
                files += 1
                for word, count in part["words"].items():
                    index[word][part["path"]] = count
        self._write(self.out / "index.json", index)
        return files, len(index)

    def drop_unfinished(self):
        """Remove partial files of killed processes. Call it only while no process writes."""
        for left in self.unfinished.iterdir():
            left.unlink()

    def _source(self, path):
        return os.path.join(self.folder, path)

    def _part(self, path):
        return self.parts / hashlib.sha256(path).hexdigest()

    def _write(self, path, value, mtime_ns=None):
        """Replace `path` in one step: a reader finds the old file or the complete new one."""
        with tempfile.NamedTemporaryFile("w", dir=self.unfinished, delete=False) as file:
            json.dump(value, file)
            file.flush()
            os.fsync(file.fileno())  # the data before the name: power may fail, too
        if mtime_ns is not None:
            os.utime(file.name, ns=(mtime_ns, mtime_ns))
        os.replace(file.name, path)

"""shared-memory-dict 0.7.2, SHARED_MEMORY_USE_LOCK=1: writes of several processes to different
keys are all kept ("to use multiprocessing.Lock on write operations").
python -m pytest examples/survey/shared_memory_dict_.py
"""

import os

import pytest
from hypothesis import strategies as st

from ipckit.testing import ProcessMachine, op
from ipckit.testing.models import Dict

os.environ["SHARED_MEMORY_USE_LOCK"] = "1"  # read when the package is imported
pytest.importorskip("shared_memory_dict")
from shared_memory_dict import SharedMemoryDict


class SharedMemoryDictKeeps(ProcessMachine):
    """Any process sets a key; keys are read during the run and after it. No faults."""

    engine = "stepped"
    runs = 5
    partition = "key"
    specification = Dict()
    overlap = 0.0
    keys = st.sampled_from(["a", "b"])

    def setup(self):
        self.dict = SharedMemoryDict(f"survey{os.getpid()}", 1024)

    def teardown(self):
        self.dict.shm.close()
        self.dict.shm.unlink()

    @op(key=keys, value=st.integers(0, 3))
    def set(self, key, value):
        self.dict[key] = value

    @op(key=keys)
    def get(self, key):
        return self.dict.get(key)


TestKeeps = SharedMemoryDictKeeps.TestCase

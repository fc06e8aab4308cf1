"""Each process of a server, and the whole of it, at each limit for a moment, on each way: real
limits. Nothing is lost, and with the limit gone all is well. With IPCKIT_SOAK=1 in every mode.
"""

from __future__ import annotations

import json
import os
from concurrent.futures import ThreadPoolExecutor

import pytest

from inject.__main__ import Lanes
from inject.configurations import CONFIGURATIONS
from inject.starvation import KNOWN, cases

SOAK = os.environ.get("IPCKIT_SOAK") == "1"
LANES = 6
"""A case waits for most of its time."""


@pytest.mark.timeout(3600 if SOAK else 900)
@pytest.mark.parametrize("configuration", CONFIGURATIONS if SOAK else ["mode 3", "ledger"])
def test_each_limit_is_reached_on_each_way_and_survived(tmp_path, configuration):
    """P7: J1 to J7 (lane.py), under limits of descriptors, memory, file size, processes, shared
    memory, disk and task memory.
    """
    wanted = cases(CONFIGURATIONS[configuration].ways)
    lanes = Lanes(tmp_path)

    def run(number: int) -> dict:
        process = lanes.start("starvation", configuration)
        out, _ = process.communicate(json.dumps(wanted[number::LANES]))
        assert process.returncode == 0
        return dict(map(json.loads, out.splitlines()))

    with ThreadPoolExecutor(LANES) as pool:
        parts = [*pool.map(run, range(LANES))]
    ends = [part.pop("the end") for part in parts]
    found = {case: faults for part in parts for case, faults in part.items()}
    for case, why in KNOWN.items():
        print("KNOWN ", case, why)
    for case, faults in found.items():
        if faults is None:
            print("SKIPPED, this machine does not let us set that limit: ", case)
    assert len(found) == len(wanted)
    assert {case: faults for case, faults in found.items() if faults} == {}
    assert not any(ends), ends

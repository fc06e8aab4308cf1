"""A manager, the workers or a task worker without descriptors, memory or room in files: for 0.7 s,
on each way of a server, by real limits. Nothing is lost, and with the limit gone all is well.
"""

from __future__ import annotations

import json

import pytest

from inject.__main__ import Lanes
from inject.lane import CONFIGURATIONS
from inject.starvation import CASES, KNOWN
from inject.ways import WAYS


@pytest.mark.timeout(900)
@pytest.mark.parametrize("configuration", ["mode 3", "ledger"])
def test_each_limit_is_reached_on_each_way_and_survived(tmp_path, configuration):
    """P7: J1 to J4 and J6 (lane.py), under RLIMIT_NOFILE, RLIMIT_FSIZE and RLIMIT_AS."""
    process = Lanes(tmp_path).start(configuration, "starve")
    out, _ = process.communicate()
    assert process.returncode == 0
    found = dict(map(json.loads, out.splitlines()))
    for case, why in KNOWN.items():
        print("KNOWN ", case, why)
    ways = len(WAYS) - (CONFIGURATIONS[configuration]["task_ipc_mode"] == 1)
    assert len(found) == ways * sum(map(len, CASES.values())) - len(KNOWN) + 1
    assert {case: faults for case, faults in found.items() if faults} == {}

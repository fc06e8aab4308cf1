"""Lines about clients: few, and none left out in silence."""

from __future__ import annotations

import logging

from ipckit.server.client_log import ClientLog


def test_ten_lines_a_second_and_then_a_count(caplog):
    timers = []
    lines = ClientLog(lambda seconds, call: timers.append((seconds, call)))
    with caplog.at_level(logging.WARNING, "ipckit.server"):
        for number in range(1000):
            lines.warning("client %d is slow", number)
        assert caplog.messages == [f"client {number} is slow" for number in range(10)]
        ((seconds, flush),) = timers
        assert seconds == 1
        flush()
        assert caplog.messages[10:] == ["990 more lines like these, about clients, were left out"]
        lines.warning("another second")
        assert caplog.messages[11:] == ["another second"]
        assert len(timers) == 2
        timers[1][1]()
        assert len(caplog.messages) == 12, "none was left out: nothing is said"

"""How a child ended, in numbers and words."""

from __future__ import annotations

import os
import signal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipckit.cli.inventory.collect import _verdict
from ipckit.cli.inventory.processes import Users
from ipckit.server.shared.exit_status import Death
from ipckit.server.supervision.reaper import Reaper
from ipckit.server.system.process_state import is_gone, process_state


def dead(end) -> int:
    """Return the pidfd of a child that ended so."""
    child = os.fork()
    if child == 0:
        end()
        os._exit(99)
    return os.pidfd_open(child)


@pytest.mark.parametrize(
    ("end", "death", "text"),
    [
        (lambda: os._exit(0), Death(0, None), "exit code 0"),
        (lambda: os._exit(3), Death(3, None), "exit code 3"),
        (lambda: os.kill(os.getpid(), 9), Death(None, 9), "signal 9 (Killed)"),
        (lambda: os.kill(os.getpid(), 15), Death(None, 15), "signal 15 (Terminated)"),
    ],
)
def test_what_is_told(end, death, text):
    pidfd = dead(end)
    taken = Reaper().take(pidfd)
    assert (taken, str(taken)) == (death, text)
    again = Reaper().take(pidfd)
    os.close(pidfd)
    assert str(again) == "status unknown"


def test_who_was_killed_for_want_of_memory(tmp_path):
    """The kernel counts its kills; only one that came since the last look is blamed."""
    vmstat = tmp_path / "vmstat"
    vmstat.write_text("nr_free_pages 1\noom_kill 4\nthp_split_page 0\n")
    reaper = Reaper(str(vmstat))

    def killed(number: int = signal.SIGKILL) -> Death:
        pidfd = dead(lambda: os.kill(os.getpid(), number))
        try:
            return reaper.take(pidfd)
        finally:
            os.close(pidfd)

    assert not killed().out_of_memory
    vmstat.write_text("nr_free_pages 1\noom_kill 5\nthp_split_page 0\n")
    assert not killed(signal.SIGTERM).out_of_memory
    taken = killed()
    assert taken.out_of_memory
    assert "signal 9 (Killed), most likely by the kernel, which had no memory left" in str(taken)
    assert not killed().out_of_memory
    vmstat.unlink()
    assert not killed().out_of_memory, "a kernel that does not say"


@given(st.integers(0, 255), st.integers(1, 64), st.booleans(), st.booleans())
def test_a_word_tells_the_same(code, number, is_signal, memory):
    death = Death(None, number, memory) if is_signal else Death(code, None)
    assert Death.of_word(death.as_word()) == death
    assert Death.of_word(0) is None


def test_a_zombie_has_ended():
    """Beside a parent that does not reap, what has ended stays in /proc."""
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    try:
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        assert os.path.exists(f"/proc/{pid}")
        assert process_state(pid) == "Z" and is_gone(pid)
        assert _verdict(f"spill-{pid}-00") == "leaked"
        assert Users().alive_and_dead([pid, os.getpid()]) == ((os.getpid(),), (pid,))
    finally:
        os.waitpid(pid, 0)
    assert is_gone(pid) and is_gone(0) and not is_gone(os.getpid())

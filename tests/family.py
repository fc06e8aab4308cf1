"""Children for tests of what a fork shares: started, awaited with a deadline, never left behind."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import traceback

from deadlines import LOOK


class Child:
    """A forked child that runs `call` and exits with 0, or with 1 and its traceback on stderr."""

    def __init__(self, call, *args) -> None:
        self.pid = os.fork()
        if self.pid == 0:
            code = 1
            try:
                call(*args)
                code = 0
            except BaseException:
                traceback.print_exc()
                sys.stderr.flush()
            finally:
                os._exit(code)
        self._pidfd = os.pidfd_open(self.pid)
        self.status: int | None = None

    def join(self, wait: float = LOOK) -> int:
        """Return its exit code (negative: the signal that ended it); kill it when it is late."""
        if self.status is None:
            late = not select.select([self._pidfd], [], [], wait)[0]
            if late:
                os.kill(self.pid, signal.SIGKILL)
            self.status = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
            os.close(self._pidfd)
            assert not late, f"child {self.pid} was not done within {wait} s"
        return self.status

    def kill(self, number: int = signal.SIGKILL) -> int:
        if self.status is None:
            os.kill(self.pid, number)
        return self.join()


@contextlib.contextmanager
def family():
    """Give a function that starts children; the end kills those that still run."""
    children: list[Child] = []

    def start(call, *args) -> Child:
        children.append(Child(call, *args))
        return children[-1]

    try:
        yield start
    finally:
        for child in children:
            with contextlib.suppress(ProcessLookupError):
                child.kill()


def all_well(*children: Child) -> bool:
    """Whether all of them end with 0."""
    return [child.join() for child in children] == [0] * len(children)

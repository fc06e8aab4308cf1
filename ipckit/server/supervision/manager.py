"""The manager: forks the processes, waits for them, replaces them, ends them. One thread, no loop.

ipckit.server.supervision.fleet decides about replacement; this module carries it out.

Stands on ipckit.server.processes, ipckit.server.supervision.*, pidfd_open(2), waitid(2).
Invariants
  M1  The manager never waits for a child: frames that find no room are kept, and tried again.
  M2  What a dead process held is recovered before its place gets a new process.
  M3  Every way out of run() that the manager's own code can take removes the queue and the spill
      files.
  M4  While a process serves, nothing that the environment does ends it. Each step runs under the
      guard: a step that fails costs that step only, and is tried again. A refused fork is for the
      fleet to try again.
Signals   TERM, INT, QUIT, HUP: graceful stop, a second one: kill. USR1: reload. USR2: reload the
          task workers. WINCH: nothing (a log file that was moved is opened again by itself).
Crash     children notice within a second and end; what stays is in the run record.
"""

from __future__ import annotations

import gc
import os
import select
import signal
import time
from typing import TYPE_CHECKING, NoReturn

from ipckit.server.connections.fd_store import FdStore
from ipckit.server.log import describe_exception, limited, log
from ipckit.server.messaging.wire import Head, Kind
from ipckit.server.monitoring.control_socket import ControlSocket
from ipckit.server.ports import systemd
from ipckit.server.processes.process import CHECK_SECONDS, Process
from ipckit.server.processes.runtime import Runtime
from ipckit.server.processes.task_worker import TaskWorker
from ipckit.server.processes.user_process import UserProcess
from ipckit.server.processes.worker import Worker
from ipckit.server.shared.exit_codes import EXIT_BROKEN, IN_ORDER
from ipckit.server.shared.scoreboard import Phase, Row
from ipckit.server.supervision.actions import (
    Abort,
    Action,
    Flapping,
    Fork,
    GiveUp,
    Kill,
    Leave,
    ReloadBegun,
    ReloadDone,
)
from ipckit.server.supervision.boot_errors import BootErrors
from ipckit.server.supervision.children import Children
from ipckit.server.supervision.crash_recovery import CrashRecovery
from ipckit.server.supervision.ending import CLOSING_SECONDS
from ipckit.server.supervision.fleet import FLAPPING_WINDOW, Fleet
from ipckit.server.supervision.forwarder import Forwarder
from ipckit.server.supervision.guard import Guard
from ipckit.server.supervision.in_order import InOrder
from ipckit.server.supervision.manager_callbacks import ManagerCallbacks
from ipckit.server.supervision.monitor import Monitor
from ipckit.server.supervision.reloads import Reloads
from ipckit.server.supervision.shutdown import Shutdown
from ipckit.server.supervision.user_processes import UserProcesses
from ipckit.server.system.acquire import system_call
from ipckit.server.system.failure_policy import code_of, pause_after
from ipckit.server.system.fork import exit_child
from ipckit.server.system.signals import STOP, ManagerSignals
from ipckit.server.tasks.recovery import TaskRecovery

if TYPE_CHECKING:
    from ipckit.server.processes.server_handle import ServerHandle

__all__ = ["Manager"]

_RECOVERY = "recovering what a dead process held"

_LEFT_OUT = 0.02
"""Least seconds between two turns while a step is left out: what it has to do stays due."""


class Manager:
    """The parent of all processes of one server; lives in start()."""

    def __init__(
        self,
        server: ServerHandle,
        runtime: Runtime,
        control: ControlSocket,
        signals: ManagerSignals,
    ) -> None:
        self._server = server
        self._runtime = runtime
        self._board = runtime.board
        self._settings = settings = runtime.settings
        leave_within = settings.leave_within + CLOSING_SECONDS
        self._fleet = Fleet(settings.worker_num, settings.task_worker_num, leave_within)
        self._do = InOrder(self._do_one)  # what the fleet wants
        self._pidfds: dict[int, int] = {}  # pidfd -> place
        self._signals = signals
        self._callbacks = ManagerCallbacks(server, runtime)
        self._poller = select.poll()
        self._guard = Guard(self._poller)
        self._children = Children(self._poller, self._guard)
        self._forwarder = Forwarder(runtime.inboxes, self._guard.note)
        self._boot = BootErrors()
        self.reloads = Reloads()
        """Their outcomes."""
        self._failure: BaseException | None = None
        self._started = False
        self._control = control
        self._fd_store = FdStore(
            runtime.fd_store_sockets[0], runtime.board.sessions, runtime.inboxes
        )
        self._monitor = Monitor(runtime)
        self._users = UserProcesses(
            len(runtime.user_processes),
            self._spawn_user,
            lambda exc: self._guard.note("a user process", exc),
        )
        self._shutdown = Shutdown(runtime, self._children, self._pidfds, self._users.alive)
        self._tasks: TaskRecovery | None = None
        if runtime.ledger is not None:
            self._tasks = TaskRecovery(
                runtime.ledger,
                runtime.dead_letters(),
                self._place_of,
                limit=settings.task_timeout,
                outside=settings.dead_letter_path is not None,
            )
        self._recovery = CrashRecovery(runtime, self._fd_store, self._tasks)

    # -- life ---

    def run(self) -> None:
        """Serve until the end. Raises BootFailed, and what the `start` callback raised."""
        try:
            self._signals.serve()
            gc.freeze()  # what is here now is shared with the children; do not let gc touch it
            self._serve()
        finally:
            try:
                self._kill_all()
                limited.flush()
            finally:
                gc.unfreeze()
        if self._failure is not None:
            raise self._failure

    def reload(self, *, only_task: bool) -> tuple[bool, int]:
        """As SIGUSR1 or SIGUSR2. Return whether it begins now, and its number.

        It does not begin while one runs: it comes after that. 0: none comes, the server ends.
        """
        started, actions = self._fleet.reload(time.monotonic(), only_task=only_task)
        number = self._fleet.last_reload
        self.reloads.requested(number)
        self._do(actions)
        return started, number

    def replace(self, slot: int, place: int | None = None) -> None:
        """Replace one process of a slot, that at `place` if it is given."""
        self._do(self._fleet.replace(slot, time.monotonic(), place))

    @property
    def in_a_hurry(self) -> bool:
        """Whether the server was asked a second time to end."""
        asked = sum(number in STOP for number in self._signals.caught)
        return self._shutdown.asked + asked > 1

    def _serve(self) -> None:
        for fd in (
            self._signals.fileno(),
            self._runtime.manager_inbox.reading,
            self._fd_store.socket,
        ):
            self._poller.register(fd, select.POLLIN)
        if self._tasks is not None:
            if self._tasks.old:
                with system_call("start", "the task ledger cannot be taken up"):
                    self._tasks.take_up()
            self._poller.register(self._tasks.wakeup, select.POLLIN)
        self._control.serve(self._poller)
        if not STOP.isdisjoint(self._signals.caught):  # it came while all was acquired
            self._stop()
        self._do(self._fleet.boot())
        while self._fleet.members() or self._users.alive or not self._shutdown.asked:
            self._turn(self._wait())
        if self._started:
            if self._tasks is not None:
                self._guard.attempt("the account of tasks left", self._tasks.account_for_the_rest)
            self._callbacks.event("shutdown")

    def _wait(self) -> list[int]:
        """Return the descriptors that ask for something."""
        try:
            return self._guard.poll(self._pause_ms())
        except OSError as exc:  # no memory, or a limit of descriptors below what it has
            self._guard.note("poll", exc)
            time.sleep(pause_after(1))
            return [self._signals.fileno(), *self._pidfds, *self._users.alive]

    def _turn(self, readable: list[int]) -> None:
        """M4. Words before deaths: a process may say why, and end."""
        run = self._guard.run
        run("reading the inbox", self._read_inbox)
        for fd in readable:
            if fd in self._pidfds:
                run("a worker's end", self._reap, fd, fd=fd)
            elif fd in self._users.alive:
                run("a user process's end", self._reap_user, fd, fd=fd)
            elif fd == self._fd_store.socket.fileno():
                run("copies of connections", self._fd_store.receive, fd=fd)
            elif fd == self._signals.fileno():
                self._signals.clear()
            else:
                run("the control socket", self._control.ready, fd, fd=fd)
        run("reaping orphans", self._children.take_orphans)
        while self._signals.caught:
            self._guard.attempt("a signal", self._signalled, self._signals.caught.pop(0))
        self._do(self._fleet.tick(time.monotonic()))
        run("starting user processes", self._users.tick)
        run("what the log left out", limited.flush_due)
        run("looking for hangs", self._check_for_hangs)
        run(_RECOVERY, self._recovery.again)
        if self._tasks is not None:
            run("tending tasks", self._tasks.tend, time.monotonic_ns())
            run("looking at the load", self._monitor.check_load)
        run("passing frames on", self._forwarder.run)
        run("handing connections on", self._fd_store.give_to_successors, self._successor_of)
        first = self._settings.worker_num
        task_workers = any(member.place // 2 >= first for member in self._fleet.members())
        run("watching the end", self._shutdown.watch, task_workers)

    def _read_inbox(self) -> None:
        while (frame := self._runtime.manager_inbox.take()) is not None:
            self._guard.attempt("a frame", self._on_frame, *frame)

    def _pause_ms(self) -> float:
        now = time.monotonic()
        ends = (
            self._fleet.next_due(),
            self._users.next_due(),
            self._monitor.next_due(now),
            self._guard.next_due(),
            self._shutdown.next_due(),
            limited.next_due(),
        )
        times = [end for end in ends if end is not None]
        if self._tasks is not None:
            times += [self._tasks.next_due / 1e9] if self._tasks.next_due else []
        if self._forwarder.waiting or self._fd_store.waiting:
            times.append(now + 0.01)
        least = _LEFT_OUT if self._guard.next_due() is not None else 0.0
        return max(least, min([now + CHECK_SECONDS, *times]) - now) * 1000 + 1

    def _check_for_hangs(self) -> None:
        for place, number in self._monitor.hanging(self._pidfds.values()):
            self._signal(place, number)

    def _successor_of(self, slot: int) -> int | None:
        """Return the place whose process takes a slot's connections; None: there is none yet."""
        member = self._fleet.newest(slot)
        return None if member is None else member.place

    def _place_of(self, worker: int) -> int:
        slot = worker % self._settings.worker_num
        return 2 * slot + self._board.parity(slot)

    # -- frames and signals ---

    def _signalled(self, number: int) -> None:
        if number in STOP:
            self._stop()
        elif number in (signal.SIGUSR1, signal.SIGUSR2):
            self.reload(only_task=number == signal.SIGUSR2)

    def _on_frame(self, head: Head, body: bytes) -> None:
        place = head.sender
        match head.kind:
            case Kind.READY:
                self._ready(place)
            case Kind.BOOT_FAILED:
                self._boot.told(place, body.decode(errors="replace"))
            case Kind.LEAVING:
                gone = bool(head.number)
                if gone:
                    self._board.row(place // 2, place % 2)[Row.LEAVING_SINCE] = time.time_ns()
                self._do(self._fleet.leaving(place, time.monotonic(), gone=gone))
            case Kind.RELOAD:
                self.reload(only_task=bool(head.number))
            case Kind.SHUTDOWN:
                self._stop()
            case Kind.STOP:
                of_its_own = place // 2 == head.number
                self.replace(head.number, place if of_its_own else None)

    def _ready(self, place: int) -> None:
        member = self._fleet.member(place)
        if member is None:
            return
        row = self._board.row(place // 2, place % 2)
        row[Row.INCARNATION], row[Row.STARTING_SINCE] = member.incarnation, 0
        self._do(self._fleet.ready(place, time.monotonic()))
        self._runtime.record.note_segments(member.pid)
        if not self._started and self._fleet.all_ready() and not self._shutdown.asked:
            self._started = self._runtime.progress.was_up = True
            where, numbers = (self._server.host, self._server.port), self._settings
            text = "serving on %s:%s, manager %d, %d workers, %d task workers"
            log.info(text, *where, os.getpid(), numbers.worker_num, numbers.task_worker_num)
            self._call_start()
            systemd.notify("READY", MAINPID=os.getpid())

    def _call_start(self) -> None:
        try:
            self._callbacks.start()
        except BaseException as exc:  # it ends the server in order, and start() raises it then
            self._failure = exc
            self._stop()

    # -- doing ---

    def _do_one(self, action: Action) -> None:
        if isinstance(action, Fork):
            if not self._shutdown.asked:  # an action before this one may have given up
                self._fork(action)
        else:
            self._guard.attempt("what the fleet wants", self._act, action)

    def _act(self, action: Action) -> None:
        match action:
            case Leave():
                self._ask_to_leave(action.place)
            case Abort():
                self._abort(action.place)
            case Kill():
                self._signal(action.place, signal.SIGKILL)
            case ReloadBegun():
                systemd.notify("RELOADING")
                self._callbacks.event("before_reload")
            case ReloadDone():
                if not action.ok:
                    log.error("reload ended: a new process did not come up; the old ones stay")
                self.reloads.over(action.number, action.place, action.killed)
                self._callbacks.event("after_reload")
                systemd.notify("READY")
            case GiveUp():
                self._give_up(action)
            case Flapping():
                text = "worker %d is flapping: %d of its processes died within %g s"
                limited.error(text, action.slot, action.deaths, FLAPPING_WINDOW)

    def _fork(self, fork: Fork) -> None:
        """Make a process; what cannot be done now is the fleet's to try again."""
        row = self._board.row(fork.place // 2, fork.place % 2)
        before = row[Row.READS]
        try:
            self._recovery.again(fork.place)
            self._forwarder.finish(fork.place)
            self._boot.forget(fork.place)
            self.reloads.begins(fork.place)
            for word in (Row.BUSY_SINCE, Row.LEAVE, Row.BEAT, Row.LEAVING_SINCE):
                row[word] = 0
            row[Row.READS] = 1
            if self._tasks is not None and self._fleet.member(fork.place ^ 1) is None:
                self._tasks.inherit(fork.place ^ 1, fork.place)
            worker = fork.place // 2 < self._settings.worker_num
            row[Row.STARTING_SINCE] = time.time_ns()
            pid, pidfd = self._spawn(Worker if worker else TaskWorker, fork)
            row[Row.PID] = pid  # as it does itself, once its module is imported
        except Exception as exc:
            row[Row.READS], row[Row.STARTING_SINCE] = before, 0
            self._guard.note(f"making worker {fork.place // 2}", exc)
            self._boot.refused = exc
            why = f"{type(exc).__name__}: {exc}"
            self.reloads.failed(fork.place, why)
            self._do(self._fleet.fork_failed(fork.place, why, code_of(exc), time.monotonic()))
            return
        self._boot.refused = None
        self._pidfds[pidfd] = fork.place
        self._fleet.forked(fork.place, fork.incarnation, pid)
        log.debug("worker %d is process %d", fork.place // 2, pid)

    def _spawn(self, role: type[Process], fork: Fork) -> tuple[int, int]:
        """Return the pid and the pidfd of a new process. SystemCallError."""
        return self._children.spawn(lambda: self._child(role, fork))

    def _spawn_user(self, number: int) -> int:
        pid, pidfd = self._spawn(UserProcess, Fork(2 * (self._runtime.slots + number), 1))
        log.debug("user process %d is process %d", number, pid)
        return pidfd

    def _reap_user(self, pidfd: int) -> None:
        if (death := self._children.take(pidfd)) is None:
            return
        number, pause = self._users.ended(pidfd)
        if self._shutdown.asked:
            self._users.stop()
            return
        text = "user process %d ended: %s; it is made again in %.1f s"
        log.warning(text, number, death, pause)

    def _child(self, role: type[Process], fork: Fork) -> NoReturn:
        """Never returns."""
        code = EXIT_BROKEN
        try:
            self.close_in_child()
            code = role.become(self._server, self._runtime, fork.place, fork.incarnation)
        except BaseException:
            trace = describe_exception()[1]
            log.critical("%s %d ends: %s", role.role, fork.place // 2, trace, exc_info=False)
        finally:
            exit_child(code)

    def close_in_child(self) -> None:
        """In a child: what is the manager's alone is not ours."""
        self._children.close_in_child()
        self._control.close_in_child()
        self._fd_store.close_in_child()
        self._server._manager = None

    def _ask_to_leave(self, place: int) -> None:
        member = self._fleet.member(place)
        if member is not None:
            row = self._board.row(place // 2, place % 2)
            row[Row.LEAVE], row[Row.LEAVING_SINCE] = member.incarnation, time.time_ns()
            self._signal(place, signal.SIGTERM)

    def _abort(self, place: int) -> None:
        member = self._fleet.member(place)
        log.error(
            "worker %d (process %d) was replaced and does not end: reload_timeout=%g s, and "
            "max_wait_time=%g s for its end, are over; it is killed after a stack dump",
            place // 2,
            member.pid if member is not None else -1,
            self._settings.reload_timeout,
            self._settings.max_wait_time,
        )
        self._signal(place, signal.SIGABRT)

    def _signal(self, place: int, number: int) -> None:
        for pidfd, where in self._pidfds.items():
            if where == place:
                self._children.send_signal(pidfd, number)

    # -- deaths ---

    def _reap(self, pidfd: int) -> None:
        if (death := self._children.take(pidfd)) is None:
            return
        place = self._pidfds.pop(pidfd)
        member = self._fleet.member(place)
        pid = member.pid if member is not None else -1
        slot = place // 2
        died = death.exit_code not in IN_ORDER
        text = f"worker {slot} (process {pid}) died: {death}"
        self._recovery.due(place, text, death.signal)
        self._guard.attempt(_RECOVERY, self._recovery.run, place)
        if died and self._board.phase != Phase.ABORTING:
            limited.warning("%s", text, kind=f"died: {death}")
            self._board.row(slot, 0)[Row.DIED_AT] = time.time_ns()
            self._board.row(slot, 0)[Row.LAST_DEATH] = death.as_word()
            self._callbacks.event(
                "worker_error", slot, pid, death.exit_code or 0, death.signal or 0
            )
        self.reloads.failed(place, self._boot.of(place) or text)
        actions = self._fleet.died(place, death.exit_code, time.monotonic())
        row = self._board.row(slot, place % 2)
        if self._fleet.member(place ^ 1) is not None:
            row[Row.READS] = 0
            self._guard.attempt("passing on an inbox", self._forwarder.pass_on, place, place ^ 1)
            if self._tasks is not None:
                self._tasks.inherit(place, place ^ 1)
        if not self._shutdown.asked and (died or actions):
            row[Row.RESTARTS] += 1
        if self._fleet.is_flapping(slot):
            row[Row.FLAPPING] = int((time.monotonic() + FLAPPING_WINDOW) * 1e9)
        self._do(actions)

    # -- the end ---

    def _give_up(self, action: GiveUp) -> None:
        if self._failure is None:
            self._failure = self._boot.failure(action.place, action.why)
            log.error("the server does not come up: %s", self._failure)
        if not self._shutdown.asked:
            self._stop()

    def _stop(self) -> None:
        if not self._shutdown.asked:
            self._fleet.stop()
            self.reloads.server_ends()
            self._users.stop()
        self._shutdown.ask()

    def _kill_all(self) -> None:
        """M3: whatever ended run(), no child stays."""
        self._fd_store.close()
        self._children.kill_all()
        self._pidfds.clear()
        self._users.alive.clear()

"""The Server: what a program says to it before start(), and from inside its processes.

This file checks arguments and hands on: the manager (`manager.py`) runs in start(), a worker
(`worker.py`) or task worker (`task_worker.py`) is `_process` in the children.

Contract  `docs/reference/server.md`. Wrong use is answered before anything changes.
Stands on ipckit.server.*.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import Any, TypeVar, Unpack, overload

from ipckit._spawning import is_spawning, only_inherited
from ipckit.errors import MisuseError, SettingsError
from ipckit.kinds import SockType
from ipckit.server.api.arguments import check_callback
from ipckit.server.api.client_calls import ClientCalls
from ipckit.server.api.commands import commands
from ipckit.server.api.task_calls import TaskCalls
from ipckit.server.config import descriptor_limit
from ipckit.server.config.events import Callbacks
from ipckit.server.config.setting_types import ServerSettings
from ipckit.server.config.settings import Settings
from ipckit.server.log import log, set_up, take_down
from ipckit.server.messaging.wire import Kind
from ipckit.server.monitoring import stats
from ipckit.server.monitoring.control_socket import ControlSocket
from ipckit.server.ports import bind
from ipckit.server.ports.port import OpenPort, Port
from ipckit.server.processes.process import Process
from ipckit.server.processes.runtime import Runtime
from ipckit.server.processes.server_handle import ApplicationHandle
from ipckit.server.rundir.pid_file import PidFile
from ipckit.server.rundir.run_record import RunRecord, sweep
from ipckit.server.rundir.runtime_dir import runtime_directory
from ipckit.server.supervision.manager import Manager
from ipckit.server.system.acquire import Undo, system_call
from ipckit.server.system.fork import check_may_fork, fill_standard_descriptors
from ipckit.server.system.process_state import check_proc
from ipckit.server.system.signals import ManagerSignals

__all__ = ["Server"]

_Callback = TypeVar("_Callback", bound=Callable[..., Any])


class Server(ClientCalls, TaskCalls):
    """A server with worker processes for its clients and task workers for slow work.

    Made and configured in one process, which becomes the manager in start(). Inside the callbacks
    the same object speaks for the process it is in. Not thread safe. A fork of your own must not
    use it: only the processes that start() makes have a place in the server.

    Crash: what a process held in memory is lost with it, and it is replaced. After `kill -9` of
    the manager all processes end within 2 s; a message queue and spill files stay.
    """

    def __init__(
        self,
        host: str,
        port: int = 0,
        *,
        sock_type: SockType = SockType.TCP,
        **settings: Unpack[ServerSettings],
    ) -> None:
        """Bind to an address; clients are listened to from start() on.

        Args:
            host: an address, or for UNIX_STREAM the path of the socket file.
            port: 0..65535; 0: the kernel chooses, `server.port` tells.
            sock_type: of the first port; listen() makes more of them.
            settings: as for set().

        Raises:
            SettingsError: an unknown setting or a wrong value; nothing was bound.
            SystemCallError: the address is not available, e.g. errno EADDRINUSE.
        """
        self._settings = Settings().changed({**settings})
        self._explicit = {*settings}  # the names that somebody chose
        self._runtime: Runtime | None = None
        fill_standard_descriptors()
        self.ports = [Port(host, port, sock_type)]
        self.sock_type = self.ports[0].type
        self.host = host
        self.port = self.ports[0].port
        self._callbacks = Callbacks()
        self._manager: Manager | None = None
        self._process: Process | None = None
        self._user_processes: list[Callable[..., Any]] = []
        self._tasks = None
        self._ended = False
        self._application: ApplicationHandle | None = None  # `ipckit run`: each process loads it

    # -- before start() ---

    def set(
        self, settings_dict: dict[str, Any] | None = None, /, **settings: Unpack[ServerSettings]
    ) -> None:
        """Change settings, all or none of them.

        Raises SettingsError (which value, which range; for an unknown name the nearest one),
        MisuseError after start().
        """
        self._only_before_start("set()")
        changes = {**(settings_dict or {}), **settings}
        self._settings = self._settings.changed(changes)
        self._explicit |= {*changes}

    def listen(self, host: str, port: int = 0, sock_type: SockType = SockType.TCP) -> Port:
        """Serve one more address; bound at once. It has callbacks and settings of its own if set.

        Raises SettingsError, AlreadyExists, SystemCallError as Server() does; MisuseError after
        start().
        """
        self._only_before_start("listen()")
        made = Port(host, port, sock_type)
        self.ports.append(made)
        return made

    @overload
    def on(self, event: str, callback: Callable[..., Any]) -> None: ...

    @overload
    def on(self, event: str, callback: None = None) -> Callable[[_Callback], _Callback]: ...

    def on(
        self, event: str, callback: Callable[..., Any] | None = None
    ) -> Callable[[_Callback], _Callback] | None:
        """Set the callback of an event; without one, a decorator.

        "workerStart", "WorkerStart" and "worker_start" are one event. The last one set counts.
        Raises SettingsError (unknown: the nearest name; an async one where there is no loop),
        MisuseError after start().
        """
        self._only_before_start("on()")
        if callback is not None:
            self._callbacks.set(event, callback)
            return None

        def decorate(function: _Callback) -> _Callback:
            self._callbacks.set(event, function)
            return function

        return decorate

    def add_process(self, callback: Callable[..., Any]) -> int:
        """Keep a process of your own beside the workers; return its number among those, from 0.

        It runs `callback(server)`, `def` or `async def` (then on a loop of its own, with timers).
        When that returns, raises or dies it is made again, after 0.1 s, later up to 5 s. A reload
        leaves it. When the server ends it gets SIGTERM: SystemExit is raised in the callback
        (CancelledError in an async one); after max_wait_time it is killed. `server.worker_id` in
        it is worker_num + task_worker_num + its number. send(), close(), send_message() to
        workers, stats() and the like work there, task() does not.

        Raises TypeError, MisuseError after start().
        """
        self._only_before_start("add_process()")
        check_callback(callback)
        self._user_processes.append(callback)
        return len(self._user_processes) - 1

    def start(self) -> None:
        """Serve until shutdown() or SIGTERM; this process becomes the manager. Blocks until then.

        Must be called in the main thread, with no other thread alive: a process with threads
        cannot be forked safely. While it runs it handles the signals TERM, INT, USR1, USR2, WINCH.

        Raises:
            SettingsError: a callback is missing; before any process exists.
            AlreadyExists: a live server has this message_queue_key. AccessDenied.
            BootFailed: a process died before it was ready; all others are gone.
            What the `start` callback raised; all processes are gone.
        """
        if self._runtime is not None:
            raise MisuseError("start(): this server runs already; call start() once, outside of it")
        if bind.is_bound_elsewhere():
            raise MisuseError(
                "`ipckit run` starts the server itself: write `if __name__ == '__main__':` "
                "before server.start()"
            )
        if self._ended:
            raise MisuseError("this server has ended; make a new one")
        self._opened()
        self._check_tasks()
        check_may_fork()
        check_proc()
        self._settings = self._settings.with_whole_paths()
        fill_standard_descriptors()
        processes = len(self._user_processes)
        self._settings = descriptor_limit.fit_descriptors(self._settings, self._explicit, processes)
        with system_call("open", f"log_file {self._settings.log_file}"):
            handler = set_up(self._settings.log_file, self._settings.level)
        try:
            self._serve()
        finally:
            if handler is not None:
                take_down(handler)

    def __getstate__(self) -> dict[str, Any]:
        """Give it to the process that is to call start(), in the args of its Process."""
        if self._runtime is not None:
            raise MisuseError(
                "a server that runs cannot be pickled: its own processes have it, and another "
                "program is a Client or a TaskClient"
            )
        if not is_spawning():
            raise only_inherited(type(self).__name__, "make the server where start() is called")
        return self.__dict__.copy()

    def _serve(self) -> None:
        with Undo() as last, Undo() as undo:
            self._ended = True
            for port in self.ports:
                undo.add(f"port {port.host}:{port.port}", port.forget)
            with system_call("start", "a part of the server cannot be made"):
                signals = ManagerSignals()
                last.callback(signals.restore)  # no signal leaves a file behind
                signals.install()
                manager = self._make_manager(undo, signals)
            manager.run()

    def _make_manager(self, undo: Undo, signals: ManagerSignals) -> Manager:
        """Acquire all that the server needs; each thing is undone when its server ends, or here."""
        for port in self.ports:
            port.listen(self._settings.backlog)
        directory = runtime_directory(self._settings.runtime_dir)
        for removed in sweep(directory):
            log.info("removed what a dead server left: %s", removed)
        record = RunRecord(directory)
        undo.add("the run record", record.finish)
        control = ControlSocket(self._settings)
        undo.add("the control socket", control.close)
        pid_file = PidFile(self._settings.pid_file)
        undo.add("the pid file", pid_file.remove)
        if pid_file.path is not None:
            record.note_pid_file(pid_file.path)
        for path in self._socket_files(control):
            record.note_socket(path)
        undo.callback(self._forget_runtime)
        users = tuple(self._user_processes)
        self._runtime = Runtime.make(
            self._settings, self._callbacks, self._opened(), users, record, control.path
        )
        undo.callback(self._runtime.destroy)
        self._manager = Manager(self, self._runtime, control, signals)
        control.answer_with(commands(self, self._manager))
        return self._manager

    def _forget_runtime(self) -> None:
        self._manager = self._runtime = None

    def _socket_files(self, control: ControlSocket) -> list[str]:
        """Return the files of unix sockets that a crash would leave where nobody looks."""
        mine = [port.file for port in self.ports if port.file is not None]
        return [*mine, control.path] if self._settings.control_path else mine

    def _opened(self) -> tuple[OpenPort, ...]:
        return tuple(
            port.opened(index, self._settings, self._callbacks)
            for index, port in enumerate(self.ports)
        )

    def _check_tasks(self) -> None:
        if self._settings.task_worker_num and not self._callbacks.has("task"):
            raise SettingsError(
                f"task_worker_num={self._settings.task_worker_num} needs a `task` callback: "
                f"server.on('task', f)"
            )

    # -- the whole server ---

    def shutdown(self) -> None:
        """End the server in order, as SIGTERM does; from any of its processes. Does not wait."""
        if self._process is not None:
            self._process.control(Kind.SHUTDOWN)
        elif not self._running("shutdown()").post_to_manager(Kind.SHUTDOWN, 0):
            os.kill(self._running("shutdown()").manager_pid, signal.SIGTERM)

    def reload(self, only_task: bool = False) -> bool:
        """Replace the processes one by one: the new one is ready, then the old one leaves.

        Modules imported before start() stay as they were; under `ipckit run` each process
        imports the server's module again. False while a reload runs: one more
        comes after it. From a worker the answer is always True: asked. Does not wait.
        """
        if self._manager is not None:
            return self._manager.reload(only_task=only_task)[0]
        if self._process is None:  # an event of the manager's, aside
            number = signal.SIGUSR2 if only_task else signal.SIGUSR1
            os.kill(self._running("reload()").manager_pid, number)
        else:
            self._process.control(Kind.RELOAD, int(only_task))
        return True

    def stop(self, worker_id: int = -1) -> None:
        """Replace one process, -1: this one. The successor is ready, then it leaves.

        Raises ValueError (no such process), MisuseError (-1 in the manager). Does not wait.
        """
        if worker_id == -1:
            worker_id = self._in_process("stop() without a worker_id").slot
        self._check_worker_id(worker_id, "worker_id")
        if self._manager is not None:
            self._manager.replace(worker_id)
        else:
            self._in_process("stop()").control(Kind.STOP, worker_id)

    def stats(self) -> dict[str, Any]:
        """Return the server's numbers, JSON-able, from any of its processes."""
        return stats.gather(self._running("stats()"))

    # -- between processes ---

    def send_message(self, message: Any, dst_worker_id: int) -> None:
        """Give `message` to the pipe_message callback of another process.

        Args:
            message: whatever pickle takes, any size.
            dst_worker_id: 0..worker_num+task_worker_num-1, not this process.

        Raises QueueFull (its inbox is full; never waits), MisuseError (to itself, or without a
        pipe_message callback), ValueError, TypeError.
        """
        self._check_worker_id(dst_worker_id, "dst_worker_id")
        if not self._callbacks.has("pipe_message"):
            raise MisuseError(
                "send_message(): there is no `pipe_message` callback to receive it; set one by on()"
            )
        self._in_process("send_message()").send_message(message, dst_worker_id)

    # -- timers ---

    def tick(self, seconds: float, callback: Callable[..., Any], *args: Any) -> int:
        """Call `callback(*args)` every `seconds` (0.001 or more) in this process; return its id.

        In a task worker it runs between two tasks. What is missed is skipped, not made up for.
        Does not wait. Raises ValueError, TypeError, MisuseError (not in a worker).
        """
        return self._timer("tick()", seconds, callback, args, every=True)

    def after(self, seconds: float, callback: Callable[..., Any], *args: Any) -> int:
        """Call `callback(*args)` once, after `seconds`, in this process; return its id.

        Else as tick(); 0 is the next turn of the loop. If this process ends before, it is dropped,
        which is logged.
        """
        return self._timer("after()", seconds, callback, args, every=False)

    def clear_timer(self, timer_id: int) -> bool:
        """Drop a timer of this process; False when there is none (any more)."""
        if not isinstance(timer_id, int):
            raise TypeError(
                f"timer_id={timer_id!r}: must be an int, as tick() and after() return it"
            )
        return self._in_process("clear_timer()").clear_timer(timer_id)

    def _timer(
        self,
        call: str,
        seconds: float,
        callback: Callable[..., Any],
        args: tuple[Any, ...],
        *,
        every: bool,
    ) -> int:
        least = 0.001 if every else 0
        number = isinstance(seconds, int | float) and not isinstance(seconds, bool)
        if not number or not least <= seconds <= 10**9:
            raise ValueError(f"{call}: seconds={seconds!r}, must be a number of {least:g}..10**9")
        check_callback(callback)
        return self._in_process(call).after(seconds, callback, args, every=every)

    # -- who and what ---

    @property
    def worker_id(self) -> int:
        """The number of this process: workers from 0, task workers from worker_num; -1 outside."""
        return self._process.slot if self._process is not None else -1

    @property
    def worker_pid(self) -> int:
        """The pid of this process."""
        return os.getpid()

    @property
    def taskworker(self) -> bool:
        """Whether this process is a task worker."""
        return self._process is not None and self._process.taskworker

    @property
    def manager_pid(self) -> int:
        """The manager's pid; 0 before start()."""
        return self._runtime.manager_pid if self._runtime is not None else 0

    @property
    def master_pid(self) -> int:
        """The same as manager_pid: one process is both."""
        return self.manager_pid

    @property
    def setting(self) -> dict[str, Any]:
        """All settings with their values, a copy."""
        return self._settings.as_dict()

    # -- private ---

    def _only_before_start(self, call: str) -> None:
        if self._runtime is not None:
            raise MisuseError(f"{call}: the server runs already; call it before start()")

    def _check_worker_id(self, worker_id: int, name: str) -> None:
        most = self._settings.worker_num + self._settings.task_worker_num - 1
        number = isinstance(worker_id, int) and not isinstance(worker_id, bool)
        if not number or not 0 <= worker_id <= most:
            raise ValueError(f"{name}={worker_id!r}: must be 0..{most}")

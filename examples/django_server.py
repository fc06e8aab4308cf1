"""Runs the tasks that Django posts by django_backend.py, and stores their results.

python examples/django_server.py [port]        and then, beside it: django_site.py
A task that raises, or whose process dies, is run again, up to task_max_attempts. Between two
    attempts its result is READY, with the errors so far; after the last one it is FAILED.
After kill -9 of all processes the next start runs the tasks in the queue, and the interrupted ones
    once more. A SUCCESSFUL task is never run again. An orderly end removes the queue; the next
    start posts its tasks again.
"""

import json
import sys
from traceback import format_exception

import django_site  # noqa: F401  (in a project: DJANGO_SETTINGS_MODULE, and django.setup())
from django.db import close_old_connections
from django.utils import timezone
from django_backend import OUTCOME, QueueBackend
from django_tasks import task_backends
from django_tasks.base import TaskContext, TaskResultStatus
from django_tasks.signals import task_finished, task_started

from ipckit import NotFound, Server, SysvQueue, TaskClient, TaskIPC

backend = task_backends["default"]
server = Server("127.0.0.1", int(sys.argv[1]) if len(sys.argv) > 1 else 9504)
server.set(
    worker_num=1,
    task_worker_num=2,
    task_ipc_mode=TaskIPC.QUEUE,
    message_queue_key=backend.key,
    task_ledger=backend.name,  # keeps running tasks and retries over a crash
    task_memory=8 << 20,  # bytes in /dev/shm, where a container has 64 MiB
)


def without_queue():
    """Return the calls that wait for a first attempt, and are in no queue."""
    try:
        SysvQueue.open(backend.key).close()
    except NotFound:
        rows = [row for row in backend.results.values() if row["status"] == "READY"]
        calls = [row["call"] for row in rows if "workers" not in json.loads(row["outcome"])]
        return sorted(calls, key=lambda call: json.loads(call)["enqueued_at"])
    return []


waiting = without_queue()


@server.on("start")
def start(server):
    print(f"listening on {server.port}", flush=True)
    with TaskClient(backend.key) as client:
        for call in waiting:
            client.post(call, timeout=5)


@server.on("receive")
def receive(server, fd, reactor_id, data):  # clients may ask for the count
    server.send(fd, f"{server.stats()['task_done']} tasks are done\n".encode())


def write(call, status, worker=None, error=None, **more):
    """Write a step of a task into its row, in one step. An error here keeps the old row."""
    now = timezone.now()
    with backend.results.lock(json.loads(call)["id"]) as row:
        outcome = {"workers": [], "errors": []} | json.loads(row["outcome"] or "{}") | more
        if worker is not None:
            outcome["workers"].append(worker)
            outcome["last_attempted_at"] = now.isoformat()
            outcome.setdefault("started_at", now.isoformat())
        if error is not None:
            outcome["errors"].append(error)
        if status in {TaskResultStatus.SUCCESSFUL, TaskResultStatus.FAILED}:
            row["finished_at"] = now.timestamp()
            outcome["finished_at"] = now.isoformat()
        while len(json.dumps(outcome)) > OUTCOME and any(text for _, text in outcome["errors"]):
            # the end of a long traceback is the most useful
            outcome["errors"] = [
                (path, text[(len(text) + 1) // 2 :]) for path, text in outcome["errors"]
            ]
        row.update(status=status.value, call=call, outcome=json.dumps(outcome))


def described(error):
    kind = type(error)
    return f"{kind.__module__}.{kind.__qualname__}", "".join(format_exception(error))


@server.on("task")
def task(server, task_id, src_worker_id, call):
    ident = json.loads(call)["id"]
    if backend.results.get(ident, "status") == TaskResultStatus.SUCCESSFUL:
        return  # its task worker was killed before the result was stored
    close_old_connections()
    write(call, TaskResultStatus.RUNNING, worker=str(server.worker_pid))
    try:
        result = backend.get_result(ident)
        task_started.send(QueueBackend, task_result=result)
        context = [TaskContext(task_result=result)] if result.task.takes_context else []
        value = result.task.call(*context, *result.args, **result.kwargs)
    except Exception as error:
        again = server.current_task.attempt < server.setting["task_max_attempts"]
        status = TaskResultStatus.READY if again else TaskResultStatus.FAILED
        write(call, status, error=described(error))
        if not again:
            task_finished.send(QueueBackend, task_result=backend.get_result(ident))
        raise
    try:
        write(call, TaskResultStatus.SUCCESSFUL, value=value)
    except (
        TypeError,
        ValueError,
    ) as error:  # not JSON, or too long: another attempt would not help
        write(call, TaskResultStatus.FAILED, error=described(error))
    result.refresh()
    task_finished.send(QueueBackend, task_result=result)


@server.on("task_failed")
def task_failed(server, task_id, error):
    """In a worker, after the last attempt, whose process may have died."""
    call = [letter.data for letter in server.dead_letters if letter.task_id == task_id][-1]
    ident = json.loads(call)["id"]
    if backend.results.get(ident, "status") != TaskResultStatus.FAILED:
        write(call, TaskResultStatus.FAILED, error=described(error))
        task_finished.send(QueueBackend, task_result=backend.get_result(ident))


server.start()

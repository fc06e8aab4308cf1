"""A backend for Django's tasks framework: tasks wait in a System V queue, results are in a Table.

TASKS = {"default": {"BACKEND": "django_backend.QueueBackend", "OPTIONS": {"KEY": ftok(...)}}}
    in django_site.py, which posts tasks; django_server.py runs them.
Supported: results from any process, retries, contexts, async functions, signals, names of queues.
Not supported: run_after and priority. The framework then raises InvalidTaskError.
After a crash: a task for which enqueue() returned is run. A web process killed inside enqueue() may
    leave a result that stays READY. Results outlive every process, but not a reboot.

Written for the package django-tasks, and tested with it; Django 6 has the framework as
django.tasks, where InvalidTaskError is named InvalidTask.
"""

import errno
import json
import secrets
from functools import cached_property

from django.utils import timezone
from django.utils.dateparse import parse_datetime
from django.utils.module_loading import import_string
from django_tasks.backends.base import BaseTaskBackend
from django_tasks.base import Task, TaskError, TaskResult, TaskResultStatus
from django_tasks.exceptions import InvalidTaskError, TaskResultDoesNotExist
from django_tasks.signals import task_enqueued

from ipckit import Float, MessageTooLarge, NotFound, Str, Table, TableFull, TaskClient
from ipckit.errors import AlreadyExists

RESULTS = 1000  # 13 MB of /dev/shm; when full, the older half of the finished is deleted
CALL, OUTCOME = 4096, 2048  # most bytes of JSON: the arguments; the return value and the errors
COLUMNS = {"status": Str(16), "call": Str(CALL), "outcome": Str(OUTCOME), "finished_at": Float()}
TIMES = ("started_at", "last_attempted_at", "finished_at")


class QueueBackend(BaseTaskBackend):
    supports_get_result = True
    supports_async_task = True

    def __init__(self, alias, params):
        super().__init__(alias, params)
        self.key = self.options["KEY"]  # the server's message_queue_key
        self.timeout = self.options.get("TIMEOUT", 1)  # seconds to wait for room in the queue
        self.name = self.options.get("RESULTS", f"django-{self.key & 0xFFFFFFFF:08x}")

    @cached_property
    def results(self):
        """The table of all results. The first process makes it."""
        try:
            return Table.open(self.name)
        except NotFound:
            try:
                return Table(RESULTS, columns=COLUMNS, name=self.name)
            except AlreadyExists:
                return Table.open(self.name)

    def enqueue(self, task, args, kwargs):
        """Post a task. Waits at most TIMEOUT; when it raises, nothing was posted and nothing kept.

        QueueFull: no room in time. NotFound: no queue, so no server. MessageTooLarge: the
        arguments. TableFull: RESULTS tasks are not finished.
        """
        self.validate_task(task)
        call = {"id": secrets.token_hex(16), "task": task.module_path, "queue": task.queue_name}
        call |= {"args": args, "kwargs": kwargs, "enqueued_at": timezone.now().isoformat()}
        result = self.result_of(call, TaskResultStatus.READY, {}, task)
        call |= {"args": result.args, "kwargs": result.kwargs}  # as JSON has them
        text = json.dumps(call, ensure_ascii=False)
        if (size := len(text.encode())) > CALL:
            hint = f"at most {CALL} fit; pass the name of a file or a row instead"
            raise MessageTooLarge(errno.EMSGSIZE, f"{task.name}: {size} bytes of JSON, {hint}")
        self.keep(result.id, {"status": result.status.value, "call": text, "outcome": "{}"})
        try:  # the row came first: the task may be done before the next line
            with TaskClient(self.key) as client:  # opened each time: the server may restart
                client.post(text, timeout=self.timeout)
        except Exception:
            self.results.delete(result.id)
            raise
        task_enqueued.send(type(self), task_result=result)
        return result

    def get_result(self, result_id):
        row = self.results.get(result_id) if len(result_id.encode()) == 32 else None
        if row is None:
            raise TaskResultDoesNotExist(result_id)
        call, outcome = json.loads(row["call"]), json.loads(row["outcome"])
        return self.result_of(call, TaskResultStatus(row["status"]), outcome)

    def keep(self, result_id, row):
        try:
            self.results.set(result_id, row)
        except TableFull:
            rows = [(row["finished_at"], key) for key, row in self.results.items()]
            finished = sorted(pair for pair in rows if pair[0])
            for _, key in finished[: (len(finished) + 1) // 2]:
                self.results.delete(key)
            self.results.set(result_id, row)

    def result_of(self, call, status, outcome, task=None):
        if task is None:
            task = import_string(call["task"])
            if not isinstance(task, Task):  # only tasks are called, whatever a message names
                raise InvalidTaskError(f"{call['task']} is no task; decorate it with @task")
            task = task.using(queue_name=call["queue"], backend=self.alias)
        result = TaskResult(
            task=task,
            id=call["id"],
            status=status,
            args=call["args"],
            kwargs=call["kwargs"],
            backend=self.alias,
            errors=[
                TaskError(exception_class_path=path, traceback=text)
                for path, text in outcome.get("errors", [])
            ],
            worker_ids=outcome.get("workers", []),
            enqueued_at=parse_datetime(call["enqueued_at"]),
            **{name: outcome.get(name) and parse_datetime(outcome[name]) for name in TIMES},
        )
        object.__setattr__(result, "_return_value", outcome.get("value"))
        return result

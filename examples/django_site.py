"""A site in one file that posts tasks into the queue of the running django_server.py.

gunicorn --workers 2 --chdir examples django_site:application        and then:
curl -d '{"text": "to be or not to be"}' http://127.0.0.1:8000/tasks          -> {"id": "..."}
curl http://127.0.0.1:8000/tasks/THE_ID                     -> {"status": "SUCCESSFUL", ...}
If the queue is full or there is no server, the answer is 503 within a second.
"""

import json
from pathlib import Path

from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import JsonResponse
from django.urls import path
from django.views.decorators.http import require_GET, require_POST

from ipckit import MessageTooLarge, NotFound, QueueFull, TableFull, ftok

settings.configure(
    ALLOWED_HOSTS=["127.0.0.1"],
    INSTALLED_APPS=["django_tasks"],
    ROOT_URLCONF=__name__,
    USE_TZ=True,
    TASKS={
        "default": {
            "BACKEND": "django_backend.QueueBackend",
            # the key of this folder: the key of a file changes when the file is replaced
            "OPTIONS": {"KEY": ftok(Path(__file__).parent, "d")},
        }
    },
)
application = get_wsgi_application()

from django_tasks import default_task_backend, task  # noqa: E402  (they need the settings)
from django_tasks.exceptions import TaskResultDoesNotExist  # noqa: E402


@task()
def count_words(text):
    """Run in a task worker of django_server.py."""
    words = text.split()
    return {word: words.count(word) for word in sorted(set(words))}


@require_POST
def post(request):
    try:
        result = count_words.enqueue(json.loads(request.body)["text"])
    except NotFound:
        return JsonResponse({"error": "no queue: is django_server.py running?"}, status=503)
    except (QueueFull, TableFull) as error:
        return JsonResponse({"error": str(error)}, status=503)
    except MessageTooLarge as error:
        return JsonResponse({"error": str(error)}, status=413)
    return JsonResponse({"id": result.id}, status=202)


@require_GET
def look(request, result_id):
    try:
        result = default_task_backend.get_result(result_id)
    except TaskResultDoesNotExist:
        return JsonResponse({"error": "no such result, or it was forgotten"}, status=404)
    value = result.return_value if result.status == "SUCCESSFUL" else None
    last_error = result.errors[-1].traceback if result.errors else None
    answer = {"status": result.status, "attempts": result.attempts, "last_error": last_error}
    return JsonResponse({**answer, "value": value})


urlpatterns = [path("tasks", post), path("tasks/<result_id>", look)]

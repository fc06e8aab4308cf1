"""Posts tasks into the queue of the running queue_server.py, from a Flask application.

gunicorn --workers 2 --chdir examples flask_app:app        and then:
curl -d '{"resize": "photo.jpg"}' -H 'Content-Type: application/json' http://127.0.0.1:8000/tasks
"""

from pathlib import Path

from flask import Flask, request

from ipckit import MessageTooLarge, NotFound, QueueFull, TaskClient, ftok

app = Flask(__name__)
key = ftok(Path(__file__).with_name("queue_server.py"), "q")


@app.post("/tasks")
def post():
    try:
        with TaskClient(key) as client:  # opened each time: the server may restart
            client.post(request.get_json(), timeout=1)  # plain values only, as in JSON
    except NotFound:
        return {"error": "no queue: is queue_server.py running?"}, 503
    except QueueFull as error:
        return {"error": str(error)}, 503
    except MessageTooLarge as error:
        return {"error": str(error)}, 413
    return {"posted": True}, 202

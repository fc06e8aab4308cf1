"""Posts tasks into the queue of the running queue_server.py, without a connection to it.

python examples/task_client.py
"""

from pathlib import Path

from ipckit import TaskClient, ftok

key = ftok(Path(__file__).with_name("queue_server.py"), "q")

with TaskClient(key) as client:
    client.post(["resize", "photo.jpg", {"width": 640}], timeout=5)  # the first idle task worker
    client.post(["resize", "传真.png", {"width": 320}], dst=1, timeout=5)  # task worker 1
print("2 tasks posted")

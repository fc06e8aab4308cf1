"""A parent and its child talk over a System V queue that both find by ftok().

python examples/parent_child_queue.py
"""

import os

from ipckit import SysvQueue, ftok

LAST = 2  # the message type that says: no more
key = ftok(__file__, "q")

queue = SysvQueue.create(key)
try:
    child = os.fork()
    if child == 0:
        mine = SysvQueue.open(key)  # as a process that inherited nothing would
        while True:
            message = mine.receive(timeout=10)
            if message.type == LAST:
                os._exit(0)
            print(f"child got {message.body.decode()!r}", flush=True)
    for number in range(5):
        queue.send(f"message {number}".encode(), timeout=10)
    queue.send(b"", type=LAST, timeout=10)
    _, status = os.waitpid(child, 0)
    print(f"child ended with {os.waitstatus_to_exitcode(status)}, {len(queue)} messages are left")
finally:
    queue.remove()  # a queue outlives its processes: whoever made it removes it

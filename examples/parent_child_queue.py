"""A parent and its child talk over a System V queue that both find by ftok().

python examples/parent_child_queue.py
"""

import multiprocessing

from ipckit import SysvQueue, ftok

LAST = 2  # the message type that ends the child
SECONDS = 60  # the timeout of every wait: with "forkserver" a child imports this file first


def child():
    queue = SysvQueue.open(ftok(__file__, "q"))  # the same file, the same letter: the same key
    while (message := queue.receive(timeout=SECONDS)).type != LAST:
        print(f"child got {message.body.decode()!r}", flush=True)


def parent():
    queue = SysvQueue.create(ftok(__file__, "q"))
    try:
        process = multiprocessing.Process(target=child, daemon=True)  # it ends with its parent
        process.start()
        for number in range(5):
            queue.send(f"message {number}".encode(), timeout=SECONDS)
        queue.send(b"", type=LAST, timeout=SECONDS)
        process.join(SECONDS)
        print(f"child ended with {process.exitcode}, {len(queue)} messages are left")
    finally:
        queue.remove()  # a queue outlives its processes: its creator removes it


if __name__ == "__main__":
    parent()

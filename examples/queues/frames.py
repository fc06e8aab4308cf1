"""A pipeline of three processes over frames of 8 MiB that no process copies.

python examples/queues/frames.py [frames]     needs numpy

The camera writes each frame where it stays, in the memory of a queue. The filter reads it there,
and writes its result into the memory of the next queue. The counter reads that.
"""

import multiprocessing
import sys
import time

import numpy as np

from ipckit.queue import SharedQueue

SHAPE = 2048, 4096  # bytes: 8 MiB
SIZE = SHAPE[0] * SHAPE[1]
END = b""


def image_in(memory):
    return np.frombuffer(memory, dtype=np.uint8).reshape(SHAPE)


def camera(frames, raw):
    for number in range(frames):
        with raw.reserve(SIZE) as space:  # waits for room; the end of the block sends
            image = image_in(space.buffer)
            image[:] = number % 255
            image[0, :number] = 255  # something to find
            del image  # what may still be written cannot be sent
    raw.send(END)


def bright(raw, filtered):
    """Mark the bright pixels of each frame."""
    while True:
        with raw.lease() as job:
            if not job.size:
                filtered.send(END)
                return
            with filtered.reserve(SIZE) as space:
                image, marked = image_in(job.body), image_in(space.buffer)
                np.greater(image, 254, out=marked.view(np.bool_))
                del image, marked


def count(filtered):
    """Return how many bright pixels each frame has."""
    found = []
    while True:
        with filtered.lease() as job:
            if not job.size:
                return found
            found.append(int(np.count_nonzero(image_in(job.body))))


def main():
    frames = int(sys.argv[1]) if len(sys.argv) > 1 else 100
    raw, filtered = (SharedQueue(max_messages=8, max_bytes=4 * SIZE) for _ in range(2))
    fork = multiprocessing.get_context("fork")
    stages = [
        fork.Process(target=camera, args=(frames, raw)),
        fork.Process(target=bright, args=(raw, filtered)),
    ]
    began = time.monotonic()
    for stage in stages:
        stage.start()
    found = count(filtered)
    for stage in stages:
        stage.join()
    took = time.monotonic() - began
    print(f"{len(found)} frames, {sum(found)} bright pixels, {len(found) * 8 / took:,.0f} MiB/s")
    sys.exit(found != list(range(frames)) or any(stage.exitcode for stage in stages))


if __name__ == "__main__":
    main()

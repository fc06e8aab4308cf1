"""A crawler whose processes are killed while they work: every page is fetched, and none is lost.

python examples/queues/crawler.py [pages [seconds between two kills]]

Four processes share a queue of pages to fetch. Each leases a page, fetches it, puts the pages that
it links to into the queue, and acknowledges it. When a process is killed, the page that it had
leased goes to another one.
"""

import multiprocessing
import os
import random
import signal
import sys
import time

from ipckit import Int, QueueEmpty, SharedQueue, Table

WORKERS = 4
STOP = b"stop"


def links_of(page, pages):
    """Stand-in for fetching a page: the pages that it links to; several pages link to each."""
    links = 2 * page + 1, 2 * page + 2, page // 3, 7 * page % pages
    return {link for link in links if link < pages}


def discover(page, known, queue):
    """Queue a page, unless it was queued before. One step for the other processes."""
    with known.lock(str(page)) as row:
        if not row["queued"]:
            queue.send(b"%d" % page)
            row["queued"] = (
                1  # after the send: a kill in between queues it twice, and loses nothing
            )


def work(pages, known, queue):
    while True:
        with queue.lease() as job:  # waits; the end of the block acknowledges
            if job.body == STOP:
                return
            page = int(bytes(job.body))
            if not known.get(str(page), "fetched"):
                for link in links_of(page, pages):
                    discover(link, known, queue)
            known.incr(str(page), "fetched")


def is_over(queue):
    """Nothing waits and nothing is leased: only a leased page could bring another one."""
    now = queue.statistics()
    return not (now.messages or now.leased or now.delayed)


def crawl(pages, pause):
    """Fetch all pages from page 0 on; return how many fetches each page had, and the kills."""
    known = Table(pages, columns={"queued": Int(1), "fetched": Int(4)})
    queue = SharedQueue(max_messages=2 * pages, max_bytes=4096, max_attempts=None)
    fork = multiprocessing.get_context("fork")

    def start():
        process = fork.Process(target=work, args=(pages, known, queue))
        process.start()
        return process

    discover(0, known, queue)
    workers = [start() for _ in range(WORKERS)]
    kills = 0
    while not is_over(queue):
        time.sleep(pause)
        number = random.randrange(WORKERS)
        os.kill(workers[number].pid, signal.SIGKILL)
        workers[number].join()
        workers[number] = start()
        kills += 1
    for _ in workers:
        queue.send(STOP)
    for worker in workers:
        worker.join()
    try:
        left = queue.receive_nowait().body
    except QueueEmpty:
        left = None
    assert left is None
    assert queue.verify() == known.verify() == []
    return {int(page): row["fetched"] for page, row in known.items()}, kills


def main():
    pages = int(sys.argv[1]) if len(sys.argv) > 1 else 20_000
    pause = float(sys.argv[2]) if len(sys.argv) > 2 else 0.1
    fetched, kills = crawl(pages, pause)
    again = sum(count - 1 for count in fetched.values())
    print(f"{len(fetched)} of {pages} pages, {kills} kills, {again} fetched again")
    sys.exit(len(fetched) != pages or min(fetched.values()) < 1 or again > kills)


if __name__ == "__main__":
    main()

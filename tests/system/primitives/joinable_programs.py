"""Twelve programs after what the manual of multiprocessing promises of its queues.

`python joinable_programs.py METHOD` runs each under that start method, and prints {name: result}.
test_joinable_programs.py runs this file as it is, and with the import of JoinableQueue changed.
"""

from __future__ import annotations

import array
import json
import multiprocessing
import queue
import sys
import threading
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import JoinableQueue, Process

from deadlines import LOOK

PROGRAMS = {}


def program(function):
    PROGRAMS[function.__name__] = function
    return function


class Job:
    def __init__(self, number):
        self.number = number
        self.log = [("made", number)]

    def run(self):
        self.log.append(("run", self.number**2))
        return self


def started(target, *arguments):
    process = Process(target=target, args=arguments)
    process.start()
    return process


def ended(*processes):
    for each in processes:
        each.join(LOOK)
    return [each.exitcode for each in processes]


def consume(tasks, results):
    for number in iter(tasks.get, None):
        results.put(number * number)
    results.put(None)


@program
def a_sentinel_ends_each_consumer():
    tasks, results = JoinableQueue(), JoinableQueue()
    workers = [started(consume, tasks, results) for _ in range(3)]
    for number in range(30):
        tasks.put(number)
    for _ in workers:
        tasks.put(None)
    squares, over = [], 0
    while over < len(workers):
        square = results.get(timeout=LOOK)
        over += square is None
        squares += [] if square is None else [square]
    return sorted(squares), ended(*workers)


def work(tasks):
    while True:
        number = tasks.get()
        try:
            if number is None:
                return
        finally:
            tasks.task_done()


@program
def join_waits_for_all_that_was_put():
    tasks = JoinableQueue()
    workers = [started(work, tasks) for _ in range(2)]
    for number in range(50):
        tasks.put(number)
    tasks.join()
    empty = tasks.empty()
    for _ in workers:
        tasks.put(None)
    tasks.join()
    return empty, ended(*workers)


@program
def one_task_done_too_many_is_an_error():
    tasks = JoinableQueue()
    tasks.put("one")
    seen = [tasks.get(timeout=LOOK)]
    tasks.task_done()
    try:
        tasks.task_done()
    except ValueError:
        seen.append("ValueError")
    tasks.join()
    return seen


def count_up(results, first, many):
    for number in range(first, first + many):
        results.put(number)


@program
def each_producer_keeps_its_order():
    results = JoinableQueue()
    producers = [started(count_up, results, 1000 * number, 200) for number in range(3)]
    got = [results.get(timeout=LOOK) for _ in range(600)]
    ordered = [[n for n in got if n // 1000 == number] for number in range(3)]
    return [each == sorted(each) and len(each) == 200 for each in ordered], ended(*producers)


@program
def nothing_to_get_is_empty():
    tasks, seen = JoinableQueue(), []
    for call in (
        tasks.get_nowait,
        lambda: tasks.get(False),
        lambda: tasks.get(block=False),
        lambda: tasks.get(True, 0.01),
        lambda: tasks.get(block=True, timeout=0.01),
    ):
        try:
            call()
        except queue.Empty:
            seen.append("Empty")
    return seen, tasks.empty()


@program
def no_room_is_full():
    tasks, seen = JoinableQueue(2), []
    tasks.put("a")
    tasks.put("b", timeout=1)
    for call in (
        lambda: tasks.put_nowait("c"),
        lambda: tasks.put("c", False),
        lambda: tasks.put("c", block=False),
        lambda: tasks.put("c", True, 0.01),
        lambda: tasks.put(obj="c", timeout=0.01),
    ):
        try:
            call()
        except queue.Full:
            seen.append("Full")
    sizes = tasks.qsize(), tasks.full()
    return seen, sizes, [tasks.get(timeout=LOOK) for _ in range(2)], tasks.full()


def run_jobs(tasks, results):
    for job in iter(tasks.get, "stop"):
        results.put(job.run())


@program
def objects_go_there_and_back():
    tasks, results = JoinableQueue(), JoinableQueue()
    worker = started(run_jobs, tasks, results)
    for number in range(5):
        tasks.put(Job(number))
    tasks.put("stop")
    jobs = [results.get(timeout=LOOK) for _ in range(5)]
    return [(job.number, job.log) for job in jobs], ended(worker)


def reverse(tasks, results):
    large = tasks.get()
    large.reverse()
    results.put(large)


@program
def what_is_large_arrives_whole():
    tasks, results = JoinableQueue(), JoinableQueue()
    worker = started(reverse, tasks, results)
    large = array.array("d", range(1_000_000))
    tasks.put(large)
    got = results.get(timeout=LOOK)
    return got == large[::-1], type(got).__name__, ended(worker)


def fail(results, number):
    try:
        raise KeyError(number)
    except KeyError as error:
        results.put(error)


@program
def an_exception_is_an_object():
    results = JoinableQueue()
    worker = started(fail, results, 7)
    error = results.get(timeout=LOOK)
    return type(error).__name__, error.args, ended(worker)


def put_and_close(results):
    for number in range(100):
        results.put("x" * number)
    results.close()
    results.join_thread()


@program
def what_was_put_before_the_end_arrives():
    results = JoinableQueue()
    worker = started(put_and_close, results)
    lengths = [len(results.get(timeout=LOOK)) for _ in range(100)]
    return lengths == [*range(100)], ended(worker)


def parent(results):
    worker = started(count_up, results, 5, 1)
    worker.join(LOOK)
    results.put(worker.exitcode)


@program
def a_child_hands_it_to_a_grandchild():
    results = JoinableQueue()
    worker = started(parent, results)
    return [results.get(timeout=LOOK), results.get(timeout=LOOK)], ended(worker)


_results = None


def use(results):
    global _results
    _results = results


def report(number):
    _results.put(number + 1)


@program
def a_pool_and_threads_share_it():
    results = JoinableQueue()
    context = multiprocessing.get_context()
    got = []

    def gather():
        for _ in range(10):
            got.append(results.get(timeout=LOOK))
            results.task_done()

    threads = [threading.Thread(target=gather) for _ in range(2)]
    for each in threads:
        each.start()
    with ProcessPoolExecutor(2, context, initializer=use, initargs=(results,)) as pool:
        list(pool.map(report, range(20)))
    for each in threads:
        each.join(LOOK)
    results.join()
    return sorted(got)


def main() -> None:
    multiprocessing.set_start_method(sys.argv[1])
    found = {name: function() for name, function in PROGRAMS.items()}
    print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()

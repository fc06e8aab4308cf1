"""What a child of each start method gets of each object that processes may share.

`python sharing_program.py METHOD` starts a process for each object, with the object in its args. The
child works on it, and the parent looks at what came of that. METHOD "pickle" sends the object by
`pickle.dumps()` to a process that was started before. The program prints {object: what the child
got, or the error}; test_start_methods.py compares that with its table and with the reference.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import pickle
import sys
from typing import Any

from deadlines import LOOK
from leaks import objects
from sharing import ERROR, FOLDER, SHARED, Check, InChild

from ipckit import Atomic, IPCError


def child(name: str, thing: Any) -> None:
    """Work on it as the table says."""
    try:
        SHARED[name].work(thing)
    except IPCError as error:
        ERROR.write_text(f"{type(error).__name__}: {error}")


def serve(conn: Any, other_end: Any) -> None:
    """Unpickle what comes, work on it, say how it went; end with the program."""
    other_end.close()
    while True:
        try:
            name, data = conn.recv()
        except EOFError:
            return
        child(name, pickle.loads(data))
        conn.send("done")


def open_now() -> set[str]:
    return {
        f"{fd}: {os.readlink(f'/proc/self/fd/{fd}')}"
        for fd in os.listdir("/proc/self/fd")
        if os.path.exists(f"/proc/self/fd/{fd}")
    }


def cell(name: str, method: str, server: Any) -> str:
    """Do it once; return what the child got, or the error with its class."""
    with SHARED[name].make() as (thing, check):
        try:
            if method == "pickle":
                server.send((name, pickle.dumps(thing)))
                assert server.poll(LOOK), name
                server.recv()
                well = check()
            else:
                well = run(name, thing, method, check)
        except AssertionError:
            raise
        except InChild as error:
            return str(error)
        except Exception as error:
            return f"{type(error).__name__}: {error}"
        assert well, f"{name} by {method}: the parent does not see the work of the child"
    return SHARED[name].gives


def run(name: str, thing: Any, method: str, check: Check) -> bool:
    """Start a process with it; return what the check says, or raise the error of either side."""
    process = multiprocessing.get_context(method).Process(target=child, args=(name, thing))
    process.start()
    try:
        well = SHARED[name].beside and check()
        process.join(LOOK)
        if ERROR.exists():
            raise InChild(ERROR.read_text())
        assert process.exitcode == 0, f"{name} by {method}: {process.exitcode}"
        return well or check()
    finally:
        ERROR.unlink(missing_ok=True)
        process.kill()
        process.join()
        process.close()


def main(method: str) -> None:
    os.chdir(FOLDER)
    fork = multiprocessing.get_context("fork")
    server, theirs = fork.Pipe()
    process = fork.Process(target=serve, args=(theirs, server))
    process.start()
    theirs.close()
    if method != "pickle":
        run_nothing(method)
    found, _arena = {}, Atomic()
    for name in SHARED:
        before = open_now(), objects()
        found[name] = cell(name, method, server)
        assert open_now() - before[0] == set(), f"{name} by {method} leaves descriptors"
        assert objects() - before[1] == set(), f"{name} by {method} leaves objects"
    server.close()
    process.join(LOOK)
    print(json.dumps(found))


def run_nothing(method: str) -> None:
    """Have multiprocessing start its helpers, which stay."""
    first = multiprocessing.get_context(method).Process(target=bool)
    first.start()
    first.join(LOOK)
    first.close()


if __name__ == "__main__":
    main(sys.argv[1])

"""Every failure that was drawn, in lanes beside each other, and the counts by call and errno.

    PYTHONPATH=tests python -m inject [--size N | --all [--part K/N]] [--lanes N] [--only TEXT]
                                      [--out FILE]

Prints what failed and was withstood, by call, errno and way, then each fault with the case that
shows it. Exit code 1: there is one that is not known.
"""

from __future__ import annotations

import argparse
import errno
import json
import os
import random
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from inject.cases import Case, Recording, chunks, every, sample, unknown
from inject.configurations import CONFIGURATIONS
from inject.known import KNOWN, is_known
from inject.lane import Result
from inject.library import page
from inject.named import is_named

TESTS = Path(__file__).parent.parent


class Lanes:
    """The processes that run the cases; use it as a context."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        os.chmod(directory, 0o755)  # the workers of another user come to it
        self.library = page.build(directory)
        self._made = 0
        both = directory / "both.pem"
        subprocess.run(
            "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost "
            f"-keyout {both} -out {directory / 'certificate'}".split(),
            check=True,
            capture_output=True,
        )
        both.write_text(both.read_text() + (directory / "certificate").read_text())

    def start(self, module: str, configuration: str, *what: str) -> subprocess.Popen:
        self._made += 1
        mine = self.directory / f"lane-{self._made}"
        mine.mkdir()
        (mine / "both.pem").write_bytes((self.directory / "both.pem").read_bytes())
        return subprocess.Popen(
            [sys.executable, "-m", f"inject.{module}", str(mine), configuration, *what],
            env={**page.environment(self.library, mine / "page"), "PYTHONPATH": str(TESTS)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def record(self, configuration: str) -> tuple[Recording, Recording]:
        """Return what calls each way makes, in several turns: at most, at least."""
        process = self.start("lane", configuration, "record")
        out, _ = process.communicate(timeout=120)
        if process.returncode:
            raise SystemExit(f"the recording of {configuration} failed")
        most, least = ({tuple(key): times for *key, times in one} for one in json.loads(out))
        return most, least

    def run(self, work: tuple[str, list[Case]]) -> list[tuple[str, Result]]:
        """Return (configuration, Result) of each case."""
        configuration, cases = work
        process = self.start("lane", configuration, "run")
        out, _ = process.communicate(json.dumps(cases))
        found = (json.loads(line) for line in out.splitlines())
        results = [(configuration, Result(Case(*case), *rest)) for case, *rest in found]
        if process.returncode:
            at = cases[min(len(results), len(cases) - 1)]
            why = f"the lane ended with {process.returncode}"
            results.append((configuration, Result(at, False, [why], "", 0)))
        return results

    def run_all(self, work: list[tuple[str, list[Case]]], lanes: int) -> list[tuple[str, Result]]:
        """Return what run() does of each; after an interrupt (SIGINT) of those that are over."""
        results: list[tuple[str, Result]] = []
        with ThreadPoolExecutor(lanes) as pool:
            over = [pool.submit(self.run, one) for one in work]
            try:
                for number, one in enumerate(as_completed(over), 1):
                    results += one.result()
                    if number % 10 == 0:
                        print(f"{number} of {len(over)} chunks", file=sys.stderr)
                    for configuration, result in one.result():
                        if result.faults:
                            print("...", configuration, result.case, result.faults, file=sys.stderr)
            except KeyboardInterrupt:
                print("interrupted: not all of them were run")
                pool.shutdown(cancel_futures=True)
                results = [found for one in over if not one.cancelled() for found in one.result()]
        return results


def main() -> int:
    arguments = argparse.ArgumentParser(prog="inject")
    arguments.add_argument("--size", type=int, default=3000)
    arguments.add_argument("--all", action="store_true")
    arguments.add_argument("--part", default="1/1", help="of --all: which, and of how many")
    arguments.add_argument("--lanes", type=int, default=3 * (os.cpu_count() or 1))
    arguments.add_argument("--only", default="")
    arguments.add_argument("--known", action="store_true", help="also those of known.py")
    arguments.add_argument("--out", help="a file for all results, as JSON")
    asked = arguments.parse_args()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell ignores it for `&`
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="inject-") as directory:
        lanes = Lanes(Path(directory))
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            recorded = dict(
                zip(CONFIGURATIONS, pool.map(lanes.record, CONFIGURATIONS), strict=True)
            )
        strange = {call for most, _ in recorded.values() for call in unknown(most)}
        if strange:
            raise SystemExit(f"errnos.py says nothing of {sorted(strange)}")
        there = {
            configuration: [case for case in every(most) if asked.only in str(case)]
            for configuration, (most, _) in recorded.items()
        }
        total = sum(map(len, there.values()))
        left_out, work = 0, []
        for configuration, cases in there.items():
            rest = [case for case in cases if asked.known or not is_known(case)]
            left_out += len(cases) - len(rest)
            if not asked.all:  # of the calls that each turn makes, so that few are not met again
                least = {*every(recorded[configuration][1])}
                rest = [case for case in rest if case in least]
                rest = sample(rest, asked.size * len(cases) // total)
            work += [(configuration, some) for some in chunks(rest, 240 if asked.all else 200)]
        random.Random(0).shuffle(work)  # what an interrupt leaves undone is of every way
        part, parts = map(int, asked.part.split("/"))
        work = work[part - 1 :: parts]
        results = lanes.run_all(work, asked.lanes)
    for line in KNOWN:
        print("KNOWN ", *line)
    if KNOWN:
        print(f"{left_out} cases are left out, as they are known to fail")
    if asked.out:
        with open(asked.out, "w") as file:
            json.dump(results, file)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return report(results, total, time.monotonic() - began, used.ru_utime + used.ru_stime)


def report(results: list[tuple[str, Result]], total: int, wall: float, cpu: float) -> int:
    failed = [(configuration, result) for configuration, result in results if result.failed]
    by_call: dict[str, Counter[str]] = defaultdict(Counter)
    for _, result in failed:
        by_call[result.case.call][errno.errorcode.get(result.case.error, "-")] += 1
    print(f"{'call':20} failures by errno")
    for call, errnos in sorted(by_call.items()):
        print(f"{call:20} " + ", ".join(f"{name} {n}" for name, n in sorted(errnos.items())))
    for what, which in (("way", lambda c, r: r.case.way), ("configuration", lambda c, r: c)):
        counts = Counter(which(c, r) for c, r in failed)
        print(f"by {what}: " + ", ".join(f"{name} {n}" for name, n in sorted(counts.items())))
    silent = Counter(result.case.call for _, result in failed if not is_loud(result))
    print(
        f"{len(failed) - silent.total()} named in the log or in the refusal; the others cost nothing "
        "and are in no log: " + ", ".join(f"{call} {n}" for call, n in sorted(silent.items()))
    )
    faults = [(configuration, result) for configuration, result in results if result.faults]
    for configuration, result in faults:
        print(f"FAULT  {configuration}: {result.case}: {'; '.join(result.faults)[:300]}")
    print(
        f"{len(failed)} failures of {total} there are, {len(results) - len(failed)} not met again, "
        f"{len(faults)} faults; {wall:.0f} s, {cpu:.0f} s of CPU"
    )
    return 1 if faults else 0


def is_loud(result: Result) -> bool:
    if not result.case.error:  # the end of a lane
        return False
    return is_named(result.case, [result.log, *result.cost])


if __name__ == "__main__":
    sys.exit(main())

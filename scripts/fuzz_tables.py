"""Read files that are almost tables, and show those that are read or refused in another way than with an error of ours.

    python scripts/fuzz_tables.py --cases 100000

Each file of `hostile_tables` is read, and one in five made a table to train on and predicted for, in a child process
of limited memory. A file fails when anything but a `TabcohortError` is raised, its message is more than a line or does
not name the file, another warning than a `TabcohortWarning` is shown, or the child ends or takes too long. The exit
status is 1 if one fails; its number reads it again: `--first NUMBER --cases 1`.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import resource
import select
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

MAX_SECONDS = 60.0  # per file
MORE_MEMORY = 4 * 2**30  # than the child has at its beginning
MAX_MESSAGE = 3_000  # characters; a name may have 1,000
LEAKS = (" object at 0x", "NoneType", "Traceback", "panicked", "PanicException", "::", "Error(")  # of what is inside
CASES_PER_CHILD = 2_000
USED_EVERY = 5  # files, of which one is made a table, which takes five times as long as reading it
FINE, REFUSED = "read", "refused"


@dataclass(frozen=True)
class Outcome:
    """What became of one file.

    Args:
        number, kind: of the file.
        status: `FINE` or `REFUSED`; anything else says what is wrong.
        message: the error.
        seconds: it took.
        mebibytes: the memory that it took at most.
    """

    number: int
    kind: str
    status: str
    message: str = ""
    seconds: float = 0.0
    mebibytes: float = 0.0

    @property
    def is_failure(self) -> bool:
        """Whether the file was neither read nor refused."""
        return self.status not in (FINE, REFUSED)


# -- in the child ----------------------------------------------------------------------------------------------------


def check_file(path: Path, predictor: Any) -> tuple[str, str]:
    """Read a file, and return the status and the error's message.

    Args:
        path: of the file.
        predictor: a model that predicts for it, once it is made a table; None where it is only read.
    """
    from tabcohort import TabcohortError, TabcohortWarning

    with warnings.catch_warnings(record=True) as shown:
        warnings.simplefilter("always")
        try:
            status, message = _use_file(path, predictor)
        except TabcohortError as error:
            status, message = f"{REFUSED} in a place that does not name it", str(error)
        except BaseException as error:
            place = traceback.extract_tb(error.__traceback__)[-1]
            status = f"{type(error).__name__} in {Path(place.filename).name}:{place.lineno}"
            return status, str(error)[:300]
    odd = [warning for warning in shown if not issubclass(warning.category, TabcohortWarning)]
    if odd:
        return f"{odd[0].category.__name__} in {Path(odd[0].filename).name}:{odd[0].lineno}", str(odd[0].message)[:300]
    return status, message


def _use_file(path: Path, predictor: Any) -> tuple[str, str]:
    from tabcohort import TabcohortError, Table
    from tabcohort.data.sources import read_source

    try:
        frame = read_source(path).frame
    except TabcohortError as error:
        return _checked(str(error), repr(str(path))), str(error)
    if predictor is None:
        return FINE, ""
    messages = []
    target = "y" if "y" in frame.columns else next(iter(frame.columns), "y")
    for use in (lambda: Table.from_frame(frame, target), lambda: predictor.predict_frame(frame)):
        try:
            use()
        except TabcohortError as error:
            status = _checked(str(error), "")
            if status != REFUSED:
                return status, str(error)
            messages.append(str(error))
    return (REFUSED, messages[0]) if len(messages) == 2 else (FINE, "")


def _checked(message: str, name: str) -> str:
    """Return `REFUSED`, or what is wrong with an error's message."""
    if name not in message:
        return "the error does not name the file"
    if "\n" in message:
        return "the error is more than a line"
    if len(message) > MAX_MESSAGE:
        return "the error is long"
    return next((f"the error says {leak!r}" for leak in LEAKS if leak in message.replace(name, "")), REFUSED)


def small_predictor(folder: Path) -> Any:
    """Return a model of a number and a category, which is kept in a folder."""
    import numpy as np
    import polars as pl

    from tabcohort import CohortSettings, Config, Table, fit, load, save

    path = folder / "model.tabcohort"
    if not path.exists():
        a = np.random.default_rng(0).normal(size=60).round(3)
        frame = pl.DataFrame({"a": a, "c": ["Rome", "Oslo"] * 30, "y": np.where(a > 0, "yes", "no")})
        save(
            fit(Table.from_frame(frame, "y"), Config(model="trees", max_epochs=3), CohortSettings(folds=3, seeds=1)),
            path,
        )
    return load(path)


def run_child(seed: int, numbers: range, folder: Path) -> None:
    """Read files one after another, and print the number of each before and its outcome afterwards."""
    from hostile_tables import hostile_table

    predictor = small_predictor(folder)
    (folder / "plain.csv").write_text("a,c,y\n1,Rome,no\n2,Oslo,yes\n3,Rome,no\n4,Rome,yes\n")
    check_file(folder / "plain.csv", predictor)  # imports what it needs
    in_use = _status_of_memory("VmSize")
    resource.setrlimit(resource.RLIMIT_AS, (in_use + MORE_MEMORY, in_use + MORE_MEMORY))
    for number in numbers:
        case = hostile_table(seed, number)
        print(json.dumps({"number": number, "kind": case.kind}), flush=True)
        path = folder / f"case.{case.ending}"
        path.write_bytes(case.data)
        Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
        before, began = _status_of_memory("VmRSS"), time.perf_counter()
        status, message = check_file(path, None if number % USED_EVERY else predictor)
        seconds, peak = time.perf_counter() - began, _status_of_memory("VmHWM") - before
        print(json.dumps(asdict(Outcome(number, case.kind, status, message, seconds, peak / 2**20))), flush=True)


def _status_of_memory(name: str) -> int:
    """Return a size of this process in bytes: what Linux says of it."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name + ":"))


# -- in the parent ---------------------------------------------------------------------------------------------------


def outcomes(seed: int, numbers: range, folder: Path) -> Iterator[Outcome]:
    """Yield the outcome of each file; a child that ends or takes too long is one, and another goes on after it."""
    small_predictor(folder)
    while numbers:
        part = numbers[:CASES_PER_CHILD]
        for outcome in _outcomes_of_child(seed, part, folder):
            yield outcome
            numbers = range(outcome.number + 1, numbers.stop)


def _outcomes_of_child(seed: int, numbers: range, folder: Path) -> Iterator[Outcome]:
    command = [sys.executable, __file__, "--child", "--seed", str(seed), "--first", str(numbers.start),
               "--cases", str(len(numbers)), "--folder", str(folder)]  # fmt: skip
    with (folder / "stderr").open("w") as errors, subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=errors, text=True
    ) as child:  # fmt: skip
        assert child.stdout is not None
        last, limit = {"number": numbers.start, "kind": "?"}, 6 * MAX_SECONDS  # it has to import first
        try:
            for _ in range(2 * len(numbers)):
                is_ready, _, _ = select.select([child.stdout], [], [], limit)
                line = child.stdout.readline() if is_ready else ""
                if not line:
                    child.kill()
                    child.wait()
                    said = (folder / "stderr").read_text(errors="replace").strip().splitlines()[-3:]
                    how = f"the child ended ({child.returncode})" if is_ready else f"more than {limit:g} seconds"
                    yield Outcome(last["number"], last["kind"], how, " ".join(said)[:300])
                    return
                limit, last = MAX_SECONDS, json.loads(line)
                if "status" in last:
                    yield Outcome(**last)
        finally:
            child.kill()


def main() -> int:
    """Read the files, show the failures and what was seen, and return the exit status."""
    parser = argparse.ArgumentParser(description="Read files that are almost tables.")
    parser.add_argument("--cases", type=int, default=100_000)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=float("inf"), help="stop after this time")
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    numbers = range(options.first, options.first + options.cases)
    if options.child:
        run_child(options.seed, numbers, options.folder)
        return 0
    with tempfile.TemporaryDirectory() as folder:
        return report(options.seed, numbers, Path(folder), options.seconds)


def report(seed: int, numbers: range, folder: Path, max_seconds: float) -> int:
    """Print each failure once it is seen and a table of all outcomes; return 1 if there is a failure."""
    began, counts, seen = time.perf_counter(), Counter[tuple[str, str]](), Counter[str]()
    slowest = largest = Outcome(-1, "none", FINE)
    with contextlib.closing(outcomes(seed, numbers, folder)) as all_outcomes:
        for outcome in all_outcomes:
            group = "failed" if outcome.is_failure else outcome.status
            counts[outcome.kind, group] += 1
            slowest = max(slowest, outcome, key=lambda own: own.seconds)
            largest = max(largest, outcome, key=lambda own: own.mebibytes)
            if outcome.is_failure:
                seen[f"{outcome.kind}: {outcome.status}"] += 1
                if seen[f"{outcome.kind}: {outcome.status}"] <= 3:
                    print(f"{outcome.number} {outcome.kind}: {outcome.status}: {outcome.message!r}", flush=True)
            if time.perf_counter() - began > max_seconds:
                break
    for kind in sorted({kind for kind, _ in counts}):
        print(f"{kind:24}", ", ".join(f"{counts[kind, group]:,} {group}" for group in (FINE, REFUSED, "failed")))
    seconds = time.perf_counter() - began
    print(f"{sum(counts.values()):,} files in {seconds:.0f} s, {sum(seen.values()):,} failures")
    print(f"longest: {slowest.seconds:.1f} s ({slowest.kind} {slowest.number})")
    print(f"most memory: {largest.mebibytes:.0f} MiB ({largest.kind} {largest.number})")
    for status, count in seen.most_common():
        print(f"  {count:6} {status}")
    return int(bool(seen))


if __name__ == "__main__":
    os.environ.setdefault("POLARS_MAX_THREADS", "2")
    sys.exit(main())

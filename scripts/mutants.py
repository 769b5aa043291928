"""Mutation testing: change the source in one place at a time, and show which changes no test notices.

Run it as `python scripts/mutants.py`, with the beginnings of paths under src/tabcohort to try only those files. It
writes the table and the survivors with their lines to build/mutants.md; the exit status is 1 if a mutant survives that
`scripts/known_survivors.toml` does not explain.

Everything heavy is imported once. Then each mutant is tried in a fork that imports the changed file in place of the one
on the disk, and runs the tests that reach the changed line, the quickest first, until one fails.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import json
import resource
import sys
import tempfile
import threading
import time
import tomllib
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from forked_tests import ROOT, SOURCE, MutatedFile, import_all_but, import_heavy, in_fork, module_name, run_pytest
from mutations import Mutant, mutants_of, sample

KNOWN, RESULTS = ROOT / "scripts" / "known_survivors.toml", ROOT / "build" / "mutants.json"
MAX_SECONDS = 20.0  # CPU time of the tests that a mutant is tried by
EXTRA_SECONDS, MAX_FACTOR = 10.0, 4.0  # how much more than without it they may take
MAX_WAIT = 600.0  # seconds for tests that wait for each other

# The test files, under tests, that reach a file beside the one that mirrors it.
FITS = ("cohort/test_members", "cohort/test_fit")
SELECTS = ("cohort/test_selection", "cohort/test_alternatives")
WIDER: dict[str, tuple[str, ...]] = {
    "training/loop": ("training/test_checkpoint", "training/test_module", "cohort/test_runner"),
    "training/schedule": ("training/test_loop", "engines/test_regularization"),
    "training/member": ("training/test_module", "training/test_boosting", *FITS),
    "training/checkpoint": ("training/test_loop", *FITS),
    "engines/validation": ("training/test_loop", "training/test_member", "training/test_boosting"),
    "engines/batches": ("engines/test_torch_loop", "training/test_member", "training/test_loop"),
    "evaluation/metrics": ("evaluation/test_evaluate", "evaluation/test_intervals", "engines/test_validation"),
    "evaluation/intervals": ("evaluation/test_metrics", "evaluation/test_evaluate", "evaluation/test_calibration"),
    "evaluation/evaluate": ("evaluation/test_metrics", "evaluation/test_compare", "cohort/test_build"),
    "evaluation/calibration": SELECTS,
    "evaluation/prediction_sets": ("evaluation/test_evaluate", "cohort/test_build"),
    "evaluation/decision": ("evaluation/test_evaluate", "cohort/test_build", "model/test_predictor"),
    "evaluation/out_of_fold": ("evaluation/test_calibration", "evaluation/test_decision", *SELECTS),
    "evaluation/compare": ("model/test_comparison",),
    "cohort/selection": ("cohort/test_alternatives", "cohort/test_build", "cohort/test_fit"),
    "cohort/halving": ("cohort/test_runner",),
    "cohort/search": ("cohort/test_presets",),
    "cohort/plan": ("cohort/test_runner", "cohort/test_selection", *FITS),
    "data/splits": ("data/test_splits_in_time", "training/test_member", "cohort/test_plan"),
    "data/groups": ("data/test_table", "data/test_splits"),
}

# Which tests reach which lines


@dataclass(eq=False)  # pytest hashes its plugins
class Reach:
    """What the tests of a file take and reach; a plugin for pytest.

    Args:
        path: of the source file.
        seconds: CPU time of each test, by its id; in the order of the tests.
        lines: of the source file that each test, or fixture, runs.
        fixtures: of each test.
    """

    path: str
    seconds: dict[str, float] = field(default_factory=dict)
    lines: defaultdict[str, set[int]] = field(default_factory=functools.partial(defaultdict, set))
    fixtures: dict[str, list[str]] = field(default_factory=dict)
    _running: list[str] = field(default_factory=list)

    def of_test(self, test: str) -> set[int]:
        """Return the lines that a test reaches; those of its fixtures too, which may have run for another test."""
        return self.lines[test].union(*(self.lines[name] for name in self.fixtures[test]))

    def _trace(self, frame: FrameType, event: str, value: object) -> Any:
        return self._note if frame.f_code.co_filename == self.path else None

    def _note(self, frame: FrameType, event: str, value: object) -> Any:
        for name in self._running[-1:]:
            self.lines[name].add(frame.f_lineno)
        return self._note

    @contextlib.contextmanager
    def _traced(self, name: str) -> Any:
        self._running.append(name)
        sys.settrace(self._trace)
        threading.settrace(self._trace)
        try:
            yield
        finally:
            self._running.pop()
            sys.settrace(self._trace if self._running else None)
            threading.settrace(self._trace if self._running else None)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Any:
        began = time.process_time()
        with self._traced(item.nodeid):
            result = yield
        self.seconds[item.nodeid] = time.process_time() - began
        self.fixtures[item.nodeid] = getattr(item, "fixturenames", [])
        return result

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(self, fixturedef: Any) -> Any:
        with self._traced(fixturedef.argname):
            return (yield)


@dataclass(frozen=True, eq=False)
class Chosen:
    """Runs some of the tests only, in an order; a plugin for pytest.

    Args:
        tests: their ids.
    """

    tests: Sequence[str]

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Keep the tests that are chosen."""
        places = {test: place for place, test in enumerate(self.tests)}
        items[:] = sorted((item for item in items if item.nodeid in places), key=lambda item: places[item.nodeid])


def reach_of(path: Path, files: Sequence[str]) -> Reach:
    """Return which lines of a source file the tests reach.

    Raises:
        SystemExit: a test fails without any mutant.
    """

    with tempfile.NamedTemporaryFile("r") as output:

        def measure() -> tuple[int, Reach]:
            reach = Reach(str(path))
            return run_pytest(files, reach, output.name), reach

        result = in_fork(measure)
        if result is None or result[0] != 0:
            raise SystemExit(f"these tests must pass before there are mutants:\n{output.read()}")
        return result[1]


def tests_of(mutant: Mutant, reach: Reach, files: Sequence[str]) -> list[str]:
    """Return the tests to try a mutant by: the mirrored file's first, of each file the quickest first.

    Where nothing is cached between tests, those that do not reach the statement cannot fail. As helpers of tests do
    keep results, the other tests of the mirrored file come last.
    """
    statement = set(range(mutant.first_line, mutant.last_line + 1))

    def order(test: str) -> tuple[bool, int, float]:
        lines = reach.of_test(test)
        reaches = bool(lines & statement if mutant.is_in_function else lines)
        return not reaches, files.index(test.split("::")[0]), reach.seconds[test]

    chosen, seconds = [], 0.0
    for test in sorted(reach.seconds, key=order):
        others, file, test_seconds = order(test)
        if others and file > 0:
            continue
        seconds += test_seconds
        if chosen and seconds > MAX_SECONDS:
            break
        chosen.append(test)
    return chosen


# Mutants of a file


@dataclass(frozen=True)
class FileResult:
    """What became of the mutants of a file.

    Args:
        n_all: mutants that there are.
        n_tried: of them.
        n_timeouts: of those tried, killed by the clock.
        survivors: the number, the line, and the changed line of each mutant that no test noticed.
        seconds: that it took.
    """

    n_all: int
    n_tried: int
    n_timeouts: int
    survivors: list[tuple[int, str, str]]
    seconds: float


def try_file(name: str, choose: Callable[[bytes, list[Mutant]], list[Mutant]]) -> FileResult:
    """Try mutants of a file; in a process that has imported nothing of the package.

    Args:
        name: of the file, under src/tabcohort, without suffix.
        choose: chooses some of the mutants of the source.
    """
    began = time.monotonic()
    path = SOURCE / f"{name}.py"
    folder, _, stem = name.rpartition("/")
    files = [f"tests/{file}.py" for file in (f"{folder}/test_{stem}", *WIDER.get(name, ()))]
    module, source = module_name(path), path.read_bytes()
    import_all_but(module)
    reach = reach_of(path, files)
    mutants = mutants_of(source)
    tried = choose(source, mutants)
    survivors, n_timeouts = [], 0
    for mutant in tried:
        tests = tests_of(mutant, reach, files)

        def fails(mutant: Mutant = mutant, tests: Sequence[str] = tests) -> bool:
            limit = int(EXTRA_SECONDS + MAX_FACTOR * sum(reach.seconds[test] for test in tests))
            resource.setrlimit(resource.RLIMIT_CPU, (limit, limit))
            sys.meta_path.insert(0, MutatedFile(module, path, mutant.apply(source)))
            in_use = [file for file in files if any(test.split("::")[0] == file for test in tests)]
            return run_pytest(in_use, Chosen(tests)) != 0

        failed = in_fork(fails, MAX_WAIT)
        n_timeouts += failed is None
        if failed is False:
            survivors.append((mutant.first_line, *mutant.lines(source)))
    return FileResult(len(mutants), len(tried), n_timeouts, survivors, time.monotonic() - began)


# The report


def known_survivors() -> dict[tuple[str, str], str]:
    """Return why mutants may survive, by file and changed line."""
    entries = tomllib.loads(KNOWN.read_text(encoding="utf-8"))
    return {(name, line): reason for name, of_file in entries.items() for line, reason in of_file.items()}


def report(results: Mapping[str, FileResult], known: Mapping[tuple[str, str], str]) -> str:
    """Return the table of all files, and the lines of all survivors, as Markdown."""
    lines = ["| file | mutants | tried | killed | survivors | explained |", "|---|---:|---:|---:|---:|---:|"]
    for name, result in results.items():
        n_explained = sum((name, after) in known for _, _, after in result.survivors)
        n_survivors, n_killed = len(result.survivors), result.n_tried - len(result.survivors)
        share = f"{n_killed} ({n_killed / result.n_tried:.0%})"
        lines.append(f"| {name} | {result.n_all} | {result.n_tried} | {share} | {n_survivors} | {n_explained} |")
    for name, result in results.items():
        lines += ["", f"## {name}"] if result.survivors else []
        for number, before, after in result.survivors:
            reason = known.get((name, after), "not explained")
            lines += ["", f"Line {number}, {reason}:", "", "```diff", f"- {before}", f"+ {after}", "```"]
    return "\n".join(lines) + "\n"


def read_results() -> dict[str, FileResult]:
    """Return what became of the mutants of each file when they were last tried."""
    if not RESULTS.exists():
        return {}
    results = json.loads(RESULTS.read_text(encoding="utf-8"))
    return {name: FileResult(**{**values, "survivors": list(map(tuple, values["survivors"]))})
            for name, values in results.items()}  # fmt: skip


def write_results(results: Mapping[str, FileResult], known: Mapping[tuple[str, str], str]) -> None:
    """Write what became of the mutants of each file, for `read_results` and for people."""
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps({name: asdict(result) for name, result in results.items()}), encoding="utf-8")
    in_order = {name: results[name] for name in WIDER if name in results}
    RESULTS.with_suffix(".md").write_text(report(in_order, known), encoding="utf-8")


def options_of(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Return what the command line says."""
    parser = argparse.ArgumentParser(description="Change the source in one place at a time, and run its tests.")
    parser.add_argument("files", nargs="*", metavar="FILE", help="beginnings of paths under src/tabcohort; default all")
    parser.add_argument("--at-most", type=int, default=10**9, metavar="N", help="mutants per file, drawn at random")
    parser.add_argument("--seed", type=int, default=0, help="of the sample (default: 0)")
    parser.add_argument("--again", action="store_true", help="try only those that survived the last time")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Try the mutants of the files that are asked for, and write what became of them."""
    options, known, results = options_of(arguments), known_survivors(), read_results()
    names = [name for name in WIDER if not options.files or name.startswith(tuple(options.files))]
    import_heavy()
    for name in names:
        before = results.get(name) if options.again else None

        def choose(source: bytes, mutants: list[Mutant], before: FileResult | None = before) -> list[Mutant]:
            if before is None:
                return sample(mutants, options.at_most, options.seed)
            survivors = [after for _, _, after in before.survivors]
            return [mutant for mutant in mutants if mutant.lines(source)[1] in survivors]

        if before is not None and not before.survivors:
            continue
        result = in_fork(functools.partial(try_file, name, choose))
        if result is None:
            raise SystemExit(f"the mutants of {name} could not be tried")
        n_killed = result.n_tried - len(result.survivors)
        print(f"{name}: {n_killed} of {result.n_tried} killed, {result.seconds:.0f} s", flush=True)
        results[name] = result if before is None else replace(before, survivors=result.survivors)
        write_results(results, known)
    survivors = [(name, after) for name in names for _, _, after in results[name].survivors]
    return int(any(survivor not in known for survivor in survivors))


if __name__ == "__main__":
    sys.exit(main())

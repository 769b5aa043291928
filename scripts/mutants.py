"""Mutation testing: change the source in one place at a time, and show which changes no test notices.

Run it as `python scripts/mutants.py`, with the beginnings of paths under src/tabcohort to try only those files. It
writes the table and the survivors with their lines to build/mutants.md; the exit status is 1 if a mutant survives that
`scripts/known_survivors.toml` does not explain.

Everything is imported once, and the tests of a file are collected once. Each mutant is then tried in a fork, in which
the functions of the file have the changed code. It runs the tests that reach the changed line, the quickest first,
until one fails.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import json
import resource
import sys
import tempfile
import time
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import pytest
from forked_tests import (
    ROOT,
    SOURCE,
    MutatedFile,
    change_functions,
    functions_of,
    import_heavy,
    in_fork,
    module_name,
    native_threads,
    prepare_to_fork,
    run_pytest,
)
from mutations import Mutant, mutants_of, sample
from reached_lines import Reach

KNOWN, RESULTS = ROOT / "scripts" / "known_survivors.toml", ROOT / "build" / "mutants.json"
MAX_SECONDS = 5.0  # CPU time of the tests that a mutant is tried by
EXTRA_SECONDS, MAX_FACTOR = 10.0, 4.0  # how much more than without it they may take
MAX_WAIT = 600.0  # seconds for tests that wait for each other

# The test files, under tests, that reach a file beside the one that mirrors it.
FITS = ("cohort/test_members", "cohort/test_fit")
SELECTS = ("cohort/test_selection", "cohort/test_alternatives")
WIDER: dict[str, tuple[str, ...]] = {
    "training/loop": ("training/test_checkpoint", "training/test_module", "cohort/test_runner"),
    "training/schedule": ("training/test_loop", "engines/test_regularization"),
    "training/member": ("training/test_streamed_member", "training/test_boosting", "cohort/test_plan", *FITS),
    "training/checkpoint": ("training/test_loop", *FITS),
    "engines/validation": ("training/test_loop", "training/test_member", "training/test_boosting"),
    "engines/batches": (
        "engines/test_windows",
        "engines/test_torch_loop",
        "training/test_member",
        "training/test_loop",
    ),
    "evaluation/metrics": ("evaluation/test_evaluate", "evaluation/test_intervals", "engines/test_validation"),
    "evaluation/intervals": ("evaluation/test_metrics", "evaluation/test_evaluate", "evaluation/test_calibration"),
    "evaluation/evaluate": ("evaluation/test_metrics", "evaluation/test_compare", "cohort/test_build"),
    "evaluation/ranking": ("evaluation/test_metrics", "evaluation/test_evaluate"),
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


# Mutants of a file


@dataclass(frozen=True)
class FileResult:
    """What became of the mutants of a file.

    Args:
        n_all: mutants that there are.
        n_tried: of them.
        n_timeouts: of those tried, killed by the clock, or by a crash.
        survivors: the number, the line, and the changed line of each mutant that no test noticed.
        seconds: that it took.
    """

    n_all: int
    n_tried: int
    n_timeouts: int
    survivors: list[tuple[int, str, str]]
    seconds: float


@dataclass(eq=False)  # pytest hashes its plugins
class File:
    """A source file and its tests.

    Args:
        path: of the source file.
        tests: the test files, that which mirrors the source file first.
        mutants: to try.
        reach: of the tests.
        output: the file that what the tests print is written to.
        obstacle: why no mutant can be tried; empty where they can.
        survived: whether each mutant that was tried did, by its number.
        n_timeouts: how many of the others took too long, or crashed.
    """

    path: Path
    tests: list[str]
    mutants: list[Mutant]
    reach: Reach
    output: str
    obstacle: str = ""
    survived: dict[int, bool] = field(default_factory=dict)
    n_timeouts: int = 0

    def try_functions(self) -> File:
        """Try mutants of functions in forks of one session of pytest, which has imported all there is."""
        run_pytest(self.tests, self, self.output)
        return self

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Measure which lines tests reach, then try mutants; called by pytest when it has collected the tests."""
        functions, source = functions_of(self.path), self.path.read_bytes()
        prepare_to_fork()

        def measure() -> tuple[Reach, str]:
            session.config.pluginmanager.register(self.reach)
            return self.reach, "" if passes(session, session.items) else self.reach.failure

        waiting = f"they wait, or crash; threads that their forks lack: {', '.join(native_threads()) or 'none'}"
        self.reach, self.obstacle = in_fork(measure, MAX_WAIT) or (self.reach, waiting)
        items = {item.nodeid: item for item in session.items}
        for number, mutant in enumerate([] if self.obstacle else self.mutants):
            tests = self.tests_of(mutant)

            def survives(mutant: Mutant = mutant, tests: Sequence[str] = tests) -> bool | None:
                if not change_functions(functions, self.path, mutant.apply(source)):
                    return None
                return passes(session, [items[test] for test in tests])

            if mutant.is_in_function:
                self.note(number, self.in_time(survives, tests))
        return True

    def try_others(self) -> None:
        """Try mutants of what runs when the file is imported, in forks that import all there is."""
        module, source = module_name(self.path), self.path.read_bytes()
        for number, mutant in enumerate(self.mutants):
            tests = self.tests_of(mutant)

            def survives(mutant: Mutant = mutant, tests: Sequence[str] = tests) -> bool:
                sys.meta_path.insert(0, MutatedFile(module, self.path, mutant.apply(source)))
                files = [file for file in self.tests if any(test.split("::")[0] == file for test in tests)]
                return run_pytest(files, Chosen(tests)) == pytest.ExitCode.OK

            if number not in self.survived:
                self.note(number, self.in_time(survives, tests))

    def tests_of(self, mutant: Mutant) -> list[str]:
        """Return the tests to try a mutant by, as many as there is time for."""
        lines = (mutant.first_line, mutant.last_line) if mutant.is_in_function else (0, 0)
        tests = self.reach.order(*lines, self.tests[0])
        seconds = itertools.accumulate(self.reach.seconds[test] for test in tests)
        return [test for test, total in zip(tests, seconds, strict=True) if total < MAX_SECONDS or test == tests[0]]

    def in_time(self, survives: Callable[[], bool | None], tests: Sequence[str]) -> tuple[bool | None] | None:
        """Return what a function returns in a fork, as a tuple; None if it takes much longer than the tests do."""
        limit = int(EXTRA_SECONDS + MAX_FACTOR * sum(self.reach.seconds[test] for test in tests))

        def limited() -> tuple[bool | None]:
            resource.setrlimit(resource.RLIMIT_CPU, (limit, limit))
            return (survives(),)

        return in_fork(limited, MAX_WAIT)

    def note(self, number: int, outcome: tuple[bool | None] | None) -> None:
        """Note whether a mutant survived; None within the tuple is one that is still to be tried."""
        self.n_timeouts += outcome is None
        if outcome is None or outcome[0] is not None:
            self.survived[number] = outcome is not None and bool(outcome[0])


def passes(session: pytest.Session, items: Sequence[pytest.Item]) -> bool:
    """Run tests of a session until one fails, and return whether none does."""
    for item, next_item in zip(items, [*items[1:], None], strict=True):
        item.ihook.pytest_runtest_protocol(item=item, nextitem=next_item)
        if session.testsfailed:
            return False
    return True


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


def try_file(name: str, wider: Sequence[str], choose: Callable[[bytes, list[Mutant]], list[Mutant]]) -> FileResult:
    """Try mutants of a file; in a process that has imported nothing of the package.

    Args:
        name: of the file, under src/tabcohort, without suffix.
        wider: test files, under tests, that are run beside the one that mirrors it.
        choose: chooses some of the mutants of the source.

    Raises:
        SystemExit: a test fails without any mutant.
    """
    began = time.monotonic()
    path = SOURCE / f"{name}.py"
    folder, _, stem = name.rpartition("/")
    tests = [f"tests/{file}.py" for file in (f"{folder}/test_{stem}", *wider)]
    source = path.read_bytes()
    mutants = mutants_of(source)
    tried = choose(source, mutants)
    with tempfile.NamedTemporaryFile("r", suffix=".txt") as output:
        file = in_fork(File(path, tests, tried, Reach(str(path)), output.name).try_functions)
        if file is None or file.obstacle or not file.reach.seconds:
            reason = output.read() if file is None or not file.obstacle else file.obstacle
            raise SystemExit(f"these tests must pass before there are mutants: {' '.join(tests)}\n{reason}")
    file.try_others()
    survivors = [(tried[i].first_line, *tried[i].lines(source)) for i in sorted(file.survived) if file.survived[i]]
    return FileResult(len(mutants), len(tried), file.n_timeouts, survivors, time.monotonic() - began)


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
    parser.add_argument("--mirrored", action="store_true", help="run only the test file that mirrors the source file")
    parser.add_argument("--again", action="store_true", help="try only those that survived the last time")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Try the mutants of the files that are asked for, and write what became of them."""
    options, known, results = options_of(arguments), known_survivors(), read_results()
    names = [name for beginning in options.files or [""] for name in WIDER if name.startswith(beginning)]
    import_heavy()
    for name in names:
        before = results.get(name) if options.again else None

        def choose(source: bytes, mutants: list[Mutant], before: FileResult | None = before) -> list[Mutant]:
            if before is None:
                return sample(mutants, options.at_most, options.seed)
            survivors = [lines for _, *lines in before.survivors]
            return [mutant for mutant in mutants if [*mutant.lines(source)] in survivors]

        if before is not None and not before.survivors:
            continue
        result = in_fork(functools.partial(try_file, name, () if options.mirrored else WIDER[name], choose))
        if result is None:
            raise SystemExit(f"the mutants of {name} could not be tried")
        n_killed = result.n_tried - len(result.survivors)
        print(f"{name}: {n_killed} of {result.n_tried} killed, {result.seconds:.0f} s", flush=True)
        result = result if before is None else replace(before, survivors=result.survivors)
        results = {**read_results(), name: result}  # another process may have written some meanwhile
        write_results(results, known)
    survivors = [(name, after) for name in names for _, _, after in results[name].survivors]
    return int(any(survivor not in known for survivor in survivors))


if __name__ == "__main__":
    sys.exit(main())

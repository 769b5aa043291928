"""Which lines of a source file each test reaches, so that a change of a line is tried by the tests that reach it."""

from __future__ import annotations

import contextlib
import functools
import sys
import threading
import time
from collections import defaultdict
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

import pytest


@dataclass(eq=False)  # pytest hashes its plugins
class Reach:
    """What the tests of a file take and reach; a plugin for pytest.

    Args:
        path: of the source file.
        seconds: CPU time of each test, by its id; in the order of the tests.
        lines: of the source file that each test, or fixture, runs.
        fixtures: of each test.
        failure: what pytest says of the last test that failed.
    """

    path: str
    seconds: dict[str, float] = field(default_factory=dict)
    lines: defaultdict[str, set[int]] = field(default_factory=functools.partial(defaultdict, set))
    fixtures: dict[str, list[str]] = field(default_factory=dict)
    failure: str = ""
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

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep why a test failed."""
        if report.failed:
            self.failure = f"{report.nodeid}\n{report.longreprtext}"

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(self, fixturedef: Any) -> Any:
        with self._traced(fixturedef.argname):
            return (yield)

    def order(self, first_line: int, last_line: int, mirrored: str) -> list[str]:
        """Return the tests in the order in which they are most likely to notice a change soon.

        First come those of the mirrored file, of each file the quickest. Where nothing is kept between tests, those
        that do not reach a line cannot notice its change; as helpers do keep results, the others of the mirrored file
        come last.

        Args:
            first_line, last_line: that are changed; 0 for what runs when the file is imported.
            mirrored: the test file that mirrors the source file.
        """
        changed = set(range(first_line, last_line + 1))

        def rank(test: str) -> tuple[bool, bool, str, float]:
            file, lines = test.split("::")[0], self.of_test(test)
            reaches = bool(lines & changed if first_line else lines)
            return not reaches, file != mirrored, file, self.seconds[test]

        ranks = {test: rank(test) for test in self.seconds}
        return sorted((test for test in ranks if not (ranks[test][0] and ranks[test][1])), key=ranks.__getitem__)

"""A forked process gives the bits of the process it came from, or says at once what it cannot do; it never hangs."""

from __future__ import annotations

import multiprocessing
import os
import re
import signal
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from helpers import fit_quickly, make_rows

from tabcohort import Predictor, TableError, read_frame
from tabcohort.data import forked

X = make_rows()[0]
NAMES = ("x0", "x1", "x2")
SECONDS = 120  # after which a child that hangs is ended

pytestmark = [
    pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="only Linux lists the threads of a process"),
    pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning"),  # of Python 3.12
]


@pytest.fixture(autouse=True)
def polars_has_threads() -> None:
    """Let polars start its threads, as reading any table does."""
    pl.Series([" text"]).str.strip_chars()


def in_fork(function: Callable[..., Any], *arguments: Any) -> Any:
    """Return what a function returns in a forked process; raise what it raises there."""
    context = multiprocessing.get_context("fork")
    with ProcessPoolExecutor(1, context, initializer=signal.alarm, initargs=(SECONDS,)) as pool:
        return pool.submit(function, *arguments).result()


def as_text(X: Any) -> dict[str, list[str]]:
    """Return rows as columns of text."""
    return {name: [str(cell) for cell in column] for name, column in zip(NAMES, X.T, strict=True)}


def train_and_predict() -> Any:
    """Return the probabilities of a classifier that was just trained."""
    return fit_quickly().predict_proba(X)


def refuse_twice(function: Callable[..., Any], *arguments: Any) -> None:
    """Check that a process forked from this one, which is a forked one itself, refuses as well."""
    pid = os.fork()
    if pid == 0:
        try:
            function(*arguments)
        except TableError:
            os._exit(0)
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    function(*arguments)


def test_a_forked_process_predicts_and_trains_with_the_same_bits(predictor: Predictor) -> None:
    np.testing.assert_array_equal(in_fork(predictor.predict_proba, X), predictor.predict_proba(X))
    record = dict(zip(NAMES, X[0].tolist(), strict=True))
    assert in_fork(predictor.predict_row, record) == predictor.predict_row(record)
    np.testing.assert_array_equal(in_fork(train_and_predict), train_and_predict())


@pytest.mark.parametrize("what", ["file", "cells of text", "frame", "a fork of a fork"])
def test_what_polars_would_wait_for_is_refused_at_once(what: str, predictor: Predictor, csv_file: Path) -> None:
    message = (
        "^a process that is forked after a table was read can use arrays of numbers only, and no files, frames or "
        r"cells of text; start it by multiprocessing.get_context\('spawn'\) or joblib's backend 'loky' instead$"
    )
    work = {
        "file": (read_frame, csv_file),
        "cells of text": (predictor.predict_proba, as_text(X)),
        "frame": (predictor.predict_frame, pl.DataFrame(X, schema=NAMES)),
        "a fork of a fork": (refuse_twice, read_frame, csv_file),
    }
    with pytest.raises(TableError, match=message):
        in_fork(*work[what])
    read_frame(csv_file)  # here it goes on


def test_threads_that_never_were_are_not_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a server, whose processes are forked before any of them reads a table."""
    for number, name in enumerate(("python", "polars-ooc-clean")):
        (tmp_path / str(number)).mkdir()
        (tmp_path / str(number) / "comm").write_text(f"{name}\n")
    monkeypatch.setattr(forked, "_THREADS", tmp_path)
    assert not in_fork(are_lost)
    (tmp_path / "0" / "comm").write_text("polars-0\n")
    assert in_fork(are_lost)


def are_lost() -> bool:
    """Return whether polars lost its threads in this process."""
    try:
        forked.require_polars_threads()
    except TableError as error:
        return bool(re.match("a process that is forked", str(error)))
    return False

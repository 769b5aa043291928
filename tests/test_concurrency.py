"""Answers in many threads and in other processes have the bits of one thread alone; repeated work leaves nothing."""

from __future__ import annotations

import gc
import multiprocessing
import threading
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import fit_quickly, make_rows, make_small_table
from joblib import Parallel, delayed
from sklearn.model_selection import GridSearchCV, cross_val_score

from tabcohort import CohortClassifier, Predictor

X, CODES = make_rows(n_rows=240)
N_THREADS = 8
FOLDERS_OF_LINUX = pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="this system does not list them")


def classifier() -> CohortClassifier:
    """Return a classifier of three networks that trains for three epochs."""
    return CohortClassifier(folds=3, seeds=1, max_epochs=3, hidden=(8,))


def answers(predictor: Predictor) -> tuple[bytes, str, list[Any]]:
    """Return the probabilities of rows, the answer to a record, and the predictions of cells of text."""
    record = dict(zip(predictor.schema.features, X[0].tolist(), strict=True))
    text = {name: [str(cell) for cell in column] for name, column in zip(predictor.schema.features, X.T, strict=True)}
    return predictor.predict_proba(X).tobytes(), repr(predictor.predict_row(record)), predictor.predict(text).tolist()


def test_eight_threads_at_once_get_the_bits_of_one(predictor: Predictor) -> None:
    expected, start = answers(predictor), threading.Barrier(N_THREADS)

    def answer_again_and_again() -> list[Any]:
        start.wait()
        return [answers(predictor) for _ in range(5)]

    with ThreadPoolExecutor(N_THREADS) as pool:
        futures = [pool.submit(answer_again_and_again) for _ in range(N_THREADS)]
        assert all(future.result() == [expected] * 5 for future in futures)


def test_trainings_in_threads_at_once_have_the_bits_of_one() -> None:
    expected = fit_quickly().predict_proba(X)
    with ThreadPoolExecutor(4) as pool:
        for trained in pool.map(fit_quickly, [make_small_table() for _ in range(4)]):
            np.testing.assert_array_equal(trained.predict_proba(X), expected)


def test_a_spawned_process_predicts_with_the_same_bits(predictor: Predictor) -> None:
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        there = pool.submit(Predictor.predict_proba, predictor, X).result()
    np.testing.assert_array_equal(there, predictor.predict_proba(X))


@pytest.mark.parametrize("backend", ["loky", "threading"])
def test_joblib_predicts_with_the_same_bits(backend: str, predictor: Predictor) -> None:
    parts = Parallel(n_jobs=2, backend=backend)(
        delayed(Predictor.predict_proba)(predictor, rows) for rows in np.array_split(X, 4)
    )
    np.testing.assert_array_equal(np.concatenate(parts), predictor.predict_proba(X))


def test_two_jobs_of_scikit_learn_score_as_one_does() -> None:
    y = np.array(["no", "yes"])[CODES]
    one, two = (cross_val_score(classifier(), X, y, cv=2, n_jobs=jobs, error_score="raise") for jobs in (1, 2))
    np.testing.assert_array_equal(one, two)
    grids = [
        GridSearchCV(classifier(), {"learning_rate": [0.01, 0.1]}, cv=2, n_jobs=jobs, error_score="raise").fit(X, y)
        for jobs in (1, 2)
    ]
    for name in ("mean_test_score", "params"):
        np.testing.assert_array_equal(*(grid.cv_results_[name] for grid in grids))
    np.testing.assert_array_equal(*(grid.predict_proba(X) for grid in grids))


@FOLDERS_OF_LINUX
def test_repeated_trainings_and_predictions_leave_no_memory_threads_or_files() -> None:
    """`make leaks` repeats them far more often."""
    table = make_small_table()

    def work(n_fits: int, n_predictions: int) -> tuple[int, int, int]:
        for _ in range(n_fits):
            predictor = fit_quickly(table)
        record = dict(zip(predictor.schema.features, X[0].tolist(), strict=True))
        for _ in range(n_predictions):
            predictor.predict_row(record)
            predictor.predict_proba(X[:10])
        gc.collect()
        return resident_bytes(), threading.active_count(), len(list(Path("/proc/self/fd").iterdir()))

    before, after = work(5, 300), work(10, 1_000)
    assert after[0] <= before[0] * 1.02
    assert after[1:] == before[1:]


def resident_bytes() -> int:
    """Return the memory that this process holds."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmRSS"))
    return 1024 * int(line.split()[1])

"""What explanations cost, how exact they are, and whether they add up.

    TABCOHORT_DATA=FOLDER python benchmarks/explanations.py [time|exact|many|sums]

`time`: one explanation of a record of 30 columns, in seconds, and in CPU seconds, which say more where others compute.
`exact`: sampled contributions beside all coalitions, on tables of ten columns. `many`: the budget for rows,
on 1,000 rows of magic_gamma. `sums`: whether contributions add up, on 2,000 rows of each of five tables.
"""

from __future__ import annotations

import functools
import sys
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import polars as pl
from real_tables import whole_tables

import tabcohort
from tabcohort import CohortSettings, Config, Explanation, ExplanationBudget, Predictor, Table
from tabcohort.cohort.presets import preset_cohort
from tabcohort.data.inputs import table_inputs

SUMS = ("magic_gamma", "adult", "titanic", "vehicle", "soybean")
EXACT = ("magic_gamma", "titanic", "stroke")  # of ten columns, for which `explain` draws permutations
MAX_ROWS = 3_000  # that a model is trained on, where its size does not matter


def seconds_of(work: Callable[[], Any]) -> tuple[float, float, Any]:
    """Return how long a piece of work takes, in seconds and CPU seconds, and what it returns."""
    began, cpu = time.perf_counter(), time.process_time()
    result = work()
    return time.perf_counter() - began, time.process_time() - cpu, result


def cancer(preset: str | None) -> tuple[Predictor, pl.DataFrame]:
    """Return a model of the breast-cancer sample and its table."""
    sample = tabcohort.load_sample("breast-cancer")
    table = Table.from_frame(sample.frame, sample.target, positive=sample.positive)
    if preset is None:
        return tabcohort.fit(table, Config(model="logistic")), sample.frame
    return tabcohort.fit(table, *preset_cohort(table, Config(), CohortSettings(preset=preset))), sample.frame


def measure_time() -> None:
    """Print what one explanation costs."""
    for preset in ("default", None):
        predictor, frame = cancer(preset)
        explain_row(predictor, frame, 0)  # compiles
        taken = [seconds_of(functools.partial(explain_row, predictor, frame, row)) for row in range(0, 569, 29)]
        wall, cpu, found = zip(*taken, strict=True)
        error = max(own.errors.max() / np.abs(own.contributions).max() for own in found)
        print(
            f"{preset or 'logistic'}: median {np.median(wall):.3f} s, longest {max(wall):.3f} s; CPU median "
            f"{np.median(cpu):.3f} s, longest {max(cpu):.3f} s; rounds {sorted(own.n_rounds for own in found)}, "
            f"converged {np.mean([own.is_converged for own in found]):.0%}, largest standard error {error:.4f} of the "
            "largest contribution"
        )
        taken = [seconds_of(work) for work in prepared_explanations(predictor, frame, range(0, 569, 29))]
        seconds = [wall for wall, _, _ in taken]
        print(f"  background rows prepared once: median {np.median(seconds):.4f} s, longest {max(seconds):.4f} s")


def prepared_explanations(
    predictor: Predictor, frame: pl.DataFrame, rows: Iterable[int]
) -> Iterator[Callable[[], Any]]:
    """Yield what explains each row, as a server does that keeps its explainer."""
    explainer, X = predictor.explainer(frame), table_inputs(frame, predictor.schema.columns)
    for row in rows:
        cells = [[frame[name][row]] for name in predictor.schema.features]
        yield functools.partial(explainer.explain_rows, X[row : row + 1], cells)


def explain_row(
    predictor: Predictor, frame: pl.DataFrame, row: int, budget: ExplanationBudget | None = None
) -> Explanation:
    """Return the explanation of a row beside the rows of its table."""
    return predictor.explain(frame[row : row + 1], frame, budget=budget)


def small_model(name: str) -> tuple[Predictor, pl.DataFrame]:
    """Return a model of some rows of a real table, by the default preset, and these rows."""
    real = next(own for own in whole_tables() if own.name == name)
    frame = real.frame.drop(real.drop, strict=False)
    frame = frame.sample(min(MAX_ROWS, len(frame)), seed=0, shuffle=True)
    types = dict.fromkeys(real.categories, "category")
    table = Table.from_frame(frame, real.target, positive=real.positive, types=types)
    return tabcohort.fit(table), frame


def measure_exactness() -> None:
    """Print how far sampled contributions are from those of all coalitions."""
    for name in EXACT:
        predictor, frame = small_model(name)
        for tolerance in (0.01, 0.005):
            off, units = [], []
            for row in range(0, 120, 20):
                sampled = explain_row(predictor, frame, row, ExplanationBudget(tolerance=tolerance))
                exact = explain_row(predictor, frame, row, ExplanationBudget(max_rounds=400))
                assert exact.n_rounds == 0 < sampled.n_rounds, f"{name} cannot be compared"
                moved = np.abs(sampled.contributions - exact.contributions)
                off.append(moved.max() / np.abs(exact.contributions).max())
                matters = sampled.errors > 0.1 * sampled.errors.max()
                units += (moved[matters] / sampled.errors[matters]).tolist()
            print(
                f"{name}, {len(predictor.schema.columns)} columns, tolerance {tolerance}: largest error "
                f"{max(off):.4f}, median {np.median(off):.4f} of the largest contribution; "
                f"within 3 standard errors: {np.mean(np.array(units) < 3):.1%}"
            )


def measure_many() -> None:
    """Print what 1,000 rows cost."""
    predictor, frame = small_model("magic_gamma")
    predictor.explain_rows(frame[:5], frame)
    wall, cpu, found = seconds_of(lambda: predictor.explain_rows(frame[:1000], frame))
    print(
        f"magic_gamma: {wall:.1f} s for {len(found):,} rows, CPU {cpu:.1f} s, {len(predictor.models)} members; rounds "
        f"{np.mean([own.n_rounds for own in found]):.1f}, converged {np.mean([own.is_converged for own in found]):.0%}"
    )


def measure_sums() -> None:
    """Print how far sums are from what the model says."""
    for name in SUMS:
        predictor, frame = small_model(name)
        rows = frame[np.random.default_rng(0).integers(0, len(frame), 2_000)]
        found = predictor.explain_rows(rows, frame, budget=ExplanationBudget(6, 1.0, 2))
        log_proba, positive = predictor.log_proba(rows), predictor.schema.positive
        scores = log_proba - log_proba.mean(axis=1, keepdims=True)
        if positive is not None and log_proba.shape[1] == 2:
            scores = log_proba[:, [positive]] - log_proba[:, [1 - positive]]
        sums = np.array([own.base + own.contributions.sum(axis=0) for own in found])
        off = np.abs(sums - scores).max()
        print(f"{name}: {len(found):,} rows, {log_proba.shape[1]} classes, furthest from the model's output {off:.1e}")


MEASURES = {"time": measure_time, "exact": measure_exactness, "many": measure_many, "sums": measure_sums}

if __name__ == "__main__":
    warnings.simplefilter("ignore")
    for measure in sys.argv[1:] or MEASURES:
        MEASURES[measure]()

"""Permutation importance: on rows that a network was tested on, of a column with all of its inputs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from helpers import SINGLE, SMALL, make_rows

from tabcohort import CohortSettings, Config, Predictor, Table, fit
from tabcohort.evaluation.calibration import Calibrator
from tabcohort.evaluation.intervals import Z95, mean_estimate, standard_error_of_mean
from tabcohort.model.importance import (
    TestedRows,
    _fold_ensemble,
    _losses,
    _variance_between_folds,
    importance_estimates,
    permutation_importances,
    sample_tested_rows,
)


def mixed_table(n_rows: int = 120, **more: Any) -> Table:
    """Return a table whose "word" says most of the class, "x" something and "noise" nothing."""
    X, codes = make_rows(n_rows)
    words = np.where(codes == 1, "a", "b").astype(object)
    words[::5] = None
    noise = np.random.default_rng(1).normal(size=n_rows)
    answer = np.array(["no", "yes"])[codes]
    return Table.from_frame({"x": X[:, 0] / 2, "word": words, "noise": noise, "answer": answer, **more}, "answer")


def fitted(table: Table, settings: CohortSettings = SMALL, **changes: Any) -> Predictor:
    return fit(table, Config(hidden=(8,), max_epochs=30, learning_rate=0.02, **changes), settings)


def test_columns_are_ranked_by_what_they_say() -> None:
    table = mixed_table()
    predictor = fitted(table)
    importances = permutation_importances(predictor, sample_tested_rows(predictor, table))
    assert list(importances) == ["x", "word", "noise"]
    assert importances["word"] > importances["x"] > 0.02
    assert abs(importances["noise"]) < 0.02


def test_each_row_is_predicted_by_the_networks_that_were_tested_on_it() -> None:
    """Without a permutation and a calibrator, the loss is then that which the report has of the config."""
    table = mixed_table()
    predictor = fitted(table)
    tested = sample_tested_rows(predictor, table)
    losses = np.empty(len(tested.y))
    for fold in range(3):
        networks = _fold_ensemble(predictor, fold)
        assert networks is not None
        rows = np.flatnonzero(tested.fold == fold)
        uncalibrated = replace(networks, calibrator=Calibrator("none", 1.0, np.zeros(2)))
        losses[rows] = _losses(uncalibrated, tested.X[rows], tested.y[rows])
    assert losses.mean() == pytest.approx(predictor.report.configs[0].log_loss.value, rel=1e-9)


@pytest.mark.parametrize("settings", [SINGLE, CohortSettings(folds=3, seeds=2)])
def test_a_single_network_and_several_seeds_have_importances(settings: CohortSettings) -> None:
    table = mixed_table()
    predictor = fitted(table, settings)
    tested = sample_tested_rows(predictor, table)
    assert set(tested.fold) == set(range(predictor.report.n_folds))
    importances = permutation_importances(predictor, tested)
    assert importances["word"] > max(importances["noise"], 0.02)


def test_the_sample_is_small_and_the_same_each_time() -> None:
    table = mixed_table()
    predictor = fitted(table)
    one, same = (sample_tested_rows(predictor, table, max_rows=40) for _ in range(2))
    assert len(one.y) == len(one.X) == len(one.weight) == len(one.fold) == 40
    assert one.X.tobytes() == same.X.tobytes()
    assert permutation_importances(predictor, one) == permutation_importances(predictor, same)


def test_a_fold_without_networks_is_left_out() -> None:
    """As after Ctrl-C: some members have no weights."""
    table = mixed_table()
    predictor = fitted(table)
    tested = sample_tested_rows(predictor, table)
    some = Predictor(
        predictor.models[:2], predictor.members[:2], predictor.schema, predictor.calibrator, predictor.decision_rule,
        predictor.out_of_fold, predictor.report,
    )  # fmt: skip
    kept = tested.fold < 2
    alone = TestedRows(tested.X[kept], tested.y[kept], tested.weight[kept], tested.fold[kept], tested.rows[kept])
    assert permutation_importances(some, tested) == permutation_importances(some, alone)


def test_a_row_of_weight_two_counts_like_two() -> None:
    table = mixed_table()
    predictor = fitted(table)
    tested = sample_tested_rows(predictor, table)
    double = permutation_importances(predictor, replace(tested, weight=2 * tested.weight))
    assert double == pytest.approx(permutation_importances(predictor, tested))


def test_estimates_are_the_same_figures_with_intervals_that_groups_widen() -> None:
    table = mixed_table()
    predictor = fitted(table)
    tested = sample_tested_rows(predictor, table)
    single = importance_estimates(predictor, tested, [[0], [1], [2]])
    assert [own.value for own in single] == pytest.approx(list(permutation_importances(predictor, tested).values()))
    assert single[1].low > 0
    assert single[2].low < 0 < single[2].high
    grouped = importance_estimates(predictor, tested, [[0], [1], [2]], np.arange(len(tested.y)) // 10)
    assert all(own.low <= alone.low for own, alone in zip(grouped, single, strict=True))


def test_folds_in_time_are_those_of_training_although_the_table_is_read_again_without_times() -> None:
    frame = {
        "x": make_rows(120)[0][:, 0],
        "when": np.arange(120.0),
        "answer": np.array(["no", "yes"])[make_rows(120)[1]],
    }
    table = Table.from_frame(frame, "answer", time="when")
    predictor = fitted(table, CohortSettings(folds=3, seeds=1))
    with_times = sample_tested_rows(predictor, table)
    again = sample_tested_rows(predictor, replace(table, time=None))
    assert table.time is not None
    folds, expected = (dict(zip(own.rows.tolist(), own.fold.tolist(), strict=True)) for own in (again, with_times))
    assert folds == expected
    other = replace(predictor.report, n_folds=4)
    unknown = Predictor(
        predictor.models, predictor.members, predictor.schema, predictor.calibrator, predictor.decision_rule,
        predictor.out_of_fold, other,
    )  # fmt: skip
    nothing = sample_tested_rows(unknown, replace(table, time=None))
    assert len(nothing.rows) == 0
    assert all(np.isnan(value) for value in permutation_importances(unknown, nothing).values())


def test_the_variance_between_folds_is_that_of_dersimonian_and_laird() -> None:
    """Of three folds of four rows of equal variances, it is the variance of their means less that of one mean."""
    rows = np.array([-1.0, 1.0, -2.0, 2.0])
    increases, n = np.concatenate([rows, rows + 3, rows + 6]), np.ones(12)
    folds = [np.arange(start, start + 4) for start in (0, 4, 8)]
    of_one_mean = standard_error_of_mean(rows, np.ones(4)) ** 2
    between = np.var([0.0, 3.0, 6.0], ddof=1) - of_one_mean
    assert _variance_between_folds(increases, n, np.arange(12), folds) == pytest.approx(between / 3)
    assert _variance_between_folds(np.tile(rows, 3), n, np.arange(12), folds) == 0
    assert _variance_between_folds(increases, n, np.arange(12), folds[:1]) == 0
    assert _variance_between_folds(np.zeros(12), n, np.arange(12), folds) == 0


def test_intervals_are_wider_where_folds_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    table = mixed_table()
    predictor = fitted(table)
    tested = sample_tested_rows(predictor, table)
    increases = np.random.default_rng(0).normal(size=(2, len(tested.y)))
    increases[1] += 3 * tested.fold
    monkeypatch.setattr("tabcohort.model.importance.loss_increases", lambda *_: increases)
    folds = [np.flatnonzero(tested.fold == fold) for fold in range(3)]
    extra = [Z95**2 * _variance_between_folds(own, tested.weight, np.arange(len(own)), folds) for own in increases]
    assert extra[1] > 3
    for own, estimate, more in zip(increases, importance_estimates(predictor, tested, [[0], [1]]), extra, strict=True):
        alone = mean_estimate(own, tested.weight)
        assert estimate.value == alone.value
        half_width = np.sqrt((alone.high - alone.value) ** 2 + more)
        assert estimate.high - estimate.value == pytest.approx(half_width)
        assert estimate.value - estimate.low == pytest.approx(half_width)

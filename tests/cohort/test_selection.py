"""Ensembles: the configs that are best together, and what is reported of rows that did not choose them."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from helpers import SMALL, config_of, table_of, train_alone
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, logsumexp
from streamed_tables import labelled_frame, streamed

from tabcohort.cohort import selection
from tabcohort.cohort.plan import CohortPlan, make_plan
from tabcohort.cohort.runner import RunResult, run
from tabcohort.cohort.selection import (
    Ensemble,
    at_rows,
    choose_best,
    choose_ensemble,
    cross_fit,
    greedy_weights,
    mean_log_proba,
    out_of_fold,
    select_and_calibrate,
)
from tabcohort.data.table import Table
from tabcohort.evaluation.calibration import NONE, fit_calibrator
from tabcohort.evaluation.metrics import safe_log
from tabcohort.evaluation.out_of_fold import OutOfFoldPredictions
from tabcohort.randomness import Purpose, make_rng
from tabcohort.settings import CohortSettings
from tabcohort.types import FloatArray, IntArray

FEW = hypothesis_settings(max_examples=40, deadline=None)


def candidates_of(
    sharpness: Sequence[float], n_rows: int = 240, n_classes: int = 2, seed: int = 0
) -> list[OutOfFoldPredictions]:
    """Return predictions of configs that see the class of a row this sharply, each with a noise of its own."""
    rng = np.random.default_rng(seed)
    y = rng.integers(n_classes, size=n_rows)
    logits = [sharp * np.eye(n_classes)[y] + rng.normal(0, 1, (n_rows, n_classes)) for sharp in sharpness]
    weight = rng.uniform(0.5, 2.0, n_rows)
    return candidates_from(log_softmax(np.array(logits), axis=2), y, weight, rng.integers(5, size=n_rows))


def candidates_from(
    log_proba: FloatArray, y: IntArray, weight: FloatArray, fold_ids: IntArray
) -> list[OutOfFoldPredictions]:
    """Return the predictions of configs, `(n_configs, n_rows, n_classes)`, for the same rows."""
    rows = np.arange(len(y))
    return [OutOfFoldPredictions(rows, own, y, weight, fold_ids, rows) for own in log_proba]


def with_fold_ids(candidates: list[OutOfFoldPredictions], fold_ids: IntArray) -> list[OutOfFoldPredictions]:
    return [replace(candidate, fold_ids=fold_ids) for candidate in candidates]


def at(candidates: list[OutOfFoldPredictions], positions: IntArray) -> list[OutOfFoldPredictions]:
    return [candidate.take(positions) for candidate in candidates]


def loss_of(candidates: list[OutOfFoldPredictions], weights: FloatArray) -> float:
    """Return the log loss of a weighted mean of probabilities."""
    y = candidates[0].y
    mean = np.tensordot(weights, np.exp([candidate.log_proba for candidate in candidates]), 1)
    return float(np.average(-np.log(mean[np.arange(len(y)), y]), weights=candidates[0].weight))


def greedy_by_hand(candidates: list[OutOfFoldPredictions], rows: IntArray) -> FloatArray:
    """Return the weights of Caruana's selection on some rows: a list of configs, cut where its loss was lowest."""
    proba = np.exp(-np.array([candidate.losses()[rows] for candidate in candidates]))
    chosen: list[int] = []
    losses = []
    for _ in range(selection.N_ROUNDS):
        means = [proba[[*chosen, config]].mean(axis=0) for config in range(len(candidates))]
        of_configs = [-np.log(mean) @ candidates[0].weight[rows] for mean in means]
        chosen.append(int(np.argmin(of_configs)))
        losses.append(min(of_configs))
    n_best = 1 + int(np.argmin(losses))
    return np.bincount(chosen[:n_best], minlength=len(candidates)) / n_best


# Means


@given(st.integers(1, 4), st.integers(1, 5), st.integers(2, 4), st.integers(0, 99))
@FEW
def test_the_mean_is_that_of_the_probabilities(n_configs: int, n_rows: int, n_classes: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    log_proba = log_softmax(rng.normal(0, 5, (n_configs, n_rows, n_classes)), axis=2)
    weights = rng.dirichlet(np.ones(n_configs))
    expected = logsumexp(log_proba, axis=0, b=weights[:, None, None])
    zeros = np.zeros(n_rows, dtype=np.int64)
    candidates = candidates_from(log_proba, zeros, np.ones(n_rows), zeros)
    np.testing.assert_allclose(mean_log_proba(candidates, weights), expected, rtol=1e-9, atol=1e-12)


def test_a_config_without_weight_is_not_read_and_nothing_is_quite_impossible() -> None:
    log_proba = np.array([[[0.0, -2000.0]], [[np.nan, np.nan]]])
    zeros = np.zeros(1, dtype=np.int64)
    mean = mean_log_proba(candidates_from(log_proba, zeros, np.ones(1), zeros), np.array([1.0, 0.0]))
    np.testing.assert_array_equal(mean, np.log([[1.0, np.finfo(np.float64).tiny]]))


def test_losses_are_those_of_each_rows_class_and_some_of_the_rows_keep_theirs() -> None:
    candidates = candidates_of([1.0, 2.0], n_rows=30, n_classes=3)
    rows = np.array([7, 3, 20])
    for candidate, some in zip(candidates, at(candidates, rows), strict=True):
        np.testing.assert_array_equal(some.losses(), candidate.losses()[rows])
        for i, row in enumerate(rows):
            assert some.losses()[i] == -candidate.log_proba[row, candidate.y[row]]
            assert (some.weight[i], some.fold_ids[i]) == (candidate.weight[row], candidate.fold_ids[row])


# Weights


@pytest.mark.parametrize("place", [0, 1, 2])
def test_the_only_good_config_is_taken_alone(place: int) -> None:
    candidates = candidates_of([0.0, 0.0, 0.0])
    good = np.log(np.where(np.eye(2)[candidates[0].y] == 1, 0.99, 0.01))
    candidates[place] = replace(candidates[place], log_proba=good)
    assert greedy_weights(candidates)[place] == 1


def test_two_configs_that_are_right_about_different_rows_are_better_than_either() -> None:
    candidates = candidates_of([0.0, 0.0, 0.0], n_rows=400)
    knows = np.arange(400) % 2
    for config in (0, 1):
        proba = np.where(np.eye(2)[candidates[0].y] == 1, 0.95, 0.05)
        own = np.log(np.where((knows == config)[:, None], proba, 0.5))
        candidates[config] = replace(candidates[config], log_proba=own)
    candidates[2] = replace(candidates[2], log_proba=np.full((400, 2), np.log(0.5)))
    weights = greedy_weights(candidates)
    np.testing.assert_allclose(weights, [0.5, 0.5, 0.0], atol=0.11)
    alone = [loss_of(candidates, only) for only in np.eye(3)]
    assert loss_of(candidates, weights) < min(alone) - 0.02


@given(st.lists(st.floats(0, 3), min_size=1, max_size=6), st.integers(2, 3), st.integers(0, 999))
@FEW
def test_weights_sum_to_one_and_lose_no_more_than_the_best_config(
    sharpness: list[float], n_classes: int, seed: int
) -> None:
    candidates = candidates_of(sharpness, 60, n_classes, seed)
    weights = greedy_weights(candidates, n_bags=1)
    for own in (weights, greedy_weights(candidates)):
        assert own.sum() == pytest.approx(1.0, abs=1e-12)
        assert own.min() >= 0
    best = min(loss_of(candidates, only) for only in np.eye(len(sharpness)))
    assert loss_of(candidates, weights) <= best + 1e-12


@given(st.floats(0, 3), st.floats(0, 3), st.integers(0, 999))
@FEW
def test_of_two_configs_the_weights_are_nearly_the_best_there_are(one: float, other: float, seed: int) -> None:
    candidates = candidates_of([one, other], 80, seed=seed)

    def loss(share: float) -> float:
        return loss_of(candidates, np.array([share, 1 - share]))

    best = minimize_scalar(loss, bounds=(0, 1), method="bounded")
    assert loss_of(candidates, greedy_weights(candidates, n_bags=1)) <= best.fun + 2e-3


def test_the_weights_are_those_of_the_best_round_and_not_of_the_last() -> None:
    """Of five rows, one config is right about three and the other about two: two thirds and one third are best."""
    y, is_right = np.zeros(5, dtype=np.int64), np.arange(5) < 3
    proba = np.where(np.stack([is_right, ~is_right]), 0.8, 0.2)
    candidates = candidates_from(np.log(np.stack([proba, 1 - proba], axis=2)), y, np.ones(5), y)
    np.testing.assert_allclose(greedy_weights(candidates, n_bags=1), [2 / 3, 1 / 3], rtol=1e-12)


@pytest.mark.parametrize("n_bags", [1, 2, 5])
@pytest.mark.parametrize("n_rounds", [1, 4, 40])
def test_weights_are_the_mean_of_what_samples_of_groups_choose_without_small_ones(
    n_bags: int, n_rounds: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(selection, "N_ROUNDS", n_rounds)
    monkeypatch.setattr(selection, "MIN_WEIGHT", 0.0)
    groups, rng = np.arange(60) // 2, make_rng(0, Purpose.BAGS)
    candidates = [replace(own, group_ids=groups) for own in candidates_of([1.0, 1.3, 0.9, 1.2], 60)]
    samples = [rng.integers(30, size=30) for _ in range(n_bags)] if n_bags > 1 else [np.arange(30)]
    rows = [np.concatenate([np.flatnonzero(groups == group) for group in sample]) for sample in samples]
    expected = np.mean([greedy_by_hand(candidates, own) for own in rows], axis=0)
    np.testing.assert_allclose(greedy_weights(candidates, n_bags), expected, rtol=1e-12)
    if n_bags > 1:
        for least in np.unique(expected[expected > 0]):  # a weight that is as small as may be is kept
            monkeypatch.setattr(selection, "MIN_WEIGHT", least)
            kept = np.where(expected >= least, expected, 0.0)
            np.testing.assert_allclose(greedy_weights(candidates, n_bags), kept / kept.sum(), rtol=1e-12)
        monkeypatch.setattr(selection, "MIN_WEIGHT", 1.1)  # all are small, and so none is left out
        np.testing.assert_allclose(greedy_weights(candidates, n_bags), expected, rtol=1e-12)


def test_the_best_config_is_that_of_the_lowest_weighted_loss_and_is_calibrated_alone() -> None:
    candidates = candidates_of([1.0, 3.0, 2.0])
    every = np.arange(240)
    best = choose_best(candidates, every)
    assert best.weights.tolist() == [0.0, 1.0, 0.0]
    assert repr(best.calibrator) == repr(fit_calibrator(candidates[1]))
    only_third = np.where(candidates[2].losses() < candidates[1].losses(), 1.0, 0.0)  # rows that the third knows better
    weighted = [replace(candidate, weight=only_third) for candidate in candidates]
    assert choose_best(weighted, every).weights[1] == 0


def test_weights_of_bootstrap_samples_depend_less_on_which_rows_there_are() -> None:
    candidates = candidates_of([1.0, 1.1, 1.2, 0.9], n_rows=2_000)
    samples = [at(candidates, np.arange(100 * i, 100 * i + 100)) for i in range(20)]
    weights = {n_bags: np.array([greedy_weights(own, n_bags) for own in samples]) for n_bags in (1, 20)}
    spread = {n_bags: own.std(axis=0).mean() for n_bags, own in weights.items()}
    assert spread[20] < 0.95 * spread[1]
    assert not ((weights[20] > 0) & (weights[20] < selection.MIN_WEIGHT)).any()


def test_few_rows_have_twenty_samples_many_have_fewer_and_the_most_none(monkeypatch: pytest.MonkeyPatch) -> None:
    candidates = candidates_of([1.0, 1.2, 0.8], n_rows=60)
    np.testing.assert_array_equal(greedy_weights(candidates), greedy_weights(candidates, 20))
    monkeypatch.setattr(selection, "ROWS_OF_BAGS", 60 * 3 + 59)
    np.testing.assert_array_equal(greedy_weights(candidates), greedy_weights(candidates, 3))
    monkeypatch.setattr(selection, "ROWS_OF_BAGS", 60 + 59)
    np.testing.assert_array_equal(greedy_weights(candidates), greedy_weights(candidates, 1))


def test_weights_depend_on_row_weights_as_on_repeated_rows() -> None:
    candidates = candidates_of([1.0, 1.2, 0.8], n_rows=50)
    times = np.random.default_rng(1).integers(1, 4, 50)
    weighted = [replace(candidate, weight=times.astype(np.float64)) for candidate in candidates]
    n_rows = int(times.sum())
    repeated = [
        replace(candidate, weight=np.ones(n_rows)) for candidate in at(candidates, np.repeat(np.arange(50), times))
    ]
    np.testing.assert_array_equal(greedy_weights(weighted), greedy_weights(repeated))
    plain = [replace(candidate, weight=np.ones(50)) for candidate in candidates]
    assert (greedy_weights(weighted) != greedy_weights(plain)).any()


@pytest.mark.parametrize("y", [np.arange(1_000) % 2, np.arange(1_000) // 500], ids=["by turns", "sorted"])
def test_the_sample_that_chooses_is_of_both_classes_in_whatever_order_the_rows_are(
    y: IntArray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(selection, "MAX_ROWS", 500)
    always_first = np.log(np.tile([0.99, 0.01], (1_000, 1)))  # as good as can be on half of the rows
    fair = np.log(np.where(np.eye(2)[y] == 1, 0.7, 0.3))
    candidates = candidates_from(np.stack([always_first, fair]), y, np.ones(1_000), np.arange(1_000) % 5)
    assert greedy_weights(candidates)[1] > 0.9


def test_a_single_config_has_the_whole_weight() -> None:
    np.testing.assert_array_equal(greedy_weights(candidates_of([1.0])), [1.0])


def test_all_rows_of_predictions_are_these_predictions_and_some_have_what_these_rows_have() -> None:
    own = candidates_of([1.0], n_rows=30)[0].take(np.array([3, 5, 8]))
    assert at_rows(own, own.rows) is own
    some = at_rows(own, np.array([5]))
    assert (some.rows.tolist(), some.y.tolist()) == ([5], [own.y[1]])


# Cross-fitting


@pytest.mark.parametrize("n_classes", [2, 3])
def test_predictions_for_a_fold_do_not_depend_on_its_own_labels(n_classes: int) -> None:
    candidates = candidates_of([0.3, 3.0, 0.5, 2.0], 300, n_classes)
    first = candidates[0]
    before, uncalibrated = cross_fit(candidates)
    rng = np.random.default_rng(1)
    for number in range(5):
        inside = first.fold_ids == number
        y = np.where(inside, rng.permutation(first.y), first.y)
        weight = np.where(inside, rng.permutation(first.weight), first.weight)
        after, also_uncalibrated = cross_fit([replace(candidate, y=y, weight=weight) for candidate in candidates])
        np.testing.assert_array_equal(after[inside], before[inside])
        np.testing.assert_array_equal(also_uncalibrated[inside], uncalibrated[inside])
        assert (after[~inside] != before[~inside]).any()


def test_each_fold_is_predicted_by_the_ensemble_that_the_others_chose() -> None:
    candidates = candidates_of([1.0, 0.5], 200)
    cross_fitted, uncalibrated = cross_fit(candidates)
    for number in range(5):
        fold_ids = candidates[0].fold_ids
        others, rows = np.flatnonzero(fold_ids != number), np.flatnonzero(fold_ids == number)
        ensemble = choose_ensemble(at(candidates, others))
        mean = mean_log_proba(at(candidates, rows), ensemble.weights)
        np.testing.assert_array_equal(uncalibrated[rows], mean)
        np.testing.assert_array_equal(cross_fitted[rows], ensemble.calibrator.apply(mean))


@pytest.mark.parametrize("choose", [choose_ensemble, choose_best])
def test_what_is_chosen_on_some_rows_is_what_these_rows_alone_would_choose(
    choose: Callable[[Sequence[OutOfFoldPredictions], IntArray], Ensemble],
) -> None:
    candidates = candidates_of([1.0, 0.5, 4.0], 200, 3)
    some = np.flatnonzero(candidates[0].fold_ids != 2)
    own, alone = choose(candidates, some), choose(at(candidates, some), np.arange(len(some)))
    assert (own.weights.tolist(), repr(own.calibrator)) == (alone.weights.tolist(), repr(alone.calibrator))


@pytest.mark.parametrize(("n_folds", "n_bytes"), [(1, 14), (5, 30)])
def test_cross_fitting_keeps_few_copies_of_the_predictions(
    n_folds: int, n_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tabcohort.evaluation.metrics.CELLS_AT_ONCE", 1_000)
    monkeypatch.setattr("tabcohort.evaluation.calibration.MAX_ROWS", 100)
    candidates = with_fold_ids(candidates_of([1.0] * 4, 5_000, 40), np.arange(5_000) % n_folds)
    tracemalloc.start()
    cross_fit(candidates)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < n_bytes * 5_000 * 40  # the four candidates themselves have 32 bytes for each row and class


def test_the_ensemble_is_calibrated_on_its_own_mean() -> None:
    candidates = candidates_of([4.0, 4.0], n_classes=3)
    ensemble = choose_ensemble(candidates)
    mean = mean_log_proba(candidates, ensemble.weights)
    assert ensemble.calibrator.method != NONE
    y, weight = candidates[0].y, candidates[0].weight
    losses = [
        -np.average(values[np.arange(len(y)), y], weights=weight) for values in (ensemble.calibrator.apply(mean), mean)
    ]
    assert losses[0] < losses[1]


def test_rows_of_one_fold_choose_nothing_and_all_configs_have_the_same_weight() -> None:
    candidates = with_fold_ids(candidates_of([0.0, 5.0, 0.0]), np.full(240, 4))
    ensemble = choose_ensemble(candidates)
    np.testing.assert_array_equal(ensemble.weights, np.full(3, 1 / 3))
    assert ensemble.calibrator.method == NONE
    expected = mean_log_proba(candidates, ensemble.weights)
    np.testing.assert_allclose(cross_fit(candidates)[0], expected, rtol=1e-12)


def test_of_two_folds_neither_chooses_for_the_other_what_it_cannot_check() -> None:
    candidates = with_fold_ids(candidates_of([0.0, 5.0, 0.0]), np.arange(240) % 2)
    expected = mean_log_proba(candidates, np.full(3, 1 / 3))
    np.testing.assert_allclose(cross_fit(candidates)[0], expected, rtol=1e-12)
    assert choose_ensemble(candidates).weights[1] > 0.9


# From a run's result to the selection


@pytest.fixture(scope="module")
def plan() -> CohortPlan:
    """Two configs, three folds and two seeds."""
    configs = [config_of(max_epochs=4), config_of(max_epochs=4, model="logistic")]
    return make_plan(table_of(), configs, CohortSettings(folds=3, seeds=2))


@pytest.fixture(scope="module")
def result(plan: CohortPlan) -> RunResult:
    """What the run of the plan left."""
    return run(plan)


def test_a_configs_predictions_are_the_mean_over_repeats_of_what_its_members_say_of_their_test_rows(
    plan: CohortPlan, result: RunResult
) -> None:
    predictions = out_of_fold(plan, result)
    assert list(predictions) == [0, 1]
    for config, own in predictions.items():
        total = np.zeros((120, 2))
        for member in plan.members:
            if member.config == config:
                total[plan.split(member).test] += train_alone(plan, member).test_proba
        np.testing.assert_array_equal(own.log_proba, safe_log(total / 2))
        assert own.rows.tolist() == own.group_ids.tolist() == list(range(120))
        np.testing.assert_array_equal(own.y, plan.table.y)
        np.testing.assert_array_equal(own.fold_ids, plan.splitters[0].fold_ids())


def test_predictions_have_the_groups_of_their_rows_without_gaps() -> None:
    X, y = table_of().X, table_of().y
    table = Table.from_arrays(X, y, group_ids=7 + 2 * (np.arange(120) // 4))
    plan = make_plan(table, config_of(max_epochs=1), SMALL)
    result = run(plan)
    assert out_of_fold(plan, result)[0].group_ids.tolist() == (np.arange(120) // 4).tolist()
    first = replace(result, members=dict(list(result.members.items())[:1]))  # the run ended after one member
    own = out_of_fold(plan, first)[0]
    assert np.unique(own.group_ids).tolist() == list(range(len(np.unique(own.group_ids))))
    assert len(np.unique(own.group_ids)) == len(own.rows) // 4


def test_copies_of_a_row_are_of_one_group() -> None:
    copies = np.tile(np.arange(40), 3)
    table = Table.from_arrays(table_of(40).X[copies], np.tile(table_of(40).y, 3))
    plan = make_plan(table, config_of(max_epochs=1), SMALL)
    groups = out_of_fold(plan, run(plan))[0].group_ids
    np.testing.assert_array_equal(groups[:, None] == groups, copies[:, None] == copies)


def test_of_a_table_in_a_store_only_the_rows_that_are_tested_are_read_to_find_copies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    frame = labelled_frame(30).select("count", "target")
    frame, rows = pl.concat([frame, frame]), np.array([0, 3, 30, 33, 7])
    n_read, find = [], selection.dependent_groups

    def counted(table: Table) -> IntArray | None:
        n_read.append(len(table.y))
        return find(table)

    monkeypatch.setattr(selection, "dependent_groups", counted)
    for table in (streamed(frame, tmp_path), Table.from_frame(frame, "target")):
        groups = selection._groups_of(table, rows)
        assert groups is not None
        np.testing.assert_array_equal(groups[:, None] == groups, rows[:, None] % 30 == rows % 30)
    assert n_read == [5, 60]


def test_the_selection_is_of_the_configs_by_their_numbers(plan: CohortPlan, result: RunResult) -> None:
    predictions = out_of_fold(plan, result)
    selected = select_and_calibrate(plan, result, predictions)
    ensemble = choose_ensemble(list(predictions.values()))
    assert selected.weights == dict(enumerate(ensemble.weights.tolist()))
    assert repr(selected.calibrator) == repr(ensemble.calibrator)
    cross_fitted, uncalibrated = cross_fit(list(predictions.values()))
    np.testing.assert_array_equal(selected.predictions.log_proba, cross_fitted)
    np.testing.assert_array_equal(selected.uncalibrated, uncalibrated)


def test_configs_without_weights_or_rows_or_that_failed_are_not_selected(plan: CohortPlan, result: RunResult) -> None:
    predictions = out_of_fold(plan, result)
    failed = replace(result, failed={0: "the loss stopped being finite"})
    assert list(select_and_calibrate(plan, failed, predictions).weights) == [1]
    members = {
        member: replace(trained, model=None) if member.config == 1 else trained
        for member, trained in result.members.items()
    }
    assert list(select_and_calibrate(plan, replace(result, members=members), predictions).weights) == [0]
    part = {**predictions, 0: predictions[0].take(np.arange(60))}
    assert list(select_and_calibrate(plan, result, part).weights) == [1]


def test_configs_are_compared_on_the_rows_that_all_of_them_have(plan: CohortPlan, result: RunResult) -> None:
    predictions = out_of_fold(plan, result)
    part = {0: predictions[0].take(np.arange(100)), 1: predictions[1].take(np.arange(20, 120))}
    selected = select_and_calibrate(plan, result, part)
    assert selected.predictions.rows.tolist() == list(range(20, 100))
    common = [own.take(np.flatnonzero((own.rows >= 20) & (own.rows < 100))) for own in part.values()]
    np.testing.assert_array_equal(selected.predictions.log_proba, cross_fit(common)[0])


def test_what_is_chosen_weighs_classes_as_the_networks_did_and_what_is_reported_does_not() -> None:
    table = table_of(240)
    configs = [config_of(max_epochs=4, class_weight={0: 1.0, 1: 20.0}, hidden=(width,)) for width in (4, 8)]
    plan = make_plan(table, configs, SMALL)
    result = run(plan)
    predictions = out_of_fold(plan, result)
    selected = select_and_calibrate(plan, result, predictions)
    factor = np.where(table.y == 1, 20.0, 1.0)
    ensemble = choose_ensemble([replace(own, weight=factor) for own in predictions.values()])
    assert repr(selected.calibrator) == repr(ensemble.calibrator)
    assert list(selected.weights.values()) == ensemble.weights.tolist()
    np.testing.assert_array_equal(selected.predictions.weight, np.ones(240))

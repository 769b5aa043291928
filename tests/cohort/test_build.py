"""The model that is built of a run's result: its networks, its decision rule, and what its report says."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from helpers import SMALL, config_of, noisy_rows, table_of

from tabcohort.cohort.build import build_predictor
from tabcohort.cohort.fit import fit
from tabcohort.cohort.plan import CohortPlan, make_plan
from tabcohort.cohort.runner import RunResult, run
from tabcohort.cohort.selection import Selection, out_of_fold, select_and_calibrate
from tabcohort.data.table import Table
from tabcohort.evaluation.calibration import no_calibrator
from tabcohort.evaluation.decision import choose_decision_rule
from tabcohort.evaluation.evaluate import evaluate_out_of_fold, evaluate_sets_out_of_fold
from tabcohort.evaluation.intervals import UNKNOWN, Z95, mean_estimate, standard_error_of_mean, wilson
from tabcohort.evaluation.metrics import calibration_error, log_loss
from tabcohort.model.predictor import Predictor
from tabcohort.settings import CohortSettings


@pytest.fixture(scope="module")
def plan() -> CohortPlan:
    """Three configs and three folds."""
    configs = [config_of(max_epochs=4), config_of(max_epochs=6, model="logistic"), config_of(max_epochs=5, hidden=(4,))]
    return make_plan(table_of(), configs, replace(SMALL, threshold="f1", coverage=0.8))


@pytest.fixture(scope="module")
def result(plan: CohortPlan) -> RunResult:
    """What the run of the plan left."""
    return run(plan)


def build(plan: CohortPlan, result: RunResult, weights: dict[int, float] | None = None) -> Predictor:
    """Return the model; `weights` replace those of the selection."""
    predictions = out_of_fold(plan, result)
    selected = select_and_calibrate(plan, result, predictions)
    selected = replace(selected, weights=selected.weights if weights is None else weights)
    return build_predictor(plan, result, predictions, selected)


def test_the_networks_are_those_of_configs_with_weight_in_the_order_of_the_members(
    plan: CohortPlan, result: RunResult
) -> None:
    predictor = build(plan, result, {0: 0.25, 1: 0.0, 2: 0.75})
    assert predictor.members == (0, 1, 2, 6, 7, 8)
    for number, network in zip(predictor.members, predictor.models, strict=True):
        assert network is result.members[plan.members[number]].model
    assert [report.weight for report in predictor.report.configs] == [0.25, 0.0, 0.75]
    assert len(predictor.report.members) == 9
    np.testing.assert_allclose(predictor.weights, [0.25 / 3] * 3 + [0.25] * 3)


def test_the_decision_rule_is_that_of_the_settings(plan: CohortPlan, result: RunResult) -> None:
    predictor = build(plan, result)
    expected = choose_decision_rule(predictor.out_of_fold, 1, "f1", 0.8)
    assert repr(predictor.decision_rule) == repr(expected)
    assert expected.threshold is not None
    report = predictor.report
    assert repr(report.evaluation) == repr(evaluate_out_of_fold(predictor.out_of_fold, expected, 1, 0))
    assert report.sets == evaluate_sets_out_of_fold(predictor.out_of_fold, 0.8)


def test_the_model_keeps_its_out_of_fold_predictions_in_single_precision(plan: CohortPlan, result: RunResult) -> None:
    predictions = out_of_fold(plan, result)
    selected = select_and_calibrate(plan, result, predictions)
    kept = build_predictor(plan, result, predictions, selected).out_of_fold
    assert kept.log_proba.dtype == np.float32
    np.testing.assert_array_equal(kept.log_proba, selected.predictions.log_proba.astype(np.float32))


def test_calibration_is_reported_before_and_after(plan: CohortPlan, result: RunResult) -> None:
    predictions = out_of_fold(plan, result)
    chosen = select_and_calibrate(plan, result, predictions)
    rng = np.random.default_rng(0)
    uncalibrated = np.log(rng.dirichlet(np.ones(2), 120))
    selected = Selection(chosen.weights, no_calibrator(2), chosen.predictions, uncalibrated)
    report = build_predictor(plan, result, predictions, selected).report.calibration
    y, weight, after = plan.table.y, plan.table.weight, chosen.predictions.log_proba
    assert (report.log_loss_before, report.log_loss_after) == (
        log_loss(uncalibrated, y, weight), log_loss(after, y, weight)
    )  # fmt: skip
    assert (report.ece_before, report.ece_after) == (
        calibration_error(uncalibrated, y, weight), calibration_error(after, y, weight)
    )  # fmt: skip


def test_the_report_says_what_was_planned_and_what_happened(plan: CohortPlan, result: RunResult) -> None:
    ended = replace(result, stop_reason="budget", seconds=12.5, seconds_saved=3.25)
    report = build(plan, ended).report
    assert (report.n_rows, report.n_folds, report.n_seeds) == (120, 3, 1)
    assert (report.engine, report.device) == ("compiled", "cpu")
    assert (report.stop_reason, report.fit_seconds, report.seconds_saved) == ("budget", 12.5, 3.25)
    assert report.fingerprint == plan.table.fingerprint()
    for member, reported in zip(plan.members, report.members, strict=True):
        split, state = plan.split(member), result.members[member].state
        assert (reported.config, reported.repeat, reported.fold) == (member.config, member.repeat, member.fold)
        assert (reported.n_train, reported.n_validation, reported.n_test) == (
            len(split.train), len(split.validation), len(split.test)
        )  # fmt: skip
        assert (reported.best_epoch, reported.stop_reason, reported.history) == (
            state.best_epoch, state.stop_reason, state.history
        )  # fmt: skip


def test_the_gap_of_a_config_is_to_the_best_one_of_the_ensemble(plan: CohortPlan, result: RunResult) -> None:
    predictions = out_of_fold(plan, result)
    reports = build(plan, result, {0: 0.5, 2: 0.5}).report.configs
    losses = [predictions[config].losses() for config in range(3)]
    best = 0 if losses[0].mean() < losses[2].mean() else 2
    for config, report in enumerate(reports):
        assert report.log_loss == mean_estimate(losses[config], np.ones(120))
        assert report.log_loss_gap == mean_estimate(losses[config] - losses[best], np.ones(120))
        assert (report.config, report.n_rows) == (plan.configs[config], 120)
    assert reports[best].log_loss_gap.value == 0


def test_the_gap_of_a_config_with_some_rows_only_is_measured_on_these(plan: CohortPlan, result: RunResult) -> None:
    members = dict(list(result.members.items())[:7])  # one of the last config's
    part = replace(result, members=members)
    predictions = out_of_fold(plan, part)
    report = build(plan, part, {0: 1.0, 1: 0.0}).report.configs[2]
    rows = predictions[2].rows
    assert report.n_rows == len(rows) == 40
    gap = predictions[2].losses() - predictions[0].losses()[rows]
    assert report.log_loss_gap == mean_estimate(gap, np.ones(40))


def test_configs_that_were_dropped_that_failed_or_had_no_turn_are_reported(plan: CohortPlan, result: RunResult) -> None:
    first = {member: trained for member, trained in result.members.items() if member.config < 2}
    ended = replace(result, members=first, dropped={1: 5}, failed={2: "the loss stopped being finite"})
    reports = build(plan, ended, {0: 1.0}).report.configs
    assert [report.dropped_after for report in reports] == [None, 5, None]
    assert [report.failed for report in reports] == [None, None, "the loss stopped being finite"]
    assert (reports[2].n_rows, reports[2].metrics, reports[2].weight) == (0, {}, 0.0)
    assert repr((reports[2].log_loss, reports[2].log_loss_gap)) == repr((UNKNOWN, UNKNOWN))
    untried = build(plan, replace(ended, failed={}), {0: 1.0}).report.configs[2]
    assert (untried.n_rows, untried.failed) == (0, None)
    assert math.isnan(untried.log_loss.value)


# Rows that may be alike


def test_intervals_are_as_wide_as_groups_demand() -> None:
    X, y = noisy_rows(40)
    patient = np.arange(240) % 40  # each patient six times, nearly the same
    X = X[patient] + np.random.default_rng(0).normal(0, 1e-3, (240, X.shape[1]))
    table = Table.from_arrays(X, y[patient], group_ids=patient)
    predictor = fit(table, config_of(model="logistic", max_epochs=30), SMALL)
    report, predictions = predictor.report, predictor.out_of_fold
    assert (report.evaluation.n_rows, report.evaluation.n_groups) == (240, 40)
    np.testing.assert_array_equal(predictions.group_ids, patient)
    accuracy = report.evaluation.metrics["accuracy"]
    low, high = wilson(240 * accuracy.value, 240)
    assert accuracy.high - accuracy.low > 1.8 * (high - low)
    losses = -predictions.log_proba[np.arange(240), predictions.y].astype(np.float64)
    half_width = Z95 * standard_error_of_mean(losses, np.ones(240), patient)
    assert half_width > 1.8 * Z95 * standard_error_of_mean(losses, np.ones(240))
    assert predictor.calibrator.method == "none"
    estimate = report.configs[0].log_loss
    assert (estimate.value, estimate.high) == (pytest.approx(losses.mean()), pytest.approx(losses.mean() + half_width))


def test_equal_rows_without_groups_count_as_rows_of_their_own() -> None:
    """Where columns have few values, rows are equal by chance: they say as much as any others."""
    X, y = noisy_rows(240)
    report = fit(Table.from_arrays((X > 0).astype(float), y), config_of(max_epochs=2), SMALL).report
    assert (report.evaluation.n_rows, report.evaluation.n_groups) == (240, 240)


@pytest.mark.parametrize("changes", [{"threshold": 0.3}, {"coverage": 0.7}, {}], ids=str)
def test_settings_of_the_decision_reach_the_model(changes: dict[str, Any]) -> None:
    predictor = fit(table_of(), config_of(max_epochs=2), CohortSettings(folds=3, seeds=1, **changes))
    assert predictor.decision_rule.threshold == changes.get("threshold")
    assert predictor.decision_rule.coverage == changes.get("coverage", 0.9)


def test_class_weights_touch_no_reported_figure() -> None:
    """Balanced weights train and validate; what is reported counts each test row once."""
    X, y = noisy_rows(200)
    keep = np.concatenate([np.flatnonzero(y == 0), np.flatnonzero(y == 1)[:20]])
    table = Table.from_arrays(X[keep], y[keep])
    plain, balanced = (fit(table, config_of(class_weight=weight), SMALL) for weight in (None, "balanced"))
    assert not np.array_equal(plain.out_of_fold.log_proba, balanced.out_of_fold.log_proba)
    rows, report = balanced.out_of_fold, balanced.report
    assert (rows.weight == 1).all()
    assert report.evaluation.confusion.sum(axis=1).tolist() == np.bincount(table.y).tolist()
    proba = np.exp(rows.log_proba.astype(np.float64))
    y_pred, values = proba.argmax(axis=1), {name: own.value for name, own in report.evaluation.metrics.items()}
    assert values["accuracy"] == pytest.approx(np.mean(y_pred == rows.y))
    assert values["sensitivity"] == pytest.approx(y_pred[rows.y == 1].mean())
    assert values["log_loss"] == pytest.approx(-np.log(proba[np.arange(len(rows.y)), rows.y]).mean(), rel=1e-6)
    assert report.configs[0].n_rows == len(rows.y)
    assert [member.n_test for member in report.members] == [member.n_test for member in plain.report.members]

"""From a table to a trained model: real runs of the whole path, small ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import SINGLE, SMALL, assert_same, config_of, noisy_rows, table_of, train_alone

from tabcohort.cohort.fit import fit
from tabcohort.cohort.plan import make_plan
from tabcohort.cohort.progress import RunProgress
from tabcohort.cohort.selection import cross_fit, mean_log_proba
from tabcohort.data.splits import train_validation_test_split
from tabcohort.data.table import Table
from tabcohort.engines.compiled.engine import CompiledEngine
from tabcohort.engines.compiled.inference import Inference
from tabcohort.errors import TabcohortWarning, TrainingError
from tabcohort.evaluation.evaluate import evaluate
from tabcohort.evaluation.metrics import log_loss, log_probabilities
from tabcohort.evaluation.out_of_fold import OutOfFoldPredictions
from tabcohort.model.file import load, save
from tabcohort.settings import CohortSettings
from tabcohort.types import FloatArray, IntArray


def predictions_of(table: Table, log_proba: FloatArray, fold_ids: IntArray) -> OutOfFoldPredictions:
    """Return predictions for all rows of a table without groups."""
    rows = np.arange(len(table.y))
    return OutOfFoldPredictions(rows, log_proba, table.y, table.weight, fold_ids, rows)


# Which rows do what


def test_no_row_that_trains_or_validates_is_tested() -> None:
    table, config = table_of(200), config_of()
    plan = make_plan(table, config, SMALL)
    predictor = fit(table, config, SMALL)
    log_proba, fold_ids = np.empty((200, 2)), np.empty(200, dtype=np.int64)
    for member, network, report in zip(plan.members, predictor.models, predictor.report.members, strict=True):
        split = plan.split(member)
        assert not set(split.test) & {*split.train, *split.validation}
        assert (report.n_train, report.n_validation, report.n_test) == (
            len(split.train), len(split.validation), len(split.test)
        )  # fmt: skip
        log_proba[split.test] = log_probabilities(Inference([network]).logits(table.X[split.test])[:, 0])
        fold_ids[split.test] = member.fold
    expected, _ = cross_fit([predictions_of(table, log_proba, fold_ids)])
    np.testing.assert_array_equal(predictor.out_of_fold.log_proba, expected.astype(np.float32))
    np.testing.assert_array_equal(predictor.out_of_fold.fold_ids, fold_ids)


def test_the_test_rows_of_a_single_split_measure_a_single_network() -> None:
    table = table_of(200)
    predictor = fit(table, config_of(), SINGLE)
    split = train_validation_test_split(table, predictor.config)
    np.testing.assert_array_equal(predictor.out_of_fold.rows, np.sort(split.test))
    (report,) = predictor.report.members
    assert (report.n_train, report.n_validation, report.n_test) == (
        len(split.train), len(split.validation), len(split.test)
    )  # fmt: skip
    rows, fold_ids = predictor.out_of_fold.rows, predictor.out_of_fold.fold_ids
    own = log_probabilities(predictor.member_logits(table.X[rows])[:, 0])
    predictions = OutOfFoldPredictions(rows, own, table.y[rows], table.weight[rows], fold_ids, np.arange(len(rows)))
    expected, _ = cross_fit([predictions])
    np.testing.assert_array_equal(predictor.out_of_fold.log_proba, expected.astype(np.float32))
    assert len(np.unique(fold_ids)) == 5


def test_every_row_is_tested_once_by_every_seed_and_the_report_is_of_that() -> None:
    table, settings = table_of(90), CohortSettings(folds=3, seeds=2)
    predictor = fit(table, config_of(max_epochs=2), settings)
    plan = make_plan(table, config_of(max_epochs=2), settings)
    for repeat in range(2):
        tested = [plan.split(member).test for member in plan.members if member.repeat == repeat]
        assert np.sort(np.concatenate(tested)).tolist() == list(range(90))
    predictions = predictor.out_of_fold
    assert predictions.rows.tolist() == list(range(90))
    np.testing.assert_array_equal(predictions.y, table.y)
    log_proba = predictions.log_proba.astype(np.float64)
    expected = evaluate(log_proba, predictions.y, predictions.weight, 1, predictor.config.seed)
    assert predictor.report.evaluation.metrics == expected.metrics
    assert (predictor.report.evaluation.n_rows, predictor.report.n_rows) == (90, 90)
    assert [(member.repeat, member.fold) for member in predictor.report.members] == [
        (repeat, fold) for repeat in range(2) for fold in range(3)
    ]
    folds = [
        [set(plan.split(member).test) for member in plan.members if member.repeat == repeat] for repeat in range(2)
    ]
    assert not any(one == other for one in folds[0] for other in folds[1])  # each seed has its own folds


def test_labels_of_pure_noise_are_predicted_no_better_than_by_chance() -> None:
    """Networks that can learn their training rows by heart say nothing of rows that they never saw."""
    rng = np.random.default_rng(5)
    X, y = rng.normal(size=(2400, 20)), rng.permutation(np.arange(2400) % 2)
    config = config_of(hidden=(32,), max_epochs=15, batch_size=64)
    predictor = fit(Table.from_arrays(X, y), config, SMALL)
    metrics = predictor.report.evaluation.metrics
    assert metrics["accuracy"].value == pytest.approx(0.5, abs=0.03)
    assert metrics["roc_auc"].value == pytest.approx(0.5, abs=0.03)
    assert metrics["accuracy"].low < 0.5 < metrics["accuracy"].high
    assert (predictor.predict(X) == y).mean() > 0.56  # the training rows would make it look better


def test_rows_of_one_group_are_never_on_both_sides() -> None:
    """The label is the group's own, so rows of a group on both sides would be predicted perfectly."""
    rng = np.random.default_rng(0)
    group = np.arange(240) // 8
    X = rng.normal(size=(30, 4))[group] + rng.normal(0, 0.05, (240, 4))
    y = rng.permutation(np.arange(30) % 2)[group]
    config = config_of(hidden=(32,), max_epochs=60, batch_size=16)
    apart, mixed = (fit(Table.from_arrays(X, y, group_ids=group_ids), config, SMALL) for group_ids in (group, None))
    plan = make_plan(Table.from_arrays(X, y, group_ids=group), config, SMALL)
    for member in plan.members:
        split = plan.split(member)
        train, validation, test = (set(group[rows]) for rows in (split.train, split.validation, split.test))
        assert not train & validation | train & test | validation & test
    assert all(len(np.unique(apart.out_of_fold.fold_ids[group == number])) == 1 for number in range(30))
    assert mixed.report.evaluation.metrics["accuracy"].value > 0.95
    assert apart.report.evaluation.metrics["accuracy"].value < 0.75


def test_validation_and_test_rows_are_later_than_all_training_rows() -> None:
    X, y = noisy_rows(120)
    time = np.random.default_rng(1).permutation(120) // 2.0  # two rows of each time
    table = Table.from_arrays(X, y, time=time)
    plan, predictor = make_plan(table, config_of(max_epochs=2), SMALL), fit(table, config_of(max_epochs=2), SMALL)
    assert len(plan.members) == 3
    tested = []
    for member in plan.members:
        split = plan.split(member)
        assert time[split.train].max() < time[split.validation].min()
        assert time[split.validation].max() < time[split.test].min()
        tested += split.test.tolist()
    assert predictor.out_of_fold.rows.tolist() == sorted(tested)
    assert len(set(tested)) == len(tested)
    assert time[predictor.out_of_fold.rows].min() > np.median(time)


# The same result however it is run


def test_the_number_of_threads_changes_no_bit() -> None:
    table = table_of()
    configs = [config_of(max_epochs=12, dropout=0.2, hidden=(width,)) for width in (4, 8, 12, 16, 20)]
    one, two, four = (fit(table, configs, CohortSettings(folds=3, seeds=2, threads=threads)) for threads in (1, 2, 4))
    assert_same(one, two)
    assert_same(one, four)


def test_pytorch_and_the_compiled_engine_make_the_same_cohort() -> None:
    table, config = table_of(), config_of(max_epochs=5, dropout=0.2, batch_size=16)
    one, other = (fit(table, replace(config, engine=engine), SMALL) for engine in ("compiled", "torch"))
    assert (one.report.engine, other.report.engine) == ("compiled", "torch")
    np.testing.assert_allclose(one.member_logits(table.X), other.member_logits(table.X), atol=1e-3)
    np.testing.assert_allclose(one.out_of_fold.log_proba, other.out_of_fold.log_proba, atol=1e-3)


# Several configs


def test_the_better_config_leads_the_ensemble() -> None:
    table = table_of(240)
    good = config_of(model="logistic", max_epochs=60)
    bad = replace(good, learning_rate=1e-7)
    predictor = fit(table, [bad, good, bad], SMALL)
    reports = predictor.report.configs
    weights = [report.weight for report in reports]
    assert sum(weights) == pytest.approx(1)
    assert weights[1] > 0.9
    assert predictor.config == good
    assert reports[1].log_loss_gap.value == 0
    for report in (reports[0], reports[2]):
        assert report.log_loss_gap.low > 0
        assert report.log_loss.value == pytest.approx(reports[1].log_loss.value + report.log_loss_gap.value)
        assert report.metrics["log_loss"] == pytest.approx(report.log_loss.value)
    assert len(predictor.report.members) == 9
    kept = [predictor.report.members[number].config for number in predictor.members]
    assert sorted(set(kept)) == [number for number, weight in enumerate(weights) if weight > 0]
    np.testing.assert_allclose(predictor.weights.sum(), 1)
    np.testing.assert_allclose(predictor.weights[np.array(kept) == 1].sum(), weights[1])


def test_configs_with_a_high_loss_are_dropped_and_the_others_have_the_bits_of_a_run_without_dropping() -> None:
    table = table_of()
    configs = [config_of(learning_rate=rate, max_epochs=30) for rate in (1e-6, 1e-5, 1e-3, 3e-3, 1e-2, 3e-2)]
    predictor = fit(table, configs, SMALL)
    dropped = [number for number, report in enumerate(predictor.report.configs) if report.dropped_after]
    assert dropped == [0, 1]
    for number in dropped:
        report = predictor.report.configs[number]
        members = [member for member in predictor.report.members if member.config == number]
        assert (report.weight, report.failed) == (0, None)
        assert {len(member.history) for member in members} == {report.dropped_after}
        assert {member.stop_reason for member in members} == {"paused"}
        assert np.isfinite(report.log_loss.value)
    whole = fit(table, configs[2:], replace(SMALL, halving=False))
    assert predictor.out_of_fold.log_proba.tobytes() == whole.out_of_fold.log_proba.tobytes()
    assert [network.parameters.tobytes() for network in predictor.models] == [
        network.parameters.tobytes() for network in whole.models
    ]
    assert predictor.report.seconds_saved > 0 == whole.report.seconds_saved


def test_what_is_reported_of_a_row_was_not_chosen_by_it() -> None:
    """Of configs that are as good as each other, those are taken that were lucky; other rows show it."""
    rng = np.random.default_rng(2)
    X, y = rng.normal(size=(240, 10)), rng.permutation(np.arange(240) % 2)
    table = Table.from_arrays(X, y)
    configs = [config_of(seed=0, max_epochs=10, hidden=(width,), learning_rate=0.05) for width in (4, 6, 8, 12)]
    predictor = fit(table, configs, replace(SMALL, halving=False))
    plan = make_plan(table, configs, SMALL)
    of_configs = np.empty((4, 240, 2))
    for member in plan.members:
        rows, network = plan.split(member).test, train_alone(plan, member).model
        assert network is not None
        of_configs[member.config, rows] = log_probabilities(Inference([network]).logits(X[rows])[:, 0])
    candidates = [predictions_of(table, log_proba, predictor.out_of_fold.fold_ids) for log_proba in of_configs]
    expected = cross_fit(candidates)[0].astype(np.float32)
    np.testing.assert_array_equal(predictor.out_of_fold.log_proba, expected)
    weights = np.array([report.weight for report in predictor.report.configs])
    naive = predictor.calibrator.apply(mean_log_proba(candidates, weights))
    assert log_loss(naive, y, np.ones(240)) < predictor.report.evaluation.metrics["log_loss"].value


DIVERGES = config_of(optimizer="sgd", learning_rate=1e30, batch_size=16)


def test_configs_whose_loss_is_not_finite_are_left_out_with_a_warning() -> None:
    table = table_of()
    message = (
        r"^config 1 of 2 is left out: network 1: the loss stopped being finite at epoch 1, step \d of \d; a smaller"
    )
    with pytest.warns(TabcohortWarning, match=message) as warned:
        predictor = fit(table, [DIVERGES, config_of()], SMALL)
    assert [warning.filename for warning in warned] == [__file__]  # where fit was called
    failed, other = predictor.report.configs
    assert (failed.weight, other.weight) == (0, 1)
    assert "stopped being finite" in str(failed.failed)
    assert np.isnan(failed.log_loss.value)
    assert failed.metrics == {}
    alone = fit(table, config_of(), SMALL)
    assert predictor.out_of_fold.log_proba.tobytes() == alone.out_of_fold.log_proba.tobytes()


def test_where_all_configs_fail_their_error_is_raised() -> None:
    for configs in (DIVERGES, [DIVERGES, replace(DIVERGES, seed=1)]):
        with pytest.raises(TrainingError, match=r"^network 1: the loss stopped being finite at epoch 1"):
            fit(table_of(), configs, replace(SMALL, threads=1))


# Ends before the end


class CtrlC:
    """A callback that presses Ctrl-C at one of its calls after epochs."""

    def __init__(self, at: int) -> None:
        self.n_left = at

    def __call__(self, progress: RunProgress) -> None:
        self.n_left -= progress.n_epochs > 0
        if self.n_left == 0:
            raise KeyboardInterrupt


@pytest.fixture
def called_after_every_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tabcohort.cohort.runner.SECONDS_BETWEEN", 0.0)


@pytest.mark.usefixtures("called_after_every_epoch")
@pytest.mark.parametrize(
    ("at", "n_members", "n_finished"), [(1, 1, 0), (20, 1, 1), (30, 2, 1), (60, 3, 3)], ids=["1", "20", "30", "60"]
)
def test_an_interrupted_fit_gives_a_model_of_what_is_there(
    at: int, n_members: int, n_finished: int, tmp_path: Path
) -> None:
    table, config = table_of(), config_of(batch_size=16)
    message = (
        rf"^interrupted: {n_members} of 3 members have weights \({n_finished} trained to their end\); the "
        "model consists of these; press again to end without one$"
    )
    with pytest.warns(TabcohortWarning, match=message):
        predictor = fit(table, config, replace(SMALL, threads=1), CtrlC(at))
    assert predictor.report.stop_reason == "interrupted"
    assert len(predictor.models) == n_members
    reasons = [member.stop_reason for member in predictor.report.members]
    assert reasons == ["max_epochs"] * n_finished + ["interrupted"] * (n_members - n_finished)
    plan = make_plan(table, config, SMALL)
    tested = np.concatenate([plan.split(member).test for member in plan.members[:n_members]])
    assert predictor.out_of_fold.rows.tolist() == np.sort(tested).tolist()
    assert predictor.report.evaluation.n_rows == len(tested)
    save(predictor, tmp_path / "model")
    assert load(tmp_path / "model").predict_proba(table.X).tobytes() == predictor.predict_proba(table.X).tobytes()


def test_ctrl_c_before_the_first_epoch_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    def pressed(engine: CompiledEngine, epoch: int, rates: Sequence[float]) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(CompiledEngine, "run_epoch", pressed)
    with pytest.raises(KeyboardInterrupt):
        fit(table_of(), config_of(), SMALL)


def test_all_members_have_some_epochs_before_a_budget_ends_them() -> None:
    table, config = table_of(), config_of(max_epochs=200)
    message = r"^the budget of seconds is spent: 3 of 3 members have weights \(0 trained to their end\); the"
    with pytest.warns(TabcohortWarning, match=message):
        predictor = fit(table, config, replace(SMALL, budget_seconds=1e-6))
    assert predictor.report.stop_reason == "budget"
    assert all(1 <= len(member.history) < 10 for member in predictor.report.members)
    assert predictor.out_of_fold.rows.tolist() == list(range(120))


@pytest.mark.parametrize("engine", ["compiled", "torch"])
def test_a_budget_that_suffices_changes_no_bit(engine: str) -> None:
    """All members pause after their first epochs and resume from there."""
    table = table_of()
    config = config_of(
        engine=engine, dropout=0.2, mixup_alpha=0.3, batch_norm=True, batch_size=16, schedule="plateau",
        schedule_patience=1, patience=6, max_epochs=40,
    )  # fmt: skip
    whole = fit(table, config, SMALL)
    assert {member.stop_reason for member in whole.report.members} == {"patience"}
    assert_same(fit(table, config, replace(SMALL, budget_seconds=1e6)), whole)


def test_callbacks_of_every_fit_get_the_plan_and_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    ended: list[Any] = []
    monkeypatch.setattr("tabcohort.cohort.fit.FIT_CALLBACKS", [lambda *arguments: ended.append(arguments)])
    table = table_of()
    predictor = fit(table, config_of(max_epochs=1), SINGLE)
    ((plan, model),) = ended
    assert plan.table is table
    assert model is predictor

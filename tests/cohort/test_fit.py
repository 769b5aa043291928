"""From a table to a trained model: real runs of the whole path, small ones."""

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import helpers
import numpy as np
import pytest
import torch
from helpers import (
    SINGLE,
    SMALL,
    assert_same,
    config_of,
    digest_of_a_run,
    logits_of,
    noisy_rows,
    table_of,
    trained_on,
)
from threadpoolctl import threadpool_limits

from tabcohort.cohort.build import conclude
from tabcohort.cohort.fit import fit
from tabcohort.cohort.plan import Cohort
from tabcohort.cohort.progress import RunProgress
from tabcohort.cohort.selection import cross_fit, mean_log_proba
from tabcohort.data.encoder import fit_statistics, standardize
from tabcohort.data.splits import Split, train_validation_test_split
from tabcohort.data.table import Table
from tabcohort.engines.compiled.engine import CompiledEngine
from tabcohort.engines.compiled.inference import Inference
from tabcohort.engines.torch_loop import forward, one_thread
from tabcohort.errors import SettingsError, TabcohortWarning, TableError, TrainingError
from tabcohort.evaluation.evaluate import evaluate
from tabcohort.evaluation.intervals import Z95, standard_error_of_mean, wilson
from tabcohort.evaluation.metrics import log_loss, log_probabilities
from tabcohort.evaluation.out_of_fold import OutOfFoldPredictions
from tabcohort.model.file import load, save
from tabcohort.model.predictor import Predictor
from tabcohort.settings import CohortSettings, Config
from tabcohort.training.member import class_weights

# The best weights, and rows alone


@pytest.mark.parametrize("engine", ["compiled", "torch"])
@pytest.mark.parametrize("model", ["mlp", "residual", "logistic"])
def test_the_trained_module_has_the_weights_that_scored_best(model: str, engine: str) -> None:
    table = table_of()
    how = config_of(model=model, learning_rate=0.1, batch_size=16, max_epochs=40, engine=engine)
    trained = trained_on(table, how)
    assert trained.engine == engine
    losses = [record.val_loss for record in trained.history]
    assert trained.best_epoch == 1 + int(np.argmin(losses)) < len(losses)
    statistics = fit_statistics(table.X[trained.split.train], np.ones(len(trained.split.train)))
    stop = trained.split.validation
    with one_thread():
        logits = forward(trained.module[1:], torch.from_numpy(standardize(table.X[stop], statistics)))
    found = log_loss(log_probabilities(logits.numpy()), table.y[stop], np.ones(len(stop)))
    assert found == pytest.approx(min(losses), rel=1e-6)
    assert np.sort(losses)[1] > min(losses) * (1 + 1e-4)  # no other epoch's weights would do


@pytest.mark.parametrize(("model", "n_classes"), [("mlp", 2), ("mlp", 3), ("residual", 12), ("logistic", 3)])
def test_the_prediction_of_a_row_does_not_depend_on_its_batch(model: str, n_classes: int, tmp_path: Path) -> None:
    """Three networks and their calibrator answer, from memory and from a file."""
    X, y = noisy_rows(150, n_classes)
    settings = config_of(model=model, batch_norm=True, dropout=0.4, batch_size=32, max_epochs=8)
    predictor = fit(Table.from_arrays(X, y), settings, SMALL)
    save(predictor, tmp_path / "model")
    assert len(predictor.networks) == 3
    together = [*predictor.log_proba_and_spread(X[:100]), predictor.member_logits(X[:100])]
    for each in (predictor, load(tmp_path / "model")):
        alone = [(*each.log_proba_and_spread(X[i : i + 1]), each.member_logits(X[i : i + 1])) for i in range(100)]
        for whole, rows in zip(together, zip(*alone, strict=True), strict=True):
            assert np.concatenate(rows).tobytes() == whole.tobytes()
    # A module that was trained is left ready to predict too.
    module = trained_on((X, y), settings, n_classes).module
    rows = torch.from_numpy(X[:5])
    torch.testing.assert_close(module(rows)[:1], module(rows[:1]), rtol=1e-5, atol=1e-5)


# The same bits


@pytest.mark.parametrize("engine", ["compiled", "torch"])
def test_a_run_has_the_same_bits_again_on_any_number_of_threads_and_in_another_process(engine: str) -> None:
    threads, digests = torch.get_num_threads(), []
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            with threadpool_limits(count, "blas"):
                digests.append(digest_of_a_run(engine))
    finally:
        torch.set_num_threads(threads)
    code = f"import helpers; print(helpers.digest_of_a_run({engine!r}))"
    found = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(helpers.__file__).parent,
        env={**os.environ, "OMP_NUM_THREADS": "2", "OPENBLAS_NUM_THREADS": "2", "MKL_NUM_THREADS": "2"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert digests[0] == digests[1] == found.stdout.strip()
    assert digest_of_a_run(engine, seed=1) != digests[0]


@pytest.mark.parametrize(
    "choices",
    [
        {"model": "logistic", "batch_size": "full", "max_epochs": 200, "learning_rate": 0.1},
        {"batch_size": 16, "batch_norm": True, "dropout": 0.2, "mixup_alpha": 0.4},
        {"schedule": "plateau", "schedule_patience": 0, "patience": 4, "max_epochs": 200, "learning_rate": 0.1},
        {"schedule": "cosine", "optimizer": "sgd", "monitor": "accuracy", "patience": 6},
    ],
    ids=str,
)
def test_epochs_that_are_run_many_in_a_call_have_the_bits_of_those_that_are_run_one_by_one(
    choices: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    table, found = table_of(n_classes=3), []
    for at_a_time in (1, 2, 7, 16):
        monkeypatch.setattr("tabcohort.engines.compiled.engine.MOST_EPOCHS_AT_A_TIME", at_a_time)
        monkeypatch.setattr("tabcohort.engines.compiled.engine.PRODUCTS_OF_A_CALL", 10**9)
        found.append(fit(table, config_of(engine="compiled", **choices), SMALL))
    for other in found[1:]:
        assert_same(other, found[0])
    assert any(each.best_epoch < len(each.history) for each in found[0].report.members)


def test_fit_leaves_pytorchs_global_generator_alone() -> None:
    before = torch.random.get_rng_state()
    for engine in ("compiled", "torch"):
        fit(table_of(), config_of(max_epochs=1, engine=engine), SMALL)
    assert torch.equal(before, torch.random.get_rng_state())


@pytest.mark.parametrize("engine", ["compiled", "torch"])
def test_the_order_of_the_rows_in_the_file_changes_nothing(engine: str) -> None:
    X, y = noisy_rows(90)
    shuffled = np.random.default_rng(3).permutation(90)
    one = trained_on((X, y), config_of(batch_size=16, engine=engine))
    other = trained_on((X[shuffled], y[shuffled]), config_of(batch_size=16, engine=engine))
    np.testing.assert_array_equal(logits_of(one, X), logits_of(other, X))


# Weights of rows


@pytest.mark.parametrize("engine", ["compiled", "torch"])
@pytest.mark.parametrize("batch_size", ["full", "auto"])
@pytest.mark.parametrize("n_classes", [2, 3])
def test_sample_weights_equal_repeated_rows_to_the_bit(n_classes: int, batch_size: str, engine: str) -> None:
    X, y = noisy_rows(90, n_classes)
    times = np.random.default_rng(1).integers(1, 4, 90)
    settings = config_of(batch_size=batch_size, engine=engine)
    weighted = trained_on((X, y, times.astype(float)), settings, n_classes)
    repeated = trained_on((np.repeat(X, times, axis=0), np.repeat(y, times)), settings, n_classes)
    assert weighted.best_epoch == repeated.best_epoch
    np.testing.assert_array_equal(logits_of(weighted, X), logits_of(repeated, X))
    unweighted = trained_on((X, y), settings, n_classes)
    assert np.abs(logits_of(unweighted, X) - logits_of(weighted, X)).max() > 1e-3


def test_class_weights_by_label_are_row_weights() -> None:
    X, y = noisy_rows(90)
    labels = np.array(["no", "yes"])[y]
    by_class = trained_on((X, labels), config_of(class_weight={"yes": 3.0}, batch_size="full"))
    settings = config_of(batch_size="full")
    by_row = trained_on(
        (X, labels, np.where(y == 1, 3.0, 1.0)), settings, split=by_class.roles
    )  # fmt: skip
    losses = [[record.train_loss for record in trained.history] for trained in (by_class, by_row)]
    plain = [record.train_loss for record in trained_on((X, labels), settings).history]
    # Row weights move the statistics of the columns too, so the two runs are only alike.
    np.testing.assert_allclose(losses[0], losses[1], rtol=0.05)
    assert abs(losses[0][0] / plain[0] - 1) > 1e-3
    table = Table.from_arrays(X, labels)
    assert list(class_weights(table, by_class.roles, Config(class_weight={"yes": 3.0}))) == [1.0, 3.0]


# Split


def test_no_row_that_trains_or_stops_is_scored() -> None:
    table, settings = table_of(200), config_of()
    cohort = Cohort(table, settings, SMALL)
    predictor = fit(table, settings, SMALL)
    log_proba, part = np.empty((1, 200, 2)), np.empty(200, dtype=np.int64)
    for member, network, report in zip(cohort.all, predictor.networks, predictor.report.members, strict=True):
        roles = cohort.split(member)
        assert not set(split.test) & {*split.train, *split.validation}
        assert (report.n_train, report.n_validation, report.n_test) == (
            len(split.train), len(split.validation), len(split.test)
        )  # fmt: skip
        log_proba[0, split.test] = log_probabilities(Inference([network]).logits(table.X[split.test])[:, 0])
        part[split.test] = member.fold
    expected, _ = cross_fit(OutOfFoldPredictions(log_proba, table.y, table.weight, part))
    np.testing.assert_array_equal(predictor.out_of_fold.log_proba, expected.astype(np.float32))
    np.testing.assert_array_equal(predictor.out_of_fold.part, part)


def test_the_scoring_rows_of_a_single_split_judge_a_single_network() -> None:
    table = table_of(200)
    predictor = fit(table, config_of(), SINGLE)
    roles = train_validation_test_split(table.X, table.y, table.weight, predictor.settings)
    np.testing.assert_array_equal(predictor.out_of_fold.rows, np.sort(split.test))
    (report,) = predictor.report.members
    assert (report.n_train, report.n_validation, report.n_test) == (
        len(split.train),
        len(split.validation),
        len(split.test),
    )
    rows, part = predictor.out_of_fold.rows, predictor.out_of_fold.part
    own = log_probabilities(predictor.member_logits(table.X[rows])[:, 0])
    expected, _ = cross_fit(OutOfFoldPredictions(own[None], table.y[rows], table.weight[rows], part))
    np.testing.assert_array_equal(predictor.out_of_fold.log_proba, expected.astype(np.float32))
    assert len(np.unique(part)) == 5


def test_every_row_is_judged_once_by_every_seed_and_the_report_is_of_that() -> None:
    table = table_of(90)
    predictor = fit(table, config_of(max_epochs=2), CohortSettings(folds=3, seeds=2))
    cohort = Cohort(table, config_of(max_epochs=2), CohortSettings(folds=3, seeds=2))
    for repeat in range(2):
        scored = [cohort.split(member).score for member in cohort.all if member.repeat == repeat]
        assert np.sort(np.concatenate(scored)).tolist() == list(range(90))
    judged = predictor.out_of_fold
    assert judged.rows.tolist() == list(range(90))
    np.testing.assert_array_equal(judged.y, table.y)
    expected = evaluate(judged.log_proba.astype(np.float64), judged.y, judged.weight, 1, predictor.settings.seed)
    assert predictor.report.evaluation.metrics == expected.metrics
    assert (predictor.report.evaluation.n_rows, predictor.report.n_rows) == (90, 90)
    assert [(each.repeat, each.fold) for each in predictor.report.members] == [
        (repeat, fold) for repeat in range(2) for fold in range(3)
    ]
    folds = [[set(cohort.split(member).score) for member in cohort.all if member.repeat == each] for each in range(2)]
    assert not any(one == other for one in folds[0] for other in folds[1])  # each seed divides them in its own way


def test_labels_of_pure_noise_are_told_by_half() -> None:
    """Networks that can learn their training rows by heart say nothing of rows that they never saw."""
    rng = np.random.default_rng(5)
    X, y = rng.normal(size=(2400, 20)), rng.permutation(np.arange(2400) % 2)
    settings = config_of(hidden=(32,), max_epochs=15, batch_size=64)
    predictor = fit(Table.from_arrays(X, y), settings, SMALL)
    metrics = predictor.report.evaluation.metrics
    assert metrics["accuracy"].value == pytest.approx(0.5, abs=0.03)
    assert metrics["roc_auc"].value == pytest.approx(0.5, abs=0.03)
    assert metrics["accuracy"].low < 0.5 < metrics["accuracy"].high
    assert (predictor.predict(X) == y).mean() > 0.56  # the rows that trained would tell another tale


def test_rows_of_one_group_are_never_on_both_sides() -> None:
    """The label is the group's own, so rows of a group on both sides would be told perfectly."""
    rng = np.random.default_rng(0)
    group = np.arange(240) // 8
    X = rng.normal(size=(30, 4))[group] + rng.normal(0, 0.05, (240, 4))
    y = rng.permutation(np.arange(30) % 2)[group]
    settings = config_of(hidden=(32,), max_epochs=60, batch_size=16)
    apart, mingled = (fit(Table.from_arrays(X, y, key=key), settings, SMALL) for key in (group, None))
    cohort = Cohort(Table.from_arrays(X, y, key=group), settings, SMALL)
    for member in cohort.all:
        roles = cohort.split(member)
        sides = [set(group[rows]) for rows in (split.train, split.validation, split.test)]
        assert not sides[0] & sides[1] | sides[0] & sides[2] | sides[1] & sides[2]
    assert all(len(np.unique(apart.out_of_fold.part[group == each])) == 1 for each in range(30))
    assert mingled.report.evaluation.metrics["accuracy"].value > 0.95
    assert apart.report.evaluation.metrics["accuracy"].value < 0.75


def test_rows_that_stop_and_score_are_later_than_all_that_train() -> None:
    X, y = noisy_rows(120)
    time = np.random.default_rng(1).permutation(120) // 2.0  # two rows of each time
    table = Table.from_arrays(X, y, time=time)
    cohort, predictor = (make(table, config_of(max_epochs=2), SMALL) for make in (Cohort, fit))
    assert len(cohort.all) == 3
    scored = []
    for member in cohort.all:
        roles = cohort.split(member)
        assert time[split.train].max() < time[split.validation].min()
        assert time[split.validation].max() < time[split.test].min()
        scored += split.test.tolist()
    assert predictor.out_of_fold.rows.tolist() == sorted(scored)
    assert len(set(scored)) == len(scored)
    assert time[predictor.out_of_fold.rows].min() > np.median(time)


def test_rows_that_score_do_not_change_the_model() -> None:
    X, y = noisy_rows(90)
    roles = Split(np.arange(50), np.arange(50, 70), np.arange(70, 90))
    first = trained_on((X, y), config_of(), split=roles)
    other_X, other_y = X.copy(), y.copy()
    other_X[70:] *= 100
    other_y[70:] = 1 - y[70:]
    other = trained_on((other_X, other_y), config_of(), split=roles)
    np.testing.assert_array_equal(logits_of(first, X), logits_of(other, X))


def test_columns_are_standardised_by_the_training_rows_alone() -> None:
    X, y = noisy_rows(90)
    roles = Split(np.arange(50), np.arange(50, 70), np.arange(70, 90))
    trained = trained_on((X, y), config_of(max_epochs=1), split=roles)
    np.testing.assert_allclose(trained.module[0].center, X[:50].mean(axis=0), rtol=1e-10)
    np.testing.assert_allclose(trained.module[0].scale, 1 / X[:50].std(axis=0), rtol=1e-10)


def test_batch_norm_with_one_training_row_is_an_error() -> None:
    X, y = noisy_rows(20)
    roles = Split(np.array([0]), np.arange(1, 10), np.arange(10, 20))
    with pytest.raises(TrainingError, match="needs two rows in a step; there are 1 training rows in batches of 1"):
        trained_on((X, y), config_of(batch_norm=True), split=roles)


def test_batch_norm_with_batches_of_one_is_an_error() -> None:
    with pytest.raises(TrainingError, match="batches of 1: make batch_size at least 2, or use a model without it"):
        trained_on(table_of(), config_of(model="residual", batch_size=1))


# Stopping


@pytest.mark.parametrize("monitor", ["accuracy", "roc_auc"])
def test_another_metric_stops_early(monitor: str) -> None:
    trained = trained_on(table_of(200), config_of(monitor=monitor, patience=5, max_epochs=200))
    scores = [record.score for record in trained.history]
    assert trained.stop_reason == "patience"
    assert trained.best_epoch == 1 + int(np.argmax(scores)) == len(scores) - 5


def test_a_loss_that_is_not_finite_names_member_epoch_and_step() -> None:
    settings = config_of(optimizer="sgd", learning_rate=1e30, batch_size=16)
    with pytest.raises(TrainingError, match=r"of member 0 stopped being finite at epoch 1, step \d of \d; a smaller"):
        trained_on(table_of(), settings)


# What is left out of stopping


def test_mixup_and_smoothing_are_used_in_training_and_never_in_stopping() -> None:
    table = table_of(200)
    plain = trained_on(table, config_of(learning_rate=0.0, max_epochs=1, dropout=0.0)).history[0]
    softened = trained_on(
        table, config_of(learning_rate=0.0, max_epochs=1, dropout=0.0, label_smoothing=0.4, mixup_alpha=1.0)
    ).history[0]
    assert softened.val_loss == plain.val_loss
    assert abs(softened.train_loss - plain.train_loss) > 1e-3


# What does not fit


def test_a_positive_class_that_is_not_that_of_the_table_is_an_error() -> None:
    X, y = noisy_rows(60)
    table = Table.from_arrays(X, np.array(["no", "yes"])[y])
    with pytest.raises(SettingsError, match="'positive' is 'no' and the table's positive class is 'yes'"):
        fit(table, config_of(positive="no"))
    with pytest.raises(
        TableError, match="the positive class 'maybe' is not in 'target', whose classes are 'no', 'yes'"
    ):
        fit(table, config_of(positive="maybe"))
    ones = Table.from_arrays(X, y.astype(float))
    assert fit(ones, config_of(positive=1, max_epochs=1), SMALL).schema.classes == (0.0, 1.0)
    assert fit(table, config_of(positive="yes", max_epochs=1), SMALL).schema.positive == 1


def test_rows_of_one_key_of_a_table_have_one_role() -> None:
    X, y = noisy_rows(120)
    table = Table.from_arrays(X, y, key=np.arange(120) // 4)
    trained = trained_on(table, config_of(max_epochs=1))
    keys = [set(table.key[rows]) for rows in (trained.split.train, trained.split.validation, trained.split.test)]
    assert not keys[0] & keys[1] | keys[0] & keys[2] | keys[1] & keys[2]
    assert len(trained.split.validation) % 4 == len(trained.split.test) % 4 == 0


def test_intervals_are_as_wide_as_keys_ask_for() -> None:
    X, y = noisy_rows(40)
    key = np.arange(240) % 40  # each patient six times, to a hair
    X = X[key] + np.random.default_rng(0).normal(0, 1e-3, (240, X.shape[1]))
    predictor = fit(Table.from_arrays(X, y[key], key=key), config_of(model="logistic", max_epochs=30), SMALL)
    report, judged = predictor.report, predictor.out_of_fold
    assert (report.evaluation.n_rows, report.evaluation.n_groups) == (240, 40)
    np.testing.assert_array_equal(judged.family, key)
    accuracy = report.evaluation.metrics["accuracy"]
    low, high = wilson(240 * accuracy.value, 240)
    assert accuracy.high - accuracy.low > 1.8 * (high - low)
    losses = -judged.log_proba[np.arange(240), judged.y].astype(np.float64)
    half = Z95 * standard_error_of_mean(losses, np.ones(240), key)
    assert half > 1.8 * Z95 * standard_error_of_mean(losses, np.ones(240))
    assert predictor.calibrator.method == "none"
    found = report.settings[0].log_loss
    assert (found.value, found.high) == (pytest.approx(losses.mean()), pytest.approx(losses.mean() + half))


def test_equal_rows_without_a_key_count_as_rows_of_their_own() -> None:
    """Where columns have few values, rows are equal by chance: they tell as much as any others."""
    X, y = noisy_rows(240)
    report = fit(Table.from_arrays((X > 0).astype(float), y), config_of(max_epochs=2), SMALL).report
    assert (report.evaluation.n_rows, report.evaluation.n_groups) == (240, 240)


def test_an_interruption_after_training_loses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    table, settings, calls = table_of(60), config_of(max_epochs=2), []

    def interrupted_once(*arguments: Any) -> Predictor:
        calls.append(arguments)
        if len(calls) == 1:
            raise KeyboardInterrupt
        return conclude(*arguments)

    monkeypatch.setattr("tabcohort.cohort.fit.conclude", interrupted_once)
    words = "^interrupted when training was over: what was trained is being measured"
    try:
        with pytest.warns(TabcohortWarning, match=words):
            predictor = fit(table, settings, SMALL)
    except KeyboardInterrupt:
        pytest.fail("all that was trained is lost")
    assert len(calls) == 2
    assert predictor.report.stop_reason is None


def test_more_folds_than_rows_allow_are_told_and_choices_are_made_on_ten_parts_at_most() -> None:
    table = table_of(48)
    with pytest.warns(TabcohortWarning, match="^there are 48 folds and not 100: more would be empty$"):
        predictor = fit(table, config_of(model="logistic", max_epochs=2), CohortSettings(folds=100, seeds=1))
    assert (predictor.report.n_folds, len(predictor.networks)) == (48, 48)
    assert len(np.unique(predictor.out_of_fold.part)) == 10


def test_no_settings_are_an_error() -> None:
    with pytest.raises(SettingsError, match="there must be settings to train with; the list of them is empty"):
        Cohort(table_of(), [], SMALL)
    assert len(Cohort(table_of(60), Config(), CohortSettings()).all) == 50  # as few rows ask for


@pytest.mark.parametrize(
    ("threshold", "n_classes", "words"),
    [
        ("f1", 3, "a threshold is for two classes; there are 3"),
        ("recall", 2, "the threshold must be a probability .*; it is 'recall'"),
    ],
)
def test_a_threshold_that_could_not_be_chosen_is_an_error_before_anything_is_trained(
    threshold: str, n_classes: int, words: str
) -> None:
    epochs: list[RunProgress] = []
    cohort = replace(SMALL, threshold=threshold)
    with pytest.raises(SettingsError, match=words):
        fit(table_of(n_classes=n_classes), config_of(), cohort, epochs.append)
    assert not epochs


# Members


MEMBERS: dict[str, dict[str, Any]] = {
    "logistic": {"model": "logistic"},
    "mlp": {"dropout": 0.3, "mixup_alpha": 0.4, "batch_size": 16},
    "residual": {"model": "residual", "dropout": 0.2, "batch_size": 16},
}


@pytest.mark.parametrize("engine", ["compiled", "torch"])
@pytest.mark.parametrize("model", MEMBERS)
def test_every_member_has_the_bits_of_the_member_trained_alone(model: str, engine: str) -> None:
    table, settings = table_of(n_classes=3), config_of(max_epochs=6, engine=engine, **MEMBERS[model])
    cohort = CohortSettings(folds=3, seeds=2, threads=2)
    predictor = fit(table, settings, cohort)
    together = predictor.member_logits(table.X)
    alone = Cohort(table, settings, cohort)
    assert len(predictor.networks) == len(alone.all) == 6
    for number in (4, 0, 5):  # in whatever order
        network = alone.train(alone.all[number]).network
        assert Inference([network]).logits(table.X)[:, 0].tobytes() == together[:, number].tobytes()
    assert len({network.parameters.tobytes() for network in predictor.networks}) == 6


def test_members_are_the_same_beside_other_settings_and_in_any_place() -> None:
    table, one, other = table_of(), config_of(max_epochs=4), config_of(max_epochs=4, model="logistic")
    first = fit(table, one, SMALL)
    members = Cohort(table, [other, one], SMALL)
    for member, network in zip(members.all[3:], first.networks, strict=True):
        assert (member.setting, member.number) == (1, member.fold)
        assert members.train(member).network.parameters.tobytes() == network.parameters.tobytes()


def test_the_number_of_threads_changes_no_bit() -> None:
    table = table_of()
    settings = [config_of(max_epochs=12, dropout=0.2, hidden=(width,)) for width in (4, 8, 12, 16, 20)]
    one, two, four = (fit(table, settings, CohortSettings(folds=3, seeds=2, threads=each)) for each in (1, 2, 4))
    assert_same(one, two)
    assert_same(one, four)


def test_pytorch_and_the_compiled_engine_make_the_same_cohort() -> None:
    table, settings = table_of(), config_of(max_epochs=5, dropout=0.2, batch_size=16)
    one, other = (fit(table, replace(settings, engine=engine), SMALL) for engine in ("compiled", "torch"))
    assert (one.report.engine, other.report.engine) == ("compiled", "torch")
    np.testing.assert_allclose(one.member_logits(table.X), other.member_logits(table.X), atol=1e-3)
    np.testing.assert_allclose(one.out_of_fold.log_proba, other.out_of_fold.log_proba, atol=1e-3)


def test_columns_are_standardised_by_the_training_rows_of_each_member() -> None:
    table = table_of()
    predictor, cohort = fit(table, config_of(max_epochs=1), SMALL), Cohort(table, config_of(), SMALL)
    for member, network in zip(cohort.all, predictor.networks, strict=True):
        statistics = network.statistics()
        assert statistics is not None
        rows = cohort.split(member).train
        np.testing.assert_allclose(statistics.center, table.X[rows].mean(axis=0), rtol=1e-10)


# Several settings


def test_the_better_settings_lead_the_ensemble() -> None:
    table = table_of(240)
    good = config_of(model="logistic", max_epochs=60)
    bad = replace(good, learning_rate=1e-7)
    predictor = fit(table, [bad, good, bad], SMALL)
    weights = [each.weight for each in predictor.report.configs]
    assert sum(weights) == pytest.approx(1)
    assert weights[1] > 0.9
    assert predictor.settings == good
    best = predictor.report.configs[1]
    assert best.behind.value == 0
    for each in (predictor.report.configs[0], predictor.report.configs[2]):
        assert each.behind.low > 0
        assert each.log_loss.value == pytest.approx(best.log_loss.value + each.behind.value)
        assert each.metrics["log_loss"] == pytest.approx(each.log_loss.value)
    assert len(predictor.report.members) == 9
    kept = [predictor.report.members[number].setting for number in predictor.members]
    assert sorted(set(kept)) == [number for number, weight in enumerate(weights) if weight > 0]
    np.testing.assert_allclose(predictor.shares.sum(), 1)
    np.testing.assert_allclose(predictor.shares[np.array(kept) == 1].sum(), weights[1])


def test_settings_that_are_behind_are_dropped_and_the_others_have_the_bits_of_a_run_without_dropping() -> None:
    table = table_of()
    settings = [config_of(learning_rate=rate, max_epochs=30) for rate in (1e-6, 1e-5, 1e-3, 3e-3, 1e-2, 3e-2)]
    predictor = fit(table, settings, SMALL)
    dropped = [number for number, each in enumerate(predictor.report.configs) if each.dropped_after]
    assert dropped == [0, 1]
    for number in dropped:
        report = predictor.report.configs[number]
        members = [each for each in predictor.report.members if each.setting == number]
        assert (report.weight, report.failed) == (0, None)
        assert {len(each.history) for each in members} == {report.dropped_after}
        assert {each.stop_reason for each in members} == {"paused"}
        assert np.isfinite(report.log_loss.value)
    whole = fit(table, settings[2:], replace(SMALL, halving=False))
    assert predictor.out_of_fold.log_proba.tobytes() == whole.out_of_fold.log_proba.tobytes()
    assert [each.parameters.tobytes() for each in predictor.networks] == [
        each.parameters.tobytes() for each in whole.networks
    ]
    assert predictor.report.seconds_saved > 0 == whole.report.seconds_saved


def test_what_is_reported_of_a_row_was_not_chosen_by_it() -> None:
    """Of settings that are as good as each other, those are taken that were lucky; other rows show it."""
    rng = np.random.default_rng(2)
    X, y = rng.normal(size=(240, 10)), rng.permutation(np.arange(240) % 2)
    settings = [config_of(seed=0, max_epochs=10, hidden=(width,), learning_rate=0.05) for width in (4, 6, 8, 12)]
    predictor = fit(Table.from_arrays(X, y), settings, replace(SMALL, halving=False))
    judged = predictor.out_of_fold
    cohort = Cohort(Table.from_arrays(X, y), settings, SMALL)
    of_settings = np.empty((4, 240, 2))
    for member in cohort.all:
        rows = cohort.split(member).score
        logits = Inference([cohort.train(member).network]).logits(X[rows])[:, 0]
        of_settings[member.setting, rows] = log_probabilities(logits)
    found = OutOfFoldPredictions(of_settings, y, np.ones(240), judged.part)
    np.testing.assert_array_equal(judged.log_proba, cross_fit(found)[0].astype(np.float32))
    weights = np.array([each.weight for each in predictor.report.configs])
    naive = predictor.calibrator.apply(mean_log_proba(of_settings, weights))
    assert log_loss(naive, y, np.ones(240)) < predictor.report.evaluation.metrics["log_loss"].value


DIVERGES = config_of(optimizer="sgd", learning_rate=1e30, batch_size=16)


def test_settings_whose_loss_is_not_finite_are_left_out_with_a_warning() -> None:
    table = table_of()
    words = r"^number 1 of the 2 settings is left out: .* stopped being finite at epoch 1, step \d of \d; a smaller"
    with pytest.warns(TabcohortWarning, match=words) as warned:
        predictor = fit(table, [DIVERGES, config_of()], SMALL)
    assert [each.filename for each in warned] == [__file__]  # where fit was called
    failed, other = predictor.report.configs
    assert (failed.weight, other.weight) == (0, 1)
    assert "stopped being finite" in str(failed.failed)
    assert np.isnan(failed.log_loss.value)
    assert failed.metrics == {}
    alone = fit(table, config_of(), SMALL)
    assert predictor.out_of_fold.log_proba.tobytes() == alone.out_of_fold.log_proba.tobytes()


def test_where_all_settings_fail_their_error_is_raised() -> None:
    for settings in (DIVERGES, [DIVERGES, replace(DIVERGES, seed=1)]):
        with pytest.raises(TrainingError, match="of member 0 stopped being finite at epoch 1"):
            fit(table_of(), settings, replace(SMALL, threads=1))


# Ends before the end


class Ctrl_C:  # noqa: N801
    """A watcher that presses Ctrl-C at one of its calls."""

    def __init__(self, at: int) -> None:
        self.left = at

    def __call__(self, progress: RunProgress) -> None:
        self.left -= 1
        if self.left == 0:
            raise KeyboardInterrupt


@pytest.fixture
def watched_after_every_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tabcohort.cohort.runner.SECONDS_BETWEEN", 0.0)


@pytest.mark.usefixtures("watched_after_every_epoch")
@pytest.mark.parametrize(
    ("at", "n_members", "n_ended"), [(1, 1, 0), (20, 1, 1), (30, 2, 1), (60, 3, 3)], ids=["1", "20", "30", "60"]
)
def test_an_interrupted_fit_gives_a_model_of_what_is_there(
    at: int, n_members: int, n_ended: int, tmp_path: Path
) -> None:
    table, settings = table_of(), config_of(batch_size=16)
    words = (
        f"^interrupted: {n_members} of 3 members have weights, {n_ended} of them were trained to their end; the model "
        "is made of these$"
    )
    with pytest.warns(TabcohortWarning, match=words):
        predictor = fit(table, settings, replace(SMALL, threads=1), Ctrl_C(at))
    assert predictor.report.stop_reason == "interrupted"
    assert len(predictor.networks) == n_members
    reasons = [each.stop_reason for each in predictor.report.members]
    assert reasons == ["max_epochs"] * n_ended + ["interrupted"] * (n_members - n_ended)
    cohort = Cohort(table, settings, SMALL)
    scored = np.concatenate([cohort.split(member).score for member in cohort.all[:n_members]])
    assert predictor.out_of_fold.rows.tolist() == np.sort(scored).tolist()
    assert predictor.report.evaluation.n_rows == len(scored)
    save(predictor, tmp_path / "model")
    assert load(tmp_path / "model").predict_proba(table.X).tobytes() == predictor.predict_proba(table.X).tobytes()


def test_ctrl_c_before_the_first_epoch_is_raised_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def pressed(engine: CompiledEngine, plans: Any, rates: Sequence[float]) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(CompiledEngine, "run_epochs", pressed)
    with pytest.raises(KeyboardInterrupt):
        fit(table_of(), config_of(), SMALL)


def test_all_members_have_some_epochs_before_a_budget_ends_them() -> None:
    table, settings = table_of(), config_of(max_epochs=200)
    words = "^the budget of seconds is spent: 3 of 3 members have weights, 0 of them were trained to their end; the"
    with pytest.warns(TabcohortWarning, match=words):
        predictor = fit(table, settings, replace(SMALL, budget_seconds=1e-6))
    assert predictor.report.stop_reason == "budget"
    assert all(1 <= len(each.history) < 10 for each in predictor.report.members)
    assert predictor.out_of_fold.rows.tolist() == list(range(120))


@pytest.mark.parametrize("engine", ["compiled", "torch"])
def test_a_budget_that_suffices_changes_no_bit(engine: str) -> None:
    """All members pause after their first epochs and go on from there."""
    table = table_of()
    settings = config_of(
        engine=engine, dropout=0.2, mixup_alpha=0.3, batch_norm=True, batch_size=16, schedule="plateau",
        schedule_patience=1, patience=6, max_epochs=40,
    )  # fmt: skip
    whole = fit(table, settings, SMALL)
    assert {each.stop_reason for each in whole.report.members} == {"patience"}
    assert_same(fit(table, settings, replace(SMALL, budget_seconds=1e6)), whole)


def assert_same_networks(one: Predictor, other: Predictor) -> None:
    assert [each.parameters.tobytes() for each in one.networks] == [
        each.parameters.tobytes() for each in other.networks
    ]


# Config side by side must have one loss and one set of folds


@pytest.mark.parametrize(
    ("name", "values"),
    [("class_weight", (None, "balanced")), ("validation_fraction", (0.1, 0.2)), ("test_fraction", (0.1, 0.2))],
)
def test_settings_that_would_be_judged_otherwise_are_refused(name: str, values: tuple[object, object]) -> None:
    tried = [config_of(**{name: value}) for value in values]
    with pytest.raises(SettingsError, match=f"settings that are tried side by side must have the same {name!r}"):
        fit(table_of(), tried, SMALL)


def test_no_settings_at_all_are_refused() -> None:
    with pytest.raises(SettingsError, match="there must be settings to train with; the list of them is empty"):
        fit(table_of(), [], SMALL)


def test_in_time_without_rows_to_score_on_nothing_is_trained() -> None:
    """All patients enrol early and come back late."""
    X, y = noisy_rows(100)
    key = np.concatenate([np.arange(80), np.arange(20)])
    table = Table.from_arrays(X, y, key=key, time=np.arange(100.0))
    with pytest.raises(TableError, match=r"in (time no rows are left to score on|fold 1 of 1 in time nothing is left)"):
        fit(table, config_of(), SINGLE)


def test_a_folder_of_other_things_is_no_checkpoint(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(SettingsError, match="holds other things and no checkpoint; name a new one"):
        fit(table_of(), config_of(), SMALL, checkpoint=tmp_path)

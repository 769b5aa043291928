"""From a table to a trained model: real runs of the whole path, small ones."""

import hashlib
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import logits_of, noisy_rows, settings_of, table_of, trained_on
from threadpoolctl import threadpool_limits

from tabcohort.cohort import fit
from tabcohort.engines.torch_loop import forward, one_thread
from tabcohort.errors import SettingsError, TrainingError
from tabcohort.evaluate import evaluate, log_loss, log_probabilities
from tabcohort.member import class_weights
from tabcohort.models import build_model, draw_weights
from tabcohort.modules import train
from tabcohort.prepare import fit_statistics, standardise
from tabcohort.roles import Roles, split_roles
from tabcohort.settings import Settings
from tabcohort.table import make_table


def digest_of_a_run(engine: str, seed: int = 0, precision: torch.dtype = torch.float32) -> str:
    """A hash of everything that a run leaves: weights, buffers and history."""
    X, y = noisy_rows(600, n_features=30)
    settings = settings_of(
        hidden=(160, 160), batch_norm=True, dropout=0.2, batch_size=256, mixup_alpha=0.4, max_epochs=3, seed=seed,
        engine=engine,
    )  # fmt: skip
    module = build_model(settings, 30, 2)
    draw_weights(module, seed)
    trained = train(module if precision == torch.float32 else module.to(precision), (X, y), settings)
    digest = hashlib.sha256()
    for value in trained.module.state_dict().values():
        digest.update(value.numpy().tobytes())
    digest.update(repr([(record.train_loss, record.stop_loss, record.score) for record in trained.history]).encode())
    return digest.hexdigest()


# The best weights, and rows alone


@pytest.mark.parametrize("engine", ["compiled", "torch"])
@pytest.mark.parametrize("model", ["mlp", "residual", "logistic"])
def test_the_trained_module_has_the_weights_that_scored_best(model: str, engine: str) -> None:
    table = table_of()
    how = settings_of(model=model, learning_rate=0.1, batch_size=16, max_epochs=40, engine=engine)
    trained = trained_on(table, how)
    assert trained.engine == engine
    losses = [record.stop_loss for record in trained.history]
    assert trained.best_epoch == 1 + int(np.argmin(losses)) < len(losses)
    statistics = fit_statistics(table.X[trained.roles.train], np.ones(len(trained.roles.train)))
    stop = trained.roles.stop
    with one_thread():
        logits = forward(trained.module[1:], torch.from_numpy(standardise(table.X[stop], statistics)))
    found = log_loss(log_probabilities(logits.numpy()), table.y[stop], np.ones(len(stop)))
    assert found == pytest.approx(min(losses), rel=1e-6)
    assert np.sort(losses)[1] > min(losses) * (1 + 1e-4)  # no other epoch's weights would do


@pytest.mark.parametrize(("model", "n_classes"), [("mlp", 2), ("mlp", 3), ("residual", 2), ("logistic", 3)])
def test_the_prediction_of_a_row_does_not_depend_on_its_batch(model: str, n_classes: int) -> None:
    X, y = noisy_rows(150, n_classes)
    settings = settings_of(model=model, batch_norm=True, dropout=0.4, batch_size=32, max_epochs=8)
    predictor = fit(make_table(X, y), settings)
    together = predictor.logits(X[:100])
    alone = np.concatenate([predictor.logits(X[i : i + 1]) for i in range(100)])
    np.testing.assert_array_equal(alone, together)
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
    code = f"import test_cohort; print(test_cohort.digest_of_a_run({engine!r}))"
    found = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(__file__).parent,
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
        monkeypatch.setattr("tabcohort.engines.compiled.MOST_EPOCHS_AT_A_TIME", at_a_time)
        monkeypatch.setattr("tabcohort.engines.compiled.PRODUCTS_OF_A_CALL", 10**9)
        found.append(fit(table, settings_of(engine="compiled", **choices)))
    for other in found[1:]:
        assert other.network.parameters.tobytes() == found[0].network.parameters.tobytes()
        assert other.network.buffers.tobytes() == found[0].network.buffers.tobytes()
        histories = [[replace(each, seconds=0.0) for each in run.report.history] for run in (other, found[0])]
        assert histories[0] == histories[1]
    assert found[0].report.best_epoch < len(found[0].report.history)


def test_fit_leaves_pytorchs_global_generator_alone() -> None:
    before = torch.random.get_rng_state()
    fit(table_of(), settings_of(max_epochs=1))
    assert torch.equal(before, torch.random.get_rng_state())


@pytest.mark.parametrize("engine", ["compiled", "torch"])
def test_the_order_of_the_rows_in_the_file_changes_nothing(engine: str) -> None:
    X, y = noisy_rows(90)
    shuffled = np.random.default_rng(3).permutation(90)
    one = trained_on((X, y), settings_of(batch_size=16, engine=engine))
    other = trained_on((X[shuffled], y[shuffled]), settings_of(batch_size=16, engine=engine))
    np.testing.assert_array_equal(logits_of(one, X), logits_of(other, X))


# Weights of rows


@pytest.mark.parametrize("engine", ["compiled", "torch"])
@pytest.mark.parametrize("batch_size", ["full", "auto"])
@pytest.mark.parametrize("n_classes", [2, 3])
def test_sample_weights_equal_repeated_rows_to_the_bit(n_classes: int, batch_size: str, engine: str) -> None:
    X, y = noisy_rows(90, n_classes)
    times = np.random.default_rng(1).integers(1, 4, 90)
    settings = settings_of(batch_size=batch_size, engine=engine)
    weighted = trained_on((X, y, times.astype(float)), settings, n_classes)
    repeated = trained_on((np.repeat(X, times, axis=0), np.repeat(y, times)), settings, n_classes)
    assert weighted.best_epoch == repeated.best_epoch
    np.testing.assert_array_equal(logits_of(weighted, X), logits_of(repeated, X))
    unweighted = trained_on((X, y), settings, n_classes)
    assert np.abs(logits_of(unweighted, X) - logits_of(weighted, X)).max() > 1e-3


def test_class_weights_by_label_are_row_weights() -> None:
    X, y = noisy_rows(90)
    labels = np.array(["no", "yes"])[y]
    by_class = trained_on((X, labels), settings_of(class_weight={"yes": 3.0}, batch_size="full"))
    settings = settings_of(batch_size="full")
    by_row = trained_on(
        (X, labels, np.where(y == 1, 3.0, 1.0)), settings, roles=by_class.roles
    )  # fmt: skip
    losses = [[record.train_loss for record in trained.history] for trained in (by_class, by_row)]
    plain = [record.train_loss for record in trained_on((X, labels), settings).history]
    # Row weights move the statistics of the columns too, so the two runs are only alike.
    np.testing.assert_allclose(losses[0], losses[1], rtol=0.05)
    assert abs(losses[0][0] / plain[0] - 1) > 1e-3
    table = make_table(X, labels)
    assert list(class_weights(table, by_class.roles, Settings(class_weight={"yes": 3.0}))) == [1.0, 3.0]


# Roles


def test_no_row_that_trains_or_stops_is_scored() -> None:
    table = table_of(200)
    predictor = fit(table, settings_of())
    roles = split_roles(table.X, table.y, table.weight, predictor.settings)
    expected = evaluate(predictor.logits(table.X[roles.score]), table.y[roles.score], np.ones(len(roles.score)), 1)
    assert predictor.report.evaluation.metrics == expected.metrics
    assert predictor.report.evaluation.n_rows == len(roles.score) == predictor.report.n_score
    assert (predictor.report.n_train, predictor.report.n_stop) == (len(roles.train), len(roles.stop))


def test_rows_that_score_do_not_change_the_model() -> None:
    X, y = noisy_rows(90)
    roles = Roles(np.arange(50), np.arange(50, 70), np.arange(70, 90))
    first = trained_on((X, y), settings_of(), roles=roles)
    other_X, other_y = X.copy(), y.copy()
    other_X[70:] *= 100
    other_y[70:] = 1 - y[70:]
    other = trained_on((other_X, other_y), settings_of(), roles=roles)
    np.testing.assert_array_equal(logits_of(first, X), logits_of(other, X))


def test_columns_are_standardised_by_the_training_rows_alone() -> None:
    X, y = noisy_rows(90)
    roles = Roles(np.arange(50), np.arange(50, 70), np.arange(70, 90))
    trained = trained_on((X, y), settings_of(max_epochs=1), roles=roles)
    np.testing.assert_allclose(trained.module[0].centre, X[:50].mean(axis=0), rtol=1e-10)
    np.testing.assert_allclose(trained.module[0].scale, 1 / X[:50].std(axis=0), rtol=1e-10)


def test_batch_norm_with_one_training_row_is_an_error() -> None:
    X, y = noisy_rows(20)
    roles = Roles(np.array([0]), np.arange(1, 10), np.arange(10, 20))
    with pytest.raises(TrainingError, match="needs two rows in a step; there are 1 training rows in batches of 1"):
        trained_on((X, y), settings_of(batch_norm=True), roles=roles)


def test_batch_norm_with_batches_of_one_is_an_error() -> None:
    with pytest.raises(TrainingError, match="batches of 1: make batch_size at least 2, or use a model without it"):
        trained_on(table_of(), settings_of(model="residual", batch_size=1))


# Stopping


@pytest.mark.parametrize("monitor", ["accuracy", "roc_auc"])
def test_another_metric_stops_early(monitor: str) -> None:
    trained = trained_on(table_of(200), settings_of(monitor=monitor, patience=5, max_epochs=200))
    scores = [record.score for record in trained.history]
    assert trained.stop_reason == "patience"
    assert trained.best_epoch == 1 + int(np.argmax(scores)) == len(scores) - 5


def test_a_loss_that_is_not_finite_names_member_epoch_and_step() -> None:
    settings = settings_of(optimizer="sgd", learning_rate=1e30, batch_size=16)
    with pytest.raises(TrainingError, match=r"of member 0 stopped being finite at epoch 1, step \d of \d; a smaller"):
        trained_on(table_of(), settings)


# What is left out of stopping


def test_mixup_and_smoothing_are_used_in_training_and_never_in_stopping() -> None:
    table = table_of(200)
    plain = trained_on(table, settings_of(learning_rate=0.0, max_epochs=1, dropout=0.0)).history[0]
    softened = trained_on(
        table, settings_of(learning_rate=0.0, max_epochs=1, dropout=0.0, label_smoothing=0.4, mixup_alpha=1.0)
    ).history[0]
    assert softened.stop_loss == plain.stop_loss
    assert abs(softened.train_loss - plain.train_loss) > 1e-3


# What does not fit


@pytest.mark.parametrize("positive", ["no", "maybe"])
def test_a_positive_class_that_is_not_that_of_the_table_is_an_error(positive: str) -> None:
    X, y = noisy_rows(60)
    table = make_table(X, np.array(["no", "yes"])[y])
    with pytest.raises(SettingsError, match=f"'positive' is '{positive}' and the table's positive class is 'yes'"):
        fit(table, settings_of(positive=positive))
    assert fit(table, settings_of(positive="yes", max_epochs=1)).schema.positive == 1


def test_rows_of_one_key_of_a_table_have_one_role() -> None:
    X, y = noisy_rows(120)
    table = make_table(X, y, key=np.arange(120) // 4)
    trained = trained_on(table, settings_of(max_epochs=1))
    keys = [set(table.key[rows]) for rows in (trained.roles.train, trained.roles.stop, trained.roles.score)]
    assert not keys[0] & keys[1] | keys[0] & keys[2] | keys[1] & keys[2]
    assert len(trained.roles.stop) % 4 == len(trained.roles.score) % 4 == 0

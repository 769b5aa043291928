"""The same bits: of a run again, on other threads, in other processes, with rows in another order or weighted."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import helpers
import numpy as np
import pytest
import torch
from helpers import SMALL, assert_same, config_of, digest_of_a_run, logits_of, noisy_rows, table_of, trained_on
from threadpoolctl import threadpool_limits

from tabcohort.cohort.fit import fit
from tabcohort.data.encoder import fit_statistics, standardize
from tabcohort.data.table import Table
from tabcohort.engines.torch_loop import logits_in_eval_mode, one_thread
from tabcohort.evaluation.metrics import log_loss, log_probabilities
from tabcohort.model.file import load, save
from tabcohort.settings import Config
from tabcohort.training.member import class_weights

ENGINES = pytest.mark.parametrize("engine", ["compiled", "torch"])


# The best weights, and rows alone


@ENGINES
@pytest.mark.parametrize("model", ["mlp", "residual", "logistic"])
def test_the_trained_module_has_the_weights_that_scored_best(model: str, engine: str) -> None:
    table = table_of()
    config = config_of(model=model, learning_rate=0.1, batch_size=16, max_epochs=40, engine=engine)
    trained = trained_on(table, config)
    assert trained.engine == engine
    losses = [record.val_loss for record in trained.history]
    assert trained.best_epoch == 1 + int(np.argmin(losses)) < len(losses)
    train, validation = trained.split.train, trained.split.validation
    statistics = fit_statistics(table.X[train], np.ones(len(train)))
    with one_thread():
        inputs = torch.from_numpy(standardize(table.X[validation], statistics))
        logits = logits_in_eval_mode(trained.module[1:], inputs)
    loss = log_loss(log_probabilities(logits.numpy()), table.y[validation], np.ones(len(validation)))
    assert loss == pytest.approx(min(losses), rel=1e-6)
    assert np.sort(losses)[1] > min(losses) * (1 + 1e-5)  # no other epoch's weights would do


@pytest.mark.parametrize(("model", "n_classes"), [("mlp", 2), ("mlp", 3), ("residual", 12), ("logistic", 3)])
def test_the_prediction_for_a_row_does_not_depend_on_the_rows_beside_it(
    model: str, n_classes: int, tmp_path: Path
) -> None:
    """Three networks and their calibrator predict, from memory and from a file."""
    X, y = noisy_rows(150, n_classes)
    config = config_of(model=model, batch_norm=True, dropout=0.4, batch_size=32, max_epochs=8)
    predictor = fit(Table.from_arrays(X, y), config, SMALL)
    save(predictor, tmp_path / "model")
    assert len(predictor.models) == 3
    together = [*predictor.log_proba_and_spread(X[:100]), predictor.member_logits(X[:100])]
    for model_here in (predictor, load(tmp_path / "model")):
        alone = [
            (*model_here.log_proba_and_spread(X[i : i + 1]), model_here.member_logits(X[i : i + 1])) for i in range(100)
        ]
        for whole, rows in zip(together, zip(*alone, strict=True), strict=True):
            assert np.concatenate(rows).tobytes() == whole.tobytes()
    # A module that was trained is left ready to predict too.
    module = trained_on((X, y), config, n_classes).module
    rows = torch.from_numpy(X[:5])
    torch.testing.assert_close(module(rows)[:1], module(rows[:1]), rtol=1e-5, atol=1e-5)


# The same bits


@ENGINES
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
    elsewhere = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(helpers.__file__).parent,
        env={**os.environ, "OMP_NUM_THREADS": "2", "OPENBLAS_NUM_THREADS": "2", "MKL_NUM_THREADS": "2"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert digests[0] == digests[1] == elsewhere.stdout.strip()
    assert digest_of_a_run(engine, seed=1) != digests[0]


@pytest.mark.parametrize(
    "changes",
    [
        {"model": "logistic", "batch_size": "full", "max_epochs": 200, "learning_rate": 0.1},
        {"batch_size": 16, "batch_norm": True, "dropout": 0.2, "mixup_alpha": 0.4},
        {"schedule": "plateau", "schedule_patience": 0, "patience": 4, "max_epochs": 200, "learning_rate": 0.1},
        {"schedule": "cosine", "optimizer": "sgd", "monitor": "accuracy", "patience": 6},
    ],
    ids=str,
)
def test_epochs_that_are_run_many_in_a_call_have_the_bits_of_those_that_are_run_one_by_one(
    changes: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    table, predictors = table_of(n_classes=3), []
    for epochs_per_call in (1, 2, 7, 16):
        monkeypatch.setattr("tabcohort.engines.compiled.engine.MAX_EPOCHS_PER_CALL", epochs_per_call)
        monkeypatch.setattr("tabcohort.engines.compiled.engine.PRODUCTS_PER_CALL", 10**9)
        predictors.append(fit(table, config_of(engine="compiled", **changes), SMALL))
    for other in predictors[1:]:
        assert_same(other, predictors[0])
    assert any(member.best_epoch < len(member.history) for member in predictors[0].report.members)


def test_fit_leaves_pytorchs_global_generator_alone() -> None:
    before = torch.random.get_rng_state()
    for engine in ("compiled", "torch"):
        fit(table_of(), config_of(max_epochs=1, engine=engine), SMALL)
    assert torch.equal(before, torch.random.get_rng_state())


def test_fit_leaves_numpys_global_generator_alone() -> None:
    before = np.random.get_state()
    fit(table_of(), config_of(max_epochs=1), SMALL)
    after = np.random.get_state()
    assert (before[1] == after[1]).all()
    assert before[2:] == after[2:]


@ENGINES
def test_the_order_of_the_rows_in_the_file_changes_nothing(engine: str) -> None:
    X, y = noisy_rows(90)
    shuffled = np.random.default_rng(3).permutation(90)
    one = trained_on((X, y), config_of(batch_size=16, engine=engine))
    other = trained_on((X[shuffled], y[shuffled]), config_of(batch_size=16, engine=engine))
    np.testing.assert_array_equal(logits_of(one, X), logits_of(other, X))


# Weights of rows


@ENGINES
@pytest.mark.parametrize("batch_size", ["full", "auto"])
@pytest.mark.parametrize("n_classes", [2, 3])
def test_sample_weights_equal_repeated_rows_to_the_bit(n_classes: int, batch_size: str, engine: str) -> None:
    X, y = noisy_rows(90, n_classes)
    times = np.random.default_rng(1).integers(1, 4, 90)
    config = config_of(batch_size=batch_size, engine=engine)
    weighted = trained_on((X, y, times.astype(float)), config, n_classes)
    repeated = trained_on((np.repeat(X, times, axis=0), np.repeat(y, times)), config, n_classes)
    assert weighted.best_epoch == repeated.best_epoch
    np.testing.assert_array_equal(logits_of(weighted, X), logits_of(repeated, X))
    unweighted = trained_on((X, y), config, n_classes)
    assert np.abs(logits_of(unweighted, X) - logits_of(weighted, X)).max() > 1e-3


def test_class_weights_by_label_are_row_weights() -> None:
    X, y = noisy_rows(90)
    labels = np.array(["no", "yes"])[y]
    by_class = trained_on((X, labels), config_of(class_weight={"yes": 3.0}, batch_size="full"))
    config = config_of(batch_size="full")
    by_row = trained_on((X, labels, np.where(y == 1, 3.0, 1.0)), config, split=by_class.split)
    losses = [[record.train_loss for record in trained.history] for trained in (by_class, by_row)]
    plain = [record.train_loss for record in trained_on((X, labels), config).history]
    # Row weights move the statistics of the columns too, so the two runs are only alike.
    np.testing.assert_allclose(losses[0], losses[1], rtol=0.05)
    assert abs(losses[0][0] / plain[0] - 1) > 1e-3
    table = Table.from_arrays(X, labels)
    assert list(class_weights(table, by_class.split, Config(class_weight={"yes": 3.0}))) == [1.0, 3.0]

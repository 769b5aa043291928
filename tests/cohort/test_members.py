"""One member's training: the same alone and beside others, on its own rows, and its checkpoint folder."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import SMALL, config_of, logits_of, noisy_rows, table_of, train_alone, trained_on

from tabcohort.cohort.checkpoint_folder import CHECKPOINT
from tabcohort.cohort.fit import fit
from tabcohort.cohort.members import train_member
from tabcohort.cohort.plan import make_plan
from tabcohort.cohort.progress import RunProgress
from tabcohort.data.encoder import fit_statistics, store_rows
from tabcohort.data.splits import Split
from tabcohort.data.table import Table
from tabcohort.engines.compiled.inference import Inference
from tabcohort.errors import TabcohortWarning, TrainingError
from tabcohort.evaluation.metrics import log_probabilities
from tabcohort.settings import CohortSettings

MEMBERS: dict[str, dict[str, Any]] = {
    "logistic": {"model": "logistic"},
    "mlp": {"dropout": 0.3, "mixup_alpha": 0.4, "batch_size": 16},
    "residual": {"model": "residual", "dropout": 0.2, "batch_size": 16},
}
SPLIT = Split(np.arange(50), np.arange(50, 70), np.arange(70, 90))


# Alone, and beside others


@pytest.mark.parametrize("engine", ["compiled", "torch"])
@pytest.mark.parametrize("model", MEMBERS)
def test_every_member_has_the_bits_of_the_member_trained_alone(model: str, engine: str) -> None:
    table, config = table_of(n_classes=3), config_of(max_epochs=6, engine=engine, **MEMBERS[model])
    settings = CohortSettings(folds=3, seeds=2, threads=2)
    predictor = fit(table, config, settings)
    together = predictor.member_logits(table.X)
    plan = make_plan(table, config, settings)
    assert len(predictor.models) == len(plan.members) == 6
    for number in (4, 0, 5):  # in whatever order
        network = train_alone(plan, plan.members[number]).model
        assert network is not None
        assert Inference([network]).logits(table.X)[:, 0].tobytes() == together[:, number].tobytes()
    assert len({network.parameters.tobytes() for network in predictor.models}) == 6


def test_members_are_the_same_beside_other_configs_and_in_any_place() -> None:
    table, one, other = table_of(), config_of(max_epochs=4), config_of(max_epochs=4, model="logistic")
    first = fit(table, one, SMALL)
    plan = make_plan(table, [other, one], SMALL)
    for member, network in zip(plan.members[3:], first.models, strict=True):
        assert (member.config, member.number) == (1, member.fold)
        alone = train_alone(plan, member).model
        assert alone is not None
        assert alone.parameters.tobytes() == network.parameters.tobytes()


def test_a_result_has_the_probabilities_of_the_members_test_rows() -> None:
    table = table_of(n_classes=3)
    plan = make_plan(table, config_of(max_epochs=4), SMALL)
    result = train_alone(plan, plan.members[1])
    assert result.model is not None
    logits = Inference([result.model]).logits(table.X[plan.split(plan.members[1]).test])[:, 0]
    np.testing.assert_array_equal(result.test_proba, np.exp(log_probabilities(logits)))
    np.testing.assert_allclose(result.test_proba.sum(axis=1), 1)
    assert (result.engine, result.device) == ("compiled", "cpu")


def test_a_callback_pauses_a_member_and_it_resumes_to_the_same_bits() -> None:
    plan = make_plan(table_of(), config_of(max_epochs=7, dropout=0.2, batch_size=16), SMALL)
    member, rows = plan.members[2], store_rows(plan.table.X, fit_statistics(plan.table.X, plan.table.weight))
    paused = train_member(plan, rows, None, member, None, lambda state: "paused" if state.n_epochs == 3 else None)
    assert (paused.state.n_epochs, paused.state.stop_reason) == (3, "paused")
    resumed = train_member(plan, rows, None, member, replace(paused.state, stop_reason=None))
    whole = train_alone(plan, member)
    assert (resumed.state.n_epochs, resumed.state.stop_reason) == (7, "max_epochs")
    assert resumed.model is not None
    assert whole.model is not None
    assert resumed.model.parameters.tobytes() == whole.model.parameters.tobytes()
    assert resumed.test_proba.tobytes() == whole.test_proba.tobytes()


# Its rows


def test_columns_are_standardized_by_the_training_rows_of_each_member() -> None:
    table = table_of()
    predictor, plan = fit(table, config_of(max_epochs=1), SMALL), make_plan(table, config_of(), SMALL)
    for member, network in zip(plan.members, predictor.models, strict=True):
        statistics = network.statistics()
        assert statistics is not None
        rows = plan.split(member).train
        np.testing.assert_allclose(statistics.center, table.X[rows].mean(axis=0), rtol=1e-10)


def test_columns_are_standardized_by_the_training_rows_alone() -> None:
    X, y = noisy_rows(90)
    trained = trained_on((X, y), config_of(max_epochs=1), split=SPLIT)
    np.testing.assert_allclose(trained.module[0].center, X[:50].mean(axis=0), rtol=1e-10)
    np.testing.assert_allclose(trained.module[0].scale, 1 / X[:50].std(axis=0), rtol=1e-10)


def test_test_rows_do_not_change_the_model() -> None:
    X, y = noisy_rows(90)
    first = trained_on((X, y), config_of(), split=SPLIT)
    other_X, other_y = X.copy(), y.copy()
    other_X[70:] *= 100
    other_y[70:] = 1 - y[70:]
    other = trained_on((other_X, other_y), config_of(), split=SPLIT)
    np.testing.assert_array_equal(logits_of(first, X), logits_of(other, X))


def test_rows_of_one_group_of_a_table_stay_together() -> None:
    X, y = noisy_rows(120)
    table = Table.from_arrays(X, y, group_ids=np.arange(120) // 4)
    split = trained_on(table, config_of(max_epochs=1)).split
    assert table.group_ids is not None
    train, validation, test = (set(table.group_ids[rows]) for rows in (split.train, split.validation, split.test))
    assert not train & validation | train & test | validation & test
    assert len(split.validation) % 4 == len(split.test) % 4 == 0


def test_batch_norm_with_one_training_row_is_an_error() -> None:
    X, y = noisy_rows(20)
    split = Split(np.array([0]), np.arange(1, 10), np.arange(10, 20))
    with pytest.raises(TrainingError, match="needs two rows in a step; there are 1 training rows in batches of 1"):
        trained_on((X, y), config_of(batch_norm=True), split=split)


def test_batch_norm_with_batches_of_one_is_an_error() -> None:
    with pytest.raises(TrainingError, match="batches of 1: make batch_size at least 2, or use a model without it"):
        trained_on(table_of(), config_of(model="residual", batch_size=1))


# How it stops


@pytest.mark.parametrize("monitor", ["accuracy", "roc_auc"])
def test_another_metric_stops_early(monitor: str) -> None:
    trained = trained_on(table_of(200), config_of(monitor=monitor, patience=5, max_epochs=200))
    scores = [record.score for record in trained.history]
    assert trained.stop_reason == "patience"
    assert trained.best_epoch == 1 + int(np.argmax(scores)) == len(scores) - 5


def test_mixup_and_smoothing_are_used_in_training_and_never_in_validation() -> None:
    table = table_of(200)
    plain = trained_on(table, config_of(learning_rate=0.0, max_epochs=1, dropout=0.0)).history[0]
    softened = trained_on(
        table, config_of(learning_rate=0.0, max_epochs=1, dropout=0.0, label_smoothing=0.4, mixup_alpha=1.0)
    ).history[0]
    assert softened.val_loss == plain.val_loss
    assert abs(softened.train_loss - plain.train_loss) > 1e-3


def test_a_loss_that_is_not_finite_names_the_network_epoch_and_step() -> None:
    config = config_of(optimizer="sgd", learning_rate=1e30, batch_size=16)
    with pytest.raises(TrainingError, match=r"^the loss stopped being finite at epoch 1, step \d of \d; a smaller"):
        trained_on(table_of(), config)
    plan = make_plan(table_of(), config, SMALL)
    with pytest.raises(TrainingError, match=r"^network 3: the loss stopped being finite at epoch 1, step \d of \d; a"):
        train_alone(plan, plan.members[2])


# Checkpoints


def test_a_member_writes_its_training_to_the_folder_and_resumes_from_there(tmp_path: Path) -> None:
    plan = make_plan(table_of(), config_of(max_epochs=5), SMALL)
    rows, member = store_rows(plan.table.X, fit_statistics(plan.table.X, plan.table.weight)), plan.members[1]
    first = train_member(plan, rows, tmp_path, member)
    assert [path.name for path in tmp_path.iterdir()] == [f"0-0-1{CHECKPOINT}"]
    again = train_member(plan, rows, tmp_path, member)
    assert again.state.history == first.state.history  # with the seconds of each epoch: none was run again
    assert again.test_proba.tobytes() == first.test_proba.tobytes()


def test_resuming_from_a_checkpoint_is_a_warning_where_fit_is_called(tmp_path: Path) -> None:
    fit(table_of(), config_of(max_epochs=2), SMALL, checkpoint=tmp_path / "kept")
    message = r"^resuming from the checkpoint '.*kept': it holds 3 members$"
    with pytest.warns(TabcohortWarning, match=message) as warned:
        fit(table_of(), config_of(max_epochs=2), SMALL, checkpoint=tmp_path / "kept")
    assert [warning.filename for warning in warned] == [__file__]


def test_how_long_training_takes_is_said_of_a_new_one_only(tmp_path: Path) -> None:
    """What is left after a checkpoint is not known before it is read."""
    said: list[RunProgress] = []
    fit(table_of(), config_of(max_epochs=2), SMALL, said.append, tmp_path / "kept")
    assert said[0].n_epochs == 0
    assert said[0].seconds_left > 0
    said.clear()
    with pytest.warns(TabcohortWarning, match="^resuming from"):
        fit(table_of(), config_of(max_epochs=2), SMALL, said.append, tmp_path / "kept")
    assert said
    assert all(progress.n_epochs > 0 for progress in said)

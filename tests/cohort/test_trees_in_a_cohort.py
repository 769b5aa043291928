"""Boosted trees beside networks: on the same folds, in one ensemble, one file and one checkpoint."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_training import Clock, FakeTraining, members_of, run_fake
from helpers import QUICK, SMALL, assert_same, make_rows, mixed_frame

import tabcohort
from tabcohort import Config, Predictor, TabcohortWarning, Table
from tabcohort.cohort import members as members_module
from tabcohort.cohort.executors import ProcessExecutor
from tabcohort.cohort.plan import make_plan
from tabcohort.cohort.runner import run
from tabcohort.cohort.selection import out_of_fold
from tabcohort.network.program import Network
from tabcohort.network.trees import Trees

TREES = Config(model="trees", max_epochs=4, max_leaf_nodes=4, min_samples_leaf=5)
LOGISTIC = Config(**{**QUICK, "model": "logistic"})
CONFIGS = [LOGISTIC, TREES, Config(**QUICK)]


def steps_table(n_rows: int = 150) -> Table:
    """Return rows of which each kind learns something: a feature predicts the class, and far out its opposite."""
    X, codes = make_rows(n_rows)
    return Table.from_arrays(X, np.array(["no", "yes"])[np.where(np.abs(X[:, 1]) > 1.3, 1 - codes, codes)])


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    """A model of all three kinds."""
    return tabcohort.fit(steps_table(), CONFIGS, SMALL)


def test_trees_have_the_folds_and_streams_of_the_networks_beside_them() -> None:
    plan = make_plan(steps_table(), CONFIGS, SMALL)
    trees = [member for member in plan.members if member.config == 1]
    networks = [member for member in plan.members if member.config == 0]
    assert [(member.repeat, member.fold, member.number) for member in trees] == [
        (member.repeat, member.fold, member.number) for member in networks
    ]
    assert (plan.programs[1], plan.engines[1]) == (None, "scikit-learn")
    assert all(member.is_trees for member in trees)
    assert not any(member.is_trees for member in networks)


def test_the_ensemble_has_members_of_each_kind_with_a_weight(predictor: Predictor) -> None:
    kinds = [type(model) for model in predictor.models]
    weights = [config.weight for config in predictor.report.configs]
    assert weights[1] > 0, "trees learn the steps"
    assert kinds.count(Trees) == 3
    assert kinds.count(Network) == 3 * sum(weight > 0 for weight in (weights[0], weights[2]))
    assert predictor.report.engine == "compiled and scikit-learn"
    proba = predictor.predict_proba(steps_table().X)
    np.testing.assert_allclose(proba.sum(axis=1), 1)


def test_the_out_of_fold_predictions_of_trees_are_of_rows_that_these_did_not_train_on() -> None:
    table = steps_table()
    plan = make_plan(table, TREES, SMALL)
    result = run(plan)
    predictions = out_of_fold(plan, result)[0]
    for member, trained in result.members.items():
        test = plan.split(member).test
        np.testing.assert_array_equal(np.exp(predictions.log_proba[test]), trained.test_proba)
        y = table.y.copy()
        y[test] = 1 - y[test]
        again = run(replace(plan, table=replace(table, y=y)))
        np.testing.assert_array_equal(again.members[member].test_proba, trained.test_proba)


def test_a_file_gives_the_same_bits(predictor: Predictor, tmp_path: Path) -> None:
    X = steps_table().X
    tabcohort.save(predictor, tmp_path / "m.tabcohort")
    loaded = tabcohort.load(tmp_path / "m.tabcohort")
    assert loaded.predict_proba(X).tobytes() == predictor.predict_proba(X).tobytes()
    assert [type(model) for model in loaded.models] == [type(model) for model in predictor.models]
    assert loaded.report == replace(predictor.report, evaluation=loaded.report.evaluation)


def test_one_record_has_the_bits_of_a_table(predictor: Predictor) -> None:
    X = steps_table().X
    proba = predictor.predict_proba(X)
    for row in (0, 17):
        prediction = predictor.predict_row({f"x{i}": X[row, i] for i in range(3)})
        assert list(prediction.probability.values()) == proba[row].tolist()


def test_mixed_columns_and_missing_cells_go_through_a_file_and_a_frame(tmp_path: Path) -> None:
    frame = mixed_frame(90)
    target = np.where(frame["size"].fill_null(0).to_numpy() > 0, "up", "down")
    table = Table.from_frame({**frame.to_dict(as_series=False), "y": target}, "y", types={"code": "integer code"})
    model = tabcohort.fit(table, TREES, SMALL)
    tabcohort.save(model, tmp_path / "m.tabcohort")
    loaded = tabcohort.load(tmp_path / "m.tabcohort")
    expected = model.log_proba_of(table)
    assert loaded.log_proba(frame).tobytes() == expected.tobytes()
    assert (loaded.predict(frame) == target).mean() > 0.9


@pytest.mark.parametrize("executor", [None, ProcessExecutor(2)], ids=["threads", "processes"])
def test_every_executor_and_any_number_of_threads_give_the_same_bits(predictor: Predictor, executor: Any) -> None:
    settings = replace(SMALL, threads=1)
    assert_same(predictor, tabcohort.fit(steps_table(), CONFIGS, settings, executor=executor))


def test_a_checkpoint_resumes_to_the_same_bits_and_grows_no_tree_again(
    predictor: Predictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tabcohort.fit(steps_table(), CONFIGS[:2], SMALL, checkpoint=tmp_path / "c")
    monkeypatch.setattr(members_module, "train_trees", None)  # which would fail
    with pytest.warns(TabcohortWarning, match="resuming from the checkpoint .* it holds 6 members"):
        resumed = tabcohort.fit(steps_table(), CONFIGS, SMALL, checkpoint=tmp_path / "c")
    assert_same(predictor, resumed)


def test_trees_do_not_pause_at_a_rung_and_are_compared_by_all_their_rounds() -> None:
    """Their loss is high after a few rounds, and the lowest of all in the end."""
    members = [replace(member, is_trees=member.config == 5) for member in members_of(6)]

    def loss(member: Any, epoch: int) -> float:
        return 10 / epoch**2 if member.config == 5 else 1 + member.config + 1 / epoch

    training = FakeTraining(max_epochs=100, loss=loss)
    result = run_fake(members, training)
    assert 5 not in result.dropped
    assert not any(member.config == 5 for member, _ in training.resumed_at)
    assert {trained.state.n_epochs for member, trained in result.members.items() if member.config == 5} == {100}


def test_with_a_budget_the_first_config_is_trained_to_its_end_though_it_is_trees() -> None:
    clock = Clock()
    members = [replace(member, is_trees=member.config == 0) for member in members_of(3)]
    result = run_fake(members, FakeTraining(max_epochs=50, clock=clock), budget_seconds=150.0)
    assert result.stop_reason == "budget"
    assert all(trained.state.is_finished for member, trained in result.members.items() if member.config == 0)

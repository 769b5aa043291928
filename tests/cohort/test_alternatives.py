"""Simpler models are compared with the ensemble on the same rows, and the simplest that would do is named."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from helpers import SMALL

import tabcohort
from tabcohort import Config, Table
from tabcohort.cohort.alternatives import compare_alternatives
from tabcohort.cohort.plan import make_plan
from tabcohort.cohort.runner import run
from tabcohort.cohort.selection import out_of_fold, select_and_calibrate
from tabcohort.evaluation.intervals import mean_estimate
from tabcohort.model.facts import facts

TREES = Config(model="trees", max_epochs=4, max_leaf_nodes=4, min_samples_leaf=5)
LOGISTIC = Config(model="logistic", max_epochs=60, learning_rate=0.05)
CONFIGS = [LOGISTIC, TREES, Config(hidden=(8,), max_epochs=30, learning_rate=0.02)]


def steps_table(n_rows: int = 150) -> Table:
    """Return rows of which linear models and trees learn different things: a sum, and steps."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n_rows, 6))
    score = X[:, :3].sum(axis=1) + 2.0 * np.where(np.abs(X[:, 3]) > 0.7, 1.0, -1.0) + 0.5 * rng.normal(size=n_rows)
    return Table.from_arrays(X, np.where(score > 0, "yes", "no"))


def alternatives_of(table: Table, configs: Sequence[Config]) -> Any:
    """Return the ensemble and its alternatives."""
    plan = make_plan(table, configs, SMALL)
    result = run(plan)
    predictions = out_of_fold(plan, result)
    selection = select_and_calibrate(plan, result, predictions)
    return plan, selection, compare_alternatives(plan, predictions, selection)


def test_each_kind_alone_is_compared_with_the_ensemble_on_the_same_rows() -> None:
    plan, selection, alternatives = alternatives_of(steps_table(), CONFIGS)
    assert [alternative.kind for alternative in alternatives] == ["shares", "logistic", "trees", "network"]
    assert [alternative.config for alternative in alternatives] == [None, 0, 1, 2]
    assert sum(alternative.weight for alternative in alternatives) == pytest.approx(1)
    own = selection.predictions
    for alternative in alternatives:
        ensemble = mean_estimate(own.losses(), own.weight, own.group_ids).value
        assert alternative.gap.value == pytest.approx(alternative.log_loss.value - ensemble)
        assert alternative.gap.low < alternative.gap.value < alternative.gap.high
    shares = np.bincount(plan.table.y) / len(plan.table.y)
    assert alternatives[0].log_loss.value == pytest.approx(-(shares * np.log(shares)).sum(), rel=0.02)


def test_the_shares_of_the_classes_are_those_of_other_folds() -> None:
    """A class that is in one fold only is improbable there."""
    _, selection, alternatives = alternatives_of(steps_table(90), [LOGISTIC])
    own = selection.predictions
    expected = np.empty(len(own.y))
    for inside, outside in own.folds():
        totals = np.bincount(own.y[outside], minlength=2) + 0.5
        expected[inside] = -np.log(totals / totals.sum())[own.y[inside]]
    assert alternatives[0].log_loss.value == pytest.approx(expected.mean())


def test_a_config_that_is_the_whole_ensemble_is_no_alternative_to_it() -> None:
    assert [alternative.kind for alternative in alternatives_of(steps_table(), [TREES])[2]] == ["shares"]


def test_the_simplest_model_that_these_rows_cannot_tell_from_the_ensemble_is_named() -> None:
    comparison = facts(tabcohort.fit(steps_table(), CONFIGS, SMALL))["alternatives"]
    assert [model["kind"] for model in comparison["models"]] == ["shares", "logistic", "trees", "network"]
    assert comparison["models"][3]["name"] == "mlp 8"
    as_good = [model["kind"] for model in comparison["models"] if model["gap"]["low"] <= 0]
    assert comparison["simplest"] == (as_good[0] if as_good else None)
    X, y = np.random.default_rng(0).normal(size=(60, 2)), np.arange(60) % 2
    noise = tabcohort.fit(Table.from_arrays(X, y), [LOGISTIC, TREES], SMALL)
    assert facts(noise)["alternatives"]["simplest"] == "shares"
